package hook

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// crash stops the webhooks as kill -9 would: what the outbox has acknowledged is
// there, and nothing that the old ones still do.
func (b *bench) crash(o Options, receivers ...*receiver) {
	b.t.Helper()
	old := b.Webhooks
	b.outbox = b.outbox.Crash()
	if err := old.Close(b.t.Context()); err != nil {
		b.t.Error(err)
	}
	b.open(o, receivers...)
}

// TestCrash stops again and again in the middle of everything. All messages are
// told of, in order; events at most once beyond what a crash repeats.
func TestCrash(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testCrash(t, seed) })
		})
	}
}

func testCrash(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	r := newReceiver(t)
	r.respond(func(told) int {
		time.Sleep(time.Duration(rand.N(3)) * time.Millisecond)
		return []int{200, 200, 500}[rand.N(3)]
	})
	o := Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}, BreakAfter: 1000}
	b := newBench(t, o, r)
	for range 10 {
		for range rng.IntN(40) {
			room := fmt.Sprint("chat:", rng.IntN(5))
			epoch, first, last := b.history.append(room, 1+rng.IntN(3))
			switch rng.IntN(4) {
			case 0: // the crash comes before it is told of
			case 1:
				time.Sleep(time.Duration(rng.IntN(8)) * time.Millisecond)
				fallthrough
			default:
				b.Published(room, epoch, first, last)
			}
		}
		time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		b.crash(o, r)
	}
	r.respond(nil)
	time.Sleep(time.Hour)
	b.close()
	for room, log := range b.history.rooms {
		inOrder(t, room, offsets(t, r.took(), room), uint64(len(log.messages)))
	}
}

// TestCrashControl shows that the test above can fail: without an audit, what was
// not told of before a crash is not told of after it.
func TestCrashControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		o := Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}
		b := newBench(t, o, r)
		b.publish("lobby", 1)
		time.Sleep(time.Second)
		b.history.append("lobby", 1)
		b.close() // clean: nothing is looked for
		b.open(o, r)
		time.Sleep(time.Minute)
		if got := offsets(t, r.took(), "lobby"); len(got) != 1 {
			t.Errorf("offsets %v", got)
		}
		time.Sleep(time.Hour) // but the hourly audit finds it
		if got := offsets(t, r.took(), "lobby"); len(got) != 2 {
			t.Errorf("offsets %v", got)
		}
		b.close()
	})
}

// TestWrittenEventsSurvive keeps events of all kinds over a crash.
func TestWrittenEventsSurvive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		r.respond(always(http.StatusBadGateway))
		o := Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}
		b := newBench(t, o, r)
		b.Connected(Connection{UserID: "ada", SessionID: "s1"})
		b.Joined("lobby", "ada")
		b.publish("lobby", 3)
		b.Left("lobby", "ada")
		time.Sleep(time.Second)
		b.crash(o, r)
		time.Sleep(time.Second)
		b.crash(o, r)
		r.respond(nil)
		b.Joined("other", "ada")
		time.Sleep(time.Hour)
		b.close()
		var inRoom []string
		for _, m := range r.took() {
			if want := map[string]uint64{"other": 3}[m.Room]; m.Event != "message" && m.Run != max(want, 1) {
				t.Errorf("%s happened in run %d", m.body, m.Run)
			}
			if m.Room == "lobby" {
				inRoom = append(inRoom, m.Event)
			}
		}
		if fmt.Sprint(inRoom) != "[join message leave]" || len(r.took()) != 5 {
			t.Errorf("told of %v among %d", inRoom, len(r.took()))
		}
	})
}

// TestSince tells an endpoint nothing of what happened before it was configured,
// or while it was not.
func TestSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		b := newBench(t, Options{}) // nobody is told anything
		b.publish("old", 3)
		time.Sleep(time.Second)
		o := Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}
		b.crash(o, r)
		b.publish("old", 2)
		time.Sleep(time.Second)
		b.crash(Options{}) // again, for one session
		b.publish("old", 4)
		b.publish("new", 1)
		time.Sleep(time.Second)
		b.crash(o, r)
		b.publish("old", 1)
		time.Sleep(time.Hour)
		b.close()
		if got := fmt.Sprint(offsets(t, r.took(), "old")); got != "[4 5 10]" {
			t.Errorf("told of the messages %s", got)
		}
		if got := offsets(t, r.took(), "new"); got != nil {
			t.Errorf("told of the messages %v", got)
		}
	})
}

// TestRoomBegunAnew tells of all messages of a room that was deleted and made
// again, and forgets the mark of one that was only deleted.
func TestRoomBegunAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		o := Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}
		b := newBench(t, o, r)
		b.publish("lobby", 5)
		b.publish("other", 5)
		time.Sleep(time.Second)
		b.history.mu.Lock()
		b.history.rooms["lobby"] = &memoryRoom{epoch: "lobby.2", floor: 1}
		delete(b.history.rooms, "other")
		b.history.mu.Unlock()
		b.publish("lobby", 2)
		b.publish("lobby", 1)
		time.Sleep(2 * time.Hour)
		b.close()
		if got := fmt.Sprint(offsets(t, r.took(), "lobby")); got != "[1 2 3 4 5 1 2 3]" {
			t.Errorf("told of the messages %s", got)
		}
		if record, err := b.outbox.Get(markKey("other")); record != nil || err != nil {
			t.Errorf("the mark of a room that is no more is %x (%v)", record, err)
		}
		if record, err := b.outbox.Get(markKey("lobby")); record == nil || err != nil {
			t.Errorf("the mark of a room that is there again is %x (%v)", record, err)
		}
	})
}

