package storage

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/thronghq/throng/proto"
)

// The committer is the one goroutine that writes messages. It takes what has
// gathered in the queue, and for each batch of it
//
//  1. sorts the publishes by room, keeping their order within each,
//  2. gives them offsets, times and ids, and encodes them,
//  3. applies the batch to Pebble, which appends it to the write-ahead log's
//     buffer and to the memtable, and
//  4. hands the async rooms their publishes, and the batch to the deliverer,
//     which does the same for sync rooms, and for what is Durable and follows it
//     in an async one, once an fsync covers it.
//
// While one batch is written the next one gathers, so that batches grow with
// the load and a single message waits for nobody. Step 3 asks for an fsync but
// does not wait for it. What makes the committer wait is only that nothing was
// synced for Options.SyncStall, or that Pebble itself stalls its writers; then
// the queue fills, and past its bound publishes are refused.

// maxBatchMessages bounds one batch.
const maxBatchMessages = 4096

// maxFlights bounds the sync batches that wait for their fsync.
const maxFlights = 256

// batchOverhead is what a batch takes beside what the queue counts for its
// publishes, which is about what their keys and records take.
const batchOverhead = 4 << 10

// clockStep is how exactly the store remembers its newest time, in µs.
const clockStep = int64(time.Second / time.Microsecond)

// committer holds what only the committing goroutine touches.
type committer struct {
	s           *Store
	random      *rand.ChaCha8
	maxBytes    int    // of one batch
	storedClock int64  // the newest clock record
	rooms       uint64 // the highest room id given
	scratch     []byte
	metaScratch meta
}

// delivery is what one batch holds for one room.
type delivery struct {
	room *Room
	pubs []*proto.Publish // nil for a room that only goes idle
	last place            // the head once this is committed
	idle bool             // the room goes idle after it
	sync bool             // it waits for an fsync
	ends bool             // the room ends with it, or has before
	err  *proto.Error     // of all publishes
}

// flight is one batch on its way.
type flight struct {
	batch    *pebble.Batch // nil where nothing was written
	number   uint64        // of the batch, see durability
	began    time.Time
	messages int
	bytes    int  // as counted by the queue
	synced   bool // the batch asked for an fsync

	rooms      []*Room
	pubs       []*proto.Publish // grouped by room
	deliveries []delivery
}

// run commits until the queue is closed and empty.
func (c *committer) run() {
	var ops []op
	for {
		var ok bool
		if ops, ok = c.s.queue.swap(ops[:0]); !ok {
			return
		}
		for rest := ops; len(rest) > 0; {
			n := c.cut(rest)
			c.commit(rest[:n])
			rest = rest[n:]
		}
		clear(ops)
	}
}

// cut returns how many of the operations make the next batch. It does not cut
// through a pair.
func (c *committer) cut(ops []op) int {
	n, bytes := 0, 0
	for n < len(ops) && n < maxBatchMessages {
		next := 1
		if ops[n].paired {
			next = 2
		}
		for _, o := range ops[n : n+next] {
			if o.pub != nil {
				bytes += queueBytes(o.pub)
			}
		}
		if bytes > c.maxBytes && n > 0 {
			return n
		}
		n += next
	}
	return n
}

func (c *committer) commit(ops []op) {
	s := c.s
	if s.durable.await(s.opts.SyncStall) {
		s.tele.stalls.Inc()
	}
	f := c.group(ops)
	if err := s.refusal(); err != nil {
		f.fail(err)
	}
	ownSync := slices.ContainsFunc(f.deliveries, func(d delivery) bool { return d.sync })
	if s.failure() == nil {
		f.batch = s.db.NewBatchWithSize(batchOverhead + f.bytes)
		now := s.clock.micros()
		if slices.ContainsFunc(ops, func(o op) bool { return o.paired }) {
			c.plan(ops, now)
		}
		c.encode(f, now)
		if f.batch.Empty() {
			_ = f.batch.Close()
			f.batch = nil
		} else if err := c.apply(f, ownSync); err != nil {
			s.fail(err)
		}
	}
	if s.failure() != nil {
		f.fail(proto.ErrStorage.New())
	}
	c.hand(f)
}

