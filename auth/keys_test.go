package auth_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/thronghq/throng/auth"
)

// material makes a key of each algorithm, once: an RSA key takes a while.
var material = sync.OnceValue(func() map[string]any {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return map[string]any{auth.HS256: []byte("thirty-two bytes of a secret key"), auth.RS256: rsaKey, auth.ES256: ecKey, auth.EdDSA: edKey}
})

var allAlgorithms = []string{auth.HS256, auth.RS256, auth.ES256, auth.EdDSA}

// public returns the public part of a private key, and a secret as it is.
func public(private any) any {
	if signer, ok := private.(crypto.Signer); ok {
		return signer.Public()
	}
	return private
}

// entry is a key as it stands in a set. changes are members to replace; nil
// removes one.
func entry(t testing.TB, key any, kid, alg string, changes map[string]any) map[string]any {
	t.Helper()
	data, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: alg, Use: "sig"})
	if err != nil {
		t.Fatal(err)
	}
	members := make(map[string]any)
	if err := json.Unmarshal(data, &members); err != nil {
		t.Fatal(err)
	}
	for name, value := range changes {
		if value == nil {
			delete(members, name)
		} else {
			members[name] = value
		}
	}
	return members
}

func jwks(t testing.TB, entries ...map[string]any) string {
	t.Helper()
	data, err := json.Marshal(map[string]any{"keys": append([]map[string]any{}, entries...)})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// keysFile writes a keys file and returns its path.
func keysFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openKeys(t testing.TB, o auth.KeySetOptions) *auth.KeySet {
	t.Helper()
	keys, err := auth.OpenKeySet(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Close)
	return keys
}

// minted returns a token with any header and claims, signed with a private key
// in its own way.
func minted(t testing.TB, key any, header, claims map[string]any) string {
	t.Helper()
	var method jwt.SigningMethod
	switch key.(type) {
	case []byte:
		method = jwt.SigningMethodHS256
	case *rsa.PrivateKey:
		method = jwt.SigningMethodRS256
	case *ecdsa.PrivateKey:
		method = jwt.SigningMethodES256
	case ed25519.PrivateKey:
		method = jwt.SigningMethodEdDSA
	}
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	for name, value := range header {
		token.Header[name] = value
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestEveryAlgorithmSignsAndVerifies(t *testing.T) {
	for _, alg := range allAlgorithms {
		t.Run(alg, func(t *testing.T) {
			keys := openKeys(t, auth.KeySetOptions{File: keysFile(t, jwks(t, entry(t, material()[alg], "k", alg, nil)))})
			verifier := auth.NewVerifier(auth.VerifierOptions{Keys: keys, Now: func() time.Time { return epoch.Add(time.Second) }})
			now := epoch.Add(123 * time.Millisecond)
			token, err := keys.Sign(auth.AccessClaims{UserID: "ada", Session: "s1", Admin: true, Issuer: "us", Audience: []string{"a", "b"}, TTL: time.Minute, Now: now})
			if err != nil {
				t.Fatal(err)
			}
			id, refused := verifier.Verify([]byte(token))
			if refused != nil {
				t.Fatal(refused)
			}
			if id.UserID != "ada" || id.Session != "s1" || !id.Admin || id.Issuer != "us" || id.KeyID != "" || id.TokenID == "" ||
				id.IssuedAt != now.UnixMicro() || !id.Expires.Equal(now.Add(time.Minute)) {
				t.Errorf("%+v", id)
			}
			again, err := keys.Sign(auth.AccessClaims{UserID: "ada", TTL: time.Minute, Now: now})
			if err != nil {
				t.Fatal(err)
			}
			other, refused := verifier.Verify([]byte(again))
			if refused != nil {
				t.Fatal(refused)
			}
			if other.TokenID == id.TokenID || other.Session != "" || other.Admin || other.Issuer != "" {
				t.Errorf("%+v", other)
			}

			// A foreign signer's token, without a kid.
			if _, refused := verifier.Verify([]byte(minted(t, material()[alg], nil, map[string]any{"sub": "ada"}))); refused != nil {
				t.Errorf("without a kid: %v", refused)
			}
			// And by those who have the public part alone.
			if alg != auth.HS256 {
				published := openKeys(t, auth.KeySetOptions{File: keysFile(t, jwks(t, entry(t, public(material()[alg]), "k", alg, nil)))})
				if _, refused := auth.NewVerifier(auth.VerifierOptions{Keys: published, Now: verifier.Now}).Verify([]byte(token)); refused != nil {
					t.Errorf("with the public key: %v", refused)
				}
				if token, err := published.Sign(auth.AccessClaims{UserID: "ada", TTL: time.Minute}); err == nil {
					t.Errorf("a public key signed %q", token)
				}
			}
		})
	}
}

func TestTheSigningKey(t *testing.T) {
	secret := []byte("the secret of the configuration")
	hs := func(kid string, changes map[string]any) map[string]any {
		return entry(t, []byte("thirty-two bytes of a secret key"), kid, auth.HS256, changes)
	}
	verifies := map[string]any{"key_ops": []string{"verify"}}
	tests := []struct {
		name, file, signing string
		secret              []byte
		want, fails         string // the kid, "secret"; or a part of the error
	}{
		{"the first", jwks(t, hs("a", nil), hs("b", nil)), "", secret, "a", ""},
		{"the first that can", jwks(t, hs("a", verifies), hs("b", nil)), "", secret, "b", ""},
		{"the one that is named", jwks(t, hs("a", nil), hs("b", nil)), "b", secret, "b", ""},
		{"the secret, for want of others", jwks(t, hs("a", verifies)), "", secret, "secret", ""},
		{"a public key does not", jwks(t, entry(t, public(material()[auth.ES256]), "a", auth.ES256, nil)), "", secret, "secret", ""},
		{"an empty file", jwks(t), "", secret, "secret", ""},
		{"no file", "", "", secret, "secret", ""},
		{"none", jwks(t, hs("a", verifies)), "", nil, "", "no key to sign with"},
		{"one that is not there", jwks(t, hs("a", nil)), "b", secret, "", `no key "b"`},
		{"one that cannot", jwks(t, hs("a", verifies)), "a", secret, "", `"a"`},
		{"a name without a file", "", "a", secret, "", `no key "a"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := auth.KeySetOptions{Secret: test.secret, SigningKey: test.signing}
			if test.file != "" {
				o.File = keysFile(t, test.file)
			}
			keys, err := auth.OpenKeySet(o)
			var token string
			if err == nil {
				defer keys.Close()
				token, err = keys.Sign(auth.AccessClaims{UserID: "ada", TTL: time.Minute})
			}
			if test.want == "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Fatalf("got %v, want an error with %q", err, test.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			head, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf(`"kid":%q`, test.want)
			if test.want == "secret" && strings.Contains(string(head), "kid") || test.want != "secret" && !strings.Contains(string(head), want) {
				t.Errorf("the header is %s", head)
			}
		})
	}
}

func TestKeysFileIsRefused(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := material()
	of := func(alg string, changes map[string]any) string { return jwks(t, entry(t, m[alg], "k", alg, changes)) }
	otherX := entry(t, other, "k", auth.EdDSA, nil)["x"]
	otherN := entry(t, small, "k", auth.RS256, nil)["n"]
	many := make([]map[string]any, 65)
	for i := range many {
		many[i] = entry(t, m[auth.HS256], fmt.Sprint(i), auth.HS256, nil)
	}
	tests := []struct{ name, file, says string }{
		{"nothing", "", "not a JSON object"},
		{"no JSON", "kid: k", "not a JSON object"},
		{"a list", "[]", "not a JSON object"},
		{"null", "null", `no list "keys"`},
		{"no keys", "{}", `no list "keys"`},
		{"keys are an object", `{"keys":{}}`, `no list "keys"`},
		{"a member twice", `{"keys":[],"keys":[]}`, "twice"},
		{"a key is a number", `{"keys":[1]}`, "keys[0]: it is not a JSON object"},
		{"a key is null", `{"keys":[null]}`, "keys[0]: it is not a JSON object"},
		{"alg twice", `{"keys":[{"kty":"oct","kid":"k","alg":"HS256","alg":"RS256","k":"AA"}]}`, "twice"},
		{"no kid", of(auth.HS256, map[string]any{"kid": nil}), "no kid"},
		{"an empty kid", of(auth.HS256, map[string]any{"kid": ""}), "no kid"},
		{"kid is a number", of(auth.HS256, map[string]any{"kid": 1}), "kid is not of the right type"},
		{"a long kid", of(auth.HS256, map[string]any{"kid": strings.Repeat("k", 257)}), "257 bytes"},
		{"a kid twice", jwks(t, entry(t, m[auth.HS256], "k", auth.HS256, nil), entry(t, m[auth.ES256], "k", auth.ES256, nil)), `kid "k" is there twice`},
		{"too many", jwks(t, many...), "65 keys"},
		{"no alg", of(auth.RS256, map[string]any{"alg": nil}), "no alg"},
		{"alg none", of(auth.HS256, map[string]any{"alg": "none"}), `"none"`},
		{"alg HS512", of(auth.HS256, map[string]any{"alg": "HS512"}), `"HS512"`},
		{"alg PS256", of(auth.RS256, map[string]any{"alg": "PS256"}), `"PS256"`},
		{"an RSA key for HS256", of(auth.RS256, map[string]any{"alg": "HS256"}), "kty does not fit its alg HS256"},
		{"a secret for RS256", of(auth.HS256, map[string]any{"alg": "RS256"}), "kty does not fit its alg RS256"},
		{"an EC key for EdDSA", of(auth.ES256, map[string]any{"alg": "EdDSA"}), "kty does not fit its alg EdDSA"},
		{"an Ed25519 key for ES256", of(auth.EdDSA, map[string]any{"alg": "ES256"}), "kty does not fit its alg ES256"},
		{"a short secret", jwks(t, entry(t, []byte("thirty-one bytes of a secret ke"), "k", auth.HS256, nil)), "31 bytes"},
		{"a small RSA key", jwks(t, entry(t, small, "k", auth.RS256, nil)), "1024 bits"},
		{"an RSA key with e=1", of(auth.RS256, map[string]any{"e": "AQ"}), ""},
		{"an RSA key with an even e", jwks(t, entry(t, public(m[auth.RS256]), "k", auth.RS256, map[string]any{"e": "Ag"})), "exponent"},
		{"an RSA key whose parts do not fit", of(auth.RS256, map[string]any{"n": otherN}), ""},
		{"P-384", jwks(t, entry(t, p384, "k", auth.ES256, nil)), "P-384"},
		{"a point off the curve", jwks(t, entry(t, public(m[auth.ES256]), "k", auth.ES256, map[string]any{"x": strings.Repeat("A", 43)})), "curve"},
		{"an Ed25519 key whose parts do not fit", of(auth.EdDSA, map[string]any{"x": otherX}), "x does not match d"},
		{"an EC key whose parts do not fit", of(auth.ES256, map[string]any{"d": entry(t, newEC(t), "k", auth.ES256, nil)["d"]}), ""},
		{"no key in it", of(auth.HS256, map[string]any{"k": nil}), "missing k"},
		{"an unknown kty", of(auth.HS256, map[string]any{"kty": "XYZ"}), "keys[0]"},
		{"for encryption", of(auth.RS256, map[string]any{"use": "enc"}), "neither signs nor verifies"},
		{"for wrapping", of(auth.HS256, map[string]any{"key_ops": []string{"wrapKey"}}), "neither signs nor verifies"},
		{"too large", `{"keys":[],"x":"` + strings.Repeat("x", 1<<20) + `"}`, "more than 1048576 bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			keys, err := auth.OpenKeySet(auth.KeySetOptions{File: keysFile(t, test.file)})
			if err == nil {
				keys.Close()
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), "auth.keys_file") {
				t.Errorf("says %q, want a mention of %q and of the setting", err, test.says)
			}
			if strings.Contains(err.Error(), base64.RawURLEncoding.EncodeToString(m[auth.HS256].([]byte))) {
				t.Errorf("the error holds the secret: %q", err)
			}
		})
	}
}

func newEC(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Certificates and members that are not known do not keep a key from use.
func TestKeysFileTakesWhatItDoesNotKnow(t *testing.T) {
	file := keysFile(t, jwks(t, entry(t, material()[auth.ES256], "k", auth.ES256, map[string]any{
		"x5c": []string{"bm8gY2VydGlmaWNhdGU="}, "x5u": "::", "x5t": "x", "iat": 1, "use": nil, "key_ops": []string{"sign", "verify"},
	})))
	keys := openKeys(t, auth.KeySetOptions{File: file})
	if _, err := keys.Sign(auth.AccessClaims{UserID: "ada", TTL: time.Minute}); err != nil {
		t.Error(err)
	}
}

func TestKeysFileOthersCanReach(t *testing.T) {
	tests := []struct {
		mode   os.FileMode
		secret bool
		fails  bool
	}{
		{0o600, true, false},
		{0o640, true, false},
		{0o440, true, false},
		{0o644, true, true},
		{0o660, true, true},
		{0o601, true, true},
		{0o602, true, true},
		{0o644, false, false},
		{0o664, false, true},
		{0o646, false, true},
	}
	for _, test := range tests {
		key := public(material()[auth.ES256])
		if test.secret {
			key = material()[auth.ES256]
		}
		file := keysFile(t, jwks(t, entry(t, key, "k", auth.ES256, nil)))
		if err := os.Chmod(file, test.mode); err != nil {
			t.Fatal(err)
		}
		keys, err := auth.OpenKeySet(auth.KeySetOptions{File: file})
		if err == nil {
			keys.Close()
		}
		if (err != nil) != test.fails || err != nil && !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %v, secret %v: %v", test.mode, test.secret, err)
		}
	}
}

// What could keep the server waiting is not read.
func TestKeysFileThatIsNone(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, pipe, os.DevNull} {
		keys, err := auth.OpenKeySet(auth.KeySetOptions{File: path})
		if err == nil {
			keys.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// replace puts a file in the place of another, as an editor or a tool does.
func replace(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// Keys are rotated while tokens of all of them are verified and signed: the
// file gets a second key, the first is removed, the file is broken, and gone.
func TestRotationWhileVerifying(t *testing.T) {
	first, second := entry(t, material()[auth.EdDSA], "first", auth.EdDSA, nil), entry(t, material()[auth.HS256], "second", auth.HS256, nil)
	byFirst := minted(t, material()[auth.EdDSA], map[string]any{"kid": "first"}, map[string]any{"sub": "ada"})
	bySecond := minted(t, material()[auth.HS256], map[string]any{"kid": "second"}, map[string]any{"sub": "bob"})
	file := keysFile(t, jwks(t, first))
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		set := metrics.NewSet()
		keys, err := auth.OpenKeySet(auth.KeySetOptions{File: file, Logger: slog.New(slog.NewTextHandler(&log, nil)), Metrics: set})
		if err != nil {
			t.Fatal(err)
		}
		verifier := auth.NewVerifier(auth.VerifierOptions{Keys: keys})
		done := make(chan struct{})
		var users sync.WaitGroup
		for _, token := range []string{byFirst, bySecond} {
			users.Go(func() {
				for {
					select {
					case <-done:
						return
					case <-time.After(10 * time.Millisecond):
						verifier.Verify([]byte(token))
						if _, err := keys.Sign(auth.AccessClaims{UserID: "ada", TTL: time.Minute}); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		now := func(step string, first, second bool, failures string) {
			t.Helper()
			time.Sleep(2 * time.Second)
			synctest.Wait()
			for _, token := range []struct {
				text string
				want bool
			}{{byFirst, first}, {bySecond, second}} {
				if _, refused := verifier.Verify([]byte(token.text)); (refused == nil) != token.want {
					t.Errorf("%s: %v", step, refused)
				}
			}
			if got := exported(set, "throng_auth_keys_reload_failures_total"); got != failures {
				t.Errorf("%s: %s failures, want %s", step, got, failures)
			}
		}
		now("at first", true, false, "0")
		replace(t, file, jwks(t, first, second))
		now("with a second key", true, true, "0")
		if got := exported(set, "throng_auth_keys"); got != "2" {
			t.Errorf("%s keys", got)
		}
		replace(t, file, jwks(t, second))
		now("without the first", false, true, "0")
		replace(t, file, `{"keys":[`)
		now("broken", false, true, "1")
		replace(t, file, jwks(t, first, entry(t, material()[auth.HS256], "weak", auth.RS256, nil)))
		now("broken otherwise", false, true, "2")
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		now("gone", false, true, "3")
		replace(t, file, jwks(t, first, second))
		now("mended", true, true, "3")
		close(done)
		users.Wait()
		keys.Close()
		if n := strings.Count(log.String(), "level=ERROR"); n != 3 {
			t.Errorf("%d errors logged, want one for each failure:\n%s", n, log.String())
		}
		if strings.Contains(log.String(), "thirty-two") {
			t.Error("the log holds a secret")
		}
	})
}

// exported returns the value of a metric, "" where it is not there.
func exported(set *metrics.Set, name string) string {
	var out bytes.Buffer
	set.WritePrometheus(&out)
	for line := range strings.Lines(out.String()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestEditsDoNotLoseEachOther(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	var editors sync.WaitGroup
	for i := range 16 {
		editors.Go(func() {
			if _, err := auth.GenerateKey(file, auth.EdDSA, fmt.Sprint("k", i), epoch); err != nil {
				t.Error(err)
			}
		})
	}
	editors.Wait()
	keys, err := auth.ListKeys(file, "")
	if err != nil || len(keys) != 16 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}
