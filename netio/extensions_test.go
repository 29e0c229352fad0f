package netio

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/thronghq/throng/proto"
)

// agreed is what every answer begins with.
const agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// negotiations are the offers of a request, one header each, and their answer.
var negotiations = []struct {
	offers []string
	window proto.Window
	answer string
}{
	// What the conformance suite offers (13.1 to 13.7), and browsers.
	{[]string{"permessage-deflate; client_no_context_takeover; client_max_window_bits"}, proto.StandardWindow, agreed},
	{[]string{"permessage-deflate; client_max_window_bits"}, proto.StandardWindow, agreed},
	{[]string{"permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits"}, proto.StandardWindow, agreed},
	{[]string{"permessage-deflate; server_max_window_bits=8; client_max_window_bits"}, proto.SmallWindow, agreed + "; server_max_window_bits=8"},
	{[]string{"permessage-deflate; server_max_window_bits=15; client_max_window_bits"}, proto.StandardWindow, agreed + "; server_max_window_bits=15"},
	{[]string{"permessage-deflate; server_no_context_takeover; server_max_window_bits=8"}, proto.SmallWindow, agreed + "; server_max_window_bits=8"},
	{[]string{"permessage-deflate; server_no_context_takeover; server_max_window_bits=15"}, proto.StandardWindow, agreed + "; server_max_window_bits=15"},
	{[]string{"permessage-deflate; server_no_context_takeover; server_max_window_bits=9, permessage-deflate; server_no_context_takeover, permessage-deflate"}, proto.SmallWindow, agreed + "; server_max_window_bits=9"},

	// The grammar of RFC 6455, section 9.1.
	{[]string{"permessage-deflate"}, proto.StandardWindow, agreed},
	{[]string{" \t, permessage-deflate\t;\tclient_max_window_bits = \"1\\0\" ,,"}, proto.StandardWindow, agreed},
	{[]string{`permessage-deflate; server_max_window_bits="12"`}, proto.SmallWindow, agreed + "; server_max_window_bits=12"},
	{[]string{"x-webkit-deflate-frame", "permessage-bzip2; a=b, permessage-deflate"}, proto.StandardWindow, agreed},
	{[]string{"other; a; b=\"c\"", "permessage-deflate", "permessage-deflate; server_max_window_bits=9"}, proto.StandardWindow, agreed},

	// An offer that cannot be met is declined, and the next one looked at.
	{[]string{"permessage-deflate; server_max_window_bits=7, permessage-deflate; server_max_window_bits=10"}, proto.SmallWindow, agreed + "; server_max_window_bits=10"},
	{[]string{"permessage-deflate; unknown", "permessage-deflate"}, proto.StandardWindow, agreed},
	{[]string{"permessage-deflate; client_no_context_takeover; client_no_context_takeover, permessage-deflate; server_max_window_bits=15"}, proto.StandardWindow, agreed + "; server_max_window_bits=15"},
	{offers: []string{"permessage-deflate; server_max_window_bits"}},
	{offers: []string{"permessage-deflate; server_max_window_bits=16"}},
	{offers: []string{"permessage-deflate; server_max_window_bits=08"}},
	{offers: []string{"permessage-deflate; server_max_window_bits=+9"}},
	{offers: []string{"permessage-deflate; server_max_window_bits=99999999999999999999"}},
	{offers: []string{"permessage-deflate; client_max_window_bits=7"}},
	{offers: []string{"permessage-deflate; client_max_window_bits=16"}},
	{offers: []string{"permessage-deflate; client_max_window_bits=x"}},
	{offers: []string{"permessage-deflate; server_no_context_takeover=1"}},
	{offers: []string{"permessage-deflate; client_no_context_takeover=true"}},
	{offers: []string{"permessage-deflate; client_max_window_bits=10; client_max_window_bits"}},
	{offers: []string{"permessage-deflate; server_max_window_bits=10; server_max_window_bits=10"}},
	{offers: []string{"Permessage-Deflate"}},
	{offers: []string{"permessage-foo"}},
	{offers: []string{""}},
	{offers: nil},

	// A list that is malformed is no list of offers.
	{offers: []string{"permessage-deflate;"}},
	{offers: []string{"permessage-deflate, ;"}},
	{offers: []string{"permessage-deflate; =9"}},
	{offers: []string{"permessage-deflate; server_max_window_bits="}},
	{offers: []string{`permessage-deflate; server_max_window_bits=""`}},
	{offers: []string{`permessage-deflate; server_max_window_bits="9`}},
	{offers: []string{`permessage-deflate; server_max_window_bits="9 "`}},
	{offers: []string{`permessage-deflate; server_max_window_bits="9"9`}},
	{offers: []string{`permessage-deflate; server_max_window_bits="9\`}},
	{offers: []string{"permessage-deflate server_no_context_takeover"}},
	{offers: []string{"permessage-deflate; client_max_window_bits=9=9"}},
	{offers: []string{"permessage-deflate", "@"}},
	{offers: []string{`permessage-deflate; x="permessage-deflate`, `permessage-deflate"`}},
}

// TestNegotiation: each offer gets the answer that RFC 7692 allows, once, and a
// connection knows which window it has.
func TestNegotiation(t *testing.T) {
	windows := append(negotiations[:0:0], negotiations...)
	for bits := 8; bits <= 15; bits++ { // every size of each window, and of both
		w := proto.SmallWindow
		if bits == 15 {
			w = proto.StandardWindow
		}
		server := fmt.Sprintf("; server_max_window_bits=%d", bits)
		client := fmt.Sprintf("permessage-deflate; client_max_window_bits=%d", bits)
		windows = append(windows, []struct {
			offers []string
			window proto.Window
			answer string
		}{
			{[]string{"permessage-deflate" + server}, w, agreed + server},
			{[]string{client}, proto.StandardWindow, agreed},
			{[]string{client + server}, w, agreed + server},
		}...)
	}
	r := newRecorder()
	r.upgrade = func(q *Request) (Accept, *proto.Error) { return Accept{Deflate: q.Path != "/plain"}, nil }
	s := start(t, Options{Handler: r})
	for _, tc := range windows {
		for _, path := range []string{"/ws", "/plain"} {
			window, answer := tc.window, tc.answer
			if path == "/plain" {
				window, answer = proto.Plain, ""
			}
			var headers []string
			for i, offer := range tc.offers {
				headers = append(headers, []string{"Sec-WebSocket-Extensions: ", "sec-websocket-extensions:"}[i%2]+offer)
			}
			p := s.connect(t)
			p.send(upgradeRequest(path, headers...))
			head := p.answer()
			var got []string
			for line := range strings.Lines(head) {
				if v, ok := strings.CutPrefix(line, "Sec-WebSocket-Extensions: "); ok {
					got = append(got, strings.TrimSpace(v))
				}
			}
			if !strings.HasPrefix(head, "HTTP/1.1 101 ") || len(got) > 1 || strings.Join(got, "") != answer {
				t.Errorf("%s, %q: answer %q, want %q", path, tc.offers, head, answer)
			}
			if w := r.wait(t, "open").c.Window(); w != window {
				t.Errorf("%s, %q: window %d, want %d", path, tc.offers, w, window)
			}
			_ = p.Close()
			r.wait(t, "closed")
		}
	}
	if n := s.metric(`throng_deflate_agreed_total{window="small"}`); n == "" || n == "0" {
		t.Errorf("%q connections agreed on the small window", n)
	}
}

// extensionsGrammar is that of RFC 6455, section 9.1, with the empty elements of
// RFC 9110, section 5.6.1.
var extensionsGrammar = func() *regexp.Regexp {
	const char, ows = "[!#$%&'*+.^_`|~0-9A-Za-z-]", `[ \t]*`
	param := char + "+(" + ows + "=" + ows + "(" + char + `+|"(\\?` + char + `)+"))?`
	element := "(" + char + "+(" + ows + ";" + ows + param + ")*)?"
	return regexp.MustCompile("^" + ows + element + "(" + ows + "," + ows + element + ")*" + ows + "$")
}()

// FuzzExtensions: the parser takes what the grammar allows and nothing else, and
// what is agreed on is a valid answer.
func FuzzExtensions(f *testing.F) {
	for _, n := range negotiations {
		f.Add(strings.Join(n.offers, ","))
	}
	f.Fuzz(func(t *testing.T, value string) {
		all, ok := parseExtensions(value)
		if want := extensionsGrammar.MatchString(value); ok != want {
			t.Fatalf("%q is a list of extensions: %v, want %v", value, ok, want)
		}
		for _, e := range all {
			if !isToken(e.name) {
				t.Errorf("%q: an offer has the name %q", value, e.name)
			}
			for _, p := range e.params {
				if !isToken(p.name) || p.valued != isToken(p.value) {
					t.Errorf("%q: parameter %+v", value, p)
				}
			}
		}
		w, answer := agreeDeflate(&head{lines: []header{{"Sec-WebSocket-Extensions", value}}})
		if (w == proto.Plain) != (answer == "") {
			t.Fatalf("%q: window %d, answer %q", value, w, answer)
		}
		if w == proto.Plain {
			return
		}
		if again, ok := parseExtensions(answer); !ok || len(again) != 1 {
			t.Errorf("the answer %q is not one extension", answer)
		} else if accepted, same := again[0].acceptDeflate(); accepted != w || same != answer {
			t.Errorf("the answer %q would be answered %q with window %d, not %d", answer, same, accepted, w)
		}
	})
}
