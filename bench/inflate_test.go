package bench

import (
	"bytes"
	"testing"

	"github.com/gobwas/ws"

	"github.com/thronghq/throng/proto"
)

// compressedPayload is what a compressed message's frame holds.
func compressedPayload(t *testing.T, message []byte, w proto.Window) []byte {
	t.Helper()
	frame := proto.DeflateFrame(serverFrame(t, ws.OpText, message), 0, w, 1)
	_, payload, size, _, err := nextFrame(frame, true)
	if err != nil || size != len(frame) || frame[0]&rsv1 == 0 {
		t.Fatalf("%v, a frame of %d bytes of %d", err, size, len(frame))
	}
	return payload
}

func TestInflater(t *testing.T) {
	i := newInflater()
	for n := range 50 {
		message := appendContent(nil, stamp{author: 1, seq: uint32(n / 2)}, 500+300*n)
		for _, w := range []proto.Window{proto.SmallWindow, proto.StandardWindow, proto.StandardWindow} {
			got, err := i.inflate(compressedPayload(t, message, w))
			if err != nil || !bytes.Equal(got, message) {
				t.Fatalf("message %d: %v, %d bytes, want %d", n, err, len(got), len(message))
			}
		}
	}
	if i.count() != 150 || len(i.known) > 100 {
		t.Errorf("%d frames were counted, %d are known", i.count(), len(i.known))
	}
	if _, err := i.inflate([]byte("\xff\xff not compressed")); err == nil {
		t.Error("what is not compressed was inflated")
	}
	again := appendContent(nil, stamp{}, 1000)
	if got, err := i.inflate(compressedPayload(t, again, proto.StandardWindow)); err != nil || !bytes.Equal(got, again) {
		t.Errorf("after an error: %v, %d bytes", err, len(got))
	}
}

func TestInflaterIsBounded(t *testing.T) {
	i := newInflater()
	for n := range 20 {
		message := appendContent(nil, stamp{seq: uint32(n)}, 1<<20)
		if _, err := i.inflate(compressedPayload(t, message, proto.StandardWindow)); err != nil {
			t.Fatal(err)
		}
		if i.bytes > maxKnown {
			t.Fatalf("%d bytes are known", i.bytes)
		}
	}
	zeros := append(compressedPayload(t, make([]byte, 1<<20), proto.StandardWindow), "\x00\x00\xff\xff"...)
	bomb := bytes.Repeat(zeros, maxFrame>>20+1)
	if _, err := i.inflate(bomb); err == nil {
		t.Error("a message beyond the bound was inflated")
	}
}

// The filler must not make compression look better than it is with real messages.
func TestFillerIsLikeProse(t *testing.T) {
	message := appendContent(nil, stamp{author: 7, seq: 9, due: 1 << 50}, 1024)
	ratio := float64(len(compressedPayload(t, message, proto.StandardWindow))) / float64(len(message))
	if ratio < 0.3 || ratio > 0.6 {
		t.Errorf("a kilobyte compresses to %.2f of it", ratio)
	}
}

func TestUpgradeMustAgree(t *testing.T) {
	const plain = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + upgradeAccept + "\r\n"
	const agreed = plain + "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n"
	for _, test := range []struct {
		answer  string
		deflate bool
		ok      bool
	}{{plain, false, true}, {agreed, true, true}, {plain, true, false}, {agreed, false, false}} {
		if _, done, err := readUpgrade([]byte(test.answer+"\r\n"), test.deflate); done != test.ok || (err == nil) != test.ok {
			t.Errorf("offered: %v, answer %q: %v, %v", test.deflate, test.answer, done, err)
		}
	}
}
