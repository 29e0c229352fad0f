package bench

import (
	"bytes"
	"errors"
	"fmt"
)

// stamp is what a message carries in its content: who sent it, its number
// among the author's, and when it was due.
type stamp struct {
	author int32 // the connection's index
	seq    uint32
	due    int64 // ns, CLOCK_MONOTONIC
}

const (
	stampBytes = 8 + 8 + 16
	// leastContent is the smallest content: a stamp in quotes.
	leastContent = stampBytes + 2
)

const hexDigits = "0123456789abcdef"

func appendHex(dst []byte, v uint64, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[v>>shift&15])
	}
	return dst
}

func readHex(b []byte) (v uint64, ok bool) {
	for _, digit := range b {
		switch {
		case digit >= '0' && digit <= '9':
			digit -= '0'
		case digit >= 'a' && digit <= 'f':
			digit -= 'a' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(digit)
	}
	return v, true
}

// appendContent appends a JSON string of size bytes, its quotes included, that
// begins with the stamp.
func appendContent(dst []byte, s stamp, size int) []byte {
	dst = append(dst, '"')
	dst = appendHex(dst, uint64(s.author), 8)
	dst = appendHex(dst, uint64(s.seq), 8)
	dst = appendHex(dst, uint64(s.due), 16)
	for n := size - leastContent; n > 0; n -= len(filler) {
		dst = append(dst, filler[:min(n, len(filler))]...)
	}
	return append(dst, '"')
}

// filler is text that compresses about as well as prose and small JSON do: words
// of a short list, in an order of their own.
var filler = func() []byte {
	words := bytes.Fields([]byte("message room order price client update market volume session between another because thirty about seven through people nothing morning under question river answer always paper letter second number window garden station colour"))
	var text []byte
	for n := uint32(1); len(text) < 4096; n = n*1664525 + 1013904223 { // Numerical Recipes' generator
		text = append(append(text, words[(n>>16)%uint32(len(words))]...), ' ')
	}
	return text
}()

var errNoStamp = errors.New("a message without a stamp: somebody else publishes to the generator's rooms")

// readStamp reads the stamp at the beginning of a string's text.
func readStamp(text []byte) (stamp, error) {
	if len(text) < stampBytes {
		return stamp{}, errNoStamp
	}
	author, okAuthor := readHex(text[:8])
	seq, okSeq := readHex(text[8:16])
	due, okDue := readHex(text[16:32])
	if !okAuthor || !okSeq || !okDue {
		return stamp{}, fmt.Errorf("%w: %q", errNoStamp, text[:stampBytes])
	}
	return stamp{author: int32(author), seq: uint32(seq), due: int64(due)}, nil
}
