package budget

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// queue is a Holder that gives back what it held when it is shed, or keeps it.
type queue struct {
	kind  *Kind
	stuck bool

	mu   sync.Mutex
	held int64
	shed int
}

func (q *queue) add(n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held += n
	q.kind.Add(n)
}

func (q *queue) Held() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held
}

func (q *queue) Shed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shed++
	if !q.stuck {
		q.kind.Add(-q.held)
		q.held = 0
	}
	return q.shed == 1
}

func (q *queue) ended() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.shed > 0
}

// TestTheWorstOffendersGoFirst has queues of two kinds pass the soft mark: those
// that hold most go, whatever their kind, and no more of them than need be.
func TestTheWorstOffendersGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set, stop := metrics.NewSet(), make(chan struct{})
		b := New(1000, set)
		var running sync.WaitGroup
		running.Go(func() { b.Run(stop) })
		outboxes, streams := b.Kind("outboxes"), b.Kind("streams")
		small, large := &queue{kind: outboxes}, &queue{kind: outboxes}
		largest, none := &queue{kind: streams, stuck: true}, &queue{kind: streams}
		b.Watch(func(dst []Holder) []Holder { return append(dst, small, large, none) })
		b.Watch(func(dst []Holder) []Holder { return append(dst, largest) })
		small.add(100)
		large.add(300)
		largest.add(390)
		synctest.Wait()
		if small.ended() || large.ended() || largest.ended() {
			t.Fatal("somebody was ended below the soft mark")
		}
		small.add(20)
		synctest.Wait()
		if small.ended() || large.ended() || none.ended() || !largest.ended() {
			t.Errorf("ended: %v, %v, %v, %v; want the largest alone, whose memory is on its way back", small.ended(), large.ended(), none.ended(), largest.ended())
		}
		large.add(91) // more than the largest, which still holds what it did
		synctest.Wait()
		if small.ended() || !large.ended() {
			t.Errorf("ended: %v, %v; want the second largest", small.ended(), large.ended())
		}
		if b.Full() {
			t.Error("the budget is full below its hard mark")
		}
		outboxes.Add(1000)
		if !b.Full() {
			t.Error("the budget is not full past its hard mark")
		}
		outboxes.Add(-1000)
		var text strings.Builder
		set.WritePrometheus(&text)
		for _, want := range []string{`throng_memory_bytes{kind="outboxes"} 120`, `throng_memory_bytes{kind="streams"} 390`, `throng_memory_mark_bytes{mark="soft"} 800`, `throng_memory_mark_bytes{mark="hard"} 1000`} {
			if !strings.Contains(text.String(), want+"\n") {
				t.Errorf("the metrics have no %q:\n%s", want, text.String())
			}
		}
		close(stop)
		running.Wait()
	})
}

// TestAStayIsLookedAtAgain: where the one who was ended keeps what it held, the
// next look ends the next one.
func TestAStayIsLookedAtAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		b := New(1000, nil)
		k := b.Kind("x")
		var running sync.WaitGroup
		first, second := &queue{kind: k}, &queue{kind: k}
		k.Add(900) // before anybody is there
		running.Go(func() { b.Run(stop) })
		synctest.Wait()
		first.add(10)
		second.add(20)
		b.Watch(func(dst []Holder) []Holder { return append(dst, first, second) })
		time.Sleep(lookEvery)
		synctest.Wait()
		if !first.ended() || !second.ended() {
			t.Error("nobody looked again")
		}
		close(stop)
		running.Wait()
	})
}

// TestWhatIsSharedCountsOnce, under the kind that held it first.
func TestWhatIsSharedCountsOnce(t *testing.T) {
	b := New(0, nil)
	x, y := b.Kind("x"), b.Kind("y")
	frame := make([]byte, 100)
	other := make([]byte, 50)
	x.Hold(frame[:60])
	y.Hold(frame)
	y.Hold(other)
	if x.Held() != 100 || y.Held() != 50 {
		t.Errorf("x holds %d, y %d; want 100, 50", x.Held(), y.Held())
	}
	x.Drop(frame[:60])
	y.Drop(other)
	if x.Held() != 100 || y.Held() != 0 {
		t.Errorf("x holds %d, y %d; want 100, 0", x.Held(), y.Held())
	}
	y.Drop(frame)
	if x.Held() != 0 || y.Held() != 0 || b.used.Load() != 0 {
		t.Errorf("x holds %d, y %d in the end", x.Held(), y.Held())
	}
	if b.Kind("x") != x || b.Full() || b.over() != 0 {
		t.Error("a budget without a bound is passed, or forgets its kinds")
	}
}

// TestCountingDoesNotAllocate, once the table has its size.
func TestCountingDoesNotAllocate(t *testing.T) {
	k := New(1<<30, nil).Kind("x")
	frame := make([]byte, 100)
	k.Hold(frame)
	k.Drop(frame)
	if n := testing.AllocsPerRun(100, func() {
		k.Add(10)
		k.Hold(frame)
		k.Hold(frame)
		k.Drop(frame)
		k.Drop(frame)
		k.Add(-10)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
