package hook

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// errPrivate is why a connection was not made.
var errPrivate = errors.New("hook: the address is private, and the configuration does not allow it (allow_private)")

// special are the addresses that are not somebody else's on the open Internet
// (the registries of RFC 6890), beside those that netip itself knows, and what
// only clouds give a meaning to.
var special = parsePrefixes(
	"0.0.0.0/8",          // this network
	"100.64.0.0/10",      // shared by carriers, and by clouds
	"168.63.129.16/32",   // Azure's host
	"192.0.0.0/24",       // protocol assignments
	"192.0.2.0/24",       // documentation
	"192.88.99.0/24",     // 6to4 relays
	"198.18.0.0/15",      // benchmarks
	"198.51.100.0/24",    // documentation
	"203.0.113.0/24",     // documentation
	"240.0.0.0/4",        // reserved, and broadcast
	"::/96",              // IPv4-compatible, loopback and unspecified
	"64:ff9b:1::/48",     // translation within a network
	"100::/64",           // discarded
	"2001::/23",          // protocol assignments, Teredo among them
	"2001:db8::/32",      // documentation
	"2002::/16",          // 6to4: leads to the IPv4 address within
	"3fff::/20",          // documentation
	"5f00::/16",          // segment routing
	"fec0::/10",          // site-local
	"fd00:ec2::254/128",  // AWS's metadata; within fc00::/7, named for the reader
	"169.254.169.254/32", // the clouds' metadata; within 169.254.0.0/16
)

// nat64 holds IPv4 addresses in its last four bytes.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func parsePrefixes(texts ...string) []netip.Prefix {
	prefixes := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		prefixes[i] = netip.MustParsePrefix(text)
	}
	return prefixes
}

// public reports whether an address is one of the open Internet.
func public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	if !a.IsValid() || !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// guard is a dialer's Control: it sees the address that a name has led to, each
// time, so that no answer of a name server leads around it.
func guard(network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: network %s", errPrivate, network)
	}
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q is not an address", errPrivate, address)
	}
	if !public(a.Addr()) {
		return fmt.Errorf("%w: %s", errPrivate, a.Addr())
	}
	return nil
}

// The bounds of an exchange beside its timeout.
const (
	dialTimeout    = 10 * time.Second
	idleTimeout    = 90 * time.Second
	answerHead     = 64 << 10 // bytes of an answer's headers
	answerBody     = 64 << 10 // bytes that are read of an answer's body
	errorTextBytes = 512      // of what is kept of an error
)

// newDialer returns a dialer that connects to private addresses only if it may.
func newDialer(allowPrivate bool) *net.Dialer {
	d := &net.Dialer{Timeout: dialTimeout}
	if !allowPrivate {
		d.Control = guard
	}
	return d
}

// newClient returns a client that follows no redirects, asks no proxy, checks
// certificates, and connects to private addresses only if it may.
func newClient(allowPrivate bool, conns int) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            newDialer(allowPrivate).DialContext,
			MaxConnsPerHost:        conns,
			MaxIdleConns:           conns,
			MaxIdleConnsPerHost:    conns,
			IdleConnTimeout:        idleTimeout,
			TLSHandshakeTimeout:    dialTimeout,
			MaxResponseHeaderBytes: answerHead,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
