package room

import (
	"context"
	"hash/maphash"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/proto"
)

const (
	shardCount     = 64               // a power of two
	sweepEvery     = 5 * time.Second  // how often idle rooms are looked for
	roomLinger     = 30 * time.Second // how long an empty room stays in memory
	crowd          = 20_000           // empty rooms that may do so
	ringLinger     = time.Minute      // how long a quiet durable room keeps its ring
	readers        = 4                // goroutines that may wait for the log
	keysPerRoom    = 100_000          // idempotency keys that a room remembers
	keysInAll      = 500_000          // keys in all rooms above which a room remembers keysScarce
	keysScarce     = 64
	repeatsWaiting = 1000     // repeats that may wait for their key's first message
	acksWaiting    = 4096     // acks that may wait for one lagging author
	batchBytes     = 48 << 10 // of frames in one write
	roomTurn       = 512      // operations of a room before other rooms have their turn
	maxBacklog     = 4 << 20  // bytes of messages that a room may have on their way
	maxKept        = 64 << 20 // bytes of messages that may wait in all rooms before the log can have them
	backlogRetry   = 100 * time.Millisecond
	cursorBytes    = 32 << 10 // of frames that a cursor delivers at once
	cursorLeast    = 8 << 10  // of them that are worth a delivery before what follows is at hand
	cursorRounds   = 8        // such deliveries before others have their turn
)

// Options says how a Hub works. Namespaces, Limits, Log and Logger must be set.
type Options struct {
	Namespaces []proto.Namespace
	Limits     proto.Limits
	Log        Log    // of the namespaces whose durability is async or sync
	People     People // the users who are connected; nil for nobody
	Logger     *slog.Logger
	Metrics    *metrics.Set // nil registers nowhere
	Workers    int          // that fan out; 0 means one per processor
	RingBytes  int64        // bounds the recent messages that all rooms keep in memory; 0 means 256 MiB
	Replays    Account      // counts what is kept of what was replayed; nil for none
	ReplayKept int64        // bounds it; 0, and what is more, means 8 MiB

	// Compression compresses frames in the namespaces that say so; nil
	// compresses none.
	Compression *proto.Compression

	Observer Observer         // nil for none
	Now      func() time.Time // the time of what is dated, which must not go back; nil means time.Now
}

// Hub holds all rooms. Its methods are safe for concurrent use and do not
// block, Close aside; their answers go to the Member.
type Hub struct {
	namespaces map[string]*proto.Namespace
	limits     proto.Limits
	deflate    *proto.Compression
	log        Log
	memory     Log
	logger     *slog.Logger
	observer   Observer         // nil for none
	now        func() time.Time // dates things: a jump of the machine's clock shows in it
	began      time.Time        // see steady
	seed       maphash.Seed
	meters     *meters

	rings    ringBudget
	replays  replays
	keys     atomic.Int64 // idempotency keys in all rooms
	kept     atomic.Int64 // bytes of messages that wait, see Room.keep
	vacant   atomic.Int64 // rooms in memory without users
	people   People
	receipts receipts

	workers *pool // rooms with something queued
	readers *pool // cursors, histories and waking rooms
	fans    int   // workers that may share a large room's fan-out

	shards [shardCount]shard

	watchMu sync.Mutex
	watched map[*Room]struct{} // rooms that wait for a time

	stopSweep context.CancelFunc
	sweeping  sync.WaitGroup
}

type shard struct {
	mu    sync.RWMutex
	rooms map[string]*Room
}

