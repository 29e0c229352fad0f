package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/internal/throngtest"
)

// shows connects with a token and returns the user that the server takes it
// for, or "" and the status of the refusal.
func shows(t *testing.T, s *throngtest.Server, token string) (user string, status int) {
	t.Helper()
	c, response, err := throngtest.TryDial(t, s.WSURL("/ws"), throngtest.DialOptions{Header: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		if response == nil {
			t.Fatal(err)
		}
		return "", response.StatusCode
	}
	defer c.Close()
	return c.Expect("session")["userId"].(string), http.StatusSwitchingProtocols
}

// A running server goes from one key to the next.
func TestServerRotatesItsKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	keyed(t, file, "key", "generate", "--kid=old")
	s := throngtest.Start(t, throngtest.Options{NoDev: true, Args: []string{"--auth-keys-file=" + file}})
	if _, err := os.Stat(filepath.Join(s.DataDir, auth.SecretFile)); err == nil {
		t.Error("a server with keys made a secret, too")
	}
	first := keyed(t, file, "token", "--user=ada")
	if user, status := shows(t, s, first); user != "ada" {
		t.Fatalf("the first key's token: %d", status)
	}
	keyed(t, file, "key", "generate", "--alg=RS256", "--kid=new")
	keyed(t, file, "key", "retire", "old")
	second := keyed(t, file, "token", "--user=bob")
	awaitUser(t, s, second, "bob")
	if user, status := shows(t, s, first); user != "ada" {
		t.Errorf("the retired key's token: %d", status)
	}
	keyed(t, file, "key", "remove", "old")
	awaitUser(t, s, first, "")
	if _, status := shows(t, s, first); status != http.StatusUnauthorized {
		t.Errorf("the removed key's token: %d", status)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.AwaitStderr("the keys cannot be read")
	if user, status := shows(t, s, second); user != "bob" {
		t.Errorf("with a broken file: %d", status)
	}
	s.Stop()
}

// awaitUser shows a token until the server takes it for the user, or, where
// that is "", no longer takes it.
func awaitUser(t *testing.T, s *throngtest.Server, token, want string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		user, status := shows(t, s, token)
		if user == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("taken for %q (%d), want %q", user, status, want)
		}
	}
}

// A server takes another issuer's users, and goes on while that is down.
func TestServerTakesAnIssuersTokens(t *testing.T) {
	theirs := filepath.Join(t.TempDir(), "theirs.json")
	keyed(t, theirs, "key", "generate", "--alg=ES256")
	published := keyed(t, theirs, "key", "list", "--public")
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, published) }))
	defer issuer.Close()
	file := filepath.Join(t.TempDir(), "throng.toml")
	text := fmt.Sprintf("[issuer.corp]\nissuer = \"them\"\njwks_url = %q\naudience = [\"us\"]\nuser_prefix = \"corp:\"\n", issuer.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := throngtest.Start(t, throngtest.Options{NoDev: true, Args: []string{"--config=" + file}})
	token := keyed(t, theirs, "token", "--user=ada", "--admin", "--auth-issuer=them", "--auth-audience=us")
	awaitUser(t, s, token, "corp:ada")
	issuer.Close()
	if user, status := shows(t, s, token); user != "corp:ada" {
		t.Errorf("while the issuer is down: %d", status)
	}
	for name, args := range map[string][]string{
		"another audience": {"--auth-issuer=them", "--auth-audience=others"},
		"another issuer":   {"--auth-issuer=they", "--auth-audience=us"},
		"none":             nil,
	} {
		if user, status := shows(t, s, keyed(t, theirs, append([]string{"token", "--user=ada"}, args...)...)); status != http.StatusUnauthorized {
			t.Errorf("%s: taken for %q (%d)", name, user, status)
		}
	}

	// A key that is not there yet: come again, not go away.
	other := filepath.Join(t.TempDir(), "other.json")
	keyed(t, other, "key", "generate", "--alg=ES256")
	unknown := keyed(t, other, "token", "--user=eve", "--auth-issuer=them", "--auth-audience=us")
	_, response, err := throngtest.TryDial(t, s.WSURL("/ws?token="+unknown), throngtest.DialOptions{})
	if err == nil || response == nil || response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
		t.Errorf("with an unknown key: %v, %+v", err, response)
	}
	if strings.Contains(s.Stderr(), strings.Split(token, ".")[1]) {
		t.Error("the log holds a token")
	}
	s.Stop()
}
