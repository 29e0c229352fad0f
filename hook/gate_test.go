package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/proto"
)

// decider is the gate's endpoint.
type decider struct {
	t testing.TB

	mu     sync.Mutex
	decide func(questionBody) (status int, answer string)
	asked  []questionBody
}

func (d *decider) RoundTrip(request *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	d.ServeHTTP(recorder, request)
	return recorder.Result(), request.Context().Err()
}

func (d *decider) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	if err := verify(request.Header, testSecret, body); err != nil {
		d.t.Error(err)
	}
	var q questionBody
	if err := json.Unmarshal(body, &q); err != nil {
		d.t.Errorf("%s: %v", body, err)
	}
	d.mu.Lock()
	d.asked = append(d.asked, q)
	decide := d.decide
	d.mu.Unlock()
	status, answer := decide(q)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer)
}

func (d *decider) questions() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.asked)
}

func newTestGate(t testing.TB, o GateOptions, d *decider) *Gate {
	t.Helper()
	if o.URL == "" {
		o.URL = "http://decider.example"
	}
	o.Secret, o.AllowPrivate = testSecret, true
	if o.Events == 0 {
		o.Events = Of(Connect, Join, Message)
	}
	g, err := NewGate(o)
	if err != nil {
		t.Fatal(err)
	}
	if d != nil {
		g.client.Transport = d
	}
	return g
}

// ask waits for the answer to one question.
func ask(put func(Question, func(Verdict)), q Question) Verdict {
	answer := make(chan Verdict, 2)
	put(q, func(v Verdict) { answer <- v })
	return <-answer
}

func TestGateAnswers(t *testing.T) {
	json200 := func(answer string) func(questionBody) (int, string) {
		return func(questionBody) (int, string) { return 200, answer }
	}
	text, raw := []byte(`{"a":1}`), []byte{0, 0xff}
	for _, test := range []struct {
		name    string
		kind    proto.Kind
		decide  func(questionBody) (int, string)
		refused *proto.Code
		detail  string
		content []byte
	}{
		{"allowed", proto.KindJSON, json200(`{"allow":true}`), nil, "", nil},
		{"refused", proto.KindJSON, json200(`{"allow":false,"reason":"no dogs"}`), proto.ErrRefused, "no dogs", nil},
		{"refused without a word", proto.KindJSON, json200(`{"allow":false}`), proto.ErrRefused, "", nil},
		{"enriched", proto.KindJSON, json200(`{"allow":true,"content": {"b" : 2}}`), nil, "", []byte(`{"b" : 2}`)},
		{"enriched with null", proto.KindJSON, json200(`{"allow":true,"content":null}`), nil, "", nil},
		{"enriched bytes", proto.KindBytes, json200(`{"allow":true,"content":"AQI="}`), nil, "", []byte{1, 2}},
		{"bytes that are none", proto.KindBytes, json200(`{"allow":true,"content":{"a":1}}`), proto.ErrHookDown, "", nil},
		{"bytes that are no base64", proto.KindBytes, json200(`{"allow":true,"content":"!"}`), proto.ErrHookDown, "", nil},
		{"no decision", proto.KindJSON, json200(`{}`), proto.ErrHookDown, "", nil},
		{"no JSON", proto.KindJSON, json200(`yes`), proto.ErrHookDown, "", nil},
		{"too much", proto.KindJSON, json200(`{"allow":true,"content":"` + strings.Repeat("x", 200<<10) + `"}`), proto.ErrHookDown, "", nil},
		{"another status", proto.KindJSON, func(questionBody) (int, string) { return 403, `{"allow":true}` }, proto.ErrHookDown, "", nil},
		{"a redirect", proto.KindJSON, func(questionBody) (int, string) { return 302, `{"allow":true}` }, proto.ErrHookDown, "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := &decider{t: t, decide: test.decide}
			g := newTestGate(t, GateOptions{}, d)
			content := text
			if test.kind == proto.KindBytes {
				content = raw
			}
			v := ask(g.Publish, Question{UserID: "ada", SessionID: "s1", Room: "lobby", Kind: test.kind, Content: content})
			switch {
			case test.refused == nil && v.Err != nil, test.refused != nil && (v.Err == nil || v.Err.Code != test.refused):
				t.Errorf("the answer is %v", v.Err)
			case v.Err != nil && v.Err.Detail != test.detail:
				t.Errorf("the reason is %q", v.Err.Detail)
			}
			if !bytes.Equal(v.Content, test.content) {
				t.Errorf("the content is %s, want %s", v.Content, test.content)
			}
			g.Close(t.Context())
			q := d.asked[0]
			if q.Event != "publish" || q.UserID != "ada" || q.SessionID != "s1" || q.Room != "lobby" {
				t.Errorf("asked %+v", q)
			}
			want, encoding := string(text), ""
			if test.kind == proto.KindBytes {
				want, encoding = `"AP8="`, "base64"
			}
			if string(q.Content) != want || q.Encoding != encoding {
				t.Errorf("asked about %s (%s)", q.Content, q.Encoding)
			}
		})
	}
}

