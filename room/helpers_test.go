package room

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/proto"
)

// memory is a durable Log for tests: it keeps every message for as long as the
// test runs, commits from a goroutine of its own, and can refuse or trim.
type memory struct {
	epoch string

	mu     sync.Mutex
	rooms  map[string]*memoryRoom
	refuse *proto.Error  // what Append answers
	fail   *proto.Error  // what the sink gets
	broken error         // what Room and Read answer
	gate   chan struct{} // where not nil, Read waits for it to close
	after  chan struct{} // the same, when it has what it reads

	receipts map[receiptOf]uint64
	pairs    []pair
}

type memoryRoom struct {
	log  *memory
	sink func([]*proto.Publish)

	mu       sync.Mutex
	open     bool
	messages []proto.Message
	trimmed  uint64 // offsets up to it are gone
	settings []byte
	pending  []*proto.Publish
	busy     bool
	reads    int
	lives    int // how often it was deleted
	ended    bool
}

func newMemory() *memory {
	return &memory{epoch: "e1", rooms: make(map[string]*memoryRoom), receipts: make(map[receiptOf]uint64)}
}

func (l *memory) Room(name string, sink func([]*proto.Publish)) (Stream, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return nil, l.broken
	}
	r := l.rooms[name]
	if r == nil {
		r = &memoryRoom{log: l}
		l.rooms[name] = r
	}
	if r.open {
		return nil, fmt.Errorf("room %q is open twice", name)
	}
	r.open, r.sink, r.ended = true, sink, false
	return r, nil
}

func (l *memory) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

func (l *memory) state() (refuse, fail *proto.Error, broken error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refuse, l.fail, l.broken
}

func (r *memoryRoom) Head() proto.Head {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := proto.Head{Epoch: r.epochLocked(), Offset: uint64(len(r.messages))}
	if n := len(r.messages); n > 0 {
		h.Time = r.messages[n-1].Time
	}
	return h
}

func (r *memoryRoom) epochLocked() string {
	if r.lives > 0 {
		return fmt.Sprintf("%s.%d", r.log.epoch, r.lives)
	}
	return r.log.epoch
}

// editLocked does what a log does with an edit.
func (r *memoryRoom) editLocked(p *proto.Publish) {
	switch p.Edit {
	case proto.EditDelete:
		if p.Offset <= r.trimmed {
			p.Err = proto.ErrNotFound.New()
			return
		}
		r.messages[p.Offset-1] = p.Message
	case proto.EditTrim:
		r.trimmed = max(r.trimmed, p.Offset-1)
	case proto.EditEnd:
		r.messages, r.settings, r.trimmed, r.ended = nil, nil, 0, true
		r.lives++
	}
}

func (r *memoryRoom) Settings() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.settings
}

func (r *memoryRoom) Append(p *proto.Publish) *proto.Error {
	if refuse, _, _ := r.log.state(); refuse != nil {
		return refuse
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending = append(r.pending, p)
	if !r.busy {
		r.busy = true
		go r.commit()
	}
	return nil
}

// pair is one direct message on its way.
type pair struct {
	rooms [2]*memoryRoom
	pubs  [2]*proto.Publish
}

// AppendPair commits to both rooms at once, one pair after the other.
func (l *memory) AppendPair(a Stream, p *proto.Publish, b Stream, q *proto.Publish) *proto.Error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return l.refuse
	}
	l.pairs = append(l.pairs, pair{[2]*memoryRoom{a.(*memoryRoom), b.(*memoryRoom)}, [2]*proto.Publish{p, q}})
	if len(l.pairs) == 1 {
		go l.commitPairs()
	}
	return nil
}

func (l *memory) commitPairs() {
	for {
		l.mu.Lock()
		next, fail := l.pairs[0], l.fail
		l.mu.Unlock()
		l.commitPair(next, fail)
		l.mu.Lock()
		l.pairs = l.pairs[1:]
		done := len(l.pairs) == 0
		l.mu.Unlock()
		if done {
			return
		}
	}
}

