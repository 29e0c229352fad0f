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
// A chunk is for every cursor that stands at one of its messages, wherever it
// began itself, but for the authors of its messages, whose copies differ. A chunk
// that is not small ends where one that is kept begins, and none that is kept lies
// within another: however far apart cursors begin, what they read is read about
// once.
//
// What is kept may be older than the log: a deletion, a trim or the end of the room
// takes its chunks away, and those that were being read meanwhile are not kept
// (the room's rewrites), nor is a chunk used of which something has expired. What has
// become too many for the room since may be read for replayLinger longer.
type replays struct {
	// Static.
	account Account
	most    int // bytes

	mu     sync.Mutex
	chunks map[replayKey][]*sharedChunk // by where they begin, which is by where they end, too
	order  []*sharedChunk               // all of them; those that were kept first come first
	bytes  int                          // of all
}

// replayKey says whom a chunk is for.
type replayKey struct {
	room *Room
	form proto.Form
}

// sharedChunk is what a chunk delivers: messages whose offsets follow each other.
// It does not change.
type sharedChunk struct {
	key     replayKey
	until   time.Time
	first   uint64 // offset of the first message
	frames  []byte
	ends    []uint32 // of each message in frames
	authors []string
	at      startAt // where a cursor stands after it
	oldest  int64   // the time of the first message, µs
	deleted []uint64
	full    bool // what follows is in another chunk
}

func (s *sharedChunk) size() int { return cap(s.frames) + 4*cap(s.ends) }

// from returns the frames of the messages from an offset on, which it has.
func (s *sharedChunk) from(next uint64) []byte {
	if next == s.first {
		return s.frames
	}
	return s.frames[s.ends[next-s.first-1]:]
}

// serves reports whether the chunk is for a cursor that stands at next and knows
// of messages up to head. A chunk that ended at the head, as that was when it was
// read, still is where it has much: then a small one follows.
func (s *sharedChunk) serves(next, head uint64) bool {
	return s.first <= next && next < s.at.next && s.at.next <= head+1 &&
		(s.full || s.at.next == head+1 || len(s.from(next)) >= cursorLeast)
}

// find returns the chunk for a cursor that stands at next and reads up to head,
// nil for none; then meets is the offset at which the next one begins that is
// kept, 0 for none.
func (p *replays) find(key replayKey, next, head uint64) (found *sharedChunk, meets uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expireLocked()
	list := p.chunks[key]
	i := after(list, next)
	if i > 0 && list[i-1].serves(next, head) {
		return list[i-1], 0
	}
	if i < len(list) && list[i].serves(list[i].first, head) {
		meets = list[i].first
	}
	return nil, meets
}

// after returns the index of the first chunk that begins after an offset.
func after(list []*sharedChunk, offset uint64) int {
	i, _ := slices.BinarySearchFunc(list, offset, func(s *sharedChunk, offset uint64) int {
		if s.first <= offset {
			return -1
		}
		return 1
	})
	return i
}

// keep takes a chunk that was read while the room's rewrites stood at the given
// count.
func (p *replays) keep(s *sharedChunk, rewrites uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.chunks[s.key]
	from := after(list, s.first)
	if s.key.room.rewrites.Load() != rewrites || from > 0 && list[from-1].at.next >= s.at.next {
		return
	}
	if from > 0 && list[from-1].first == s.first {
		from--
	}
	to := from
	for to < len(list) && list[to].at.next <= s.at.next {
		to++
	}
	for _, within := range list[from:to] {
		p.order = slices.DeleteFunc(p.order, func(o *sharedChunk) bool { return o == within })
		p.count(-within.size())
	}
	if p.chunks == nil {
		p.chunks = make(map[replayKey][]*sharedChunk)
	}
	p.chunks[s.key] = slices.Replace(list, from, to, s)
	s.until = time.Now().Add(replayLinger)
	p.order = append(p.order, s)
	p.count(s.size())
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
	for len(p.order) > 0 && time.Now().After(p.order[0].until) {
		p.dropLocked()
	}
}

// dropLocked forgets the chunk that was kept first.
func (p *replays) dropLocked() {
	s := p.order[0]
	p.order[0] = nil
	if p.order = p.order[1:]; len(p.order) == 0 {
		p.order = nil
	}
	p.count(-s.size())
	list := p.chunks[s.key]
	i := after(list, s.first) - 1
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(p.chunks, s.key)
	} else {
		p.chunks[s.key] = list
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
		p.count(-s.size())
		delete(p.chunks, s.key)
		return true
	})
}

// fill makes the cursor's next chunk, of what there is up to head: one that
// another cursor has made, or one that is read.
func (c *cursor) fill(k *chunk, head uint64) {
	r := c.room
	key := replayKey{r, k.form}
	k.common = c.from == 0 && !c.latest && len(k.acks) == 0
	if k.common {
		var found *sharedChunk
		found, k.meets = r.hub.replays.find(key, c.next, head)
		if found != nil && found.oldest >= r.cutoff() && !slices.Contains(found.authors, k.user) {
			r.hub.meters.shared.Inc()
			k.frames, k.messages, k.at = found.from(c.next), int(found.at.next-c.next), found.at
			k.first, k.last, k.deleted = c.next, found.at.next-1, found.deleted
			return
		}
	}
	rewrites := r.rewrites.Load()
	err := r.read(proto.Range{After: c.next - 1, Before: head + 1, From: c.from, Hint: c.hint}, k.add)
	if err != nil {
		r.hub.logger.Error("a member's missed messages could not be read", "room", r.name, "error", err)
		sendError(c.ms.member, "", r.name, proto.ErrStorage.With("messages of room %q after offset %d could not be read", r.name, k.at.next-1))
	}
	if !k.full { // everything there is up to the head
		k.skipTo(head + 1)
	}
	r.hub.meters.chunks.Inc()
	if err == nil && k.common && k.gapless() && !slices.Contains(k.authors, k.user) {
		k.frames = slices.Clip(bytes.Clone(k.frames)) // without the space that it grew by, and nobody appends to it
		r.hub.replays.keep(&sharedChunk{
			key: key, first: k.first, frames: k.frames, ends: k.ends, authors: k.authors,
			at: k.at, oldest: k.oldest, deleted: k.deleted, full: k.full,
		}, rewrites)
	}
}

// gapless reports that the chunk has every message from where its cursor stood.
func (k *chunk) gapless() bool {
	return k.messages > 0 && k.first == k.cursor.next && k.at.next-k.first == uint64(k.messages)
}

// uncounted is the Account of a hub that has none.
type uncounted struct{}

// Add implements Account.
func (uncounted) Add(int64) {}
