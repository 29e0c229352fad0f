package auth_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

// target is a verifier with a secret and a key of each algorithm, each named by
// its algorithm, for tokens of one issuer and audience.
func target(t testing.TB) *auth.Verifier {
	t.Helper()
	var entries []map[string]any
	for _, alg := range allAlgorithms {
		entries = append(entries, entry(t, public(material()[alg]), alg, alg, nil))
	}
	return auth.NewVerifier(auth.VerifierOptions{
		Keys:   openKeys(t, auth.KeySetOptions{Secret: key, File: keysFile(t, jwks(t, entries...))}),
		Issuer: "us", Audience: []string{"here", "there"}, Leeway: auth.DefaultLeeway, Now: newVerifier().Now,
	})
}

// good are claims that the target takes.
func good(changes map[string]any) map[string]any {
	claims := map[string]any{"sub": "ada", "iss": "us", "aud": "here", "iat": epoch.Unix(), "exp": epoch.Unix() + 60}
	for name, value := range changes {
		if value == nil {
			delete(claims, name)
		} else {
			claims[name] = value
		}
	}
	return claims
}

// forged returns a token of this header and these claims whose signature is an
// HMAC with the given key.
func forged(t testing.TB, key []byte, header string, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return hmacOver(t, key, header, string(payload))
}

func hmacOver(t testing.TB, key []byte, header, payload string) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	mac, err := jwt.SigningMethodHS256.Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(mac)
}

// refusedWith holds the answer to a bad token to a code, and to saying nothing
// of it.
func refusedWith(t *testing.T, v *auth.Verifier, token string, code *proto.Code) {
	t.Helper()
	id, err := v.Verify([]byte(token))
	if err == nil {
		t.Fatalf("accepted as %+v", id)
	}
	if id != nil || !errors.Is(err, code) {
		t.Errorf("got %v with %+v, want %s", err, id, code.Name)
	}
	for part := range strings.FieldsFuncSeq(token, func(r rune) bool { return strings.ContainsRune(`.{}",:`, r) }) {
		if len(part) > 8 && strings.Contains(err.Error(), part) {
			t.Errorf("the error holds a part of the token: %q", err.Error())
		}
	}
}

// What the target takes, so that what follows fails for its own reason.
func TestTheTargetTakesGoodTokens(t *testing.T) {
	v := target(t)
	for _, alg := range allAlgorithms {
		for name, header := range map[string]map[string]any{"with a kid": {"kid": alg}, "without": nil} {
			if _, err := v.Verify([]byte(minted(t, material()[alg], header, good(nil)))); err != nil {
				t.Errorf("%s %s: %v", alg, name, err)
			}
		}
	}
	if _, err := v.Verify([]byte(forged(t, key, `{"alg":"HS256"}`, good(nil)))); err != nil {
		t.Errorf("with the secret: %v", err)
	}
	if _, err := v.Verify([]byte(forged(t, key, `{"alg":"HS256"}`, good(map[string]any{"aud": []string{"x", "there"}})))); err != nil {
		t.Errorf("with several audiences: %v", err)
	}
}

// An HMAC with something public as its key must never pass for a signature.
func TestAlgorithmsAreNotConfused(t *testing.T) {
	v := target(t)
	secrets := map[string][]byte{"nothing": {}, "a zero": {0}}
	for _, alg := range []string{auth.RS256, auth.ES256, auth.EdDSA} {
		pub := public(material()[alg])
		der, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		secrets[alg+" DER"] = der
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		secrets[alg+" PEM"] = text
		secrets[alg+" PEM without its line end"] = []byte(strings.TrimSpace(string(text)))
		if rsaKey, ok := pub.(*rsa.PublicKey); ok {
			pkcs1 := x509.MarshalPKCS1PublicKey(rsaKey)
			secrets["PKCS #1"] = pkcs1
			secrets["PKCS #1 PEM"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1})
			secrets["the modulus"] = rsaKey.N.Bytes()
		}
		jwk, err := json.Marshal(jose.JSONWebKey{Key: pub, KeyID: alg, Algorithm: alg, Use: "sig"})
		if err != nil {
			t.Fatal(err)
		}
		secrets[alg+" JWK"] = jwk
		secrets[alg+" JWK Set"] = []byte(jwks(t, entry(t, pub, alg, alg, nil)))
	}
	for name, secret := range secrets {
		t.Run(name, func(t *testing.T) {
			for _, kid := range []string{"", `,"kid":"RS256"`, `,"kid":"ES256"`, `,"kid":"EdDSA"`, `,"kid":"HS256"`} {
				for _, alg := range allAlgorithms {
					refusedWith(t, v, forged(t, secret, `{"alg":"`+alg+`"`+kid+`}`, good(nil)), proto.ErrInvalidToken)
				}
			}
		})
	}
	// And a good signature is none under another algorithm's name or key.
	for _, signer := range allAlgorithms {
		token := minted(t, material()[signer], nil, good(nil))
		parts := strings.Split(token, ".")
		for _, alg := range append([]string{"HS384", "HS512", "RS384", "PS256", "ES384", "ES512"}, allAlgorithms...) {
			for _, kid := range append([]string{""}, allAlgorithms...) {
				if alg == signer && (kid == "" || kid == alg) {
					continue
				}
				header := map[string]any{"alg": alg}
				if kid != "" {
					header["kid"] = kid
				}
				head, err := json.Marshal(header)
				if err != nil {
					t.Fatal(err)
				}
				refusedWith(t, v, base64.RawURLEncoding.EncodeToString(head)+"."+parts[1]+"."+parts[2], proto.ErrInvalidToken)
				if kid != "" {
					refusedWith(t, v, minted(t, material()[signer], map[string]any{"kid": kid, "alg": alg}, good(nil)), proto.ErrInvalidToken)
				}
			}
		}
	}
}