// group sorts the operations by room. Each room's keep their order.
func (c *committer) group(ops []op) *flight {
	f := c.s.newFlight()
	for _, o := range ops {
		r := o.room
		if !r.gathered {
			r.gathered, r.count, r.idling = true, 0, false
			f.rooms = append(f.rooms, r)
		}
		if o.pub == nil {
			r.idling = true
			continue
		}
		if o.pub.Edit == proto.EditNone {
			o.pub.Time = 0 // plan or appendMessage gives it
		}
		r.count++
		f.messages++
		f.bytes += queueBytes(o.pub)
	}
	f.pubs = resize(f.pubs, f.messages)
	start := 0
	for _, r := range f.rooms {
		f.deliveries = append(f.deliveries, delivery{room: r, pubs: f.pubs[start : start : start+r.count], idle: r.idling, sync: r.sync})
		r.slot = len(f.deliveries) - 1
		r.gathered = false
		start += r.count
	}
	for _, o := range ops {
		if o.pub != nil {
			d := &f.deliveries[o.room.slot]
			d.pubs = append(d.pubs, o.pub)
			d.sync = d.sync || o.pub.Durable
		}
	}
	return f
}

func resize(s []*proto.Publish, n int) []*proto.Publish {
	if cap(s) < n {
		return make([]*proto.Publish, n)
	}
	return s[:n]
}

// fail gives all publishes of the flight the same error.
func (f *flight) fail(err *proto.Error) {
	for i := range f.deliveries {
		f.deliveries[i].fail(err)
	}
}

func (d *delivery) fail(err *proto.Error) {
	d.err = err
	for _, p := range d.pubs {
		p.Err = err
	}
}

// encode gives the publishes their places and fills the batch.
func (c *committer) encode(f *flight, now int64) {
	for i := range f.deliveries {
		d := &f.deliveries[i]
		if len(d.pubs) > 0 && d.err == nil {
			c.appendRoom(f.batch, d, now)
			c.s.newest = max(c.s.newest, d.room.tail.time)
		}
		if d.idle && d.room.outdated() {
			c.appendMeta(f.batch, d.room, true)
		}
		d.last, d.ends = d.room.tail, d.room.ended
	}
	if newest := c.s.newest; newest >= c.storedClock+clockStep {
		c.storedClock = newest
		c.scratch = binary.BigEndian.AppendUint64(c.scratch[:0], uint64(newest))
		c.set(f.batch, keyClock, c.scratch)
	}
}

// remove takes a record out, with the batch.
func (c *committer) remove(b *pebble.Batch, key []byte) {
	if err := b.Delete(key, nil); err != nil {
		panic(fmt.Sprintf("storage: a batch refused a removal: %v", err))
	}
}

// set puts a record into the batch. A batch in memory takes everything; an
// error would be a broken invariant.
func (c *committer) set(b *pebble.Batch, key, value []byte) {
	if err := b.Set(key, value, nil); err != nil {
		panic(fmt.Sprintf("storage: a batch refused a record: %v", err))
	}
}

// apply writes the batch. What Pebble throws when the write-ahead log has failed
// is an error like the others.
func (c *committer) apply(f *flight, ownSync bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("storage: writing a batch: %v", p)
		}
	}()
	s := c.s
	size := f.batch.Len()
	f.began = time.Now()
	if ownSync {
		err = s.db.ApplyNoSyncWait(f.batch, pebble.Sync)
	} else {
		err = s.db.Apply(f.batch, pebble.NoSync)
	}
	if err != nil {
		return fmt.Errorf("storage: writing a batch: %w", err)
	}
	f.synced = ownSync
	f.number = s.durable.wrote(f.began, ownSync)
	s.tele.commitSeconds.UpdateDuration(f.began)
	s.tele.batchMessages.Update(float64(f.messages))
	s.tele.batchBytes.Update(float64(size))
	s.space.wrote(size)
	return nil
}

