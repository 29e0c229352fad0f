package netio

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/proto"
)

// TestAdmissionBudget holds the budget to its arithmetic: a burst at once, then
// a queue as long as its time bound, refilled first come, first served.
func TestAdmissionBudget(t *testing.T) {
	now := time.Unix(1, 0)
	a := newAdmission(proto.Rate{PerSecond: 10, Burst: 3}, now)
	conns := make([]*Conn, 100)
	var got [3]int
	var first, last time.Duration
	for i := range conns {
		conns[i] = new(Conn)
		answer, after, _ := a.enter(conns[i], now)
		got[answer]++
		if answer != notAdmitted {
			continue
		}
		if first == 0 {
			first = after
		}
		last = after
	}
	if want := [3]int{3, 50, 47}; got != want {
		t.Fatalf("admitted, waiting, refused: %v, want %v", got, want)
	}
	// The queue takes 5 s, and each of those that were refused 0.1 s more; the
	// jitter adds a quarter at the most.
	if first < 5*time.Second || first > 6500*time.Millisecond || last < 9*time.Second || last > 12500*time.Millisecond {
		t.Errorf("the first is asked to stay away for %v, the last for %v", first, last)
	}
	a.forget(conns[4])
	var turns []*Conn
	for range 20 { // steps of 50 ms: half a handshake each
		now = now.Add(50 * time.Millisecond)
		var more bool
		if turns, more = a.next(turns, now); !more {
			t.Fatal("nobody waits any more")
		}
	}
	if want := slices.Concat(conns[3:4], conns[5:14]); !slices.Equal(turns, want) {
		t.Errorf("%d handshakes went on, want the first %d of those that still wait, in order", len(turns), len(want))
	}
	if answer, _, _ := a.enter(new(Conn), now); answer != toWait {
		t.Error("somebody overtook those that wait")
	}
	if turns, more := a.next(nil, now.Add(time.Hour)); len(turns) != 3 || !more {
		t.Errorf("%d handshakes went on after an hour, want the burst of 3", len(turns))
	}
	if left := len(a.all()); left != 50-1-10+1-3 {
		t.Errorf("%d were left", left)
	}
	if waiting, queued, refused := a.counts(); waiting != 0 || queued != 51 || refused != 47 || a.line.count() != 0 {
		t.Errorf("the counts are %d, %d, %d, with %d places", waiting, queued, refused, a.line.count())
	}
}

// TestAdmissionTakesAddressesInTurn: an address that comes with a flood fills the
// queue only as long as nobody else wants a place in it, and others do not wait
// behind the flood.
func TestAdmissionTakesAddressesInTurn(t *testing.T) {
	now := time.Unix(1, 0)
	a := newAdmission(proto.Rate{PerSecond: 10, Burst: 1}, now) // 50 places
	from := func(address string) *Conn {
		return &Conn{client: newEndpoint(netip.AddrPortFrom(netip.MustParseAddr(address), 1))}
	}
	a.enter(from("192.0.2.1"), now) // has the budget
	var flood, few []*Conn
	for range 60 {
		c := from("192.0.2.1")
		flood = append(flood, c)
		if answer, _, pushed := a.enter(c, now); pushed != nil || (answer == toWait) != (len(flood) <= 50) {
			t.Fatalf("handshake %d of the flood: answer %d, %v pushed out", len(flood), answer, pushed)
		}
	}
	for i := range 3 {
		c := from(fmt.Sprintf("2001:db8::%d", i+1)) // one network
		few = append(few, c)
		if answer, _, pushed := a.enter(c, now); answer != toWait || pushed != flood[49-i] {
			t.Fatalf("handshake %d of another address: answer %d, pushed out the wrong one", i+1, answer)
		}
	}
	if answer, _, pushed := a.enter(from("192.0.2.1"), now); answer != notAdmitted || pushed != nil {
		t.Errorf("the flood goes on: answer %d", answer)
	}
	var turns []*Conn
	for range 8 {
		now = now.Add(100 * time.Millisecond)
		turns, _ = a.next(turns, now)
	}
	if want := []*Conn{flood[0], few[0], flood[1], few[1], flood[2], few[2], flood[3], flood[4]}; !slices.Equal(turns, want) {
		t.Error("the addresses did not take turns")
	}
	// With as many addresses as places nobody has more than one, and gives it up.
	for i := range 100 {
		answer, _, _ := a.enter(from(fmt.Sprintf("198.51.100.%d", i)), now)
		if want := map[bool]int{true: toWait, false: notAdmitted}[i < 49]; answer != want {
			t.Fatalf("address %d: answer %d, want %d", i, answer, want)
		}
	}
	if waiting, _, _ := a.counts(); waiting != 50 || len(a.all()) != 50 || a.line.count() != 0 || len(a.line.lanes) != 0 {
		t.Errorf("%d waited", waiting)
	}
}

