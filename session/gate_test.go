package session

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

// asked is one question to a gate.
type asked struct {
	kind    string // connect, join or publish
	asker   Asker
	room    string
	content string
	answer  func(Verdict)
}

// gate is a Gate whose questions wait for the test, or are answered by decide.
type gate struct {
	decide func(asked) // nil: they wait

	mu      sync.Mutex
	waiting []asked
}

func (g *gate) Connect(r ConnectRequest, answer func(Verdict)) {
	g.ask(asked{kind: "connect", asker: r.Asker, answer: answer})
}

func (g *gate) Join(r JoinRequest, answer func(Verdict)) {
	g.ask(asked{kind: "join", asker: r.Asker, room: r.Room, answer: answer})
}

func (g *gate) Publish(r PublishRequest, answer func(Verdict)) {
	g.ask(asked{kind: "publish", asker: r.Asker, room: r.Room, content: string(r.Content), answer: answer})
}

func (g *gate) ask(a asked) {
	if g.decide != nil {
		g.decide(a)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, a)
}

// next returns the one question that waits.
func (g *gate) next(t *testing.T, kind string) asked {
	t.Helper()
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) != 1 || g.waiting[0].kind != kind {
		t.Fatalf("%d questions wait, %+v; want one to %s", len(g.waiting), g.waiting, kind)
	}
	a := g.waiting[0]
	g.waiting = nil
	return a
}

func (g *gate) nothing(t *testing.T) {
	t.Helper()
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) > 0 {
		t.Fatalf("%+v waits", g.waiting)
	}
}

// inGate is inFixture with a gate that lets ana connect.
func inGate(t *testing.T, run func(t *testing.T, f *fixture, g *gate, s *Session, c *conn)) {
	g := &gate{}
	inFixture(t, func(o *Options) { o.Gate = g }, func(t *testing.T, f *fixture) {
		s, c := f.open(Handshake{Authorization: "Bearer " + f.token("ana", time.Hour), Address: netip.MustParseAddr("192.0.2.7")})
		g.next(t, "connect").answer(Verdict{})
		c.await(t, "session")
		run(t, f, g, s, c)
		synctest.Wait()
		if n, bytes := f.manager.held.commands.Load(), f.manager.held.bytes.Load(); n != 0 || bytes != 0 {
			t.Errorf("%d commands, %d bytes are counted as waiting", n, bytes)
		}
	})
}

func (c *conn) nothing(t *testing.T) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.frames) > 0 {
		t.Fatalf("%v came", c.frames)
	}
}

func TestCommandsWaitForTheGateInTheirOrder(t *testing.T) {
	inGate(t, func(t *testing.T, f *fixture, g *gate, s *Session, c *conn) {
		say(s, `{"type":"join","id":"1","room":"r"}`)
		say(s, `{"type":"message","id":"2","to":"r","content":"two"}`)
		say(s, `{"type":"message","id":"3","to":"r","content":"three"}`)
		say(s, `{"type":"leave","id":"4","room":"r"}`)
		say(s, `{"type":"history","id":"5","room":"r"}`)
		say(s, `{"type":"PING","timestamp":1}`)
		c.await(t, "PONG")
		c.nothing(t)
		join := g.next(t, "join")
		if join.room != "r" || join.asker.UserID != "ana" || join.asker.SessionID != s.ID() || join.asker.Address.String() != "192.0.2.7" {
			t.Errorf("%+v", join)
		}
		join.answer(Verdict{})
		join.answer(Verdict{Err: proto.ErrRefused.New()}) // an answer too many
		c.await(t, "joined")
		two := g.next(t, "publish")
		if two.content != `"two"` {
			t.Errorf("%+v", two)
		}
		c.nothing(t)
		two.answer(Verdict{})
		if ack := c.await(t, "ack"); ack["id"] != "2" || ack["offset"] != 1.0 {
			t.Errorf("%v", ack)
		}
		three := g.next(t, "publish")
		c.nothing(t)
		go three.answer(Verdict{})
		if ack := c.await(t, "ack"); ack["id"] != "3" || ack["offset"] != 2.0 {
			t.Errorf("%v", ack)
		}
		c.await(t, "left")
		if page := c.await(t, "history"); len(page["messages"].([]any)) != 2 {
			t.Errorf("%v", page)
		}
		g.nothing(t)
	})
}

