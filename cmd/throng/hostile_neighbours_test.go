package main

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/thronghq/throng/internal/throngtest"
)

const (
	neighbourCount = 3
	neighbourPace  = 5 * time.Millisecond // from the begin of a round trip to that of the next
	quietTrips     = 300                  // of all neighbours, before the attack
	home           = "home"               // the neighbours' room
)

// neighbours are well-behaved clients in one room, who publish all the while,
// each waiting for its ack before it goes on, and see to it that every message
// of the room comes in its order.
type neighbours struct {
	all         []*neighbour
	underAttack atomic.Bool
	trips       atomic.Int64
	stop        chan struct{}
	going       sync.WaitGroup
	errs        chan error
}

// neighbour is owned by its goroutine until that has ended.
type neighbour struct {
	group *neighbours
	line  *line
	last  uint64                   // offset of the last message or ack
	took  map[bool][]time.Duration // by whether there was an attack
}

// meet has the neighbours join their room and begin to talk.
func meet(t *testing.T, s *throngtest.Server) *neighbours {
	t.Helper()
	n := &neighbours{stop: make(chan struct{}), errs: make(chan error, neighbourCount)}
	for i := range neighbourCount {
		l, err := dialLine(s, fmt.Sprint("neighbour", i))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.conn.CloseNow() })
		one := &neighbour{group: n, line: l, took: make(map[bool][]time.Duration)}
		if err := one.join(); err != nil {
			t.Fatal(err)
		}
		n.all = append(n.all, one)
	}
	for _, one := range n.all {
		n.going.Go(func() {
			if err := one.talk(); err != nil {
				n.errs <- err
			}
		})
	}
	t.Cleanup(n.leave)
	return n
}

func (o *neighbour) join() error {
	if err := o.line.send(map[string]any{"type": "join", "room": home}); err != nil {
		return err
	}
	for {
		f, err := o.line.next()
		if err != nil {
			return err
		}
		if f.Type == "joined" {
			o.last = f.Offset
			return nil
		}
	}
}

// talk makes round trips until all are to stop.
func (o *neighbour) talk() error {
	pace := time.NewTicker(neighbourPace)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-o.group.stop:
			return nil
		case <-pace.C:
		}
		attacked, begin := o.group.underAttack.Load(), time.Now()
		id := fmt.Sprint(n)
		if err := o.line.send(map[string]any{"type": "message", "id": id, "to": home, "content": utterance{N: n}}); err != nil {
			return err
		}
		if err := o.read(func(f said) bool { return f.Type == "ack" && f.ID == id }); err != nil {
			return err
		}
		o.took[attacked] = append(o.took[attacked], time.Since(begin))
		o.group.trips.Add(1)
	}
}

// read reads up to a frame, and checks that the room's messages, and the acks of
// one's own in their places, come one after the other.
func (o *neighbour) read(until func(said) bool) error {
	for {
		f, err := o.line.next()
		if err != nil {
			return fmt.Errorf("a neighbour after offset %d: %w", o.last, err)
		}
		switch f.Type {
		case "message", "ack":
			if f.Offset != o.last+1 {
				return fmt.Errorf("a neighbour got offset %d after %d", f.Offset, o.last)
			}
			o.last = f.Offset
		case "lag", "gap", "error":
			return fmt.Errorf("a neighbour got %+v", f)
		}
		if until(f) {
			return nil
		}
	}
}

// count returns how many round trips there were.
func (n *neighbours) count() int64 { return n.trips.Load() }

// await waits until there were that many more round trips.
func (n *neighbours) await(more int64) {
	pace := time.NewTicker(neighbourPace)
	defer pace.Stop()
	for want := n.count() + more; n.count() < want && len(n.errs) == 0; {
		<-pace.C
	}
}

// part ends the talk, and checks that everyone has got everything.
func (n *neighbours) part(t *testing.T) {
	t.Helper()
	n.leave()
	select {
	case err := <-n.errs:
		t.Fatal(err)
	default:
	}
	spoken := uint64(n.count())
	for _, o := range n.all {
		if o.last < spoken {
			if err := o.read(func(said) bool { return o.last == spoken }); err != nil {
				t.Error(err)
			}
		}
		if o.last != spoken {
			t.Errorf("a neighbour is at offset %d, and %d messages were said", o.last, spoken)
		}
		if err := o.line.conn.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Error(err)
		}
	}
}

// leave ends the talk, once.
func (n *neighbours) leave() {
	select {
	case <-n.stop:
	default:
		close(n.stop)
	}
	n.going.Wait()
}

// quiet and attacked tell of the round trips, once all have parted.
func (n *neighbours) quiet() string    { return n.percentiles(false) }
func (n *neighbours) attacked() string { return n.percentiles(true) }

func (n *neighbours) percentiles(attacked bool) string {
	var all []time.Duration
	for _, o := range n.all {
		all = append(all, o.took[attacked]...)
	}
	if len(all) == 0 {
		return "none"
	}
	slices.Sort(all)
	at := func(share float64) time.Duration {
		return all[min(int(share*float64(len(all))), len(all)-1)].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("%d, p50 %v, p99 %v, max %v", len(all), at(0.5), at(0.99), at(1))
}
