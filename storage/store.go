package storage

import (
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/thronghq/throng/proto"
)

// Store is an open store. Its methods may be called from any goroutine.
type Store struct {
	// Static after Open.
	opts       Options
	log        *slog.Logger
	tele       *telemetry
	db         *pebble.DB
	namespaces map[string]*namespace
	classes    map[byte]class
	generation uint64
	restored   uint64
	memTable   uint64 // bytes

	clock   clock
	queue   queue
	durable durability
	space   *space
	guard   *guard

	flights chan *flight  // from the committer to the deliverer, in order
	landed  chan *flight  // to be used again
	stop    chan struct{} // ends the workers

	purgeable chan struct{} // a room was deleted; capacity 1

	workers sync.WaitGroup // watcher, retention, sweep
	writers sync.WaitGroup // committer, deliverer; the end of the queue ends them
	drained chan struct{}  // ends the ticker, which the writers need
	ticker  sync.WaitGroup
	readers sync.WaitGroup // reads and wakes; added to under mu

	// Owned by the committer.
	newest int64 // the highest message time

	failed atomic.Pointer[error]
	dead   chan struct{} // closed when failed is set

	mu      sync.Mutex
	rooms   map[string]*Room // open, or closed and not yet written
	closing bool             // nothing is appended and no room wakes any more
	shut    bool             // nothing is read any more
}

// namespace is what the store needs of a namespace.
type namespace struct {
	proto.Namespace
	class      class
	asyncUntil uint64 // the last generation in which it was async, 0 for none
}

// Open opens the store in dir, and creates it where there is none. One process
// holds it at a time. After an unclean stop the generation is raised, and that
// is on disk when Open returns.
func Open(dir string, o Options) (*Store, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	s := &Store{
		opts:    o.withDefaults(),
		flights: make(chan *flight, maxFlights),
		landed:  make(chan *flight, 16),
		stop:    make(chan struct{}),

		purgeable: make(chan struct{}, 1),

		drained: make(chan struct{}),
		dead:    make(chan struct{}),
		rooms:   make(map[string]*Room),
	}
	s.log = s.opts.Logger
	s.tele = newTelemetry(s.opts.Metrics)
	s.clock.now = s.opts.Now
	s.queue.init(s.opts.QueueMessages, s.opts.QueueBytes)
	s.durable.init()
	if err := s.openDB(dir); err != nil {
		return nil, err
	}
	c, err := s.load()
	switch {
	case s.failure() != nil:
		return nil, err // Pebble cannot be closed any more
	case err != nil:
		return nil, errors.Join(err, s.db.Close())
	}
	s.tele.exportGauges(s)
	s.space.sample()
	s.tele.sample(s.db.Metrics())
	s.writers.Go(func() {
		c.run()
		close(s.flights)
	})
	s.writers.Go(s.deliverSynced)
	s.ticker.Go(s.tick)
	s.workers.Go(s.watch)
	s.workers.Go(s.expireLoop)
	s.workers.Go(s.sweepLoop)
	return s, nil
}

// openDB opens Pebble with sizes that fit the disk.
func (s *Store) openDB(dir string) error {
	fs := s.opts.FS
	if fs == nil {
		fs = vfs.Default
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("storage: the data directory: %w", err)
	}
	usage, err := diskUsage(fs, dir)
	if err != nil {
		return fmt.Errorf("storage: the free space of the data directory: %w", err)
	}
	memTable := memTableSize(usage.TotalBytes)
	s.memTable = memTable
	minFree := s.opts.MinFree
	if minFree == 0 {
		minFree = defaultMinFree(memTable)
	}
	s.space = &space{
		fs: fs, dir: dir, minFree: minFree, resumeAt: minFree + minFree/4,
		log: s.log, free: &s.tele.freeBytes,
	}
	s.guard = &guard{FS: fs, s: s}
	db, err := s.openPebble(s.guard, dir, memTable)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("storage: %s is in use by another process: %w", dir, err)
	case err != nil:
		return fmt.Errorf("storage: opening %s: %w", dir, err)
	}
	s.db = db
	return nil
}