// TestAdmissionAdvice: clients that come again when they are told to find
// budget; nobody is sent away for hours.
func TestAdmissionAdvice(t *testing.T) {
	now := time.Unix(1, 0)
	a := newAdmission(proto.Rate{PerSecond: 100, Burst: 100}, now)
	later := make(map[int]int) // clients by the second in which they come again
	for range 100_000 {
		if answer, after, _ := a.enter(new(Conn), now); answer == notAdmitted {
			if after < time.Second || after > 2*retryMost+time.Second {
				t.Fatalf("told to stay away for %v", after)
			}
			later[int(after/time.Second)]++
		}
	}
	a = newAdmission(proto.Rate{PerSecond: 100, Burst: 100}, now)
	clear(later)
	for range 3000 {
		if answer, after, _ := a.enter(new(Conn), now); answer == notAdmitted {
			later[int(after/time.Second)]++
		}
	}
	for second, n := range later {
		if n > 300 {
			t.Errorf("%d of 2,400 clients were told to come again in second %d, at 100 a second", n, second)
		}
	}
}

// TestAdmissionQueue has more clients come than the budget allows: they wait
// for their turn and get it, with what they sent too early.
func TestAdmissionQueue(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		s := start(t, Options{newPoller: open, Admission: proto.Rate{PerSecond: 100, Burst: 1}})
		var peers []*peer
		for range 20 {
			p := s.connect(t)
			p.send(upgradeRequest("/ws"))
			p.frame(text, "early")
			peers = append(peers, p)
		}
		for _, p := range peers {
			if head := p.answer(); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
				t.Fatalf("answer %q", head)
			}
			p.expect("81 early")
			_ = p.Close()
		}
		if got := s.metric("throng_admission_queued_total"); got == "0" || s.metric("throng_admission_refused_total") != "0" {
			t.Errorf("%s waited, %s were refused", got, s.metric("throng_admission_refused_total"))
		}
	})
}

// TestAdmissionRefusal: with one place in the queue, the third client is told to
// come again, who gives up makes room, plain requests need no budget, and the
// end of the server is told at once.
func TestAdmissionRefusal(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		s := start(t, Options{newPoller: open, HTTP: testPages(), Admission: proto.Rate{PerSecond: 0.01, Burst: 1}})
		waiting := func(n int) {
			t.Helper()
			if !eventually(func() bool { return s.metric("throng_admission_waiting") == fmt.Sprint(n) }) {
				t.Fatalf("%s wait, want %d", s.metric("throng_admission_waiting"), n)
			}
		}
		in := s.dial(t)
		second := s.connect(t)
		second.send(upgradeRequest("/ws"))
		waiting(1)
		third := s.connect(t)
		third.send(upgradeRequest("/ws"))
		head := third.answer()
		if !strings.HasPrefix(head, "HTTP/1.1 503 ") {
			t.Fatalf("answer %q", head)
		}
		if seconds, err := strconv.Atoi(headerOf(head, "Retry-After")); err != nil || seconds < 1 {
			t.Errorf("Retry-After in %q", head)
		}
		_ = second.Close()
		waiting(0)
		fourth := s.connect(t)
		fourth.send(upgradeRequest("/ws"))
		waiting(1)
		response, err := http.Get("http://" + s.addr + "/")
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("a plain request: %v, %v", response, err)
		}
		_ = response.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		s.Refuse()
		if head := fourth.answer(); !strings.HasPrefix(head, "HTTP/1.1 503 ") {
			t.Errorf("answer %q", head)
		}
		waiting(0)
		in.frame(text, "x")
		in.expect("81 x")
	})
}

// headerOf returns a header's value from an answer's head.
func headerOf(head, name string) string {
	for line := range strings.SplitSeq(head, "\r\n") {
		if v, ok := strings.CutPrefix(line, name+": "); ok {
			return v
		}
	}
	return ""
}
