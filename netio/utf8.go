package netio

import "unicode/utf8"

// utf8Check validates UTF-8 that arrives in pieces, and fails at the first byte
// that no continuation could make valid (RFC 6455, sections 5.6 and 8.1). The
// zero value is the beginning of a text.
type utf8Check struct {
	tail [utf8.UTFMax]byte // the beginning of a rune that is not complete
	n    uint8
}

// write takes the next piece and reports whether the text can still be valid.
func (u *utf8Check) write(b []byte) bool {
	for u.n > 0 && len(b) > 0 {
		u.tail[u.n] = b[0]
		u.n++
		b = b[1:]
		if utf8.FullRune(u.tail[:u.n]) {
			if !utf8.Valid(u.tail[:u.n]) {
				return false
			}
			u.n = 0
		}
	}
	// The last rune starts within the last three bytes if it is incomplete.
	end := len(b)
	for i := len(b) - 1; i >= 0 && i > len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				end = i
			}
			break
		}
	}
	if !utf8.Valid(b[:end]) {
		return false
	}
	if end < len(b) {
		u.n = uint8(copy(u.tail[:], b[end:]))
	}
	return true
}

// complete reports whether the text may end here.
func (u *utf8Check) complete() bool { return u.n == 0 }
