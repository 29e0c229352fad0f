package netio

import (
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
)

// addressPage answers with the client's address, without the port.
func addressPage() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			fmt.Fprintf(w, "%s\n", r.RemoteAddr)
			return
		}
		fmt.Fprintf(w, "%v\n", a.Addr())
	})
}

// TestForwardedFor: what counts of X-Forwarded-For, by who sends it.
func TestForwardedFor(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		trusting, other := newRecorder(), newRecorder()
		trusts := start(t, Options{Handler: trusting, HTTP: addressPage(), newPoller: open, TrustedProxies: loopback})
		wary := start(t, Options{Handler: other, HTTP: addressPage(), newPoller: open, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
		for _, tc := range []struct {
			forwarded []string // values of X-Forwarded-For
			want      string
		}{
			{nil, "127.0.0.1"},
			{[]string{""}, "127.0.0.1"},
			{[]string{"203.0.113.9"}, "203.0.113.9"},
			{[]string{"203.0.113.9:4711"}, "203.0.113.9"},
			{[]string{"2001:db8::9"}, "2001:db8::9"},
			{[]string{"[2001:db8::9]"}, "2001:db8::9"},
			{[]string{"[2001:db8::9]:4711"}, "2001:db8::9"},
			{[]string{"::ffff:203.0.113.9"}, "203.0.113.9"},
			{[]string{"fe80::9%eth0"}, "fe80::9"},
			{[]string{"198.51.100.1, 203.0.113.9"}, "203.0.113.9"},
			{[]string{"203.0.113.9 ,10.1.2.3,\t10.0.0.1"}, "203.0.113.9"},
			{[]string{"198.51.100.1, 203.0.113.9", "10.1.2.3"}, "203.0.113.9"},
			{[]string{"198.51.100.1", ", 203.0.113.9,,", "::ffff:10.1.2.3"}, "203.0.113.9"},
			{[]string{"10.1.2.3, 127.0.0.5"}, "10.1.2.3"},
			{[]string{"unknown"}, "127.0.0.1"},
			{[]string{"203.0.113.9, unknown, 10.0.0.1"}, "10.0.0.1"},
			{[]string{"203.0.113.9, [10.0.0.2], 10.0.0.1"}, "10.0.0.1"},
			{[]string{"203.0.113.9, [2001:db8::1, 10.0.0.1"}, "10.0.0.1"},
			{[]string{"<script>"}, "127.0.0.1"},
		} {
			var headers []string
			for _, v := range tc.forwarded {
				headers = append(headers, "X-Forwarded-For: "+v)
			}
			headers = append(headers, "Forwarded: for=192.0.2.66")
			if got := trusts.seen(t, trusting, "", 1<<20, headers...); got != [3]string{tc.want, tc.want, tc.want} {
				t.Errorf("%q: addresses %v, want %s", tc.forwarded, got, tc.want)
			}
			const own = "127.0.0.1"
			if got := wary.seen(t, other, "", 1<<20, headers...); got != [3]string{own, own, own} {
				t.Errorf("%q from a stranger: addresses %v", tc.forwarded, got)
			}
		}
	})
}

// TestForwardedForUnix: a Unix socket's peer is trusted, and has no address where
// it names none.
func TestForwardedForUnix(t *testing.T) {
	r := newRecorder()
	s := start(t, Options{Handler: r, HTTP: addressPage(), Listen: []string{"unix:" + filepath.Join(t.TempDir(), "throng.sock")}})
	if got := s.seen(t, r, "", 1<<20, "X-Forwarded-For: 198.51.100.1, 203.0.113.9"); got != [3]string{"203.0.113.9", "203.0.113.9", "203.0.113.9"} {
		t.Errorf("addresses %v", got)
	}
	if got := s.seen(t, r, "", 1<<20); got != [3]string{"invalid IP", "@", "invalid IP"} {
		t.Errorf("addresses without the header: %v", got)
	}
}

// TestTrustedProxies: networks of mapped addresses are those of the plain ones,
// and a network that is none is an error.
func TestTrustedProxies(t *testing.T) {
	p := newProxies([]netip.Prefix{netip.MustParsePrefix("::ffff:10.1.2.3/104"), netip.MustParsePrefix("2001:db8::/32")})
	for _, tc := range []struct {
		address string
		want    bool
	}{{"10.255.0.1", true}, {"11.0.0.1", false}, {"2001:db8::1", true}, {"2001:db9::1", false}} {
		if got := p.trust(netip.MustParseAddr(tc.address)); got != tc.want {
			t.Errorf("%s: trusted %v, want %v", tc.address, got, tc.want)
		}
	}
	o := Options{Handler: newRecorder(), Listen: []string{"127.0.0.1:0"}, TrustedProxies: []netip.Prefix{{}}}
	if _, err := Listen(o); err == nil || !strings.Contains(err.Error(), "TrustedProxies") {
		t.Errorf("a network that is none: %v", err)
	}
}

// FuzzForwardedFor holds the walk to its rule, told the other way round: of all
// elements, the client is the last that is no proxy's, if all after it are
// proxies' addresses.
func FuzzForwardedFor(f *testing.F) {
	for _, s := range []string{"203.0.113.9, 10.1.2.3", "unknown", "[2001:db8::9]:80,10.0.0.1", ",,\t,", "::ffff:10.0.0.1", "fe80::1%eth0", "10.0.0.1:99999", "[]:1", "[::1"} {
		f.Add(s, "10.0.0.1", true)
		f.Add("198.51.100.1", s, false)
	}
	p := newProxies(loopback)
	own := netip.MustParseAddrPort("127.0.0.1:4711")
	f.Fuzz(func(t *testing.T, first, second string, both bool) {
		values := []string{first}
		if both {
			values = append(values, second)
		}
		got := p.client(own, values)
		if a := got.Addr(); !a.IsValid() || a.Is4In6() || a.Zone() != "" {
			t.Fatalf("%q: %v", values, got)
		}
		var hops []string
		for hop := range strings.SplitSeq(strings.Join(values, ","), ",") {
			if hop = strings.Trim(hop, " \t"); hop != "" {
				hops = append(hops, hop)
			}
		}
		want := own
		for len(hops) > 0 && p.trust(want.Addr()) {
			a, ok := parseHop(hops[len(hops)-1])
			if !ok {
				break
			}
			want, hops = a, hops[:len(hops)-1]
		}
		if got != want {
			t.Errorf("%q: %v, want %v", values, got, want)
		}
	})
}
