package netio

import (
	"net/netip"
	"strings"
)

// forwardedHeader is the one header that a client's address is taken from. The
// standard's Forwarded (RFC 7239) is not read beside it: a proxy that writes
// one of the two passes the other on as the client sent it, so that whoever
// believes both believes the client.
const forwardedHeader = "X-Forwarded-For"

// proxies are the networks whose word on a client's address counts.
type proxies []netip.Prefix

// newProxies returns the networks with those of mapped IPv4 addresses, such as
// ::ffff:10.0.0.0/104, in their plain form: addresses are compared in it.
func newProxies(networks []netip.Prefix) proxies {
	p := make(proxies, 0, len(networks))
	for _, n := range networks {
		if n.Addr().Is4In6() && n.Bits() >= 96 {
			n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
		}
		p = append(p, n.Masked())
	}
	return p
}

// trust reports whether an address is that of a proxy.
func (p proxies) trust(a netip.Addr) bool {
	for _, n := range p {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// client returns the client's address of a request: own is the address that a
// trusted connection has, and forwarded are the values of its X-Forwarded-For
// headers. Each proxy appends the address that it was reached from. So the list
// is read from its end, for as long as what was read is the address of a proxy;
// what stands before that, anybody may have written. An element that is no
// address ends it as well.
func (p proxies) client(own netip.AddrPort, forwarded []string) netip.AddrPort {
	for i := len(forwarded) - 1; i >= 0; i-- {
		for rest := forwarded[i]; rest != ""; {
			comma := strings.LastIndexByte(rest, ',')
			hop := strings.Trim(rest[comma+1:], " \t")
			rest = rest[:max(comma, 0)]
			if hop == "" {
				continue // RFC 9110, section 5.6.1
			}
			a, ok := parseHop(hop)
			if !ok {
				return own
			}
			if own = a; !p.trust(a.Addr()) {
				return own
			}
		}
	}
	return own
}

// parseHop reads an element of X-Forwarded-For: an address, and a port where
// the proxy adds it.
func parseHop(s string) (netip.AddrPort, bool) {
	both, err := netip.ParseAddrPort(s)
	if err != nil {
		bracketed := strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]")
		if bracketed {
			s = s[1 : len(s)-1]
		}
		a, err := netip.ParseAddr(s)
		if err != nil || bracketed && !a.Is6() {
			return netip.AddrPort{}, false
		}
		both = netip.AddrPortFrom(a, 0)
	}
	return netip.AddrPortFrom(both.Addr().WithZone("").Unmap(), both.Port()), true
}

// endpoint is a client's address and port in little space. The zero value is not
// known.
type endpoint struct {
	ip   [16]byte // that of IPv4 as IPv6 has it
	port uint16
}

func newEndpoint(a netip.AddrPort) endpoint {
	if !a.IsValid() {
		return endpoint{}
	}
	return endpoint{a.Addr().As16(), a.Port()}
}

// addrPort returns the address, that of IPv4 in its plain form.
func (e endpoint) addrPort() netip.AddrPort {
	if e == (endpoint{}) {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom16(e.ip).Unmap(), e.port)
}
