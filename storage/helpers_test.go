package storage

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/thronghq/throng/proto"
)

// manualClock is a clock that the test moves.
type manualClock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *manualClock {
	return &manualClock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// testOptions keeps a store in memory, with an async and a sync namespace.
func testOptions(fs vfs.FS, clock *manualClock) Options {
	chat := proto.NewNamespace(proto.DefaultNamespace)
	safe := proto.NewNamespace("safe")
	safe.Durability = proto.Sync
	none := proto.NewNamespace("counted")
	none.HistorySize = 0
	return Options{FS: fs, Now: clock.Now, CacheBytes: 4 << 20, Namespaces: []proto.Namespace{chat, safe, none}}
}

func mustOpen(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// member is a room's sink that remembers what it got.
type member struct {
	*Room
	t testing.TB

	mu      sync.Mutex
	arrived sync.Cond
	got     []*proto.Publish
	sent    int
}

func join(t testing.TB, s *Store, name string) *member {
	t.Helper()
	m, err := tryJoin(t, s, name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tryJoin(t testing.TB, s *Store, name string) (*member, error) {
	m := &member{t: t}
	m.arrived.L = &m.mu
	var err error
	m.Room, err = s.Room(name, m.sink)
	return m, err
}

func (m *member) sink(pubs []*proto.Publish) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, pubs...)
	m.arrived.Broadcast()
}

func publish(content string) *proto.Publish {
	return &proto.Publish{Message: proto.Message{From: "ada", Content: []byte(content)}}
}

// send appends one message for each content and waits until the sink has them.
func (m *member) send(contents ...string) []*proto.Publish {
	m.t.Helper()
	for _, c := range contents {
		m.push(publish(c))
	}
	return m.wait()
}

func (m *member) push(p *proto.Publish) {
	m.t.Helper()
	if err := m.Append(p); err != nil {
		m.t.Fatal(err)
	}
	m.sent++
}

// wait waits for all that was pushed and returns what arrived since the last
// wait.
func (m *member) wait() []*proto.Publish {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.got) < m.sent {
		m.arrived.Wait()
	}
	got := m.got
	m.got, m.sent = nil, 0
	return got
}

// numbered returns contents n, n+1, and so on.
func numbered(first, count int) []string {
	out := make([]string, count)
	for i := range out {
		out[i] = strconv.Itoa(first + i)
	}
	return out
}

// read returns what a range selects, its content copied.
func (m *member) read(rg proto.Range) []proto.Message {
	m.t.Helper()
	out, err := readAll(m.Room, rg)
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

func readAll(r *Room, rg proto.Range) ([]proto.Message, error) {
	var out []proto.Message
	err := r.Read(rg, func(msg *proto.Message) bool {
		c := *msg
		c.Content = bytes.Clone(msg.Content)
		out = append(out, c)
		return true
	})
	return out, err
}

func offsets(msgs []proto.Message) []uint64 {
	out := make([]uint64, len(msgs))
	for i := range msgs {
		out[i] = msgs[i].Offset
	}
	return out
}

// upTo returns first, first+1, … last; or downwards where last is lower.
func upTo(first, last uint64) []uint64 {
	var out []uint64
	for o := first; o <= last; o++ {
		out = append(out, o)
	}
	return out
}

func wantOffsets(t testing.TB, what string, got []proto.Message, want []uint64) {
	t.Helper()
	if !slices.Equal(offsets(got), want) {
		t.Fatalf("%s: offsets %v, want %v", what, brief(offsets(got)), brief(want))
	}
}

func brief(o []uint64) string {
	if len(o) <= 12 {
		return fmt.Sprint(o)
	}
	return fmt.Sprintf("%v…%v (%d)", o[:5], o[len(o)-5:], len(o))
}

// testLogger writes to the test's log.
func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}
