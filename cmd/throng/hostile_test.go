package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/thronghq/throng/internal/throngtest"
)

// hostile is one way to attack a server, and what it may cost. Each has a server
// of its own.
type hostile struct {
	name  string
	args  []string // the server's, beside those of all
	files int      // the server's limit of open files; 0 is the test's own
	rooms int      // that it leaves empty, for half a minute

	// attack does a fixed amount of work, counts it in units, and checks what
	// the attacker gets for it.
	attack func(a *assault)

	against work    // what an honest client does, of which a unit …
	ratio   float64 // … may cost the server as much CPU time
	memory  int64   // bytes by which the server may grow meanwhile, without the race detector
}

// work is what honest clients do.
type work string

const (
	handshake work = "connection" // opened, greeted and closed
	exchange  work = "command"    // PING, and its PONG
)

// assault is one attack under way.
type assault struct {
	t          *testing.T
	server     *throngtest.Server
	probe      *probe
	neighbours *neighbours
	units      int
	peers      []*rawPeer // closed when it is over, however it went
}

// The factors by which the race detector's bookkeeping makes a server larger, and
// its clocks of less use.
const (
	racedMemory = 8
	racedIdle   = 2
)

// idleShare is the share of a core that a server and its neighbours may take
// while nothing is asked of them, beside what was measured.
const idleShare = 0.2

// settled is how long what an attack has taken may take to come back: a user who
// is cut off counts as present for 5 s.
const settled = 60 * time.Second

// TestHostilePeers attacks the real binary in all ways of the tables, while
// well-behaved neighbours publish in a room: they lose nothing, wait for nothing
// without end, and the attack costs the server no more CPU time for each unit of
// its work than some honest units do, and no more memory than is said. Afterwards
// all that the attacker had is given back.
//
// What the neighbours' round trips took before and meanwhile is logged: go test
// -run TestHostilePeers -parallel 1 -v ./cmd/throng.
func TestHostilePeers(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	honest := measureHonest(t)
	t.Logf("honest work: %v", honest)
	for _, table := range [][]hostile{frameAttacks(), handshakeAttacks(), floodAttacks(), socketAttacks()} {
		for _, h := range table {
			t.Run(h.name, func(t *testing.T) {
				t.Parallel()
				h.run(t, honest)
			})
		}
	}
}

func (h *hostile) run(t *testing.T, honest map[work]time.Duration) {
	s := startHostile(t, h)
	raced := builtWithRace(t, s.Binary)
	p := newProbe(t, s)
	n := meet(t, s)
	cpu, trips := p.cpu(), n.count()
	n.await(quietTrips)
	perTrip := (p.cpu() - cpu) / time.Duration(n.count()-trips)

	before := p.census()
	p.resetPeak()
	small := p.resident()
	n.underAttack.Store(true)
	a := &assault{t: t, server: s, probe: p, neighbours: n}
	begin, cpu, trips := time.Now(), p.cpu(), n.count()
	h.attack(a)
	took := time.Since(begin)
	spent := p.cpu() - cpu - perTrip*time.Duration(n.count()-trips)
	n.underAttack.Store(false)
	grown := p.peak() - small
	if t.Failed() {
		return
	}
	a.end()
	before["throng_rooms"] += float64(h.rooms)
	p.awaitCensus(before)
	n.part(t)

	idle, memory := idleShare, h.memory
	if raced {
		idle, memory = idle*racedIdle, memory*racedMemory
	}
	unit := honest[h.against]
	most := time.Duration(h.ratio*float64(unit)*float64(a.units)) + time.Duration(idle*float64(took))
	t.Logf("%d units in %v, %v of CPU: each %.2f times an honest %s; %.1f MB larger at the most",
		a.units, took.Round(time.Millisecond), spent.Round(time.Millisecond),
		float64(spent)/float64(a.units)/float64(unit), h.against, float64(grown)/1e6)
	t.Logf("the neighbours' round trips: %s before, %s meanwhile", n.quiet(), n.attacked())
	if spent > most {
		t.Errorf("%d units took %v of CPU time, above %v: %.1f times an honest %s each, where %.1f is the most",
			a.units, spent, most, float64(spent)/float64(a.units)/float64(unit), h.against, h.ratio)
	}
	if grown > memory {
		t.Errorf("the server grew by %d bytes, above %d", grown, memory)
	}
}

// startHostile starts the server of an attack.
func startHostile(t *testing.T, h *hostile) *throngtest.Server {
	o := throngtest.Options{Args: append([]string{"--storage-cache=8MiB", "--net-admission=1000000/s"}, h.args...)}
	if h.files > 0 {
		o.Command = []string{"prlimit", fmt.Sprintf("--nofile=%d:%d", h.files, h.files)}
	}
	return throngtest.Start(t, o)
}

// measureHonest measures what honest work costs a server of CPU time.
func measureHonest(t *testing.T) map[work]time.Duration {
	t.Helper()
	const connections, commands = 300, 20_000
	s := startHostile(t, new(hostile))
	a := &assault{t: t, server: s, probe: newProbe(t, s)}
	measure := func(units int, do func()) time.Duration {
		begin := a.probe.cpu()
		do()
		return (a.probe.cpu() - begin) / time.Duration(units)
	}
	return map[work]time.Duration{
		handshake: measure(connections, func() {
			for i := range connections {
				r := a.enter(fmt.Sprint("honest", i))
				r.sendFrame(opClose, "\x03\xe8")
				r.expectClose(1000)
			}
		}),
		exchange: measure(commands, func() {
			r := a.enter("honest")
			r.flood(commands, func(int) []byte { return clientFrame(opText, `{"type":"PING","timestamp":1}`) })
			r.awaitFrames(commands, `{"type":"PONG"`)
		}),
	}
}
