package hook

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/proto"
)

// questionBody is what is asked.
type questionBody struct {
	ID        string          `json:"id"`
	Event     string          `json:"event"` // connect, join, publish
	Timestamp int64           `json:"timestamp"`
	UserID    string          `json:"userId"`
	SessionID string          `json:"sessionId,omitempty"`
	Address   string          `json:"address,omitempty"`
	Device    *device         `json:"deviceInfo,omitempty"`
	Room      string          `json:"room,omitempty"`
	Content   json.RawMessage `json:"content,omitempty"`
	Encoding  string          `json:"encoding,omitempty"`
	Transient bool            `json:"transient,omitempty"`
}

// verdictBody is what is answered.
type verdictBody struct {
	Allow   *bool           `json:"allow"`
	Reason  string          `json:"reason"`
	Content json.RawMessage `json:"content"`
}

const encodingBase64 = "base64"

// exchange asks and reads the answer. An error means that there is none.
func (g *Gate) exchange(ctx context.Context, q *question) (Verdict, error) {
	now := g.opts.Now()
	b := questionBody{
		ID: randomID("ask_"), Event: gateEvent(q.event), Timestamp: now.UnixMilli(), UserID: q.UserID, SessionID: q.SessionID,
		Address: q.Address, Room: q.Room, Transient: q.Transient,
	}
	if q.event == Connect {
		b.Device = &device{q.DeviceType, q.DeviceOS}
	}
	if q.event == Message {
		b.Content = q.Content
		if q.Kind == proto.KindBytes {
			b.Encoding = encodingBase64
			b.Content = append(base64.StdEncoding.AppendEncode([]byte{'"'}, q.Content), '"')
		}
	}
	body, err := json.Marshal(b)
	if err != nil {
		return Verdict{}, err
	}
	a, err := post(ctx, g.client, target{g.opts.URL, g.opts.Secret}, b.ID, now, body, g.opts.MaxAnswer)
	switch {
	case err != nil:
		return Verdict{}, err
	case a.status != http.StatusOK:
		return Verdict{}, fmt.Errorf("hook: the endpoint answered %d, not 200", a.status)
	case a.cut:
		return Verdict{}, fmt.Errorf("hook: the endpoint's answer is larger than %d bytes", g.opts.MaxAnswer)
	}
	return readVerdict(a.body, q)
}

// gateEvent is how the gate's endpoint knows an event.
func gateEvent(kind Event) string {
	if kind == Message {
		return "publish"
	}
	return kind.String()
}

// readVerdict reads an answer.
func readVerdict(body []byte, q *question) (Verdict, error) {
	var b verdictBody
	if err := json.Unmarshal(body, &b); err != nil {
		return Verdict{}, fmt.Errorf("hook: the endpoint's answer is not what it should be: %w", err)
	}
	switch {
	case b.Allow == nil:
		return Verdict{}, errors.New(`hook: the endpoint's answer lacks "allow"`)
	case !*b.Allow:
		refusal := proto.ErrRefused.New()
		if b.Reason != "" {
			refusal.Detail = shorten(b.Reason)
		}
		return Verdict{Err: refusal}, nil
	case b.Content == nil || string(b.Content) == "null" || q.event != Message:
		return Verdict{}, nil
	case q.Kind != proto.KindBytes:
		return Verdict{Content: b.Content}, nil
	}
	var text string
	if err := json.Unmarshal(b.Content, &text); err != nil {
		return Verdict{}, errors.New("hook: the content that the endpoint answered is not a string of base64")
	}
	content, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return Verdict{}, fmt.Errorf("hook: the content that the endpoint answered is not base64: %w", err)
	}
	return Verdict{Content: content}, nil
}

// The results of a question, as metrics name them, beside resultRefused.
const (
	resultAllowed = "allowed"
	resultFailed  = "failed"       // no answer, or none that makes sense
	resultOpen    = "circuit_open" // not asked after failures
	resultFull    = "full"         // not asked for want of space
	resultStopped = "stopped"      // the server stops
)

// gateMeters are the gate's metrics.
type gateMeters struct {
	results map[Event]map[string]*metrics.Counter
	seconds *metrics.Histogram

	set    *metrics.Set
	gauges []string
}

func newGateMeters(set *metrics.Set, g *Gate) *gateMeters {
	m := &gateMeters{results: make(map[Event]map[string]*metrics.Counter), seconds: set.GetOrCreateHistogram("throng_hook_seconds"), set: set}
	for _, kind := range []Event{Connect, Join, Message} {
		m.results[kind] = make(map[string]*metrics.Counter)
		for _, result := range []string{resultAllowed, resultRefused, resultFailed, resultOpen, resultFull, resultStopped} {
			m.results[kind][result] = set.GetOrCreateCounter(fmt.Sprintf("throng_hook_questions_total{event=%q,result=%q}", gateEvent(kind), result))
		}
	}
	gauge := func(name string, read func() float64) {
		set.NewGauge(name, func() float64 {
			g.mu.Lock()
			defer g.mu.Unlock()
			return read()
		})
		m.gauges = append(m.gauges, name)
	}
	gauge("throng_hook_waiting", func() float64 { return float64(len(g.waiting)) })
	gauge("throng_hook_circuit_open", func() float64 {
		if g.breaker.opens > 0 {
			return 1
		}
		return 0
	})
	return m
}

func (m *gateMeters) count(kind Event, result string) { m.results[kind][result].Inc() }

// close takes the gauges out of the set.
func (m *gateMeters) close() {
	for _, name := range m.gauges {
		m.set.UnregisterMetric(name)
	}
}
