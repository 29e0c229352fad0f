package main

import (
	"fmt"
	"io"
	"net"
	"path/filepath"

	"github.com/thronghq/throng/internal/config"
)

// announce prints where the server is and how to come in: first the line that
// scripts wait for, then what a person needs.
func announce(w io.Writer, cfg *config.Config, addrs []net.Addr, ownSecret bool) {
	fmt.Fprintf(w, "throng is ready: %s\n", pageURL(addrs, cfg.TLS.Enabled()))
	if dir, err := filepath.Abs(cfg.DataDir); err == nil {
		fmt.Fprintf(w, "  history is kept in %s\n", dir)
	}
	switch {
	case cfg.Dev:
		fmt.Fprintf(w, "  development mode: anyone who reaches this address may be anyone; open the page in two windows and talk\n")
	case ownSecret:
		fmt.Fprintf(w, "  clients need a token; to make one: throng token --user NAME --ttl 24h --data-dir %q\n", cfg.DataDir)
	}
}

// pageURL is the page's address on the first TCP listener, as a browser on
// this machine reaches it, unless a certificate's name says otherwise.
func pageURL(addrs []net.Addr, secure bool) string {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	for _, a := range addrs {
		tcp, ok := a.(*net.TCPAddr)
		if !ok {
			continue
		}
		host := tcp.IP.String()
		if tcp.IP.IsUnspecified() {
			host = "127.0.0.1"
		}
		return fmt.Sprintf("%s://%s/", scheme, net.JoinHostPort(host, fmt.Sprint(tcp.Port)))
	}
	return addrs[0].String()
}

func addresses(addrs []net.Addr) []string {
	list := make([]string, len(addrs))
	for i, a := range addrs {
		list[i] = a.String()
	}
	return list
}
