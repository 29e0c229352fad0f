package hook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/proto"
)

// TestDeadLetters refuses for good what can be seen, sent again, and deleted.
func TestDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		r.respond(always(http.StatusBadRequest))
		b := newBench(t, Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}, r)
		b.Joined("lobby", "ada")
		b.publish("lobby", 150)
		b.Left("lobby", "ada")
		time.Sleep(time.Second)
		letters, next, problem := b.Dead("crm", "", 3)
		if problem != nil || len(letters) != 3 || next == "" {
			t.Fatalf("letters %+v, then %q (%v)", letters, next, problem)
		}
		more, last, problem := b.Dead("crm", next, 3)
		if problem != nil || len(more) != 1 || last != "" || more[0].Event != "leave" || more[0].UserID != "ada" {
			t.Fatalf("letters %+v, then %q (%v)", more, last, problem)
		}
		if l := letters[1]; l.Event != "message" || l.First != 1 || l.Last != 100 || l.Status != 400 || l.Attempts != 1 || l.Reason == "" {
			t.Errorf("the second letter is %+v", l)
		}
		if s := b.Endpoints()[0]; s.Dead != 4 || s.Waiting != 0 || s.Circuit != "closed" {
			t.Errorf("status %+v", s)
		}
		r.respond(nil)
		if n, problem := b.Replay("crm", []string{letters[1].ID}); n != 1 || problem != nil {
			t.Errorf("replayed %d (%v)", n, problem)
		}
		time.Sleep(time.Second)
		if got := offsets(t, r.took(), "lobby"); !slices.Equal(got, upTo(100)) {
			t.Errorf("offsets %v after a replay", got)
		}
		if problem := b.DeleteDead("crm", letters[0].ID); problem != nil {
			t.Error(problem)
		}
		for _, bad := range []string{letters[0].ID, letters[1].ID, "", "!", "0" + more[0].ID} {
			if problem := b.DeleteDead("crm", bad); problem == nil || problem.Code != proto.ErrNotFound {
				t.Errorf("deleting %q: %v", bad, problem)
			}
		}
		if _, problem := b.Replay("crm", []string{letters[0].ID}); problem == nil || problem.Code != proto.ErrNotFound {
			t.Errorf("replaying a deleted letter: %v", problem)
		}
		if _, problem := b.Replay("nobody", nil); problem == nil || problem.Code != proto.ErrNotFound {
			t.Errorf("replaying for nobody: %v", problem)
		}
		b.close()
		b.open(Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}, r)
		if n, problem := b.Replay("crm", nil); n != 2 || problem != nil {
			t.Errorf("replayed %d after a restart (%v)", n, problem)
		}
		time.Sleep(time.Second)
		if got := offsets(t, r.took(), "lobby"); !slices.Equal(got, upTo(150)) || len(r.took()) != 3 {
			t.Errorf("offsets %v in %d deliveries after all were replayed", got, len(r.took()))
		}
		if letters, _, problem := b.Dead("crm", "", 10); len(letters) != 0 || problem != nil {
			t.Errorf("letters %+v are left (%v)", letters, problem)
		}
		b.close()
	})
}

// TestDeadLettersAreBounded lets the oldest go.
func TestDeadLettersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		r.respond(always(http.StatusNotFound))
		b := newBench(t, Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}, MaxDead: 3}, r)
		for i := range 8 {
			b.Joined("lobby", fmt.Sprint("user", i))
			time.Sleep(time.Second)
		}
		letters, _, problem := b.Dead("crm", "", 10)
		if problem != nil || len(letters) != 3 || letters[0].UserID != "user5" || letters[2].UserID != "user7" {
			t.Errorf("letters %+v (%v)", letters, problem)
		}
		b.close()
	})
}

// TestAge makes dead letters of what waited for too long.
func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		r.respond(always(http.StatusBadGateway))
		end := everything("crm", "http://crm.example")
		end.MaxAge = time.Hour
		b := newBench(t, Options{Endpoints: []Endpoint{end}}, r)
		b.Joined("lobby", "ada")
		time.Sleep(50 * time.Minute)
		b.Joined("lobby", "bob")
		time.Sleep(15 * time.Minute)
		letters, _, problem := b.Dead("crm", "", 10)
		if problem != nil || len(letters) != 1 || letters[0].UserID != "ada" || letters[0].Attempts == 0 {
			t.Errorf("letters %+v (%v)", letters, problem)
		}
		r.respond(nil)
		time.Sleep(15 * time.Minute)
		b.close()
		if len(r.took()) != 1 || r.took()[0].UserID != "bob" {
			t.Errorf("taken %+v", r.took())
		}
	})
}