func TestTheGateRefusesAndReplaces(t *testing.T) {
	inGate(t, func(t *testing.T, f *fixture, g *gate, s *Session, c *conn) {
		for _, q := range []struct {
			frame   string
			kind    string // of the question; "" for none
			verdict Verdict
			code    string // "": an answer that is no error
		}{
			{`{"type":"join","id":"1","room":"no:room"}`, "", Verdict{}, "unknown_namespace"},
			{`{"type":"message","id":"1","to":"user:","content":1}`, "", Verdict{}, "invalid_field"},
			{`{"type":"join","id":"1","room":"user:bob"}`, "", Verdict{}, "forbidden"},
			{`{"type":"join","id":"1","room":"r"}`, "join", Verdict{Err: proto.ErrRefused.New()}, "refused"},
			{`{"type":"leave","id":"1","room":"r"}`, "", Verdict{}, "not_joined"},
			{`{"type":"message","id":"1","to":"r","content":1}`, "publish", Verdict{Err: proto.ErrHookDown.New()}, "hook_unavailable"},
			{`{"type":"message","id":"1","to":"user:bob","content":1}`, "publish", Verdict{Err: proto.ErrRefused.New()}, "refused"},
			{`{"type":"message","id":"1","to":"r","content":1}`, "publish", Verdict{Content: []byte(strings.Repeat("1", 1<<16+1))}, "too_large"},
			{`{"type":"message","id":"1","to":"r","content":1}`, "publish", Verdict{Content: []byte(`"half`)}, "hook_unavailable"},
			{`{"type":"message","id":"1","to":"r","content":"AAAA","encoding":"base64"}`, "publish", Verdict{Content: []byte("\xff")}, ""},
			{`{"type":"message","id":"1","to":"r","content":1}`, "publish", Verdict{Content: []byte(`{"text":"replaced"}`)}, ""},
		} {
			say(s, "%s", q.frame)
			if q.kind != "" {
				g.next(t, q.kind).answer(q.verdict)
			}
			g.nothing(t)
			if q.code == "" {
				c.await(t, "ack")
			} else {
				c.refused(t, "1", q.code)
			}
		}
		say(s, `{"type":"history","room":"r"}`)
		page := c.await(t, "history")["messages"].([]any)
		if got := fmt.Sprint(page[0].(map[string]any)["content"], page[1].(map[string]any)["content"]); got != "/w==map[text:replaced]" {
			t.Errorf("the room has %s", got)
		}
	})
}

func TestTheGateDecidesWhoConnects(t *testing.T) {
	g := &gate{}
	observed := &observer{}
	inFixture(t, func(o *Options) { o.Gate, o.Observer = g, observed }, func(t *testing.T, f *fixture) {
		s, c := f.open(Handshake{Authorization: "Bearer " + f.token("ana", time.Hour)})
		say(s, `{"type":"join","id":"1","room":"r"}`) // before the session's frame
		if a := g.next(t, "connect"); a.asker.SessionID != s.ID() || a.asker.UserID != "ana" {
			t.Errorf("%+v", a)
		} else if _, live := f.manager.Get(s.ID()); live {
			t.Error("the session is listed before the gate has decided")
		} else {
			c.nothing(t)
			a.answer(Verdict{})
		}
		c.await(t, "session")
		g.next(t, "join").answer(Verdict{})
		c.await(t, "joined")
		if _, live := f.manager.Get(s.ID()); !live {
			t.Error("the session is not listed")
		}

		s, c = f.open(Handshake{})
		say(s, `{"type":"auth","id":"7","token":%q}`, f.token("bob", time.Hour))
		say(s, `{"type":"join","id":"8","room":"r"}`)
		if !c.deadline.IsZero() {
			t.Error("the gate's time counts as the client's")
		}
		g.next(t, "connect").answer(Verdict{})
		if session := c.await(t, "session"); session["id"] != "7" {
			t.Errorf("%v", session)
		}
		g.next(t, "join").answer(Verdict{})
		c.await(t, "joined")

		for _, refusal := range []struct {
			code   *proto.Code
			closed proto.CloseCode
		}{{proto.ErrRefused, 1008}, {proto.ErrHookDown, 1013}, {proto.ErrForbidden, 1008}, {proto.ErrRevoked, 4403}} {
			s, c = f.open(Handshake{})
			say(s, `{"type":"auth","id":"7","token":%q}`, f.token("cyd", time.Hour))
			say(s, `{"type":"join","id":"8","room":"r"}`)
			g.next(t, "connect").answer(Verdict{Err: refusal.code.New()})
			c.refused(t, "7", refusal.code.Name)
			c.nothing(t)
			g.nothing(t)
			if c.closed != refusal.closed {
				t.Errorf("%s closed with %d", refusal.code.Name, c.closed)
			}
			s.Closed("server")
		}

		s, c = f.open(Handshake{Authorization: "Bearer " + f.token("dan", time.Hour)})
		late := g.next(t, "connect")
		s.Closed("cut")
		late.answer(Verdict{})
		c.nothing(t)
		if n := f.manager.Directory.count(); n != 2 {
			t.Errorf("%d sessions are found", n)
		}
		if told := observed.all(); len(told) != 2 {
			t.Errorf("the observer was told %v", told)
		}
	})
}

