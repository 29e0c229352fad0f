package netio

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/thronghq/throng/internal/budget"
)

// Bounds of what a compressed message may cost. DEFLATE makes at most 1,032
// bytes of one; what people and programs write seldom inflates twentyfold.
const (
	inflateFree  = 64 << 10 // bytes of a message for which no ratio holds
	inflateRatio = 200      // bytes beyond them for each compressed byte

	// inflateTurn is how many bytes may come of what is read at once. Past it
	// the loop's other connections have their turn first.
	inflateTurn = 4 * readBufferSize
)

// What a client can break, RFC 7692.
var (
	errDeflate = &protocolError{ws.StatusInvalidFramePayloadData, "message is not valid DEFLATE data"}
	errRatio   = &protocolError{ws.StatusMessageTooBig, "message inflates too far"}
)

// deflateTail is what a sender leaves out at the end of a message (RFC 7692,
// section 7.2.1): the rest of an empty block without compression, whose first
// three bits it has sent.
var deflateTail = [4]byte{0x00, 0x00, 0xff, 0xff}

// maxCompressed returns for how many compressed bytes a message of so many may
// arrive: DEFLATE can make a message longer, by an eighth at the very worst, and
// a little for its blocks.
func maxCompressed(message int) int { return message + message/8 + 64 }

// inflater decompresses messages (RFC 1951 and RFC 7692, section 7.2.2), one at
// a time and each by itself: no context is taken over. Each loop has one. It goes
// from slice to slice, so that the window is the message itself, and knows at
// which bit a message ends, which readers of streams don't tell: see
// docs/design/0007-deflate.md.
type inflater struct {
	// Static after construction.
	pool   *buffers
	memory *budget.Kind // counts the message while it lives
	stats  *inflateStats

	spent  int     // bytes inflated since whoever feeds it set it to 0
	fixedL huffman // the codes of blocks with fixed codes
	fixedD huffman

	// The message that is being inflated.
	in    []byte // compressed, borrowed; deflateTail follows it
	pos   int    // next byte of in, and of deflateTail beyond it
	bits  uint64 // bits that are read and not used, the first one lowest
	n     uint   // how many they are
	out   []byte // inflated, lent by pool
	limit int    // bytes that may come of it
	over  *protocolError

	// The codes of a block with codes of its own.
	lengths  [maxLitCodes + maxDistCodes]uint8
	lit      huffman
	dist     huffman
	codeLens huffman
}

// newInflater returns an inflater that has done nothing.
func newInflater(pool *buffers, memory *budget.Kind, stats *inflateStats) *inflater {
	d := &inflater{pool: pool, memory: memory, stats: stats}
	lengths := d.lengths[:288]
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	d.fixedL.build(lengths)
	for i := range lengths[:32] {
		lengths[i] = 5
	}
	d.fixedD.build(lengths[:32])
	return d
}

// inflate returns the message that in, which stays the caller's, was compressed
// from. It has at most so many bytes, and fewer where in is very short. The
// message is the inflater's: the caller gives it back by release. A text is valid
// UTF-8.
func (d *inflater) inflate(op ws.OpCode, in []byte, limit int) ([]byte, *protocolError) {
	d.in, d.pos, d.bits, d.n = in, 0, 0, 0
	d.limit, d.over = limit, errTooBig
	if most := inflateFree + inflateRatio*len(in); most < limit {
		d.limit, d.over = most, errRatio
	}
	d.grow(min(4*len(in), d.limit))
	err := d.blocks()
	d.in = nil
	if err == nil && op == ws.OpText && !utf8.Valid(d.out) {
		err = errText
	}
	if err != nil {
		d.release()
		return nil, err
	}
	d.spent += len(d.out)
	d.stats.messages.Add(1)
	d.stats.bytesIn.Add(uint64(len(in)))
	d.stats.bytesOut.Add(uint64(len(d.out)))
	return d.out, nil
}

// release gives the message back.
func (d *inflater) release() {
	d.memory.Add(-int64(cap(d.out)))
	d.pool.put(d.out)
	d.out = nil
}

// grow makes room for n bytes more.
func (d *inflater) grow(n int) {
	grown := append(d.pool.get(len(d.out)+n), d.out...)
	d.memory.Add(int64(cap(grown) - cap(d.out)))
	d.pool.put(d.out)
	d.out = grown
}

// room sees to it that n bytes more fit the message, of which there may be no
// more than the limit.
func (d *inflater) room(n int) *protocolError {
	switch {
	case n > d.limit-len(d.out):
		return d.over
	case n > cap(d.out)-len(d.out):
		d.grow(max(n, min(cap(d.out), d.limit-len(d.out))))
	}
	return nil
}

