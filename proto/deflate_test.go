package proto_test

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"

	"github.com/thronghq/throng/internal/callgrind"
	"github.com/thronghq/throng/proto"
)

var windows = []proto.Window{proto.SmallWindow, proto.StandardWindow}

// plainFrame is a whole unmasked frame.
func plainFrame(op ws.OpCode, payload []byte) []byte {
	return proto.AppendEventFrame(nil, verbatim{op}, &proto.Event{ID: payload})
}

// parseFrame reads the one frame that b is.
func parseFrame(t testing.TB, b []byte) ws.Frame {
	t.Helper()
	r := bytes.NewReader(b)
	h, err := ws.ReadHeader(r)
	if err != nil || h.Length != int64(r.Len()) {
		t.Fatalf("not one whole frame: %v, a payload of %d in %d bytes", err, h.Length, r.Len())
	}
	return ws.Frame{Header: h, Payload: b[len(b)-r.Len():]}
}

// inflated returns what a frame carries, decompressed as RFC 7692, section 7.2.2,
// says.
func inflated(t testing.TB, f ws.Frame) []byte {
	t.Helper()
	if !f.Header.Rsv1() {
		return f.Payload
	}
	const tail, final = "\x00\x00\xff\xff", "\x01\x00\x00\xff\xff"
	out, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(f.Payload), strings.NewReader(tail+final))))
	if err != nil {
		t.Fatalf("the frame's payload does not inflate: %v", err)
	}
	return out
}

// prose has n bytes of words.
func prose(n int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, `{"item":%d,"of":"several that are much alike"},`, i)
	}
	return b[:n]
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestDeflateFrame(t *testing.T) {
	for _, w := range windows {
		for _, n := range []int{256, 1024, 4096, 65_536, 70_000, 300_000} {
			for _, op := range []ws.OpCode{ws.OpText, ws.OpBinary} {
				payload, before := prose(n), []byte("before")
				frame := plainFrame(op, payload)
				got := proto.DeflateFrame(append(bytes.Clone(before), frame...), len(before), w, 256)
				if !bytes.HasPrefix(got, before) {
					t.Fatalf("window %d, %d bytes: what stood before the frame has changed", w, n)
				}
				if len(got)-len(before) >= len(frame) {
					t.Errorf("window %d, %d bytes: the frame has %d of %d bytes", w, n, len(got)-len(before), len(frame))
				}
				f := parseFrame(t, got[len(before):])
				if h := f.Header; !h.Fin || h.Rsv != 0b100 || h.OpCode != op || h.Masked {
					t.Errorf("window %d, %d bytes: the frame's header is %+v", w, n, h)
				}
				if !bytes.Equal(inflated(t, f), payload) {
					t.Errorf("window %d, %d bytes: the frame carries something else", w, n)
				}
			}
		}
	}
}

func TestDeflateFrameKeepsWhatIsShortOrNotSmaller(t *testing.T) {
	for _, test := range []struct {
		name    string
		payload []byte
		w       proto.Window
		minimum int
	}{
		{"one byte short of the minimum", prose(255), proto.StandardWindow, 256},
		{"the same, small window", prose(255), proto.SmallWindow, 256},
		{"empty, without a minimum", nil, proto.StandardWindow, 0},
		{"noise", noise(2000), proto.StandardWindow, 1},
		{"noise, small window", noise(2000), proto.SmallWindow, 1},
		{"much noise", noise(200_000), proto.StandardWindow, 1},
		{"a few bytes", []byte("abc"), proto.StandardWindow, 1},
		{"no compression", prose(1000), proto.Plain, 1},
	} {
		frame := plainFrame(ws.OpBinary, test.payload)
		if got := proto.DeflateFrame(bytes.Clone(frame), 0, test.w, test.minimum); !bytes.Equal(got, frame) {
			t.Errorf("%s: the frame has changed", test.name)
		}
	}
	if got := proto.DeflateFrame(plainFrame(ws.OpText, prose(256)), 0, proto.StandardWindow, 256); got[0]&0x40 == 0 {
		t.Error("a payload of the minimum is not compressed")
	}
}

