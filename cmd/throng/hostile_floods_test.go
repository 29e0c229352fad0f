package main

import (
	"fmt"
	"strings"
)

// floodAttacks are things that anyone may do, done without end. But for the last
// two they meet no limit: rates are off by default, and rates_test.go has what they
// do.
func floodAttacks() []hostile {
	return []hostile{
		{
			name: "pings", attack: floodWithPings,
			against: exchange, ratio: 2, memory: 32 << 20,
		},
		{
			name: "pings whose pongs nobody reads", args: []string{"--ping-interval=1s"}, attack: ignorePongs,
			against: exchange, ratio: 2, memory: 48 << 20,
		},
		{
			name: "empty messages", attack: floodWithNothing,
			against: exchange, ratio: 3, memory: 32 << 20,
		},
		{
			name: "invalid frames, never three in a row", attack: floodWithErrors,
			against: exchange, ratio: 4, memory: 32 << 20,
		},
		{
			name: "commands that are refused", attack: floodWithRefused,
			against: exchange, ratio: 8, memory: 32 << 20,
		},
		{
			name: "joins and leaves", rooms: 100, attack: comeAndGo,
			against: exchange, ratio: 60, memory: 48 << 20,
		},
		{
			name: "10,000 rooms where 1,000 are allowed", rooms: 1000, attack: joinTooMany,
			against: exchange, ratio: 60, memory: 64 << 20,
		},
		{
			name: "10,000 rooms where they are allowed", args: []string{"--limits-rooms=10000"}, rooms: 10_000, attack: joinAllowed,
			against: exchange, ratio: 80, memory: 96 << 20,
		},
		{
			name: "pings beyond a rate", args: []string{floodRate}, attack: goBeyond(clientFrame(opPing, "x")),
			against: exchange, ratio: 1, memory: 32 << 20,
		},
		{
			name: "fragments beyond a rate", args: []string{floodRate}, attack: goBeyond(clientFrame(opContinuation, "x")),
			against: exchange, ratio: 1, memory: 32 << 20,
		},
	}
}

// floodRate is what a neighbour does not reach.
const floodRate = "--rate-connection-frames=1000/s burst 5000"

// goBeyond sends a frame inside a message, over and over, much faster than it may
// be.
func goBeyond(frame []byte) func(*assault) {
	return func(a *assault) {
		const frames = 60_000
		for i := range 10 {
			r := a.enter(user("hasty", i))
			r.sendFrame(opBegin, "x")
			r.flood(frames, func(int) []byte { return frame })
			r.expectClose(4429)
			a.units += frames
		}
	}
}

// floodWithPings sends pings and reads their pongs.
func floodWithPings(a *assault) {
	const n = 200_000
	r := a.enter("pinger")
	r.flood(n, func(i int) []byte { return clientFrame(opPing, fmt.Sprintf("%08d", i)) })
	for i := range n {
		if first, payload, err := r.next(); err != nil || first != opPong || string(payload) != fmt.Sprintf("%08d", i) {
			a.t.Fatalf("pong %d is %#x %q, %v", i, first, payload, err)
		}
	}
	a.units = n
}

// ignorePongs sends pings for as long as the server takes them, and reads nothing.
// The server soon takes nothing from it any more, and gives it up as silent.
func ignorePongs(a *assault) {
	const peers = 8
	batch := []byte(strings.Repeat(string(clientFrame(opPing, strings.Repeat("x", 125))), 256))
	var all []*rawPeer
	for i := range peers {
		r := a.enter(user("pinger", i))
		all = append(all, r)
	}
	done := make(chan int)
	for _, r := range all {
		go func() {
			sent := 0
			for r.send(batch) {
				sent += 256
			}
			done <- sent
		}()
	}
	for range all {
		a.units += <-done
	}
	const replies = 2 << 20 // limits.replies
	if held := a.probe.metric("throng_memory_bytes"); held > peers*replies {
		a.t.Errorf("%.0f bytes are held for them", held)
	}
	closed := func() int { return a.probe.labelled(`throng_closes_total{cause="heartbeat",code="4410"}`) }
	a.probe.eventually(func() bool { return closed() == peers },
		func() string { return fmt.Sprintf("%d of %d connections were closed as silent", closed(), peers) })
}

// floodWithNothing sends messages of no bytes to the echo.
func floodWithNothing(a *assault) {
	const n = 100_000
	r := a.dial("/echo")
	r.flood(n, func(int) []byte { return clientFrame(opBinary, "") })
	for i := range n {
		if first, payload, err := r.next(); err != nil || first != opBinary || len(payload) != 0 {
			a.t.Fatalf("echo %d is %#x %q, %v", i, first, payload, err)
		}
	}
	a.units = n
}