// TestGone stops after 410, until a replay.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		r.respond(always(http.StatusGone))
		b := newBench(t, Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}, r)
		b.Joined("lobby", "ada")
		time.Sleep(time.Hour)
		b.Joined("lobby", "bob")
		time.Sleep(time.Hour)
		if s, _ := b.Endpoint("crm"); len(r.requests()) != 1 || s.Circuit != "gone" || s.Waiting != 2 {
			t.Errorf("%d requests, status %+v", len(r.requests()), s)
		}
		r.respond(nil)
		if _, problem := b.Replay("crm", nil); problem != nil {
			t.Error(problem)
		}
		time.Sleep(time.Hour)
		b.close()
		if len(r.took()) != 2 || r.took()[0].UserID != "ada" {
			t.Errorf("taken %+v", r.took())
		}
	})
}

// TestBreaker counts what an endpoint gets that is down for an hour, with many
// rooms, and how soon it gets everything when it is back.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		r.respond(always(http.StatusBadGateway))
		b := newBench(t, Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}, r)
		for i := range 200 {
			b.Joined(fmt.Sprint("room", i), "ada")
		}
		time.Sleep(time.Hour)
		n := len(r.requests())
		if n < 60 || n > 100 {
			t.Errorf("%d requests to an endpoint that was down for an hour; about one a minute was expected", n)
		}
		if s, _ := b.Endpoint("crm"); s.Circuit != "open" || s.Next == 0 || s.Failures == 0 {
			t.Errorf("status %+v", s)
		}
		r.respond(nil)
		time.Sleep(61 * time.Second)
		if len(r.took()) != 200 {
			t.Errorf("%d of 200 events a minute after the endpoint was back", len(r.took()))
		}
		b.close()
	})
}

// TestBound lets the oldest go past the bound, and says what is missing.
func TestBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		r.respond(always(http.StatusBadGateway))
		end := everything("crm", "http://crm.example")
		end.MaxWaiting = 10
		b := newBench(t, Options{Endpoints: []Endpoint{end}}, r)
		b.publish("chat:1", 7)
		time.Sleep(time.Second)
		for i := range 30 {
			b.Joined(fmt.Sprint("room", i), "ada")
			time.Sleep(time.Second)
		}
		if s, _ := b.Endpoint("crm"); s.Waiting != 10 || s.Dropped != 27 {
			t.Errorf("status %+v", s)
		}
		b.close() // the gap outlives a restart
		b.open(Options{Endpoints: []Endpoint{end}}, r)
		r.respond(nil)
		time.Sleep(10 * time.Minute)
		b.close()
		var joins []string
		var gaps []told
		for _, m := range r.took() {
			switch m.Event {
			case "join":
				joins = append(joins, m.Room)
			case "gap":
				gaps = append(gaps, m)
			}
		}
		if len(joins) != 10 || slices.Contains(joins, "room19") || !slices.Contains(joins, "room20") {
			t.Errorf("told of %v", joins)
		}
		if len(gaps) != 1 || !reflect.DeepEqual(missing(t, gaps[0]), map[string]uint64{"join": 20, "message": 7}) ||
			!contains(gaps[0].body, `"messages":[{"room":"chat:1","epoch":"chat:1.1","first":1,"last":7}]`) || gaps[0].Unlisted != 0 {
			t.Errorf("the gaps are %+v", gaps)
		}
	})
}

func missing(t *testing.T, m told) (counts map[string]uint64) {
	t.Helper()
	if err := json.Unmarshal(m.Missing, &counts); err != nil {
		t.Fatal(err)
	}
	return counts
}