// NewHub starts a hub without rooms.
func NewHub(o Options) *Hub {
	if o.Workers == 0 {
		o.Workers = runtime.NumCPU()
	}
	if o.RingBytes == 0 {
		o.RingBytes = 256 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &Hub{
		namespaces: make(map[string]*proto.Namespace),
		limits:     o.Limits,
		deflate:    o.Compression,
		log:        o.Log,
		memory:     MemoryLog{Now: o.Now},
		logger:     o.Logger,
		observer:   o.Observer,
		now:        o.Now,
		began:      time.Now(),
		seed:       maphash.MakeSeed(),
		workers:    newPool(o.Workers),
		readers:    newPool(readers),
		fans:       o.Workers,
		stopSweep:  cancel,
	}
	for i := range o.Namespaces {
		h.namespaces[o.Namespaces[i].Name] = &o.Namespaces[i]
	}
	h.rings.max = o.RingBytes
	h.replays.account, h.replays.most = o.Replays, replayBytes
	if o.ReplayKept > 0 {
		h.replays.most = int(min(o.ReplayKept, replayBytes))
	}
	if o.Replays == nil {
		h.replays.account = uncounted{}
	}
	h.watched = make(map[*Room]struct{})
	if h.people = o.People; o.People == nil {
		h.people = nobody{}
	}
	for i := range h.shards {
		h.shards[i].rooms = make(map[string]*Room)
	}
	h.meters = newMeters(o.Metrics, h)
	h.receipts.full = make(chan struct{}, 1)
	h.sweeping.Go(func() { h.sweep(ctx) })
	h.sweeping.Go(func() { h.saveReceipts(ctx) })
	return h
}

// Close ends the hub after its last member and publish: it lets what is queued
// finish, then closes every room's stream. The log must still be open.
func (h *Hub) Close() {
	h.stopSweep()
	h.sweeping.Wait()
	h.readers.close()
	h.workers.close()
	h.flushReceipts()
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		for _, r := range s.rooms {
			if r.stream != nil {
				r.stream.Close()
			}
		}
		clear(s.rooms)
		s.mu.Unlock()
	}
}

// Namespace returns the settings that hold for a room, or an error that names
// what is configured.
func (h *Hub) Namespace(field, room string) (*proto.Namespace, *proto.Error) {
	if err := proto.CheckRoomName(field, room); err != nil {
		return nil, err
	}
	name := proto.NamespaceOf(room)
	if ns := h.namespaces[name]; ns != nil {
		return ns, nil
	}
	return nil, proto.ErrUnknownNamespace.With("field %q: the namespace %q of room %q is not configured; a room without a colon is in the namespace %q", field, name, room, proto.DefaultNamespace)
}

// Rooms counts the rooms in memory.
func (h *Hub) Rooms() int {
	n := 0
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.RLock()
		n += len(s.rooms)
		s.mu.RUnlock()
	}
	return n
}

func (h *Hub) shard(name string) *shard {
	return &h.shards[maphash.String(h.seed, name)%shardCount]
}

// room returns the room of that name, waking it when it is not in memory.
func (h *Hub) room(name string, ns *proto.Namespace) *Room {
	s := h.shard(name)
	s.mu.RLock()
	r := s.rooms[name]
	s.mu.RUnlock()
	if r != nil {
		return r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.rooms[name]; r != nil {
		return r
	}
	r = newRoom(h, name, ns)
	s.rooms[r.name] = r
	h.vacant.Add(1)
	h.readers.submit((*wakeJob)(r))
	return r
}

// post queues do in the room of that name. Where the room could not be woken,
// do gets the error instead of its turn.
func (h *Hub) post(name string, ns *proto.Namespace, do func(r *Room, err *proto.Error)) {
	for !h.room(name, ns).post(op{do: do}) {
		runtime.Gosched() // the room is just leaving memory
	}
}

// wakeJob opens a new room's stream; what was queued meanwhile then runs.
type wakeJob Room

func (j *wakeJob) run() {
	r := (*Room)(j)
	log := r.hub.log
	if r.ns.Durability == proto.Memory {
		log = r.hub.memory
	}
	stream, err := log.Room(r.name, r.committed)
	if err == nil {
		err = r.awaken(stream)
	}
	if err != nil {
		r.hub.logger.Error("a room could not be woken", "room", r.name, "error", err)
		r.fail(proto.ErrStorage.With("the room %q could not be read from the disk", r.name))
		return
	}
	r.hub.workers.submit(r)
}

// forget takes a room out of memory unless something is queued for it, or is
// still to be done in the run that asks. The stream is closed before another
// room of that name can be made.
func (h *Hub) forget(r *Room) bool {
	s := h.shard(r.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue != nil || r.undone > 0 || r.appending > 0 || r.held.Load() > 0 || len(r.directs) > 0 {
		return false
	}
	r.dead = true
	if r.stream != nil {
		r.stream.Close()
	}
	delete(s.rooms, r.name)
	h.vacant.Add(-1)
	h.watchMu.Lock()
	delete(h.watched, r)
	h.watchMu.Unlock()
	return true
}

// sweep asks idle rooms to leave memory, and ticks those that wait for a time.
func (h *Hub) sweep(ctx context.Context) {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	var rooms []*Room
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.replays.expire()
			rooms = h.tickWatched(rooms)
			if h.linger() == 0 || h.rings.scarce() {
				rooms = h.restIdle(rooms)
			}
		case <-sweep.C:
			rooms = h.restIdle(rooms)
		}
	}
}