// TestAuditInPages has more rooms and marks than are read at a time.
func TestAuditInPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		o := Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}
		b := newBench(t, o, r)
		const rooms = 2*auditPage + 500
		for i := range rooms {
			room := fmt.Sprintf("%04d", i)
			epoch, first, last := b.history.append(room, 1)
			if i%2 == 0 || i > auditPage {
				b.Published(room, epoch, first, last)
			}
		}
		time.Sleep(time.Second)
		b.crash(o, r)
		time.Sleep(time.Minute)
		b.close()
		seen := make(map[string]int)
		for _, m := range r.took() {
			seen[m.Room]++
		}
		if len(seen) != rooms {
			t.Errorf("told of %d rooms of %d", len(seen), rooms)
		}
	})
}

// TestHistoryFails leaves messages whose log cannot be read to later.
func TestHistoryFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		o := Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}
		b := newBench(t, o, r)
		b.publish("lobby", 2)
		time.Sleep(time.Second)
		b.crash(o, r)
		b.history.mu.Lock()
		b.history.fail = errors.New("the disk is broken")
		b.history.mu.Unlock()
		b.history.append("lobby", 2)
		b.publish("lobby", 2) // where it begins cannot be read
		b.publish("other", 2) // what it holds cannot be read
		time.Sleep(time.Minute)
		if s, _ := b.Endpoint("crm"); s.Circuit != "closed" || s.Waiting != 1 || s.Error == "" {
			t.Errorf("status %+v", s)
		}
		b.history.mu.Lock()
		b.history.fail = nil
		b.history.mu.Unlock()
		time.Sleep(2 * time.Hour)
		b.close()
		inOrder(t, "lobby", offsets(t, r.took(), "lobby"), 6)
		inOrder(t, "other", offsets(t, r.took(), "other"), 2)
	})
}

// hanging answers nothing until the request is given up.
type hanging struct{}

func (hanging) RoundTrip(request *http.Request) (*http.Response, error) {
	<-request.Context().Done()
	return nil, request.Context().Err()
}

// TestCloseCutsShort what does not end in time, and keeps it.
func TestCloseCutsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		o := Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}
		o.Endpoints[0].Timeout = time.Hour
		b := newBench(t, o, r)
		b.endpoints[0].client.Transport = hanging{}
		b.Joined("lobby", "ada")
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d != 2*time.Second {
			t.Errorf("closing took %v", d)
		}
		b.open(o, r)
		time.Sleep(time.Second)
		b.close()
		if got := r.took(); len(got) != 1 || got[0].UserID != "ada" {
			t.Errorf("told of %+v", got)
		}
	})
}

// TestClose lets deliveries end that are under way, and writes what has happened.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		release := make(chan struct{})
		r.respond(func(told) int { <-release; return 200 })
		o := Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}
		o.Endpoints[0].Timeout = time.Hour
		b := newBench(t, o, r)
		b.Joined("lobby", "ada")
		b.Joined("other", "ada")
		time.Sleep(time.Second)
		b.Left("lobby", "ada") // is written although the end has come
		go func() {
			time.Sleep(3 * time.Second)
			close(release)
		}()
		began := time.Now()
		b.close()
		if d := time.Since(began); d != 3*time.Second {
			t.Errorf("closing took %v", d)
		}
		b.Joined("late", "ada") // is ignored
		if _, problem := b.Replay("crm", nil); problem != nil {
			t.Error(problem)
		}
		b.open(o, r)
		time.Sleep(time.Second)
		b.close()
		if got := r.took(); len(got) != 3 || got[2].Event != "leave" {
			t.Errorf("told of %+v", got)
		}
	})
}

// TestToldOnceWritten tells of no message before the outbox has it, and with it
// the disk the message itself: else a crash could take what was told.
func TestToldOnceWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		r.respond(always(http.StatusBadGateway))
		o := Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}
		b := newBench(t, o, r)
		b.publish("lobby", 3)
		time.Sleep(time.Second)
		b.outbox.Fail(errors.New("the disk is full"))
		b.publish("lobby", 2) // lengthens the run that waits
		b.publish("other", 1)
		time.Sleep(time.Second)
		r.respond(nil)
		time.Sleep(20 * time.Minute)
		if got := offsets(t, r.took(), "lobby"); fmt.Sprint(got) != "[1 2 3]" || len(r.took()) != 1 {
			t.Errorf("told of %v in %d deliveries before it was written", got, len(r.took()))
		}
		b.outbox.Fail(nil)
		time.Sleep(5 * time.Second)
		if got := offsets(t, r.took(), "lobby"); fmt.Sprint(got) != "[1 2 3 4 5]" || len(r.took()) != 3 {
			t.Errorf("told of %v in %d deliveries when it was written", got, len(r.took()))
		}
		b.close()
	})
}
