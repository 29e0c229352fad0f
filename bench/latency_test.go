package bench

import (
	"encoding/json"
	"testing"
	"time"
)

func ms(n int64) int64 { return n * int64(time.Millisecond) }

func TestLatencyCountsFromTheDueTime(t *testing.T) {
	l := newLatency()
	// A hundred messages, due one each millisecond, are all held up until the
	// last is due: from the send, each would seem to have taken no time.
	for due := range int64(100) {
		l.record(ms(due), ms(100))
	}
	q := l.quantiles()
	if q.P50 < 50 || q.P50 > 51.5 || q.P99 < 98 || q.Max < 99.9 || q.Max > 100.1 {
		t.Errorf("quantiles %+v, want 50.x, 99 and 100 ms", q)
	}
}

func TestLatencyIsClamped(t *testing.T) {
	l := newLatency()
	l.record(10, 5)             // clocks of two cores may disagree by as much
	l.record(0, ms(10*60*1000)) // ten minutes
	if l.count() != 2 || l.at(100) < 59_000 {
		t.Errorf("%d values up to %v ms", l.count(), l.at(100))
	}
	if empty := newLatency(); empty.at(99) != 0 {
		t.Errorf("nothing was recorded, and p99 is %v", empty.at(99))
	}
}

func TestTallyTravelsBetweenProcesses(t *testing.T) {
	one, two := newTally(), newTally()
	one.Sent, one.CPU, one.Violations.Lost = 1, 3, 7
	two.Sent, two.CPU = 2, 5
	one.Latency.record(0, ms(1))
	two.Latency.record(0, ms(9))
	wire, err := json.Marshal(output{Tally: two, Heads: []uint64{4, 0, 9}})
	if err != nil {
		t.Fatal(err)
	}
	var received output
	if err := json.Unmarshal(wire, &received); err != nil {
		t.Fatal(err)
	}
	all := output{Heads: []uint64{1, 2}}
	all.merge(output{Tally: one})
	all.merge(received)
	got := all.Tally
	if got.Sent != 3 || got.CPU != 8 || got.BusiestCPU != 5 || got.Violations.Lost != 7 || got.Latency.count() != 2 || got.Latency.at(100) < 8.9 {
		t.Errorf("merged %+v with %d latencies up to %v", got, got.Latency.count(), got.Latency.at(100))
	}
	if len(all.Heads) != 3 || all.Heads[0] != 4 || all.Heads[1] != 2 || all.Heads[2] != 9 {
		t.Errorf("merged heads %d", all.Heads)
	}
}

// TestPaceKeepsToItsTimes starts in the past: every send is late, and none
// moves the ones after it.
func TestPaceKeepsToItsTimes(t *testing.T) {
	l, err := newLoop(1, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	now := l.clock.now()
	start, calls := now-ms(100), 0
	counted := newTally()
	err = l.pace(t.Context(), start, now, 1000, func(n int, due int64) (bool, error) {
		if n != calls || due != start+ms(int64(n)) {
			t.Errorf("call %d has number %d and is due %d ns after the start", calls, n, due-start)
		}
		counted.lateness(due, now)
		calls++
		return true, nil
	})
	if err != nil || calls != 100 {
		t.Errorf("%d sends, %v, want 100", calls, err)
	}
	if counted.Late != 99 { // the last was due a millisecond ago, not more
		t.Errorf("%d sends counted as late, want 99", counted.Late)
	}
	calls = 0
	err = l.pace(t.Context(), start, now, 1000, func(int, int64) (bool, error) {
		calls++
		return calls < 3, nil
	})
	if err != nil || calls != 3 {
		t.Errorf("%d sends, %v, want 3", calls, err)
	}
}

func TestJudgeNamesTheGenerator(t *testing.T) {
	for _, test := range []struct {
		name   string
		result result
		want   string
	}{
		{"both idle", result{Sent: 100, Server: &serverResult{Busy: 0.3}, Generator: generatorResult{Busy: 0.4}}, ""},
		{"the server is full", result{Sent: 100, Server: &serverResult{Busy: 1}, Generator: generatorResult{Busy: 0.99}}, ""},
		{"the generator is full", result{Sent: 100, Server: &serverResult{Busy: 0.5}, Generator: generatorResult{Busy: 0.99}}, "generator"},
		{"it sent too late", result{Sent: 100, Server: &serverResult{Busy: 0.5}, Generator: generatorResult{Busy: 0.5, LateSends: 2}}, "generator"},
		{"it was late because the server was", result{Sent: 100, Server: &serverResult{Busy: 1}, Generator: generatorResult{LateSends: 50}}, ""},
		{"once", result{Sent: 1000, Server: &serverResult{}, Generator: generatorResult{LateSends: 1}}, ""},
	} {
		test.result.judge()
		if test.result.LimitedBy != test.want || (test.want != "") != (test.result.Why != "") {
			t.Errorf("%s: limited by %q (%s), want %q", test.name, test.result.LimitedBy, test.result.Why, test.want)
		}
	}
}
