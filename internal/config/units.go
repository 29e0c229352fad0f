package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// sizeUnits are the units that a size may have, largest first.
var sizeUnits = []struct {
	name  string
	bytes int
}{
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"B", 1},
}

// parseSize reads a size such as 64KiB, 1 GiB or 4096.
func parseSize(text string) (int64, error) {
	digits := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(text)
	}
	n, err := strconv.ParseInt(text[:digits], 10, 64)
	if err != nil {
		return 0, errors.New("not a size")
	}
	unit := strings.TrimSpace(text[digits:])
	if unit == "" {
		return n, nil
	}
	for _, known := range sizeUnits {
		if unit == known.name {
			if n > math.MaxInt64/int64(known.bytes) {
				return 0, errors.New("out of range")
			}
			return n * int64(known.bytes), nil
		}
	}
	return 0, errors.New("unknown unit; the units are B, KiB, MiB, GiB and TiB")
}

// formatSize writes a size in the largest unit that divides it.
func formatSize(n int) string {
	if n == 0 {
		return "0"
	}
	for _, unit := range sizeUnits {
		if n%unit.bytes == 0 {
			return strconv.Itoa(n/unit.bytes) + unit.name
		}
	}
	return strconv.Itoa(n)
}

// formatDuration writes a duration without the zero units that
// Duration.String ends with: 168h, not 168h0m0s.
func formatDuration(d time.Duration) string {
	text := d.String()
	if trimmed, ok := strings.CutSuffix(text, "m0s"); ok {
		text = trimmed + "m"
	}
	if trimmed, ok := strings.CutSuffix(text, "h0m"); ok {
		text = trimmed + "h"
	}
	return text
}

// quoteTOML writes a text as a TOML basic string.
func quoteTOML(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsControl(r):
			b.WriteString(`\u`)
			hex := strconv.FormatInt(int64(r), 16)
			b.WriteString("0000"[len(hex):] + hex)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
