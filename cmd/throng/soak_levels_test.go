package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// levels is what a server holds, by name.
type levels map[string]float64

// The gauges that come back to nothing when nobody is there. The others, below,
// come back to about where they were.
var restingGauges = []string{
	"throng_connections", "throng_sessions", "throng_members", "throng_http_streams", "throng_http_requests_active",
	"throng_memory_bytes", "throng_admission_waiting", "throng_tls_handshakes_running", "throng_tls_handshakes_waiting",
	"throng_gate_waiting_commands", "throng_gate_waiting_bytes", "throng_accounts_hashes_waiting", "throng_accounts_hashes_running",
	"throng_storage_queued_messages", "throng_storage_queued_bytes", "throng_webhook_waiting", "throng_webhook_dead",
}

// The gauges of rooms, which stay in memory for a while.
var roomGauges = []string{"throng_rooms", "throng_storage_open_rooms", "throng_keys", "throng_ring_bytes"}

const (
	goroutinesLevel  = "go_goroutines"
	heapLevel        = "go_memstats_heap_alloc_bytes"
	residentLevel    = "process_resident_memory_bytes"
	socketsLevel     = "throng_sockets"
	descriptorsLevel = "descriptors"
)

// read takes the levels as they are.
func (k *soak) read() levels {
	k.t.Helper()
	response, err := k.http.Get(k.s.URL("/metrics"))
	if err != nil {
		k.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		k.t.Fatal(err)
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", k.s.PID()))
	if err != nil {
		k.t.Fatal(err)
	}
	l := levels{descriptorsLevel: float64(len(open))}
	for _, name := range slices.Concat(restingGauges, roomGauges, []string{goroutinesLevel, heapLevel, residentLevel, socketsLevel}) {
		l[name] = sumOf(k.t, string(body), name)
	}
	return l
}

// bound is how high what was measured once may be in later rounds: a leak of
// anything per visit is far beyond it. Goroutines and descriptors vary by those
// of the store's work in the background, memory by the store's memtables (one in use,
// one kept for later, one that readers hold) and cache and by garbage.
func (l levels) bound() levels {
	b := make(levels)
	for _, name := range restingGauges {
		b[name] = 0
	}
	b[goroutinesLevel], b[descriptorsLevel] = l[goroutinesLevel]+20, l[descriptorsLevel]+20
	b[socketsLevel] = 2 // this test's own
	b[heapLevel] = l[heapLevel]*1.25 + 32<<20
	b[residentLevel] = l[residentLevel]*1.5 + 64<<20
	return b
}

// empty is the bound with no room in memory.
func (l levels) empty() levels {
	b := maps.Clone(l)
	for _, name := range roomGauges {
		b[name] = 0
	}
	return b
}

// String leaves out what is zero.
func (l levels) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(l)) {
		if l[name] != 0 {
			parts = append(parts, fmt.Sprintf("%s %.0f", name, l[name]))
		}
	}
	return strings.Join(parts, ", ")
}

// await waits until all levels are within their bounds, and returns them. It is
// patient for as long as one of those that are not comes down.
func (k *soak) await(after string, bounds levels) levels {
	k.t.Helper()
	const patience, interval = 90 * time.Second, 100 * time.Millisecond
	began, over, lowest := time.Now(), make(levels), make(levels)
	for end := began.Add(patience); ; <-time.After(interval) {
		now, before := k.read(), over
		over = make(levels)
		for name, most := range bounds {
			if now[name] <= most {
				continue
			}
			over[name] = now[name]
			if low, seen := lowest[name]; !seen || now[name] < low {
				lowest[name], end = now[name], time.Now().Add(patience)
			}
		}
		if len(over) == 0 {
			k.t.Logf("%v after %s, with %v until then: %v", time.Since(began).Round(interval), after, before, now)
			return now
		}
		if time.Now().After(end) {
			k.t.Fatalf("%v after %s there are still %v; the bounds are %v", time.Since(began).Round(interval), after, over, bounds)
		}
	}
}
