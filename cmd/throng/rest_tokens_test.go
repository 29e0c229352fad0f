package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/internal/throngtest"
)

// TestForgedTokens tries tokens that are no good, by every way that a token
// comes in: none of them is let in, and none is an error of the server's.
func TestForgedTokens(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw := base64.RawURLEncoding.EncodeToString
	modulus := private.N.Bytes()
	keys, err := json.Marshal(fields{"keys": []fields{
		{"kty": "RSA", "kid": "rsa", "alg": "RS256", "use": "sig", "n": raw(modulus), "e": raw(big.NewInt(int64(private.E)).Bytes())},
		{"kty": "OKP", "kid": "ed", "alg": "EdDSA", "crv": "Ed25519", "x": raw(edPublic)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, keys, 0o600); err != nil {
		t.Fatal(err)
	}
	const secret = restSecret
	s := startREST(t, "", throngtest.Options{Args: []string{
		"--auth-keys-file=" + file, "--auth-issuer=https://throng.example", "--auth-audience=chat",
	}})
	now := time.Now()
	claims := func(changes fields) fields {
		c := fields{"sub": "ada", "iss": "https://throng.example", "aud": "chat", "exp": now.Add(time.Hour).Unix()}
		for name, value := range changes {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		}
		return c
	}
	hs := fields{"alg": "HS256", "typ": "JWT"}
	good := jwt(hs, claims(nil), []byte(secret))
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return raw(text)
	}
	ed := part(fields{"alg": "EdDSA", "kid": "ed"}) + "." + part(claims(nil))
	ed += "." + raw(ed25519.Sign(edPrivate, []byte(ed)))
	for name, token := range map[string]string{"of the secret": good, "of the Ed25519 key": ed} {
		if me := s.ask(getting("/me", token)); me.status != http.StatusOK || me.body.Text("userId") != "ada" {
			t.Fatalf("a good token %s: %d %s", name, me.status, me.text)
		}
	}
	pieces := strings.Split(good, ".")
	twice := raw([]byte(`{"sub":"ada","sub":"root","iss":"https://throng.example","aud":"chat","exp":9999999999}`))
	none := func(alg string) string { return part(fields{"alg": alg}) + "." + pieces[1] + "." }
	for name, token := range map[string]string{
		"nonsense":                     "nonsense",
		"two pieces":                   pieces[0] + "." + pieces[1],
		"four pieces":                  good + ".x",
		"no signature":                 pieces[0] + "." + pieces[1] + ".",
		"half a signature":             good[:len(good)-10],
		"a padded signature":           good + "=",
		"another signature":            pieces[0] + "." + pieces[1] + "." + raw(make([]byte, 32)),
		"other claims":                 pieces[0] + "." + part(claims(fields{"admin": true})) + "." + pieces[2],
		"alg none":                     none("none"),
		"alg None":                     none("None"),
		"alg nONE":                     none("nONE"),
		"no alg":                       jwt(fields{"typ": "JWT"}, claims(nil), []byte(secret)),
		"another secret":               jwt(hs, claims(nil), []byte("another secret")),
		"an empty secret":              jwt(hs, claims(nil), nil),
		"HS384":                        jwt(fields{"alg": "HS384"}, claims(nil), []byte(secret)),
		"HS256 under the RSA key's id": jwt(fields{"alg": "HS256", "kid": "rsa"}, claims(nil), modulus),
		"the secret under its id":      jwt(fields{"alg": "HS256", "kid": "rsa"}, claims(nil), []byte(secret)),
		"RS256 with HMAC":              jwt(fields{"alg": "RS256", "kid": "rsa"}, claims(nil), modulus),
		"EdDSA with HMAC":              jwt(fields{"alg": "EdDSA", "kid": "ed"}, claims(nil), edPublic),
		"HMAC with the Ed25519 key":    jwt(fields{"alg": "HS256", "kid": "ed"}, claims(nil), edPublic),
		"an unknown kid":               jwt(fields{"alg": "HS256", "kid": "other"}, claims(nil), []byte(secret)),
		"a kid that is a path":         jwt(fields{"alg": "HS256", "kid": "../../secret"}, claims(nil), []byte(secret)),
		"its own key":                  jwt(fields{"alg": "HS256", "jwk": fields{"kty": "oct", "k": raw([]byte("mine"))}}, claims(nil), []byte("mine")),
		"a key's URL":                  jwt(fields{"alg": "HS256", "jku": "http://127.0.0.1:1/"}, claims(nil), []byte("mine")),
		"a critical extension":         jwt(fields{"alg": "HS256", "crit": []string{"x"}, "x": 1}, claims(nil), []byte(secret)),
		"no sub":                       jwt(hs, claims(fields{"sub": nil}), []byte(secret)),
		"an empty sub":                 jwt(hs, claims(fields{"sub": ""}), []byte(secret)),
		"a sub that is none":           jwt(hs, claims(fields{"sub": "a\nb"}), []byte(secret)),
		"a sub that is a number":       jwt(hs, claims(fields{"sub": 1}), []byte(secret)),
		"a long sub":                   jwt(hs, claims(fields{"sub": strings.Repeat("x", 129)}), []byte(secret)),
		"two subs":                     signed(pieces[0]+"."+twice, []byte(secret)),
		"another issuer":               jwt(hs, claims(fields{"iss": "https://evil.example"}), []byte(secret)),
		"no issuer":                    jwt(hs, claims(fields{"iss": nil}), []byte(secret)),
		"another audience":             jwt(hs, claims(fields{"aud": "mail"}), []byte(secret)),
		"no audience":                  jwt(hs, claims(fields{"aud": nil}), []byte(secret)),
		"not yet":                      jwt(hs, claims(fields{"nbf": now.Add(time.Hour).Unix()}), []byte(secret)),
		"issued tomorrow":              jwt(hs, claims(fields{"iat": now.Add(24 * time.Hour).Unix()}), []byte(secret)),
		"exp as text":                  jwt(hs, claims(fields{"exp": "9999999999"}), []byte(secret)),
		"a negative exp":               jwt(hs, claims(fields{"exp": -1}), []byte(secret)),
		"admin as text":                jwt(hs, claims(fields{"admin": "true"}), []byte(secret)),
		"rooms as text":                jwt(hs, claims(fields{"rooms": "*"}), []byte(secret)),
		"a right that is none":         jwt(hs, claims(fields{"rooms": []fields{{"match": "*", "allow": []string{"fly"}}}}), []byte(secret)),
		"no JSON":                      signed(pieces[0]+"."+raw([]byte("{")), []byte(secret)),
		"oversized":                    jwt(hs, claims(fields{"x": strings.Repeat("x", 5000)}), []byte(secret)),
		"an API key that is none":      "throng_" + strings.Repeat("x", 40),
		"an API key's prefix":          "throng_",
	} {
		s.refuseToken(name, "invalid_token", token)
	}
	s.refuseToken("expired", "token_expired", jwt(hs, claims(fields{"exp": now.Add(-time.Minute).Unix()}), []byte(secret)))
	for name, header := range map[string][]string{
		"another scheme": {"Basic YWRhOng="},
		"no scheme":      {good},
		"no token":       {"Bearer "},
		"two headers":    {"Bearer " + good, "Bearer " + good},
		"two tokens":     {"Bearer " + good + " " + good},
	} {
		if a := s.ask(request{method: http.MethodGet, path: "/me", header: http.Header{"Authorization": header}}); a.status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
	// The query is a way for streams alone, and dev's ?user= for none here.
	s.refused(http.StatusUnauthorized, "unauthenticated", getting("/me?token="+good, ""))
	s.refused(http.StatusUnauthorized, "unauthenticated", getting("/me?user=ada", ""))
	if strings.Contains(s.Output(), pieces[2]) {
		t.Error("the log holds a token")
	}
}

// refuseToken holds REST, streams and WebSockets to the same answer.
func (s *restServer) refuseToken(name, code, token string) {
	s.t.Helper()
	for _, r := range []request{
		getting("/me", token), post("/rooms/lobby/messages", token, fields{"content": 1}), getting("/rooms/lobby/events", token),
	} {
		if a := s.ask(r); a.status != http.StatusUnauthorized || a.body.Text("code") != code {
			s.t.Errorf("%s: %s %s: %d %s, want 401 %s", name, r.method, r.path, a.status, a.text, code)
		} else if len(token) > 20 && strings.Contains(string(a.text), token) {
			s.t.Errorf("%s: the answer holds the token: %s", name, a.text)
		}
	}
	_, response, err := throngtest.TryDial(s.t, s.WSURL("/ws"), throngtest.DialOptions{Header: http.Header{"Authorization": {"Bearer " + token}}})
	if err == nil || response == nil || response.StatusCode != http.StatusUnauthorized {
		s.t.Errorf("%s: the WebSocket handshake got %v (%v), want 401", name, response, err)
	}
}

// TestARefreshTokenUsedTwice: somebody has a copy, so the whole family goes, its
// access tokens, and the connections that they opened.
func TestARefreshTokenUsedTwice(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	s.register("ada")
	login, other := s.login("ada").body, s.login("ada").body
	ws := s.join(login.Text("accessToken"), "lobby")
	untouched := s.join(other.Text("accessToken"), "lobby")
	refresh := func(token string) request { return post("/refresh", "", fields{"refreshToken": token}) }
	second := s.want(http.StatusOK, refresh(login.Text("refreshToken"))).body
	stream := s.follow("lobby", second.Text("accessToken"), "")
	stream.expect("joined")

	s.refused(http.StatusUnauthorized, "revoked", refresh(login.Text("refreshToken")))
	ws.ExpectClose(4403)
	if last := stream.ended(); last.kind != "error" || last.data.Text("code") != "revoked" {
		t.Errorf("the stream ends with %v", last)
	}
	for _, token := range []string{login.Text("accessToken"), second.Text("accessToken")} {
		s.refuseToken("of the family", "revoked", token)
	}
	s.refused(http.StatusUnauthorized, "invalid_token", refresh(second.Text("refreshToken")))
	// The other login of the same user goes on.
	untouched.Send(fields{"type": "PING", "timestamp": 1})
	untouched.Await("PONG")
	s.want(http.StatusOK, refresh(other.Text("refreshToken")))

	// All of that outlives a kill.
	s.Kill()
	s.Restart()
	s.refuseToken("of the family, after a kill", "revoked", second.Text("accessToken"))
	s.refused(http.StatusUnauthorized, "invalid_token", refresh("made-up"))
}

// TestRevocationsCloseConnections: each way of taking access away closes what it
// covers with 4403, and nothing else.
func TestRevocationsCloseConnections(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	bystander := s.join(s.user("bystander"), "lobby")
	login := func(name string) func() string {
		return func() string { return s.login(name).body.Text("accessToken") }
	}
	same := func(token string) func() string { return func() string { return token } }
	for _, name := range []string{"ada", "bob", "carl", "dora", "eve", "finn"} {
		s.register(name)
	}
	sessionOf := func(token string) string { return s.want(http.StatusOK, getting("/me", token)).body.Text("sessionId") }
	key := s.want(http.StatusCreated, post("/keys", s.admin, fields{"name": "bot", "userId": "bot"})).body
	foreign := s.token(map[string]any{"sub": "of another issuer", "jti": "one", "iat": time.Now().Add(-time.Second).Unix()})
	for _, test := range []struct {
		name   string
		token  func() string
		revoke func(token string) request
	}{
		{"a user", login("ada"), func(string) request { return post("/users/ada/revoke", s.admin, nil) }},
		{"a logout", login("ada"), func(token string) request { return post("/logout", token, nil) }},
		{"a session, by its user", login("bob"), func(token string) request { return del("/me/sessions/"+sessionOf(token), token) }},
		{"a session, by an administrator", login("bob"), func(token string) request { return del("/users/bob/sessions/"+sessionOf(token), s.admin) }},
		{"a token", login("carl"), func(token string) request { return post("/tokens/revoke", token, fields{"token": token}) }},
		{"a disabled user", login("carl"), func(string) request {
			return request{method: http.MethodPatch, path: "/users/carl", token: s.admin, body: fields{"disabled": true}}
		}},
		{"a deleted user", login("dora"), func(string) request { return del("/users/dora", s.admin) }},
		{"a password, set", login("eve"), func(string) request {
			return request{method: http.MethodPut, path: "/users/eve/password", token: s.admin, body: fields{"password": "another one for eve"}}
		}},
		{"a password, changed elsewhere", login("finn"), func(string) request {
			return request{method: http.MethodPut, path: "/me/password", token: login("finn")(), body: fields{"oldPassword": passwordOf("finn"), "newPassword": "another one for finn"}}
		}},
		{"an API key", same(key.Text("key")), func(string) request { return del("/keys/"+key.Text("id"), s.admin) }},
		{"a token by its id", same(foreign), func(string) request {
			return post("/tokens/revoke", s.admin, fields{"tokenId": "one", "expiresAt": time.Now().Add(time.Hour).UnixMilli()})
		}},
		{"a user of another issuer", same(s.token(map[string]any{"sub": "abroad", "iat": time.Now().Add(-time.Second).Unix()})), func(string) request {
			return post("/users/abroad/revoke", s.admin, nil)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := test.token()
			ws := s.join(token, "lobby")
			r := test.revoke(token)
			if a := s.ask(r); a.status != http.StatusNoContent && a.status != http.StatusOK {
				t.Fatalf("%s %s: %d %s", r.method, r.path, a.status, a.text)
			}
			ws.ExpectClose(4403)
			code := "revoked"
			if strings.HasPrefix(token, "throng_") {
				code = "invalid_token" // the server forgets keys
			}
			s.refused(http.StatusUnauthorized, code, getting("/me", token))
		})
	}
	bystander.Send(fields{"type": "PING", "timestamp": 1})
	bystander.Await("PONG")
}

// TestAChangedPasswordKeepsTheSession that changed it, and its connections.
func TestAChangedPasswordKeepsTheSession(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	s.register("ada")
	token := s.login("ada").body.Text("accessToken")
	ws := s.join(token, "lobby")
	s.want(http.StatusNoContent, request{method: http.MethodPut, path: "/me/password", token: token, body: fields{"oldPassword": passwordOf("ada"), "newPassword": "another one for ada"}})
	s.refused(http.StatusUnauthorized, "invalid_credentials", post("/login", "", fields{"username": "ada", "password": passwordOf("ada")}))
	s.want(http.StatusOK, getting("/me", token))
	ws.Send(fields{"type": "PING", "timestamp": 1})
	ws.Await("PONG")
	s.refused(http.StatusUnauthorized, "invalid_credentials", request{method: http.MethodPut, path: "/me/password", token: token, body: fields{"oldPassword": "not it", "newPassword": "yet another one"}})
}

// TestAnExpiringTokenEndsStreams: a stream cannot send a fresh token.
func TestAnExpiringTokenEndsStreams(t *testing.T) {
	s := startREST(t, "", throngtest.Options{Args: []string{"--auth-leeway=0"}})
	token := s.token(map[string]any{"sub": "ada", "exp": time.Now().Add(3 * time.Second).Unix()})
	st, ws := s.follow("lobby", token, ""), s.join(token, "lobby")
	if last := st.ended(); last.kind != "error" || last.data.Text("code") != "token_expired" {
		t.Errorf("the stream ends with %v", last)
	}
	ws.ExpectClose(4402)
	s.refuseToken("afterwards", "token_expired", token)
}