func (l *memory) commitPair(next pair, fail *proto.Error) {
	at := time.Now().UnixMicro()
	for _, r := range next.rooms {
		r.mu.Lock()
		if n := len(r.messages); n > 0 {
			at = max(at, r.messages[n-1].Time+1)
		}
		r.mu.Unlock()
	}
	id := proto.NewMsgID(at, uint64(at))
	for i, r := range next.rooms {
		p := next.pubs[i]
		switch p.Err = fail; {
		case fail != nil:
		case p.Edit != proto.EditNone:
			r.mu.Lock()
			r.editLocked(p)
			r.mu.Unlock()
		default:
			r.mu.Lock()
			p.Offset, p.Time, p.ID = uint64(len(r.messages))+1, at, id
			r.messages = append(r.messages, p.Message)
			r.mu.Unlock()
		}
	}
	for i, r := range next.rooms {
		r.sink([]*proto.Publish{next.pubs[i]})
	}
}

// Rooms lists what is stored.
func (l *memory) Rooms(prefix, after string, limit int) (list []proto.StoredRoom, _ error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return nil, l.broken
	}
	for _, name := range slices.Sorted(maps.Keys(l.rooms)) {
		r := l.rooms[name]
		r.mu.Lock()
		if n := len(r.messages); strings.HasPrefix(name, prefix) && name > after && len(list) < limit && (n > 0 || r.settings != nil) {
			s := proto.StoredRoom{Name: name, Offset: uint64(n), Settings: r.settings}
			if n > 0 {
				s.Time = r.messages[n-1].Time
			}
			list = append(list, s)
		}
		r.mu.Unlock()
	}
	return list, nil
}

func (l *memory) Receipt(room, user string) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.receipts[receiptOf{room, user}], l.broken
}

func (l *memory) SaveReceipts(list []proto.Receipt) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	for _, r := range list {
		of := receiptOf{r.Room, r.User}
		l.receipts[of] = max(l.receipts[of], r.Offset)
	}
	return nil
}

func (r *memoryRoom) commit() {
	for {
		r.mu.Lock()
		batch := r.pending
		r.pending = nil
		if r.busy = len(batch) > 0; !r.busy {
			r.mu.Unlock()
			return
		}
		_, fail, _ := r.log.state()
		for _, p := range batch {
			if fail != nil {
				p.Err = fail
				continue
			}
			if r.ended {
				p.Err = proto.ErrRoomClosed.New()
				continue
			}
			if p.Settings != nil {
				r.settings = p.Settings
			}
			if p.Edit != proto.EditNone {
				r.editLocked(p)
			}
			if p.SettingsOnly || p.Edit != proto.EditNone {
				continue
			}
			p.Offset = uint64(len(r.messages)) + 1
			p.Time = time.Now().UnixMicro()
			if n := len(r.messages); n > 0 {
				p.Time = max(p.Time, r.messages[n-1].Time+1)
			}
			p.ID = proto.NewMsgID(p.Time, p.Offset)
			r.messages = append(r.messages, p.Message)
		}
		r.mu.Unlock()
		r.sink(batch)
	}
}

func (r *memoryRoom) Covers(pos proto.Position) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return pos.Epoch == r.epochLocked() && pos.Offset <= uint64(len(r.messages)) && pos.Offset >= r.trimmed
}

func (r *memoryRoom) Read(rg proto.Range, visit func(*proto.Message) bool) error {
	if _, _, broken := r.log.state(); broken != nil {
		return broken
	}
	r.log.mu.Lock()
	gate := r.log.gate
	r.log.mu.Unlock()
	if gate != nil {
		<-gate
	}
	r.mu.Lock()
	msgs := slices.Clone(r.messages[min(int(r.trimmed), len(r.messages)):])
	r.reads++
	r.mu.Unlock()
	r.log.mu.Lock()
	after := r.log.after
	r.log.mu.Unlock()
	if after != nil {
		<-after
	}
	if rg.Reverse {
		slices.Reverse(msgs)
	}
	n := 0
	for i := range msgs {
		m := &msgs[i]
		if m.Offset <= rg.After || rg.Before > 0 && m.Offset >= rg.Before || m.Time < rg.From || rg.To > 0 && m.Time >= rg.To {
			continue
		}
		if n++; !visit(m) || n == rg.Limit {
			break
		}
	}
	return nil
}

func (r *memoryRoom) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = false
}

// trim takes the messages up to the offset out of the log.
func (l *memory) trim(room string, offset uint64) {
	l.mu.Lock()
	r := l.rooms[room]
	l.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trimmed = offset
}

