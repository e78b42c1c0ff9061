// What this Follower knows of the platform: the functions that it uses and no others.
declare module 'cloudflare:workers' {
  export abstract class DurableObject<Env> {
    protected readonly ctx: import('./platform-types.ts').ObjectState
    protected readonly env: Env
    constructor(ctx: import('./platform-types.ts').ObjectState, env: Env)
  }
}

declare const WebSocketPair: new () => {
  0: import('./platform-types.ts').EdgeSocket
  1: import('./platform-types.ts').EdgeSocket
}