func TestNoneIsNoAlgorithm(t *testing.T) {
	v := target(t)
	payload, err := json.Marshal(good(nil))
	if err != nil {
		t.Fatal(err)
	}
	body := base64.RawURLEncoding.EncodeToString(payload)
	for _, alg := range []string{`"none"`, `"None"`, `"NONE"`, `"nOnE"`, `"none "`, `" none"`, `"no\u006ee"`, `"none\u0000"`, `""`, `null`, `0`, `["none"]`, `["HS256"]`, `{"alg":"none"}`, `"hs256"`, `"HS256 "`} {
		for _, kid := range []string{"", `,"kid":"HS256"`, `,"kid":"RS256"`} {
			header := `{"alg":` + alg + kid + `}`
			head := base64.RawURLEncoding.EncodeToString([]byte(header))
			for _, signature := range []string{"", "AA", "bm9uZQ", strings.Repeat("A", 43), strings.Repeat("A", 86), strings.Repeat("A", 342)} {
				refusedWith(t, v, head+"."+body+"."+signature, proto.ErrInvalidToken)
			}
			refusedWith(t, v, hmacOver(t, key, header, string(payload)), proto.ErrInvalidToken)
		}
	}
	refusedWith(t, v, hmacOver(t, key, `{"ALG":"HS256"}`, string(payload)), proto.ErrInvalidToken)
	refusedWith(t, v, hmacOver(t, key, `{"kid":"HS256"}`, string(payload)), proto.ErrInvalidToken)
	refusedWith(t, v, "."+body+".", proto.ErrInvalidToken)
}

// The kid is compared with those of the set and used for nothing else.
func TestTheKidChoosesAmongTheKeys(t *testing.T) {
	v := target(t)
	for _, kid := range []string{
		``, `hs256`, `HS256 `, `HS256\u0000`, `\u0000`, `../../../../dev/null`, `/dev/null`, `/proc/self/environ`, `file:///dev/null`,
		`http://127.0.0.1:1/keys`, `' OR '1'='1`, `*`, `$(id)`, `%00`, `..`, `HS256,RS256`, `0`, strings.Repeat("k", 2000),
	} {
		t.Run(fmt.Sprintf("%.20q", kid), func(t *testing.T) {
			for _, secret := range [][]byte{key, material()[auth.HS256].([]byte), {}, {0}} {
				refusedWith(t, v, forged(t, secret, `{"alg":"HS256","kid":"`+kid+`"}`, good(nil)), proto.ErrInvalidToken)
			}
		})
	}
	for _, kid := range []string{`null`, `0`, `true`, `["HS256"]`, `{"HS256":1}`} {
		refusedWith(t, v, forged(t, key, `{"alg":"HS256","kid":`+kid+`}`, good(nil)), proto.ErrInvalidToken)
		refusedWith(t, v, forged(t, material()[auth.HS256].([]byte), `{"alg":"HS256","kid":`+kid+`}`, good(nil)), proto.ErrInvalidToken)
	}
	// The secret has no kid: no name chooses it.
	refusedWith(t, v, forged(t, key, `{"alg":"HS256","kid":"HS256"}`, good(nil)), proto.ErrInvalidToken)
}

