// The two relations that every statement may use (store.ts), for each engine.

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
