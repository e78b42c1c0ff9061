// Lines of JSON on the Worker's log. Fields are names, counts and codes: never a value, a key or a token.
export type Log = Readonly<
  Record<
    'info' | 'warn' | 'error',
    (message: string, fields?: Readonly<Record<string, string | number>>) => void
  >
>

export function logOf(origin: string): Log {
  const line =
    (level: keyof Log): Log['info'] =>
    (message, fields = {}) =>
      console[level](JSON.stringify({ level, origin, ...fields, msg: message }))
  return { info: line('info'), warn: line('warn'), error: line('error') }
}