func TestGateEvents(t *testing.T) {
	d := &decider{t: t, decide: func(questionBody) (int, string) { return 200, `{"allow":false}` }}
	g := newTestGate(t, GateOptions{Events: Of(Connect, Join)}, d)
	if v := ask(g.Connect, Question{UserID: "ada", DeviceOS: "linux"}); v.Err == nil {
		t.Error("a connection was allowed")
	}
	if v := ask(g.Join, Question{UserID: "ada", Room: "lobby"}); v.Err == nil {
		t.Error("a join was allowed")
	}
	if v := ask(g.Publish, Question{UserID: "ada"}); v.Err != nil || g.Wants(Message) {
		t.Errorf("what is not asked about was refused: %v", v.Err)
	}
	g.Close(t.Context())
	if v := ask(g.Join, Question{}); v.Err == nil || v.Err.Code != proto.ErrShuttingDown {
		t.Errorf("after the end: %v", v.Err)
	}
	if len(d.asked) != 2 || d.asked[0].Event != "connect" || d.asked[0].Device.OS != "linux" || d.asked[1].Event != "join" || d.asked[1].Device != nil {
		t.Errorf("asked %+v", d.asked)
	}
}

// TestGatePolicy holds the gate to its policy when nobody answers, and counts how
// often it asks.
func TestGatePolicy(t *testing.T) {
	for _, open := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			down := true
			d := &decider{t: t, decide: func(questionBody) (int, string) {
				if down {
					return 500, ""
				}
				return 200, `{"allow":false}`
			}}
			g := newTestGate(t, GateOptions{FailOpen: open}, d)
			for range 300 {
				v := ask(g.Join, Question{UserID: "ada", Room: "lobby"})
				if open && v.Err != nil || !open && (v.Err == nil || v.Err.Code != proto.ErrHookDown) {
					t.Fatalf("open %v: the answer is %v", open, v.Err)
				}
				time.Sleep(time.Second)
			}
			if n := d.questions(); n < 15 || n > 30 {
				t.Errorf("asked %d times in 5 minutes; 10 and then ever more seldom were expected", n)
			}
			down = false
			time.Sleep(30 * time.Second)
			if v := ask(g.Join, Question{}); v.Err == nil || v.Err.Code != proto.ErrRefused {
				t.Errorf("when it is back: %v", v.Err)
			}
			g.Close(t.Context())
		})
	}
}

// slowDecider answers when it is let, or when nobody waits any more.
type slowDecider struct{ release chan struct{} }

