package netio

import (
	"math/bits"
	"sync"
	"unsafe"
)

// Pooled buffers have one of these sizes: 512 B times a power of two, up to
// 1 MiB. Larger ones are left to the garbage collector.
const (
	minBuffer     = 512
	maxPooled     = 1 << 20
	bufferClasses = 12
)

// buffers lends byte slices by size class. The zero value is ready; it is safe
// for concurrent use.
type buffers struct {
	classes [bufferClasses]sync.Pool // of *byte, the first byte of a buffer of the class's size
}

// bufferClass returns the class whose buffers hold at least n bytes, and their
// size.
func bufferClass(n int) (class, size int) {
	if n <= minBuffer {
		return 0, minBuffer
	}
	class = bits.Len(uint(n-1)) - bits.Len(uint(minBuffer-1))
	return class, minBuffer << class
}

// get returns an empty slice with room for at least n bytes. It belongs to the
// caller until put.
func (p *buffers) get(n int) []byte {
	class, size := bufferClass(n)
	if class >= bufferClasses {
		return make([]byte, 0, size)
	}
	if first, ok := p.classes[class].Get().(*byte); ok {
		return unsafe.Slice(first, size)[:0]
	}
	return make([]byte, 0, size)
}

// put takes back a slice that get returned, at its full capacity. Nothing may
// use it any more.
func (p *buffers) put(b []byte) {
	if cap(b) < minBuffer || cap(b) > maxPooled {
		return
	}
	class, size := bufferClass(cap(b))
	if size != cap(b) {
		return
	}
	p.classes[class].Put(unsafe.SliceData(b))
}

// append appends to a slice that get returned, or to nil, and moves it to a
// larger class when it is full. The size follows what has arrived and nothing
// else: each step at most doubles it.
func (p *buffers) append(dst, src []byte) []byte {
	if len(src) == 0 {
		return dst
	}
	if len(dst)+len(src) > cap(dst) {
		grown := append(p.get(len(dst)+len(src)), dst...)
		p.put(dst)
		dst = grown
	}
	return append(dst, src...)
}
