package hook

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/proto"
)

// TestEverythingIsTold lets each kind of event happen once.
func TestEverythingIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		b := newBench(t, Options{Endpoints: []Endpoint{everything("crm", "http://crm.example/hook")}}, r)
		c := Connection{SessionID: "s1", UserID: "ada", Address: "192.0.2.1", DeviceType: "phone", DeviceOS: "linux", Via: "websocket", ConnectedAt: 5}
		start := time.Now().UnixMilli()
		b.Connected(c)
		b.Opened("lobby")
		b.Joined("lobby", "ada")
		b.publish("lobby", 2)
		b.Left("lobby", "ada")
		b.Emptied("lobby")
		b.Disconnected(c, "silent")
		time.Sleep(time.Second)
		b.close()
		taken := r.requests()
		byEvent := make(map[string]told)
		var inRoom []string
		for _, m := range taken {
			byEvent[m.Event] = m
			if m.Room == "lobby" {
				inRoom = append(inRoom, m.Event)
			}
			if m.Endpoint != "crm" || m.Timestamp != start {
				t.Errorf("%s", m.body)
			}
		}
		if len(taken) != 7 {
			t.Fatalf("%d requests", len(taken))
		}
		if want := []string{"room_opened", "join", "message", "leave", "room_emptied"}; !slices.Equal(inRoom, want) {
			t.Errorf("in the room came %v, want %v", inRoom, want)
		}
		if m := byEvent["disconnect"]; m.UserID != "ada" || m.SessionID != "s1" || m.Reason != "silent" {
			t.Errorf("%s", m.body)
		}
		want := fmt.Sprintf(`{"id":%q,"event":"connect","timestamp":%d,"endpoint":"crm","run":1,"userId":"ada","sessionId":"s1","address":"192.0.2.1","deviceInfo":{"type":"phone","os":"linux"},"via":"websocket","connectedAt":5}`, byEvent["connect"].ID, start)
		if got := string(byEvent["connect"].body); got != want {
			t.Errorf("connect is\n%s, want\n%s", got, want)
		}
		if m := byEvent["join"]; m.UserID != "ada" || m.Room != "lobby" {
			t.Errorf("%s", m.body)
		}
		m := byEvent["message"]
		if m.First != 1 || m.Last != 2 || m.Epoch != "lobby.1" || len(m.Messages) != 2 || m.Missing != nil {
			t.Errorf("%s", m.body)
		}
		if !contains(m.body, `"content":{"n":1,"html":"<&>"}`) {
			t.Errorf("the content has changed: %s", m.body)
		}
		if s := b.Endpoints()[0]; s.Waiting != 0 || s.Delivered != 7 || s.Circuit != "closed" {
			t.Errorf("status %+v", s)
		}
	})
}

// TestSelection tells each endpoint only what it asked for.
func TestSelection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		joins, chat, all, inbox := newReceiver(t), newReceiver(t), newReceiver(t), newReceiver(t)
		ends := []Endpoint{everything("joins", "http://a.example"), everything("chat", "http://b.example"), everything("all", "http://c.example"), everything("inbox", "http://d.example")}
		ends[0].Events = Of(Join)
		ends[1].Namespaces = []string{"chat"}
		ends[3].Events, ends[3].Namespaces = Of(Message), []string{"user"}
		b := newBench(t, Options{Endpoints: ends, Logged: func(room string) bool { return room != "game:unlogged" }}, joins, chat, all, inbox)
		b.Connected(Connection{UserID: "ada"})
		for _, room := range []string{"lobby", "chat:1", "user:ada", "game:unlogged"} {
			b.Joined(room, "ada")
			b.publish(room, 1)
		}
		time.Sleep(time.Second)
		b.close()
		got := func(r *receiver) (names []string) {
			for _, m := range r.requests() {
				names = append(names, m.Event+" "+m.Room)
			}
			slices.Sort(names)
			return names
		}
		for i, test := range []struct {
			r    *receiver
			want []string
		}{
			{joins, []string{"join chat:1", "join game:unlogged", "join lobby"}},
			{chat, []string{"connect ", "join chat:1", "message chat:1"}},
			{all, []string{"connect ", "join chat:1", "join game:unlogged", "join lobby", "message chat:1", "message lobby"}},
			{inbox, []string{"message user:ada"}},
		} {
			if got := got(test.r); !slices.Equal(got, test.want) {
				t.Errorf("endpoint %d was told %q, want %q", i, got, test.want)
			}
		}
	})
}

