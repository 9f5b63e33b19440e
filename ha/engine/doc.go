// Package engine is the one loop that owns an [ha.Machine]: it gathers facts, lets the machine decide, and carries the plan out.
//
//	heart reports ──┐                        ┌─> engine/durable.json (synced before all that follows)
//	volume states ──┤                        ├─> volumes: permit, outdate, revoke ...
//	references    ──┼─> facts ─> Step ─> plan┼─> heart: what the next beat says, which addresses live on
//	services      ──┤     (every <= 200 ms)  ├─> a procedure, step by step (goroutine)
//	people, peer  ──┘                        └─> steady state: addresses, services (goroutines)
//
// The loop never waits for SQLite, a volume's disk, a step, a service or the network: each of them runs in a goroutine of its own and
// posts its result. The one thing it waits for is its own file durable.json, because nothing that rests on it may happen before.
//
// engine.sock serves package control's API; the status is built from the newest view that the loop published, so a question never
// waits for the loop.
package engine
