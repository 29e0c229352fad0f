package hook

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// account is a budget's.
type account struct{ held, most atomic.Int64 }

func (a *account) Add(bytes int64) {
	if held := a.held.Add(bytes); held > a.most.Load() {
		a.most.Store(held)
	}
}

// TestQueuesCountTheirMemory: what happens counts from the moment at which it
// does until it has been told, has become a dead letter, or is given up.
func TestQueuesCountTheirMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := new(account)
		crm, audit := newReceiver(t), newReceiver(t)
		ends := []Endpoint{everything("crm", "http://crm.example"), everything("audit", "http://audit.example")}
		ends[0].MaxWaiting = 150
		ends[1].MaxAge = time.Hour
		o := Options{Endpoints: ends, Memory: memory}
		for _, r := range []*receiver{crm, audit} {
			r.respond(always(http.StatusBadGateway))
		}
		b := newBench(t, o, crm, audit)
		const events, room, user = 200, "a room of some length", "a user of some length"
		for i := range events {
			b.Joined(fmt.Sprint(room, i), user)
		}
		b.Connected(Connection{UserID: user, SessionID: "a session"})
		b.publish(room, 10)
		if memory.held.Load() < events*int64(len(room)+len(user)) {
			t.Errorf("%d bytes are counted for %d events that have not been written", memory.held.Load(), events)
		}
		time.Sleep(time.Minute)
		queued := memory.held.Load()
		if least := (events + ends[0].MaxWaiting) * (len(room) + len(user) + 300); queued < int64(least) || queued > 3*int64(least) {
			t.Errorf("%d bytes are counted for two queues, want some %d", queued, least)
		}
		b.close()
		memory.held.Store(0)
		b.open(o, crm, audit)
		if again := memory.held.Load(); again != queued {
			t.Errorf("%d bytes are counted after a restart, %d before", again, queued)
		}
		time.Sleep(2 * time.Hour) // what waits for audit becomes dead letters
		crm.respond(nil)
		audit.respond(nil)
		time.Sleep(24 * time.Hour)
		if len(crm.took()) == 0 || b.Endpoints()[1].Dead == 0 {
			t.Errorf("%d events were taken, and the other endpoint has %+v", len(crm.took()), b.Endpoints()[1])
		}
		if held := memory.held.Load(); held != 0 {
			t.Errorf("%d bytes are counted for nothing", held)
		}
		b.close()
	})
}

// TestQueuesKeepTheirShare gives up the oldest events once the queues hold more
// than their part, and tells the endpoint. Another endpoint's queue is not touched.
func TestQueuesKeepTheirShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := new(account)
		down, up := newReceiver(t), newReceiver(t)
		down.respond(always(http.StatusServiceUnavailable))
		const share, events = 64 << 10, 1000
		o := Options{
			Endpoints: []Endpoint{everything("down", "http://down.example"), everything("up", "http://up.example")},
			Memory:    memory, MaxBytes: 2 * share,
		}
		b := newBench(t, o, down, up)
		for i := range events {
			b.Joined(fmt.Sprint("room", i), "ada")
			time.Sleep(10 * time.Millisecond)
		}
		if held := memory.held.Load(); held > share || held < share/2 {
			t.Errorf("%d bytes are held, of %d", held, share)
		}
		if most := memory.most.Load(); most > 2*share {
			t.Errorf("%d bytes were held, of %d", most, share)
		}
		if n := len(up.took()); n != events {
			t.Errorf("the endpoint that answers was told of %d events of %d", n, events)
		}
		waiting := b.Endpoints()[0].Waiting
		down.respond(nil)
		time.Sleep(24 * time.Hour)
		rooms, gaps := make(map[string]bool), 0
		for _, m := range down.took() {
			if m.Event == "gap" {
				gaps++
			} else {
				rooms[m.Room] = true
			}
		}
		if len(rooms) != int(waiting) || gaps == 0 || down.took()[0].Event != "gap" {
			t.Errorf("%d events were taken after %d gaps; %d waited", len(rooms), gaps, waiting)
		}
		for i := events - int(waiting); i < events; i++ {
			if !rooms[fmt.Sprint("room", i)] {
				t.Errorf("the event of room %d, which is among the newest, was given up", i)
			}
		}
		b.close()
	})
}