// TestMessagesInBatches publishes more than a delivery holds, in one run and in
// many.
func TestMessagesInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		b := newBench(t, Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}, r)
		b.publish("lobby", 250)
		for range 30 {
			b.publish("lobby", 1)
		}
		time.Sleep(time.Second)
		taken := r.requests()
		if got := offsets(t, taken, "lobby"); !slices.Equal(got, upTo(280)) {
			t.Errorf("offsets %v", got)
		}
		ids := make(map[string]bool)
		for _, m := range taken {
			if len(m.Messages) > batchMessages || ids[m.ID] {
				t.Errorf("delivery %s has %d messages", m.ID, len(m.Messages))
			}
			ids[m.ID] = true
		}
		if len(taken) > 5 {
			t.Errorf("%d deliveries for 280 messages", len(taken))
		}
		epoch, first, last := b.history.append("big", 3)
		b.history.edit("big", func(r *memoryRoom) {
			for i := range r.messages {
				r.messages[i].Kind, r.messages[i].Content = proto.KindBytes, make([]byte, 200<<10)
			}
		})
		b.Published("big", epoch, first, last)
		time.Sleep(time.Second)
		b.close()
		big := r.took()[len(taken):]
		if got := offsets(t, big, "big"); !slices.Equal(got, upTo(3)) || len(big) != 3 {
			t.Errorf("offsets %v in %d deliveries", got, len(big))
		}
	})
}

// TestRunsKeepTheirPlace lets messages follow a join that has not been written yet,
// where an older run of the room waits: it does not grow past the join.
func TestRunsKeepTheirPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		r.respond(always(http.StatusBadGateway))
		b := newBench(t, Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}, r)
		b.publish("lobby", 2)
		time.Sleep(time.Second)
		b.publish("lobby", 1)
		b.Joined("lobby", "ada")
		b.publish("lobby", 1)
		synctest.Wait()                       // it is written, and what follows it makes it longer
		b.Published("lobby", "lobby.1", 1, 3) // again: it is known
		b.publish("lobby", 1)
		time.Sleep(time.Second)
		r.respond(nil)
		time.Sleep(time.Hour)
		b.close()
		var order []string
		for _, m := range r.took() {
			order = append(order, fmt.Sprint(m.Event, m.First, m.Last))
		}
		if got := fmt.Sprint(order); got != "[message1 2 message3 3 join0 0 message4 5]" {
			t.Errorf("told of %s", got)
		}
	})
}

// TestMissingMessages tells of messages that were deleted, trimmed, or lost with
// their log.
func TestMissingMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		r.respond(always(http.StatusInternalServerError))
		b := newBench(t, Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}, r)
		b.publish("lobby", 6)
		b.publish("gone", 3)
		time.Sleep(time.Second)
		b.history.edit("lobby", func(r *memoryRoom) {
			r.floor = 4
			r.messages[4].Kind, r.messages[4].Content = proto.KindDeleted, nil
		})
		b.history.edit("gone", func(r *memoryRoom) { r.epoch = "another.1" })
		r.respond(nil)
		time.Sleep(time.Minute)
		b.close()
		taken := r.wait(func(taken []told) bool { return len(taken) == 2 })
		slices.SortFunc(taken, func(a, b told) int { return len(a.Messages) - len(b.Messages) })
		if m := taken[0]; m.Room != "gone" || string(m.Missing) != `[{"first":1,"last":3}]` || len(m.Messages) != 0 || !contains(m.body, `"messages":[]`) {
			t.Errorf("%s", m.body)
		}
		if m := taken[1]; string(m.Missing) != `[{"first":1,"last":3}]` || len(m.Messages) != 3 || !contains(m.body, `"deleted":true`) {
			t.Errorf("%s", m.body)
		}
	})
}

