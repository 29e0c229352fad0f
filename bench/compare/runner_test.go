package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/thronghq/throng/internal/throngtest"
)

func TestMain(m *testing.M) { throngtest.Main(m) }

// TestRunner runs small sides of every kind: what they need beyond a server has to
// reach the generator.
func TestRunner(t *testing.T) {
	if out, err := exec.Command("taskset", "-c", bothCores, "true").CombinedOutput(); err != nil {
		t.Skipf("two cores and taskset are needed: %v: %s", err, out)
	}
	dir := t.TempDir()
	p := plan{Throng: throngtest.Build(t), Floor: filepath.Join(dir, "floor"), Work: dir, Duration: full.Duration / 20, Messages: 2000, Log: 60_000, Rounds: 1, Members: 20, Crowd: 40, Users: 2}
	if out, err := exec.Command("gcc", "-std=gnu11", "-O2", "-o", p.Floor, "../floor/floor.c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	for _, entry := range os.Environ() { // the servers take variables of that name for their configuration
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "THRONG_") {
			t.Setenv(name, value) // so that it is there again for the next test
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	r := &runner{plan: p, dir: dir, generator: p.Throng}
	secured := throng
	secured.tls = true
	echo, handshake := p.timed("echo", "--connections", "4"), p.timed("handshake", "--connections", "4")
	kept := filepath.Join(dir, "kept")
	small := cell{name: "small", rounds: 1, sides: []side{
		{name: sideFloor, server: floorBatch, args: echo},
		{name: sideThrong, server: throng, args: echo, more: atHalfOf("small", sideFloor), serverCores: bothCores, generatorCores: bothCores},
		{name: "unkept", server: throngUnkept, args: p.fanout("json", 8, 2)},
		{name: "TLS", server: secured, args: echo, more: trusting},
		{name: "tokens", server: throng, args: handshake, more: withTokens},
		{name: "fill", args: p.appendTo(10, 1000, "async", "--keep", kept, "--room-prefix", "kept")},
		{name: "pages", server: throngServer{kept: kept}, args: []string{"pages", "--rooms", "10", "--messages", "100", "--room-prefix", "kept", "--duration", "50ms"}, more: forgotten(kept), x: 7},
	}}
	if err := r.runCell(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	if len(r.runs) != len(small.sides) {
		t.Fatalf("%d runs of %d sides", len(r.runs), len(small.sides))
	}
	for _, one := range r.runs {
		m := one.Took
		if m.Sent == 0 || m.Delivered == 0 || m.Violations.Lost+m.Violations.Duplicates+m.Violations.Order > 0 {
			t.Errorf("%s: %s", one.Side, one.Result)
		}
	}
	if pages := r.runs[len(r.runs)-1]; pages.X != 7 || pages.Took.Delivered != 50*pages.Took.Sent {
		t.Errorf("pages: %+v", pages)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "server-*")); err != nil || len(left) > 0 {
		t.Errorf("%q are left, %v", left, err)
	}
	failing := side{name: "failing", server: floorOne, args: []string{"fanout", "--codec", "floor", "--members", "0"}}
	if err := r.runCell(t.Context(), cell{name: "failing", rounds: 1, sides: []side{failing}}); err == nil {
		t.Error("a generator that fails is not told")
	}
}
