package main

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/thronghq/throng/internal/throngtest"
)

const (
	// resumesEnv is how many members resume at once, in place of resumes. Half of
	// 20,000 descriptors is enough for ten thousand.
	resumesEnv = "THRONG_RESUMES"
	resumes    = 2000

	// missed is how many messages each of them has missed.
	missed = 100

	// The server's constants that bound what a storm of resumes reads: goroutines,
	// and bytes in a chunk.
	replayReaders, replayChunk = 4, 32 << 10
)

// TestAStormOfResumes has thousands of members of one room resume at once, first
// from one place and then each from its own. Everyone gets all that it has missed,
// in order; the log is read for a few of them and what was read is shared; what
// waits for them stays in the memory budget; and the messages of another room go
// on meanwhile.
func TestAStormOfResumes(t *testing.T) {
	members := fromEnv(t, resumesEnv, resumes)
	if testing.Short() {
		members = min(members, 500)
	}
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--net-admission=100000/s"}})
	const total = 3 * missed
	epoch := fillRoom(t, s, "room", total)
	s.Stop()
	s.Restart() // so that the room has nothing in memory
	all := newStorm(t, s, members)
	neighbours := newCouple(t, s)
	alone := neighbours.measure(func() {
		for range 20 {
			neighbours.turn()
		}
	})
	before := metric(t, s, "throng_storage_reads_total")
	for _, test := range []struct {
		name  string
		place func(i int) uint64 // the offset that a member has seen
	}{
		{"from one place", func(int) uint64 { return total - missed }},
		{"from everywhere", func(i int) uint64 { return uint64(total - missed - 1 - i*7919%missed) }},
		{"each further back", func(i int) uint64 { return uint64(total - 1 - missed*i/members - missed) }},
	} {
		reads, shared := replayChunks(t, s)
		logReads := metric(t, s, "throng_storage_reads_total")
		stop := make(chan struct{})
		held := watchMemory(t, s, "throng_memory_bytes", stop)
		var took time.Duration
		beside := neighbours.measure(func() { took = all.resume(epoch, total, test.place, neighbours.turn) })
		close(stop)
		most := <-held
		nowRead, nowShared := replayChunks(t, s)
		reads, shared, logReads = nowRead-reads, nowShared-shared, metric(t, s, "throng_storage_reads_total")-logReads
		t.Logf("%s: %d members in %v; %.0f chunks read, %.0f shared, %.0f reads of the log; at most %.0f bytes held; the neighbours' round trips took %v, alone %v",
			test.name, members, took.Round(time.Millisecond), reads, shared, logReads, most, beside, alone)
		// Each goroutine may read what another one is reading, and from each place
		// of those that are the furthest back there is something to read.
		bound := float64(replayReaders * (total*400/replayChunk + 1))
		if test.name == "each further back" {
			bound += missed
		}
		if reads > bound || logReads > 2*bound {
			t.Errorf("%s: %.0f chunks were read, in %.0f reads of the log, want %.0f at the most", test.name, reads, logReads, bound)
		}
		if shared < float64(members)-reads {
			t.Errorf("%s: %.0f chunks were shared by %d members", test.name, shared, members)
		}
		if budget := metric(t, s, `throng_memory_mark_bytes{mark="soft"}`); budget > 0 && most > budget {
			t.Errorf("%s: %.0f bytes were held, above the soft mark of %.0f", test.name, most, budget)
		}
		if beside.most > alone.most+20*time.Second {
			t.Errorf("%s: a message of another room took %v", test.name, beside.most)
		}
	}
	if metric(t, s, "throng_storage_reads_total") == before {
		t.Error("the log was not read at all")
	}
	all.close()
	s.Stop()
}

// fillRoom publishes messages and returns the room's epoch.
func fillRoom(t *testing.T, s *throngtest.Server, room string, messages int) (epoch string) {
	t.Helper()
	l, err := dialRaw(s, "author", rawOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if err := l.send(map[string]any{"type": "join", "room": room}); err != nil {
		t.Fatal(err)
	}
	content := strings.Repeat("x", 128)
	for range messages {
		if err := l.send(map[string]any{"type": "message", "id": "1", "to": room, "content": content}); err != nil {
			t.Fatal(err)
		}
	}
	for acks := 0; acks < messages; {
		h, err := l.hear()
		switch {
		case err != nil || h.Type == "error":
			t.Fatalf("%+v, %v", h, err)
		case h.Type == "joined":
			epoch = h.Epoch
		case h.Type == "ack":
			acks++
		}
	}
	return epoch
}

// replayChunks reads how many chunks were read for a member, and how many were
// another one's.
func replayChunks(t *testing.T, s *throngtest.Server) (read, shared float64) {
	t.Helper()
	return metric(t, s, `throng_replay_chunks_total{shared="false"}`), metric(t, s, `throng_replay_chunks_total{shared="true"}`)
}

// watchMemory asks for the sum of the metrics that begin so until stop is closed,
// and sends the most that it was.
func watchMemory(t *testing.T, s *throngtest.Server, prefix string, stop <-chan struct{}) <-chan float64 {
	most := make(chan float64, 1)
	go func() {
		held := 0.0
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				most <- held
				return
			case <-tick.C:
				sum := 0.0
				for line := range strings.Lines(get(t, s.URL("/metrics"))) {
					if !strings.HasPrefix(line, prefix) {
						continue
					}
					value, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
					if err != nil {
						t.Errorf("%q: %v", line, err)
					}
					sum += value
				}
				held = max(held, sum)
			}
		}
	}()
	return most
}

