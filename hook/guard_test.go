package hook

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestSignVector checks the example that Standard Webhooks' libraries test with.
func TestSignVector(t *testing.T) {
	key, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	h := make(http.Header)
	sign(h, key, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 999), []byte(`{"test": 2432232314}`))
	if got := h.Get("webhook-signature"); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("signature %q", got)
	}
	if got := h.Get("webhook-timestamp"); got != "1614265330" {
		t.Errorf("timestamp %q", got)
	}
	if got := h.Get("webhook-id"); got != "msg_p5jXN8AQM9LWM0D4loKWxJek" {
		t.Errorf("id %q", got)
	}
}

func TestParseSecret(t *testing.T) {
	if key, err := ParseSecret("plain text"); err != nil || string(key) != "plain text" {
		t.Errorf("got %q, %v", key, err)
	}
	if _, err := ParseSecret("whsec_!"); err == nil {
		t.Error("a secret that is not base64 was taken")
	}
}

func TestPublic(t *testing.T) {
	for address, want := range map[string]bool{
		"1.1.1.1": true, "8.8.8.8": true, "93.184.216.34": true, "172.32.0.1": true, "100.128.0.1": true,
		"2606:4700::1111": true, "2a00:1450::1": true, "64:ff9b::8.8.8.8": true, "::ffff:8.8.8.8": true,

		"127.0.0.1": false, "127.255.0.1": false, "0.0.0.0": false, "0.1.2.3": false,
		"10.0.0.1": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false,
		"169.254.1.1": false, "169.254.169.254": false, "168.63.129.16": false, "100.64.0.1": false, "100.100.100.200": false,
		"192.0.0.1": false, "192.0.2.1": false, "192.88.99.1": false, "198.18.0.1": false, "198.51.100.1": false, "203.0.113.1": false,
		"224.0.0.1": false, "239.1.1.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::7f00:1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": false,
		"fc00::1": false, "fd00:ec2::254": false, "fe80::1": false, "fe80::1%eth0": false, "fec0::1": false, "ff02::1": false,
		"2001::1": false, "2001:db8::1": false, "2002:7f00:1::": false, "64:ff9b::127.0.0.1": false, "64:ff9b::10.0.0.1": false,
		"64:ff9b:1::1": false, "100::1": false, "3fff::1": false, "5f00::1": false,
	} {
		if got := public(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: public is %v, want %v", address, got, want)
		}
		host := net.JoinHostPort(address, "80")
		network := "tcp4"
		if strings.Contains(address, ":") {
			network = "tcp6"
		}
		if err := guard(network, host, nil); (err == nil) != want {
			t.Errorf("%s: the guard says %v", host, err)
		}
	}
	if public(netip.Addr{}) {
		t.Error("no address is public")
	}
	for _, bad := range []struct{ network, address string }{{"unix", "/run/x"}, {"udp4", "8.8.8.8:53"}, {"tcp4", "8.8.8.8"}, {"tcp4", "name:80"}} {
		if guard(bad.network, bad.address, nil) == nil {
			t.Errorf("the guard let %v through", bad)
		}
	}
}

// TestGuardSeesWhatNamesLeadTo sends to names of loopback, in the forms that URLs
// know. Nothing arrives.
func TestGuardSeesWhatNamesLeadTo(t *testing.T) {
	var hits atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0"} {
		client := newClient(false, 1)
		_, err := post(t.Context(), client, target{"http://" + host + ":" + u.Port(), testSecret}, "id", time.Now(), nil, answerBody)
		if !errors.Is(err, errPrivate) {
			t.Errorf("%s: %v", host, err)
		}
		client.CloseIdleConnections()
	}
	if hits.Load() != 0 {
		t.Error("a private address was reached")
	}
	client := newClient(true, 1)
	defer client.CloseIdleConnections()
	if _, err := post(t.Context(), client, target{server.URL, testSecret}, "id", time.Now(), nil, answerBody); err != nil || hits.Load() != 1 {
		t.Errorf("a private address that is allowed: %v, %d requests", err, hits.Load())
	}
}

// TestRebinding lets a name server answer with a public address first, and with
// loopback when the connection is made.
func TestRebinding(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var rebound atomic.Bool
	resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go answerDNS(server, &rebound)
		return client, nil
	}}
	addresses, err := resolver.LookupNetIP(t.Context(), "ip4", "hooks.example.")
	if err != nil || len(addresses) != 1 || !public(addresses[0]) {
		t.Fatalf("the first answer is %v (%v)", addresses, err)
	}
	rebound.Store(true)
	dialer := newDialer(false)
	dialer.Resolver = resolver
	if conn, err := dialer.DialContext(t.Context(), "tcp", net.JoinHostPort("hooks.example.", port)); !errors.Is(err, errPrivate) {
		t.Errorf("a rebound name led to %v (%v)", conn, err)
	}
	dialer = newDialer(true) // shows that the name does lead there
	dialer.Resolver = resolver
	conn, err := dialer.DialContext(t.Context(), "tcp", net.JoinHostPort("hooks.example.", port))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// answerDNS answers one query over a stream: with 8.8.8.8 at first, and with
// 127.0.0.1 once the name has been rebound.
func answerDNS(conn net.Conn, rebound *atomic.Bool) {
	defer conn.Close()
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return
	}
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	question := query[12 : end+5]
	answer := append([]byte{}, query[:2]...)
	answer = append(answer, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0)
	answer = append(answer, question...)
	if kind := binary.BigEndian.Uint16(query[end+1:]); kind == 1 {
		answer[7] = 1
		address := [4]byte{8, 8, 8, 8}
		if rebound.Load() {
			address = [4]byte{127, 0, 0, 1}
		}
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		answer = append(answer, address[:]...)
	}
	_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
}

// TestExchange holds a request to its bounds: no redirect is followed, no proxy
// asked, no endless answer read, no foreign certificate accepted.
func TestExchange(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	var elsewhere atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 8<<10)); err != nil {
				return
			}
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	client := newClient(true, 1)
	defer client.CloseIdleConnections()
	send := func(url string) (answer, error) {
		return post(t.Context(), client, target{url, testSecret}, "id", time.Now(), []byte("{}"), answerBody)
	}
	a, err := send(server.URL + "/redirect")
	if err != nil || a.status != http.StatusTemporaryRedirect || elsewhere.Load() != 0 {
		t.Errorf("a redirect: %d, %v, followed %d times", a.status, err, elsewhere.Load())
	}
	a, err = send(server.URL + "/endless")
	if err != nil || !a.cut || len(a.body) != answerBody {
		t.Errorf("an endless answer: %d bytes, cut %v, %v", len(a.body), a.cut, err)
	}
	secure := httptest.NewTLSServer(mux)
	defer secure.Close()
	secure.Config.ErrorLog = nil
	if _, err = send(secure.URL + "/elsewhere"); err == nil || elsewhere.Load() != 0 {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	if _, err = send("http://user:pass@127.0.0.1:1/?key=secret"); err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "pass") {
		t.Errorf("an error that holds a secret, or none: %v", err)
	}
}
