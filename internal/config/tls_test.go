package config_test

import (
	"strings"
	"testing"

	"github.com/thronghq/throng/internal/config"
)

// TestTLS holds the parts of TLS together, and names to what an authority takes.
func TestTLS(t *testing.T) {
	for _, good := range [][]string{
		{"--tls-cert=a", "--tls-key=b"},
		{"--tls-cert=a", "--tls-key=b", "--tls-client-ca=c"},
		{"--tls-acme-hosts=chat.example.org,xn--bcher-kva.example"},
		{"--tls-acme-hosts=chat.example.org", "--tls-acme-directory=http://127.0.0.1:14000/dir"},
		{"--tls-cert=a", "--tls-key=b", "--listen=:443,unix:/run/s"},
	} {
		cfg, err := load(t, "", nil, good)
		if err != nil || !cfg.TLS.Enabled() {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []struct {
		args []string
		want string
	}{
		{[]string{"--tls-cert=a"}, "tls.key"},
		{[]string{"--tls-key=a"}, "tls.cert"},
		{[]string{"--tls-client-ca=a"}, "tls.client_ca"},
		{[]string{"--tls-acme-hosts=chat.example.org", "--tls-acme-directory=here"}, "tls.acme_directory"},
		{[]string{"--tls-acme-hosts=localhost"}, "full name"},
		{[]string{"--tls-acme-hosts=127.0.0.1"}, "full name"},
		{[]string{"--tls-acme-hosts=*.example.org"}, "DNS"},
		{[]string{"--tls-acme-hosts=Chat.example.org"}, "DNS"},
		{[]string{"--tls-acme-hosts=chat..org"}, "DNS"},
		{[]string{"--tls-acme-hosts=-a.org"}, "DNS"},
		{[]string{"--tls-acme-hosts=" + strings.Repeat("a", 64) + ".org"}, "DNS"},
		{[]string{"--tls-cert=a", "--tls-key=b", "--listen=unix:/run/s"}, "unix sockets do not speak TLS"},
	} {
		if _, err := load(t, "", nil, bad.args); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%q: %v, want an error with %q", bad.args, err, bad.want)
		}
	}
	if cfg := config.Default(); cfg.TLS.Enabled() {
		t.Error("TLS is on by default")
	}
}