// client is a Member with an outbox that empties only when the test reads it.
type client struct {
	user   string
	codec  proto.Codec
	window proto.Window
	hub    *Hub
	bound  int

	mu      sync.Mutex
	out     []byte
	refused bool
	places  []*Membership
	closed  *proto.Error
	ended   int
}

func (c *client) UserID() string      { return c.user }
func (c *client) Form() proto.Form    { return proto.Form{Codec: c.codec, Window: c.window} }
func (c *client) Send(e *proto.Event) { c.Reply(proto.AppendEventFrame(nil, c.codec, e)) }

func (c *client) Reply(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, frame...)
}

func (c *client) Prefetch() {}

func (c *client) Deliver(frames []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(frames) == 0 {
		return !c.refused
	}
	if len(c.out) > 0 && len(c.out)+len(frames) > c.bound {
		c.refused = true
		return false
	}
	c.out = append(c.out, frames...)
	return true
}

func (c *client) Close(err *proto.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == nil {
		c.closed = err
	}
}

func (c *client) Ended(*Membership) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended++
}

// event is what a client got, decoded.
type event struct {
	Type      string          `json:"type"`
	ID        string          `json:"id"`
	Room      string          `json:"room"`
	To        string          `json:"to"`
	From      string          `json:"from"`
	MsgID     string          `json:"msgId"`
	Offset    uint64          `json:"offset"`
	Epoch     string          `json:"epoch"`
	Recovered bool            `json:"recovered"`
	Host      string          `json:"host"`
	Members   members         `json:"members"`
	UserID    string          `json:"userId"`
	Status    string          `json:"status"`
	Duplicate bool            `json:"duplicate"`
	Deleted   bool            `json:"deleted"`
	Code      string          `json:"code"`
	Reason    string          `json:"reason"`
	After     uint64          `json:"after"`
	Next      json.RawMessage `json:"next"`
	Content   json.RawMessage `json:"content"`
	Key       string          `json:"key"`
	Messages  []event         `json:"messages"`
}

// members is a count in most events, and a list in one.
type members struct {
	count int
	list  []event
}

func (m *members) UnmarshalJSON(b []byte) error {
	if b[0] == '[' {
		return json.Unmarshal(b, &m.list)
	}
	return json.Unmarshal(b, &m.count)
}

// nextCursor is the next page's, "" for none.
func (e event) nextCursor(t *testing.T) (cursor string) {
	t.Helper()
	if len(e.Next) > 0 {
		if err := json.Unmarshal(e.Next, &cursor); err != nil {
			t.Fatal(err)
		}
	}
	return cursor
}

// read takes everything out of the outbox, and lets the rooms go on.
func (c *client) read(t *testing.T) []event {
	t.Helper()
	c.mu.Lock()
	out, refused := c.out, c.refused
	c.out, c.refused = nil, false
	places := slices.Clone(c.places)
	c.mu.Unlock()
	events := decodeFrames(t, out)
	if refused {
		for _, ms := range places {
			ms.Drained()
		}
	}
	return events
}

// readAll reads until nothing comes any more.
func (c *client) readAll(t *testing.T) (events []event) {
	t.Helper()
	for {
		synctest.Wait()
		got := c.read(t)
		if len(got) == 0 {
			return events
		}
		events = append(events, got...)
	}
}

// decodeFrames decodes unmasked text frames.
func decodeFrames(t *testing.T, b []byte) []event {
	t.Helper()
	var events []event
	for _, payload := range payloads(t, b) {
		var e event
		if err := json.Unmarshal(payload, &e); err != nil {
			t.Fatalf("frame %q: %v", payload, err)
		}
		events = append(events, e)
	}
	return events
}

// payloads splits unmasked frames, and inflates the compressed ones.
func payloads(t *testing.T, b []byte) [][]byte {
	t.Helper()
	var list [][]byte
	for len(b) > 0 {
		n, head := int(b[1]), 2
		switch n {
		case 126:
			n, head = int(b[2])<<8|int(b[3]), 4
		case 127:
			n, head = int(b[6])<<24|int(b[7])<<16|int(b[8])<<8|int(b[9]), 10
		}
		payload := b[head : head+n]
		if rsv1 := b[0] & 0x40; rsv1 != 0 {
			const tail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff" // RFC 7692, section 7.2.2, and a last block
			inflated, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(payload), strings.NewReader(tail))))
			if err != nil {
				t.Fatalf("a compressed frame of %d bytes: %v", n, err)
			}
			payload = inflated
		}
		list = append(list, payload)
		b = b[head+n:]
	}
	return list
}

