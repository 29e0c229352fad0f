package storage

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// formatVersion pins what Pebble writes. It must not be below 20
// (FormatWALSyncChunks): older formats open after damage in the middle of the
// write-ahead log without an error and with half of the synced records.
const formatVersion = pebble.FormatValueSeparation

// maxOpenTables bounds the file descriptors that tables take.
const maxOpenTables = 500

// pebbleOptions returns the options that were measured to matter, see
// docs/design/0010-key-layout.md.
func (s *Store) pebbleOptions(memTable uint64) *pebble.Options {
	o := &pebble.Options{
		FS:                          s.guard,
		FormatMajorVersion:          formatVersion,
		CacheSize:                   s.opts.CacheBytes,
		MaxOpenFiles:                maxOpenTables,
		MemTableSize:                memTable,
		MemTableStopWritesThreshold: 8,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       100,
		LBaseMaxBytes:               16 * int64(memTable),
		FlushDelayDeleteRange:       10 * time.Second,
		Logger:                      pebbleLogger{s},
		EventListener: &pebble.EventListener{
			BackgroundError: s.onBackgroundError,
			DataCorruption:  s.onCorruption,
			LowDiskSpace:    s.onLowDiskSpace,
			DiskSlow: func(info pebble.DiskSlowInfo) {
				s.log.Warn("the disk is slow", slog.String("pebble", info.String()))
			},
			WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
				s.tele.writeStalls.Inc()
				s.log.Warn("writes stall: flushes or compactions cannot keep up", slog.String("reason", info.Reason))
			},
		},
	}
	for i := range o.Levels {
		o.Levels[i].BlockSize = 32 << 10
		o.Levels[i].IndexBlockSize = 256 << 10
	}
	return o
}

// onBackgroundError hears of failed flushes and compactions, which Pebble
// retries at once, for as long as it takes. All are counted, and one a second is
// logged. A full disk shows here when it fills faster than it is watched.
func (s *Store) onBackgroundError(err error) {
	s.tele.backgroundErrors.Inc()
	now := time.Now().Unix()
	if s.tele.backgroundLogged.Swap(now) == now {
		return
	}
	s.log.Error("background work of the store failed and is retried", slog.String("error", err.Error()))
	s.space.sample()
}

// onCorruption hears of damaged files. The read that met the damage returns an
// error; nothing is deleted or repaired.
func (s *Store) onCorruption(info pebble.DataCorruptionInfo) {
	s.tele.corruptions.Inc()
	s.log.Error("a file of the store is damaged", slog.String("path", info.Path), slog.String("error", info.Details.Error()))
}

func (s *Store) onLowDiskSpace(info pebble.LowDiskSpaceInfo) {
	s.log.Warn("the disk fills up",
		slog.Uint64("freeBytes", info.AvailBytes), slog.Uint64("totalBytes", info.TotalBytes))
	s.space.sample()
}

// watch samples the disk and Pebble's figures until the store stops.
func (s *Store) watch() {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
			s.space.sample()
			s.tele.sample(s.db.Metrics())
		}
	}
}

// pebbleLogger passes on what Pebble says.
type pebbleLogger struct{ s *Store }

// Infof implements pebble.Logger.
func (l pebbleLogger) Infof(format string, args ...any) { l.log(slog.LevelDebug, format, args) }

// Errorf implements pebble.Logger.
func (l pebbleLogger) Errorf(format string, args ...any) { l.log(slog.LevelError, format, args) }

// commitFailed begins what Pebble says when a batch could not be written or
// synced.
const commitFailed = "pebble: fatal commit error"

// Fatalf implements pebble.Logger. Pebble calls it when its log or its manifest
// cannot be written. A failed commit goes back to the caller, who asks for the
// failure. Everywhere else Pebble takes for granted that Fatalf does not return,
// and would go on with what it could not write down: that goroutine stays here
// until the process has ended.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.s.fail(fmt.Errorf("storage: "+format, args...))
	if !strings.HasPrefix(format, commitFailed) {
		select {}
	}
}

func (l pebbleLogger) log(level slog.Level, format string, args []any) {
	if !l.s.log.Enabled(context.Background(), level) {
		return
	}
	text := strings.TrimSpace(fmt.Sprintf(format, args...))
	l.s.log.LogAttrs(context.Background(), level, "pebble", slog.String("text", text))
}