func (d slowDecider) RoundTrip(request *http.Request) (*http.Response, error) {
	select {
	case <-request.Context().Done():
		return nil, request.Context().Err()
	case <-d.release:
	}
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"allow":true}`))}, nil
}

// TestGateTimeout counts the waiting, too.
func TestGateTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGate(t, GateOptions{Timeout: time.Second, MaxConcurrent: 1, BreakAfter: 100}, nil)
		g.client.Transport = slowDecider{}
		began := time.Now()
		var answers atomic.Int64
		for range 3 {
			g.Join(Question{}, func(v Verdict) {
				if v.Err == nil || v.Err.Code != proto.ErrHookDown || time.Since(began) != time.Second {
					t.Errorf("after %v: %v", time.Since(began), v.Err)
				}
				answers.Add(1)
			})
		}
		time.Sleep(2 * time.Second)
		if answers.Load() != 3 {
			t.Errorf("%d answers to 3 questions", answers.Load())
		}
		g.Close(t.Context())
	})
}

// TestGateBound answers by the policy what it has no space for, and never on the
// caller's goroutine.
func TestGateBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGate(t, GateOptions{Timeout: time.Minute, MaxConcurrent: 2, MaxWaiting: 3}, nil)
		d := slowDecider{make(chan struct{})}
		g.client.Transport = d
		var lock sync.Mutex // the callers hold it, and the answers take it
		verdicts := make(map[string]int)
		put := func(n int) {
			for range n {
				lock.Lock()
				g.Join(Question{}, func(v Verdict) {
					lock.Lock()
					defer lock.Unlock()
					verdicts[fmt.Sprint(v.Err)]++
				})
				lock.Unlock()
			}
		}
		put(2)
		synctest.Wait()
		put(7)
		synctest.Wait()
		lock.Lock()
		if down := verdicts[fmt.Sprint(proto.ErrHookDown.New())]; down != 4 || len(verdicts) != 1 {
			t.Errorf("with no space: %v", verdicts)
		}
		lock.Unlock()
		close(d.release)
		synctest.Wait()
		if allowed := verdicts[fmt.Sprint((*proto.Error)(nil))]; allowed != 5 {
			t.Errorf("in the end: %v", verdicts)
		}
		g.Close(t.Context())
	})
}

// TestGateClose answers what waits when the end has come.
func TestGateClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGate(t, GateOptions{Timeout: time.Hour, MaxConcurrent: 2}, nil)
		g.client.Transport = slowDecider{}
		var stopped atomic.Int64
		for range 10 {
			g.Join(Question{}, func(v Verdict) {
				if v.Err != nil && v.Err.Code == proto.ErrShuttingDown {
					stopped.Add(1)
				}
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		g.Close(ctx)
		if stopped.Load() != 10 {
			t.Errorf("%d of 10 questions were answered with the end", stopped.Load())
		}
	})
}

// TestGateExactlyOnce asks a real server that fails at random from many
// goroutines: each question is answered, once.
func TestGateExactlyOnce(t *testing.T) {
	d := &decider{t: t}
	var n atomic.Int64
	d.decide = func(questionBody) (int, string) {
		switch n.Add(1) % 4 {
		case 0:
			panic(http.ErrAbortHandler)
		case 1:
			return 500, ""
		}
		return 200, `{"allow":true}`
	}
	server := httptest.NewServer(d)
	defer server.Close()
	g := newTestGate(t, GateOptions{URL: server.URL, MaxConcurrent: 8, MaxWaiting: 50, MinBreak: time.Millisecond, MaxBreak: time.Millisecond}, nil)
	const callers, each = 8, 200
	var answers [callers * each]atomic.Int64
	var calling sync.WaitGroup
	for c := range callers {
		calling.Go(func() {
			for i := range each {
				g.Publish(Question{UserID: "ada", Room: "lobby", Content: []byte("1")}, func(Verdict) { answers[c*each+i].Add(1) })
			}
		})
	}
	calling.Wait()
	g.Close(t.Context())
	for i := range answers {
		if answers[i].Load() != 1 {
			t.Fatalf("question %d was answered %d times", i, answers[i].Load())
		}
	}
}

func FuzzReadVerdict(f *testing.F) {
	f.Add([]byte(`{"allow":true,"content":"AQI="}`), true)
	f.Add([]byte(`{"allow":false,"reason":"x"}`), false)
	f.Fuzz(func(t *testing.T, body []byte, binary bool) {
		q := question{event: Message}
		if binary {
			q.Kind = proto.KindBytes
		}
		v, err := readVerdict(body, &q)
		if err == nil && v.Content != nil && !binary && !json.Valid(v.Content) {
			t.Fatalf("%s became content that is not JSON: %s", body, v.Content)
		}
	})
}
