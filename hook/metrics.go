package hook

import (
	"fmt"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// meters are those of all webhooks.
type meters struct {
	overflows     *metrics.Counter
	writeErrors   *metrics.Counter
	historyErrors *metrics.Counter
	audits        *metrics.Counter
}

func newMeters(set *metrics.Set) *meters {
	return &meters{
		overflows:     set.GetOrCreateCounter("throng_webhook_intake_overflows_total"),
		writeErrors:   set.GetOrCreateCounter("throng_webhook_write_errors_total"),
		historyErrors: set.GetOrCreateCounter("throng_webhook_history_errors_total"),
		audits:        set.GetOrCreateCounter("throng_webhook_audits_total"),
	}
}

// endpointMeters are those of one endpoint.
type endpointMeters struct {
	events  [eventCount]*metrics.Counter
	results map[string]*metrics.Counter
	seconds *metrics.Histogram

	buried        *metrics.Counter
	droppedFull   *metrics.Counter
	droppedIntake *metrics.Counter
	droppedDead   *metrics.Counter

	set    *metrics.Set
	gauges []string
}

// The results of a delivery, as metrics name them.
const (
	resultOK      = "ok"
	resultRetry   = "retry"
	resultRefused = "refused"
	resultOwn     = "internal"
)

func newEndpointMeters(set *metrics.Set, ep *endpoint) *endpointMeters {
	labels := fmt.Sprintf("endpoint=%q", ep.Name)
	counter := func(name, more string) *metrics.Counter {
		return set.GetOrCreateCounter(name + "{" + labels + more + "}")
	}
	m := &endpointMeters{
		results:       make(map[string]*metrics.Counter),
		seconds:       set.GetOrCreateHistogram("throng_webhook_delivery_seconds{" + labels + "}"),
		buried:        counter("throng_webhook_dead_total", ""),
		droppedFull:   counter("throng_webhook_dropped_total", `,reason="full"`),
		droppedIntake: counter("throng_webhook_dropped_total", `,reason="intake"`),
		droppedDead:   counter("throng_webhook_dropped_total", `,reason="dead"`),
		set:           set,
	}
	for kind := Gap; kind < eventCount; kind++ {
		m.events[kind] = counter("throng_webhook_events_total", fmt.Sprintf(",event=%q", kind))
	}
	for _, result := range []string{resultOK, resultRetry, resultRefused, resultOwn} {
		m.results[result] = counter("throng_webhook_deliveries_total", fmt.Sprintf(",result=%q", result))
	}
	gauge := func(name string, read func() float64) {
		name += "{" + labels + "}"
		set.NewGauge(name, func() float64 {
			ep.mu.Lock()
			defer ep.mu.Unlock()
			return read()
		})
		m.gauges = append(m.gauges, name)
	}
	gauge("throng_webhook_waiting", func() float64 { return float64(ep.waiting) })
	gauge("throng_webhook_dead", func() float64 { return float64(len(ep.dead)) })
	gauge("throng_webhook_oldest_seconds", func() float64 {
		if ep.oldest == nil {
			return 0
		}
		return max(0, ep.opts.Now().Sub(time.UnixMilli(ep.oldest.queued)).Seconds())
	})
	gauge("throng_webhook_circuit_open", func() float64 {
		if ep.breaker.opens > 0 || ep.disabled {
			return 1
		}
		return 0
	})
	return m
}

// observe counts a delivery.
func (m *endpointMeters) observe(o outcome, began time.Time) {
	result := resultRetry
	switch {
	case o.ok:
		result = resultOK
	case o.own:
		result = resultOwn
	case o.refused:
		result = resultRefused
	}
	m.results[result].Inc()
	if !o.own {
		m.seconds.UpdateDuration(began)
	}
}

// close takes the gauges out of the set.
func (m *endpointMeters) close() {
	for _, name := range m.gauges {
		m.set.UnregisterMetric(name)
	}
}
