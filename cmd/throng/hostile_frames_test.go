package main

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// frameAttacks are what can be done with frames. What breaks RFC 6455 and how it
// is answered is tested at length in netio; here it is what it costs.
func frameAttacks() []hostile {
	return []hostile{
		{
			name: "frames that break the protocol", attack: breakFrames,
			against: handshake, ratio: 4, memory: 32 << 20,
		},
		{
			name: "text that is no UTF-8, cut at each byte", attack: breakText,
			against: handshake, ratio: 4, memory: 32 << 20,
		},
		{
			name: "messages that are declared to be huge", attack: declareHuge,
			against: handshake, ratio: 4, memory: 32 << 20,
		},
		{
			name: "messages that are never finished", args: []string{"--limits-message-timeout=1s"}, attack: leaveUnfinished,
			against: handshake, ratio: 6, memory: 64 << 20,
		},
		{
			name: "unfinished messages beyond the memory budget", args: []string{"--memory-budget=4MiB"}, attack: fillTheBudget,
			against: handshake, ratio: 10, memory: 48 << 20,
		},
		{
			name: "fragments with nothing in them", attack: sendEmptyFragments,
			against: exchange, ratio: 2, memory: 32 << 20,
		},
		{
			name: "fragments of one byte", attack: sendTinyFragments,
			against: exchange, ratio: 2, memory: 32 << 20,
		},
		{
			name: "compression bombs", args: []string{"--compress-enabled"}, attack: sendBombs,
			against: handshake, ratio: 6, memory: 32 << 20,
		},
		{
			name: "messages that inflate to the limit", args: []string{"--compress-enabled"}, attack: floodInflated,
			against: handshake, ratio: 16, memory: 32 << 20,
		},
	}
}

