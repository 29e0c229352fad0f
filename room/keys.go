package room

import (
	"bytes"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thronghq/throng/proto"
)

// keyTable remembers a room's idempotency keys for Limits.KeyTTL, or for the
// room's last keysPerRoom keyed messages, whichever is less; where all rooms
// together have keysInAll, for its last keysScarce. It is empty after a wake,
// and read from the log before the first keyed publish.
type keyTable struct {
	total *atomic.Int64 // static: entries of all rooms

	// Owned by the room's worker.
	waiting []*outgoing // held publishes, from the first keyed one on, while the log is read

	mu      sync.Mutex
	loaded  bool // set once, by the room's worker
	entries map[keyID]*keyEntry
	oldest  *keyEntry // a list of them by age
	newest  *keyEntry
}

// keyID is a key: they are per user and room, which in an inbox is the addressee's.
type keyID struct{ user, room, key string }

// keyEntry is what became of a key's first publish. It refers to nothing of the
// message, which may be far larger.
type keyEntry struct {
	id      keyID
	sum     uint64 // of the content
	time    int64  // µs; the message's own once done
	done    bool
	msgID   proto.MsgID // once done
	offset  uint64      // once done
	deleted bool        // the message was, and its content cannot be compared
	repeats []*outgoing // that wait for the first one
	older   *keyEntry
	newer   *keyEntry
}

// publishKeyed appends the message unless its key was used before.
func (r *Room) publishKeyed(o *outgoing) {
	t := &r.keys
	t.mu.Lock()
	if !t.loaded {
		t.mu.Unlock()
		r.hub.hold(r.name, r.ns, o)
		return
	}
	now := r.hub.now()
	t.expireLocked(now.Add(-r.hub.limits.KeyTTL).UnixMicro())
	id := keyID{o.From, o.To, o.Key}
	sum := r.sum(o.Kind, o.Content)
	e := t.entries[id]
	switch {
	case e == nil:
		o.entry = t.addLocked(&keyEntry{id: id, sum: sum, time: now.UnixMicro()})
		t.mu.Unlock()
		r.append(o)
	case e.sum != sum && !e.deleted:
		t.mu.Unlock()
		o.fail(proto.ErrKeyConflict.With("key %q was used with other content in room %q", o.Key, r.name))
	case !e.done && len(e.repeats) >= repeatsWaiting:
		t.mu.Unlock()
		r.refuse(o, overloadedBy("key %q has %d repeats waiting for its first message in room %q", o.Key, repeatsWaiting, r.name))
	case !e.done:
		o.id, o.Content = bytes.Clone(o.id), nil // which lets the content go
		e.repeats = append(e.repeats, o)
		t.mu.Unlock()
	default:
		ack := e.ack()
		t.mu.Unlock()
		r.duplicate(o, ack)
	}
}

// awaitKeys keeps a held message until the room's keys are read, where they
// matter to it or to one before it.
func (r *Room) awaitKeys(o *outgoing) bool {
	t := &r.keys
	if t.loaded || len(t.waiting) == 0 && (o.Key == "" || o.transient) {
		return false
	}
	if t.waiting = append(t.waiting, o); len(t.waiting) == 1 {
		r.hub.readers.submit((*keyLoad)(r))
	}
	return true
}

// ack is the answer to a repeat, but for its id.
func (e *keyEntry) ack() proto.Event {
	return proto.Event{Type: proto.EvAck, Room: e.id.room, MsgID: e.msgID, Offset: e.offset, Millis: e.time / 1000, Duplicate: true}
}

// duplicate answers a repeat with the first one's ack.
func (r *Room) duplicate(o *outgoing, ack proto.Event) {
	r.hub.meters.duplicates.Inc()
	ack.ID = o.id
	o.member.Send(&ack)
}

// finishKey takes note of what became of a keyed message, before its author is
// told: a repeat that the author then sends is answered at once, in its turn.
func (r *Room) finishKey(o *outgoing) {
	e := o.entry
	if e == nil {
		return
	}
	r.keys.mu.Lock()
	defer r.keys.mu.Unlock()
	e.done, e.time, e.msgID, e.offset = true, o.Time, o.Message.ID, o.Offset
}