// house is a hub with what the tests need around it.
type house struct {
	t      *testing.T
	hub    *Hub
	log    *memory
	people *gathering
	ns     map[string]*proto.Namespace

	compressed *metrics.Counter // frames
}

func namespaces() []proto.Namespace {
	def := proto.NewNamespace("default")
	mem := proto.NewNamespace("mem")
	mem.Durability = proto.Memory
	shut := proto.NewNamespace("shut")
	shut.Slow = proto.SlowClose
	last := proto.NewNamespace("last")
	last.Slow = proto.SlowConflate
	heir := proto.NewNamespace("heir")
	heir.Hosts, heir.Succession = true, proto.OldestSucceeds
	quiet := proto.NewNamespace("quiet")
	quiet.JoinLeave = false
	packed := proto.NewNamespace("packed")
	packed.Compress = true
	inboxes := proto.InboxNamespace()
	inboxes.Compress = true
	return []proto.Namespace{def, mem, shut, last, heir, quiet, packed, inboxes}
}

// compressFrom is the least payload that houses compress.
const compressFrom = 256

// newHouse starts a hub in a synctest bubble; it ends with the test.
func newHouse(t *testing.T, log *memory) *house {
	h := &house{t: t, log: log, people: new(gathering), ns: make(map[string]*proto.Namespace)}
	set := metrics.NewSet()
	compression := proto.NewCompression(compressFrom, set)
	h.compressed = set.GetOrCreateCounter("throng_deflate_frames_total")
	h.hub = NewHub(Options{
		Namespaces: namespaces(), Limits: proto.DefaultLimits(), Log: log, People: h.people, Compression: compression,
		Logger: slog.New(slog.DiscardHandler), Workers: 3,
	})
	return h
}

var testCodec = proto.NewJSON(func() *proto.Limits { l := proto.DefaultLimits(); return &l }())

func (h *house) client(user string) *client {
	return &client{user: user, codec: testCodec, hub: h.hub, bound: 256 << 10}
}

func (h *house) namespace(room string) *proto.Namespace {
	ns, err := h.hub.Namespace("room", room)
	if err != nil {
		h.t.Fatal(err)
	}
	return ns
}

func (h *house) join(c *client, room string, since proto.Since) *Membership {
	ms := h.hub.NewMembership(c, room, h.namespace(room))
	c.mu.Lock()
	c.places = append(c.places, ms)
	c.mu.Unlock()
	h.hub.Join(ms, JoinRequest{ID: "j", Since: since, MayCreate: true})
	return ms
}

func (h *house) publish(c *client, ms *Membership, room, id, content string) {
	h.hub.Publish(c, ms, room, h.namespace(room), Publication{ID: []byte(id), Content: []byte(content), MayCreate: true})
}

func (h *house) publishKeyed(c *client, ms *Membership, room, id, key, content string) {
	h.hub.Publish(c, ms, room, h.namespace(room), Publication{ID: []byte(id), Key: []byte(key), Content: []byte(content), MayCreate: true})
}

func position(offset uint64, epoch string) proto.Since {
	return proto.Since{Kind: proto.SincePosition, Offset: offset, Epoch: []byte(epoch)}
}

// offsets lists the offsets of the events of one type.
func offsets(events []event, kind string) []uint64 {
	var list []uint64
	for _, e := range events {
		if e.Type == kind {
			list = append(list, e.Offset)
		}
	}
	return list
}

func span(from, to uint64) []uint64 {
	var list []uint64
	for i := from; i <= to; i++ {
		list = append(list, i)
	}
	return list
}

func first(t *testing.T, events []event, kind string) event {
	t.Helper()
	for _, e := range events {
		if e.Type == kind {
			return e
		}
	}
	t.Fatalf("no %s among %d events: %.1000s", kind, len(events), fmt.Sprintf("%+v", events))
	return event{}
}

// nowForTest is a clock for tests outside a bubble.
func nowForTest() time.Time { return time.Unix(1_700_000_000, 0) }

// readsOf counts how often a room's log was read.
func (l *memory) readsOf(room string) int {
	l.mu.Lock()
	r := l.rooms[room]
	l.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads
}
