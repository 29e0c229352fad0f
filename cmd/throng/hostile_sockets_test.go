package main

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// socketAttacks are what can be done with connections themselves. TestSlowReader
// and TestMemoryStaysInItsBudget have those that do not read.
func socketAttacks() []hostile {
	return []hostile{
		{
			name: "resets", rooms: 1, attack: reset,
			against: handshake, ratio: 4, memory: 48 << 20,
		},
		{
			name: "half-open sockets", rooms: 1, args: []string{"--ping-interval=1s"}, attack: vanish,
			against: handshake, ratio: 20, memory: 32 << 20,
		},
		{
			name: "connections beyond the bound, twice", files: 300, attack: crowd,
			against: handshake, ratio: 6, memory: 48 << 20,
		},
		{
			name: "no descriptors left, twice", args: []string{"--limits-handshake-timeout=1s"}, attack: exhaust,
			against: handshake, ratio: 3, memory: 32 << 20,
		},
	}
}

// reset opens connections and resets them at each point of their lives.
func reset(a *assault) {
	stages := []func(i int) *rawPeer{
		func(int) *rawPeer { return a.connect() },
		func(int) *rawPeer {
			r := a.connect()
			r.send([]byte(upgradeHead("/ws?user=x")[:40]))
			return r
		},
		func(i int) *rawPeer { // the answer is on its way
			r := a.connect()
			r.send([]byte(upgradeHead("/ws?user=" + user("reset", i))))
			return r
		},
		func(i int) *rawPeer { return a.enter(user("reset", i)) },
		func(i int) *rawPeer {
			r := a.enter(user("reset", i))
			r.send(unfinishedPart[:100+i*40])
			return r
		},
		func(i int) *rawPeer { // replies and messages are on their way
			r := a.enter(user("reset", i))
			r.sendFrame(opText, `{"type":"join","room":"resets","echo":true}`)
			for range 4 {
				r.sendFrame(opText, `{"type":"message","to":"resets","content":"`+strings.Repeat("x", 1000)+`"}`)
			}
			return r
		},
	}
	for i := range 1200 / len(stages) {
		for _, stage := range stages {
			r := stage(i)
			if err := r.SetLinger(0); err != nil {
				a.t.Fatal(err)
			}
			_ = r.Close()
			a.units++
		}
	}
}

// vanish opens connections whose peers then answer nothing any more: some have
// stopped, so that their machines still take what comes, and the packets to the
// others are lost, so that nothing is ever acknowledged. Messages go on being sent
// to them.
func vanish(a *assault) {
	const peers = 60
	var stopped, lost []*rawPeer
	for i := range peers {
		r := a.enter(user("gone", i))
		r.sendFrame(opText, `{"type":"join","room":"limbo"}`)
		r.awaitFrames(1, `{"type":"joined"`)
		if i%2 == 0 {
			stopped = append(stopped, r)
		} else {
			loseAll(r)
			lost = append(lost, r)
		}
	}
	author := a.enter("author")
	for range 20 {
		author.sendFrame(opText, `{"type":"message","to":"limbo","content":"`+strings.Repeat("x", 1000)+`"}`)
		author.awaitFrames(1, `{"type":"ack"`)
	}
	_ = author.Close()
	closed := func() int { return a.probe.labelled(`throng_closes_total{cause="heartbeat",code="4410"}`) }
	a.probe.eventually(func() bool { return closed() == peers && a.probe.metric("throng_sockets") == neighbourCount },
		func() string {
			return fmt.Sprintf("%d of %d were closed as silent; %.0f sockets are left", closed(), peers, a.probe.metric("throng_sockets"))
		})
	for _, r := range stopped {
		r.expectClose(4410)
	}
	a.units = len(stopped) + len(lost)
}

// loseAll has the kernel lose every packet that comes for a connection, as a line
// that is cut does.
func loseAll(r *rawPeer) {
	r.t.Helper()
	lose := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	raw, err := r.SyscallConn()
	if err != nil {
		r.t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &lose})
	}); err != nil || failed != nil {
		r.t.Fatal(err, failed)
	}
}