// A header that brings its own key, or says where one is, is not listened to.
func TestHeadersBringNoKeys(t *testing.T) {
	var asked atomic.Int64
	attacker, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, jwks(t, entry(t, public(attacker), "RS256", auth.RS256, nil)))
	}))
	defer server.Close()
	v := target(t)
	for name, header := range map[string]map[string]any{
		"jwk":         {"jwk": entry(t, public(attacker), "RS256", auth.RS256, nil)},
		"jwk and kid": {"jwk": entry(t, public(attacker), "RS256", auth.RS256, nil), "kid": "RS256"},
		"jku":         {"jku": server.URL, "kid": "RS256"},
		"x5u":         {"x5u": server.URL, "kid": "RS256"},
		"x5c":         {"x5c": []string{base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&attacker.PublicKey))}, "kid": "RS256"},
		"all":         {"jku": server.URL, "x5u": server.URL, "kid": server.URL, "jwk": "x", "x5c": "x", "x5t": "x"},
	} {
		t.Run(name, func(t *testing.T) {
			refusedWith(t, v, minted(t, attacker, header, good(nil)), proto.ErrInvalidToken)
		})
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the server fetched %d times what a token named", n)
	}
	// With a good signature they are ignored, but for crit, which asks not to.
	harmless := map[string]any{"kid": "RS256", "jku": server.URL, "x5u": server.URL, "jwk": map[string]any{}, "cty": "JWT"}
	if _, err := v.Verify([]byte(minted(t, material()[auth.RS256], harmless, good(nil)))); err != nil {
		t.Errorf("with headers to ignore: %v", err)
	}
	for _, crit := range []any{[]string{"b64"}, []string{}, nil, "exp"} {
		refusedWith(t, v, minted(t, material()[auth.RS256], map[string]any{"kid": "RS256", "crit": crit, "b64": false}, good(nil)), proto.ErrInvalidToken)
	}
}

// An issuer signs other things than access tokens with the same keys.
func TestTokensForOtherPurposes(t *testing.T) {
	v := target(t)
	for _, typ := range []any{"logout+jwt", "Logout+JWT", "application/secevent+jwt", "dpop+jwt", "+jwt", nil, 1, []string{"JWT"}} {
		refusedWith(t, v, minted(t, material()[auth.EdDSA], map[string]any{"typ": typ}, good(nil)), proto.ErrInvalidToken)
	}
	for _, typ := range []string{"JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "JOSE", ""} {
		if _, err := v.Verify([]byte(minted(t, material()[auth.EdDSA], map[string]any{"typ": typ}, good(nil)))); err != nil {
			t.Errorf("typ %q: %v", typ, err)
		}
	}
	if _, err := v.Verify([]byte(hmacOver(t, key, `{"alg":"HS256"}`, `{"sub":"ada","iss":"us","aud":"here"}`))); err != nil {
		t.Errorf("without typ: %v", err)
	}
}

