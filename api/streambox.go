package api

import (
	"bytes"
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"github.com/thronghq/throng/internal/budget"
	"github.com/thronghq/throng/proto"
)

// streamBox is the connection of a session whose client reads an HTTP response:
// the session and the rooms put frames in and never block, the goroutine that
// serves the request takes them out. It is bounded as a WebSocket's outbox is:
// when room frames fill it, it refuses more until all that waits was written. All
// boxes together are bounded, too: the more streams there are, the less one holds.
//
// What it holds is counted in the server's memory until it is written, and it can
// be ended for that.
type streamBox struct {
	// Static.
	client   netip.Addr
	wake     chan struct{}  // one more look is worth it
	deadline chan time.Time // the latest one; read by the taker
	limits   *proto.Limits
	bound    func() int            // of delivered bytes, right now; one delivery always fits
	writeBy  func(time.Time) error // ends a write at that time, also one that is under way
	memory   *budget.Kind

	mu        sync.Mutex
	frames    [][]byte // in order; delivered ones are shared and never changed
	taken     [][]byte // those that are being written
	delivered int      // bytes of them
	replied   int      // bytes of the others
	refused   bool     // Session.Drained is still to come
	closed    bool     // nothing is taken in any more
	ending    bool     // the client has its last moment to read what waits
	shed      bool     // ended for what it held
	over      bool     // the request has ended
}

// boxSlot is what a frame takes in a box beside its bytes.
const boxSlot = int(unsafe.Sizeof([]byte(nil)))

func (a *API) newStreamBox(client netip.Addr, writeBy func(time.Time) error) *streamBox {
	return &streamBox{
		client: client, wake: make(chan struct{}, 1), deadline: make(chan time.Time, 1),
		limits: a.Limits, bound: a.streamBound, writeBy: writeBy, memory: a.streamed,
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
	b.putLocked(bytes.Clone(frame))
	if b.replied += len(frame); b.replied > b.limits.Replies {
		b.closeLocked()
	}
	b.wakeUp()
}

// Prefetch implements session.Conn: a stream has nothing to prefetch.
func (b *streamBox) Prefetch() {}

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
	b.putLocked(frames)
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

// Address implements session.Conn.
func (b *streamBox) Address() netip.Addr { return b.client }

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

// putLocked takes a frame in and counts it.
func (b *streamBox) putLocked(frame []byte) {
	b.frames = append(b.frames, frame)
	b.memory.Hold(frame)
	b.memory.Add(int64(boxSlot))
}

// forgetLocked counts frames no longer.
func (b *streamBox) forgetLocked(frames [][]byte) {
	for _, f := range frames {
		b.memory.Drop(f)
	}
	b.memory.Add(-int64(boxSlot * len(frames)))
}

// take returns the frames that wait, and whether those are the last ones. They
// are the taker's until drained.
func (b *streamBox) take() (frames [][]byte, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	frames, b.frames = b.frames, nil
	b.taken = append(b.taken, frames...)
	return frames, b.closed
}

// drained takes note that everything that was taken is written. It reports
// whether the session must be told.
func (b *streamBox) drained() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgetLocked(b.taken)
	b.taken = nil
	if len(b.frames) > 0 {
		return false // the next look writes them
	}
	told := b.refused
	b.delivered, b.replied, b.refused = 0, 0, false
	return told
}

// release gives everything back when the request has ended.
func (b *streamBox) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed, b.ending, b.over = true, true, true
	b.forgetLocked(b.taken)
	b.forgetLocked(b.frames)
	b.taken, b.frames = nil, nil
}

// Held implements budget.Holder.
func (b *streamBox) Held() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over || b.shed {
		return 0
	}
	return int64(b.delivered + b.replied + boxSlot*(len(b.frames)+len(b.taken)))
}

// Shed implements budget.Holder: the stream ends where it is.
func (b *streamBox) Shed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over || b.shed {
		return false
	}
	b.closed, b.ending, b.shed = true, true, true
	b.forgetLocked(b.frames)
	b.frames = nil
	_ = b.writeBy(time.Unix(1, 0)) // a writer without deadlines is a test's
	b.wakeUp()
	return true
}

// isShed reports that the stream was ended for what it held.
func (b *streamBox) isShed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.shed
}

// streamBoxes are the streams that are open. The zero value is ready; it is safe
// for concurrent use.
type streamBoxes struct {
	mu   sync.Mutex
	open map[*streamBox]struct{}
}

func (s *streamBoxes) add(b *streamBox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[*streamBox]struct{})
	}
	s.open[b] = struct{}{}
}

func (s *streamBoxes) remove(b *streamBox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, b)
}

// holders lists the streams.
func (s *streamBoxes) holders(dst []budget.Holder) []budget.Holder {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := range s.open {
		dst = append(dst, b)
	}
	return dst
}