// What stands before the frame must not be referred to: a client without context
// takeover could not read it.
func TestDeflateFrameRefersToNothingBefore(t *testing.T) {
	for _, w := range windows {
		payload := prose(2000)
		first := proto.DeflateFrame(plainFrame(ws.OpText, payload), 0, w, 1)
		for range 3 {
			both := proto.DeflateFrame(append(bytes.Clone(first), plainFrame(ws.OpText, payload)...), len(first), w, 1)
			if !bytes.Equal(both[len(first):], first) {
				t.Errorf("window %d: the same message has another compressed frame the second time", w)
			}
		}
	}
}

func TestSmallWindowBoundsDistances(t *testing.T) {
	far := append(append(noise(100), bytes.Repeat([]byte("ab"), 2000)...), noise(100)...)
	for _, payload := range [][]byte{prose(100_000), far, bytes.Repeat(noise(250), 40), bytes.Repeat(noise(258), 40)} {
		for _, w := range windows {
			frame := proto.DeflateFrame(plainFrame(ws.OpBinary, payload), 0, w, 1)
			if frame[0]&0x40 == 0 {
				continue
			}
			f := parseFrame(t, frame)
			if got, bound := farthest(t, f.Payload), 1<<w; got > bound {
				t.Errorf("window %d: a reference goes %d bytes back, more than %d", w, got, bound)
			}
		}
	}
	// The check itself sees distances: the far copy is found with the other window.
	f := parseFrame(t, proto.DeflateFrame(plainFrame(ws.OpBinary, far), 0, proto.StandardWindow, 1))
	if got := farthest(t, f.Payload); got < 4000 {
		t.Errorf("with the standard window the farthest reference goes %d bytes back, want some 4,100", got)
	}
}

func TestDeflateFrameAtOnce(t *testing.T) {
	payload := prose(3000)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			w := windows[i%2]
			own := append(fmt.Appendf(nil, "%d ", i), payload...)
			for range 50 {
				f := parseFrame(t, proto.DeflateFrame(plainFrame(ws.OpText, own), 0, w, 1))
				if !bytes.Equal(inflated(t, f), own) {
					t.Errorf("goroutine %d got another message", i)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestDeflateFrameAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("not counted under the race detector")
	}
	for _, w := range windows {
		for _, n := range []int{200, 1024, 16 << 10, 60 << 10} {
			frame := plainFrame(ws.OpText, prose(n))
			dst := make([]byte, 0, len(frame))
			expectNoAllocs(t, fmt.Sprintf("DeflateFrame of %d bytes with window %d", n, w), func() {
				dst = proto.DeflateFrame(append(dst[:0], frame...), 0, w, 256)
			})
		}
	}
}

func FuzzDeflateFrame(f *testing.F) {
	f.Add([]byte(""), uint16(1), true)
	f.Add(prose(300), uint16(256), false)
	f.Add(noise(300), uint16(0), true)
	f.Add(bytes.Repeat([]byte("a"), 5000), uint16(1), true)
	f.Add(bytes.Repeat(noise(257), 4), uint16(1), true)
	f.Fuzz(func(t *testing.T, payload []byte, minimum uint16, small bool) {
		w := proto.StandardWindow
		if small {
			w = proto.SmallWindow
		}
		plain := plainFrame(ws.OpBinary, payload)
		got := proto.DeflateFrame(bytes.Clone(plain), 0, w, int(minimum))
		frame := parseFrame(t, got)
		switch {
		case !bytes.Equal(inflated(t, frame), payload):
			t.Fatal("the frame carries something else")
		case !frame.Header.Rsv1():
			if !bytes.Equal(got, plain) {
				t.Fatal("a frame that is not compressed has changed")
			}
		case len(payload) < int(minimum) || len(got) >= len(plain):
			t.Fatalf("%d bytes became %d, with a minimum of %d", len(plain), len(got), minimum)
		case farthest(t, frame.Payload) > 1<<w:
			t.Fatalf("a reference goes farther back than window %d", w)
		}
	})
}

func BenchmarkDeflateFrame(b *testing.B) {
	for _, w := range windows {
		for _, n := range []int{256, 1024, 16 << 10} {
			b.Run(fmt.Sprintf("window=%d/bytes=%d", w, n), func(b *testing.B) {
				frame := plainFrame(ws.OpText, prose(n))
				dst := make([]byte, 0, len(frame))
				callgrind.Loop(b, func() { dst = proto.DeflateFrame(append(dst[:0], frame...), 0, w, 1) })
				b.ReportMetric(float64(len(dst))/float64(len(frame)), "ratio")
			})
		}
	}
}
