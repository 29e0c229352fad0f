package hook

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/proto"
)

// GateOptions says how a Gate works. URL and Secret must be set.
type GateOptions struct {
	URL    string
	Secret []byte // the key itself, see ParseSecret
	Events Events // what is asked about: of Connect, Join and Message, a publish

	Timeout   time.Duration // from the call to the answer, waiting included; 0 means 2 s
	FailOpen  bool          // where no answer comes, what was asked about is allowed; else it is refused
	MaxAnswer int64         // bytes of an answer; 0 means 128 KiB

	AllowPrivate bool // the URL may lead to a loopback, link-local or private address

	MaxConcurrent int           // questions under way; 0 means 64
	MaxWaiting    int           // questions that may wait; past it there is no answer; 0 means 10,000
	BreakAfter    int           // failures in a row after which nothing is asked for a while; 0 means 10
	MinBreak      time.Duration // how long at first; 0 means 1 s
	MaxBreak      time.Duration // and at most; 0 means 30 s

	Logger  *slog.Logger     // nil means none
	Metrics *metrics.Set     // nil registers nowhere
	Now     func() time.Time // nil means time.Now
}

func (o GateOptions) withDefaults() GateOptions {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxAnswer == 0 {
		o.MaxAnswer = 128 << 10
	}
	setDefault(&o.Timeout, 2*time.Second)
	setDefault(&o.MaxConcurrent, 64)
	setDefault(&o.MaxWaiting, 10_000)
	setDefault(&o.BreakAfter, 10)
	setDefault(&o.MinBreak, time.Second)
	setDefault(&o.MaxBreak, 30*time.Second)
	return o
}

// Question is what the gate is asked. Which fields count depends on what it is
// about.
type Question struct {
	UserID    string
	SessionID string // "" for who has none, such as over REST
	Address   string // "" for unknown

	DeviceType, DeviceOS string // connect

	Room string // join, publish

	// Of a publish. Content must not change until the answer has come.
	Kind      proto.Kind
	Content   []byte
	Transient bool
}

// Verdict is the answer. Err is nil where it is allowed. Content, where not nil,
// is what a publish's content is to be, of the same kind; it belongs to the
// receiver.
type Verdict struct {
	Err     *proto.Error
	Content []byte
}

// Gate asks an endpoint before something happens. Its methods never block; each
// question is answered exactly once, on a goroutine that is not the caller's, and
// questions overtake one another. It is safe for concurrent use.
type Gate struct {
	// Static after NewGate.
	opts   GateOptions
	client *http.Client
	log    *slog.Logger
	meters *gateMeters
	ctx    context.Context // of the questions; its end cuts them short
	abort  context.CancelFunc

	mu      sync.Mutex
	waiting []question // a queue
	running int        // workers
	breaker breaker
	closed  bool

	workers sync.WaitGroup
}

// question is one that waits.
type question struct {
	Question
	event    Event
	asked    time.Time
	deadline time.Time
	done     func(Verdict)
}

// NewGate returns a gate, or an error where its target cannot be one.
func NewGate(o GateOptions) (*Gate, error) {
	o = o.withDefaults()
	if err := checkTarget(o.URL, o.Secret); err != nil {
		return nil, err
	}
	g := &Gate{
		opts: o, client: newClient(o.AllowPrivate, o.MaxConcurrent), log: o.Logger,
		breaker: breaker{after: o.BreakAfter, first: o.MinBreak, longest: o.MaxBreak},
	}
	g.ctx, g.abort = context.WithCancel(context.Background())
	g.meters = newGateMeters(o.Metrics, g)
	return g, nil
}

// Wants reports whether anything is asked about a kind of event: Connect, Join, or
// Message for a publish. Callers need not call the gate about others.
func (g *Gate) Wants(kind Event) bool { return g.opts.Events.Has(kind) }

// Connect asks whether a user may connect.
func (g *Gate) Connect(q Question, done func(Verdict)) { g.ask(Connect, q, done) }

// Join asks whether a user may join a room.
func (g *Gate) Join(q Question, done func(Verdict)) { g.ask(Join, q, done) }

// Publish asks whether a user may publish a message, and with which content.
func (g *Gate) Publish(q Question, done func(Verdict)) { g.ask(Message, q, done) }

// ask queues a question. Where there is no space for it, or nothing to be asked,
// the answer has a goroutine of its own: how many there are is bounded by how many
// questions the callers have.
func (g *Gate) ask(kind Event, q Question, done func(Verdict)) {
	now := g.opts.Now()
	one := question{Question: q, event: kind, asked: now, deadline: now.Add(g.opts.Timeout), done: done}
	g.mu.Lock()
	switch {
	case g.closed:
		g.mu.Unlock()
		go done(Verdict{Err: proto.ErrShuttingDown.New()})
		return
	case !g.Wants(kind):
		g.workers.Go(func() { done(Verdict{}) })
	case len(g.waiting) >= g.opts.MaxWaiting:
		g.workers.Go(func() { g.answer(&one, g.fallback(), resultFull) })
	default:
		g.waiting = append(g.waiting, one)
		if g.running < g.opts.MaxConcurrent {
			g.running++
			g.workers.Go(g.work)
		}
	}
	g.mu.Unlock()
}

// work answers questions until none waits.
func (g *Gate) work() {
	for {
		g.mu.Lock()
		if len(g.waiting) == 0 {
			g.waiting = nil
			g.running--
			g.mu.Unlock()
			return
		}
		q := g.waiting[0]
		g.waiting[0] = question{}
		g.waiting = g.waiting[1:]
		wait, ok := g.breaker.wait(g.opts.Now())
		passes := ok && wait == 0
		probe := passes && g.breaker.pass()
		g.mu.Unlock()
		if !passes {
			g.answer(&q, g.fallback(), resultOpen)
			continue
		}
		v, result := g.put(&q, probe)
		g.answer(&q, v, result)
	}
}

// answer tells the caller, and counts.
func (g *Gate) answer(q *question, v Verdict, result string) {
	g.meters.count(q.event, result)
	g.meters.seconds.Update(g.opts.Now().Sub(q.asked).Seconds())
	q.done(v)
}

// fallback is the answer where none came.
func (g *Gate) fallback() Verdict {
	if g.opts.FailOpen {
		return Verdict{}
	}
	return Verdict{Err: proto.ErrHookDown.New()}
}

// put puts a question to the endpoint.
func (g *Gate) put(q *question, probe bool) (Verdict, string) {
	ctx, cancel := context.WithTimeout(g.ctx, q.deadline.Sub(g.opts.Now()))
	defer cancel()
	v, err := g.exchange(ctx, q)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		switch {
		case g.ctx.Err() != nil:
			g.breaker.abandon(probe)
			return Verdict{Err: proto.ErrShuttingDown.New()}, resultStopped
		case g.breaker.failure(g.opts.Now(), probe):
			g.log.Warn("the hook does not answer: it is not asked for a while",
				slog.Duration("for", g.breaker.opens), slog.String("error", shorten(err.Error())), slog.Bool("allowing", g.opts.FailOpen))
		}
		return g.fallback(), resultFailed
	}
	if g.breaker.success() {
		g.log.Info("the hook answers again")
	}
	if v.Err != nil {
		return v, resultRefused
	}
	return v, resultAllowed
}

// Close ends the gate: what waits is still asked until ctx ends, and then answered
// with shutting_down, as is everything that comes later.
func (g *Gate) Close(ctx context.Context) {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.workers.Wait()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		g.abort()
		<-ended
	}
	g.abort()
	g.client.CloseIdleConnections()
	g.meters.close()
}
