// Between the Worker in front and its objects: what is said where no API answers.

/** Header of a request that another Follower would be asked after this one. */
export const HAS_OTHERS = 'Holdfast-Has-Others'

export const refused = (status: number, code: string, message: string): Response =>
  Response.json({ error: { code, message } }, { status })

export const unavailable = (message: string): Response => refused(503, 'unavailable', message)
