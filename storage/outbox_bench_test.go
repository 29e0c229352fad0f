package storage

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// BenchmarkLogsRooms is how long it takes to find the ends of 10,000 rooms' logs
// after a crash, when each must be looked for, and after a clean stop.
func BenchmarkLogsRooms(b *testing.B) {
	const rooms = 10_000
	o := testOptions(vfs.NewCrashableMem(), newClock())
	s := mustOpen(b, o)
	var last *member
	for i := range rooms {
		last = join(b, s, fmt.Sprint("room", i))
		last.push(publish("hello"))
	}
	last.wait()
	awaitSafe(s)
	crashed := o.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
	mustClose(b, s)
	for name, fs := range map[string]vfs.FS{"clean": o.FS, "crashed": crashed} {
		b.Run(name, func(b *testing.B) {
			o.FS = fs
			s := mustOpen(b, o)
			defer mustClose(b, s)
			for b.Loop() {
				n := 0
				err := s.Logs().Rooms("", func(string, string, uint64) bool { n++; return true })
				if err != nil || n != rooms {
					b.Fatalf("%d rooms (%v)", n, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rooms), "ns/room")
		})
	}
}
