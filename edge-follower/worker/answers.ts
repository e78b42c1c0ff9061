// What a Worker answers where no API does.

export const refused = (status: number, code: string, message: string): Response =>
  Response.json({ error: { code, message } }, { status })

export const unavailable = (message: string): Response => refused(503, 'unavailable', message)
