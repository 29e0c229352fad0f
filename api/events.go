package api

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/session"
)

// The query parameters of a stream, for readers that can set no headers.
const (
	sinceParam = "since"
	tokenParam = "token"
)

const (
	heartbeat      = 15 * time.Second // between comments on a quiet stream
	streamPatience = time.Minute      // for a client that does not read what is written
	closePatience  = 2 * time.Second  // the same at the stream's end
	reconnectIn    = time.Second      // what readers are told
	reconnectMost  = 10 * time.Second // and at a drain, so that they do not all come at once
)

// events joins a room and answers with what a member is sent, as server-sent
// events (the HTML standard, section 9.2). An error before the join is answered
// as any other: an EventSource that is not answered 200 does not come again.
func (c *call) events() *proto.Error {
	p, err := c.room()
	if err == nil {
		err = c.noBody()
	}
	if err != nil {
		return err
	}
	since, err := c.since()
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		if err := c.allow(auth.RightJoin, p.name); err != nil {
			return err
		}
		c.beginStream()
		return nil
	}
	box := c.api.newStreamBox(c.address(), http.NewResponseController(c.w).SetWriteDeadline)
	c.api.boxes.add(box)
	s := c.api.Sessions.OpenStream(c.caller(), box)
	c.api.meters.streams.Add(1)
	st := &stream{call: c, box: box, session: s, since: since, reason: "gone"}
	stop := context.AfterFunc(c.r.Context(), box.end) // a drain waits for no client that does not read
	defer func() {
		stop()
		c.api.meters.streams.Add(-1)
		s.Closed(st.reason)
		c.api.boxes.remove(box)
		box.release()
	}()
	if err := s.Subscribe(p.name, since); err != nil {
		return err
	}
	return st.run()
}

// since is where the reader wants the stream to go on: after the event whose id
// it names.
func (c *call) since() (proto.Since, *proto.Error) {
	name, id := "Last-Event-ID", c.r.Header.Get("Last-Event-ID")
	if id == "" {
		name, id = sinceParam, c.query.values.Get(sinceParam)
	}
	if id == "" {
		return proto.Since{}, nil
	}
	const maxEpoch = 128
	colon := strings.LastIndexByte(id, ':')
	offset, err := strconv.ParseUint(id[colon+1:], 10, 64)
	if err != nil || colon < 1 || colon > maxEpoch || offset > proto.MaxSafeInteger {
		return proto.Since{}, proto.ErrInvalidField.With("%s is %.40q; the id of an event, EPOCH:OFFSET, is expected", name, id)
	}
	return proto.Since{Kind: proto.SincePosition, Epoch: []byte(id[:colon]), Offset: offset}, nil
}

// stream is an answer of server-sent events while it lasts. It belongs to the
// goroutine that serves the request, and stands in for a connection's poller.
type stream struct {
	call    *call
	box     *streamBox
	session *session.Session
	since   proto.Since
	epoch   string // of the room, from joined on
	buf     []byte // what is written next
	over    bool   // the last event is in buf
	reason  string // why it ended
}

// run writes what comes until the stream ends. It returns an error where the
// room could not be joined, and nothing is written yet.
func (st *stream) run() *proto.Error {
	ctx := st.call.r.Context()
	beat := time.NewTimer(st.call.api.Timeout) // for the join at first
	defer beat.Stop()
	var alarm <-chan time.Time
	begun := false
	for {
		select {
		case <-st.box.wake:
		case at := <-st.box.deadline:
			alarm = alarmAt(at)
			continue
		case <-alarm:
			alarm = nil
			st.session.Expired()
			continue
		case <-beat.C:
			if !begun {
				return proto.ErrOverloaded.With("the room was not joined in %v", st.call.api.Timeout)
			}
			st.buf = append(st.buf, ":\n\n"...)
		case <-ctx.Done():
			return st.ended(ctx, begun)
		}
		frames, closed := st.box.take()
		if !begun && len(frames) > 0 {
			if err := refusal(frames[0]); err != nil {
				return err
			}
			begun = true
			st.begin()
		}
		if !begun && closed {
			return proto.ErrUnavailable.New()
		}
		written := st.write(frames)
		if st.box.isShed() {
			st.reason = proto.ErrSlowConsumer.Name
			return nil
		}
		if !written {
			return nil
		}
		if st.over || closed {
			st.reason = ""
			return nil
		}
		if st.box.drained() {
			st.session.Drained()
		}
		if begun {
			beat.Reset(heartbeat)
		}
	}
}

// alarmAt returns what fires at the time, nil for no time.
func alarmAt(at time.Time) <-chan time.Time {
	if at.IsZero() {
		return nil
	}
	return time.After(time.Until(at))
}

// ended tells the reader that the server is shutting down, where that is why the
// request ends.
func (st *stream) ended(ctx context.Context, begun bool) *proto.Error {
	why, _ := context.Cause(ctx).(*proto.Error)
	switch {
	case why == nil: // the client has gone
		return nil
	case !begun:
		return why
	}
	st.reason = why.Name
	back := reconnectIn + rand.N(reconnectMost-reconnectIn)
	st.buf = append(strconv.AppendInt(append(st.buf, "retry: "...), back.Milliseconds(), 10), "\n\n"...)
	told := *why
	told.RetryAfter = back
	st.append(st.call.api.codec.AppendEvent(nil, &proto.Event{Type: proto.EvError, Err: &told}))
	st.flush()
	return nil
}

