package netio

import (
	"bytes"
	"encoding/base64"
	"strings"

	"github.com/thronghq/throng/proto"
)

// head is a request's head, parsed as far as an upgrade needs it. Its strings
// are copies: they outlive the buffer that the head was read into.
type head struct {
	method, target, version string
	lines                   []header
	malformed               string // what is wrong with it, "" for nothing
}

type header struct{ name, value string }

// findHead returns the size of the head at the start of b with the blank line
// that ends it, or 0. The first `from` bytes are known not to hold it.
func findHead(b []byte, from int) int {
	for i := max(from-3, 0); ; {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			return 0
		}
		i += j + 1
		rest := b[i:]
		if len(rest) > 0 && rest[0] == '\n' {
			return i + 1
		}
		if len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n' {
			return i + 2
		}
	}
}

// parseHead reads a whole head. It is strict, as RFC 9112 asks for: CRLF ends
// each line, no folding, no space before a colon, no control characters. The
// head's lines are appended to an empty slice.
func parseHead(b []byte, lines []header) *head {
	text := string(b)
	h := &head{lines: lines}
	line, text, _ := strings.Cut(text, "\n")
	line, ok := strings.CutSuffix(line, "\r")
	if !ok {
		h.malformed = "a line does not end with CRLF"
	}
	method, rest, _ := strings.Cut(line, " ")
	target, version, three := strings.Cut(rest, " ")
	if !three || strings.Contains(version, " ") || !isToken(method) || hasControl(line) {
		h.malformed = "the request line is not METHOD target HTTP/1.1"
		return h
	}
	h.method, h.target, h.version = method, target, version
	for {
		line, text, ok = strings.Cut(text, "\n")
		if !ok {
			return h
		}
		line, ok = strings.CutSuffix(line, "\r")
		if line == "" {
			if !ok {
				h.malformed = "a line does not end with CRLF"
			}
			return h
		}
		name, value, colon := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		switch {
		case !ok:
			h.malformed = "a line does not end with CRLF"
		case !colon || !isToken(name):
			h.malformed = "a header is not name: value"
		case hasControl(value):
			h.malformed = "a header holds a control character"
		}
		h.lines = append(h.lines, header{name, value})
	}
}

// get returns the header's value and how many times it stands in the head.
func (h *head) get(name string) (value string, n int) {
	for _, l := range h.lines {
		if strings.EqualFold(l.name, name) {
			value = l.value
			n++
		}
	}
	return value, n
}

// values returns the values of all headers of that name, in order.
func (h *head) values(name string) []string {
	var out []string
	for _, l := range h.lines {
		if strings.EqualFold(l.name, name) {
			out = append(out, l.value)
		}
	}
	return out
}

// list returns the elements of all headers of that name, as one list.
func (h *head) list(name string) []string {
	var out []string
	for _, l := range h.lines {
		if !strings.EqualFold(l.name, name) {
			continue
		}
		for e := range strings.SplitSeq(l.value, ",") {
			if e = strings.Trim(e, " \t"); e != "" {
				out = append(out, e)
			}
		}
	}
	return out
}

