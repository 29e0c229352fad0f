package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/thronghq/throng/internal/bintest"
	"github.com/thronghq/throng/internal/checker"
	"github.com/thronghq/throng/internal/throngtest"
)

// The environment makes the test of catching up last: how many messages go
// through each room, and the seed of what its members do.
const (
	catchupEnv     = "THRONG_CATCHUP"
	catchupSeedEnv = "THRONG_CATCHUP_SEED"
)

const (
	authors      = 3  // of a room, each with a window of messages under way
	authorWindow = 16 // of each
	lastWord     = "the end"
)

// slowRoom is a room of the test, with what its namespace promises.
type slowRoom struct {
	name    string
	members int // beside the authors
	latest  bool
	closes  bool   // those that do not keep up
	keeps   uint64 // of the newest messages; 0 for all
}

var slowRooms = []slowRoom{
	{name: "room", members: 50},
	{name: "shut:room", members: 12, closes: true},
	{name: "latest:room", members: 12, latest: true},
	{name: "short:room", members: 12, keeps: 100},
	{name: "memory:room", members: 12, keeps: 256}, // what a ring holds
}

const slowConfig = `
[limits]
message = "4KiB"
outbox  = "8KiB"
replay  = 1_000_000
[net]
send_buffer = "4KiB"
[namespace.default]
history_size = 1_000_000
[namespace.shut]
history_size = 1_000_000
slow = "close"
[namespace.latest]
slow = "conflate"
[namespace.short]
history_size = 100
[namespace.memory]
durability = "none"
`