// refusal reads the error that a join is answered with, nil where it is not one.
func refusal(f []byte) *proto.Error {
	for payload := range session.Payloads(f) {
		if eventType(payload) != proto.EvError.String() {
			return nil
		}
		var e struct {
			Code       string `json:"code"`
			Reason     string `json:"reason"`
			RetryAfter int64  `json:"retryAfter"`
		}
		if err := json.Unmarshal(payload, &e); err != nil {
			panic("api: the codec's own event is no JSON: " + err.Error())
		}
		for _, code := range proto.Codes {
			if code.Name == e.Code {
				return &proto.Error{Code: code, Detail: e.Reason, RetryAfter: time.Duration(e.RetryAfter) * time.Millisecond}
			}
		}
		return proto.ErrInternal.New()
	}
	return nil
}

// begin writes the answer's head.
func (st *stream) begin() {
	st.call.beginStream()
	st.buf = append(strconv.AppendInt(append(st.buf, "retry: "...), reconnectIn.Milliseconds(), 10), "\n\n"...)
}

func (c *call) beginStream() {
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{}) // see limitTime
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would collect events
	c.w.WriteHeader(http.StatusOK)
}

// write writes the events in the frames, those that wait together at once. It
// reports what flush does.
func (st *stream) write(frames [][]byte) bool {
	const enough = 32 << 10 // bytes
	for _, f := range frames {
		for payload := range session.Payloads(f) {
			st.append(payload)
		}
		if len(st.buf) >= enough && !st.flush() {
			return false
		}
	}
	return st.flush()
}

// flush writes the events that are ready. It reports false where the client is
// gone, or has not read for too long.
func (st *stream) flush() bool {
	if len(st.buf) == 0 {
		return true
	}
	st.box.beginWrite()
	_, err := st.call.w.Write(st.buf)
	if err == nil {
		err = http.NewResponseController(st.call.w).Flush()
	}
	const kept = 64 << 10
	if st.buf = st.buf[:0]; cap(st.buf) > kept {
		st.buf = nil
	}
	return err == nil
}

// append appends one of the protocol's events.
func (st *stream) append(payload []byte) {
	name := eventType(payload)
	st.buf = append(append(append(st.buf, "event: "...), name...), '\n')
	switch name {
	case "message":
		if offset := messageOffset(payload); offset > 0 {
			st.appendID(st.epoch, offset)
		}
	case "joined", "gap":
		st.appendPosition(name, payload)
	case "room_closed":
		st.over = true
	}
	for line := range bytes.Lines(payload) {
		st.appendData(line)
	}
	st.buf = append(st.buf, '\n')
}

// appendData appends a line of a payload, which JSON lets hold carriage returns
// between its tokens: they end lines here as well.
func (st *stream) appendData(line []byte) {
	for part := range bytes.SplitSeq(bytes.TrimRight(line, "\r\n"), []byte{'\r'}) {
		st.buf = append(append(append(st.buf, "data: "...), part...), '\n')
	}
}

// appendPosition appends the id of an event that says where the stream stands.
// After joined that is the reader's own position as long as what it missed still
// follows, and the room's head where nothing does.
func (st *stream) appendPosition(name string, payload []byte) {
	var e struct {
		Epoch     string `json:"epoch"`
		Offset    uint64 `json:"offset"`
		Recovered bool   `json:"recovered"`
		Next      uint64 `json:"next"`
	}
	if err := json.Unmarshal(payload, &e); err != nil {
		panic("api: the codec's own event is no JSON: " + err.Error())
	}
	st.epoch = e.Epoch
	switch {
	case name == "gap":
		st.appendID(e.Epoch, e.Next-1)
	case e.Recovered:
		st.appendID(string(st.since.Epoch), st.since.Offset)
	default:
		st.appendID(e.Epoch, e.Offset)
	}
}

func (st *stream) appendID(epoch string, offset uint64) {
	st.buf = append(append(append(st.buf, "id: "...), epoch...), ':')
	st.buf = append(strconv.AppendUint(st.buf, offset, 10), '\n')
}

// eventType reads an event's type, which the codec writes first.
func eventType(payload []byte) string {
	const before = `{"type":"`
	name, _, _ := bytes.Cut(payload[len(before):], []byte{'"'})
	return string(name)
}

// messageOffset reads the offset of a message, which the codec writes last, 0
// for a transient one.
func messageOffset(payload []byte) uint64 {
	last := payload[bytes.LastIndexByte(payload, ',')+1:]
	text, found := bytes.CutPrefix(last, []byte(`"offset":`))
	if !found {
		return 0
	}
	n, _ := strconv.ParseUint(string(bytes.TrimSuffix(text, []byte{'}'})), 10, 64) // the codec wrote it
	return n
}
