package storage

import (
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"
	"github.com/cockroachdb/pebble/v2"
)

// telemetry is the store's metrics. Gauges that cost a look at the disk or into
// Pebble are sampled by the space watcher and only read here.
type telemetry struct {
	batchMessages *metrics.Histogram
	batchBytes    *metrics.Histogram
	commitSeconds *metrics.Histogram
	syncSeconds   *metrics.Histogram

	messages          *metrics.Counter
	reads             *metrics.Counter
	readErrors        *metrics.Counter
	refusedOverloaded *metrics.Counter
	refusedFull       *metrics.Counter
	refusedFailed     *metrics.Counter
	refusedClosed     *metrics.Counter
	stalls            *metrics.Counter
	writeStalls       *metrics.Counter
	backgroundErrors  *metrics.Counter
	corruptions       *metrics.Counter
	excised           *metrics.Counter
	trims             *metrics.Counter
	tombstones        *metrics.Counter

	freeBytes, diskBytes, l0Files, debtBytes atomic.Uint64

	backgroundLogged atomic.Int64 // the second in which a background error was logged last

	set    *metrics.Set
	gauges []string
}

func newTelemetry(set *metrics.Set) *telemetry {
	refused := func(reason string) *metrics.Counter {
		return set.GetOrCreateCounter(`throng_storage_refused_total{reason="` + reason + `"}`)
	}
	return &telemetry{
		batchMessages:     set.GetOrCreateHistogram("throng_storage_batch_messages"),
		batchBytes:        set.GetOrCreateHistogram("throng_storage_batch_bytes"),
		commitSeconds:     set.GetOrCreateHistogram("throng_storage_append_seconds"),
		syncSeconds:       set.GetOrCreateHistogram("throng_storage_fsync_seconds"),
		messages:          set.GetOrCreateCounter("throng_storage_messages_total"),
		reads:             set.GetOrCreateCounter("throng_storage_reads_total"),
		readErrors:        set.GetOrCreateCounter("throng_storage_read_errors_total"),
		refusedOverloaded: refused("overloaded"),
		refusedFull:       refused("storage_full"),
		refusedFailed:     refused("storage_failed"),
		refusedClosed:     refused("shutting_down"),
		stalls:            set.GetOrCreateCounter("throng_storage_sync_stalls_total"),
		writeStalls:       set.GetOrCreateCounter("throng_storage_write_stalls_total"),
		backgroundErrors:  set.GetOrCreateCounter("throng_storage_background_errors_total"),
		corruptions:       set.GetOrCreateCounter("throng_storage_corruptions_total"),
		excised:           set.GetOrCreateCounter("throng_storage_expired_buckets_total"),
		trims:             set.GetOrCreateCounter("throng_storage_trims_total"),
		tombstones:        set.GetOrCreateCounter("throng_storage_tombstones_total"),
		set:               set,
	}
}

// exportGauges registers the gauges that read the store.
func (t *telemetry) exportGauges(s *Store) {
	gauge := func(name string, f func() float64) {
		t.set.NewGauge(name, f)
		t.gauges = append(t.gauges, name)
	}
	gauge("throng_storage_queued_messages", func() float64 { n, _ := s.queue.load(); return float64(n) })
	gauge("throng_storage_queued_bytes", func() float64 { _, n := s.queue.load(); return float64(n) })
	gauge("throng_storage_open_rooms", func() float64 { return float64(s.openRooms()) })
	gauge("throng_storage_generation", func() float64 { return float64(s.generation) })
	gauge("throng_storage_refusing", func() float64 {
		if s.space.refusing() {
			return 1
		}
		return 0
	})
	sampled := func(v *atomic.Uint64) func() float64 { return func() float64 { return float64(v.Load()) } }
	gauge("throng_storage_free_bytes", sampled(&t.freeBytes))
	gauge("throng_storage_disk_bytes", sampled(&t.diskBytes))
	gauge("throng_storage_l0_files", sampled(&t.l0Files))
	gauge("throng_storage_compaction_debt_bytes", sampled(&t.debtBytes))
}

// sample takes Pebble's own figures.
func (t *telemetry) sample(m *pebble.Metrics) {
	t.diskBytes.Store(m.DiskSpaceUsage())
	t.l0Files.Store(uint64(max(m.Levels[0].TablesCount, 0)))
	t.debtBytes.Store(m.Compact.EstimatedDebt)
}

// close takes the store's gauges out of the set.
func (t *telemetry) close() {
	for _, name := range t.gauges {
		t.set.UnregisterMetric(name)
	}
}