// What is refused is told to the log where that listens, and never quoted.
func TestTheLogHoldsNoToken(t *testing.T) {
	var log bytes.Buffer
	v := auth.NewVerifier(auth.VerifierOptions{
		Keys: auth.NewKeySet(key), Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	token := forged(t, []byte("another key"), `{"alg":"HS256"}`, good(nil))
	refusedWith(t, v, token, proto.ErrInvalidToken)
	if !strings.Contains(log.String(), "a key of this server") {
		t.Errorf("the log says %q", log.String())
	}
	for part := range strings.SplitSeq(token, ".") {
		if strings.Contains(log.String(), part) {
			t.Errorf("the log holds %q of the token", part)
		}
	}
}

func TestClaimsThatAreRefused(t *testing.T) {
	v := target(t)
	at := epoch.Unix()
	tests := []struct {
		name    string
		changes map[string]any
		code    *proto.Code
	}{
		{"expired", map[string]any{"exp": at - 5}, proto.ErrTokenExpired},
		{"expired in 1970", map[string]any{"exp": 0}, proto.ErrTokenExpired},
		{"not yet", map[string]any{"nbf": at + 6}, proto.ErrInvalidToken},
		{"issued in the future", map[string]any{"iat": at + 6}, proto.ErrInvalidToken},
		{"another issuer", map[string]any{"iss": "them"}, proto.ErrInvalidToken},
		{"an issuer like ours", map[string]any{"iss": "US"}, proto.ErrInvalidToken},
		{"no issuer", map[string]any{"iss": nil}, proto.ErrInvalidToken},
		{"issuers", map[string]any{"iss": []string{"us"}}, proto.ErrInvalidToken},
		{"another audience", map[string]any{"aud": "elsewhere"}, proto.ErrInvalidToken},
		{"other audiences", map[string]any{"aud": []string{"elsewhere", "her"}}, proto.ErrInvalidToken},
		{"no audience", map[string]any{"aud": nil}, proto.ErrInvalidToken},
		{"an empty audience", map[string]any{"aud": []string{}}, proto.ErrInvalidToken},
		{"an audience of numbers", map[string]any{"aud": []int{1}}, proto.ErrInvalidToken},
		{"an audience that is an object", map[string]any{"aud": map[string]any{"here": 1}}, proto.ErrInvalidToken},
		{"no user", map[string]any{"sub": nil}, proto.ErrInvalidToken},
		{"an end before time", map[string]any{"exp": -1}, proto.ErrInvalidToken},
		{"an end beyond the year 9999", map[string]any{"exp": 253402300800}, proto.ErrInvalidToken},
		{"an end beyond all times", map[string]any{"exp": json.Number("1e400")}, proto.ErrInvalidToken},
		{"an end that would overflow", map[string]any{"exp": json.Number("9223372036854775807")}, proto.ErrInvalidToken},
		{"an end that is text", map[string]any{"exp": "1800000060"}, proto.ErrInvalidToken},
		{"an end that is true", map[string]any{"exp": true}, proto.ErrInvalidToken},
		{"a list of ends", map[string]any{"exp": []int64{at + 60}}, proto.ErrInvalidToken},
		{"admin is text", map[string]any{"admin": "true"}, proto.ErrInvalidToken},
		{"admin is a number", map[string]any{"admin": 1}, proto.ErrInvalidToken},
		{"sid is a number", map[string]any{"sid": 1}, proto.ErrInvalidToken},
		{"jti is a list", map[string]any{"jti": []string{"x"}}, proto.ErrInvalidToken},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			refusedWith(t, v, minted(t, material()[auth.EdDSA], nil, good(test.changes)), test.code)
		})
	}
	for _, end := range []any{253402300799, at + 1, float64(at) + 0.5} { // far, near, and between seconds
		if _, err := v.Verify([]byte(minted(t, material()[auth.EdDSA], nil, good(map[string]any{"exp": end})))); err != nil {
			t.Errorf("ends at %v: %v", end, err)
		}
	}
}

// A name that is there twice, or in other letters, means one thing to one
// reader and another to the next.
func TestClaimsThatCanBeReadInTwoWays(t *testing.T) {
	v := newVerifier()
	for _, claims := range []string{
		`{"sub":"ada","sub":"root"}`,
		`{"sub":"ada","s\u0075b":"root"}`,
		`{"sub":"ada","exp":1,"exp":1900000000}`,
		`{"sub":"ada","admin":false,"admin":true}`,
		`{"sub":"ada","rooms":[],"rooms":[{"match":"*","allow":["manage"]}]}`,
		`{"sub":"ada","rooms":[{"match":"a","match":"*","allow":["join"]}]}`,
		`{"sub":"ada","x":{"y":1,"y":2}}`,
		`{"sub":"ada"}{"sub":"root"}`,
		`{"sub":"ada"} x`,
		"{\"sub\":\"\xff\"}",
		`["sub","ada"]`, `"ada"`, `null`, `1`, ``,
		`{"SUB":"ada"}`, `{"Sub":"ada"}`,
		`{"sub":null}`, `{"sub":"ada","exp":null}`, `{"sub":"ada","aud":null}`,
	} {
		t.Run(claims, func(t *testing.T) {
			refusedWith(t, v, raw(t, `{"alg":"HS256"}`, claims), proto.ErrInvalidToken)
		})
	}
	// Names in other letters are other names.
	id, err := v.Verify([]byte(raw(t, `{"alg":"HS256"}`, `{"sub":"ada","Sub":"root","ADMIN":true,"Admin":true}`)))
	if err != nil || id.UserID != "ada" || id.Admin {
		t.Errorf("%+v, %v", id, err)
	}
}

