// Package api answers what comes over plain HTTP: the REST API under /api/v1,
// health, metrics, and the page. It holds no state but its metrics: what a
// request asks for is carried out by the rooms, the sessions and the accounts,
// under the same rules as a WebSocket's commands. It never decides by itself
// who may do what.
//
// A request goes through Handler to the route of its path and method, which
// says who may ask (route.go); call.go is what all requests have in common.
// Errors are proto's, answered as RFC 9457 has it (problem.go).
package api

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/go-json-experiment/json"

	"github.com/thronghq/throng/internal/budget"
	"github.com/thronghq/throng/proto"
)

// The defaults of Options.
const (
	DefaultBodyBytes = 1 << 20
	DefaultTimeout   = 30 * time.Second
)

// Options says what the handler serves.
type Options struct {
	Ready   func() *proto.Error // nil while the server takes connections and publishes
	Metrics *metrics.Set
	Page    http.Handler // everything that is not the API's
	Sockets []string     // the paths that take WebSocket upgrades

	// The API. Without Sessions there is none; with it Hub, Verifier and
	// Authorizer must be set.
	Sessions    Sessions
	Hub         Rooms
	Verifier    Verifier
	Authorizer  Authorizer
	Accounts    Accounts         // nil: this server keeps none, and their paths are not found
	Webhooks    Webhooks         // nil: none are configured, and their paths are not found
	Docs        http.Handler     // the API's description, below /api/v1; nil for none
	Info        Info             // what GET /server tells
	Stats       func() Stats     // what GET /server/stats tells beside what Sessions and Metrics know; nil for nothing
	Drain       func()           // begins the drain; it must not block. nil: POST /drain is not found
	Limits      *proto.Limits    // nil: the defaults
	Origins     []string         // whose pages may use the API beside the server's own; "*" for any
	Dev         bool             // ?user=NAME admits that user without a token
	BodyBytes   int64            // of a request; 0 means DefaultBodyBytes
	StreamBytes int64            // that may wait for the readers of all streams together; 0 for no bound
	BodiesBytes int64            // of the bodies of all requests under way together; 0 for no bound
	Timeout     time.Duration    // of a request that does not stream; 0 means DefaultTimeout
	Memory      Memory           // counts what streams and bodies hold; nil: no bound
	Now         func() time.Time // nil: time.Now
	Logger      *slog.Logger     // nil: none
}

func (o Options) withDefaults() Options {
	if o.Limits == nil {
		limits := proto.DefaultLimits()
		o.Limits = &limits
	}
	if o.BodyBytes == 0 {
		o.BodyBytes = DefaultBodyBytes
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Memory == nil {
		o.Memory = budget.New(0, nil)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// API answers requests below /api/. It is safe for concurrent use.
type API struct {
	Options
	mux          *http.ServeMux
	codec        *proto.JSON
	origins      origins
	crossOrigins *http.CrossOriginProtection
	meters       *meters
	boxes        streamBoxes
	streamed     *budget.Kind // what they hold
	bodies       *budget.Kind // what requests under way have sent
}

func newAPI(o Options) *API {
	a := &API{
		Options: o, codec: proto.NewJSON(o.Limits), origins: newOrigins(o.Origins),
		crossOrigins: http.NewCrossOriginProtection(), meters: newMeters(o.Metrics),
	}
	a.streamed, a.bodies = o.Memory.Kind("streams"), o.Memory.Kind("bodies")
	o.Memory.Watch(a.boxes.holders)
	a.mux = newMux(a, Routes())
	return a
}

// bodyLimit is how many bytes the body of a route's request may have.
func (a *API) bodyLimit(r *Route) int64 {
	if r.content {
		return a.BodyBytes
	}
	return min(a.BodyBytes, smallBody)
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{api: a, r: r, trace: traceID(r.Header.Get("Traceparent")), begun: a.Now()}
	c.w = &writer{ResponseWriter: w, call: c}
	a.meters.active.Add(1)
	defer a.meters.active.Add(-1)
	defer c.end()
	h := w.Header()
	h.Set("Trace-Id", c.trace)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if unclean(r.URL.EscapedPath()) {
		c.notFound(r) // the mux would redirect
		return
	}
	a.mux.ServeHTTP(c.w, r)
}

// unclean reports a path with empty segments or dots, which names nothing here.
// Dots in a room's name come escaped.
func unclean(path string) bool {
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if segment == "" || segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// Handler serves the API, /healthz, /readyz, /metrics and the page.
func Handler(o Options) http.Handler {
	o = o.withDefaults()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Ready(); err != nil {
			writeError(w, err)
			return
		}
		writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		o.Metrics.WritePrometheus(w)
		metrics.WriteProcessMetrics(w)
	})
	for _, path := range o.Sockets {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Upgrade", "websocket")
			writeError(w, proto.ErrBadHandshake.With("%s takes WebSocket upgrades only", path))
		})
	}
	mux.Handle("/", o.Page)
	if o.Sessions == nil {
		return mux
	}
	api := newAPI(o)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.EscapedPath(), "/api/") {
			api.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// writeError answers with an error of the registry, as the handshake does.
func writeError(w http.ResponseWriter, err *proto.Error) {
	writeJSON(w, statusOf(err), map[string]any{"error": map[string]string{"code": err.Name, "reason": err.Text()}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.MarshalWrite(w, v) // the client has gone: nobody is left to tell
}