// storm is connections that resume one room at once, again and again.
type storm struct {
	t     *testing.T
	lines []*rawLine
}

func newStorm(t *testing.T, s *throngtest.Server, members int) *storm {
	t.Helper()
	a := &storm{t: t, lines: make([]*rawLine, members)}
	var all sync.WaitGroup
	slots := make(chan struct{}, 64)
	for i := range a.lines {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			l, err := dialRaw(s, fmt.Sprint("u", i), rawOptions{Buffer: 4 << 10})
			if err == nil {
				a.lines[i] = l
				_, err = l.hear() // session
			}
			if err != nil {
				t.Errorf("member %d: %v", i, err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return a
}

// resume has everybody join at once, since its place, and returns how long it took
// until all had everything. Meanwhile beside is called over and over.
func (a *storm) resume(epoch string, head uint64, place func(i int) uint64, beside func()) time.Duration {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i, l := range a.lines {
		all.Go(func() {
			<-start
			if err := l.catchUp(epoch, place(i), head); err != nil {
				a.t.Errorf("member %d, since %d: %v", i, place(i), err)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	began := time.Now()
	close(start)
	for {
		beside()
		select {
		case <-done:
			return time.Since(began)
		default:
		}
	}
}

func (a *storm) close() {
	for _, l := range a.lines {
		l.close()
	}
}

// catchUp joins since an offset and reads up to the head: every message, in order.
func (l *rawLine) catchUp(epoch string, since, head uint64) error {
	if err := l.send(map[string]any{"type": "join", "room": "room", "since": map[string]any{"offset": since, "epoch": epoch}}); err != nil {
		return err
	}
	message, joined := []byte(`{"type":"message",`), []byte(`{"type":"joined",`)
	place, there := since, false
	for place < head {
		payload, err := l.next()
		switch {
		case err != nil:
			return fmt.Errorf("at offset %d: %w", place, err)
		case bytes.HasPrefix(payload, joined):
			if !bytes.Contains(payload, []byte(`"recovered":true`)) {
				return fmt.Errorf("%s", payload)
			}
			there = true
		case bytes.HasPrefix(payload, message):
			if offset, _ := offsetIn(payload); !there || offset != place+1 {
				return fmt.Errorf("offset %d after %d, joined: %v", offset, place, there)
			}
			place++
		case bytes.HasPrefix(payload, []byte(`{"type":"member`)):
		default:
			return fmt.Errorf("at offset %d: %s", place, payload)
		}
	}
	return nil
}

// couple are two members of another room who talk to each other.
type couple struct {
	t      *testing.T
	a, b   *throngtest.Client
	offset int64
	took   []time.Duration
}

// trips says how long round trips took.
type trips struct{ median, p99, most time.Duration }

func (r trips) String() string {
	return fmt.Sprintf("%v (p50), %v (p99), %v (most)", r.median.Round(10*time.Microsecond), r.p99.Round(10*time.Microsecond), r.most.Round(10*time.Microsecond))
}

func newCouple(t *testing.T, s *throngtest.Server) *couple {
	t.Helper()
	n := &couple{t: t}
	for user, c := range map[string]**throngtest.Client{"ann": &n.a, "bob": &n.b} {
		*c = throngtest.Dial(t, s.WSURL("/ws?user="+user), throngtest.DialOptions{})
		(*c).Send(map[string]any{"type": "join", "room": "neighbours"})
		(*c).Await("joined")
	}
	return n
}

// turn has one say something and the other hear it.
func (n *couple) turn() {
	n.t.Helper()
	start := time.Now()
	n.a.Send(map[string]any{"type": "message", "id": "1", "to": "neighbours", "content": 1})
	n.a.Await("ack")
	n.offset++
	if got := n.b.Await("message").Int("offset"); got != n.offset {
		n.t.Fatalf("the neighbours are at offset %d, want %d", got, n.offset)
	}
	n.took = append(n.took, time.Since(start))
}

// measure returns how long the turns took that do has.
func (n *couple) measure(do func()) trips {
	n.took = n.took[:0]
	do()
	slices.Sort(n.took)
	last := len(n.took) - 1
	return trips{n.took[last/2], n.took[last*99/100], n.took[last]}
}
