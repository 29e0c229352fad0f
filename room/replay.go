package room

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"github.com/thronghq/throng/proto"
)

const (
	replayBytes  = 8 << 20         // of chunks that are kept for other cursors, in all rooms, unless Options say less
	replayChunks = 1024            // of them
	replayLinger = 5 * time.Second // how long one is kept
)

// replays keeps the chunks that cursors have just read, for those that come
// after them: when a server comes back, all members of a room have missed the same
// messages. A chunk's frames are encoded once and shared by reference, so that ten
// thousand outboxes hold them once, too.
//
// A chunk is for every cursor that stands where it begins, but for the authors of
// its messages, whose copies differ. So that cursors which began a little apart
// come together, a chunk ends where one that is kept begins.
//
// What is kept may be older than the log: a deletion, a trim or the end of the room
// takes its chunks away, and those that were being read meanwhile are not kept
// (the room's rewrites). What retention has removed since may be read for
// replayLinger longer.
type replays struct {
	// Static.
	now     func() time.Time
	account Account
	most    int // bytes

	mu     sync.Mutex
	chunks map[replayKey]*sharedChunk
	order  []*sharedChunk // those that were kept first come first; some may be gone from chunks
	bytes  int            // of frames, of all in order
}

// replayKey says where a chunk begins.
type replayKey struct {
	room *Room
	form proto.Form
	next uint64
}

// sharedChunk is what a chunk delivers. It does not change.
type sharedChunk struct {
	key      replayKey
	until    time.Time
	frames   []byte
	messages int
	authors  []string
	at       startAt // where a cursor stands after it
	last     uint64
	deleted  []uint64
	full     bool
}

// find returns the chunk for a cursor that stands at key and reads up to head,
// nil for none; then meets is the offset at which the next one begins that is
// kept, 0 for none.
func (p *replays) find(key replayKey, head uint64) (found *sharedChunk, meets uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expireLocked()
	if s := p.chunks[key]; s != nil && (s.full && s.at.next <= head+1 || s.at.next == head+1) {
		return s, 0
	}
	for _, s := range p.order {
		k := s.key
		if k.room == key.room && k.form == key.form && s.full && k.next > key.next && (meets == 0 || k.next < meets) && p.chunks[k] == s {
			meets = k.next
		}
	}
	return nil, meets
}

// keep takes a chunk that was read while the room's rewrites stood at the given
// count.
func (p *replays) keep(s *sharedChunk, rewrites uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.key.room.rewrites.Load() != rewrites {
		return
	}
	s.until = p.now().Add(replayLinger)
	if p.chunks == nil {
		p.chunks = make(map[replayKey]*sharedChunk)
	}
	p.chunks[s.key] = s
	p.order = append(p.order, s)
	p.count(cap(s.frames))
	for p.bytes > p.most || len(p.order) > replayChunks {
		p.dropLocked()
	}
}

// expire lets go of what was kept for long enough.
func (p *replays) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expireLocked()
}

func (p *replays) expireLocked() {
	for len(p.order) > 0 && p.now().After(p.order[0].until) {
		p.dropLocked()
	}
}

func (p *replays) dropLocked() {
	s := p.order[0]
	p.order[0] = nil
	if p.order = p.order[1:]; len(p.order) == 0 {
		p.order = nil
	}
	p.count(-cap(s.frames))
	if p.chunks[s.key] == s {
		delete(p.chunks, s.key)
	}
}

// count notes that so many bytes more are kept, or fewer.
func (p *replays) count(n int) {
	p.bytes += n
	p.account.Add(int64(n))
}

// rewritten takes the chunks of a room away, whose log has changed.
func (p *replays) rewritten(r *Room) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.rewrites.Add(1)
	p.order = slices.DeleteFunc(p.order, func(s *sharedChunk) bool {
		if s.key.room != r {
			return false
		}
		p.count(-cap(s.frames))
		if p.chunks[s.key] == s {
			delete(p.chunks, s.key)
		}
		return true
	})
}

// fill makes the cursor's next chunk, of what there is up to head: one that
// another cursor has made, or one that is read.
func (c *cursor) fill(k *chunk, head uint64) {
	r := c.room
	key := replayKey{r, k.form, c.next}
	plain := c.from == 0 && !c.latest && len(k.acks) == 0
	end := head
	if plain {
		found, meets := r.hub.replays.find(key, head)
		switch {
		case found != nil && !slices.Contains(found.authors, k.user):
			r.hub.meters.shared.Inc()
			k.frames, k.messages, k.at = found.frames, found.messages, found.at
			k.first, k.last, k.deleted = c.next, found.last, found.deleted
			return
		case meets > 0 && meets <= head:
			end = meets - 1
		}
	}
	rewrites := r.rewrites.Load()
	err := r.read(proto.Range{After: c.next - 1, Before: end + 1, From: c.from, Hint: c.hint}, k.add)
	if err != nil {
		r.hub.logger.Error("a member's missed messages could not be read", "room", r.name, "error", err)
		sendError(c.ms.member, "", r.name, proto.ErrStorage.With("messages of room %q after offset %d could not be read", r.name, k.at.next-1))
	}
	if !k.full { // everything there is up to the end
		k.skipTo(end + 1)
	}
	r.hub.meters.chunks.Inc()
	if err == nil && plain && k.first == c.next && !slices.Contains(k.authors, k.user) {
		k.frames = slices.Clip(bytes.Clone(k.frames)) // without the space that it grew by, and nobody appends to it
		r.hub.replays.keep(&sharedChunk{
			key: key, frames: k.frames, messages: k.messages, authors: k.authors,
			at: k.at, last: k.last, deleted: k.deleted, full: k.full || end < head,
		}, rewrites)
	}
}

// uncounted is the Account of a hub that has none.
type uncounted struct{}

// Add implements Account.
func (uncounted) Add(int64) {}
