package room

import (
	"bytes"
	"hash/maphash"
	"sync"
	"time"

	"github.com/thronghq/throng/proto"
)

// keyTable remembers a room's idempotency keys for Limits.KeyTTL, or for the
// room's last keysPerRoom keyed messages, whichever is less. It is empty after
// a wake, and read from the log before the first keyed publish.
type keyTable struct {
	// Owned by the room's worker.
	waiting []*outgoing // held publishes, from the first keyed one on, while the log is read

	mu      sync.Mutex
	loaded  bool // set once, by the room's worker
	entries map[keyID]*keyEntry
	oldest  *keyEntry // a list by age
	newest  *keyEntry
}

// keyID is a key: they are per user and room, which in an inbox is the addressee's.
type keyID struct{ user, room, key string }

// keyEntry is what became of a key's first publish.
type keyEntry struct {
	id      keyID
	sum     uint64 // of the content
	time    int64  // µs
	done    bool
	ack     proto.Event // once done
	repeats []*outgoing // that wait for the first one
	next    *keyEntry
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
	case e.sum != sum:
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
		ack := e.ack
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

// duplicate answers a repeat with the first one's ack.
func (r *Room) duplicate(o *outgoing, ack proto.Event) {
	r.hub.meters.duplicates.Inc()
	ack.ID, ack.Duplicate = o.id, true
	o.member.Send(&ack)
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
		if t.entries[e.id] == e {
			delete(t.entries, e.id)
		}
	} else {
		e.done, e.time = true, o.Time
		e.ack = *o.ack()
	}
	ack := e.ack
	t.mu.Unlock()
	for _, repeat := range repeats {
		if o.Err != nil {
			repeat.fail(o.Err)
		} else {
			r.duplicate(repeat, ack)
		}
	}
}

func (t *keyTable) addLocked(e *keyEntry) *keyEntry {
	if t.entries == nil {
		t.entries = make(map[keyID]*keyEntry)
	}
	if len(t.entries) >= keysPerRoom {
		t.dropOldestLocked()
	}
	t.entries[e.id] = e
	if t.newest == nil {
		t.oldest = e
	} else {
		t.newest.next = e
	}
	t.newest = e
	return e
}

func (t *keyTable) expireLocked(cutoff int64) {
	for t.oldest != nil && t.oldest.time < cutoff {
		t.dropOldestLocked()
	}
}

func (t *keyTable) dropOldestLocked() {
	e := t.oldest
	if t.entries[e.id] == e {
		delete(t.entries, e.id)
	}
	if t.oldest = e.next; t.oldest == nil {
		t.newest = nil
	}
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
			o := outgoing{Publish: proto.Publish{Message: *m}}
			ack := *o.ack()
			found = append(found, &keyEntry{
				id: keyID{m.From, m.To, m.Key}, sum: r.sum(m.Kind, m.Content), time: m.Time, done: true, ack: ack,
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
