package api

import (
	"bytes"
	"sync"
	"time"

	"github.com/thronghq/throng/proto"
)

// streamBox is the connection of a session whose client reads an HTTP response:
// the session and the rooms put frames in and never block, the goroutine that
// serves the request takes them out. It is bounded as a WebSocket's outbox is:
// when room frames fill it, it refuses more until all that waits was written. All
// boxes together are bounded, too: the more streams there are, the less one holds.
type streamBox struct {
	// Static.
	wake     chan struct{}  // one more look is worth it
	deadline chan time.Time // the latest one; read by the taker
	limits   *proto.Limits
	bound    func() int            // of delivered bytes, right now; one delivery always fits
	writeBy  func(time.Time) error // ends a write at that time, also one that is under way

	mu        sync.Mutex
	frames    [][]byte // in order; delivered ones are shared and never changed
	delivered int      // bytes of them
	replied   int      // bytes of the others
	refused   bool     // Session.Drained is still to come
	closed    bool     // nothing is taken in any more
	ending    bool     // the client has its last moment to read what waits
}

func (a *API) newStreamBox(writeBy func(time.Time) error) *streamBox {
	return &streamBox{
		wake: make(chan struct{}, 1), deadline: make(chan time.Time, 1),
		limits: a.Limits, bound: a.streamBound, writeBy: writeBy,
	}
}

// streamBound is how many bytes may wait for one stream's reader.
func (a *API) streamBound() int {
	bound := a.Limits.Outbox
	if a.StreamBytes > 0 {
		bound = int(min(int64(bound), a.StreamBytes/max(1, a.meters.streams.Load())))
	}
	return bound
}

// Reply implements session.Conn. A client that lets more than limits.replies
// bytes of them wait is closed.
func (b *streamBox) Reply(frame []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.frames = append(b.frames, bytes.Clone(frame))
	if b.replied += len(frame); b.replied > b.limits.Replies {
		b.closeLocked()
	}
	b.wakeUp()
}

// Deliver implements session.Conn.
func (b *streamBox) Deliver(frames []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return true
	case len(frames) == 0:
		return !b.refused
	case b.delivered > 0 && b.delivered+len(frames) > b.bound():
		b.refused = true
		return false
	}
	b.frames = append(b.frames, frames)
	b.delivered += len(frames)
	b.wakeUp()
	return true
}

// Close implements session.Conn: what waits is still written, to a client that
// reads it. An answer has no close code; the error event before it says as much.
func (b *streamBox) Close(proto.CloseCode, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closeLocked()
}

func (b *streamBox) closeLocked() {
	if b.closed {
		return
	}
	b.closed = true
	b.endLocked()
	b.wakeUp()
}

// end gives the client closePatience to read what waits, and no more.
func (b *streamBox) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.endLocked()
}

func (b *streamBox) endLocked() {
	if !b.ending {
		b.ending = true
		_ = b.writeBy(time.Now().Add(closePatience)) // a writer without deadlines is a test's
	}
}

// beginWrite gives the client its time to take what is written next.
func (b *streamBox) beginWrite() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ending {
		_ = b.writeBy(time.Now().Add(streamPatience)) // as above
	}
}

// SetDeadline implements session.Conn.
func (b *streamBox) SetDeadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.deadline: // an older one
	default:
	}
	b.deadline <- t // there is room: only this method sends, under mu
}

func (b *streamBox) wakeUp() {
	select {
	case b.wake <- struct{}{}:
	default: // a look is to come already
	}
}

// take returns the frames that wait, and whether those are the last ones.
func (b *streamBox) take() (frames [][]byte, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	frames, b.frames = b.frames, nil
	return frames, b.closed
}

// drained takes note that everything that was taken is written. It reports
// whether the session must be told.
func (b *streamBox) drained() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.frames) > 0 {
		return false // the next look writes them
	}
	told := b.refused
	b.delivered, b.replied, b.refused = 0, 0, false
	return told
}
