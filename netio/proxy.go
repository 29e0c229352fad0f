package netio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strconv"
	"strings"
)

// proxyHeader is a header of the PROXY protocol, with which a proxy that passes
// bytes on begins a connection: version 1, a line of text, or version 2, binary
// (haproxy's proxy-protocol.txt). Of what it may hold the client's address is
// used, and the checksum is checked.
type proxyHeader struct {
	size   int            // in bytes; 0 where the header has not arrived whole
	source netip.AddrPort // the client's address; not valid where the header names none
	local  bool           // the proxy connects for itself, to see whether the server is there
}

const (
	proxyPrefix1 = "PROXY "
	proxyPrefix2 = "\r\n\r\n\x00\r\nQUIT\n"
	maxProxy1    = 107 // the longest line of version 1, with its end
	maxProxy2    = 536 // a header of version 2 that fits any TCP segment
	proxyFixed   = 16  // of version 2, in front of the addresses
)

// What version 2 says in its 13th and 14th byte.
const (
	proxyVersion2 = 2 << 4
	proxyLocal    = 0
	proxyProxied  = 1
)

// The lengths of version 2's address blocks.
const (
	proxyBlock4    = 2*4 + 2*2
	proxyBlock6    = 2*16 + 2*2
	proxyBlockUnix = 2 * 108
)

const (
	proxyTLVHead = 3    // type and length
	proxyTLVSum  = 0x03 // PP2_TYPE_CRC32C
	proxySumSize = 4
)

var (
	errProxyMissing = errors.New("connections of this network begin with a PROXY header, and this one does not")
	errProxyLine    = errors.New("the PROXY header is not PROXY TCP4|TCP6 source destination port port")
	errProxyBlock   = errors.New("the PROXY header of version 2 is malformed")
	errProxyLong    = errors.New("the PROXY header is too long")
	errProxySum     = errors.New("the PROXY header has another checksum than it says")
)

// parseProxyHeader reads the PROXY header at the start of b, as soon as it is
// there whole, and fails as soon as b cannot become one. b is borrowed.
func parseProxyHeader(b []byte) (proxyHeader, error) {
	switch {
	case hasPrefixSoFar(b, proxyPrefix2):
		if len(b) < proxyFixed {
			return proxyHeader{}, nil
		}
		return parseProxy2(b)
	case hasPrefixSoFar(b, proxyPrefix1):
		return parseProxy1(b)
	}
	return proxyHeader{}, errProxyMissing
}

// hasPrefixSoFar reports whether b begins with prefix, as far as b goes.
func hasPrefixSoFar(b []byte, prefix string) bool {
	n := min(len(b), len(prefix))
	return string(b[:n]) == prefix[:n]
}

// parseProxy1 reads a line such as "PROXY TCP4 192.0.2.1 192.0.2.2 1024 80".
func parseProxy1(b []byte) (proxyHeader, error) {
	end := bytes.IndexByte(b[:min(len(b), maxProxy1)], '\n')
	if end < 0 {
		if len(b) >= maxProxy1 {
			return proxyHeader{}, errProxyLong
		}
		return proxyHeader{}, nil
	}
	h := proxyHeader{size: end + 1}
	line, ok := strings.CutSuffix(string(b[:end]), "\r")
	if !ok {
		return proxyHeader{}, errProxyLine
	}
	fields := strings.Split(line, " ")
	if fields[1] == "UNKNOWN" {
		return h, nil // whatever else the line says
	}
	if len(fields) != 6 {
		return proxyHeader{}, errProxyLine
	}
	source, ok1 := proxyAddress(fields[1], fields[2], fields[4])
	_, ok2 := proxyAddress(fields[1], fields[3], fields[5])
	if !ok1 || !ok2 {
		return proxyHeader{}, errProxyLine
	}
	h.source = source
	return h, nil
}

// proxyAddress reads an address of version 1 in the family's canonical form.
func proxyAddress(family, address, port string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Zone() != "" || !(family == "TCP4" && a.Is4() || family == "TCP6" && a.Is6()) {
		return netip.AddrPort{}, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), true
}

// parseProxy2 reads a binary header, of which the fixed part is there.
func parseProxy2(b []byte) (proxyHeader, error) {
	command, family := b[12], b[13]
	if command != proxyVersion2|proxyLocal && command != proxyVersion2|proxyProxied {
		return proxyHeader{}, errProxyBlock
	}
	size := proxyFixed + int(binary.BigEndian.Uint16(b[14:]))
	if size > maxProxy2 {
		return proxyHeader{}, errProxyLong
	}
	if len(b) < size {
		return proxyHeader{}, nil
	}
	h := proxyHeader{size: size}
	if command == proxyVersion2|proxyLocal {
		h.local = true
		return h, nil // what follows has no meaning then
	}
	block := b[proxyFixed:size]
	length := 0
	switch family {
	case 0x00: // no family: what follows has no meaning either
		return h, nil
	case 0x11, 0x12: // TCP and UDP over IPv4
		length = proxyBlock4
	case 0x21, 0x22: // TCP and UDP over IPv6
		length = proxyBlock6
	case 0x31, 0x32: // Unix sockets
		length = proxyBlockUnix
	default:
		return proxyHeader{}, errProxyBlock
	}
	if len(block) < length {
		return proxyHeader{}, errProxyBlock
	}
	switch family { // what came by UDP came from nobody who speaks HTTP over TCP
	case 0x11:
		h.source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(block)), binary.BigEndian.Uint16(block[8:]))
	case 0x21:
		h.source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(block)).Unmap(), binary.BigEndian.Uint16(block[32:]))
	}
	return h, checkProxyTLVs(b[:size], proxyFixed+length)
}

// checkProxyTLVs walks over what stands behind the addresses of a whole header,
// from the given position, and checks the checksum if there is one.
func checkProxyTLVs(b []byte, at int) error {
	for at < len(b) {
		if len(b)-at < proxyTLVHead {
			return errProxyBlock
		}
		kind, n := b[at], int(binary.BigEndian.Uint16(b[at+1:]))
		at += proxyTLVHead
		if n > len(b)-at {
			return errProxyBlock
		}
		if kind == proxyTLVSum && (n != proxySumSize || binary.BigEndian.Uint32(b[at:]) != proxySum(b, at)) {
			return errProxySum
		}
		at += n
	}
	return nil
}

// proxySum is the CRC32c of a header, its own field taken as zeros.
func proxySum(b []byte, field int) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // hash/crc32 makes it once
	sum := crc32.Update(0, table, b[:field])
	sum = crc32.Update(sum, table, make([]byte, proxySumSize))
	return crc32.Update(sum, table, b[field+proxySumSize:])
}