// settleKey answers the repeats of a keyed message that the log has given back
// or refused. A refused key is free again.
func (r *Room) settleKey(o *outgoing) {
	e := o.entry
	if e == nil {
		return
	}
	o.entry = nil
	t := &r.keys
	t.mu.Lock()
	repeats := e.repeats
	e.repeats = nil
	if o.Err != nil {
		t.removeLocked(e)
	}
	ack := e.ack()
	t.mu.Unlock()
	for _, repeat := range repeats {
		if o.Err != nil {
			repeat.fail(o.Err)
		} else {
			r.duplicate(repeat, ack)
		}
	}
}

// abandonKey forgets the key of a message that goes on to the room's next life.
func (r *Room) abandonKey(o *outgoing) {
	e := o.entry
	if e == nil {
		return
	}
	o.entry = nil
	r.keys.mu.Lock()
	repeats := e.repeats
	e.repeats = nil
	r.keys.removeLocked(e)
	r.keys.mu.Unlock()
	for _, repeat := range repeats {
		r.refuse(repeat, overloadedBy("room %q has just left memory", r.name))
	}
}

func (t *keyTable) addLocked(e *keyEntry) *keyEntry {
	if t.entries == nil {
		t.entries = make(map[keyID]*keyEntry)
	}
	limit := keysPerRoom
	if t.total.Load() >= keysInAll {
		limit = keysScarce
	}
	for range 2 { // one for the new one, and one more where there are too many
		if len(t.entries) >= limit {
			t.removeLocked(t.oldest)
		}
	}
	if old := t.entries[e.id]; old != nil {
		t.removeLocked(old)
	}
	t.entries[e.id] = e
	t.total.Add(1)
	if e.older = t.newest; e.older == nil {
		t.oldest = e
	} else {
		e.older.newer = e
	}
	t.newest = e
	return e
}

func (t *keyTable) expireLocked(cutoff int64) {
	for t.oldest != nil && t.oldest.time < cutoff {
		t.removeLocked(t.oldest)
	}
}

// removeLocked forgets an entry, unless that was done before.
func (t *keyTable) removeLocked(e *keyEntry) {
	if t.entries[e.id] != e {
		return
	}
	delete(t.entries, e.id)
	t.total.Add(-1)
	if e.older == nil {
		t.oldest = e.newer
	} else {
		e.older.newer = e.newer
	}
	if e.newer == nil {
		t.newest = e.older
	} else {
		e.newer.older = e.older
	}
	e.older, e.newer = nil, nil
}

// clear forgets all keys: the room has left memory.
func (t *keyTable) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total.Add(-int64(len(t.entries)))
	t.entries, t.oldest, t.newest = nil, nil, nil
}

func (r *Room) sum(kind proto.Kind, content []byte) uint64 {
	return maphash.Bytes(r.hub.seed, content) ^ uint64(kind)
}

// keyLoad reads the keys of a woken room's recent messages.
type keyLoad Room

func (j *keyLoad) run() {
	r := (*Room)(j)
	limits := &r.hub.limits
	var found []*keyEntry
	rg := proto.Range{
		Before: r.head.Load() + 1, From: r.hub.now().Add(-limits.KeyTTL).UnixMicro(),
		Limit: limits.KeyRecords, Reverse: true,
	}
	start := time.Now()
	err := r.read(rg, func(m *proto.Message) bool {
		if m.Key != "" {
			found = append(found, &keyEntry{
				id: keyID{m.From, m.To, m.Key}, sum: r.sum(m.Kind, m.Content), time: m.Time, done: true, msgID: m.ID, offset: m.Offset,
				deleted: m.Kind == proto.KindDeleted,
			})
		}
		return true
	})
	if err != nil {
		r.hub.logger.Error("a room's idempotency keys could not be read", "room", r.name, "error", err)
	} else {
		r.hub.logger.Debug("idempotency keys read", "room", r.name, "keys", len(found), "took", time.Since(start))
	}
	r.post(op{do: func(r *Room, _ *proto.Error) { r.keysRead(found, err) }})
}

// keysRead takes over the keys, newest first, and publishes what waited.
func (r *Room) keysRead(found []*keyEntry, err error) {
	t := &r.keys
	if err == nil {
		t.mu.Lock()
		for i := len(found) - 1; i >= 0; i-- {
			t.addLocked(found[i])
		}
		t.loaded = true
		t.mu.Unlock()
	}
	for _, o := range t.waiting {
		r.unkeep(o)
		if err != nil {
			o.fail(proto.ErrStorage.With("the recent keys of room %q could not be read", r.name))
		} else {
			r.publish(o)
		}
		r.held.Add(-1)
	}
	t.waiting = nil
}
