package hook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/thronghq/throng/internal/outboxtest"
	"github.com/thronghq/throng/proto"
)

var testSecret = []byte("0123456789abcdef0123456789abcdef")

// told is one request that an endpoint got.
type told struct {
	ID        string            `json:"id"`
	Event     string            `json:"event"`
	Timestamp int64             `json:"timestamp"`
	Endpoint  string            `json:"endpoint"`
	Run       uint64            `json:"run"`
	Room      string            `json:"room"`
	UserID    string            `json:"userId"`
	SessionID string            `json:"sessionId"`
	Reason    string            `json:"reason"`
	Epoch     string            `json:"epoch"`
	First     uint64            `json:"first"`
	Last      uint64            `json:"last"`
	Messages  []json.RawMessage `json:"messages"`
	Missing   json.RawMessage   `json:"missing"`
	Unlisted  uint64            `json:"unlisted"`

	body []byte
}

// receiver is an endpoint's server, which remembers what it took.
type receiver struct {
	t testing.TB

	mu      sync.Mutex
	changed sync.Cond
	answer  func(told) int // the status; nil for 200
	header  http.Header    // of answers that are not 200
	all     []told         // every request
	taken   []told         // those that were answered with 200
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{t: t}
	r.changed.L = &r.mu
	return r
}

// respond says how requests are answered from now on.
func (r *receiver) respond(answer func(told) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// always answers everything with one status.
func always(status int) func(told) int { return func(told) int { return status } }

// RoundTrip implements http.RoundTripper, for tests in a synctest bubble.
func (r *receiver) RoundTrip(request *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	r.ServeHTTP(recorder, request)
	if recorder.Code == statusReset {
		return nil, errors.New("the connection was reset")
	}
	return recorder.Result(), nil
}

// statusReset has the connection cut instead of an answer.
const statusReset = 599

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return // the sender has given up
	}
	var m told
	if err := json.Unmarshal(body, &m); err != nil {
		r.t.Errorf("the body %q is not JSON: %v", body, err)
	}
	m.body = body
	if err := verify(request.Header, testSecret, body); err != nil {
		r.t.Error(err)
	}
	if id := request.Header.Get("webhook-id"); id != m.ID {
		r.t.Errorf("webhook-id %q beside the body's id %q", id, m.ID)
	}
	status := http.StatusOK
	r.mu.Lock()
	answer := r.answer
	r.mu.Unlock()
	if answer != nil {
		status = answer(m)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, m)
	if status == http.StatusOK {
		r.taken = append(r.taken, m)
	} else {
		maps.Copy(w.Header(), r.header)
	}
	r.changed.Broadcast()
	if _, recorded := w.(*httptest.ResponseRecorder); status == statusReset && !recorded {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
}

// wait waits until the condition holds of what was taken.
func (r *receiver) wait(ok func(taken []told) bool) []told {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !ok(r.taken) {
		r.changed.Wait()
	}
	return slices.Clone(r.taken)
}

// took returns what was taken.
func (r *receiver) took() []told { return r.wait(func([]told) bool { return true }) }

// requests returns all that came.
func (r *receiver) requests() []told {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// verify checks a signature as the libraries of Standard Webhooks do.
func verify(h http.Header, key, body []byte) error {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", h.Get("webhook-id"), h.Get("webhook-timestamp"), body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); h.Get("webhook-signature") != want {
		return fmt.Errorf("the signature is %q, want %q", h.Get("webhook-signature"), want)
	}
	return nil
}

// memoryHistory is the rooms' logs in memory.
type memoryHistory struct {
	mu    sync.Mutex
	rooms map[string]*memoryRoom
	fail  error
}

type memoryRoom struct {
	epoch    string
	messages []proto.Message // by offset, from 1
	floor    uint64
}

func newHistory() *memoryHistory { return &memoryHistory{rooms: make(map[string]*memoryRoom)} }

// append appends n messages to a room's log and returns their range.
func (h *memoryHistory) append(room string, n int) (epoch string, first, last uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms[room]
	if r == nil {
		r = &memoryRoom{epoch: room + ".1", floor: 1}
		h.rooms[room] = r
	}
	first = uint64(len(r.messages)) + 1
	for range n {
		offset := uint64(len(r.messages)) + 1
		now := time.Now().UnixMicro() + int64(offset)
		r.messages = append(r.messages, proto.Message{
			ID: proto.NewMsgID(now, offset), Offset: offset, Time: now, From: "ada", To: room,
			Content: fmt.Appendf(nil, `{"n":%d,"html":"<&>"}`, offset),
		})
	}
	return r.epoch, first, uint64(len(r.messages))
}

