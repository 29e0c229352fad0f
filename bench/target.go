package bench

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// target is the server that is measured.
type target struct {
	host   string // for the Host header
	name   string // without the port
	addr   netip.AddrPort
	secure bool   // speaks TLS
	dir    string // what stands before the endpoints' paths, "" for nothing
}

// parseTarget reads an address such as ws://127.0.0.1:8080 or localhost:8080.
// One that is not this machine's own is refused unless remote is allowed.
func parseTarget(ctx context.Context, text string, remote bool) (target, error) {
	if !strings.Contains(text, "://") {
		text = "ws://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return target{}, fmt.Errorf("--url: %w", err)
	}
	standard, known := map[string]string{"ws": "80", "http": "80", "wss": "443", "https": "443"}[u.Scheme]
	if !known {
		return target{}, fmt.Errorf("--url %s: the scheme is %q; ws, wss, http and https are known", text, u.Scheme)
	}
	portText := cmp.Or(u.Port(), standard)
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		return target{}, fmt.Errorf("--url %s: the port is not a number from 1 to 65535", text)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return target{}, fmt.Errorf("--url %s: %w", text, err)
	}
	addr := addrs[0].Unmap()
	for _, a := range addrs { // of localhost's two, the one that servers bind
		if a.Unmap().Is4() {
			addr = a.Unmap()
			break
		}
	}
	if !addr.IsLoopback() && !remote {
		return target{}, fmt.Errorf("--url %s: %s is not a loopback address; a load generator takes a server down that is not meant for it, so --allow-remote must be given", text, addr)
	}
	return target{host: u.Host, name: u.Hostname(), secure: standard == "443", addr: netip.AddrPortFrom(addr, uint16(port)), dir: strings.TrimSuffix(u.Path, "/")}, nil
}

// sockaddr is the server's address as the kernel takes it.
func (t target) sockaddr() unix.Sockaddr {
	if t.addr.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(t.addr.Port()), Addr: t.addr.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(t.addr.Port()), Addr: t.addr.Addr().As16()}
}

// source is the address that a process's sockets are bound to, so that each
// process has the ports of an address of its own; nil where the kernel is to
// choose.
func (t target) source(process int) unix.Sockaddr {
	if a := t.addr.Addr(); process == 0 || !a.Is4() || !a.IsLoopback() {
		return nil
	}
	return &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(1 + process)}}
}
