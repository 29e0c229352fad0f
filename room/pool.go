package room

import "sync"

// job is something that a pool's goroutine runs.
type job interface{ run() }

// pool runs jobs on a fixed number of goroutines, in the order in which they
// came. Its queue has no bound of its own: a room, a cursor and a waking room
// are in it at most once each, and pages of history and members are bounded by connection.
type pool struct {
	done sync.WaitGroup

	mu     sync.Mutex
	wake   sync.Cond
	queue  []job // a ring: queued jobs from head
	head   int
	queued int
	closed bool
}

func newPool(workers int) *pool {
	p := &pool{queue: make([]job, 64)}
	p.wake.L = &p.mu
	for range workers {
		p.done.Go(p.work)
	}
	return p
}

// submit queues a job. After close it is dropped, which it reports.
func (p *pool) submit(j job) bool {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return false
	}
	if p.queued == len(p.queue) {
		grown := make([]job, 2*len(p.queue))
		n := copy(grown, p.queue[p.head:])
		copy(grown[n:], p.queue[:p.head])
		p.queue, p.head = grown, 0
	}
	p.queue[(p.head+p.queued)%len(p.queue)] = j
	p.queued++
	p.mu.Unlock()
	p.wake.Signal()
	return true
}

func (p *pool) work() {
	for {
		p.mu.Lock()
		for p.queued == 0 && !p.closed {
			p.wake.Wait()
		}
		if p.queued == 0 {
			p.mu.Unlock()
			return
		}
		j := p.queue[p.head]
		p.queue[p.head] = nil
		p.head = (p.head + 1) % len(p.queue)
		p.queued--
		p.mu.Unlock()
		j.run()
	}
}

// close lets the goroutines finish what is queued and waits for them.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.wake.Broadcast()
	p.done.Wait()
}
