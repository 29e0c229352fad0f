package api

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// traceID returns the id under which a request is told of in its answer and in
// the log: that of the traceparent header (W3C Trace Context, section 3.2)
// where there is a valid one, else a random one.
func traceID(parent string) string {
	// version "-" trace-id "-" parent-id "-" flags; later versions may go on.
	if len(parent) >= 55 && (len(parent) == 55 || parent[:2] != "00" && parent[55] == '-') &&
		parent[2] == '-' && parent[35] == '-' && parent[52] == '-' && parent[:2] != "ff" &&
		isHex(parent[:2]) && isID(parent[3:35]) && isID(parent[36:52]) && isHex(parent[53:55]) {
		return parent[3:35]
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(id[:])
}

// isID reports an id of lower case hexadecimal digits that are not all zero.
func isID(text string) bool { return isHex(text) && strings.Trim(text, "0") != "" }

func isHex(text string) bool { return strings.Trim(text, "0123456789abcdef") == "" }
