package hook

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/thronghq/throng/internal/outboxtest"
)

// BenchmarkPublished is what a room's worker pays to tell of messages, with
// several workers and many rooms. Nothing is delivered meanwhile.
func BenchmarkPublished(b *testing.B) {
	end := everything("crm", "http://127.0.0.1:1")
	end.Events = Of(Message)
	w, err := open(Options{Endpoints: []Endpoint{end}, Outbox: outboxtest.NewMemory(), History: newHistory()})
	if err != nil {
		b.Fatal(err)
	}
	var rooms atomic.Uint64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		room := fmt.Sprint("chat:", rooms.Add(1))
		for offset := uint64(1); pb.Next(); offset++ {
			w.Published(room, "epoch", offset, offset)
		}
	})
}

// BenchmarkUnwanted is what it costs to tell of what nobody wants to know.
func BenchmarkUnwanted(b *testing.B) {
	end := everything("crm", "http://127.0.0.1:1")
	end.Namespaces = []string{"chat"}
	w, err := open(Options{Endpoints: []Endpoint{end}, Outbox: outboxtest.NewMemory(), History: newHistory()})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		w.Published("game:1", "epoch", 1, 1)
	}
}