func TestWhatWaitsForTheGateIsBounded(t *testing.T) {
	inGate(t, func(t *testing.T, f *fixture, g *gate, s *Session, c *conn) {
		say(s, `{"type":"message","to":"r","content":1}`)
		for range turnsWaiting {
			say(s, `{"type":"message","to":"r","content":1}`)
		}
		c.nothing(t)
		say(s, `{"type":"message","id":"x","to":"r","content":1}`)
		c.refused(t, "x", "overloaded")
		first := g.next(t, "publish")
		g.decide = func(a asked) { a.answer(Verdict{}) } // at once, from within
		first.answer(Verdict{})
		for i := range turnsWaiting + 1 {
			if ack := c.await(t, "ack"); ack["offset"] != float64(i+1) {
				t.Fatalf("%v", ack)
			}
		}
		g.decide = nil
		big := strings.Repeat("1", 60<<10)
		for range turnsBytes/(60<<10) + 1 {
			say(s, `{"type":"message","to":"r","content":%s}`, big)
		}
		say(s, `{"type":"message","id":"x","to":"r","content":%s}`, big)
		c.refused(t, "x", "overloaded")
		s.Close(proto.ErrSilent.New()) // what waits is dropped
		g.next(t, "publish").answer(Verdict{})
		c.await(t, "error")
		c.nothing(t)
		g.nothing(t)
	})
}

func TestWhatCameBeforeTheEndIsCarriedOut(t *testing.T) {
	inGate(t, func(t *testing.T, f *fixture, g *gate, s *Session, _ *conn) {
		say(s, `{"type":"message","to":"r","content":1}`)
		say(s, `{"type":"join","room":"r"}`)
		say(s, `{"type":"message","to":"r","content":2}`)
		s.Closed("peer")
		g.decide = func(a asked) { go a.answer(Verdict{}) }
		g.next(t, "publish").answer(Verdict{})
		synctest.Wait()
		ev, err := f.manager.Do(t.Context(), f.caller("bob"), &proto.Command{Type: proto.CmdHistory, Room: []byte("r")})
		if err != nil || len(ev.Messages) != 2 {
			t.Errorf("the room has %v, %v", ev, err)
		}
		if s.place != nil {
			t.Error("a connection that has gone joined")
		}
	})
}

// TestTheGateKeepsTheOrderOfOneConnection has answers come from anywhere.
func TestTheGateKeepsTheOrderOfOneConnection(t *testing.T) {
	g := &gate{}
	n := 0
	g.decide = func(a asked) {
		if n++; n%3 == 0 {
			a.answer(Verdict{})
		} else {
			go a.answer(Verdict{})
		}
	}
	inFixture(t, func(o *Options) { o.Gate = g }, func(t *testing.T, f *fixture) {
		s, c := f.user("ana")
		const messages = 2000
		for i := range messages {
			say(s, `{"type":"message","id":"%d","to":"r","content":%[1]d}`, i)
			if i%100 == 99 {
				synctest.Wait()
			}
		}
		for i := range messages {
			if ack := c.await(t, "ack"); ack["id"] != fmt.Sprint(i) || ack["offset"] != float64(i+1) {
				t.Fatalf("message %d: %v", i, ack)
			}
		}
	})
}

func TestTheGateDecidesOnCalls(t *testing.T) {
	inGate(t, func(t *testing.T, f *fixture, g *gate, _ *Session, _ *conn) {
		ana := f.caller("ana").InOrder()
		answers := make([]string, 4) // each written once
		start := func(i int, room, content string) {
			f.manager.Start(ana, &proto.Command{Type: proto.CmdMessage, Room: []byte(room), Content: []byte(content)}, func(ev *proto.Event, err *proto.Error) {
				if err != nil {
					answers[i] = err.Name
				} else {
					answers[i] = fmt.Sprint(ev.Offset)
				}
			})
		}
		for i, content := range []string{"1", "2", "3"} {
			start(i, "r", content)
		}
		start(3, "no:room", "4")
		for _, want := range []string{"1", "2", "3"} {
			a := g.next(t, "publish")
			if a.content != want || a.asker.SessionID != "" || a.asker.UserID != "ana" {
				t.Errorf("%+v", a)
			}
			if want == "2" {
				a.answer(Verdict{Err: proto.ErrRefused.New()})
			} else {
				a.answer(Verdict{})
			}
		}
		synctest.Wait()
		if got := strings.Join(answers, " "); got != "1 refused 2 unknown_namespace" {
			t.Errorf("answered %s", got)
		}

		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			a := g.next(t, "publish") // and no answer in time
			cancel()
			a.answer(Verdict{Err: proto.ErrHookDown.New()})
		}()
		_, err := f.manager.Do(ctx, ana, &proto.Command{Type: proto.CmdMessage, Room: []byte("r"), Content: []byte("5")})
		if err == nil || err.Code != proto.ErrOverloaded {
			t.Errorf("%v", err)
		}
	})
}