// TestRetries lets tries fail in every way that may pass, and sends the same again.
func TestRetries(t *testing.T) {
	for _, status := range []int{500, 502, 503, 504, 408, 409, 425, 429, 301, 307, statusReset} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReceiver(t)
				r.respond(always(status))
				b := newBench(t, Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}, BreakAfter: 100}, r)
				b.Joined("lobby", "ada")
				b.publish("lobby", 3)
				b.publish("chat:1", 1)
				time.Sleep(5 * time.Second)
				b.publish("chat:1", 1) // must not change what is tried again
				r.respond(nil)
				time.Sleep(time.Hour)
				b.close()
				ids := make(map[string][]byte)
				for _, m := range r.requests() {
					if body, ok := ids[m.ID]; ok && !slices.Equal(body, m.body) {
						t.Errorf("%s was\n%s and became\n%s", m.ID, body, m.body)
					}
					ids[m.ID] = m.body
				}
				if len(r.took()) != 4 || len(r.requests()) < 7 {
					t.Errorf("%d of %d requests were taken", len(r.took()), len(r.requests()))
				}
				inOrder(t, "chat:1", offsets(t, r.took(), "chat:1"), 2)
				inOrder(t, "lobby", offsets(t, r.took(), "lobby"), 3)
			})
		})
	}
}

// TestBackoff checks the times between the tries of one event.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		var times []time.Time
		r.respond(func(told) int {
			times = append(times, time.Now())
			return http.StatusInternalServerError
		})
		b := newBench(t, Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}, BreakAfter: 1000, MaxBackoff: time.Minute}, r)
		b.Joined("lobby", "ada")
		time.Sleep(20 * time.Minute)
		b.close()
		if len(times) < 20 {
			t.Fatalf("%d tries in 20 minutes", len(times))
		}
		whole := time.Second
		for i := 1; i < len(times); i++ {
			if d := times[i].Sub(times[i-1]); d < whole/2 || d > whole+time.Millisecond {
				t.Errorf("try %d came %v after the one before; %v to %v were expected", i, d, whole/2, whole)
			}
			whole = min(2*whole, time.Minute)
		}
	})
}

// TestRetryAfter holds back what the endpoint asks to be held back: with 429 and
// 503 everything, in both of the header's forms.
func TestRetryAfter(t *testing.T) {
	for _, form := range []func(time.Time) string{
		func(time.Time) string { return "90" },
		func(now time.Time) string { return now.Add(90 * time.Second).UTC().Format(http.TimeFormat) },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newReceiver(t)
			r.header = http.Header{"Retry-After": {form(time.Now())}}
			r.respond(always(http.StatusTooManyRequests))
			b := newBench(t, Options{Endpoints: []Endpoint{everything("crm", "http://crm.example")}}, r)
			b.Joined("lobby", "ada")
			time.Sleep(time.Second)
			r.respond(nil)
			b.Joined("other", "ada") // another room's must wait, too
			time.Sleep(88 * time.Second)
			if n := len(r.requests()); n != 1 {
				t.Errorf("%d requests before the time that was asked for", n)
			}
			time.Sleep(2 * time.Second)
			b.close()
			if n := len(r.requests()); n != 3 {
				t.Errorf("%d requests after it", n)
			}
		})
	}
	now := time.Now()
	for value, want := range map[string]time.Duration{"": 0, "-1": 0, "x": 0, "0": 0, "99999999": time.Hour, now.Add(-time.Hour).UTC().Format(http.TimeFormat): 0} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("Retry-After %q is %v, want %v", value, got, want)
		}
	}
}

