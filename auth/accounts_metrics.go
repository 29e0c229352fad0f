package auth

import "github.com/VictoriaMetrics/metrics"

// accountsTelemetry is the metrics of accounts.
type accountsTelemetry struct {
	logins        map[string]*metrics.Counter // by result, see loginResult
	refreshes     map[string]*metrics.Counter // by result
	registrations *metrics.Counter
	sessionsEnded *metrics.Counter

	throttled       map[string]*metrics.Counter // by what was exceeded
	hashesRefused   *metrics.Counter
	hashFailures    *metrics.Counter
	hashSeconds     *metrics.Histogram
	hashWaitSeconds *metrics.Histogram

	set    *metrics.Set
	gauges []string
}

func newAccountsTelemetry(set *metrics.Set) *accountsTelemetry {
	byLabel := func(name, label string, values ...string) map[string]*metrics.Counter {
		counters := make(map[string]*metrics.Counter, len(values))
		for _, value := range values {
			counters[value] = set.GetOrCreateCounter(name + `{` + label + `="` + value + `"}`)
		}
		return counters
	}
	return &accountsTelemetry{
		logins:          byLabel("throng_accounts_logins_total", "result", "ok", "invalid", "disabled", "throttled", "overloaded", "failed"),
		refreshes:       byLabel("throng_accounts_refreshes_total", "result", "ok", "invalid", "expired", "reused", "failed"),
		registrations:   set.GetOrCreateCounter("throng_accounts_registrations_total"),
		sessionsEnded:   set.GetOrCreateCounter("throng_accounts_sessions_ended_total"),
		throttled:       byLabel("throng_accounts_throttled_total", "by", "pair", "address", "account"),
		hashesRefused:   set.GetOrCreateCounter("throng_accounts_hashes_refused_total"),
		hashSeconds:     set.GetOrCreateHistogram("throng_accounts_hash_seconds"),
		hashFailures:    set.GetOrCreateCounter("throng_accounts_hash_failures_total"),
		hashWaitSeconds: set.GetOrCreateHistogram("throng_accounts_hash_wait_seconds"),
		set:             set,
	}
}

// exportGauges registers the gauges that read the accounts.
func (t *accountsTelemetry) exportGauges(a *Accounts) {
	gauge := func(name string, f func() int) {
		t.set.NewGauge(name, func() float64 { return float64(f()) })
		t.gauges = append(t.gauges, name)
	}
	gauge("throng_accounts_hashes_waiting", func() int { return len(a.hasher.jobs) })
	gauge("throng_accounts_hashes_running", func() int { return int(a.hasher.running.Load()) })
	gauge("throng_accounts_throttle_entries", a.throttle.size)
	gauge("throng_accounts_revocations", a.revoked.size)
	gauge("throng_accounts_keys", a.keys.size)
}

// close takes the gauges out of the set.
func (t *accountsTelemetry) close() {
	for _, name := range t.gauges {
		t.set.UnregisterMetric(name)
	}
}