// linger is how long an empty room stays in memory: clients that name ever new
// rooms must not fill it.
func (h *Hub) linger() time.Duration {
	if h.vacant.Load() > crowd {
		return 0
	}
	return roomLinger
}

// ringLinger is how long a quiet durable room keeps its ring.
func (h *Hub) ringLinger() time.Duration {
	if h.rings.scarce() {
		return scarceLinger
	}
	return ringLinger
}

// steady measures how long things last, in ms: graces, and how long rooms have
// been quiet. It is the time of day of the hub's start and what has passed since,
// so that it does not jump with the machine's clock.
func (h *Hub) steady() int64 {
	return h.began.UnixMilli() + time.Since(h.began).Milliseconds()
}

// restIdle asks the rooms to rest that have been quiet for long enough.
func (h *Hub) restIdle(rooms []*Room) []*Room {
	rooms = h.idle(rooms[:0])
	for i, r := range rooms {
		r.post(op{do: func(r *Room, _ *proto.Error) { r.rest() }})
		rooms[i] = nil
	}
	return rooms
}

// idle appends the rooms that have been quiet for long enough to give up
// memory.
func (h *Hub) idle(dst []*Room) []*Room {
	now, linger, occupied := h.steady(), h.linger(), min(roomLinger, h.ringLinger())
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.RLock()
		for _, r := range s.rooms {
			enough := occupied
			if r.users.Load() == 0 {
				enough = min(linger, occupied)
			}
			if r.awake.Load() && now-r.touched.Load() >= enough.Milliseconds() {
				dst = append(dst, r)
			}
		}
		s.mu.RUnlock()
	}
	return dst
}

type meters struct {
	published  *metrics.Counter
	refused    *metrics.Counter
	transient  *metrics.Counter
	duplicates *metrics.Counter
	batches    *metrics.Counter
	batched    *metrics.Counter
	lagged     *metrics.Counter
	conflated  *metrics.Counter
	slowClosed *metrics.Counter
	dropped    *metrics.Counter
	gaps       *metrics.Counter
	replayed   *metrics.Counter
	chunks     *metrics.Counter
	shared     *metrics.Counter
	recovered  *metrics.Counter
	unrecov    *metrics.Counter
	members    *metrics.Counter
}

func newMeters(set *metrics.Set, h *Hub) *meters {
	if set == nil {
		set = metrics.NewSet()
	}
	set.NewGauge("throng_rooms", func() float64 { return float64(h.Rooms()) })
	set.NewGauge("throng_keys", func() float64 { return float64(h.keys.Load()) })
	set.NewGauge("throng_ring_bytes", func() float64 { return float64(h.rings.used.Load()) })
	return &meters{
		published:  set.NewCounter("throng_messages_published_total"),
		refused:    set.NewCounter("throng_messages_refused_total"),
		transient:  set.NewCounter("throng_messages_transient_total"),
		duplicates: set.NewCounter("throng_messages_duplicate_total"),
		batches:    set.NewCounter("throng_fanout_batches_total"),
		batched:    set.NewCounter("throng_fanout_messages_total"),
		lagged:     set.NewCounter(`throng_room_drops_total{reason="lag"}`),
		conflated:  set.NewCounter(`throng_room_drops_total{reason="conflate"}`),
		slowClosed: set.NewCounter(`throng_room_drops_total{reason="close"}`),
		dropped:    set.NewCounter(`throng_room_drops_total{reason="transient"}`),
		gaps:       set.NewCounter("throng_gaps_total"),
		replayed:   set.NewCounter("throng_messages_replayed_total"),
		chunks:     set.NewCounter(`throng_replay_chunks_total{shared="false"}`),
		shared:     set.NewCounter(`throng_replay_chunks_total{shared="true"}`),
		recovered:  set.NewCounter(`throng_joins_total{recovered="true"}`),
		unrecov:    set.NewCounter(`throng_joins_total{recovered="false"}`),
		members:    set.NewCounter("throng_members"),
	}
}
