package proto_test

import (
	"slices"
	"testing"
)

// farthest returns how far back a compressed payload refers, at the most. It
// reads DEFLATE (RFC 1951) for itself, since the library's reader does not tell,
// and takes every window.
func farthest(t testing.TB, payload []byte) int {
	t.Helper()
	r := bitReader{t: t, b: append(slices.Clone(payload), 0, 0, 0xff, 0xff)}
	far := 0
	for r.left() >= 3 {
		r.bits(1) // the last block; a message need not have one
		switch kind := r.bits(2); kind {
		case 0:
			r.skipStored()
		case 1, 2:
			lengths, distances := fixedCode()
			if kind == 2 {
				lengths, distances = r.dynamicCode()
			}
			far = max(far, r.walk(lengths, distances))
		default:
			t.Fatal("a block of the reserved kind")
		}
	}
	return far
}

// bitReader reads DEFLATE's bits.
type bitReader struct {
	t  testing.TB
	b  []byte
	at int // in bits
}

func (r *bitReader) left() int { return 8*len(r.b) - r.at }

func (r *bitReader) bits(n int) int {
	if r.left() < n {
		r.t.Fatal("the compressed payload ends too early")
	}
	v := 0
	for i := range n {
		v |= int(r.b[r.at/8]>>(r.at%8)&1) << i
		r.at++
	}
	return v
}

func (r *bitReader) skipStored() {
	r.at = (r.at + 7) / 8 * 8
	n := r.bits(16)
	r.bits(16) // its complement
	if r.left() < 8*n {
		r.t.Fatal("a stored block ends too early")
	}
	r.at += 8 * n
}

// code is a Huffman code: the symbols by length and value of their words.
type code map[[2]int]int

// newCode makes the code of these lengths (RFC 1951, section 3.2.2).
func newCode(lengths []int) code {
	c, word := make(code), 0
	for length := 1; length <= 15; length++ {
		word <<= 1
		for symbol, l := range lengths {
			if l == length {
				c[[2]int{length, word}] = symbol
				word++
			}
		}
	}
	return c
}

func (r *bitReader) symbol(c code) int {
	word := 0
	for length := 1; length <= 15; length++ {
		word = word<<1 | r.bits(1)
		if s, ok := c[[2]int{length, word}]; ok {
			return s
		}
	}
	r.t.Fatal("a word that the code does not have")
	return 0
}

// fixedCode is that of RFC 1951, section 3.2.6.
func fixedCode() (lengths, distances code) {
	return newCode(slices.Concat(slices.Repeat([]int{8}, 144), slices.Repeat([]int{9}, 112), slices.Repeat([]int{7}, 24), slices.Repeat([]int{8}, 8))),
		newCode(slices.Repeat([]int{5}, 30))
}

// dynamicCode reads that of RFC 1951, section 3.2.7.
func (r *bitReader) dynamicCode() (lengths, distances code) {
	literals, dists, n := r.bits(5)+257, r.bits(5)+1, r.bits(4)+4
	order := []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	first := make([]int, 19)
	for _, symbol := range order[:n] {
		first[symbol] = r.bits(3)
	}
	c := newCode(first)
	var all []int
	for len(all) < literals+dists {
		switch s := r.symbol(c); s {
		case 16:
			all = append(all, slices.Repeat(all[len(all)-1:], r.bits(2)+3)...)
		case 17:
			all = append(all, make([]int, r.bits(3)+3)...)
		case 18:
			all = append(all, make([]int, r.bits(7)+11)...)
		default:
			all = append(all, s)
		}
	}
	return newCode(all[:literals]), newCode(all[literals:])
}

// walk reads one block's symbols and returns its farthest reference.
func (r *bitReader) walk(lengths, distances code) int {
	far := 0
	for {
		s := r.symbol(lengths)
		switch {
		case s == 256:
			return far
		case s > 256:
			if s >= 265 && s < 285 {
				r.bits((s - 261) / 4)
			}
			d := r.symbol(distances)
			distance := d + 1
			if d >= 4 {
				extra := d/2 - 1
				distance = (2+d%2)<<extra + 1 + r.bits(extra)
			}
			far = max(far, distance)
		}
	}
}