// TestGapRefused does not repeat a gap that the endpoint refuses for good.
func TestGapRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		r.respond(always(http.StatusBadGateway))
		end := everything("crm", "http://crm.example")
		end.MaxWaiting = 2
		b := newBench(t, Options{Endpoints: []Endpoint{end}}, r)
		for i := range 5 {
			b.Joined(fmt.Sprint("room", i), "ada")
		}
		time.Sleep(time.Second)
		gaps := 0
		r.respond(func(m told) int {
			if m.Event == "gap" {
				gaps++
				return http.StatusBadRequest
			}
			return http.StatusOK
		})
		time.Sleep(time.Hour)
		b.close()
		if len(r.took()) != 2 || gaps != 1 {
			t.Errorf("%d events were taken, and %d gaps refused", len(r.took()), gaps)
		}
	})
}

// TestAgeBehindTheYounger makes a dead letter of an old event, too, that stands
// behind a run whose rest is younger than its beginning was.
func TestAgeBehindTheYounger(t *testing.T) {
	end := everything("crm", "http://crm.example")
	end.MaxAge = time.Hour
	o := Options{Endpoints: []Endpoint{end}}.withDefaults()
	ep := newEndpoint(o.Endpoints[0], &o, &changes{wake: make(chan struct{}, 1)})
	ep.meters = newEndpointMeters(metrics.NewSet(), ep)
	now := time.Now()
	run := &entry{event: event{kind: Message, room: "chat:1", span: span{"e", 101, 150}, queued: now.UnixMilli()}, number: 1}
	join := &entry{event: event{kind: Join, room: "lobby", user: "ada", queued: now.Add(-time.Hour).UnixMilli()}, number: 2}
	ep.add([]*entry{run, join})
	ep.parkLocked(run.lane, now.Add(time.Minute)) // it is tried again later
	if j, _ := ep.begin(now.Add(time.Second)); j != nil {
		t.Errorf("%+v is delivered", j.event)
	}
	if s := ep.status(now); s.Waiting != 1 || s.Dead != 1 || !join.gone {
		t.Errorf("status %+v", s)
	}
}

// TestIntakeOverflow lets more happen than there is space for while the outbox
// cannot be written: messages are found again, of the others a gap tells.
func TestIntakeOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		b := newBench(t, Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}, Intake: 4}, r)
		b.outbox.Fail(fmt.Errorf("the disk is full"))
		b.Joined("first", "ada") // the writer is stuck with it
		synctest.Wait()
		for i := range 10 {
			b.Joined("lobby", fmt.Sprint("user", i))
		}
		for i := range 10 {
			b.publish(fmt.Sprint("chat:", i), 3)
		}
		synctest.Wait()
		b.outbox.Fail(nil)
		time.Sleep(time.Minute)
		b.close()
		counts := make(map[string]uint64)
		for _, m := range r.took() {
			counts[m.Event]++
			if m.Event == "gap" {
				counts["missing"] += missing(t, m)["join"]
			}
		}
		if counts["join"]+counts["missing"] != 11 || counts["missing"] != 6 || counts["gap"] != 1 {
			t.Errorf("told of %v", counts)
		}
		for i := range 10 {
			room := fmt.Sprint("chat:", i)
			inOrder(t, room, offsets(t, r.took(), room), 3)
		}
	})
}

// TestSlowEndpoint does not slow the others, nor those to whom events happen.
func TestSlowEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, quick := newReceiver(t), newReceiver(t)
		release := make(chan struct{})
		slow.respond(func(told) int { <-release; return 200 })
		b := newBench(t, Options{Endpoints: []Endpoint{everything("slow", "http://a.example"), everything("quick", "http://b.example")}}, slow, quick)
		for i := range 100 {
			b.Joined(fmt.Sprint("room", i), "ada")
			b.publish(fmt.Sprint("room", i), 2)
		}
		time.Sleep(time.Second)
		if n := len(quick.requests()); n != 200 {
			t.Errorf("the quick endpoint was told of %d events of 200", n)
		}
		if s, _ := b.Endpoint("slow"); s.Running != 8 {
			t.Errorf("%d deliveries are under way to the slow one, want 8", s.Running)
		}
		close(release)
		time.Sleep(time.Second)
		if n := len(slow.requests()); n != 200 {
			t.Errorf("the slow endpoint was told of %d events of 200", n)
		}
		b.close()
	})
}
