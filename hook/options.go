package hook

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/proto"
)

// Endpoint is a server that is told what happens.
type Endpoint struct {
	Name   string // 1 to 255 bytes; stands in stored records
	URL    string // http or https
	Secret []byte // the key itself, see ParseSecret
	Events Events // what it is told

	// Namespaces are those whose rooms' events it is told; none for all but
	// the users' inboxes, which must be named.
	Namespaces []string

	Timeout      time.Duration // of a delivery; 0 means 10 s
	MaxWaiting   int           // events that may wait, a run of messages counting as one; 0 means 100,000
	MaxAge       time.Duration // after which an event becomes a dead letter; 0 means 72 h
	AllowPrivate bool          // the URL may lead to a loopback, link-local or private address
}

// Options says how Webhooks work. Outbox and History must be set.
type Options struct {
	Endpoints []Endpoint
	Outbox    Outbox
	History   History

	// Logged reports whether a room's messages can be read from the history;
	// of others no message events are sent. Nil means all.
	Logged func(room string) bool

	Logger  *slog.Logger     // nil means none
	Metrics *metrics.Set     // nil registers nowhere
	Now     func() time.Time // nil means time.Now

	Memory   Account // counts what the queues hold; nil for nobody
	MaxBytes int64   // that all queues may hold, each an even part; past it the oldest events go; 0 for no bound

	Concurrency int           // deliveries under way to one endpoint; 0 means 8
	Intake      int           // events that may wait to be written; 0 means 65,536
	MaxDead     int           // dead letters of an endpoint; past it the oldest go; 0 means 10,000
	MinBackoff  time.Duration // before the first retry; 0 means 1 s
	MaxBackoff  time.Duration // between two tries; 0 means 10 min
	BreakAfter  int           // failures in a row that open an endpoint's circuit; 0 means 10
	MinBreak    time.Duration // how long it stays open at first; 0 means 5 s
	MaxBreak    time.Duration // and at most; 0 means 1 min
	Audit       time.Duration // how often the queues are compared with the rooms' logs; 0 means 1 h
}

// Account counts bytes of memory against the server's budget. It is safe for
// concurrent use.
type Account interface{ Add(bytes int64) }

// nobody counts for nobody.
type nobody struct{}

func (nobody) Add(int64) {}

func (o Options) withDefaults() Options {
	if o.Logged == nil {
		o.Logged = func(string) bool { return true }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Memory == nil {
		o.Memory = nobody{}
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = math.MaxInt64
	}
	setDefault(&o.Concurrency, 8)
	setDefault(&o.Intake, 65_536)
	setDefault(&o.MaxDead, 10_000)
	setDefault(&o.MinBackoff, time.Second)
	setDefault(&o.MaxBackoff, 10*time.Minute)
	setDefault(&o.BreakAfter, 10)
	setDefault(&o.MinBreak, 5*time.Second)
	setDefault(&o.MaxBreak, time.Minute)
	setDefault(&o.Audit, time.Hour)
	o.Endpoints = slices.Clone(o.Endpoints)
	for i := range o.Endpoints {
		e := &o.Endpoints[i]
		if len(e.Namespaces) == 0 {
			e.Namespaces = nil
		}
		setDefault(&e.Timeout, 10*time.Second)
		setDefault(&e.MaxWaiting, 100_000)
		setDefault(&e.MaxAge, 72*time.Hour)
	}
	return o
}

func setDefault[T int | time.Duration](v *T, value T) {
	if *v == 0 {
		*v = value
	}
}

// validate reports every endpoint that cannot be one.
func (o *Options) validate() error {
	var errs []error
	seen := make(map[string]bool)
	for i := range o.Endpoints {
		e := &o.Endpoints[i]
		if e.Name == "" || len(e.Name) > 255 {
			errs = append(errs, fmt.Errorf("hook: the endpoint's name %q has %d bytes; 1 to 255 are accepted", e.Name, len(e.Name)))
		}
		if seen[e.Name] {
			errs = append(errs, fmt.Errorf("hook: the endpoint %q is given twice", e.Name))
		}
		seen[e.Name] = true
		if err := checkTarget(e.URL, e.Secret); err != nil {
			errs = append(errs, fmt.Errorf("hook: the endpoint %q: %w", e.Name, err))
		}
		if e.Timeout < 0 || e.MaxWaiting < 0 || e.MaxAge < 0 {
			errs = append(errs, fmt.Errorf("hook: the endpoint %q has a bound below 0", e.Name))
		}
	}
	return errors.Join(errs...)
}

// checkTarget says what is wrong with where something is to be sent.
func checkTarget(address string, secret []byte) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return errors.New("the URL cannot be parsed")
	case (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return fmt.Errorf("%q is not an http or https URL with a host", u.Redacted())
	case len(secret) == 0:
		return errors.New("there is no secret to sign with")
	}
	_, err = http.NewRequest(http.MethodPost, address, nil)
	return err
}

// covers reports whether the endpoint is told of a kind of event in a namespace,
// which is "" for connections.
func (e *Endpoint) covers(kind Event, namespace string) bool {
	switch {
	case !e.Events.Has(kind):
		return false
	case kind == Connect || kind == Disconnect:
		return true
	case e.Namespaces == nil:
		return namespace != proto.UserNamespace
	}
	return slices.Contains(e.Namespaces, namespace)
}
