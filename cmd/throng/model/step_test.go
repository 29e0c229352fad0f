package model

import (
	"fmt"
	"math/bits"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
)

// action is what a step does.
type action string

// The actions, each as often as it is drawn.
var actions = []action{
	"connect", "cut", "cut",
	"join", "join", "join", "join",
	"leave",
	"publish", "publish", "publish", "publish", "publish",
	"keyed", "keyed", "transient", "direct", "direct",
	"history", "history", "page",
	"ack", "members", "status", "host", "host",
	"create", "delete", "delete", "trim", "erase",
	"lazy", "lazy", "read", "read",
	"advance", "advance", "restart", "crash", "stall", "clock", "fail", "race", "race", "auth",
}

// step is one step of a program. The numbers are read modulo what there is to
// choose from, so that every program means something, and so do its parts.
type step struct {
	Do     action
	Client int
	Room   int
	N, M   int
}

// String is the step as it is written in Go.
func (s step) String() string {
	return fmt.Sprintf("{Do: %q, Client: %d, Room: %d, N: %d, M: %d}", string(s.Do), s.Client, s.Room, s.N, s.M)
}

var steps = rapid.Custom(func(t *rapid.T) step {
	return step{
		Do:     actions[evenly(t, len(actions))],
		Client: evenly(t, connections),
		Room:   evenly(t, len(roomNames)),
		N:      evenly(t, 32),
		M:      evenly(t, 32),
	}
})

// evenly draws a number below n. Rapid's own integers are mostly small, which
// would leave most of what a step can do to chance; bits are not.
func evenly(t *rapid.T, n int) int {
	v := 0
	for range bits.Len(uint(n-1)) + 1 { // one more evens out the modulo
		v <<= 1
		if rapid.Bool().Draw(t, "bit") {
			v++
		}
	}
	return v % n
}

// A program has slices of at most sliceLength steps. Rapid's slices are mostly
// short, so that it takes some to make a program long.
const (
	slicesPerProgram = 8
	sliceLength      = 30
)

// programs makes programs. They stay in few rooms, where more happens than in
// many.
func programs(length int) *rapid.Generator[[]step] {
	return rapid.Custom(func(t *rapid.T) []step {
		start, busy := evenly(t, len(roomNames)), 1+evenly(t, 4)
		var program []step
		for range slicesPerProgram {
			program = append(program, rapid.SliceOfN(steps, 0, length).Draw(t, "steps")...)
		}
		for i := range program {
			program[i].Room = (start + program[i].Room%busy) % len(roomNames)
		}
		return program
	})
}

// The steps of time: within a sync, past one, the grace, an empty room's stay,
// idempotency keys, and the retention of two kinds of rooms.
var times = []time.Duration{
	time.Millisecond, 20 * time.Millisecond, time.Second, 6 * time.Second, 20 * time.Second,
	42 * time.Second, 65 * time.Second, 4 * time.Minute,
}

// percents are the shares of what was not synced that survive a crash.
var percents = []int{0, 10, 50, 100}

// play does one step and checks everything that comes of it.
func (w *world) play(s step) {
	c := w.clients[s.Client]
	r := w.rooms[roomNames[s.Room]]
	if s.N%8 == 7 && s.Do != "host" {
		r = w.rooms[room.Inbox(c.user)] // now and then the client's own inbox
	}
	switch s.Do {
	case "connect", "cut", "lazy", "read", "advance", "restart", "crash":
	default:
		if c.session == nil {
			w.connect(c, false, s.M%2 == 1)
			w.calm()
			w.verify()
		}
	}
	switch s.Do {
	case "connect":
		w.connect(c, s.N%2 == 1, s.M%2 == 1)
	case "cut":
		w.cut(c)
	case "join":
		w.join(c, r, s.N, s.M)
	case "leave":
		w.leave(c, r)
	case "publish":
		w.burst(c, r, 1+s.N%4, func() { w.publish(c, r, "", s.M) })
	case "keyed":
		w.burst(c, r, 1+s.N%2, func() { w.publishKeyed(c, r, s.M) })
	case "transient":
		w.transient(c, r, s.M)
	case "direct":
		to := oneOf(users, s.N)
		for range 1 + s.M%2 {
			w.direct(c, to, s.M)
		}
	case "history":
		w.history(c, r, s.N, s.M)
	case "page":
		w.page(c, r, s.N)
	case "ack":
		w.ack(c, r, s.M)
	case "members":
		w.members(c, r)
	case "status":
		w.setStatus(c, s.M)
	case "host":
		w.host(c, r, s.N, s.M)
	case "create":
		w.createRoom(c, r, s.M)
	case "delete":
		w.deleteMessage(c, r, s.N, s.M)
	case "trim":
		w.trim(c, r, s.N, s.M)
	case "erase":
		w.erase(c, r, s.M)
	case "lazy":
		c.lazy = !c.lazy
	case "read":
		if c.session != nil {
			w.read(c, 1+s.N)
		}
	case "advance":
		w.advance(oneOf(times, s.N))
	case "restart":
		w.leaveServer()
		w.restart()
	case "crash":
		w.leaveServer()
		w.crash(oneOf(percents, s.N), uint64(s.M))
	case "fail":
		w.failDisk(c, r, s.N, s.M)
	case "clock":
		w.turnClock(c, r, s.N, s.M)
	case "auth":
		w.reauth(c, r)
	case "race":
		w.race(c, oneOf(w.clients, s.M), r, s.N, s.M)
	case "stall":
		w.stall(c, r, s.N, s.M)
	}
	w.calm()
	w.verify()
}

// burst has a client publish some messages in a row. In a namespace that closes slow
// connections the author's may be closed between two of them, and what it sends then
// is lost: so there each has to be answered before the next is sent.
func (w *world) burst(c *client, r *truth, n int, publish func()) {
	for range n {
		publish()
		if r.ns.Slow != proto.SlowClose {
			continue
		}
		synctest.Wait()
		if c.closed() {
			return
		}
	}
}

// finish lets everybody read to the end.
func (w *world) finish() {
	for _, c := range w.clients {
		c.lazy = false
	}
	w.calm()
	w.verify()
	w.advance(10 * time.Second) // graces end, counts go out
	w.calm()
	w.verify()
	for _, c := range w.clients {
		for _, s := range c.streams {
			if s.room.ns.Presence && s.members != len(s.room.users) {
				w.fail("%s was told of %d members of room %s, want %d", c, s.members, s.room.name, len(s.room.users))
			}
		}
	}
}

// leaveServer forgets all connections, which end with the server.
func (w *world) leaveServer() {
	for _, c := range w.clients {
		c.streams = nil
	}
}