// hand delivers what needs no fsync, and passes the rest on. What an async room
// has to deliver waits behind what it has waiting: order goes first.
func (c *committer) hand(f *flight) {
	s := c.s
	waits := false
	for i := range f.deliveries {
		d := &f.deliveries[i]
		if d.sync = d.sync || d.room.holding.Load() > 0; !d.sync {
			s.deliver(d)
			continue
		}
		d.room.holding.Add(1)
		waits = true
	}
	if !waits {
		s.land(f)
		return
	}
	s.flights <- f
}

// deliverSynced takes flights in order, waits for the fsync that covers each,
// and delivers what waits for it.
func (s *Store) deliverSynced() {
	for f := range s.flights {
		if f.synced && s.failure() == nil {
			if err := f.batch.SyncWait(); err != nil {
				s.fail(fmt.Errorf("storage: syncing a batch: %w", err))
			} else {
				s.tele.syncSeconds.UpdateDuration(f.began)
				s.durable.reached(f.number, f.began)
			}
		}
		failed := s.failure() != nil
		for i := range f.deliveries {
			d := &f.deliveries[i]
			if !d.sync {
				continue
			}
			if failed {
				d.fail(proto.ErrStorage.New())
			}
			s.deliver(d)
			d.room.holding.Add(-1)
		}
		s.land(f)
	}
}

// deliver moves a room's head and gives its publishes to its sink.
func (s *Store) deliver(d *delivery) {
	if len(d.pubs) > 0 {
		if d.err == nil {
			d.room.setHead(d.last)
			s.tele.messages.Add(len(d.pubs))
		} else {
			s.refused(d.err, len(d.pubs))
		}
		d.room.sink(d.pubs)
	}
	if d.ends {
		s.purgeSoon()
	}
	if d.idle {
		s.forget(d.room)
	}
}

// newFlight returns an empty flight.
func (s *Store) newFlight() *flight {
	select {
	case f := <-s.landed:
		return f
	default:
		return new(flight)
	}
}

// land ends a flight: its space in the queue is free, and it is used again.
func (s *Store) land(f *flight) {
	s.queue.release(f.messages, f.bytes)
	if f.batch != nil && s.failure() == nil {
		if err := f.batch.Close(); err != nil {
			s.log.Warn("closing a batch", slog.Any("error", err))
		}
	}
	clear(f.rooms)
	clear(f.pubs)
	clear(f.deliveries)
	*f = flight{rooms: f.rooms[:0], pubs: f.pubs[:0], deliveries: f.deliveries[:0]}
	select {
	case s.landed <- f:
	default:
	}
}

// tick syncs what async rooms have written, SyncInterval after the first of it,
// until nothing is written any more.
func (s *Store) tick() {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-s.drained:
			return
		case <-s.durable.wake:
		}
		for unsafe := true; unsafe && s.failure() == nil; {
			timer.Reset(s.opts.SyncInterval)
			select {
			case <-s.drained:
				return
			case <-timer.C:
			}
			_, unsafe = s.durable.due()
			if unsafe {
				s.syncNow()
				_, unsafe = s.durable.due()
			}
		}
	}
}

// syncNow syncs everything written so far.
func (s *Store) syncNow() {
	defer func() {
		if p := recover(); p != nil {
			s.fail(fmt.Errorf("storage: syncing the log: %v", p))
		}
	}()
	batch, _ := s.durable.due()
	began := time.Now()
	if err := s.db.LogData(nil, pebble.Sync); err != nil {
		s.fail(fmt.Errorf("storage: syncing the log: %w", err))
	}
	if s.failure() == nil {
		s.tele.syncSeconds.UpdateDuration(began)
		s.durable.reached(batch, began)
	}
}
