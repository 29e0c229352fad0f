package proto

import (
	"encoding/binary"
	"io"
	"sync"

	"github.com/VictoriaMetrics/metrics"
	"github.com/klauspost/compress/flate"
)

// Window says whether a connection takes compressed frames (permessage-deflate,
// RFC 7692), and how far back in a message they may refer: its LZ77 window, as
// the base-2 logarithm of bytes.
type Window uint8

// The windows with which frames are compressed. There are two, so that one room
// makes two compressed frames of a message at most.
const (
	Plain          Window = 0  // frames are not compressed
	SmallWindow    Window = 8  // good for clients that asked for any window below 15
	StandardWindow Window = 15 // of clients that asked for none
)

// Form is what frames for a connection look like. Forms can be compared.
type Form struct {
	Codec  Codec
	Window Window
}

// Plain is the form of the same codec that is not compressed.
func (f Form) Plain() Form { return Form{Codec: f.Codec} }

// DeflateFrame compresses the frame that begins at dst[start] and ends where dst
// does, in its place: a whole message in one unmasked frame, which is then as
// RFC 7692, section 7.2.1, has it, and refers to no message before it. A frame
// whose payload has fewer bytes than minimum stays as it is, and so does one that
// compressing would not make smaller; both are legal where permessage-deflate was
// agreed on. It allocates nothing once buffers have grown.
func DeflateFrame(dst []byte, start int, w Window, minimum int) []byte {
	if w == Plain {
		return dst
	}
	frame := dst[start:]
	head := frameHead(frame)
	payload := frame[head:]
	if len(payload) < max(minimum, 1) {
		return dst
	}
	d := deflaters[w].Get().(*deflater)
	if packed := d.deflate(payload); len(packed) < len(payload) {
		const rsv1 = 0x40
		dst = appendFrameHead(dst[:start], frame[0]|rsv1, len(packed))
		dst = append(dst, packed...)
	}
	d.release(w)
	return dst
}

// Compression compresses what is worth it, and counts what that saves. It is safe
// for concurrent use; a nil one compresses nothing.
type Compression struct {
	minimum     int
	frames      *metrics.Counter
	plain, sent *metrics.Counter // bytes
}

// NewCompression returns a Compression of payloads from minimum bytes on. It
// registers its metrics in the set.
func NewCompression(minimum int, set *metrics.Set) *Compression {
	return &Compression{
		minimum: minimum,
		frames:  set.NewCounter("throng_deflate_frames_total"),
		plain:   set.NewCounter("throng_deflate_bytes_in_total"),
		sent:    set.NewCounter("throng_deflate_bytes_out_total"),
	}
}

// Frame is DeflateFrame for the Compression's minimum.
func (c *Compression) Frame(dst []byte, start int, w Window) []byte {
	if c == nil || w == Plain {
		return dst
	}
	before := len(dst)
	dst = DeflateFrame(dst, start, w, c.minimum)
	if len(dst) < before {
		c.frames.Inc()
		c.plain.Add(before - start)
		c.sent.Add(len(dst) - start)
	}
	return dst
}

// deflater compresses one message at a time. It is lent by deflaters.
type deflater struct {
	out    []byte
	writer *flate.Writer // nil for the standard window
}

// deflaters lends deflaters by window. What compresses without a state takes none
// of the megabyte that a writer has, and so has nothing to reset, but knows the
// standard window alone.
var deflaters = [...]sync.Pool{
	SmallWindow:    {New: func() any { return newSmallDeflater() }},
	StandardWindow: {New: func() any { return new(deflater) }},
}

func newSmallDeflater() *deflater {
	w, err := flate.NewWriterWindow(io.Discard, 1<<SmallWindow)
	if err != nil {
		panic("proto: the compressor refuses the small window: " + err.Error())
	}
	return &deflater{writer: w}
}

// deflate returns the compressed payload, which is valid until the next call. Its
// last bytes are those that RFC 7692, section 7.2.1, has taken off.
func (d *deflater) deflate(payload []byte) []byte {
	d.out = d.out[:0]
	var err error
	if d.writer == nil {
		err = flate.StatelessDeflate(d, payload, false, nil)
	} else {
		d.writer.Reset(d)
		if _, err = d.writer.Write(payload); err == nil {
			err = d.writer.Flush()
		}
	}
	const tail = "\x00\x00\xff\xff"
	if err != nil || len(d.out) < len(tail) {
		panic("proto: a buffer refused a compressed message") // Write below never does
	}
	return d.out[:len(d.out)-len(tail)]
}

// Write implements io.Writer for the compressor.
func (d *deflater) Write(p []byte) (int, error) {
	d.out = append(d.out, p...)
	return len(p), nil
}

// release gives the deflater back.
func (d *deflater) release(w Window) {
	const kept = 64 << 10 // bytes; larger buffers are not kept
	if cap(d.out) > kept {
		d.out = nil
	}
	deflaters[w].Put(d)
}

// frameHead returns the size of an unmasked frame's header (RFC 6455, section
// 5.2).
func frameHead(frame []byte) int {
	switch frame[1] {
	case 126:
		return 4
	case 127:
		return 10
	default:
		return 2
	}
}

// appendFrameHead appends the header of an unmasked frame with a payload of n
// bytes; first is its first byte.
func appendFrameHead(dst []byte, first byte, n int) []byte {
	switch {
	case n <= 125:
		return append(dst, first, byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, first, 126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(n))
	}
}
