package auth

import (
	"context"
	"log/slog"
	"math"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thronghq/throng/proto"
)

// hasher hashes passwords: as many at once as it has workers, which bounds the
// cores and the memory that logins take, whatever comes in. The others wait in a
// bounded queue, in which the addresses that they come from take turns; past its
// bound they are refused.
//
// Each worker has a Deriver of its own, which may be a process of low priority:
// see docs/design/0043-passwords.md.
type hasher struct {
	// Static after newHasher.
	params Argon2
	dummy  passwordHash
	tele   *accountsTelemetry
	log    *slog.Logger
	jobs   chan struct{} // holds one value for each job in the queue

	running atomic.Int64
	hashed  atomic.Int64  // since the start
	average atomic.Uint64 // seconds of one hash, lately, as math.Float64bits
	ended   atomic.Bool   // what still waits is refused
	workers sync.WaitGroup

	mu     sync.Mutex
	queue  hashQueue
	closed bool // jobs is closed
}

// hashJob is one hash on its way. Its results are read after done.
type hashJob struct {
	ctx    context.Context
	from   netip.Prefix // whose password it is, as network says
	queued time.Time
	work   func(Deriver) error // the hash

	done    chan struct{}
	skipped bool
	err     error // the work's
}

// defaultHashes is one worker for every two cores.
func defaultHashes() int { return max(1, runtime.NumCPU()/2) }

func newHasher(o *AccountsOptions, tele *accountsTelemetry) *hasher {
	h := &hasher{params: o.Argon2, dummy: dummyHash(o.Argon2), tele: tele, log: o.Logger, jobs: make(chan struct{}, o.QueuedHashes)}
	for range o.Hashes {
		d := o.NewDeriver()
		h.workers.Go(func() { h.run(d) })
	}
	return h
}

// close ends the workers. Nothing is hashed any more.
func (h *hasher) close() {
	h.mu.Lock()
	if !h.closed {
		h.closed = true
		h.ended.Store(true)
		close(h.jobs)
	}
	h.mu.Unlock()
	h.workers.Wait()
}

// restAfter is how long a worker without work keeps what it has.
const restAfter = time.Minute

// run hashes until the queue is closed.
func (h *hasher) run(d Deriver) {
	defer d.Rest()
	idle := time.NewTimer(restAfter)
	defer idle.Stop()
	for {
		select {
		case _, ok := <-h.jobs:
			if !ok {
				return
			}
			h.serve(h.next(), d)
			idle.Reset(restAfter)
		case <-idle.C:
			d.Rest()
		}
	}
}

// next takes a job out of the queue, for which jobs had a value.
func (h *hasher) next() *hashJob {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.queue.pop()
}

// serve hashes once, unless nobody waits for it any more.
func (h *hasher) serve(job *hashJob, d Deriver) {
	defer close(job.done)
	if job.skipped = h.ended.Load() || job.ctx.Err() != nil; job.skipped {
		return
	}
	h.tele.hashWaitSeconds.UpdateDuration(job.queued)
	h.running.Add(1)
	defer h.running.Add(-1)
	began := time.Now()
	if job.err = job.work(d); job.err != nil {
		h.tele.hashFailures.Inc()
		h.log.LogAttrs(job.ctx, slog.LevelError, "a password could not be hashed", slog.Any("error", job.err))
		return
	}
	h.note(time.Since(began))
}

// note counts a hash and what it took.
func (h *hasher) note(took time.Duration) {
	h.hashed.Add(1)
	h.tele.hashSeconds.Update(took.Seconds())
	average := math.Float64frombits(h.average.Load())
	if average == 0 {
		average = took.Seconds()
	}
	h.average.Store(math.Float64bits(average + (took.Seconds()-average)/8))
}

// do queues work and waits for its end. After an error the work may still run:
// what it writes must not be read. An address that is not known counts as one
// like others.
func (h *hasher) do(ctx context.Context, from netip.Addr, work func(Deriver) error) *proto.Error {
	job := &hashJob{ctx: ctx, from: network(from), queued: time.Now(), work: work, done: make(chan struct{})}
	if err := h.submit(job); err != nil {
		return err
	}
	select {
	case <-job.done:
	case <-ctx.Done():
		return h.overloaded()
	}
	switch {
	case job.skipped:
		return h.overloaded()
	case job.err != nil:
		return proto.ErrInternal.With("the password could not be hashed")
	}
	return nil
}

func (h *hasher) submit(job *hashJob) *proto.Error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return proto.ErrShuttingDown.New()
	}
	select {
	case h.jobs <- struct{}{}:
	default:
		h.tele.hashesRefused.Inc()
		other := h.queue.displace(job.from)
		if other == nil {
			return h.overloaded()
		}
		other.skipped = true
		close(other.done)
	}
	h.queue.push(job)
	return nil
}

// overloaded asks for a retry when what waits now should be done.
func (h *hasher) overloaded() *proto.Error {
	wait := time.Duration(math.Float64frombits(h.average.Load()) * float64(len(h.jobs)) * float64(time.Second))
	return proto.ErrOverloaded.After(max(wait, time.Second).Round(time.Second))
}

// hash returns a new hash of the password, as a PHC string.
func (h *hasher) hash(ctx context.Context, from netip.Addr, password []byte) (string, *proto.Error) {
	var made passwordHash
	err := h.do(ctx, from, func(d Deriver) (err error) {
		made, err = newPasswordHash(d, h.params, password)
		return err
	})
	if err != nil {
		return "", err
	}
	return made.String(), nil
}

// check reports whether the password has the stored hash. A nil hash, of a user
// who does not exist, costs the same as one of today's parameters.
func (h *hasher) check(ctx context.Context, from netip.Addr, stored *passwordHash, password []byte) (matches bool, err *proto.Error) {
	known := stored != nil
	if !known {
		stored = &h.dummy
	}
	var equal bool
	err = h.do(ctx, from, func(d Deriver) (err error) {
		equal, err = stored.matches(d, password)
		return err
	})
	if err != nil {
		return false, err
	}
	return equal && known, nil
}