func TestALateAnswerIsNobodys(t *testing.T) {
	inGate(t, func(t *testing.T, f *fixture, g *gate, _ *Session, _ *conn) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := f.manager.Do(ctx, f.caller("ana"), &proto.Command{Type: proto.CmdMessage, Room: []byte("r"), Content: []byte("1")})
		if err == nil || err.Code != proto.ErrOverloaded {
			t.Errorf("%v", err)
		}
		g.next(t, "publish").answer(Verdict{})
		synctest.Wait() // and no goroutine is left: the bubble would say so
	})
}

// TestCommandsAreCopiedWhole holds cloneCommand to all fields of a command.
func TestCommandsAreCopiedWhole(t *testing.T) {
	var cmd proto.Command
	fill(reflect.ValueOf(&cmd).Elem())
	kept := cloneCommand(&cmd)
	want := fmt.Sprintf("%+v", cmd)
	if got := fmt.Sprintf("%+v", *kept); got != want {
		t.Fatalf("copied %s, want %s", got, want)
	}
	fields(&cmd, func(f *[]byte) { (*f)[0] = 'X' })
	if got := fmt.Sprintf("%+v", *kept); got != want {
		t.Errorf("the copy has %s after the original has changed", got)
	}
	count := 0
	fields(&cmd, func(*[]byte) { count++ })
	if slices := countSlices(reflect.TypeOf(cmd)); count != slices {
		t.Errorf("%d of %d slices are copied", count, slices)
	}
}

// fill puts something into every exported field.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	case reflect.Slice:
		v.Set(reflect.ValueOf([]byte("abc")))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	default:
		v.SetUint(7)
	}
}

func countSlices(t reflect.Type) (n int) {
	for i := range t.NumField() {
		switch f := t.Field(i); {
		case !f.IsExported():
		case f.Type.Kind() == reflect.Slice:
			n++
		case f.Type.Kind() == reflect.Struct:
			n += countSlices(f.Type)
		}
	}
	return n
}

// caller is a user without a connection.
func (f *fixture) caller(user string) Caller { return Caller{Identity: auth.NewIdentity(user)} }

// observer is an Observer that keeps what it is told.
type observer struct {
	mu   sync.Mutex
	told []string
}

func (o *observer) Connected(i Info) { o.tell("+" + i.UserID) }
func (o *observer) Disconnected(i Info, why string) {
	o.tell("-" + i.UserID + " " + why + fmt.Sprint(i.Rooms))
}

func (o *observer) tell(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = append(o.told, what)
}

func (o *observer) all() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.told
}

func TestTheObserverIsToldWhoComesAndGoes(t *testing.T) {
	o := &observer{}
	inFixture(t, func(options *Options) { options.Observer = o }, func(t *testing.T, f *fixture) {
		s, c := f.user("ana")
		say(s, `{"type":"join","room":"r"}`)
		c.await(t, "joined")
		nobody, _ := f.open(Handshake{})
		nobody.Closed("cut")
		s.Closed("peer")
		s, _ = f.user("bob")
		f.manager.Disconnect(s.ID(), proto.ErrDisconnected.New())
		s.Closed("server")
		if got := strings.Join(o.all(), ", "); got != "+ana, -ana peer[r], +bob, -bob disconnected[]" {
			t.Errorf("told %s", got)
		}
	})
}

// TestNothingComesBeforeTheSession: who is not let in yet hears nothing.
func TestNothingComesBeforeTheSession(t *testing.T) {
	g := &gate{}
	inFixture(t, func(o *Options) { o.Gate = g }, func(t *testing.T, f *fixture) {
		write := func() {
			t.Helper()
			done := make(chan *proto.Error, 1)
			f.manager.Start(f.caller("ana"), &proto.Command{Type: proto.CmdMessage, Room: []byte("user:ana"), Content: []byte("1")},
				func(_ *proto.Event, err *proto.Error) { done <- err })
			g.next(t, "publish").answer(Verdict{})
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		s, c := f.open(Handshake{Authorization: "Bearer " + f.token("ana", time.Hour)})
		welcome := g.next(t, "connect")
		write()
		c.nothing(t)
		welcome.answer(Verdict{})
		c.await(t, "session")
		write()
		c.await(t, "message")
		s.Closed("peer")
		write()
		c.nothing(t)
	})
}