// openPebble opens Pebble. The first log after a format was raised, or the store
// created, is still written in the old format, which cannot tell damage in a
// log's middle from its end: then the store is opened twice.
func (s *Store) openPebble(fs vfs.FS, dir string, memTable uint64) (db *pebble.DB, err error) {
	desc, err := pebble.Peek(dir, fs)
	if err != nil {
		return nil, err
	}
	if !desc.Exists || desc.FormatMajorVersion < formatVersion {
		db, err := pebble.Open(dir, s.pebbleOptions(memTable))
		if err != nil {
			return nil, err
		}
		if err := db.Close(); err != nil {
			return nil, err
		}
	}
	return pebble.Open(dir, s.pebbleOptions(memTable))
}

// load reads the store's own records, raises the generation where the last stop
// was not clean, and marks the store as open.
func (s *Store) load() (*committer, error) {
	state, err := getRecord(s.db, keyState, decodeState)
	if err != nil && !errors.Is(err, pebble.ErrNotFound) {
		return nil, err
	}
	if !state.clean {
		state.generation++
	}
	s.generation, s.restored = state.generation, state.restored
	rooms, err := getNumber(s.db, keyRooms)
	if err != nil {
		return nil, err
	}
	stored, err := getNumber(s.db, keyClock)
	if err != nil {
		return nil, err
	}
	if err := s.clock.resume(int64(stored)); err != nil {
		return nil, err
	}
	if s.classes, err = loadClasses(s.db); err != nil {
		return nil, err
	}
	batch := s.db.NewBatch()
	state.clean = false
	if err := batch.Set(keyState, appendState(nil, state), nil); err != nil {
		return nil, err
	}
	if err := s.loadNamespaces(batch); err != nil {
		return nil, err
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return nil, fmt.Errorf("storage: marking the store as open: %w", err)
	}
	if err := s.failure(); err != nil {
		return nil, err
	}
	s.newest = int64(stored)
	return &committer{
		s:           s,
		random:      rand.NewChaCha8(randomSeed()),
		maxBytes:    int(s.memTable / 4),
		storedClock: int64(stored),
		rooms:       rooms,
	}, nil
}

// loadNamespaces gives each namespace its retention class, and notes which are
// async in this generation.
func (s *Store) loadNamespaces(batch *pebble.Batch) error {
	s.namespaces = make(map[string]*namespace, len(s.opts.Namespaces))
	for _, n := range s.opts.Namespaces {
		c, isNew, err := classFor(s.classes, n.HistoryTTL)
		if err != nil {
			return err
		}
		if isNew {
			if err := batch.Set(appendClassKey(nil, c.number), appendClass(nil, c), nil); err != nil {
				return err
			}
		}
		key := appendNamespaceKey(nil, n.Name)
		asyncUntil, err := getRecord(s.db, key, decodeNamespace)
		if err != nil && !errors.Is(err, pebble.ErrNotFound) {
			return err
		}
		if n.Durability == proto.Async && asyncUntil != s.generation {
			asyncUntil = s.generation
			if err := batch.Set(key, appendNamespace(nil, asyncUntil), nil); err != nil {
				return err
			}
		}
		s.namespaces[n.Name] = &namespace{Namespace: n, class: c, asyncUntil: asyncUntil}
	}
	return nil
}

func getRecord[T any](db *pebble.DB, key []byte, decode func([]byte) (T, error)) (T, error) {
	value, closer, err := db.Get(key)
	if err != nil {
		var zero T
		return zero, err
	}
	v, err := decode(value)
	return v, errors.Join(err, closer.Close())
}

// getNumber reads a record of eight bytes, 0 where there is none.
func getNumber(db *pebble.DB, key []byte) (uint64, error) {
	n, err := getRecord(db, key, func(b []byte) (uint64, error) {
		if len(b) != 8 {
			return 0, errBadState
		}
		return binary.BigEndian.Uint64(b), nil
	})
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	return n, err
}

func randomSeed() (seed [32]byte) {
	_, _ = crand.Read(seed[:]) // never fails
	return seed
}

// newBirth draws the number that tells a room's log from any other of its name.
func (s *Store) newBirth() uint64 {
	var b [8]byte
	_, _ = crand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}

