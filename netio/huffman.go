package netio

import "math/bits"

const (
	maxCodeBits   = 15 // of RFC 1951
	tableBits     = 9  // of codes that are looked up at once, at the most
	maxAlphabet   = 288
	lengthInEntry = 4 // bits of a table's entry that hold the code's length
)

// huffman reads one Huffman code of RFC 1951, section 3.2.2.
type huffman struct {
	// table has, at each possible value of the next bits, the symbol of the code
	// that they begin with, above its length; 0 where the code is longer, or
	// none begins so. mask covers as many bits as the longest code has, up to
	// tableBits: most codes are short, and the table is made for each block.
	table [1 << tableBits]uint16
	mask  uint64
	// symbols are in the order of their codes, count of them at each length.
	symbols [maxAlphabet]uint16
	count   [maxCodeBits + 1]uint16
}

// build takes up the code in which each symbol has a code of that many bits, 0
// for none. It reports whether there is one: each sequence of bits must begin
// with exactly one code, but for a code with one symbol of one bit, or with none.
func (h *huffman) build(lengths []uint8) bool {
	h.count = [maxCodeBits + 1]uint16{}
	for _, n := range lengths {
		h.count[n]++
	}
	h.count[0] = 0
	var first, at [maxCodeBits + 2]uint16 // code and index of the first symbol with that length
	left, used, longest := 1, 0, 0
	for n := 1; n <= maxCodeBits; n++ {
		left = left<<1 - int(h.count[n])
		if left < 0 {
			return false
		}
		first[n+1] = (first[n] + h.count[n]) << 1
		at[n+1] = at[n] + h.count[n]
		if h.count[n] > 0 {
			used += int(h.count[n])
			longest = n
		}
	}
	if left > 0 && used > 0 && !(used == 1 && h.count[1] == 1) {
		return false
	}
	table := h.table[:1<<min(longest, tableBits)]
	h.mask = uint64(len(table) - 1)
	clear(table)
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		h.symbols[at[n]] = uint16(symbol)
		at[n]++
		code := first[n]
		first[n]++
		if n > tableBits {
			continue
		}
		entry := uint16(symbol)<<lengthInEntry | uint16(n)
		for i := int(bits.Reverse16(code) >> (16 - n)); i < len(table); i += 1 << n {
			table[i] = entry
		}
	}
	return true
}

// noSymbol is what lookUp returns where no code comes next.
const noSymbol = 1<<16 - 1

// lookUp returns the symbol whose code comes next in acc, its first bit lowest,
// and the code's size.
func (h *huffman) lookUp(acc uint64) (symbol uint16, size uint) {
	if entry := h.table[acc&h.mask&(1<<tableBits-1)]; entry != 0 {
		return entry >> lengthInEntry, uint(entry & (1<<lengthInEntry - 1))
	}
	return h.lookUpLong(acc)
}

// lookUpLong is lookUp bit by bit: the codes of one length are consecutive
// numbers, written with the highest bit first.
func (h *huffman) lookUpLong(acc uint64) (symbol uint16, size uint) {
	code, first, at := 0, 0, 0
	for n := uint(1); n <= maxCodeBits; n++ {
		code |= int(acc & 1)
		acc >>= 1
		count := int(h.count[n])
		if code-first < count {
			return h.symbols[at+code-first], n
		}
		at += count
		first = (first + count) << 1
		code <<= 1
	}
	return noSymbol, 0
}