// edit changes a room's log.
func (h *memoryHistory) edit(room string, change func(*memoryRoom)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h.rooms[room])
}

func (h *memoryHistory) Read(room, epoch string, first, last uint64, visit func(*proto.Message) bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms[room]
	if h.fail != nil || r == nil || r.epoch != epoch {
		return h.fail
	}
	for o := max(first, r.floor); o <= min(last, uint64(len(r.messages))); o++ {
		m := r.messages[o-1]
		if !visit(&m) {
			break
		}
	}
	return nil
}

func (h *memoryHistory) Resume(room, epoch string, after uint64, since int64) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms[room]
	if h.fail != nil || r == nil {
		return 0, h.fail
	}
	if epoch != r.epoch {
		after = 0
	}
	for o := max(after+1, r.floor); o <= uint64(len(r.messages)); o++ {
		if r.messages[o-1].Time >= since {
			return o, nil
		}
	}
	return 0, nil
}

func (h *memoryHistory) Rooms(after string, visit func(room, epoch string, offset uint64) bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(h.rooms)) {
		r := h.rooms[name]
		if name > after && len(r.messages) > 0 && !visit(name, r.epoch, uint64(len(r.messages))) {
			break
		}
	}
	return h.fail
}

// bench is webhooks with all that they need.
type bench struct {
	*Webhooks
	t       testing.TB
	outbox  *outboxtest.Memory
	history *memoryHistory
}

// everything is told of all events.
func everything(name, url string) Endpoint {
	return Endpoint{Name: name, URL: url, Secret: testSecret, Events: ^Events(0), AllowPrivate: true}
}

// quick makes retries fast.
func quick(o *Options) {
	o.MinBackoff, o.MaxBackoff = time.Millisecond, 4*time.Millisecond
	o.MinBreak, o.MaxBreak = time.Millisecond, 4*time.Millisecond
}

// newBench starts webhooks. The receivers are those of the endpoints, in their
// order; without any, requests go over the network.
func newBench(t testing.TB, o Options, receivers ...*receiver) *bench {
	t.Helper()
	b := &bench{t: t, history: newHistory(), outbox: outboxtest.NewMemory()}
	b.open(o, receivers...)
	return b
}

// open starts the webhooks on what the outbox holds.
func (b *bench) open(o Options, receivers ...*receiver) {
	b.t.Helper()
	o.Outbox, o.History = b.outbox, b.history
	o.Logger = slog.New(slog.NewTextHandler(b.t.Output(), nil))
	w, err := open(o)
	if err != nil {
		b.t.Fatal(err)
	}
	for i, r := range receivers {
		w.endpoints[i].client.Transport = r
	}
	w.start()
	b.Webhooks = w
}

func (b *bench) publish(room string, n int) {
	epoch, first, last := b.history.append(room, n)
	b.Published(room, epoch, first, last)
}

func (b *bench) close() {
	b.t.Helper()
	if err := b.Close(b.t.Context()); err != nil {
		b.t.Error(err)
	}
}

// offsets returns the offsets of the messages that were told of, as they came.
func offsets(t testing.TB, taken []told, room string) (got []uint64) {
	t.Helper()
	for _, m := range taken {
		if m.Event != "message" || m.Room != room {
			continue
		}
		for _, raw := range m.Messages {
			var message struct {
				Offset uint64 `json:"offset"`
				To     string `json:"to"`
			}
			if err := json.Unmarshal(raw, &message); err != nil || message.To != room {
				t.Fatalf("%s: %v", raw, err)
			}
			got = append(got, message.Offset)
		}
	}
	return got
}

func upTo(last uint64) (all []uint64) {
	for o := uint64(1); o <= last; o++ {
		all = append(all, o)
	}
	return all
}

// inOrder checks that the first time each offset comes is in order, without a
// hole: repeats are allowed.
func inOrder(t testing.TB, what string, got []uint64, last uint64) {
	t.Helper()
	next := uint64(1)
	for _, o := range got {
		if o > next {
			t.Fatalf("%s: offset %d came before %d", what, o, next)
		}
		if o == next {
			next++
		}
	}
	if next != last+1 {
		t.Fatalf("%s: %d messages came, want %d", what, next-1, last)
	}
}

func contains(text []byte, part string) bool { return bytes.Contains(text, []byte(part)) }