// Close stops cleanly: what is queued is written and delivered, open rooms get
// their records, and everything is synced. Nothing is appended any more, and
// rooms can be read no longer.
//
// After a failure of the log Close returns it and leaves everything as it is:
// what is stuck in it cannot be waited for.
func (s *Store) Close() error {
	s.mu.Lock()
	again := s.closing
	s.closing = true
	s.mu.Unlock()
	if again {
		return nil
	}
	close(s.stop)
	s.queue.close()
	s.tele.close()
	if err := s.failure(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.end() }() // stays behind where the log fails meanwhile
	select {
	case err := <-ended:
		return err
	case <-s.dead:
		return s.failure()
	}
}

// end waits for what is under way, writes the last records and closes Pebble.
func (s *Store) end() error {
	s.writers.Wait()
	close(s.drained)
	s.ticker.Wait()
	s.workers.Wait()
	s.mu.Lock()
	s.shut = true
	s.mu.Unlock()
	s.readers.Wait()
	if err := s.failure(); err != nil {
		return err
	}
	if err := s.finish(); err != nil {
		return errors.Join(fmt.Errorf("storage: closing: %w", err), s.db.Close())
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("storage: closing: %w", err)
	}
	return nil
}

// beginRead reports whether Pebble may still be read; the caller ends the read
// with readers.Done.
func (s *Store) beginRead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return false
	}
	s.readers.Add(1)
	return true
}

// finish writes the open rooms' records and the mark of a clean stop. The
// committer has ended.
func (s *Store) finish() error {
	s.mu.Lock()
	open := slices.Collect(maps.Values(s.rooms))
	s.mu.Unlock()
	batch := s.db.NewBatch()
	c := &committer{s: s}
	for _, r := range open {
		if !r.outdated() {
			continue
		}
		c.appendMeta(batch, r, true)
		if batch.Len() > 1<<20 {
			if err := batch.Commit(pebble.NoSync); err != nil {
				return err
			}
			batch = s.db.NewBatch()
		}
	}
	state := storeState{generation: s.generation, restored: s.restored, clean: true}
	c.set(batch, keyState, appendState(nil, state))
	c.set(batch, keyClock, binary.BigEndian.AppendUint64(nil, uint64(s.newest)))
	if err := batch.Commit(pebble.Sync); err != nil {
		return err
	}
	return s.failure()
}

// Healthy returns nil, or why publishes are refused: proto.ErrStorageFull or
// proto.ErrStorage, wrapped.
func (s *Store) Healthy() error {
	if err := s.failure(); err != nil {
		return errors.Join(proto.ErrStorage, err)
	}
	if s.space.refusing() {
		return fmt.Errorf("storage: %d bytes are free on the disk of %s: %w", s.FreeSpace(), s.space.dir, proto.ErrStorageFull)
	}
	return nil
}

// Now returns the store's time: that of Options.Now, but it never goes back, nor
// behind the newest message that was stored when it opened. While the machine's
// clock is behind, it stands still.
func (s *Store) Now() time.Time { return time.UnixMicro(s.clock.micros()) }

// FreeSpace returns the free bytes of the store's disk, at most a second ago.
func (s *Store) FreeSpace() uint64 { return s.tele.freeBytes.Load() }

// Generation returns the store's generation: it counts the unclean stops.
func (s *Store) Generation() uint64 { return s.generation }

// fail ends the store: nothing is acknowledged any more.
func (s *Store) fail(err error) {
	if !s.failed.CompareAndSwap(nil, &err) {
		return
	}
	s.log.Error("the log cannot be written: the process must end", slog.Any("error", err))
	close(s.dead)
	s.durable.stop()
	s.opts.Fatal(err)
}

func (s *Store) failure() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// refused counts publishes that were not appended.
func (s *Store) refused(err *proto.Error, n int) {
	switch err.Code {
	case proto.ErrOverloaded:
		s.tele.refusedOverloaded.Add(n)
	case proto.ErrStorageFull:
		s.tele.refusedFull.Add(n)
	case proto.ErrShuttingDown:
		s.tele.refusedClosed.Add(n)
	default:
		s.tele.refusedFailed.Add(n)
	}
}

func (s *Store) openRooms() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rooms)
}
