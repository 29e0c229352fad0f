package main

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/internal/acmetest"
	"github.com/thronghq/throng/internal/throngtest"
)

// getTLS returns the answer to a GET over HTTPS, and the name of the certificate.
func getTLS(t *testing.T, client *http.Client, url string) (body, certificate string, err error) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		return "", "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return string(data), response.TLS.PeerCertificates[0].Subject.CommonName, err
}

// TestTLS: wss and https on one port; a new certificate counts for those who
// come, without a restart, and harms nobody who is there; a broken one for
// nobody.
func TestTLS(t *testing.T) {
	old, renewed := throngtest.NewPair(t, "old"), throngtest.NewPair(t, "renewed")
	oldClient, newClient := old.Client(), renewed.Client()
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--tls-cert=" + old.Cert, "--tls-key=" + old.Key}})
	if !strings.HasPrefix(s.URL("/"), "https://") {
		t.Fatalf("the server announces %s", s.URL("/"))
	}
	ada := throngtest.Dial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{TLS: oldClient})
	ada.Expect("session")
	ada.Send(map[string]any{"type": "join", "room": "lobby"})
	ada.Expect("joined")
	if _, name, err := getTLS(t, throngtest.HTTPClient(t, oldClient), s.URL("/healthz")); err != nil || name != "old" {
		t.Fatalf("certificate %q, %v", name, err)
	}
	response, err := http.Get("http://" + s.Addr() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP is answered %s", response.Status)
	}

	old.Copy(renewed.Cert, old.Cert) // and the key is still the old one
	s.AwaitStderr("the new certificate cannot be used")
	if _, name, err := getTLS(t, throngtest.HTTPClient(t, oldClient), s.URL("/healthz")); err != nil || name != "old" {
		t.Errorf("with a broken pair: certificate %q, %v", name, err)
	}
	old.Copy(renewed.Key, old.Key)
	s.AwaitStderr("the certificate was read again")
	web := throngtest.HTTPClient(t, newClient)
	metrics, name, err := getTLS(t, web, s.URL("/metrics"))
	if err != nil || name != "renewed" {
		t.Fatalf("certificate %q, %v", name, err)
	}
	if !strings.Contains(metrics, "throng_tls_reload_failures_total 1\n") {
		t.Error("the broken pair is not counted")
	}

	bob := throngtest.Dial(t, s.WSURL("/ws?user=bob"), throngtest.DialOptions{TLS: newClient})
	bob.Expect("session")
	bob.Send(map[string]any{"type": "join", "room": "lobby"})
	bob.Expect("joined")
	bob.Send(map[string]any{"type": "message", "to": "lobby", "content": strings.Repeat("long ", 8000)})
	bob.Await("ack")
	if got := ada.Await("message").Text("content"); len(got) != 40_000 {
		t.Errorf("ada got %d bytes, want 40000", len(got))
	}
	s.Stop()
}

// TestTLSFromAnAuthority: a certificate is ordered and proved on the port that
// serves, and kept where nobody else reads it.
func TestTLSFromAnAuthority(t *testing.T) {
	authority := acmetest.New(t)
	s := throngtest.Start(t, throngtest.Options{Args: []string{
		"--tls-acme-hosts=chat.example.org", "--tls-acme-directory=" + authority.Directory(),
	}})
	authority.Lead(s.Addr())
	s.AwaitStderr("the certificate is there")
	client := &tls.Config{RootCAs: authority.Roots(), ServerName: "chat.example.org"}
	throngtest.Dial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{TLS: client}).Expect("session")
	info, err := os.Stat(filepath.Join(s.DataDir, acmeFolder))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder of certificates: %v, %v", info, err)
	}
	s.Stop()
	s.Restart()
	throngtest.Dial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{TLS: client}).Expect("session")
	if n := authority.Orders(); n != 1 {
		t.Errorf("%d certificates were ordered, want 1", n)
	}
	stranger := &tls.Config{RootCAs: authority.Roots(), ServerName: "other.example.org"}
	conn, err := tls.DialWithDialer(dialer(), "tcp", s.Addr(), stranger)
	if err == nil {
		_ = conn.Close()
		t.Error("there is a certificate for another host")
	}
}

func dialer() *net.Dialer { return &net.Dialer{Timeout: 30 * time.Second} }
