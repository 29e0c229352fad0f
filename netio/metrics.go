package netio

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gobwas/ws"

	"github.com/thronghq/throng/proto"
)

// loopStats counts what happens often, per loop, so that cores do not contend
// for the counters.
type loopStats struct {
	_          [64]byte
	framesIn   atomic.Uint64
	bytesIn    atomic.Uint64
	framesOut  atomic.Uint64 // replies and control frames
	bytesOut   atomic.Uint64
	writes     atomic.Uint64
	deliveries atomic.Uint64
	refused    atomic.Uint64
	pings      atomic.Uint64
	inflate    inflateStats
	_          [64]byte
}

// inflateStats counts the compressed messages that were read.
type inflateStats struct {
	messages atomic.Uint64
	bytesIn  atomic.Uint64 // compressed
	bytesOut atomic.Uint64
}

// coreStats counts what happens seldom.
type coreStats struct {
	set      *metrics.Set     // static
	upgraded *metrics.Counter // static: handshakes that were accepted

	opened       atomic.Int64 // upgraded connections
	accepted     atomic.Uint64
	acceptErrors atomic.Uint64
	exhausted    atomic.Uint64 // accepts that failed for want of descriptors or memory
	refused      atomic.Uint64 // connections closed at once because there are too many
	handOvers    atomic.Uint64
	adopted      atomic.Uint64
	tlsBroken    atomic.Uint64 // connections whose records could not be read

	mu     sync.Mutex
	closes map[ending]*metrics.Counter // guarded by mu
}

// ending is how a connection ended, as the metrics tell it: of the codes that
// peers may choose freely there are too many for a label each, and 3000 and 4000
// stand for all that begin like that.
type ending struct {
	cause CloseCause
	code  ws.StatusCode
}

func newCoreStats(set *metrics.Set) coreStats {
	set.GetOrCreateCounter(`throng_tls_handshakes_total{result="done"}`)
	return coreStats{
		set:      set,
		upgraded: set.GetOrCreateCounter(`throng_handshakes_total{result="accepted"}`),
		closes:   make(map[ending]*metrics.Counter),
	}
}

// tlsHandshake counts one TLS handshake by its result.
func (s *coreStats) tlsHandshake(result string) {
	s.set.GetOrCreateCounter(fmt.Sprintf("throng_tls_handshakes_total{result=%q}", result)).Inc()
}

// handshakeRefused counts one handshake by why it was refused.
func (s *coreStats) handshakeRefused(why string) {
	s.set.GetOrCreateCounter(fmt.Sprintf("throng_handshakes_total{result=%q}", why)).Inc()
}

// deflate counts one connection that agreed on permessage-deflate.
func (s *coreStats) deflate(w proto.Window) {
	name := "standard"
	if w == proto.SmallWindow {
		name = "small"
	}
	s.set.GetOrCreateCounter(fmt.Sprintf("throng_deflate_agreed_total{window=%q}", name)).Inc()
}

// closed counts one connection that was open.
func (s *coreStats) closed(cause CloseCause, code ws.StatusCode) {
	s.opened.Add(-1)
	if cause == CausePeer && code >= 3000 {
		code -= code % 1000
	}
	s.closedAs(ending{cause, code}).Inc()
}

// closedAs returns the counter of connections that ended like that.
func (s *coreStats) closedAs(how ending) *metrics.Counter {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.closes[how]
	if n == nil {
		label := fmt.Sprint(uint16(how.code))
		if how.cause == CausePeer && how.code >= 3000 {
			label = label[:1] + "xxx"
		}
		n = s.set.GetOrCreateCounter(fmt.Sprintf("throng_closes_total{cause=%q,code=%q}", how.cause, label))
		s.closes[how] = n
	}
	return n
}

// String returns the cause as the metrics name it.
func (c CloseCause) String() string {
	return [...]string{
		CausePeer:       "peer",
		CauseCut:        "cut",
		CauseProtocol:   "protocol",
		CauseServer:     "server",
		CauseHeartbeat:  "heartbeat",
		CauseReplies:    "replies",
		CauseShutdown:   "shutdown",
		CauseUnfinished: "unfinished",
	}[c]
}

// writeMetrics writes all that is not in the set as counters of its own.
func (s *Server) writeMetrics(w io.Writer) {
	sum := func(name string, of func(*loopStats) *atomic.Uint64) {
		var total uint64
		for _, l := range s.loops {
			total += of(&l.stats).Load()
		}
		metrics.WriteCounterUint64(w, name, total)
	}
	sum("throng_frames_in_total", func(st *loopStats) *atomic.Uint64 { return &st.framesIn })
	sum("throng_bytes_in_total", func(st *loopStats) *atomic.Uint64 { return &st.bytesIn })
	sum("throng_replies_total", func(st *loopStats) *atomic.Uint64 { return &st.framesOut })
	sum("throng_bytes_out_total", func(st *loopStats) *atomic.Uint64 { return &st.bytesOut })
	sum("throng_writes_total", func(st *loopStats) *atomic.Uint64 { return &st.writes })
	sum("throng_deliveries_total", func(st *loopStats) *atomic.Uint64 { return &st.deliveries })
	sum("throng_deliveries_refused_total", func(st *loopStats) *atomic.Uint64 { return &st.refused })
	sum("throng_pings_total", func(st *loopStats) *atomic.Uint64 { return &st.pings })
	sum("throng_inflate_messages_total", func(st *loopStats) *atomic.Uint64 { return &st.inflate.messages })
	sum("throng_inflate_bytes_in_total", func(st *loopStats) *atomic.Uint64 { return &st.inflate.bytesIn })
	sum("throng_inflate_bytes_out_total", func(st *loopStats) *atomic.Uint64 { return &st.inflate.bytesOut })

	st := &s.core.stats
	metrics.WriteCounterUint64(w, "throng_accepted_total", st.accepted.Load())
	metrics.WriteCounterUint64(w, "throng_accept_errors_total", st.acceptErrors.Load())
	metrics.WriteCounterUint64(w, "throng_accept_exhausted_total", st.exhausted.Load())
	metrics.WriteCounterUint64(w, "throng_accept_refused_total", st.refused.Load())
	metrics.WriteCounterUint64(w, "throng_http_handovers_total", st.handOvers.Load())
	metrics.WriteCounterUint64(w, "throng_http_adopted_total", st.adopted.Load())
	waiting, queued, refused := s.core.admission.counts()
	metrics.WriteGaugeUint64(w, "throng_admission_waiting", uint64(waiting))
	metrics.WriteCounterUint64(w, "throng_admission_queued_total", queued)
	metrics.WriteCounterUint64(w, "throng_admission_refused_total", refused)
	metrics.WriteCounterUint64(w, "throng_tls_broken_total", st.tlsBroken.Load())
	running, stalled := 0, 0
	if h := s.core.handshakes; h != nil {
		running, stalled = h.counts()
	}
	metrics.WriteGaugeFloat64(w, "throng_tls_handshakes_running", float64(running))
	metrics.WriteGaugeFloat64(w, "throng_tls_handshakes_waiting", float64(stalled))
	metrics.WriteGaugeFloat64(w, "throng_connections", float64(st.opened.Load()))
	metrics.WriteGaugeFloat64(w, "throng_sockets", float64(s.core.live.count()))
}
