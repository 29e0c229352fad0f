package main

import (
	"net/http"
	"strings"
	"time"
)

// handshakeAttacks are what can be done before there is a WebSocket. What each
// bad head is answered is tested at length in netio, and TestHeaderBombs has those
// of plain requests.
func handshakeAttacks() []hostile {
	return []hostile{
		{
			name: "heads that come a byte at a time", args: []string{"--limits-handshake-timeout=2s"}, attack: creep,
			against: handshake, ratio: 10, memory: 32 << 20,
		},
		{
			name: "heads without end", attack: bombWithHeaders,
			against: handshake, ratio: 6, memory: 32 << 20,
		},
		{
			name: "upgrades that are refused", attack: knock,
			against: handshake, ratio: 4, memory: 32 << 20,
		},
	}
}

// creep opens connections that say nothing, or bring a head by one byte after the
// other, until the server's patience ends.
func creep(a *assault) {
	const peers = 300
	var silent, slow []*rawPeer
	for i := range peers {
		if r := a.connect(); i%3 == 0 {
			silent = append(silent, r)
		} else {
			slow = append(slow, r)
		}
	}
	head := upgradeHead("/ws?user=slow", "X: "+strings.Repeat("x", 4<<10))
	pace := time.NewTicker(50 * time.Millisecond)
	defer pace.Stop()
	for i := 0; a.probe.metric("throng_sockets") > neighbourCount && i < len(head); i++ {
		for _, r := range slow {
			r.send([]byte{head[i]}) // fails for those whose time is up
		}
		<-pace.C
	}
	for _, r := range silent {
		if got := r.expectEnd(); got != "" {
			a.t.Errorf("one that said nothing was answered %.60q", got)
		}
	}
	for _, r := range slow {
		// A byte on its way when the server closes turns the answer into a reset.
		if status := r.status(); status != http.StatusRequestTimeout && status != 0 {
			a.t.Errorf("a slow head was answered with %d, want 408", status)
		}
	}
	timeouts := a.probe.labelled(`throng_handshakes_total{result="handshake_timeout"}`) // counted before they are ended
	if timeouts != peers {
		a.t.Errorf("%d handshakes took too long, want %d", timeouts, peers)
	}
	a.units = peers
}

// bombWithHeaders sends heads that are too long in one way or another, and goes on
// when it has been told.
func bombWithHeaders(a *assault) {
	const more = 256 << 10
	bombs := map[string]string{
		"a header":       upgradeHead("/ws?user=x", "X: "+strings.Repeat("x", more)),
		"many headers":   upgradeHead("/ws?user=x", strings.Repeat("X: x\r\n", more/6)),
		"65 headers":     upgradeHead("/ws?user=x", strings.Repeat("X: x\r\n", 60)+"\r\n"),
		"a path":         upgradeHead("/ws?user=" + strings.Repeat("x", more)),
		"not a line end": strings.Repeat("x", more),
		"a host":         strings.Replace(upgradeHead("/ws?user=x"), "Host: x", "Host: "+strings.Repeat("x", more), 1),
	}
	for range 40 {
		for name, head := range bombs {
			r := a.connect()
			go r.send([]byte(head)) // the server need not take all of it
			if status := r.status(); status != http.StatusRequestHeaderFieldsTooLarge {
				a.t.Errorf("%s: answered with %d, want 431", name, status)
			}
			_ = r.Close()
			a.units++
		}
	}
}

// knock asks for what is refused at the door.
func knock(a *assault) {
	plain := upgradeHead("/ws?user=x")
	refused := map[string]int{
		upgradeHead("/none"): http.StatusNotFound,
		upgradeHead("/ws?user=x", "Origin: https://elsewhere.example"):                     http.StatusForbidden,
		upgradeHead("/ws?token=nonsense"):                                                  http.StatusUnauthorized,
		strings.Replace(plain, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", 1): http.StatusUpgradeRequired,
		strings.Replace(plain, "dGhlIHNhbXBsZSBub25jZQ==", "short", 1):                     http.StatusBadRequest,
		upgradeHead("/ws?user=" + strings.Repeat("x", 200)):                                http.StatusUnprocessableEntity,
	}
	for range 80 {
		for head, want := range refused {
			r := a.connect()
			r.send([]byte(head))
			if status := r.status(); status != want {
				a.t.Errorf("%.80q: answered with %d, want %d", head, status, want)
			}
			_ = r.Close()
			a.units++
		}
	}
	if n := a.probe.metric("throng_connections"); n != neighbourCount {
		a.t.Errorf("%.0f connections are open", n)
	}
}
