package main

import (
	"debug/buildinfo"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/thronghq/throng/internal/throngtest"
)

// probe looks at a server from outside: its CPU time, its memory, its
// descriptors, its metrics. It has one connection, opened at once, so that it
// sees when no other can be.
type probe struct {
	t      *testing.T
	server *throngtest.Server
	client *http.Client
	pid    int
}

func newProbe(t *testing.T, s *throngtest.Server) *probe {
	transport := &http.Transport{MaxConnsPerHost: 1}
	t.Cleanup(transport.CloseIdleConnections)
	p := &probe{t: t, server: s, client: &http.Client{Transport: transport, Timeout: restPatience}, pid: s.PID()}
	p.metrics()
	return p
}

// metrics returns the server's metrics.
func (p *probe) metrics() string {
	p.t.Helper()
	response, err := p.client.Get(p.server.URL("/metrics"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(body)
}

// metric returns the sum of a metric's values.
func (p *probe) metric(name string) float64 {
	p.t.Helper()
	return sumOf(p.t, p.metrics(), name)
}

// labelled returns one value of a metric, by its whole name with its labels; 0
// where it has not come up.
func (p *probe) labelled(name string) int {
	p.t.Helper()
	for line := range strings.Lines(p.metrics()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				p.t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// cpu returns the CPU time that the process has taken, by its own clock
// (clock_getcpuclockid), which is exact where /proc counts hundredths.
func (p *probe) cpu() time.Duration {
	p.t.Helper()
	const scheduled = 2 // CPUCLOCK_SCHED
	var at unix.Timespec
	if err := unix.ClockGettime(int32(^p.pid<<3|scheduled), &at); err != nil {
		p.t.Fatalf("the clock of process %d: %v", p.pid, err)
	}
	return time.Duration(at.Nano())
}

// resetPeak has peak begin anew.
func (p *probe) resetPeak() {
	p.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.pid), []byte("5"), 0); err != nil {
		p.t.Fatal(err)
	}
}

// peak returns the most resident memory since resetPeak, in bytes.
func (p *probe) peak() int64 { p.t.Helper(); return p.status("VmHWM:") }

// resident returns the resident memory in bytes.
func (p *probe) resident() int64 { p.t.Helper(); return p.status("VmRSS:") }

func (p *probe) status(field string) int64 {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), field)
	value, _, _ := strings.Cut(rest, "kB")
	kib, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	if err != nil {
		p.t.Fatalf("%s %v", field, err)
	}
	return kib << 10
}

// descriptors returns how many descriptors the server has open.
func (p *probe) descriptors() int {
	p.t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(open)
}

// highestDescriptor returns the number of the last one that is open.
func (p *probe) highestDescriptor() uint64 {
	p.t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
	if err != nil {
		p.t.Fatal(err)
	}
	highest := uint64(0)
	for _, entry := range open {
		n, err := strconv.ParseUint(entry.Name(), 10, 32)
		if err != nil {
			p.t.Fatal(err)
		}
		highest = max(highest, n)
	}
	return highest
}

// census counts what an attack may leave behind.
type census map[string]float64

func (p *probe) census() census {
	p.t.Helper()
	text := p.metrics()
	c := census{"descriptors": float64(p.descriptors())}
	for _, name := range []string{
		"throng_connections", "throng_sockets", "throng_sessions", "throng_rooms", "throng_members",
		"throng_memory_bytes", "throng_gate_waiting_bytes", "throng_storage_queued_messages", "go_goroutines",
	} {
		c[name] = sumOf(p.t, text, name)
	}
	return c
}

// slack is how much of each may come and go by itself.
var slack = census{"descriptors": 4, "go_goroutines": 8, "throng_memory_bytes": 64 << 10, "throng_storage_queued_messages": 16}

// awaitCensus waits until there is no more of anything than there was.
func (p *probe) awaitCensus(before census) {
	p.t.Helper()
	var left string
	p.eventually(func() bool {
		left = ""
		for name, now := range p.census() {
			if now > before[name]+slack[name] {
				left += fmt.Sprintf("; %s is %.0f and was %.0f", name, now, before[name])
			}
		}
		return left == ""
	}, func() string { return "the attack leaves something behind" + left })
}

// eventually waits for a condition, and fails the test where it does not come.
func (p *probe) eventually(cond func() bool, failure func() string) {
	p.t.Helper()
	pace := time.NewTicker(100 * time.Millisecond)
	defer pace.Stop()
	for end := time.Now().Add(settled); !cond(); <-pace.C {
		if time.Now().After(end) {
			p.t.Fatal(failure())
		}
	}
}

// builtWithRace reports whether a binary has the race detector in it.
func builtWithRace(t *testing.T, path string) bool {
	t.Helper()
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}