// floodWithErrors sends two invalid frames and a valid one, again and again.
func floodWithErrors(a *assault) {
	const rounds = 10_000
	r := a.enter("fool")
	trio := [...]string{`{"type":`, `{"type":"nonsense"}`, `{"type":"PING","timestamp":1}`}
	answers := [...]string{`"invalid_json"`, `"unknown_type"`, `"PONG"`}
	r.flood(rounds*3, func(i int) []byte { return clientFrame(opText, trio[i%3]) })
	for i := range rounds * 3 {
		if _, payload, err := r.next(); err != nil || !strings.Contains(string(payload), answers[i%3]) {
			a.t.Fatalf("answer %d is %q, %v", i, payload, err)
		}
	}
	a.units = rounds * 3
	for range 3 {
		r.sendFrame(opText, "x")
	}
	r.expectClose(1008)
}

// floodWithRefused sends commands that are understood and refused.
func floodWithRefused(a *assault) {
	refused := []struct{ command, code string }{
		{`{"type":"join","id":"1","room":"nowhere:x"}`, "unknown_namespace"},
		{`{"type":"leave","id":"1","room":"never joined"}`, "not_joined"},
		{`{"type":"members","id":"1","room":"never joined"}`, "not_joined"},
		{`{"type":"ack","id":"1","room":"never joined","epoch":"x","offset":1}`, "not_joined"},
		{`{"type":"message","id":"1","to":"user:","content":1}`, "invalid_field"},
		{`{"type":"status","id":"1","status":"asleep"}`, "invalid_field"},
	}
	const rounds = 4000
	n := rounds * len(refused)
	r := a.enter("nuisance")
	r.flood(n, func(i int) []byte { return clientFrame(opText, refused[i%len(refused)].command) })
	for i := range n {
		if _, payload, err := r.next(); err != nil || !strings.Contains(string(payload), `"code":"`+refused[i%len(refused)].code+`"`) {
			a.t.Fatalf("answer %d is %q, %v; want %s", i, payload, err, refused[i%len(refused)].code)
		}
	}
	a.units = n
}

// comeAndGo joins and leaves rooms, the neighbours' among them, who are told each
// time.
func comeAndGo(a *assault) {
	const pairs, rooms = 4000, 100
	r := a.enter("restless")
	r.flood(pairs*2, func(i int) []byte {
		room := fmt.Sprint("h", i/2%rooms)
		if i/2%8 == 0 {
			room = home
		}
		return clientFrame(opText, fmt.Sprintf(`{"type":%q,"id":"%d","room":%q}`, [...]string{"join", "leave"}[i%2], i, room))
	})
	joined, left := 0, 0
	for left < pairs {
		_, payload, err := r.next()
		if err != nil {
			a.t.Fatalf("after %d joins and %d leaves: %v", joined, left, err)
		}
		switch text := string(payload); {
		case strings.HasPrefix(text, `{"type":"joined"`):
			joined++
		case strings.HasPrefix(text, `{"type":"left"`):
			left++
		case strings.HasPrefix(text, `{"type":"error"`):
			a.t.Fatalf("after %d joins and %d leaves: %s", joined, left, text)
		}
	}
	if joined != pairs {
		a.t.Errorf("%d joins and %d leaves", joined, left)
	}
	a.units = pairs * 2
}

// joinTooMany joins ten times as many rooms as it may.
func joinTooMany(a *assault) { joinMany(a, 1000) }

// joinAllowed joins as many rooms as it may.
func joinAllowed(a *assault) { joinMany(a, 10_000) }

func joinMany(a *assault, most int) {
	const rooms = 10_000
	r := a.enter("collector")
	before := a.probe.resident()
	r.flood(rooms, func(i int) []byte {
		return clientFrame(opText, fmt.Sprintf(`{"type":"join","id":"%d","room":"collected-%d"}`, i, i))
	})
	joined, refused := 0, 0
	for joined+refused < rooms {
		_, payload, err := r.next()
		if err != nil {
			a.t.Fatalf("after %d rooms: %v", joined, err)
		}
		switch text := string(payload); {
		case strings.HasPrefix(text, `{"type":"joined"`):
			joined++
		case strings.Contains(text, `"code":"too_many_rooms"`):
			refused++
		default:
			a.t.Fatalf("after %d rooms: %s", joined, text)
		}
	}
	if joined != most || refused != rooms-most {
		a.t.Errorf("%d rooms joined and %d refused, where %d are allowed", joined, refused, most)
	}
	if n := int(a.probe.metric("throng_rooms")); n != most+1 {
		a.t.Errorf("%d rooms are in memory, want %d and the neighbours'", n, most)
	}
	a.t.Logf("%d bytes of memory a room", (a.probe.resident()-before)/int64(most))
	a.units = rooms
	_ = r.Close() // all of them are left at once
}
