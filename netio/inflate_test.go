package netio

import (
	"bytes"
	stdflate "compress/flate"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/klauspost/compress/flate"

	"github.com/thronghq/throng/internal/budget"
)

// aloneInflater returns an inflater with a pool and a budget of its own.
func aloneInflater() *inflater {
	return newInflater(new(buffers), budget.New(0, nil).Kind("inflated"), new(inflateStats))
}

// pack compresses a message as RFC 7692, section 7.2.1, says, at that level of
// compress/flate.
func pack(t testing.TB, level int, message []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := stdflate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(message); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), deflateTail[:])
}

// prose returns some text of that length which compresses as text does.
func prose(size int) []byte {
	words := strings.Fields("the of and to in is that room message member offset epoch history latency socket frame ordered delivered ünïcode {\"type\":\"message\",\"content\":{")
	r := rand.New(rand.NewPCG(1, uint64(size)))
	var b bytes.Buffer
	for b.Len() < size {
		b.WriteString(words[r.IntN(len(words))])
		b.WriteByte(' ')
		if r.IntN(8) == 0 {
			b.WriteString(strings.Repeat("0123456789"[r.IntN(10):][:1], r.IntN(12)))
		}
	}
	return bytes.ToValidUTF8(b.Bytes()[:size], []byte("?"))
}

// noise returns bytes that do not compress.
func noise(size int) []byte {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, size)
	_, _ = r.Read(b) // never fails
	return b
}

func BenchmarkInflate(b *testing.B) {
	for _, tc := range []struct {
		name string
		data []byte
	}{{"200B", prose(200)}, {"2KiB", prose(2048)}, {"64KiB", prose(64 << 10)}, {"zeros", make([]byte, 64<<10)}} {
		packed := pack(b, 6, tc.data)
		b.Run(tc.name+"/netio", func(b *testing.B) {
			d := aloneInflater()
			b.ReportAllocs()
			b.SetBytes(int64(len(tc.data)))
			for b.Loop() {
				out, err := d.inflate(ws.OpBinary, packed, 1<<20)
				if err != nil || len(out) != len(tc.data) {
					b.Fatal(err)
				}
				d.release()
			}
		})
		whole := append(bytes.Clone(packed), "\x00\x00\xff\xff\x01\x00\x00\xff\xff"...)
		for name, r := range map[string]io.ReadCloser{"klauspost": flate.NewReader(nil), "std": stdflate.NewReader(nil)} {
			b.Run(tc.name+"/"+name, func(b *testing.B) {
				out := make([]byte, 1<<20)
				b.ReportAllocs()
				b.SetBytes(int64(len(tc.data)))
				in := bytes.NewReader(nil)
				for b.Loop() {
					in.Reset(whole)
					_ = r.(flate.Resetter).Reset(in, nil)
					n := 0
					for {
						m, err := r.Read(out[n:])
						n += m
						if err == io.EOF {
							break
						}
						if err != nil {
							b.Fatal(err)
						}
					}
					if n != len(tc.data) {
						b.Fatal(n)
					}
				}
			})
		}
	}
}
