// What every statement may use (store.ts), for each engine.

type Engine = keyof typeof listSource

/** R and all roles reachable from R by memberships, ownership included; set semantics, so cycles end (policy 7). */
export function closureCte(engine: Engine, roleParam: string): string {
  return expandMacros(
    engine,
    `closure(id) AS (SELECT id FROM roles WHERE id = ${roleParam} UNION held_by(closure))`,
  )
}

export const usesClosure = (sql: string): boolean => /\bclosure\b/.test(sql)

export const listSource = {
  sqlite: (param: string): string => `(SELECT value FROM json_each(${param}))`,
  postgres: (param: string): string =>
    `(SELECT value COLLATE "C" AS value FROM json_array_elements_text((${param})::json) AS t(value))`,
} as const

/**
 * One step of a recursion: from roles to those they hold, from roles to their members, from records to what goes with
 * them, which are the resources they own and the resources and roles they defined as policies.
 *
 * Postgres plans such a step before it knows how many rows it will have, and would rather read the whole table at every
 * step: 50 roles in a chain, beside 10 000 others, took 70 ms. What is LATERAL and cannot be pulled up (OFFSET 0) is
 * looked up in an index for each row. SQLite does so anyway, but not if it joins a UNION.
 */
const steps = {
  sqlite: {
    held_by: (from: string): string => `SELECT m.role FROM memberships m JOIN ${from} s ON m.member = s.id`,
    members_of: (from: string): string =>
      `SELECT m.member FROM memberships m JOIN ${from} s ON m.role = s.id`,
    dependents: (from: string): string =>
      `SELECT r.id FROM ${from} s JOIN resources r ON r.owner = s.id ` +
      `UNION SELECT r.id FROM ${from} s JOIN resources r ON r.policy = s.id ` +
      `UNION SELECT r.id FROM ${from} s JOIN roles r ON r.policy = s.id`,
  },
  postgres: {
    held_by: (from: string): string =>
      lateral(from, 'SELECT role AS id FROM memberships WHERE member = s.id'),
    members_of: (from: string): string =>
      lateral(from, 'SELECT member AS id FROM memberships WHERE role = s.id'),
    dependents: (from: string): string =>
      lateral(
        from,
        'SELECT id FROM resources WHERE owner = s.id UNION ALL SELECT id FROM resources WHERE policy = s.id ' +
          'UNION ALL SELECT id FROM roles WHERE policy = s.id',
      ),
  },
} as const

const lateral = (from: string, select: string): string =>
  `SELECT x.id FROM ${from} s CROSS JOIN LATERAL (${select} OFFSET 0) AS x`

/**
 * The relation `doomed` (store.ts). Postgres takes the rows of a function for a hundred. What it takes those of a range
 * for is wrong by a factor of thousands: it read whole tables for a few records.
 */
export function doomedCte(engine: Engine, seed: string): string {
  const ids = expandMacros(engine, seed)
  const given = {
    sqlite: ids,
    postgres: `SELECT value COLLATE "C" AS id FROM json_array_elements_text((SELECT json_agg(id) FROM (${ids}) AS seed)) AS t(value)`,
  }[engine]
  const step = expandMacros(engine, 'dependents(doomed)')
  return `doomed(id) AS (SELECT id FROM (${given}) AS given UNION ${step})`
}

/** `list(?1)` and the steps → the engine's own joins; `instr(text, part)` → its own name for it. */
export function expandMacros(engine: Engine, sql: string): string {
  // Postgres before 16 wants a name for every relation in FROM.
  let n = 0
  const named = engine === 'postgres' ? sql.replace(/\binstr\(/g, 'strpos(') : sql
  const joined = named.replace(
    /\b(held_by|members_of|dependents)\((\w+)\)/g,
    (_, step: string, from: string) => steps[engine][step as keyof (typeof steps)[Engine]](from),
  )
  return joined.replace(
    /\blist\((\?\d+)\)/g,
    (_, param: string) => `${listSource[engine](param)} AS list_${++n}`,
  )
}
