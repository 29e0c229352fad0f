package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/thronghq/throng/auth"
)

// keyed runs a command line that must succeed, with the keys file, and returns
// what it prints.
func keyed(t *testing.T, file string, args ...string) string {
	t.Helper()
	code, stdout, stderr := invoke(append(args, "--auth-keys-file="+file, "--data-dir="+filepath.Dir(file))...)
	if code != exitOK || stderr != "" {
		t.Fatalf("throng %s exits with %d: %s", strings.Join(args, " "), code, stderr)
	}
	return strings.TrimSuffix(stdout, "\n")
}

// admitted returns whom a server with the keys file would admit with the token.
func admitted(t *testing.T, file, token string) string {
	t.Helper()
	keys, err := auth.OpenKeySet(auth.KeySetOptions{File: file})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	id, refused := auth.NewVerifier(auth.VerifierOptions{Keys: keys}).Verify([]byte(token))
	if refused != nil {
		return ""
	}
	return id.UserID
}

func TestKeysAreRotated(t *testing.T) {
	for _, alg := range []string{auth.HS256, auth.RS256, auth.ES256, auth.EdDSA} {
		t.Run(alg, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "keys.json")
			if kid := keyed(t, file, "key", "generate", "--alg", alg, "--kid", "old"); kid != "old" {
				t.Errorf("generated %q", kid)
			}
			if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
				t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
			}
			first := keyed(t, file, "token", "--user=ada")
			made := keyed(t, file, "key", "generate", "--alg", alg)
			if list := keyed(t, file, "key", "list"); !strings.Contains(list, "signs") || !strings.Contains(list, made) || !strings.Contains(list, "waits to sign") {
				t.Errorf("the list is\n%s", list)
			}
			keyed(t, file, "key", "retire", "old")
			second := keyed(t, file, "token", "--user=bob")
			if admitted(t, file, first) != "ada" || admitted(t, file, second) != "bob" {
				t.Error("a token of one of the keys is refused")
			}
			if stored, _ := os.ReadFile(file); alg != auth.HS256 && bytes.Count(stored, []byte(`"d":`)) != 1 {
				t.Error("the retired key's private part is still there")
			}
			keyed(t, file, "key", "remove", "old")
			if admitted(t, file, first) != "" || admitted(t, file, second) != "bob" {
				t.Error("the removed key still counts, or the other does not")
			}
			if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
				t.Errorf("the directory holds %v (%v), want the file alone", entries, err)
			}
		})
	}
}

func TestPublicKeysHoldNothingSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	for _, alg := range []string{auth.HS256, auth.RS256, auth.ES256, auth.EdDSA} {
		keyed(t, file, "key", "generate", "--alg", alg, "--kid", alg)
	}
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal([]byte(keyed(t, file, "key", "list", "--public")), &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 3 {
		t.Errorf("%d keys, want all but the secret", len(set.Keys))
	}
	for _, key := range set.Keys {
		if key["kid"] != key["alg"] || key["kty"] == "oct" {
			t.Errorf("%v", key)
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if _, there := key[private]; there {
				t.Errorf("key %v has its %q", key["kid"], private)
			}
		}
	}
}

func TestKeysFileKeepsItsModeAndIsNotSpoiled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	keyed(t, file, "key", "generate", "--kid=a")
	for _, test := range []struct{ mode, want fs.FileMode }{{0o640, 0o640}, {0o666, 0o640}, {0o600, 0o600}} {
		if err := os.Chmod(file, test.mode); err != nil {
			t.Fatal(err)
		}
		keyed(t, file, "key", "generate")
		if info, err := os.Stat(file); err != nil || info.Mode() != test.want {
			t.Errorf("after %v: mode %v, %v, want %v", test.mode, info.Mode(), err, test.want)
		}
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"generate", "--kid=a"}, {"retire", "none"}, {"remove", "none"}} {
		if code, _, stderr := invoke(append(append([]string{"key"}, args...), "--auth-keys-file="+file)...); code != exitFailure {
			t.Errorf("key %v exits with %d: %s", args, code, stderr)
		}
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was changed by what failed (%v)", err)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := invoke("key", "generate", "--auth-keys-file="+file); code != exitFailure {
		t.Errorf("a broken file was taken: %d", code)
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != "{" {
		t.Errorf("a broken file was overwritten (%v)", err)
	}
}

// The token of a server with an issuer, an audience and a signing key.
func TestTokenIsWhatItsServerAsksFor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	for _, kid := range []string{"a", "b"} {
		keyed(t, file, "key", "generate", "--kid", kid)
	}
	token := keyed(t, file, "token", "--user=ada", "--admin", "--auth-signing-key=b", "--auth-issuer=us", "--auth-audience=here")
	keyed(t, file, "key", "remove", "a")
	keys, err := auth.OpenKeySet(auth.KeySetOptions{File: file})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	id, refused := auth.NewVerifier(auth.VerifierOptions{Keys: keys, Issuer: "us", Audience: []string{"there", "here"}}).Verify([]byte(token))
	if refused != nil {
		t.Fatal(refused)
	}
	if !id.Admin || id.Issuer != "us" || id.TokenID == "" || id.IssuedAt == 0 {
		t.Errorf("%+v", id)
	}
	if _, refused := auth.NewVerifier(auth.VerifierOptions{Keys: keys, Issuer: "them"}).Verify([]byte(token)); refused == nil {
		t.Error("another issuer's verifier takes it")
	}
	code, _, stderr := invoke("token", "--user=ada", "--auth-keys-file="+file, "--auth-signing-key=none")
	if code != exitFailure || !strings.Contains(stderr, `"none"`) {
		t.Errorf("with a signing key that is not there: %d, %s", code, stderr)
	}
}