// has reports whether the header's list has the token, in any case.
func (h *head) has(name, token string) bool {
	for _, l := range h.lines {
		if !strings.EqualFold(l.name, name) {
			continue
		}
		for e := range strings.SplitSeq(l.value, ",") {
			if strings.EqualFold(strings.Trim(e, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// isUpgrade reports whether the request asks for a WebSocket, rightly or not.
func (h *head) isUpgrade() bool { return h.has("Upgrade", "websocket") }

// check validates an upgrade request by RFC 6455, section 4.2.1, and returns
// what the handler gets to see, with the key.
func (h *head) check(l *proto.Limits, longest int) (*Request, string, *proto.Error) {
	switch {
	case longest > l.HandshakeLine || len(h.lines) > l.HandshakeHeaders:
		return nil, "", proto.ErrHandshakeLarge.New()
	case h.malformed != "":
		return nil, "", proto.ErrBadHandshake.With("%s", h.malformed)
	case h.version != "HTTP/1.1":
		return nil, "", proto.ErrBadHandshake.With("the request is not HTTP/1.1")
	case h.method != "GET":
		return nil, "", proto.ErrMethodNotAllowed.With("an upgrade is a GET")
	}
	r := &Request{}
	for _, f := range []struct {
		name string
		into *string
		must bool
	}{
		{"Host", &r.Host, true},
		{"Origin", &r.Origin, false},
		{"Authorization", &r.Authorization, false},
	} {
		v, n := h.get(f.name)
		if n > 1 || f.must && v == "" {
			return nil, "", proto.ErrBadHandshake.With("the request has not one header %s", f.name)
		}
		*f.into = v
	}
	if v, n := h.get("Content-Length"); n > 0 && v != "0" {
		return nil, "", proto.ErrBadHandshake.With("an upgrade has no body")
	}
	if _, n := h.get("Transfer-Encoding"); n > 0 {
		return nil, "", proto.ErrBadHandshake.With("an upgrade has no body")
	}
	if !h.has("Connection", "upgrade") {
		return nil, "", proto.ErrBadHandshake.With("Connection does not name upgrade")
	}
	if v, n := h.get("Sec-WebSocket-Version"); n != 1 || v != "13" {
		return nil, "", proto.ErrUpgradeVersion.New()
	}
	key, n := h.get("Sec-WebSocket-Key")
	if n != 1 || !validKey(key) {
		return nil, "", proto.ErrBadHandshake.With("the request has not one Sec-WebSocket-Key of 16 bytes in base64")
	}
	if !r.setTarget(h.target) {
		return nil, "", proto.ErrBadHandshake.With("the request's target is not a path")
	}
	r.Protocols = h.list("Sec-WebSocket-Protocol")
	seen := make(map[string]bool, len(r.Protocols))
	for _, p := range r.Protocols {
		if !isToken(p) || seen[p] {
			return nil, "", proto.ErrBadHandshake.With("Sec-WebSocket-Protocol is not a list of distinct tokens")
		}
		seen[p] = true
	}
	return r, key, nil
}

// setTarget splits the target, a path or a whole URL (RFC 9112, section 3.2).
func (r *Request) setTarget(target string) bool {
	if i := strings.Index(target, "://"); i > 0 && !strings.HasPrefix(target, "/") {
		slash := strings.IndexAny(target[i+3:], "/?")
		if slash < 0 {
			target = "/"
		} else if target = target[i+3+slash:]; target[0] == '?' {
			target = "/" + target
		}
	}
	if !strings.HasPrefix(target, "/") || strings.Contains(target, "#") {
		return false
	}
	r.Path, r.Query, _ = strings.Cut(target, "?")
	return true
}

// keySize is the length of a Sec-WebSocket-Key.
const keySize = 24

// validKey reports whether a key is 16 bytes in base64.
func validKey(key string) bool {
	var raw [18]byte
	if len(key) != keySize {
		return false
	}
	n, err := base64.StdEncoding.Strict().Decode(raw[:], []byte(key))
	return err == nil && n == 16
}

// isToken reports whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// hasControl reports whether s has a control character other than a tab.
func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// originPolicy says which pages may connect.
type originPolicy struct {
	all     bool
	allowed map[string]bool // canonical
}

func newOriginPolicy(origins []string) originPolicy {
	p := originPolicy{allowed: make(map[string]bool, len(origins))}
	for _, o := range origins {
		if o == "*" {
			p.all = true
		}
		p.allowed[canonicalOrigin(o)] = true
	}
	return p
}

// allows reports whether a page of that origin may connect to that host. Only
// browsers send an Origin, and they always do.
func (p *originPolicy) allows(origin, host string) bool {
	if origin == "" || p.all {
		return true
	}
	o := canonicalOrigin(origin)
	if p.allowed[o] {
		return true
	}
	scheme, _, ok := strings.Cut(o, "://")
	return ok && o == canonicalOrigin(scheme+"://"+host)
}

// canonicalOrigin lowers the case and leaves out the scheme's own port.
func canonicalOrigin(o string) string {
	o = strings.ToLower(o)
	switch {
	case strings.HasPrefix(o, "http://"):
		return strings.TrimSuffix(o, ":80")
	case strings.HasPrefix(o, "https://"):
		return strings.TrimSuffix(o, ":443")
	}
	return o
}
