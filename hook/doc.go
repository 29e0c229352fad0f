// Package hook tells other servers what happens (webhooks), and asks one before
// it happens (the gate).
//
// Webhooks keeps what waits in an outbox, which is durable: events in the order
// in which they happened, and for messages only where they stand in their room's
// log. It delivers at least once, in order per room, and neither its callers nor
// one endpoint ever wait for another endpoint. Gate puts a question to one
// endpoint and answers its caller exactly once, whatever becomes of the question.
//
// Both sign what they send as Standard Webhooks asks for, follow no redirect, use
// no proxy, and connect to no private address unless they may.
//
// The package knows nothing of rooms, sessions or the store beyond the interfaces
// Outbox and History. docs/webhooks.md says what receivers are promised.
package hook
