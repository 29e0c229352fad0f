package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// secured carries the generator's connections in TLS. The loop knows nothing of
// it: it has one end of a socket pair, and goroutines copy between the other end
// and crypto/tls. That costs the generator much, and the server nothing.
type secured struct {
	target target
	source net.Addr // nil where the kernel is to choose
	config *tls.Config
	ctx    context.Context // ends handshakes under way, and with cancel all connections
	cancel context.CancelFunc
	under  sync.WaitGroup
	failed atomic.Pointer[error] // the first connection's that did not come to be
}

const relayBuffer = 4 << 10 // bytes, for each direction of each connection

// newSecured trusts the certificates in a PEM file, or the machine's own where
// none is named.
func newSecured(part share) (*secured, error) {
	s := &secured{target: part.target, config: &tls.Config{ServerName: part.target.name, MinVersion: tls.VersionTLS12}}
	if part.options.CA != "" {
		text, err := os.ReadFile(part.options.CA)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		s.config.RootCAs = x509.NewCertPool()
		if !s.config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--ca %s: it holds no certificate", part.options.CA)
		}
	}
	if source, ok := part.target.source(part.process).(*unix.SockaddrInet4); ok {
		s.source = &net.TCPAddr{IP: source.Addr[:]}
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// close ends all connections and waits for their goroutines.
func (s *secured) close() {
	if s == nil {
		return
	}
	s.cancel()
	s.under.Wait()
}

// failure is why a connection did not come to be, nil if none has failed.
func (s *secured) failure() error {
	if s == nil {
		return nil
	}
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// dial begins a connection and returns the loop's end of it, a socket that does
// not block. What is written to it waits for the handshake.
func (s *secured) dial() (fd int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socketpair: %w", err)
	}
	file := os.NewFile(uintptr(pair[1]), "relay")
	local, err := net.FileConn(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return 0, errors.Join(err, unix.Close(pair[0]))
	}
	s.under.Go(func() {
		defer local.Close()
		if err := s.carry(local); err != nil && s.ctx.Err() == nil {
			s.failed.CompareAndSwap(nil, &err)
		}
	})
	return pair[0], nil
}

// carry connects, and copies until either side ends.
func (s *secured) carry(local net.Conn) error {
	dialer := net.Dialer{LocalAddr: s.source}
	conn, err := dialer.DialContext(s.ctx, "tcp", s.target.addr.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		return err
	}
	remote := tls.Client(conn, s.config)
	if err := remote.HandshakeContext(s.ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	stop := context.AfterFunc(s.ctx, func() { _ = conn.Close() })
	defer stop()
	var back sync.WaitGroup
	back.Go(func() {
		relay(local, remote)
		_ = local.Close()
	})
	relay(remote, local)
	_ = conn.Close()
	back.Wait()
	return nil
}

// relay copies until one of the two is at its end, which the other sees as an
// end, too: why it came does not matter to the generator.
func relay(to, from net.Conn) {
	buf := make([]byte, relayBuffer)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