// blocks reads blocks to the end of the message. That is where a block ends
// together with the tail, or with what was sent: senders that forget to leave the
// tail out, or that flush by a final block and append nothing, are understood.
// Blocks may follow a final one (RFC 7692, section 7.2.1), at the next byte.
func (d *inflater) blocks() *protocolError {
	for {
		if d.atEnd() {
			return nil
		}
		head, ok := d.take(3)
		if !ok {
			return errDeflate
		}
		var err *protocolError
		switch head >> 1 {
		case 0:
			err = d.stored()
		case 1:
			err = d.codes(&d.fixedL, &d.fixedD)
		case 2:
			if err = d.readCodes(); err == nil {
				err = d.codes(&d.lit, &d.dist)
			}
		default:
			err = errDeflate
		}
		if err != nil {
			return err
		}
		if head&1 == 1 {
			d.align()
		}
	}
}

// atEnd reports whether the next bit is the first after what was sent, or after
// the tail.
func (d *inflater) atEnd() bool {
	left := len(d.in) + len(deflateTail) - d.pos
	return d.n%8 == 0 && (left+int(d.n/8) == len(deflateTail) || left+int(d.n/8) == 0)
}

// fill reads bytes until there are 56 bits or none are left.
func (d *inflater) fill() {
	if d.pos+8 <= len(d.in) {
		d.bits |= binary.LittleEndian.Uint64(d.in[d.pos:]) << d.n
		d.pos += int(63-d.n) / 8
		d.n |= 56
		return
	}
	for d.n <= 56 {
		switch i := d.pos - len(d.in); {
		case i < 0:
			d.bits |= uint64(d.in[d.pos]) << d.n
		case i < len(deflateTail):
			d.bits |= uint64(deflateTail[i]) << d.n
		default:
			return
		}
		d.pos++
		d.n += 8
	}
}

// take returns the next count bits, up to 16. ok is false if they are too few.
func (d *inflater) take(count uint) (v uint32, ok bool) {
	if d.n < count {
		if d.fill(); d.n < count {
			return 0, false
		}
	}
	v = uint32(d.bits & (1<<count - 1))
	d.bits >>= count
	d.n -= count
	return v, true
}

// symbol reads the next symbol. ok is false if no code comes next.
func (d *inflater) symbol(h *huffman) (symbol uint16, ok bool) {
	if d.n < maxCodeBits {
		d.fill()
	}
	symbol, size := h.lookUp(d.bits)
	if symbol == noSymbol || size > d.n {
		return 0, false
	}
	d.bits >>= size
	d.n -= size
	return symbol, true
}

// align drops the bits up to the next byte.
func (d *inflater) align() {
	d.bits >>= d.n % 8
	d.n -= d.n % 8
}

// stored copies a block without compression (RFC 1951, section 3.2.4).
func (d *inflater) stored() *protocolError {
	d.align()
	size, ok := d.take(16)
	inverse, ok2 := d.take(16)
	if !ok || !ok2 || inverse != ^size&0xffff {
		return errDeflate
	}
	n := int(size)
	if err := d.room(n); err != nil {
		return err
	}
	d.pos -= int(d.n / 8) // what is read is put back
	d.bits, d.n = 0, 0
	sent := min(n, max(len(d.in)-d.pos, 0))
	d.out = append(d.out, d.in[min(d.pos, len(d.in)):][:sent]...)
	d.pos += sent
	for n -= sent; n > 0; n-- {
		v, ok := d.take(8)
		if !ok {
			return errDeflate
		}
		d.out = append(d.out, byte(v))
	}
	return nil
}

// Alphabets of RFC 1951, section 3.2.5.
const (
	endOfBlock   = 256
	maxLitCodes  = 286
	maxDistCodes = 30
)

