package storage

import (
	"sync"
	"time"
)

// durability knows how much of what was written has been synced. Batches are
// numbered as they are written; the write-ahead log is one file, so that a sync
// covers every batch before it.
type durability struct {
	wake chan struct{} // an async batch waits for a sync; capacity 1

	mu      sync.Mutex
	changed sync.Cond // synced rose, or stopped
	written uint64    // the newest batch
	async   uint64    // the newest batch that no sync of its own follows
	synced  uint64    // the newest batch that is safe
	since   time.Time // no batch that is not safe is older
	stopped bool
}

func (d *durability) init() {
	d.wake = make(chan struct{}, 1)
	d.changed.L = &d.mu
}

// wrote numbers a batch that was just written. Unless it is followed by a sync
// of its own, the ticker is woken.
func (d *durability) wrote(now time.Time, ownSync bool) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.written == d.synced {
		d.since = now
	}
	d.written++
	if !ownSync {
		if d.async <= d.synced {
			select {
			case d.wake <- struct{}{}:
			default:
			}
		}
		d.async = d.written
	}
	return d.written
}

// reached notes that a sync which began at the given time covers the batch and
// all before it.
func (d *durability) reached(batch uint64, began time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if batch <= d.synced {
		return
	}
	d.synced = batch
	if began.After(d.since) {
		d.since = began
	}
	d.changed.Broadcast()
}

// due returns the newest batch, and whether an async one is not safe yet.
func (d *durability) due() (batch uint64, unsafe bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.written, d.async > d.synced
}

// await blocks while something has been unsafe for longer than the limit, and
// reports whether it did.
func (d *durability) await(limit time.Duration) (stalled bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.stopped && d.written > d.synced && time.Since(d.since) > limit {
		stalled = true
		d.changed.Wait()
	}
	return stalled
}

// stop ends all waiting: the store has failed.
func (d *durability) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	d.changed.Broadcast()
}
