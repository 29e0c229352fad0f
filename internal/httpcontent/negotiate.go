// Package httpcontent serves content over HTTP that is the same for everybody:
// with entity tags, compressed for those who take that, and for browsers with
// the policies of a page that asks no other host for anything. It knows nothing
// of what the content is.
package httpcontent

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
)

// StrongTag returns the strong entity tag of content (RFC 9110, section 8.8.3):
// a sum of its bytes.
func StrongTag(content []byte) string {
	sum := sha256.Sum256(content)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// ListsTag reports whether If-None-Match headers name the tag, by the weak
// comparison that they ask for (RFC 9110, section 13.1.2).
func ListsTag(headers []string, tag string) bool {
	for _, header := range headers {
		for given := range strings.SplitSeq(header, ",") {
			given = strings.TrimSpace(given)
			if given == "*" || strings.TrimPrefix(given, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// AcceptsGzip reports whether Accept-Encoding headers (RFC 9110, section
// 12.5.3) take gzip, by its name or by a star, and not with the weight 0.
func AcceptsGzip(headers []string) bool {
	star := false
	for _, header := range headers {
		for coding := range strings.SplitSeq(header, ",") {
			name, parameters, _ := strings.Cut(coding, ";")
			weight := 1.0
			if q, found := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(parameters, " ", "")), "q="); found {
				weight, _ = strconv.ParseFloat(q, 64) // what is no number is 0: not wanted
			}
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "gzip", "x-gzip":
				return weight > 0
			case "*":
				star = weight > 0
			}
		}
	}
	return star
}
