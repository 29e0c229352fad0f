// Package room keeps the rooms: who is in them, in which order their messages
// go out, and how a member that is behind gets back to the head.
//
// # One room, one queue, one worker at a time
//
// Everything that happens to a room goes through its queue in one order: a
// message that the log has committed, a join, a leave, a command of the host.
// A small pool of workers takes rooms that have something queued; a room is
// with one worker at a time. So membership, offsets and fan-out need no lock
// of their own, and a join falls between two messages, never into one: joined
// says the offset of the message before it, and the one after it is live.
//
// Consecutive messages in the queue are encoded into one buffer per form (codec,
// and whether it is compressed) and go to each member in one write. While a batch is being written, what arrives
// waits and forms the next: latency when idle, throughput under load. A large
// room's members are split among the workers that are free.
//
// # One cursor for replay and lag
//
// A live member gets batches as they are made. A member that resumed from a
// position, or whose outbox refused a batch, is behind: a cursor reads on for
// it, from the room's ring of recent messages or from the log, as fast as its
// socket takes it. When the cursor meets the head it asks the room's queue to
// turn the member live, so no message falls between.
//
// # What the package never does
//
// It opens no socket and no file: connections are Members, history is a Log.
// Nothing that a poller calls here blocks; reading the log happens on a few
// reader goroutines.
package room
