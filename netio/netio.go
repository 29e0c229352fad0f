// Package netio holds the sockets: listeners, the handshake, one Conn per
// connection, the incremental frame reader, the outbox, and the heartbeat
// sweep. It knows RFC 6455 and nothing of rooms, users or JSON.
//
// It owns every descriptor it accepts. Readiness comes from netpoll's poller;
// accept, read and send are made on the raw descriptors. An idle connection
// has no goroutine, no timer and no buffer.
//
// Nothing that a client can make grow is without a bound. Deliveries that wait
// for it are refused past Limits.Outbox. When a quarter of the replies that may
// wait do, its socket is not read any more until they have drained; replies
// that come from elsewhere may still add up, and past their bound the
// connection is closed. Of pings at most one waits. A message grows with what
// has arrived of it, up to Accept.MaxMessage and for as long as it goes on to
// grow, and a head up to the handshake's limits. What all of them hold together
// is counted in Options.Memory.
//
// Over TLS, crypto/tls runs on the event loop as everything else does; only a
// handshake has a goroutine while it lasts. Outboxes hold plaintext, of which at
// most one record is encrypted before the socket has taken it.
//
// Locks, in the order in which they may be taken: a listener's, the gate's, a
// connection's with those of its tls.Conn, a handshake's, then, each by itself,
// a loop's tasks, the admission, the slots, the shared frames, the streaming
// requests, the handshakes that wait. None but a connection's is held across a
// system call that moves data, and no handler is called under any of them.
package netio

import (
	"net/netip"

	"github.com/gobwas/ws"

	"github.com/thronghq/throng/proto"
)

// Handler is what stands behind the sockets. All of its methods but Closed are
// called on a poller, for one connection never two at a time, and must not
// block. Open comes first, Closed last and once for every Open.
type Handler interface {
	// Upgrade decides on a well-formed upgrade request: what it returns
	// becomes the connection's, or the error its HTTP answer. The request
	// is borrowed until Upgrade returns.
	Upgrade(r *Request) (Accept, *proto.Error)

	// Open is called once the handshake's answer is queued.
	Open(c *Conn)

	// Message brings one whole message, unmasked; text is valid UTF-8. The
	// payload belongs to the poller and is valid until Message returns.
	Message(c *Conn, op ws.OpCode, payload []byte)

	// Drained is called after Deliver refused, as soon as the outbox has
	// fallen below a quarter of its bound.
	Drained(c *Conn)

	// Expired is called when the time given to SetDeadline has come.
	Expired(c *Conn)

	// Closed tells that the connection is gone. The Conn must not be used
	// after it returns.
	Closed(c *Conn, cause CloseCause)
}

// FrameCounter is what a Handler may be, too, so as to bound what Message does not
// show.
type FrameCounter interface {
	// Frames tells of frames that brought no message: pings, pongs, and
	// fragments but the last. It is called as Message is, once for each read
	// that had some, after its messages.
	Frames(c *Conn, n int)
}

// Request is the head of an upgrade request. Its strings and slices are
// borrowed from the poller's buffer: copy what should outlive Upgrade.
type Request struct {
	Path          string // without the query
	Query         string // raw, without the question mark
	Host          string
	Origin        string
	Authorization string
	Protocols     []string   // offered subprotocols, in order
	Address       netip.Addr // the client's, as Conn.Address returns it
}

// Accept says how an upgraded connection goes on.
type Accept struct {
	Subprotocol string // answered to the client, "" for none; must be one that it offered
	MaxMessage  int    // bytes of one message; a longer one closes with 1009; 0 is Limits.Message + Limits.Envelope; 2 GiB at most
	MaxReplies  int    // bytes of replies that may wait; raises Limits.Replies where above it; 2 GiB at most
	Deflate     bool   // permessage-deflate (RFC 7692) may be agreed on, if the client offers it
	State       any    // what Conn.State returns
}

// CloseCause says why a connection ended; it is a label of the metrics.
type CloseCause uint8

// The causes.
const (
	CausePeer       CloseCause = iota // the client's close frame
	CauseCut                          // end of the stream, or a reset, without a close frame
	CauseProtocol                     // the client broke RFC 6455
	CauseServer                       // Conn.Close
	CauseHeartbeat                    // silent for too long
	CauseReplies                      // its replies passed their bound
	CauseShutdown                     // the server is going
	CauseUnfinished                   // a message came too slowly to its end
)
