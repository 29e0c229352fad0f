package session

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

// frameConn is a Conn that keeps the frames as they are.
type frameConn struct {
	mu     sync.Mutex
	frames [][]byte
}

func (c *frameConn) Reply(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames = append(c.frames, bytes.Clone(frame))
}

func (c *frameConn) Prefetch() {}

func (c *frameConn) Deliver(frames []byte) bool    { c.Reply(frames); return true }
func (c *frameConn) Close(proto.CloseCode, string) {}
func (c *frameConn) Address() netip.Addr           { return netip.Addr{} }
func (c *frameConn) SetDeadline(time.Time)         {}

// next returns the first event of a type among the frames, and whether its frame
// was compressed.
func (c *frameConn) next(t *testing.T, kind string) (event map[string]any, compressed bool) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.frames) > 0 {
		frame := c.frames[0]
		c.frames = c.frames[1:]
		for payload := range Payloads(frame) {
			compressed = frame[0]&0x40 != 0
			if compressed {
				const tail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"
				var err error
				if payload, err = io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(payload), strings.NewReader(tail)))); err != nil {
					t.Fatal(err)
				}
			}
			event = nil
			if err := json.Unmarshal(payload, &event); err != nil {
				t.Fatalf("%q: %v", payload, err)
			}
			if event["type"] == kind {
				return event, compressed
			}
		}
	}
	t.Fatalf("no %s has come", kind)
	return nil, false
}

// connect opens a session of the user, whose handshake has agreed on a window.
func (f *fixture) connect(user string, w proto.Window) (*Session, *frameConn) {
	f.t.Helper()
	s, _, err := f.manager.Accept(Handshake{Authorization: "Bearer " + f.token(user, time.Hour)})
	if err != nil {
		f.t.Fatal(err)
	}
	c := &frameConn{}
	s.Agreed(w)
	s.Open(c)
	return s, c
}

// Replies about a room are compressed where its namespace compresses and the
// connection has agreed; short ones never are.
func TestRepliesAreCompressed(t *testing.T) {
	for _, w := range []proto.Window{proto.Plain, proto.SmallWindow, proto.StandardWindow} {
		for room, packs := range map[string]bool{"packed:r": true, "chat:r": false} {
			inFixture(t, nil, func(t *testing.T, f *fixture) {
				s, c := f.connect("ana", w)
				if form := s.Form(); form.Window != w || form.Codec != s.Codec() || s.Codec() != f.manager.Codecs[0] {
					t.Fatalf("the form is %+v", form)
				}
				if _, compressed := c.next(t, "session"); compressed {
					t.Error("session is compressed")
				}
				say(s, `{"type":"join","room":%q}`, room)
				if _, compressed := c.next(t, "joined"); compressed {
					t.Error("joined is compressed")
				}
				text := strings.Repeat("much alike ", 90)
				for range 3 {
					say(s, `{"type":"message","id":"1","to":%q,"content":%q}`, room, text)
					if _, compressed := c.next(t, "ack"); compressed {
						t.Error("an ack is compressed")
					}
				}
				say(s, `{"type":"history","room":%q}`, room)
				page, compressed := c.next(t, "history")
				if want := packs && w != proto.Plain; compressed != want {
					t.Errorf("room %s, window %d: history is compressed: %v, want %v", room, w, compressed, want)
				}
				messages := page["messages"].([]any)
				if len(messages) != 3 || messages[2].(map[string]any)["content"] != text {
					t.Errorf("history %v", page)
				}
				say(s, `{"type":"members","room":%q}`, room)
				if _, compressed := c.next(t, "members"); compressed {
					t.Error("a short list of members is compressed")
				}
				s.Closed("")
			})
		}
	}
}

// A session's form is its codec's.
func TestFormsOfCodecs(t *testing.T) {
	limits := proto.DefaultLimits()
	codecs := []proto.Codec{proto.NewJSON(&limits), proto.NewBinary(&limits)}
	inFixture(t, func(o *Options) { o.Codecs = codecs }, func(t *testing.T, f *fixture) {
		for i, codec := range codecs {
			for _, w := range []proto.Window{proto.Plain, proto.SmallWindow, proto.StandardWindow} {
				s, _, err := f.manager.Accept(Handshake{Protocols: []string{codec.Subprotocol()}})
				if err != nil {
					t.Fatal(err)
				}
				s.Agreed(w)
				if s.Codec() != codecs[i] || s.Form() != (proto.Form{Codec: codec, Window: w}) {
					t.Errorf("%s, window %d: the form is %+v", codec.Subprotocol(), w, s.Form())
				}
			}
		}
		stream := f.manager.OpenStream(Caller{Identity: auth.NewIdentity("ana")}, &frameConn{})
		if stream.Form() != (proto.Form{Codec: codecs[0]}) {
			t.Errorf("an event stream's form is %+v", stream.Form())
		}
		stream.Closed("")
	})
}

// A compressed reply allocates nothing.
func TestACompressedReplyAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("not counted under the race detector")
	}
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		s, _ := f.connect("ana", proto.StandardWindow)
		s.conn = discard{}
		page := &proto.Event{Type: proto.EvHistory, Room: "packed:r", Epoch: "e"}
		for i := range 10 {
			page.Messages = append(page.Messages, proto.Message{Offset: uint64(i + 1), From: "ana", To: page.Room, Content: fmt.Appendf(nil, "%q", strings.Repeat("much alike ", i))})
		}
		s.Send(page) // grows what is kept from call to call
		if n := testing.AllocsPerRun(200, func() { s.Send(page) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
		s.Closed("")
	})
}

// discard is a Conn that keeps nothing.
type discard struct{}

func (discard) Reply([]byte) {}
func (discard) Prefetch()    {}

func (discard) Deliver([]byte) bool           { return true }
func (discard) Close(proto.CloseCode, string) {}
func (discard) Address() netip.Addr           { return netip.Addr{} }
func (discard) SetDeadline(time.Time)         {}
