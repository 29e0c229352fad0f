package netio

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
	fastflate "github.com/klauspost/compress/flate"

	"github.com/thronghq/throng/internal/budget"
)

// newTestInflater returns an inflater with a pool and a budget of its own.
func newTestInflater() *inflater {
	return newInflater(new(buffers), budget.New(0, nil).Kind("inflated"), new(inflateStats))
}

// pack compresses a message, at that level of compress/flate, as RFC 7692, section
// 7.2.1, says. It is flushed after each of the parts but the last one.
func pack(t testing.TB, level int, parts ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	pool, err := &packers[level-flate.HuffmanOnly], error(nil)
	w, ok := pool.Get().(*flate.Writer)
	if ok {
		w.Reset(&b)
	} else {
		w, err = flate.NewWriter(&b, level)
	}
	for i := 0; i < len(parts) && err == nil; i++ {
		if _, err = w.Write(parts[i]); err == nil {
			err = w.Flush()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	pool.Put(w)
	return bytes.TrimSuffix(b.Bytes(), deflateTail[:])
}

// packers keeps the writers of pack, by level: to make one takes longer than most
// of what it then does.
var packers [flate.BestCompression - flate.HuffmanOnly + 1]sync.Pool

// prose returns some text of that length which compresses as text does.
func prose(size int) []byte {
	words := strings.Fields(`the of and to in is that room message member offset epoch history latency ünïcode {"type":"message","content":{`)
	r := rand.New(rand.NewPCG(1, uint64(size)))
	var b bytes.Buffer
	for b.Len() < size {
		fmt.Fprintf(&b, "%s %d ", words[r.IntN(len(words))], r.IntN(40))
	}
	return bytes.ToValidUTF8(b.Bytes()[:size], []byte("?"))
}

// noise returns bytes that do not compress.
func noise(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return b
}

// rfcExamples are those of RFC 7692, section 7.2.3. Each stands for Hello, but for
// the last one, which is empty.
var rfcExamples = []struct{ name, packed, message string }{
	{"7.2.3.1 one block", "\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello"},
	{"7.2.3.3 without compression", "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello"},
	{"7.2.3.4 a final block", "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello"},
	{"7.2.3.5 two blocks", "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello"},
	{"7.2.3.6 empty", "\x00", ""},
}

// TestInflate: what RFC 7692 gives as examples, and what senders make that are less
// strict than it.
func TestInflate(t *testing.T) {
	type example = struct{ name, packed, message string }
	d := newTestInflater()
	for _, tc := range append(rfcExamples,
		example{"empty, as Chromium has it", "\x02\x00", ""},
		example{"nothing at all", "", ""},
		example{"the tail was not left out", "\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff", "Hello"},
		example{"a final block and nothing after it", "\xf3\x48\xcd\xc9\xc9\x07\x00", "Hello"},
		example{"two final blocks, with a reach from one into the other", "\xf3\x48\xcd\xc9\xc9\x07\x00\x03\x13\x00\x00", "HelloHello"},
		example{"a block without compression that the tail fills", "\x00\x04\x00\xfb\xff", "\x00\x00\xff\xff"},
		example{"a reach of one byte behind one", "\x4a\x04\x02\x00\x00", "aaaa"},
		example{"a thousand final blocks", strings.Repeat("\x03\x00", 1000) + "\x00", ""},
	) {
		got, err := d.inflate(ws.OpBinary, []byte(tc.packed), 10)
		if err != nil || string(got) != tc.message {
			t.Errorf("%s: %q, %v", tc.name, got, err)
			continue
		}
		d.release()
	}
	if held := d.memory.Held(); held != 0 {
		t.Errorf("%d bytes are left in the books", held)
	}
}

// TestInflateWhole: messages of many sizes and kinds, compressed in every way that
// compress/flate has, come out as they were.
func TestInflateWhole(t *testing.T) {
	d := newTestInflater()
	for _, size := range []int{0, 1, 3, 64, 257, 258, 4096, 32_769, 131_072} {
		for name, message := range map[string][]byte{"text": prose(size), "noise": noise(size), "zeros": make([]byte, min(size, inflateFree))} {
			at := len(message) / 3
			for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, flate.BestSpeed, flate.DefaultCompression} {
				for _, parts := range [][][]byte{{message}, {message[:at], message[at:]}} {
					got, err := d.inflate(ws.OpBinary, pack(t, level, parts...), len(message))
					if err != nil || !bytes.Equal(got, message) {
						t.Fatalf("%s of %d bytes at level %d: %d bytes, %v", name, size, level, len(got), err)
					}
					d.release()
				}
			}
		}
	}
}

// TestInflateRefuses: data that is not DEFLATE, or not whole, is an error, and
// leaves nothing held.
func TestInflateRefuses(t *testing.T) {
	d := newTestInflater()
	bad := map[string]string{
		"a reach into the message before (7.2.3.2)":         "\xf2\x00\x11\x00\x00",
		"a reach of two bytes behind one":                   "\x4a\x04\x42\x00\x00",
		"a reach of two bytes behind one, far from the end": "\x4a\x04\x42\x00\x00" + strings.Repeat("\x00", 30),
		"block type 3":                          "\x06",
		"garbage after the end":                 "\xf3\x48\xcd\xc9\xc9\x07\x00\xff",
		"a length that is wrong":                "\x00\x05\x00\xfb\xff\x48\x65\x6c\x6c\x6f\x00",
		"a block cut off":                       "\x00\x06\x00\xf9\xff\x48",
		"a block that ends beyond the tail":     "\x01\x09\x00\xf6\xff",
		"a code for a length that there is not": "\x1b\x03\x00", // symbol 286
		"no end of the block":                   "\xf2\x48\xcd\xc9\xc9",
		"codes for lengths that are too many":   "\x04\xc0\x3f\xff\xff\xff\xff\xff\xff\xff\xff",
		"plain text":                            "Hello",
		"only a header":                         "\x05",
	}
	for name, packed := range bad {
		if got, err := d.inflate(ws.OpBinary, []byte(packed), 1<<20); err != errDeflate {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	whole := pack(t, 6, prose(3000))
	for n := range whole[1:] {
		if got, err := d.inflate(ws.OpBinary, whole[:n+1], 1<<20); err != errDeflate && n+1 < len(whole)-1 {
			t.Errorf("%d of %d bytes: %d bytes, %v", n+1, len(whole), len(got), err)
		} else if err == nil {
			d.release()
		}
	}
	for _, text := range []string{"\xff", "κόσμ\xce", "\xed\xa0\x80"} {
		if _, err := d.inflate(ws.OpText, pack(t, 6, []byte(text)), 1<<20); err != errText {
			t.Errorf("text %q: %v", text, err)
		}
	}
	if held := d.memory.Held(); held != 0 {
		t.Errorf("%d bytes are left in the books", held)
	}
}

// TestInflateBounds: a message may come to as many bytes as the bound says and to
// no more, and beyond inflateFree only to so many for each that was sent. What is
// held meanwhile follows the bound, whatever was sent.
func TestInflateBounds(t *testing.T) {
	d := newTestInflater()
	for _, message := range [][]byte{prose(5000), noise(5000), make([]byte, 5000)} {
		for level := flate.HuffmanOnly; level <= 9; level++ {
			packed := pack(t, level, message)
			if got, err := d.inflate(ws.OpBinary, packed, 5000); err != nil || len(got) != 5000 {
				t.Errorf("level %d, at the bound: %v", level, err)
			} else {
				d.release()
			}
			if _, err := d.inflate(ws.OpBinary, packed, 4999); err != errTooBig {
				t.Errorf("level %d, past the bound: %v", level, err)
			}
		}
	}
	bomb := pack(t, 6, make([]byte, 4<<20))
	if _, err := d.inflate(ws.OpBinary, bomb, 4<<20); err != errRatio {
		t.Errorf("4 MiB of zeros in %d bytes: %v", len(bomb), err)
	}
	if _, err := d.inflate(ws.OpBinary, bomb, 500_000); err != errTooBig {
		t.Errorf("the same where 500 kB are the bound: %v", err)
	}
	if held := d.memory.Held(); held != 0 {
		t.Errorf("%d bytes are left in the books", held)
	}
	for _, limit := range []int{1000, 100_000, 1 << 20} {
		var before, after runtime.MemStats
		d := newTestInflater()
		runtime.ReadMemStats(&before)
		if _, err := d.inflate(ws.OpBinary, bomb, limit); err == nil {
			t.Error("a bomb was inflated")
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > uint64(4*limit+64<<10) {
			t.Errorf("%d bytes were allocated for a message of %d at the most", n, limit)
		}
	}
}

// reference inflates by compress/flate, final blocks inside the message included.
// What it is given after the message must not be part of it: two different ends
// tell.
func reference(packed []byte) (message []byte, ok bool) {
	var results [2][]byte
	for i, end := range []string{"\x01\x00\x00\xff\xff", "\x03\x00"} {
		in := bytes.NewReader(append(append(bytes.Clone(packed), deflateTail[:]...), end...))
		var out []byte
		for in.Len() > 0 {
			b, err := io.ReadAll(flate.NewReaderDict(in, out[max(0, len(out)-32<<10):]))
			out = append(out, b...)
			if err != nil {
				return nil, false
			}
		}
		results[i] = out
	}
	return results[0], bytes.Equal(results[0], results[1])
}

// endsWithin reports whether a message is whole before the tail: blocks end where
// the data does, as senders have it that are not strict.
func endsWithin(packed []byte) bool {
	d := newTestInflater()
	_, err := d.inflate(ws.OpBinary, packed, 1<<20)
	return err == nil && d.pos-int(d.n/8) == len(packed)
}

// FuzzInflate holds the inflater to compress/flate: they take the same data and
// make the same of it.
func FuzzInflate(f *testing.F) {
	for _, ex := range rfcExamples {
		f.Add([]byte(ex.packed))
	}
	for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
		f.Add(pack(f, level, prose(300)))
		f.Add(pack(f, level, prose(100), noise(40), make([]byte, 300)))
	}
	f.Add([]byte("\x03\x00\x03\x00\x00"))
	d := newTestInflater()
	f.Fuzz(func(t *testing.T, packed []byte) {
		if len(packed) > 1<<12 {
			return
		}
		want, ok := reference(packed)
		got, err := d.inflate(ws.OpBinary, packed, 1<<20)
		switch {
		case err == errRatio || err == errTooBig:
			if ok && len(want) <= inflateFree {
				t.Errorf("%v, compress/flate: %d bytes", err, len(want))
			}
			return
		case err != nil && ok:
			t.Errorf("%v, compress/flate: %d bytes", err, len(want))
		case err == nil && !ok && !endsWithin(packed):
			t.Errorf("%d bytes, compress/flate: an error", len(got))
		case err == nil && ok && !bytes.Equal(got, want):
			t.Errorf("%x, compress/flate: %x", got, want)
		}
		if err == nil {
			d.release()
		}
		if held := d.memory.Held(); held != 0 {
			t.Fatalf("%d bytes are left in the books", held)
		}
	})
}

// FuzzDeflated: whatever a message is, and however it was compressed and cut, the
// reader tells of it as of the plain one.
func FuzzDeflated(f *testing.F) {
	f.Add([]byte("Hello"), 6, uint16(2), []byte{3})
	f.Add(prose(5000), 1, uint16(1000), []byte{200, 0})
	f.Add([]byte("κόσμε\xce"), 0, uint16(3), []byte{0})
	var pool buffers
	d := newTestInflater()
	f.Fuzz(func(t *testing.T, message []byte, level int, cut uint16, cuts []byte) {
		if len(message) > 1<<13 {
			return
		}
		level = max(flate.HuffmanOnly, min(level, flate.BestCompression))
		frame := func(first byte, payload []byte) []byte { return maskedFrame(first, [4]byte{1, 2, 3, 4}, payload) }
		at := min(int(cut), len(message))
		packed := pack(t, level, message[:at], message[at:])
		at = min(int(cut), len(packed))
		stream := frames(frame(0x41, packed[:at]), frame(ping, []byte("p")), frame(0x80, packed[at:]), frame(binry|rsv1Bit, packed))
		got, err := readDeflated(&frameReader{pool: &pool, maxMessage: 4096, inflater: d}, stream, cuts)
		want := []string{"control 9 70"}
		var code ws.StatusCode
		switch {
		case len(message) > 4096:
			code = ws.StatusMessageTooBig
		case !utf8.Valid(message):
			code = ws.StatusInvalidFramePayloadData
		default:
			want = append(want, fmt.Sprintf("message 1 %x", message), fmt.Sprintf("message 2 %x", message))
		}
		var bad *protocolError
		if errors.As(err, &bad); (bad == nil) != (code == 0) || bad != nil && bad.code != code {
			t.Errorf("%v, want close code %d", err, code)
		}
		if code == ws.StatusMessageTooBig && len(got) == 0 {
			want = nil // its length told
		}
		if !slicesEqual(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// readDeflated feeds a stream cut into pieces, whose sizes cuts gives in turn.
func readDeflated(r *frameReader, stream, cuts []byte) ([]string, error) {
	tr := new(transcript)
	defer r.release()
	for i := 0; len(stream) > 0; i++ {
		n := len(stream)
		if len(cuts) > 0 {
			n = min(n, int(cuts[i%len(cuts)])+1)
		}
		if _, err := r.feed(stream[:n], tr); err != nil {
			return tr.lines, err
		}
		stream = stream[n:]
	}
	return tr.lines, nil
}

// BenchmarkInflate is the inflating of one message, beside the readers of two
// libraries, which are reset for each.
func BenchmarkInflate(b *testing.B) {
	for _, tc := range []struct {
		name    string
		message []byte
	}{{"200B", prose(200)}, {"2KiB", prose(2 << 10)}, {"64KiB", prose(64 << 10)}, {"zeros", make([]byte, 64<<10)}} {
		packed := pack(b, flate.DefaultCompression, tc.message)
		b.Run(tc.name+"/netio", func(b *testing.B) {
			d := newTestInflater()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.inflate(ws.OpBinary, packed, 1<<20); err != nil {
					b.Fatal(err)
				}
				d.release()
			}
		})
		whole := append(append(bytes.Clone(packed), deflateTail[:]...), "\x01\x00\x00\xff\xff"...)
		for name, r := range map[string]io.ReadCloser{"klauspost": fastflate.NewReader(nil), "std": flate.NewReader(nil)} {
			b.Run(tc.name+"/"+name, func(b *testing.B) {
				in, out := bytes.NewReader(nil), bytes.NewBuffer(make([]byte, 0, 1<<20))
				b.ReportAllocs()
				for b.Loop() {
					in.Reset(whole)
					out.Reset()
					if err := r.(flate.Resetter).Reset(in, nil); err != nil {
						b.Fatal(err)
					}
					if _, err := out.ReadFrom(r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
