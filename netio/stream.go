package netio

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"

	"github.com/thronghq/throng/proto"
)

// acceptsEvents reports whether a request asks for server-sent events, as an
// EventSource does.
func acceptsEvents(r *http.Request) bool {
	for _, v := range r.Header.Values("Accept") {
		if strings.Contains(v, "text/event-stream") {
			return true
		}
	}
	return false
}

// streams are the requests whose answers have no end of their own. net/http
// would wait for them for as long as a shutdown may take. The zero value is
// ready; it is safe for concurrent use. It is bounded as net/http's connections
// are: a connection has one request at a time.
type streams struct {
	mu   sync.Mutex
	open map[*stream]struct{}
	over bool // a stream that begins now ends at once
}

// stream is one of them.
type stream struct{ end context.CancelCauseFunc }

// enter returns the context for a stream, and what must be called when it has
// ended.
func (s *streams) enter(parent context.Context) (ctx context.Context, done func()) {
	ctx, end := context.WithCancelCause(parent)
	st := &stream{end}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		st.shutDown()
	}
	if s.open == nil {
		s.open = make(map[*stream]struct{})
	}
	s.open[st] = struct{}{}
	return ctx, func() {
		s.mu.Lock()
		delete(s.open, st)
		s.mu.Unlock()
		end(nil)
	}
}

// close has streams that begin from now on end at once, and returns the others
// in random order.
func (s *streams) close() []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	all := make([]*stream, 0, len(s.open))
	for st := range s.open {
		all = append(all, st)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// shutDown ends the stream's context, which says why.
func (st *stream) shutDown() { st.end(proto.ErrShuttingDown.New()) }
