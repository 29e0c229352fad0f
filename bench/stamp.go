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
	// roomyContent is the smallest content with a whole stamp: in quotes.
	roomyContent = stampBytes + 2

	// Smaller contents have a short stamp, of digits that stand for six bits each:
	// the author, the number, and the lowest bits of the due time in microseconds,
	// which come round after seven weeks (see latency.record).
	shortStamp    = shortAuthor + shortSeq + shortDue
	shortAuthor   = 3
	shortSeq      = 4
	shortDue      = 7
	shortDueRange = int64(1) << (6 * shortDue) // µs
	shortAuthors  = 1 << (6 * shortAuthor)
	// leastContent is the smallest content: a short stamp in quotes.
	leastContent = shortStamp + 2
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

// appendShort appends the lowest bits of v, six in each digit.
func appendShort(dst []byte, v uint64, digits int) []byte {
	for shift := 6 * (digits - 1); shift >= 0; shift -= 6 {
		dst = append(dst, '0'+byte(v>>shift&63)) // from 0 to o, of which the backslash is replaced
		if last := len(dst) - 1; dst[last] == '\\' {
			dst[last] = 'z'
		}
	}
	return dst
}

func readShort(b []byte) (v uint64, ok bool) {
	for _, digit := range b {
		switch {
		case digit == 'z':
			digit = '\\'
		case digit < '0' || digit > '0'+63 || digit == '\\':
			return 0, false
		}
		v = v<<6 | uint64(digit-'0')
	}
	return v, true
}

// appendContent appends a JSON string of size bytes, its quotes included, that
// begins with the stamp, a short one where a whole one has no room.
func appendContent(dst []byte, s stamp, size int) []byte {
	dst = append(dst, '"')
	if size < roomyContent {
		dst = appendShort(dst, uint64(s.author), shortAuthor)
		dst = appendShort(dst, uint64(s.seq), shortSeq)
		dst = appendShort(dst, uint64(s.due)/1000, shortDue)
		dst = append(dst, filler[:size-leastContent]...)
		return append(dst, '"')
	}
	dst = appendHex(dst, uint64(s.author), 8)
	dst = appendHex(dst, uint64(s.seq), 8)
	dst = appendHex(dst, uint64(s.due), 16)
	for n := size - roomyContent; n > 0; n -= len(filler) {
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

// readStamp reads the stamp at the beginning of a string's text, which a quote
// ends. Of a short one the due time is that modulo shortDueRange.
func readStamp(text []byte) (stamp, error) {
	if end := bytes.IndexByte(text[:min(len(text), roomyContent)], '"'); end >= 0 && end < stampBytes {
		return readShortStamp(text[:end])
	}
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

func readShortStamp(text []byte) (stamp, error) {
	if len(text) < shortStamp {
		return stamp{}, errNoStamp
	}
	author, okAuthor := readShort(text[:shortAuthor])
	seq, okSeq := readShort(text[shortAuthor : shortAuthor+shortSeq])
	due, okDue := readShort(text[shortAuthor+shortSeq : shortStamp])
	if !okAuthor || !okSeq || !okDue {
		return stamp{}, fmt.Errorf("%w: %q", errNoStamp, text)
	}
	return stamp{author: int32(author), seq: uint32(seq), due: int64(due) * 1000}, nil
}
