package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/thronghq/throng/internal/throngtest"
)

// visitor comes from an address, as a proxy on this machine tells it.
type visitor struct {
	t      *testing.T
	server *throngtest.Server
	client *http.Client
	header http.Header
}

// forwarded is a visitor of whom a proxy tells by X-Forwarded-For.
func forwarded(t *testing.T, s *throngtest.Server, address string) *visitor {
	t.Helper()
	v := proxied(t, s, "")
	v.header.Set("X-Forwarded-For", "198.51.100.1, "+address)
	return v
}

// proxied is a visitor of whom a proxy tells by a PROXY header, "" for nothing.
func proxied(t *testing.T, s *throngtest.Server, header string) *visitor {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			_, err = io.WriteString(c, header)
		}
		return c, err
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{t: t, server: s, client: &http.Client{Transport: transport}, header: make(http.Header)}
}

// do asks for something below /api/v1. The answer's body is the caller's to
// close.
func (v *visitor) do(method, path, body string) *http.Response {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.server.URL("/api/v1"+path), strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header = v.header.Clone()
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	return response
}

// want asks for something whose answer must have the status, and returns it.
func (v *visitor) want(status int, method, path, body string) []byte {
	v.t.Helper()
	response := v.do(method, path, body)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status {
		v.t.Fatalf("%s %s: %d, want %d: %s, %v", method, path, response.StatusCode, status, text, err)
	}
	return text
}

// join opens a WebSocket and a stream of events.
func (v *visitor) join(user string) {
	v.t.Helper()
	conn, _, err := websocket.Dial(v.t.Context(), v.server.WSURL("/ws?user="+user), &websocket.DialOptions{HTTPClient: v.client, HTTPHeader: v.header})
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { conn.CloseNow() })
	if _, _, err := conn.Read(v.t.Context()); err != nil { // the session
		v.t.Fatal(err)
	}
	stream := v.do(http.MethodGet, "/rooms/lobby/events?user="+user, "")
	v.t.Cleanup(func() { stream.Body.Close() })
	if line, err := bufio.NewReader(stream.Body).ReadString('\n'); err != nil || stream.StatusCode != http.StatusOK {
		v.t.Fatalf("the stream: %d %q, %v", stream.StatusCode, line, err)
	}
}

// cameFrom returns the addresses in a list of sessions.
func cameFrom(t *testing.T, list []byte) (all []string) {
	t.Helper()
	var page struct{ Sessions []struct{ Address string } }
	if err := json.Unmarshal(list, &page); err != nil {
		t.Fatalf("%v in %s", err, list)
	}
	for _, s := range page.Sessions {
		all = append(all, s.Address)
	}
	return all
}

const credentialsOfAda = `{"username":"ada","password":"the passphrase of ada"}`

// TestClientsAddress: behind a proxy that the configuration trusts, connections,
// streams and logins have their client's address, and limits count by it.
func TestClientsAddress(t *testing.T) {
	const address, other = "203.0.113.9", "203.0.113.10"
	line := func(address string) string { return fmt.Sprintf("PROXY TCP4 %s 127.0.0.1 4711 80\r\n", address) }
	for _, tc := range []struct {
		name  string
		args  []string
		visit func(t *testing.T, s *throngtest.Server, address string) *visitor
	}{
		{"X-Forwarded-For", nil, forwarded},
		{"PROXY", []string{"--net-proxy-protocol=true"}, func(t *testing.T, s *throngtest.Server, address string) *visitor {
			return proxied(t, s, line(address))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := append(tc.args, "--net-trusted-proxies=127.0.0.0/8", "--rate-address-logins=1/m burst 2", "--auth-argon2-memory=8MiB", "--auth-argon2-time=1")
			s := throngtest.Start(t, throngtest.Options{Args: args})
			v := tc.visit(t, s, address)
			v.join("ada")
			if got := cameFrom(t, v.want(http.StatusOK, http.MethodGet, "/sessions?user=ada", "")); len(got) != 2 || got[0] != address || got[1] != address {
				t.Errorf("the live sessions come from %v", got)
			}
			v.want(http.StatusCreated, http.MethodPost, "/register", credentialsOfAda)
			var tokens struct{ AccessToken string }
			if err := json.Unmarshal(v.want(http.StatusOK, http.MethodPost, "/login", credentialsOfAda), &tokens); err != nil {
				t.Fatal(err)
			}
			v.want(http.StatusTooManyRequests, http.MethodPost, "/login", credentialsOfAda)
			tc.visit(t, s, other).want(http.StatusOK, http.MethodPost, "/login", credentialsOfAda)
			v.header.Set("Authorization", "Bearer "+tokens.AccessToken)
			got := cameFrom(t, v.want(http.StatusOK, http.MethodGet, "/me/sessions", ""))
			if len(got) != 2 || got[0] == got[1] || !strings.Contains(strings.Join(got, " ")+" ", address+" ") || !strings.Contains(strings.Join(got, " "), other) {
				t.Errorf("the login sessions come from %v", got)
			}
		})
	}
}

// TestClientsAddressUntold: without a trusted proxy, nobody names an address, and
// a PROXY header is no request.
func TestClientsAddressUntold(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{})
	v := forwarded(t, s, "203.0.113.9")
	v.join("ada")
	if got := cameFrom(t, v.want(http.StatusOK, http.MethodGet, "/sessions?user=ada", "")); len(got) != 2 || got[0] != "127.0.0.1" || got[1] != "127.0.0.1" {
		t.Errorf("the live sessions come from %v", got)
	}
	response := proxied(t, s, "PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\n").do(http.MethodGet, "/me?user=ada", "")
	defer response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("a PROXY header of a stranger: %s", response.Status)
	}
}
