package api

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// strongTag returns the strong entity tag of an answer (RFC 9110, section
// 8.8.3): a sum of its bytes.
func strongTag(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// tagListed reports whether an If-None-Match header names the tag, by the weak
// comparison that it asks for (RFC 9110, section 13.1.2).
func tagListed(header, tag string) bool {
	if strings.TrimSpace(header) == "*" {
		return true
	}
	for given := range strings.SplitSeq(header, ",") {
		if strings.TrimPrefix(strings.TrimSpace(given), "W/") == tag {
			return true
		}
	}
	return false
}