func TestTokensThatAreNotWhole(t *testing.T) {
	v := target(t)
	for _, alg := range allAlgorithms {
		token := minted(t, material()[alg], map[string]any{"kid": alg}, good(nil))
		for i := range token { // truncated
			if _, err := v.Verify([]byte(token[:i])); !errors.Is(err, proto.ErrInvalidToken) {
				t.Fatalf("%s, the first %d bytes: %v", alg, i, err)
			}
		}
		for i := range token { // one character changed
			for _, c := range []byte{'A', 'B', '-', '.', '=', 0, '\n', ' '} {
				if token[i] == c {
					continue
				}
				changed := token[:i] + string(c) + token[i+1:]
				if _, err := v.Verify([]byte(changed)); !errors.Is(err, proto.ErrInvalidToken) {
					t.Fatalf("%s, %q in place %d: %v", alg, c, i, err)
				}
			}
		}
		parts := strings.Split(token, ".")
		for name, changed := range map[string]string{
			"unsigned":      parts[0] + "." + parts[1] + ".",
			"without a dot": parts[0] + "." + parts[1],
			"padded":        token + "=",
			"a fourth part": token + ".x",
			"an empty part": parts[0] + ".." + parts[2],
			"a space":       " " + token,
			"a line end":    token + "\n",
			"a break in it": token[:9] + "\r\n" + token[9:],
			"signed twice":  token + parts[2],
			"JSON":          `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`,
			"five parts":    token + "." + parts[0] + "." + parts[1],
		} {
			t.Run(alg+" "+name, func(t *testing.T) { refusedWith(t, v, changed, proto.ErrInvalidToken) })
		}
	}
}

// What is too long is not even parsed.
func TestTokensThatAreTooLong(t *testing.T) {
	v := target(t)
	long := minted(t, material()[auth.EdDSA], nil, good(map[string]any{"x": strings.Repeat("x", auth.DefaultMaxBytes)}))
	refusedWith(t, v, long, proto.ErrInvalidToken)
	refusedWith(t, v, minted(t, material()[auth.EdDSA], map[string]any{"kid": strings.Repeat("k", 1<<20)}, good(nil)), proto.ErrInvalidToken)
	refusedWith(t, v, auth.APIKeyPrefix+strings.Repeat("x", auth.DefaultMaxBytes), proto.ErrInvalidToken)
	huge := []byte(strings.Repeat("e30.", 16<<20/4))
	if n := testing.AllocsPerRun(10, func() { v.Verify(huge) }); n > 10 {
		t.Errorf("16 MiB of a token cost %v allocations, want a handful for the error", n)
	}
	roomy := auth.NewVerifier(auth.VerifierOptions{Keys: auth.NewKeySet(key), MaxBytes: len(long)})
	if _, err := roomy.Verify([]byte(forged(t, key, `{"alg":"HS256"}`, map[string]any{"sub": "ada", "x": strings.Repeat("x", auth.DefaultMaxBytes/2)}))); err != nil {
		t.Errorf("within its bound: %v", err)
	}
	rules := make([]auth.Rule, 1001)
	for i := range rules {
		rules[i] = auth.Rule{Match: "a", Allow: auth.AllRights}
	}
	large := auth.NewVerifier(auth.VerifierOptions{Keys: auth.NewKeySet(key), MaxBytes: 1 << 20})
	refusedWith(t, large, forged(t, key, `{"alg":"HS256"}`, map[string]any{"sub": "ada", "rooms": rules}), proto.ErrInvalidToken)
	if _, err := large.Verify([]byte(forged(t, key, `{"alg":"HS256"}`, map[string]any{"sub": "ada", "rooms": rules[1:]}))); err != nil {
		t.Errorf("with as many rules as may be: %v", err)
	}
}

func TestAPIKeysAndRevocations(t *testing.T) {
	revoked := false
	v := auth.NewVerifier(auth.VerifierOptions{
		Keys: auth.NewKeySet(key), Now: newVerifier().Now,
		APIKeys: func(token []byte) (*auth.Identity, *proto.Error) {
			if string(token) != "throng_good" {
				return nil, proto.ErrInvalidToken.New()
			}
			return &auth.Identity{UserID: "backend", Grant: &auth.Grant{KeyID: "k1"}}, nil
		},
		Revoked: func(id *auth.Identity) bool { return revoked && (id.KeyID == "k1" || id.Session == "s1") },
	})
	token := forged(t, key, `{"alg":"HS256"}`, map[string]any{"sub": "ada", "sid": "s1"})
	for _, shown := range []string{"throng_good", token} {
		revoked = false
		if _, err := v.Verify([]byte(shown)); err != nil {
			t.Errorf("%v", err)
		}
		revoked = true
		refusedWith(t, v, shown, proto.ErrRevoked)
	}
	refusedWith(t, v, "throng_bad", proto.ErrInvalidToken)
	refusedWith(t, newVerifier(), "throng_good", proto.ErrInvalidToken)
	refusedWith(t, v, "Throng_good", proto.ErrInvalidToken)
}
