package bench

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// result is what a benchmark found: the JSON object that it prints. A field
// that a benchmark does not measure is left out or 0.
type result struct {
	Benchmark string  `json:"benchmark"`
	Options   options `json:"options"`

	Seconds    float64    `json:"seconds"` // from the first send to the last arrival
	Sent       uint64     `json:"sent"`
	Delivered  uint64     `json:"delivered"`
	Rate       float64    `json:"delivered_per_second"`
	Bytes      uint64     `json:"bytes"`                // of payload, inflated
	Compressed uint64     `json:"compressed,omitempty"` // frames that came compressed
	Latency    quantiles  `json:"latency_ms"`
	Violations violations `json:"violations"`
	Lags       uint64     `json:"lags"`
	Refused    uint64     `json:"refused"`

	Server    *serverResult   `json:"server,omitempty"` // where its process is known
	Generator generatorResult `json:"generator"`

	Connections *connectionResult `json:"connections,omitempty"` // conn
	Append      *appendResult     `json:"append,omitempty"`      // append

	Rest *restResult `json:"rest,omitempty"` // rest

	Hold *holdResult `json:"hold,omitempty"` // hold

	Storm  *stormResult `json:"storm,omitempty"`  // storm
	Gauges *gauges      `json:"gauges,omitempty"` // storm, and fanout with slow readers

	// LimitedBy is "generator" where the generator could not do more, so
	// that rates and latencies say nothing of the server; "" otherwise.
	LimitedBy string `json:"limited_by"`
	Why       string `json:"limited_by_why,omitempty"`
}

// serverResult is what the server's process used.
type serverResult struct {
	PID            int     `json:"pid"`
	Cores          int     `json:"cores"` // that it may run on
	UserSeconds    float64 `json:"cpu_user_seconds"`
	SystemSeconds  float64 `json:"cpu_system_seconds"`
	Busy           float64 `json:"busy"` // of its cores, 0 to 1
	CPUPerDelivery float64 `json:"cpu_us_per_delivery"`
	PSSBefore      int64   `json:"pss_before_bytes"` // before the first connection
	PSSAfter       int64   `json:"pss_after_bytes"`
	PSSPeak        int64   `json:"pss_peak_bytes"` // as seen twice a second
}

// generatorResult is what the generator itself used.
type generatorResult struct {
	CPUSeconds float64 `json:"cpu_seconds"`
	Busy       float64 `json:"busy"` // of one core, the busiest process
	LateSends  uint64  `json:"late_sends"`
}

// connectionResult is what connections cost the server.
type connectionResult struct {
	OpenedPerSecond float64 `json:"opened_per_second"` // handshake, session and join
	CPUPerOpen      float64 `json:"cpu_us_per_open"`
	IdlePSS         float64 `json:"idle_pss_bytes"`          // each, beyond the empty server
	AfterPSS        float64 `json:"after_message_pss_bytes"` // each, after a message in every room
	IdleRSS         float64 `json:"idle_rss_bytes"`          // the same as RSS
	AfterRSS        float64 `json:"after_message_rss_bytes"`
}

// newResult makes a result of what was counted between two moments.
func newResult(t *tally, elapsed time.Duration, s *server) *result {
	seconds := elapsed.Seconds()
	r := &result{
		Seconds: seconds, Sent: t.Sent, Delivered: t.Delivered, Rate: float64(t.Delivered) / seconds, Bytes: t.Bytes, Compressed: t.Compressed,
		Latency: t.Latency.quantiles(), Violations: t.Violations, Lags: t.Lags, Refused: t.Refused,
		Generator: generatorResult{CPUSeconds: t.CPU, Busy: t.BusiestCPU / seconds, LateSends: t.Late},
	}
	if s != nil {
		r.Server = s.result(seconds, t.Delivered)
	}
	r.judge()
	return r
}

// The generator is the limit where it had no CPU left while the server had, or
// where it sent too many messages too late.
const (
	saturated   = 0.95
	lateAllowed = 0.01
)

func (r *result) judge() {
	late := float64(r.Generator.LateSends) > lateAllowed*float64(r.Sent)
	serverBusy := r.Server != nil && r.Server.Busy >= saturated
	switch {
	case r.Generator.Busy >= saturated && !serverBusy:
		r.LimitedBy, r.Why = "generator", fmt.Sprintf("it used %.0f%% of a core, and the server had CPU left", 100*r.Generator.Busy)
	case late && !serverBusy:
		r.LimitedBy, r.Why = "generator", fmt.Sprintf("%d of %d sends were more than %v late", r.Generator.LateSends, r.Sent, time.Duration(lateSend))
	}
}

func (r *result) table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("benchmark", "%s, %s, %d connections in %d rooms", r.Benchmark, r.Options.Codec, r.Options.Conns, r.Options.Rooms)
	row("time", "%.2f s", r.Seconds)
	row("sent", "%d", r.Sent)
	row("delivered", "%d, %.0f/s", r.Delivered, r.Rate)
	if r.Options.Deflate {
		row("compressed", "%d frames", r.Compressed)
	}
	row("latency", "p50 %.3f ms, p99 %.3f ms, p99.9 %.3f ms, max %.3f ms", r.Latency.P50, r.Latency.P99, r.Latency.P999, r.Latency.Max)
	row("violations", "%d lost, %d duplicates, %d out of order; %d missed and told so, %d lags, %d refused",
		r.Violations.Lost, r.Violations.Duplicates, r.Violations.Order, r.Violations.Told, r.Lags, r.Refused)
	if s := r.Server; s != nil {
		row("server CPU", "%.2f s user, %.2f s system, %.0f%% of %d cores, %.3f µs a delivery", s.UserSeconds, s.SystemSeconds, 100*s.Busy, s.Cores, s.CPUPerDelivery)
		row("server PSS", "%.1f MiB before, %.1f MiB after, %.1f MiB at most", mib(s.PSSBefore), mib(s.PSSAfter), mib(s.PSSPeak))
	}
	if c := r.Connections; c != nil {
		row("connections", "%.0f opened a second, %.1f µs of server CPU each", c.OpenedPerSecond, c.CPUPerOpen)
		row("PSS of each", "%.0f bytes idle, %.0f bytes after a message in every room", c.IdlePSS, c.AfterPSS)
		row("RSS of each", "%.0f bytes idle, %.0f bytes after a message in every room", c.IdleRSS, c.AfterRSS)
	}
	if a := r.Append; a != nil {
		row("appended", "%.0f messages/s, %.3f µs of CPU each", a.PerSecond, a.CPUPerMessage)
		if a.File != nil {
			row("plain file", "%.0f messages/s, %.3f µs of CPU each", a.File.PerSecond, a.File.CPUPerMessage)
		}
	}
	if r.Rest != nil {
		r.Rest.rows(row)
	}
	if r.Hold != nil {
		r.Hold.rows(row)
	}
	if r.Storm != nil {
		r.Storm.rows(row)
	}
	if r.Gauges != nil {
		r.Gauges.rows(row)
	}
	row("generator CPU", "%.2f s, %.0f%% of a core, %d late sends", r.Generator.CPUSeconds, 100*r.Generator.Busy, r.Generator.LateSends)
	if r.LimitedBy != "" {
		row("LIMITED BY", "the %s: %s", r.LimitedBy, r.Why)
	}
	_ = w.Flush() // a strings.Builder does not fail
	return b.String()
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
