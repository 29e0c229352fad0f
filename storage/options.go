package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/thronghq/throng/proto"
)

// Options configures a Store. Fields left at zero get the defaults that
// Validate's caller sees in the comments.
type Options struct {
	// Namespaces are those whose rooms live on disk: durability Async or
	// Sync. A room of any other namespace cannot be opened.
	Namespaces []proto.Namespace

	Logger  *slog.Logger // default: none
	Metrics *metrics.Set // default: a set of the store's own, not exported

	CacheBytes    int64         // block cache, filled as blocks are read; default 128 MiB
	SyncInterval  time.Duration // from the first unsynced async message to its fsync; default 5 ms
	SyncStall     time.Duration // age of unsynced data at which committing pauses; default 100 ms
	QueueMessages int           // messages that may wait for the committer; default 65,536
	QueueBytes    int           // bytes of content that may wait for it; default 64 MiB

	// MinFree is the number of free bytes on the store's disk below which
	// publishes are refused; they are taken again at a quarter more. The
	// default is what Pebble needs to finish the work that it has already
	// accepted: twelve memtables, 192 MiB, less on disks below 1 GiB.
	MinFree uint64

	FS  vfs.FS           // default: the operating system's; GetDiskUsage is the free-space probe
	Now func() time.Time // default: time.Now

	// Fatal is called once, from whichever goroutine noticed, when the
	// write-ahead log, the manifest or their directory can no longer be
	// written or synced, or no further log can be created; that can be during
	// Open, which then does not return. The process must
	// end: nothing is acknowledged any more. Fatal must not call the Store.
	// Default: the failure is logged and Healthy reports it.
	Fatal func(error)
}

// The bounds of the options.
const (
	minCacheBytes  = 1 << 20
	maxSyncStall   = time.Minute
	minTTL         = time.Second
	maxTTL         = 100 * 365 * 24 * time.Hour
	maxHistorySize = 1 << 40
)

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 128 << 20
	}
	if o.SyncInterval == 0 {
		o.SyncInterval = 5 * time.Millisecond
	}
	if o.SyncStall == 0 {
		o.SyncStall = 100 * time.Millisecond
	}
	if o.QueueMessages == 0 {
		o.QueueMessages = 65_536
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = 64 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Fatal == nil {
		o.Fatal = func(error) {}
	}
	return o
}

// Validate reports every option that has a bad value, by name, with what would
// be accepted; zero stands for the default and is accepted everywhere.
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.CacheBytes < minCacheBytes {
		bad("CacheBytes: %d is too small; at least %d", o.CacheBytes, minCacheBytes)
	}
	if o.SyncInterval < 0 || o.SyncInterval > time.Second {
		bad("SyncInterval: %v is out of range; above 0 and at most 1s", o.SyncInterval)
	}
	if o.SyncStall < o.SyncInterval || o.SyncStall > maxSyncStall {
		bad("SyncStall: %v is out of range; from SyncInterval (%v) to %v", o.SyncStall, o.SyncInterval, maxSyncStall)
	}
	if o.QueueMessages < 1 {
		bad("QueueMessages: %d is too small; at least 1", o.QueueMessages)
	}
	if o.QueueBytes < 1 {
		bad("QueueBytes: %d is too small; at least 1", o.QueueBytes)
	}
	seen := make(map[string]bool)
	for _, ns := range o.Namespaces {
		if seen[ns.Name] {
			bad("Namespaces: %q is given twice", ns.Name)
		}
		seen[ns.Name] = true
		if ns.Durability != proto.Async && ns.Durability != proto.Sync {
			bad("Namespaces: %q has durability %v; the store keeps async and sync ones", ns.Name, ns.Durability)
		}
		if ns.HistorySize < 0 || ns.HistorySize > maxHistorySize {
			bad("Namespaces: %q has a history size of %d; from 0 to %d", ns.Name, ns.HistorySize, maxHistorySize)
		}
		if ns.HistoryTTL < minTTL || ns.HistoryTTL > maxTTL {
			bad("Namespaces: %q keeps history for %v; from %v to %v", ns.Name, ns.HistoryTTL, minTTL, maxTTL)
		}
	}
	return errors.Join(errs...)
}