// crowd opens more connections than the server has descriptors for, lets go, and
// does it again.
func crowd(a *assault) {
	const peers = 500
	for round := range 2 {
		before := a.probe.metric("throng_accept_refused_total")
		answers := make(map[int]int)
		var in []*rawPeer
		for i := range peers {
			r, status := a.open("/ws?user=" + user("crowd", i))
			answers[status]++
			if status == http.StatusSwitchingProtocols {
				in = append(in, r)
			} else {
				_ = r.Close()
			}
			a.units++
		}
		if answers[101] < 200 || answers[101] > 300 || answers[101]+answers[503]+answers[0] != peers || answers[503] == 0 {
			a.t.Errorf("round %d: the answers are %v", round, answers)
		}
		if n := a.probe.descriptors(); n >= 300 {
			a.t.Errorf("round %d: %d descriptors are open, and none is kept", round, n)
		}
		refused := a.probe.metric("throng_accept_refused_total") - before
		if int(refused) != answers[0] {
			a.t.Errorf("round %d: %.0f were refused, and %d were not answered", round, refused, answers[0])
		}
		for _, r := range in {
			_ = r.Close()
		}
		a.awaitNewcomer()
	}
}

// exhaust lowers the server's limit of open files to what is open, so that it
// cannot even accept who comes, raises it again, and does it once more. Who comes
// meanwhile takes the last descriptors, is cut off, or waits; all others are served
// as ever, and the server does not run in circles.
func exhaust(a *assault) {
	var all unix.Rlimit
	if err := unix.Prlimit(a.server.PID(), unix.RLIMIT_NOFILE, nil, &all); err != nil {
		a.t.Fatal(err)
	}
	limit := func(n uint64) {
		a.t.Helper()
		if err := unix.Prlimit(a.server.PID(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: all.Max}, nil); err != nil {
			a.t.Fatal(err)
		}
	}
	const hits = 8 // looks of the server at connections that it cannot take
	for round := range 2 {
		before := a.probe.metric("throng_accept_exhausted_total")
		limit(a.probe.highestDescriptor() + 1)
		var waiting []*rawPeer
		a.probe.eventually(func() bool {
			for range 8 {
				r := a.connect()
				r.send([]byte(upgradeHead("/ws?user=unlucky")))
				waiting = append(waiting, r)
				a.units++
			}
			return a.probe.metric("throng_accept_exhausted_total") >= before+hits
		}, func() string {
			return fmt.Sprintf("round %d: %d descriptors are open, the highest %d, with %d connections on their way; the server sees no lack",
				round, a.probe.descriptors(), a.probe.highestDescriptor(), len(waiting))
		})
		a.staysCalm(round)
		limit(all.Cur)
		a.awaitNewcomer()
		cut := 0
		for _, r := range waiting {
			if status := r.status(); status == 0 {
				cut++
			} else if status != http.StatusSwitchingProtocols && status != http.StatusServiceUnavailable {
				a.t.Errorf("round %d: answered with %d", round, status)
			}
			_ = r.Close()
		}
		// The descriptor that the server keeps for that may be lost to a file that
		// is opened in the same moment. The others have waited, and are served.
		a.t.Logf("round %d: %d of %d were cut", round, cut, len(waiting))
	}
}

// staysCalm sees to it that a server without descriptors, with connections in its
// queue, looks at them now and then and not all the time.
func (a *assault) staysCalm(round int) {
	a.t.Helper()
	perSecond := float64(5 * 4 * runtime.NumCPU()) // ticks, a listener each; and some to spare
	looks, begin := a.probe.metric("throng_accept_exhausted_total"), time.Now()
	a.neighbours.await(quietTrips)
	looks = a.probe.metric("throng_accept_exhausted_total") - looks
	if took := time.Since(begin); looks > perSecond*(1+took.Seconds()) {
		a.t.Errorf("round %d: the server looked %.0f times in %v for descriptors that there are not", round, looks, took)
	}
}

// awaitNewcomer waits until a new client gets in and is served.
func (a *assault) awaitNewcomer() {
	a.t.Helper()
	var status int
	a.probe.eventually(func() bool {
		var r *rawPeer
		r, status = a.open("/ws?user=newcomer")
		if status == http.StatusSwitchingProtocols {
			r.awaitFrames(1, `{"type":"session"`)
		}
		_ = r.Close()
		a.units++
		return status == http.StatusSwitchingProtocols
	}, func() string { return fmt.Sprintf("the server does not recover: it answers %d", status) })
}
