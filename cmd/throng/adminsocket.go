package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/internal/config"
)

// adminSocketFile is the name, in the data directory, of the socket over which
// the subcommands speak to a running server. Who comes in there is an
// administrator: the kernel says that it is the server's own user, or root.
const adminSocketFile = "throng.sock"

// adminGrace is how long requests over the socket may take once the server ends.
const adminGrace = 3 * time.Second

// The bounds of a connection to the socket.
const (
	adminHeadTimeout = 10 * time.Second
	adminIdleTimeout = time.Minute
)

// adminServer serves the REST API to administrators of this machine.
type adminServer struct {
	http  *http.Server
	ended chan struct{}
}

// serveAdmin serves the handler to all that the listener takes, as an
// administrator. The caller closes the server, which closes the listener.
func serveAdmin(ln net.Listener, handler http.Handler, log *slog.Logger) *adminServer {
	s := &adminServer{ended: make(chan struct{}), http: &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: adminHeadTimeout,
		IdleTimeout:       adminIdleTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return auth.WithIdentity(ctx, &auth.Identity{UserID: localAdmin(), Grant: &auth.Grant{Admin: true}})
		},
	}}
	go func() {
		defer close(s.ended)
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.LogAttrs(context.Background(), slog.LevelError, "the administrators' socket failed", slog.Any("error", err))
		}
	}()
	return s
}

// localAdmin is the user id of administrators on this machine. No account can
// have it: names hold no colon.
func localAdmin() string { return "local:" + strconv.Itoa(os.Geteuid()) }

// close waits for requests that are being served, for a moment, and ends.
func (s *adminServer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), adminGrace)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // what is left is cut off
	}
	<-s.ended
}

// listenAdmin listens on the data directory's socket. The store of the directory
// is open, so that a socket that is there is one that a killed server left.
func listenAdmin(dir string, log *slog.Logger) (net.Listener, error) {
	path := filepath.Join(dir, adminSocketFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ln *net.UnixListener
	err := withSocketAddress(dir, func(address *net.UnixAddr) (err error) {
		ln, err = net.ListenUnix("unix", address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("the administrators' socket %s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false) // by the name it was given, which may be no more
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return &adminListener{UnixListener: ln, path: path, log: log}, nil
}

// withSocketAddress calls f with an address of the directory's socket that is
// short enough for the kernel, while f runs.
func withSocketAddress(dir string, f func(*net.UnixAddr) error) error {
	const longest = 107 // bytes of sun_path, without the zero at its end
	path := filepath.Join(dir, adminSocketFile)
	if len(path) > longest {
		folder, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer folder.Close()
		path = fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), adminSocketFile)
	}
	return f(&net.UnixAddr{Name: path, Net: "unix"})
}

// adminListener takes connections of the server's own user and of root.
type adminListener struct {
	*net.UnixListener
	path string
	log  *slog.Logger
}

// Accept implements net.Listener.
func (l *adminListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := peerUser(conn)
		if err == nil && (uid == 0 || uid == os.Geteuid()) {
			return conn, nil
		}
		l.log.LogAttrs(context.Background(), slog.LevelWarn, "a connection to the administrators' socket was refused",
			slog.Int("uid", uid), slog.Any("error", err))
		_ = conn.Close()
	}
}

// Close implements net.Listener: the socket's file goes with it.
func (l *adminListener) Close() error {
	return errors.Join(os.Remove(l.path), l.UnixListener.Close())
}

// peerUser returns the effective user id of the process at the other end.
func peerUser(conn *net.UnixConn) (uid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	uid = -1
	var credErr error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); credErr == nil {
			uid = int(cred.Uid)
		}
	})
	return uid, errors.Join(err, credErr)
}

// adminClient speaks the REST API as an administrator: to the running server, or
// where none runs to one of its own over the opened store.
type adminClient struct {
	http  *http.Client
	close func() error
}

// openAdmin finds the running server of the data directory, or becomes one for
// a moment.
func openAdmin(cfg *config.Config, o outside, create bool) (*adminClient, error) {
	dial := func(ctx context.Context) (conn net.Conn, err error) {
		err = withSocketAddress(cfg.DataDir, func(address *net.UnixAddr) (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, "unix", address.Name)
			return err
		})
		return conn, err
	}
	conn, err := dial(context.Background())
	switch {
	case err == nil:
		_ = conn.Close()
		return newAdminClient(dial, func() error { return nil }), nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w; run this as the user that the server runs as, or as root", err)
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED):
		return nil, err
	}
	alone, err := openAlone(cfg, o, create)
	if err != nil {
		return nil, err
	}
	return newAdminClient(alone.dial, alone.close), nil
}

func newAdminClient(dial func(context.Context) (net.Conn, error), closeAll func() error) *adminClient {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}
	return &adminClient{http: &http.Client{Transport: transport}, close: func() error {
		transport.CloseIdleConnections()
		return closeAll()
	}}
}
