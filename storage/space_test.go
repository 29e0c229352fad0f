package storage

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/thronghq/throng/proto"
)

func TestNearlyFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	free := func(bytes uint64) {
		fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: bytes, TotalBytes: 64 << 20})
	}
	free(60 << 20)
	o := testOptions(fs, newClock())
	s := mustOpen(t, o)
	m := join(t, s, "a")
	m.send("1", "2")
	if s.Healthy() != nil {
		t.Fatal(s.Healthy())
	}
	if want := uint64(12 << 20); s.space.minFree != want {
		t.Fatalf("on a disk of 64 MiB %d bytes are kept free, want %d", s.space.minFree, want)
	}
	free(s.space.minFree - 1)
	s.space.sample()
	for range 3 {
		if err := m.Append(publish("x")); err == nil || err.Code != proto.ErrStorageFull || err.RetryAfter == 0 {
			t.Fatalf("on a full disk: %v", err)
		}
	}
	if !errors.Is(s.Healthy(), proto.ErrStorageFull) {
		t.Fatalf("healthy: %v", s.Healthy())
	}
	wantOffsets(t, "history on a full disk", m.read(proto.Range{}), upTo(1, 2))
	m.Close()
	m = join(t, s, "a") // rooms still idle and wake
	free(s.space.minFree)
	s.space.sample()
	if m.Append(publish("x")) == nil {
		t.Fatal("publishes are taken again at once, without a margin")
	}
	free(s.space.resumeAt)
	s.space.sample()
	if got := m.send("3"); got[0].Err != nil || got[0].Offset != 3 {
		t.Fatalf("after space is back: %+v", got[0])
	}
	mustClose(t, s)
}

// TestQueuedOnFullDisk fills the disk between an append and its batch.
func TestQueuedOnFullDisk(t *testing.T) {
	for _, name := range []string{"a", "safe:a"} {
		s := mustOpen(t, testOptions(vfs.NewMem(), newClock()))
		m := join(t, s, name)
		gate := join(t, s, "gate")
		gate.mu.Lock() // holds up the committer in the gate's sink
		gate.push(publish("x"))
		for gate.Head().Offset == 0 {
			runtime.Gosched()
		}
		m.push(publish("1"))
		s.space.full.Store(true)
		gate.mu.Unlock()
		if p := m.wait()[0]; p.Err == nil || p.Err.Code != proto.ErrStorageFull || m.Head().Offset != 0 {
			t.Fatalf("%s: offset %d, %v", name, p.Offset, p.Err)
		}
		s.space.full.Store(false)
		if got := m.send("2"); got[0].Offset != 1 || got[0].Err != nil {
			t.Fatalf("%s: offset %d, %v", name, got[0].Offset, got[0].Err)
		}
		mustClose(t, s)
	}
}

// TestCommitterSamples writes enough to fill a disk between two looks of the
// watcher: the committer looks itself.
func TestCommitterSamples(t *testing.T) {
	looks := new(countingFS)
	looks.FS = vfs.NewMem()
	o := testOptions(looks, newClock())
	o.MinFree = 64 << 10
	s := mustOpen(t, o)
	m := join(t, s, "a")
	before := looks.n.Load()
	for range 64 {
		m.send(strings.Repeat("x", 8<<10)) // each as much as an eighth of MinFree
	}
	if n := looks.n.Load() - before; n < 64 {
		t.Fatalf("%d looks at the disk while it was written to 64 times", n)
	}
	mustClose(t, s)
}

// countingFS counts the looks at the free space.
type countingFS struct {
	vfs.FS
	n atomic.Int64
}

func (c *countingFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	c.n.Add(1)
	return vfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 40}, nil
}

// TestTmpfs fills a real small file system: publishes are refused before Pebble
// hangs, the history is served, and publishes are taken again once space is
// back, all in one life of the store. It needs the right to mount.
func TestTmpfs(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"); err != nil {
		t.Skipf("a tmpfs cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	o := testOptions(nil, nil)
	o.Now = time.Now
	o.Logger = testLogger(t)
	o.Fatal = func(err error) { t.Errorf("the log failed: %v", err) }
	o.Namespaces[0].HistorySize = 1 << 30
	s, err := Open(filepath.Join(dir, "data"), o)
	if err != nil {
		t.Fatal(err)
	}
	m := join(t, s, "a")
	refusals, taken := fill(t, m)
	t.Logf("%d messages of 4 KiB were taken, then %d refused, %d MiB free", taken, refusals, s.FreeSpace()>>20)
	if refusals == 0 || !errors.Is(s.Healthy(), proto.ErrStorageFull) {
		t.Fatalf("a full disk refused %d publishes; health: %v", refusals, s.Healthy())
	}
	checkServed(t, m, taken)

	// Somebody else fills the rest, and then frees it.
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 6<<20), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err) // a flush under way may leave less than that to fill
	}
	checkServed(t, m, taken)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=48m"); err != nil {
		t.Fatal(err)
	}
	s.space.sample()
	if got := m.send("again"); got[0].Err != nil || got[0].Offset != taken+1 {
		t.Fatalf("after space is back: offset %d after %d, %v", got[0].Offset, taken, got[0].Err)
	}
	if more, n := fill(t, m); more == 0 || n <= taken+1 {
		t.Fatalf("the second time %d messages were refused at offset %d", more, n)
	}
	mustClose(t, s)
}

// fill publishes until the disk refuses, and returns how many were refused, and
// the last offset.
func fill(t *testing.T, m *member) (refused int, last uint64) {
	t.Helper()
	content := make([]byte, 4<<10)
	random := rand.NewChaCha8([32]byte{}) // does not compress
	for refused == 0 {
		for range 64 {
			_, _ = random.Read(content) // never fails
			err := m.Append(publish(string(content)))
			switch {
			case err == nil:
				m.sent++
			case err.Code == proto.ErrStorageFull:
				refused++
			case err.Code != proto.ErrOverloaded:
				t.Fatal(err)
			}
		}
		for _, p := range m.wait() {
			switch {
			case p.Err == nil:
				last = p.Offset
			case p.Err.Code == proto.ErrStorageFull:
				refused++
			default:
				t.Fatal(p.Err)
			}
		}
	}
	return refused, last
}

// checkServed reads the whole history.
func checkServed(t *testing.T, m *member, last uint64) {
	t.Helper()
	next := uint64(1)
	err := m.Read(proto.Range{}, func(msg *proto.Message) bool {
		if msg.Offset != next {
			t.Errorf("offset %d, want %d", msg.Offset, next)
		}
		next++
		return true
	})
	if err != nil || next != last+1 {
		t.Fatalf("%d of %d messages were read (%v)", next-1, last, err)
	}
}
