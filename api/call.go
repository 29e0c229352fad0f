package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

// call is one request on its way through the API. It belongs to the goroutine
// that serves the request.
type call struct {
	api   *API
	w     *writer
	r     *http.Request
	trace string
	begun time.Time

	// Set as the request is understood.
	pattern  string // "" while nothing is found at the path
	route    *Route
	identity *auth.Identity // nil for anyone
	query    query
	held     int64 // bytes that are counted for the body
}

// writer counts what is answered.
type writer struct {
	http.ResponseWriter
	call   *call
	status int    // 0 before the answer
	bytes  int64  // of the body
	code   string // of the error that is answered, "" for none
}

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *writer) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController find flushing and deadlines.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// end runs after the request, whatever became of it: a panic in a handler is
// answered, counted and logged, and ends nothing but the request.
func (c *call) end() {
	failed := recover()
	c.api.bodies.Add(-c.held)
	if failed != nil && c.w.status == 0 && failed != http.ErrAbortHandler {
		c.fail(proto.ErrInternal.With("the server failed; its log has more under this trace_id"))
	}
	c.api.meters.observe(c)
	c.log()
	if failed == nil {
		return
	}
	if failed != http.ErrAbortHandler {
		c.api.Logger.LogAttrs(c.r.Context(), slog.LevelError, "a request made the server fail",
			slog.String("trace_id", c.trace), slog.String("method", c.r.Method), slog.String("route", c.pattern),
			slog.Any("panic", failed), slog.String("stack", string(debug.Stack())))
		if c.w.code == proto.ErrInternal.Name {
			return
		}
	}
	panic(http.ErrAbortHandler) // half an answer must not look like a whole one
}

// log tells of the request where the log's level asks for it. The query stays
// out: it may hold a token.
func (c *call) log() {
	logger, ctx := c.api.Logger, c.r.Context()
	if !logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	user := ""
	if c.identity != nil {
		user = c.identity.UserID
	}
	logger.LogAttrs(ctx, slog.LevelDebug, "request",
		slog.String("trace_id", c.trace), slog.String("method", c.r.Method), slog.String("path", c.r.URL.Path),
		slog.String("route", c.pattern), slog.Int("status", c.w.status), slog.String("code", c.w.code),
		slog.Int64("bytes", c.w.bytes), slog.Duration("took", c.api.Now().Sub(c.begun)),
		slog.String("user", user), slog.String("remote", c.r.RemoteAddr))
}

// limitTime bounds the request: the work by its context, a slow client by the
// connection's deadlines. Of a stream it bounds what comes before the stream, a
// body above all, which net/http would wait for before it answers. The caller
// calls stop.
func (c *call) limitTime() (stop func()) {
	// A moment more for each, so that an error about the time still gets out.
	const moment = time.Second
	end := time.Now().Add(c.api.Timeout)
	control := http.NewResponseController(c.w)
	_ = control.SetReadDeadline(end.Add(moment)) // a writer without deadlines is a test's
	if c.route.stream {
		return func() {}
	}
	_ = control.SetWriteDeadline(end.Add(2 * moment))
	ctx, stop := context.WithTimeoutCause(c.r.Context(), c.api.Timeout, errTimeout)
	c.r = c.r.WithContext(ctx)
	return stop
}

var errTimeout = errors.New("the request took longer than api.timeout")

// late is the error of a request whose context has ended.
func (c *call) late() *proto.Error {
	if errors.Is(context.Cause(c.r.Context()), errTimeout) {
		return proto.ErrOverloaded.With("the request took longer than %v; whether it was carried out is not known", c.api.Timeout)
	}
	return proto.ErrOverloaded.With("the request was given up")
}

// address is the client's, the zero value for a unix socket.
func (c *call) address() netip.Addr {
	at, _ := netip.ParseAddrPort(c.r.RemoteAddr)
	return at.Addr().Unmap()
}

// marshal encodes an answer. The types of answers are the package's own.
func marshal(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("api: answers are plain data: " + err.Error())
	}
	return text
}

// json answers with a value.
func (c *call) json(status int, v any) *proto.Error {
	c.write(status, "application/json", marshal(v))
	return nil
}

// done answers without a body.
func (c *call) done() *proto.Error {
	c.write(http.StatusNoContent, "", nil)
	return nil
}

// write sends a whole answer, whose body is borrowed.
func (c *call) write(status int, contentType string, body []byte) {
	h := c.w.Header()
	if contentType != "" {
		h.Set("Content-Type", contentType)
		if c.route != nil && c.route.gzip {
			body = c.compress(body)
		}
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	c.w.WriteHeader(status)
	if c.r.Method != http.MethodHead {
		_, _ = c.w.Write(body) // the client has gone: nobody is left to tell
	}
}

// await waits for the answer of something that calls back, once and on any
// goroutine, or for the end of the request.
func await[T any](c *call, start func(done func(T, *proto.Error))) (T, *proto.Error) {
	type result struct {
		value T
		err   *proto.Error
	}
	results := make(chan result, 1)
	start(func(value T, err *proto.Error) { results <- result{value, err} })
	select {
	case r := <-results:
		return r.value, r.err
	case <-c.r.Context().Done():
		var none T
		return none, c.late()
	}
}
