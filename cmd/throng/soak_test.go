package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/thronghq/throng/internal/throngtest"
)

// How long the soak lasts, unless THRONG_SOAK says otherwise ("2h"), and in which
// rounds.
const (
	soakTime   = 40 * time.Second
	soakEnv    = "THRONG_SOAK"
	soakRounds = 4           // at least
	soakRound  = time.Minute // at most
)

// soak is one server under load, and those who visit it.
type soak struct {
	t      *testing.T
	s      *throngtest.Server
	http   *http.Client
	narrow *http.Client // its sockets take little, so that it lags soon

	tls *tls.Config // nil without

	visits atomic.Int64
}

// TestNothingIsLeftAfterASoak has clients of all kinds come and go, for some time:
// they talk, resume, lag, stop in the middle, are cut, log in, follow event
// streams and send what no server should trip over, while a webhook listens. After
// each round what the server holds comes back to what it was after the first one;
// at the end no room is in memory, and the server stops cleanly.
func TestNothingIsLeftAfterASoak(t *testing.T) {
	if testing.Short() {
		t.Skip("it lasts")
	}
	total := soakTime
	if longer := os.Getenv(soakEnv); longer != "" {
		var err error
		if total, err = time.ParseDuration(longer); err != nil {
			t.Fatal(err)
		}
	}
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", encrypted), func(t *testing.T) {
			t.Parallel()
			k := startSoak(t, encrypted)
			k.last(total)
		})
	}
}

func startSoak(t *testing.T, encrypted bool) *soak {
	app := startApplication(t)
	config := filepath.Join(t.TempDir(), "throng.toml")
	text := fmt.Sprintf("[webhook.crm]\nurl = %q\nsecret = %q\nallow_private = true\n[namespace.safe]\ndurability = \"sync\"\n[namespace.last]\nslow = \"conflate\"\n", app.URL, hookSecret)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--config", config, "--storage-cache=8MiB"}
	var encryption *tls.Config
	transport, narrow := new(http.Transport), &http.Transport{DialContext: dialNarrow}
	if encrypted {
		pair := throngtest.NewPair(t, "soak")
		args = append(args, "--tls-cert", pair.Cert, "--tls-key", pair.Key)
		transport.TLSClientConfig, narrow.TLSClientConfig = pair.Client(), pair.Client()
		encryption = pair.Client()
		encryption.ServerName = "127.0.0.1"
	}
	// Little garbage, so that the heap is about what is in use.
	s := throngtest.Start(t, throngtest.Options{Args: args, Env: append([]string{"GOGC=20"}, cheapHashes...)})
	k := &soak{t: t, s: s, http: &http.Client{Transport: transport}, narrow: &http.Client{Transport: narrow}, tls: encryption}
	t.Cleanup(k.hangUp)
	return k
}

// dialNarrow connects with a small receive buffer.
func dialNarrow(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		controlled := c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
		})
		if controlled != nil {
			return controlled
		}
		return err
	}}
	return d.DialContext(ctx, network, address)
}

// last plays rounds for the given time, and looks at what is left after each.
func (k *soak) last(total time.Duration) {
	round := min(total/soakRounds, soakRound)
	if err := k.fill(); err != nil {
		k.t.Fatal(err)
	}
	var first levels
	for n := 1; n <= int(total/round); n++ {
		k.load(round, n)
		k.hangUp()
		if k.t.Failed() {
			return
		}
		bounds := first.bound()
		if n == 1 {
			bounds = k.read().bound()
		}
		now := k.await(fmt.Sprintf("round %d, %d visits", n, k.visits.Load()), bounds)
		if n == 1 {
			first = now
		}
	}
	k.await("that, when no room is in memory any more", first.bound().empty())
	k.hangUp()
	k.s.Stop()
}

// fill writes more than the store's memtables hold, which begin small and double
// up to 16 MiB, so that what they take is in the first round's levels already.
func (k *soak) fill() error {
	const size, total = 48 << 10, 80 << 20
	g, _, err := k.enter(k.http, "filler", "filled", nil)
	if err != nil {
		return err
	}
	content := strings.Repeat("x", size)
	for range total / size {
		if _, err := g.ask(map[string]any{"type": "message", "id": "m", "to": "filled", "content": content}, "ack"); err != nil {
			return err
		}
	}
	return g.conn.Close(websocket.StatusNormalClosure, "")
}

// load has visitors of each kind come and go for some time.
func (k *soak) load(during time.Duration, round int) {
	ctx, cancel := context.WithTimeout(k.t.Context(), during)
	defer cancel()
	var all sync.WaitGroup
	for name, kind := range map[string]struct {
		visit func(n int) error
		many  int
	}{
		"talks":    {k.talk, 6},
		"resumes":  {k.resume, 3},
		"lags":     {k.lag, 1},
		"stops":    {k.stopHalfway, 2},
		"babbles":  {k.babble, 2},
		"logs in":  {k.logIn, 1},
		"follows":  {k.follow, 2},
		"uses api": {k.useREST, 1},
	} {
		for i := range kind.many {
			all.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					if err := kind.visit((round*100_000+n)*10 + i); err != nil {
						k.t.Errorf("who %s: %v", name, err)
						return
					}
					k.visits.Add(1)
				}
			})
		}
	}
	all.Wait()
}

// hangUp lets go of the connections that HTTP clients keep.
func (k *soak) hangUp() {
	k.http.CloseIdleConnections()
	k.narrow.CloseIdleConnections()
}