// What the codes for lengths and distances stand for: a base and further bits.
var (
	lengthBase  = [maxLitCodes - endOfBlock - 1]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra = [maxLitCodes - endOfBlock - 1]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase    = [maxDistCodes]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distExtra   = [maxDistCodes]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// maxMatch is how much one pair of a length and a distance stands for.
const maxMatch = 258

// codes reads a block with these codes, up to its end.
func (d *inflater) codes(lit, dist *huffman) *protocolError {
	for {
		if d.pos+8 <= len(d.in) && min(cap(d.out), d.limit)-len(d.out) >= maxMatch {
			if done, err := d.codesFast(lit, dist); done || err != nil {
				return err
			}
		}
		symbol, ok := d.symbol(lit)
		switch {
		case !ok || symbol >= maxLitCodes:
			return errDeflate
		case symbol < endOfBlock:
			if err := d.room(1); err != nil {
				return err
			}
			d.out = append(d.out, byte(symbol))
			continue
		case symbol == endOfBlock:
			return nil
		}
		symbol -= endOfBlock + 1
		extra, ok := d.take(uint(lengthExtra[symbol]))
		if !ok {
			return errDeflate
		}
		length := int(lengthBase[symbol]) + int(extra)
		if symbol, ok = d.symbol(dist); !ok || symbol >= maxDistCodes {
			return errDeflate
		}
		if extra, ok = d.take(uint(distExtra[symbol])); !ok {
			return errDeflate
		}
		back := int(distBase[symbol]) + int(extra)
		if back > len(d.out) {
			return errDeflate
		}
		if err := d.room(length); err != nil {
			return err
		}
		d.out = repeat(d.out, back, length)
	}
}

// codesFast is codes for as long as neither the end of what was sent is near nor
// that of the room for what comes of it: 56 bits are there for each round, and
// maxMatch bytes. It reports whether the block is done.
func (d *inflater) codesFast(lit, dist *huffman) (done bool, err *protocolError) {
	in, pos, acc, n, out := d.in, d.pos, d.bits, d.n, d.out
	most := min(cap(out), d.limit) - maxMatch
	for pos+8 <= len(in) && len(out) <= most {
		acc |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
		pos += int(63-n) / 8
		n |= 56
		symbol, size := lit.lookUp(acc)
		acc >>= size & 63
		n -= size
		if symbol < endOfBlock {
			out = append(out, byte(symbol))
			// Another one or two may well be whole among the 41 bits left.
			if symbol, size = lit.lookUp(acc); symbol >= endOfBlock {
				continue
			}
			acc >>= size & 63
			n -= size
			out = append(out, byte(symbol))
			continue
		}
		if symbol == endOfBlock {
			done = true
			break
		}
		if symbol >= maxLitCodes {
			err = errDeflate
			break
		}
		symbol -= endOfBlock + 1
		width := uint(lengthExtra[symbol])
		length := int(lengthBase[symbol]) + int(acc&(1<<width-1))
		acc >>= width & 63
		n -= width
		symbol, size = dist.lookUp(acc)
		if symbol >= maxDistCodes {
			err = errDeflate
			break
		}
		acc >>= size & 63
		width = uint(distExtra[symbol])
		back := int(distBase[symbol]) + int(acc&(1<<width-1))
		acc >>= width & 63
		n -= size + width
		if back > len(out) {
			err = errDeflate
			break
		}
		out = repeat(out, back, length)
	}
	d.pos, d.bits, d.n, d.out = pos, acc, n, out
	return done, err
}

// repeat appends length bytes, for which there is room, that begin so many bytes
// back and may reach into those that it appends.
func repeat(out []byte, back, length int) []byte {
	at := len(out)
	from := at - back
	out = out[:at+length]
	for at < len(out) {
		at += copy(out[at:], out[from:at])
	}
	return out
}

// codeOrder is the order of the lengths of the codes for lengths.
var codeOrder = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// readCodes reads the codes of a block (RFC 1951, section 3.2.7).
func (d *inflater) readCodes() *protocolError {
	head, ok := d.take(14)
	lits, dists, lens := int(head&31)+257, int(head>>5&31)+1, int(head>>10)+4
	if !ok || lits > maxLitCodes || dists > maxDistCodes {
		return errDeflate
	}
	var codeLens [len(codeOrder)]uint8
	for _, at := range codeOrder[:lens] {
		v, ok := d.take(3)
		if !ok {
			return errDeflate
		}
		codeLens[at] = uint8(v)
	}
	if !d.codeLens.build(codeLens[:]) {
		return errDeflate
	}
	lengths := d.lengths[:lits+dists]
	for i := 0; i < len(lengths); {
		symbol, ok := d.symbol(&d.codeLens)
		if !ok {
			return errDeflate
		}
		if symbol < 16 {
			lengths[i] = uint8(symbol)
			i++
			continue
		}
		value, base, width := uint8(0), 3, uint(3)
		switch {
		case symbol == 16 && i == 0:
			return errDeflate
		case symbol == 16:
			value, width = lengths[i-1], 2
		case symbol == 18:
			base, width = 11, 7
		}
		extra, ok := d.take(width)
		count := base + int(extra)
		if !ok || count > len(lengths)-i {
			return errDeflate
		}
		for range count {
			lengths[i] = value
			i++
		}
	}
	if !d.lit.build(lengths[:lits]) || !d.dist.build(lengths[lits:]) {
		return errDeflate
	}
	return nil
}
