package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/thronghq/throng/internal/callgrind"
	"github.com/thronghq/throng/proto"
)

// payload is what the benchmarks write: 128 bytes.
var payload = make([]byte, 128)

// BenchmarkAppend measures messages through the store, from Append to the sink,
// over 1,000 rooms, with a number of them on their way at any time. It reports
// the process's CPU time for a message beside the time that passes.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		prefix string
		window int
	}{
		{"room", 1}, {"room", 8192}, {"safe:room", 1}, {"safe:room", 256}, {"safe:room", 8192},
	} {
		b.Run(fmt.Sprintf("%s/%d", proto.NamespaceOf(c.prefix), c.window), func(b *testing.B) {
			benchmarkAppend(b, c.prefix, 1000, c.window)
		})
	}
}

// cpuTime returns the CPU time that the process has used.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchmarkAppend(b *testing.B, prefix string, rooms, window int) {
	o := testOptions(nil, nil)
	o.Now = time.Now
	s, err := Open(b.TempDir(), o)
	if err != nil {
		b.Fatal(err)
	}
	free := make(chan *proto.Publish, window)
	for range window {
		free <- &proto.Publish{}
	}
	var failed sync.Once
	sink := func(pubs []*proto.Publish) {
		for _, p := range pubs {
			if p.Err != nil {
				failed.Do(func() { b.Error(p.Err) })
			}
			free <- p
		}
	}
	open := make([]*Room, rooms)
	for i := range open {
		if open[i], err = s.Room(fmt.Sprint(prefix, i), sink); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	began := cpuTime(b)
	i := 0
	for b.Loop() {
		p := <-free
		*p = proto.Publish{Message: proto.Message{From: "0123456789abcdef", Content: payload}}
		if err := open[i%rooms].Append(p); err != nil {
			b.Fatal(err)
		}
		i++
	}
	for range window {
		<-free
	}
	b.ReportMetric(float64(cpuTime(b)-began)/float64(i), "cpu-ns/op")
	b.StopTimer()
	mustClose(b, s)
}

// BenchmarkAppendBatch is 256 messages to one room, from the first Append until the
// sink has the last, in a store that is in memory.
func BenchmarkAppendBatch(b *testing.B) {
	s := mustOpen(b, testOptions(vfs.NewMem(), newClock()))
	const batch = 256
	done := make(chan struct{}, 1)
	n := 0
	r, err := s.Room("lobby", func(pubs []*proto.Publish) {
		if n += len(pubs); n%batch == 0 {
			done <- struct{}{}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	pubs := make([]proto.Publish, batch)
	callgrind.Loop(b, func() {
		for i := range pubs {
			pubs[i] = proto.Publish{Message: proto.Message{From: "0123456789abcdef", Content: payload}}
			if err := r.Append(&pubs[i]); err != nil {
				b.Fatal(err)
			}
		}
		<-done
	})
	b.StopTimer()
	mustClose(b, s)
}

// BenchmarkRecord is the encoding of a message's key and record.
func BenchmarkRecord(b *testing.B) {
	var record []byte
	m := proto.Message{From: "0123456789abcdef", Content: payload}
	callgrind.Loop(b, func() {
		record = appendMessageKey(record[:0], messageKey{class: firstClass, room: 1, time: 1, offset: 1})
		record = appendRecord(record, &m, 1)
	})
}

// BenchmarkPlainFile is the floor: the same bytes appended to a file in batches
// of 256, without a sync.
func BenchmarkPlainFile(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "plain"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	record := make([]byte, 0, 256*(messageKeyLen+32+len(payload)))
	m := proto.Message{From: "0123456789abcdef", Content: payload}
	b.ReportAllocs()
	began := cpuTime(b)
	n := 0
	for b.Loop() {
		record = appendMessageKey(record, messageKey{class: firstClass, room: 1, time: 1, offset: 1})
		record = appendRecord(record, &m, 1)
		if n++; n%256 == 0 {
			if _, err := f.Write(record); err != nil {
				b.Fatal(err)
			}
			record = record[:0]
		}
	}
	b.ReportMetric(float64(cpuTime(b)-began)/float64(n), "cpu-ns/op")
}

// BenchmarkRead measures reads of a hot room: the newest 50 messages, and 50
// after an offset with and without the hint of its time.
func BenchmarkRead(b *testing.B) {
	o := testOptions(nil, nil)
	o.Now = time.Now
	s, err := Open(b.TempDir(), o)
	if err != nil {
		b.Fatal(err)
	}
	m := join(b, s, "lobby")
	for i := range 8000 {
		m.push(publish(string(payload)))
		if i%100 == 99 {
			m.wait()
			runtime.Gosched()
		}
	}
	middle := m.read(proto.Range{After: 3999, Limit: 1})[0]
	for _, c := range []struct {
		name string
		rg   proto.Range
	}{
		{"Last50", proto.Range{Limit: 50, Reverse: true}},
		{"AfterOffset", proto.Range{After: 4000, Limit: 50}},
		{"AfterHint", proto.Range{After: 4000, Hint: middle.Time, Limit: 50}},
		{"FromTime", proto.Range{From: middle.Time, Limit: 50}},
	} {
		b.Run(c.name, func(b *testing.B) {
			callgrind.Loop(b, func() {
				n := 0
				if err := m.Read(c.rg, func(*proto.Message) bool { n++; return true }); err != nil || n != 50 {
					b.Fatal(n, err)
				}
			})
		})
	}
	mustClose(b, s)
}
