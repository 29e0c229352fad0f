package auth_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

var (
	key    = []byte("a key of the test, long enough for HS256")
	oldKey = []byte("the key before it, which still counts...")
	epoch  = time.Unix(1_800_000_000, 0)
)

func newVerifier() *auth.Verifier {
	return auth.NewVerifier(auth.VerifierOptions{
		Keys: auth.NewKeySet(key, oldKey), Leeway: auth.DefaultLeeway, Now: func() time.Time { return epoch },
	})
}

// signed returns a token with any claims, signed as a foreign signer would.
func signed(t testing.TB, method jwt.SigningMethod, key any, claims map[string]any) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, jwt.MapClaims(claims)).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// raw returns a token of the given header and claims with HMAC-SHA-256 over
// whatever they are.
func raw(t testing.TB, header, claims string) string {
	t.Helper()
	head := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	mac, err := jwt.SigningMethodHS256.Sign(head, key)
	if err != nil {
		t.Fatal(err)
	}
	return head + "." + base64.RawURLEncoding.EncodeToString(mac)
}

func TestVerifyAccepts(t *testing.T) {
	at := epoch.Unix()
	tests := []struct {
		name    string
		key     []byte
		claims  map[string]any
		expires time.Time
	}{
		{"a user alone", key, map[string]any{"sub": "ada"}, time.Time{}},
		{"the older key", oldKey, map[string]any{"sub": "ada"}, time.Time{}},
		{"before its end", key, map[string]any{"sub": "ada", "exp": at + 60}, epoch.Add(time.Minute)},
		{"just past its end", key, map[string]any{"sub": "ada", "exp": at - 4}, epoch.Add(-4 * time.Second)},
		{"a clock a little ahead", key, map[string]any{"sub": "ada", "nbf": at + 4, "iat": at + 4}, time.Time{}},
		{"claims of others", key, map[string]any{"sub": "ada", "aud": "x", "iss": "y", "name": map[string]any{}}, time.Time{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			id, err := newVerifier().Verify([]byte(signed(t, jwt.SigningMethodHS256, test.key, test.claims)))
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			if id.UserID != "ada" || !id.Expires.Equal(test.expires) {
				t.Errorf("got user %q until %v, want ada until %v", id.UserID, id.Expires, test.expires)
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	at := epoch.Unix()
	hs256 := func(claims map[string]any) string { return signed(t, jwt.SigningMethodHS256, key, claims) }
	tests := []struct {
		name  string
		token string
		code  *proto.Code
		says  string
	}{
		{"nothing", "", proto.ErrInvalidToken, "three base64url parts"},
		{"two parts", "e30.e30", proto.ErrInvalidToken, "three base64url parts"},
		{"not base64", "!.!.!", proto.ErrInvalidToken, "three base64url parts"},
		{"no JSON", raw(t, `{"alg":"HS256"}`, `{"sub":`), proto.ErrInvalidToken, "JSON"},
		{"alg none", signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, map[string]any{"sub": "ada"}), proto.ErrInvalidToken, "an algorithm and a key of this server"},
		{"alg none, signed", raw(t, `{"alg":"none"}`, `{"sub":"ada"}`), proto.ErrInvalidToken, "an algorithm and a key of this server"},
		{"alg RS256 over our key", raw(t, `{"alg":"RS256"}`, `{"sub":"ada"}`), proto.ErrInvalidToken, "no key of this server"},
		{"alg HS512", signed(t, jwt.SigningMethodHS512, key, map[string]any{"sub": "ada"}), proto.ErrInvalidToken, "an algorithm and a key of this server"},
		{"no alg", raw(t, `{}`, `{"sub":"ada"}`), proto.ErrInvalidToken, "no algorithm"},
		{"a foreign key", signed(t, jwt.SigningMethodHS256, []byte("someone else's key"), map[string]any{"sub": "ada"}), proto.ErrInvalidToken, "a key of this server"},
		{"claims changed", tampered(t), proto.ErrInvalidToken, "a key of this server"},
		{"expired", hs256(map[string]any{"sub": "ada", "exp": at - 6}), proto.ErrTokenExpired, "2027-01-15T07:59:54Z"},
		{"expired, foreign key", signed(t, jwt.SigningMethodHS256, []byte("someone else's key"), map[string]any{"sub": "ada", "exp": at - 6}), proto.ErrInvalidToken, "a key of this server"},
		{"not yet", hs256(map[string]any{"sub": "ada", "nbf": at + 6}), proto.ErrInvalidToken, "nbf"},
		{"issued in the future", hs256(map[string]any{"sub": "ada", "iat": at + 6}), proto.ErrInvalidToken, "iat"},
		{"exp is text", hs256(map[string]any{"sub": "ada", "exp": "tomorrow"}), proto.ErrInvalidToken, "right types"},
		{"no sub", hs256(map[string]any{"exp": at + 60}), proto.ErrInvalidToken, `"sub" is empty`},
		{"sub is a number", hs256(map[string]any{"sub": 7}), proto.ErrInvalidToken, "right types"},
		{"sub too long", hs256(map[string]any{"sub": strings.Repeat("a", 129)}), proto.ErrInvalidToken, "129 bytes"},
		{"sub with a control character", hs256(map[string]any{"sub": "a\nb"}), proto.ErrInvalidToken, "control character"},
		{"rooms is null", hs256(map[string]any{"sub": "ada", "rooms": nil}), proto.ErrInvalidToken, "right types"},
		{"rooms is a word", hs256(map[string]any{"sub": "ada", "rooms": "all"}), proto.ErrInvalidToken, "right types"},
		{"an unknown right", hs256(map[string]any{"sub": "ada", "rooms": []any{map[string]any{"match": "*", "allow": []string{"fly"}}}}), proto.ErrInvalidToken, "right types"},
		{"a star in the middle", hs256(map[string]any{"sub": "ada", "rooms": []any{map[string]any{"match": "a*b", "allow": []string{"join"}}}}), proto.ErrInvalidToken, "rooms[0]"},
		{"an empty match", hs256(map[string]any{"sub": "ada", "rooms": []any{map[string]any{"allow": []string{"join"}}}}), proto.ErrInvalidToken, "rooms[0]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			id, err := newVerifier().Verify([]byte(test.token))
			if err == nil {
				t.Fatalf("accepted as %q", id.UserID)
			}
			if !errors.Is(err, test.code) {
				t.Errorf("code %s, want %s", err.Name, test.code.Name)
			}
			if !strings.Contains(err.Text(), test.says) {
				t.Errorf("says %q, want a mention of %q", err.Text(), test.says)
			}
			for part := range strings.SplitSeq(test.token, ".") {
				if len(part) > 8 && strings.Contains(err.Error(), part) {
					t.Errorf("the error holds a part of the token: %q", err.Error())
				}
			}
		})
	}
}

// tampered returns a token whose claims were replaced after it was signed.
func tampered(t *testing.T) string {
	parts := strings.Split(raw(t, `{"alg":"HS256"}`, `{"sub":"ada"}`), ".")
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"root"}`))
	return strings.Join(parts, ".")
}

func TestVerifyWithoutKeys(t *testing.T) {
	for _, keys := range [][][]byte{nil, {nil}, {[]byte("")}} {
		empty, err := jwt.SigningMethodHS256.Sign("e30.e30", []byte{})
		if err != nil {
			t.Fatal(err)
		}
		v := auth.NewVerifier(auth.VerifierOptions{Keys: auth.NewKeySet(keys...)})
		for _, token := range []string{
			signed(t, jwt.SigningMethodHS256, key, map[string]any{"sub": "ada"}),
			"e30.e30." + base64.RawURLEncoding.EncodeToString(empty),
			signed(t, jwt.SigningMethodHS256, []byte{}, map[string]any{"sub": "ada"}),
		} {
			if _, err := v.Verify([]byte(token)); !errors.Is(err, proto.ErrInvalidToken) {
				t.Errorf("keys %q: got %v, want a refusal", keys, err)
			}
		}
	}
}

func TestSign(t *testing.T) {
	rooms := []auth.Rule{{Match: "chat:*", Allow: auth.RightsOf(auth.RightJoin, auth.RightRead)}}
	token, err := auth.Sign(key, "ada", time.Hour, auth.SignOptions{Now: epoch, Rooms: rooms})
	if err != nil {
		t.Fatal(err)
	}
	id, refused := newVerifier().Verify([]byte(token))
	if refused != nil {
		t.Fatal(refused)
	}
	if id.UserID != "ada" || !id.Expires.Equal(epoch.Add(time.Hour)) {
		t.Errorf("got %q until %v", id.UserID, id.Expires)
	}
	if !id.Allows(auth.RightRead, "chat:1") || id.Allows(auth.RightPublish, "chat:1") || id.Allows(auth.RightRead, "lobby") {
		t.Error("the rights are not those that were signed")
	}
	late := auth.NewVerifier(auth.VerifierOptions{Keys: auth.NewKeySet(key), Now: func() time.Time { return epoch.Add(time.Hour + 2*auth.DefaultLeeway) }})
	if _, err := late.Verify([]byte(token)); !errors.Is(err, proto.ErrTokenExpired) {
		t.Errorf("after its end: got %v, want token_expired", err)
	}
}

func TestSignRefuses(t *testing.T) {
	tests := []struct {
		name   string
		secret []byte
		user   string
		ttl    time.Duration
		rooms  []auth.Rule
	}{
		{"no secret", nil, "ada", time.Hour, nil},
		{"no user", key, "", time.Hour, nil},
		{"a bad user", key, "a\x00", time.Hour, nil},
		{"no life", key, "ada", 0, nil},
		{"a fraction of a second", key, "ada", time.Millisecond, nil},
		{"a bad rule", key, "ada", time.Hour, []auth.Rule{{Match: "*a"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if token, err := auth.Sign(test.secret, test.user, test.ttl, auth.SignOptions{Rooms: test.rooms}); err == nil {
				t.Errorf("signed %q", token)
			}
		})
	}
}

// FuzzVerify shows all kinds of bytes to a verifier with keys of all kinds. One
// that is taken must have been signed: only the seeds are.
func FuzzVerify(f *testing.F) {
	v := target(f)
	signed := make(map[string]bool)
	for _, alg := range allAlgorithms {
		for _, header := range []map[string]any{{"kid": alg}, nil} {
			token := minted(f, material()[alg], header, good(nil))
			signed[token] = true
			f.Add([]byte(token))
		}
	}
	f.Add([]byte(raw(f, `{"alg":"none"}`, `{"sub":"ada"}`)))
	f.Add([]byte(raw(f, `{"alg":"HS256","kid":"RS256","crit":["x"]}`, `{"sub":"ada"}`)))
	f.Add([]byte("throng_x"))
	f.Add([]byte("e30.e30."))
	f.Add([]byte(".."))
	f.Fuzz(func(t *testing.T, token []byte) {
		kept := string(token)
		id, err := v.Verify(token)
		if string(token) != kept {
			t.Fatal("the token was changed")
		}
		if (id == nil) == (err == nil) {
			t.Fatalf("got identity %v and error %v", id, err)
		}
		if err != nil && !errors.Is(err, proto.ErrInvalidToken) && !errors.Is(err, proto.ErrTokenExpired) {
			t.Fatalf("got %v", err)
		}
		if err == nil && !signed[kept] {
			t.Fatalf("accepted %q, which nobody signed", kept)
		}
	})
}

// FuzzClaims signs what it is given, so that the claims are reached.
func FuzzClaims(f *testing.F) {
	f.Add(`{"sub":"ada"}`)
	f.Add(`{"sub":"ada","exp":1800000060,"nbf":1.5e9,"iat":1}`)
	f.Add(`{"sub":"ada","rooms":[{"match":"chat:*","allow":["join","dm"]},{"match":"lobby","allow":[]}]}`)
	f.Add(`{"sub":"ada","rooms":null,"exp":-1e308}`)
	f.Fuzz(func(t *testing.T, claims string) {
		id, err := newVerifier().Verify([]byte(raw(t, `{"alg":"HS256"}`, claims)))
		if err != nil {
			return
		}
		if !id.Expires.IsZero() && (id.Expires.Unix() < 0 || id.Expires.UTC().Year() > 9999) {
			t.Fatalf("accepted until %v", id.Expires)
		}
		if bad := auth.CheckUserID("sub", id.UserID); bad != nil {
			t.Fatalf("accepted with a bad user: %v", bad)
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal([]byte(claims), &fields); err != nil {
			t.Fatalf("accepted claims that are no object: %v", err)
		}
		if string(fields["rooms"]) == "null" {
			t.Fatal("accepted rooms that are null")
		}
	})
}
