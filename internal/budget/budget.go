// Package budget bounds the memory that peers can make the server hold: what
// waits for clients that do not read, what clients have begun to send, what is
// read for those that missed something, what waits for webhooks. Each package
// counts what it holds under kinds of its own; the bound is on their sum.
//
// Past the soft mark those that hold most are ended, whichever package they are
// of, until the rest fits. Past the hard mark, which is the budget, new
// connections and requests are to be refused, which those packages do that take
// them. Nothing here allocates what it counts, or refuses it: a message that is on
// its way is not lost halfway.
package budget

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// softShare of the budget is the soft mark, in percent.
const softShare = 80

// lookEvery is how often a budget that stays past its soft mark is looked at.
const lookEvery = time.Second

// Budget is the bound. Its methods are safe for concurrent use.
type Budget struct {
	// Static.
	soft, hard int64         // bytes; 0 for no bound
	passed     chan struct{} // the soft mark has been passed; capacity 1

	used  atomic.Int64
	ended atomic.Uint64 // holders
	share shares

	mu    sync.Mutex
	kinds []*Kind
	lists []func([]Holder) []Holder
}

// Holder is one who holds memory and can be ended for it. Its methods are called
// by the goroutine that calls Run.
type Holder interface {
	// Held returns the bytes, shared ones in full.
	Held() int64
	// Shed ends the holder and reports true, or false where it was ended before.
	// What it held is given back now or soon.
	Shed() bool
}

// New returns a budget of so many bytes, 0 for no bound. Its metrics go to the
// set, nil for nowhere.
func New(bytes int64, set *metrics.Set) *Budget {
	b := &Budget{soft: bytes / 100 * softShare, hard: bytes, passed: make(chan struct{}, 1)}
	if set != nil {
		set.RegisterMetricsWriter(b.writeMetrics)
	}
	return b
}

// Kind returns the account of what is held for one purpose, which is a label of
// the metrics.
func (b *Budget) Kind(name string) *Kind {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.kinds, func(k *Kind) bool { return k.name == name })
	if i < 0 {
		i = len(b.kinds)
		b.kinds = append(b.kinds, &Kind{budget: b, name: name})
	}
	return b.kinds[i]
}

// Watch adds to those who can be ended: list appends the ones there are. It is
// called by the goroutine that calls Run, and must not block.
func (b *Budget) Watch(list func(dst []Holder) []Holder) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lists = append(b.lists, list)
}

// Full reports that the hard mark is passed.
func (b *Budget) Full() bool { return b.hard > 0 && b.used.Load() > b.hard }

// over returns by how many bytes the soft mark is passed, 0 for none.
func (b *Budget) over() int64 {
	if b.hard == 0 {
		return 0
	}
	return max(0, b.used.Load()-b.soft)
}

// Run ends those who hold most whenever the soft mark is passed, until stop is
// closed.
func (b *Budget) Run(stop <-chan struct{}) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-b.passed:
		case <-tick.C:
		}
		b.shed()
	}
}

// shed ends holders, those that hold most first, until the rest fits the soft
// mark.
func (b *Budget) shed() {
	if b.over() == 0 {
		return
	}
	b.mu.Lock()
	lists := slices.Clone(b.lists)
	b.mu.Unlock()
	type holder struct {
		Holder
		held int64 // when it was listed
	}
	var listed []Holder
	for _, list := range lists {
		listed = list(listed)
	}
	holders := make([]holder, len(listed))
	for i, h := range listed {
		holders[i] = holder{h, h.Held()}
	}
	slices.SortFunc(holders, func(a, b holder) int { return cmp.Compare(b.held, a.held) })
	var going int64 // still held by those that are ended and not yet gone
	for _, h := range holders {
		if h.held == 0 || b.over() <= going {
			return
		}
		if h.Shed() {
			b.ended.Add(1)
		}
		going += h.Held()
	}
}

func (b *Budget) writeMetrics(w io.Writer) {
	b.mu.Lock()
	kinds := slices.Clone(b.kinds)
	b.mu.Unlock()
	for _, k := range kinds {
		metrics.WriteGaugeFloat64(w, fmt.Sprintf("throng_memory_bytes{kind=%q}", k.name), float64(k.Held()))
	}
	metrics.WriteGaugeFloat64(w, `throng_memory_mark_bytes{mark="soft"}`, float64(b.soft))
	metrics.WriteGaugeFloat64(w, `throng_memory_mark_bytes{mark="hard"}`, float64(b.hard))
	metrics.WriteCounterUint64(w, "throng_shed_total", b.ended.Load())
}

// Kind counts what is held for one purpose. Its methods are safe for concurrent
// use.
type Kind struct {
	budget *Budget
	name   string
	held   atomic.Int64
}

// Held returns the bytes.
func (k *Kind) Held() int64 { return k.held.Load() }

// Add counts n bytes more, or fewer.
func (k *Kind) Add(n int64) {
	k.held.Add(n)
	b := k.budget
	if used := b.used.Add(n); n > 0 && used > b.soft && b.hard > 0 {
		select {
		case b.passed <- struct{}{}:
		default: // a look is to come already
		}
	}
}
