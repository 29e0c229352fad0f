package netio

import (
	"strconv"
	"strings"

	"github.com/thronghq/throng/proto"
)

// extensionsHeader is where a client lists the extensions that it offers.
const extensionsHeader = "Sec-WebSocket-Extensions"

// extension is one offer of a client (RFC 6455, section 9.1).
type extension struct {
	name   string
	params []extensionParam
}

type extensionParam struct {
	name, value string
	valued      bool // it has a value
}

// parseExtensions reads the offers in a header's value. ok is false where it is
// not what RFC 6455, section 9.1, allows; an empty element is (RFC 9110, section
// 5.6.1).
func parseExtensions(value string) (all []extension, ok bool) {
	s := extensionScanner{value}
	for {
		if name := s.token(); name != "" {
			e := extension{name: name}
			for s.skip(';') {
				p, ok := s.param()
				if !ok {
					return nil, false
				}
				e.params = append(e.params, p)
			}
			all = append(all, e)
		}
		if !s.skip(',') {
			return all, s.rest == ""
		}
	}
}

// extensionScanner cuts pieces off a header's value.
type extensionScanner struct{ rest string }

// space drops optional whitespace.
func (s *extensionScanner) space() { s.rest = strings.TrimLeft(s.rest, " \t") }

// skip drops a separator with the whitespace around it, and reports whether it
// was there.
func (s *extensionScanner) skip(c byte) bool {
	s.space()
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	s.space()
	return true
}

// token cuts off a token, "" for none.
func (s *extensionScanner) token() string {
	s.space()
	n := 0
	for n < len(s.rest) && isToken(s.rest[n:n+1]) {
		n++
	}
	token := s.rest[:n]
	s.rest = s.rest[n:]
	return token
}

// param cuts off a parameter.
func (s *extensionScanner) param() (p extensionParam, ok bool) {
	p.name = s.token()
	if p.valued = s.skip('='); p.valued {
		if strings.HasPrefix(s.rest, `"`) {
			p.value = s.quoted()
		} else {
			p.value = s.token()
		}
	}
	return p, p.name != "" && (p.value != "" || !p.valued)
}

// quoted cuts off a quoted string (RFC 9110, section 5.6.4) and returns what it
// stands for, which must be a token; "" where it is not.
func (s *extensionScanner) quoted() string {
	var value []byte
	for i := 1; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			s.rest = s.rest[i+1:]
			if !isToken(string(value)) {
				return ""
			}
			return string(value)
		case c == '\\' && i+1 < len(s.rest):
			i++
			value = append(value, s.rest[i])
		default:
			value = append(value, c)
		}
	}
	return "" // it has no end
}

// agreeDeflate looks for a permessage-deflate (RFC 7692) among the offers of a
// request. It returns the window of what is sent and the answer's value, or
// proto.Plain and "". The first offer that can be met is taken. One that cannot,
// or that RFC 7692, section 7.1, does not know, is declined; where the list itself
// is malformed, all are.
func agreeDeflate(h *head) (w proto.Window, answer string) {
	for _, l := range h.lines {
		if !strings.EqualFold(l.name, extensionsHeader) {
			continue
		}
		offers, ok := parseExtensions(l.value)
		if !ok {
			return proto.Plain, ""
		}
		for i := 0; w == proto.Plain && i < len(offers); i++ {
			w, answer = offers[i].acceptDeflate()
		}
	}
	return w, answer
}

// deflateAnswer is what every agreement says. Each message is compressed by
// itself: so one compressed frame does for a whole room, and nothing need be kept
// of what a client sent. The client's window need not be limited then:
// client_max_window_bits, which only says that it could be, has no answer.
const deflateAnswer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// acceptDeflate returns the window and the answer for an offer of
// permessage-deflate that can be met, and proto.Plain otherwise.
func (e *extension) acceptDeflate() (w proto.Window, answer string) {
	if e.name != "permessage-deflate" {
		return proto.Plain, ""
	}
	w, answer = proto.StandardWindow, deflateAnswer
	for i, p := range e.params {
		for _, before := range e.params[:i] {
			if before.name == p.name {
				return proto.Plain, ""
			}
		}
		bits := 0
		switch p.name {
		case "server_no_context_takeover", "client_no_context_takeover":
			if p.valued {
				return proto.Plain, ""
			}
			continue
		case "client_max_window_bits":
			if !p.valued {
				continue
			}
			bits = windowBits(p.value)
		case "server_max_window_bits":
			if bits = windowBits(p.value); bits < int(proto.StandardWindow) {
				w = proto.SmallWindow
			}
			answer += "; server_max_window_bits=" + p.value
		}
		if bits == 0 {
			return proto.Plain, ""
		}
	}
	return w, answer
}

// windowBits reads the size of a window, 8 to 15 without a leading zero; 0 for
// anything else.
func windowBits(value string) int {
	bits, err := strconv.Atoi(value)
	if err != nil || bits < 8 || bits > 15 || value != strconv.Itoa(bits) {
		return 0
	}
	return bits
}