// broken are frames, or what is left of them, and the close code of each.
func broken() map[string]struct {
	bytes string
	code  int
} {
	type frames = struct {
		bytes string
		code  int
	}
	const big = 64<<10 + 8<<10 // limits.message and limits.envelope
	frame := func(parts ...any) string {
		var b strings.Builder
		for i := 0; i < len(parts); i += 2 {
			b.Write(clientFrame(byte(parts[i].(int)), parts[i+1].(string)))
		}
		return b.String()
	}
	all := map[string]frames{
		"unmasked":                      {"\x81\x01x", 1002},
		"a fragmented ping":             {frame(0x09, ""), 1002},
		"a ping of 126 bytes":           {frame(opPing, strings.Repeat("x", 126)), 1002},
		"a continuation of nothing":     {frame(opEnd, "x"), 1002},
		"a message inside another":      {frame(opBegin, "x", opText, "x"), 1002},
		"a length with the top bit set": {"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 1002},
		"a close frame of one byte":     {frame(opClose, "\x03"), 1002},
		"a close reason in no UTF-8":    {frame(opClose, "\x03\xe8\xff"), 1007},
		"a message too long":            {frame(opText, strings.Repeat("x", big+1)), 1009},
		"fragments too long":            {frame(opBegin, strings.Repeat("x", big), opEnd, "x"), 1009},
	}
	for rsv := 0x10; rsv <= 0x70; rsv += 0x10 {
		all[fmt.Sprintf("reserved bits %#x", rsv)] = frames{frame(opText|rsv, "x"), 1002}
		all[fmt.Sprintf("reserved bits %#x in a continuation", rsv)] = frames{frame(opBegin, "x", opEnd|rsv, "x"), 1002}
	}
	for _, op := range []int{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		all[fmt.Sprintf("opcode %d", op)] = frames{frame(0x80|op, ""), 1002}
	}
	for _, code := range []uint16{0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535} {
		all[fmt.Sprintf("close code %d", code)] = frames{frame(opClose, string(binary.BigEndian.AppendUint16(nil, code))), 1002}
	}
	return all
}

// breakFrames sends each of the broken frames many times.
func breakFrames(a *assault) {
	for range 6 {
		for name, b := range broken() {
			r := a.enter("breaker")
			r.send([]byte(b.bytes))
			if code, reason, err := r.closedWith(); code != b.code {
				a.t.Errorf("%s: closed with %d %s (%v), want %d", name, code, reason, err, b.code)
			}
			_ = r.Close()
			a.units++
		}
	}
}

// breakText sends text that is no UTF-8 in two pieces, cut at each byte: as two
// fragments, and as two segments of one frame.
func breakText(a *assault) {
	for _, text := range []string{
		"h\xc3\xa9 \xc0\xaf", "h\xc3\xa9 \xe0\x80\xaf", "h\xc3\xa9 \xf0\x80\x80\xaf", "h\xc3\xa9 \xed\xa0\x80", "h\xc3\xa9 \xf4\x90\x80\x80",
		"\xf8\x88\x80\x80\x80", "\xff", "\x80", "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", "\xf0\x9f\x91", "\xe2\x82",
	} {
		for cut := range len(text) + 1 {
			r := a.enter("breaker")
			r.sendFrame(opBegin, text[:cut])
			r.sendFrame(opEnd, text[cut:])
			r.expectClose(1007)
			r = a.enter("breaker")
			frame := clientFrame(opText, text)
			at := len(frame) - len(text) + cut
			r.send(frame[:at])
			r.send(frame[at:])
			r.expectClose(1007)
			a.units += 2
		}
	}
}

// declareHuge begins messages of up to an exbibyte.
func declareHuge(a *assault) {
	for i := range 300 {
		r := a.enter("boaster")
		length := uint64(1) << (20 + i%41)
		head := binary.BigEndian.AppendUint64([]byte{opBinary, 0x80 | 127}, length)
		r.send(append(head, 0, 0, 0, 0, 'x'))
		r.expectClose(1009)
		a.units++
	}
}

// unfinishedPart is what comes of a message that is not finished.
var unfinishedPart = clientFrame(opText, strings.Repeat("x", 64<<10))[:60<<10]

// leaveUnfinished leaves messages unfinished, in frames and between fragments, and
// answers pings all the while.
func leaveUnfinished(a *assault) {
	const peers = 200
	var all []*rawPeer
	for i := range peers {
		r := a.enter(user("idler", i))
		if i%2 == 0 {
			r.send(unfinishedPart)
		} else {
			r.sendFrame(opBegin, strings.Repeat("x", 60<<10))
			r.sendFrame(opPong, "")
		}
		all = append(all, r)
	}
	for _, r := range all {
		r.expectClose(4411)
	}
	a.units = peers
	closed := func() int { return a.probe.labelled(`throng_closes_total{cause="unfinished",code="4411"}`) }
	a.probe.eventually(func() bool { return closed() == peers },
		func() string { return fmt.Sprintf("%d connections were closed for it, want %d", closed(), peers) })
}

// fillTheBudget holds more in unfinished messages than all may hold together.
func fillTheBudget(a *assault) {
	const peers, budget = 150, 4 << 20
	var held []*rawPeer
	worst := 0.0
	for i := range peers {
		r, status := a.open("/ws?user=" + user("holder", i))
		if status == http.StatusServiceUnavailable {
			continue // the mark is passed at this moment, and he knows
		}
		r.awaitFrames(1, `{"type":"session"`)
		r.send(unfinishedPart)
		held = append(held, r)
		if i%10 == 0 {
			worst = max(worst, a.probe.metric("throng_memory_bytes"))
		}
	}
	a.probe.eventually(func() bool { return a.probe.metric("throng_memory_bytes") <= budget*0.8 },
		func() string { return fmt.Sprintf("%.0f bytes are held", a.probe.metric("throng_memory_bytes")) })
	if worst > 2*budget {
		a.t.Errorf("%.0f bytes were held, with a budget of %d", worst, budget)
	}
	shed := int(a.probe.metric("throng_shed_total"))
	if least := (peers*len(unfinishedPart) - budget) / (64 << 10) / 2; shed < least {
		a.t.Errorf("%d connections were ended, of at least %d", shed, least)
	}
	told := 0
	for _, r := range held {
		_ = r.CloseWrite()
		if code, _, err := r.closedWith(); err == nil && code == 4409 {
			told++
		}
		_ = r.Close()
	}
	if told != shed {
		a.t.Errorf("%d connections were told with 4409, and %d were ended", told, shed)
	}
	a.units = peers
}

// sendEmptyFragments sends messages of fragments with nothing in them, until it
// is shown the door.
func sendEmptyFragments(a *assault) {
	const peers, frames = 40, 1026
	part := strings.Repeat(string(clientFrame(opContinuation, "")), frames-1)
	for i := range peers {
		r := a.enter(user("empty", i))
		r.send([]byte(string(clientFrame(opBegin, "")) + part))
		r.expectClose(1008)
		a.units += frames
	}
}

// sendTinyFragments sends messages in fragments of one byte, until they are too
// long.
func sendTinyFragments(a *assault) {
	const peers, frames = 4, 72<<10 + 1
	part := strings.Repeat(string(clientFrame(opContinuation, "x")), 4<<10)
	for i := range peers {
		r := a.enter(user("tiny", i))
		r.sendFrame(opBegin, "x")
		for sent := 1; sent < frames && r.send([]byte(part)); sent += 4 << 10 {
		}
		r.expectClose(1009)
		a.units += frames
	}
}

// enterCompressed is enter, with permessage-deflate.
func (a *assault) enterCompressed(user string) *rawPeer {
	a.t.Helper()
	r := a.connect()
	r.send([]byte(upgradeHead("/ws?user="+user, "Sec-WebSocket-Extensions: permessage-deflate")))
	if status := r.status(); status != http.StatusSwitchingProtocols {
		a.t.Fatalf("the handshake was answered with %d", status)
	}
	r.awaitFrames(1, `{"type":"session"`)
	return r
}

// deflated is a message as permessage-deflate has it (RFC 7692, section 7.2.1).
func (a *assault) deflated(message string) string {
	a.t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err == nil {
		_, err = w.Write([]byte(message))
	}
	if err = errors.Join(err, w.Flush()); err != nil {
		a.t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// sendBombs sends 16 KiB that stand for 16 MiB, in one frame and in many.
func sendBombs(a *assault) {
	bomb := a.deflated(strings.Repeat("\x00", 16<<20))
	for range 100 {
		r := a.enterCompressed("bomber")
		r.sendFrame(opText|rsv1, bomb)
		r.expectClose(1009)
		r = a.enterCompressed("bomber")
		for first, rest := byte(opBegin|rsv1), bomb; rest != ""; first = opContinuation {
			n := min(1000, len(rest))
			r.sendFrame(first, rest[:n])
			rest = rest[n:]
		}
		r.sendFrame(opEnd, "")
		r.expectClose(1009)
		a.units += 2
	}
}

// floodInflated sends commands of a few hundred bytes that stand for as much as a
// command may have.
func floodInflated(a *assault) {
	const n = 500
	ping := a.deflated(`{"type":"PING","timestamp":1,"pad":"` + strings.Repeat("x", 60<<10) + `"}`)
	r := a.enterCompressed("inflater")
	r.flood(n, func(int) []byte { return clientFrame(opText|rsv1, ping) })
	r.awaitFrames(n, `{"type":"PONG"`)
	a.units = n
}
