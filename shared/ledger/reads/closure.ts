// The relations that statements may use (store.ts), for each engine.

/** R and all roles reachable from R by memberships, ownership included; set semantics, so cycles end (policy 7). */
export function closureCte(roleParam: string): string {
  return (
    `closure(id) AS (SELECT id FROM roles WHERE id = ${roleParam} ` +
    'UNION SELECT m.role FROM memberships m JOIN closure c ON m.member = c.id)'
  )
}

export const usesClosure = (sql: string): boolean => /\bclosure\b/.test(sql)

export const listSource = {
  sqlite: (param: string): string => `(SELECT value FROM json_each(${param}))`,
  postgres: (param: string): string =>
    `(SELECT value COLLATE "C" AS value FROM json_array_elements_text((${param})::json) AS t(value))`,
} as const

/**
 * One step from records that go to what goes with them: the resources they own, the resources and roles they defined
 * as policies. No one text is looked up in indexes by both engines: Postgres compares each row with each when a join
 * says OR, and SQLite reads whole tables when it joins a UNION in a recursion.
 */
const dependents = {
  sqlite:
    'SELECT r.id FROM doomed d JOIN resources r ON r.owner = d.id ' +
    'UNION SELECT r.id FROM doomed d JOIN resources r ON r.policy = d.id ' +
    'UNION SELECT r.id FROM doomed d JOIN roles r ON r.policy = d.id',
  postgres:
    'SELECT x.id FROM doomed d JOIN (SELECT id, owner AS parent FROM resources ' +
    'UNION ALL SELECT id, policy FROM resources UNION ALL SELECT id, policy FROM roles) AS x ON x.parent = d.id',
} as const

/**
 * The relation `doomed` (store.ts). Postgres takes the rows of a function for a hundred, and looks for what goes with
 * each in an index. What it takes those of a range for is wrong by a factor of thousands, the more so at every step of
 * the recursion: it read whole tables for a few records, and for many it did not come to an end.
 */
export function doomedCte(engine: keyof typeof listSource, seed: string): string {
  const ids = expandLists(engine, seed)
  const given = {
    sqlite: ids,
    postgres: `SELECT value COLLATE "C" AS id FROM json_array_elements_text((SELECT json_agg(id) FROM (${ids}) AS seed)) AS t(value)`,
  }[engine]
  return `doomed(id) AS (SELECT id FROM (${given}) AS given UNION ${dependents[engine]})`
}

/** `list(?1)` → the engine's own table function; `instr(text, part)` → its own name for it. */
export function expandLists(engine: keyof typeof listSource, sql: string): string {
  // Postgres before 16 wants a name for every relation in FROM.
  let n = 0
  const named = engine === 'postgres' ? sql.replace(/\binstr\(/g, 'strpos(') : sql
  return named.replace(
    /\blist\((\?\d+)\)/g,
    (_, param: string) => `${listSource[engine](param)} AS list_${++n}`,
  )
}