// TestMembersThatStopAndGoOn has rooms at full speed, whose members stop reading
// and go on at random, are cut off and resume, and join anew, over both codecs;
// the authors are among them. internal/checker holds each one's stream to what the
// room's namespace promises: every message in order and once, or a gap that names
// what the room keeps no more, after a lag or a resume; every author's acks in
// their places; those that were closed find everything when they come back; and
// where the latest message is all that counts, offsets that rise up to the last
// one.
func TestMembersThatStopAndGoOn(t *testing.T) {
	messages := 1500 // through each room
	if testing.Short() {
		messages = 600
	}
	messages = fromEnv(t, catchupEnv, messages)
	seed := fromEnv(t, catchupSeedEnv, int(time.Now().UnixNano()&0xffffff))
	t.Logf("%s=%d", catchupSeedEnv, seed)
	config := filepath.Join(t.TempDir(), "throng.toml")
	if err := os.WriteFile(config, []byte(slowConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--config", config}})
	tables := readTables(t)
	var all sync.WaitGroup
	var swarms []*swarm
	for i, room := range slowRooms {
		w := &swarm{slowRoom: room, t: t, server: s, messages: messages, audience: &checker.Audience{
			Latest: room.latest, Keeps: room.keeps, InFlight: authors * authorWindow,
		}}
		w.moved.L = &w.mu
		swarms = append(swarms, w)
		w.start(&all, tables, uint64(seed+i))
	}
	all.Wait()
	for _, w := range swarms {
		w.check()
	}
	metrics := get(t, s.URL("/metrics"))
	for _, reason := range []string{"lag", "close", "conflate"} {
		if metric(t, s, fmt.Sprintf("throng_room_drops_total{reason=%q}", reason)) == 0 {
			t.Errorf("nobody was too slow in the way of %s", reason)
		}
	}
	if sumOf(t, metrics, "throng_gaps_total") == 0 {
		t.Error("nobody was told of a gap")
	}
	s.Stop()
}

// fromEnv returns a variable's number, where it is set.
func fromEnv(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// swarm is the members of one room.
type swarm struct {
	slowRoom
	t        *testing.T
	server   *throngtest.Server
	audience *checker.Audience
	messages int // that the authors send, together
	members  []*swarmer

	mu    sync.Mutex
	moved sync.Cond // acked has changed, or all is sent
	sent  int
	acked int
}

// start has everybody join, publish and follow. A last message ends it.
func (w *swarm) start(all *sync.WaitGroup, tables *bintest.Codec, seed uint64) {
	var publishing sync.WaitGroup
	for i := range authors + w.slowRoom.members {
		m := &swarmer{swarm: w, name: fmt.Sprint(strings.Split(w.name, ":")[0], i), random: rand.New(rand.NewPCG(seed, uint64(i)))}
		m.seat = w.audience.Seat(m.name)
		if i%5 == 1 {
			m.tables = tables
		}
		if i < authors {
			m.author = true
			m.restless = i > 0 // somebody has to go on
			publishing.Add(1)
			m.published = sync.OnceFunc(publishing.Done)
		} else {
			m.restless = i%6 != 0
			m.published = func() {}
		}
		w.members = append(w.members, m)
		all.Go(m.run)
	}
	all.Go(func() {
		publishing.Wait()
		w.sayLastWord()
	})
}

func (w *swarm) sayLastWord() {
	l, err := dialRaw(w.server, "ender", rawOptions{})
	if err != nil {
		w.t.Error(err)
		return
	}
	defer l.close()
	if err := l.send(map[string]any{"type": "message", "id": "1", "to": w.name, "content": lastWord}); err != nil {
		w.t.Error(err)
	}
	for {
		h, err := l.hear()
		if err != nil || h.Type == "error" {
			w.t.Errorf("%s: the last message: %+v, %v", w.name, h, err)
			return
		}
		if h.Type == "ack" {
			return
		}
	}
}

func (w *swarm) noteAck() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked++
	w.moved.Broadcast()
}

// take gives an author another message to send, and reports false where all are
// sent.
func (w *swarm) take() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sent == w.messages {
		return false
	}
	w.sent++
	w.moved.Broadcast()
	return true
}

// await returns when so many more messages are acknowledged, or all are sent.
func (w *swarm) await(more int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for goal := w.acked + more; w.acked < goal && w.sent < w.messages; {
		w.moved.Wait()
	}
}

func (w *swarm) check() {
	for _, wrong := range w.audience.Check(w.acked + 1) {
		w.t.Errorf("%s: %s", w.name, wrong)
	}
	var lags, gaps, closes, resumes, afresh, received int
	for _, m := range w.members {
		lags += m.seat.Lags
		gaps += m.seat.Gaps
		closes += m.closes
		resumes += m.seat.Joins - 1
		afresh += m.seat.Afresh - 1
		received += m.seat.Messages + m.seat.Acks
	}
	w.t.Logf("%s: %d messages, %d received, %d lags, %d gaps, %d closed, %d joins anew of which %d did not recover", w.name, w.acked, received, lags, gaps, closes, resumes, afresh)
}

// swarmer is one member: it follows the room, and may be one of its authors.
type swarmer struct {
	*swarm
	name     string
	tables   *bintest.Codec // where it speaks binary
	random   *rand.Rand
	seat     *checker.Seat
	restless bool // stops, is cut and joins anew at random

	author    bool
	number    int              // of its messages
	pending   []pendingMessage // without an ack, in their order
	finished  bool             // nothing is left to be sent
	published func()           // called when it has finished and has its acks

	line    *rawLine
	joining bool   // a join is on its way
	last    bool   // it asks for the last message
	since   uint64 // of that join
	epoch   string
	closes  int
	done    bool
}

type pendingMessage struct{ id, content string }

// run follows the room, line after line, to the last message.
func (m *swarmer) run() {
	defer m.published() // where it fails, too
	for !m.done {
		line, err := dialRaw(m.server, m.name, rawOptions{Tables: m.tables, Receive: 4 << 10})
		if err == nil {
			m.line, m.last = line, false
			err = m.follow()
			m.line.close()
		}
		if err != nil && !m.excused(err) {
			m.t.Errorf("%s at offset %d: %v", m.name, m.seat.Place(), err)
			return
		}
	}
}

var errCutByItself = errors.New("the member has cut its line")

// excused reports that a line may end so. Who was closed, and reads on only later,
// may find no more than that the line is gone.
func (m *swarmer) excused(err error) bool {
	const slowConsumer = closedWith(4409)
	switch {
	case errors.Is(err, errCutByItself):
		return true
	case !m.slowRoom.closes:
		return false
	case errors.Is(err, slowConsumer):
		m.closes++
		return true
	default:
		return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	}
}

func (m *swarmer) join() error {
	m.joining, m.since = true, m.seat.Place()
	command := map[string]any{"type": "join", "room": m.slowRoom.name}
	if m.epoch != "" {
		command["since"] = map[string]any{"offset": m.since, "epoch": m.epoch}
	}
	return m.line.send(command)
}

// joinAtLast has a member that could not resume begin with the last message: it
// may be the one that ends the test.
func (m *swarmer) joinAtLast() error {
	m.last = true
	return m.line.send(map[string]any{"type": "join", "room": m.slowRoom.name, "since": map[string]any{"last": 1}})
}

// follow reads one line to its end, or to the last message.
func (m *swarmer) follow() error {
	if err := m.join(); err != nil {
		return err
	}
	for !m.done {
		h, err := m.line.hear()
		if err != nil {
			return err
		}
		if err := m.handle(&h); err != nil {
			return err
		}
		if m.joining {
			continue
		}
		if err := m.sendMore(); err != nil {
			return err
		}
		if m.restless {
			if err := m.misbehave(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *swarmer) handle(h *heard) error {
	switch h.Type {
	case "joined":
		if m.last {
			m.since = h.Offset - 1
		}
		m.seat.Joined(m.since, h.Recovered, h.Offset)
		if m.epoch != "" && !h.Recovered {
			return m.joinAtLast()
		}
		m.joining, m.last, m.epoch = false, false, h.Epoch
		for i := range m.pending {
			if err := m.publish(&m.pending[i]); err != nil {
				return err
			}
		}
	case "message":
		m.seat.Message(h.Offset, h.Content)
		m.done = h.Content == lastWord
	case "ack":
		return m.takeAck(h)
	case "lag":
		m.seat.Lag(h.Offset)
	case "gap":
		m.seat.Gap(h.After, h.next())
	case "error":
		if h.Code != "slow_consumer" || !m.slowRoom.closes {
			return fmt.Errorf("the error %s: %s", h.Code, h.Reason)
		}
	}
	return nil
}

func (m *swarmer) takeAck(h *heard) error {
	if len(m.pending) == 0 || m.pending[0].id != h.ID {
		return fmt.Errorf("the ack %s at offset %d, while %v wait", h.ID, h.Offset, m.pending)
	}
	if h.Duplicate {
		m.seat.LateAck(h.Offset, m.pending[0].content)
	} else {
		m.seat.Ack(h.Offset, m.pending[0].content)
	}
	m.pending = m.pending[1:]
	m.noteAck()
	return nil
}

// sendMore keeps messages under way.
func (m *swarmer) sendMore() error {
	for m.author && !m.finished && len(m.pending) < authorWindow {
		if m.finished = !m.take(); m.finished {
			break
		}
		m.number++
		id := fmt.Sprint(m.number)
		p := pendingMessage{id: id, content: m.name + "-" + id + " " + strings.Repeat("x", 100+m.random.IntN(400))}
		m.pending = append(m.pending, p)
		if err := m.publish(&p); err != nil {
			return err
		}
	}
	if m.finished && len(m.pending) == 0 {
		m.published()
	}
	return nil
}

func (m *swarmer) publish(p *pendingMessage) error {
	return m.line.send(map[string]any{"type": "message", "id": p.id, "key": p.id, "to": m.slowRoom.name, "content": p.content})
}

// misbehave does now and then what clients do.
func (m *swarmer) misbehave() error {
	switch m.random.IntN(400) {
	case 0, 1: // stop reading for a while, in which the kernel's buffers and the outbox are filled, or many times over
		m.await(50 + m.random.IntN(m.messages/3))
	case 2: // be cut
		return errCutByItself
	case 3: // be cut, and come back late
		m.line.close()
		m.await(m.random.IntN(m.messages / 3))
		return errCutByItself
	case 4: // begin anew; an author's acks that wait would then say nothing
		if !m.author {
			return m.join()
		}
	}
	return nil
}