// TestOrderUnderFire sends to real servers that fail at random, with several
// publishers: in each room everything comes, in order.
func TestOrderUnderFire(t *testing.T) {
	r := newReceiver(t)
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(1, 1))
	r.respond(func(told) int {
		mu.Lock()
		defer mu.Unlock()
		return []int{200, 200, 500, 503, statusReset, 429}[rng.IntN(6)]
	})
	server := httptest.NewServer(r)
	defer server.Close()
	o := Options{Endpoints: []Endpoint{everything("crm", server.URL)}}
	quick(&o)
	b := newBench(t, o)
	const rooms, each = 8, 60
	var publishers sync.WaitGroup
	for i := range rooms {
		publishers.Go(func() {
			room := fmt.Sprint("chat:", i)
			for n := range each {
				b.publish(room, 1+n%3)
				if n%10 == 0 {
					b.Joined(room, fmt.Sprint(n))
				}
			}
		})
	}
	publishers.Wait()
	taken := r.wait(func(taken []told) bool {
		n := 0
		for _, m := range taken {
			n += len(m.Messages)
			if m.Event == "join" {
				n++
			}
		}
		return n >= rooms*(2*each+each/10)
	})
	b.close()
	for i := range rooms {
		room := fmt.Sprint("chat:", i)
		inOrder(t, room, offsets(t, taken, room), 2*each)
		joins := 0
		for _, m := range taken {
			if m.Event == "join" && m.Room == room {
				if m.UserID != fmt.Sprint(joins*10) {
					t.Errorf("%s: join of %s is number %d", room, m.UserID, joins)
				}
				joins++
			}
		}
	}
}

// TestTimeout gives up a try that takes too long, at a real server.
func TestTimeout(t *testing.T) {
	r := newReceiver(t)
	hang := make(chan struct{})
	var first sync.Once
	r.respond(func(told) int {
		hanging := false
		first.Do(func() { hanging = true })
		if hanging {
			<-hang
		}
		return 200
	})
	server := httptest.NewServer(r)
	defer server.Close()
	o := Options{Endpoints: []Endpoint{everything("crm", server.URL)}}
	quick(&o)
	o.Endpoints[0].Timeout = 50 * time.Millisecond
	b := newBench(t, o)
	b.Joined("lobby", "ada")
	taken := r.wait(func(taken []told) bool { return len(taken) == 1 })
	close(hang)
	b.close()
	if taken[0].UserID != "ada" {
		t.Errorf("taken %+v", taken)
	}
}

// TestIntakeAllocates nothing for a run of messages that goes on.
func TestIntakeAllocates(t *testing.T) {
	var in intake
	in.init(100, nobody{})
	next := uint64(1)
	e := event{kind: Message, room: "lobby", span: span{"e", next, next}}
	in.put(e)
	if n := testing.AllocsPerRun(1000, func() {
		next++
		e.first, e.last = next, next
		in.put(e)
	}); n != 0 {
		t.Errorf("%v allocations for each run", n)
	}
}

func TestOptions(t *testing.T) {
	good := everything("crm", "https://crm.example/hook")
	for name, spoil := range map[string]func(*Endpoint){
		"no name":      func(e *Endpoint) { e.Name = "" },
		"no secret":    func(e *Endpoint) { e.Secret = nil },
		"no host":      func(e *Endpoint) { e.URL = "https:///x" },
		"another kind": func(e *Endpoint) { e.URL = "ftp://crm.example" },
		"no URL":       func(e *Endpoint) { e.URL = "::" },
		"below 0":      func(e *Endpoint) { e.MaxAge = -1 },
	} {
		bad := good
		spoil(&bad)
		o := Options{Endpoints: []Endpoint{bad}}
		if err := o.validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	o := Options{Endpoints: []Endpoint{good, good}}
	if err := o.validate(); err == nil {
		t.Error("two endpoints of one name were accepted")
	}
	set, err := ParseEvents([]string{"join", "message"})
	if err != nil || set != Of(Join, Message) || !slices.Equal(set.Names(), []string{"join", "message"}) {
		t.Errorf("got %v (%v)", set.Names(), err)
	}
	for _, name := range []string{"gap", "publish", ""} {
		if _, err := ParseEvents([]string{name}); err == nil {
			t.Errorf("the event %q was accepted", name)
		}
	}
}
