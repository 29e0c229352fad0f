package storage

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// space watches the free space of the store's disk, so that publishes are
// refused while Pebble can still finish what it has taken: a memtable that
// cannot be flushed blocks every writer, and a write-ahead log that cannot grow
// ends the process.
//
// The probe runs twice a second, when Pebble reports a disk that fills up, and
// by the committer after each eighth of minFree that it has written, so that no
// rate of publishes passes the bound unseen.
type space struct {
	fs       vfs.FS
	dir      string
	minFree  uint64 // below it publishes are refused
	resumeAt uint64 // from it on they are taken again
	log      *slog.Logger
	free     *atomic.Uint64 // the last sample, for the metrics

	full atomic.Bool

	// Owned by the committer.
	written uint64 // bytes since it sampled last

	mu sync.Mutex // held over a probe, so that full follows the newest
}

// freeRetry is what refused publishers are told to wait.
const freeRetry = 2 * time.Second

// memTableSize is what Pebble runs best with, less on small disks.
func memTableSize(diskBytes uint64) uint64 {
	return min(max(diskBytes/64, 1<<20), 16<<20)
}

// defaultMinFree is what Pebble may still need when nothing more is taken: the
// memtables that wait to be flushed, two write-ahead logs allocated in advance,
// and space for a compaction to make more.
func defaultMinFree(memTable uint64) uint64 { return 12 * memTable }

// diskUsage asks the file system; one that cannot tell has space without end.
func diskUsage(fs vfs.FS, dir string) (vfs.DiskUsage, error) {
	usage, err := fs.GetDiskUsage(dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		const endless = 1 << 60
		return vfs.DiskUsage{AvailBytes: endless, TotalBytes: endless}, nil
	}
	return usage, err
}

// sample looks at the disk and takes or refuses publishes accordingly.
func (s *space) sample() {
	s.mu.Lock()
	defer s.mu.Unlock()
	usage, err := diskUsage(s.fs, s.dir)
	if err != nil {
		s.log.Warn("the free space of the disk could not be read", slog.String("dir", s.dir), slog.Any("error", err))
		return
	}
	s.free.Store(usage.AvailBytes)
	switch full := s.full.Load(); {
	case !full && usage.AvailBytes < s.minFree:
		s.full.Store(true)
		s.log.Error("the disk is nearly full: publishes are refused",
			slog.String("dir", s.dir), slog.Uint64("freeBytes", usage.AvailBytes), slog.Uint64("minFreeBytes", s.minFree))
	case full && usage.AvailBytes >= s.resumeAt:
		s.full.Store(false)
		s.log.Info("the disk has space again: publishes are taken",
			slog.String("dir", s.dir), slog.Uint64("freeBytes", usage.AvailBytes))
	}
}

// wrote counts bytes that the committer has written.
func (s *space) wrote(n int) {
	s.written += uint64(n)
	if s.written >= s.minFree/8 {
		s.written = 0
		s.sample()
	}
}

// refusing reports whether publishes are refused for want of space.
func (s *space) refusing() bool { return s.full.Load() }
