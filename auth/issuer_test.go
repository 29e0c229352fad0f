package auth_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

func TestForeignTokens(t *testing.T) {
	inProvider(t, nil, published(t, auth.RS256, "k1", nil), func(t *testing.T, p *provider) {
		id := p.takes("a good one", p.token(auth.RS256, "k1", map[string]any{
			"admin": true, "sid": "s1", "jti": "j1", "rooms": []any{map[string]any{"match": "chat:*", "allow": []string{"join"}}},
		}))
		if id.UserID != "idp:ada" || id.Admin || id.Session != "" || id.TokenID != "j1" || id.Issuer != "https://id.example" ||
			!id.Allows(auth.RightJoin, "chat:1") || id.Allows(auth.RightRead, "chat:1") {
			t.Errorf("%+v", id)
		}
		p.takes("without a kid", p.token(auth.RS256, "", nil))
		p.takes("with several audiences", p.token(auth.RS256, "k1", map[string]any{"aud": []string{"x", "throng"}}))

		for step, changes := range map[string]map[string]any{
			"without an end":       {"exp": nil},
			"for another audience": {"aud": "other"},
			"for no audience":      {"aud": nil},
			"without a user":       {"sub": nil},
			"for a nobody":         {"sub": ""},
			"for a bad user":       {"sub": "a\x00"},
			"a user's id too long": {"sub": strings.Repeat("a", auth.MaxUserID-3)},
			"not yet":              {"nbf": time.Now().Unix() + 60},
		} {
			p.refuses(step, p.token(auth.RS256, "k1", changes), proto.ErrInvalidToken)
		}
		p.refuses("expired", p.token(auth.RS256, "k1", map[string]any{"exp": time.Now().Unix() - 60}), proto.ErrTokenExpired)
		if p.asked.Load() != 1 {
			t.Errorf("%d fetches", p.asked.Load())
		}
	})
}

// What one issuer signs counts under its own name alone.
func TestIssuersDoNotSpeakForEachOther(t *testing.T) {
	inProvider(t, nil, published(t, auth.RS256, "k1", nil), func(t *testing.T, p *provider) {
		now := time.Now().Unix()
		theirs := map[string]any{"iss": "https://id.example", "aud": "throng", "sub": "ada", "exp": now + 60, "iat": now}
		ours := map[string]any{"iss": "us", "sub": "ada", "exp": now + 60, "iat": now}
		p.takes("our own", minted(t, key, nil, ours))
		p.refuses("our claims with their key", p.token(auth.RS256, "k1", ours), proto.ErrInvalidToken)
		p.refuses("our claims with their key, no kid", minted(t, material()[auth.RS256], nil, ours), proto.ErrInvalidToken)
		p.refuses("their claims with our key", minted(t, key, nil, theirs), proto.ErrInvalidToken)
		p.refuses("their claims with our key and their kid", minted(t, key, map[string]any{"kid": "k1"}, theirs), proto.ErrInvalidToken)
		for _, other := range []any{"https://id.example/", "HTTPS://id.example", "", nil} {
			p.refuses(fmt.Sprint("an issuer like theirs: ", other), p.token(auth.RS256, "k1", map[string]any{"iss": other}), proto.ErrInvalidToken)
		}
	})
}

// Until the keys are there for the first time, clients are asked to come again.
func TestTokensBeforeTheFirstFetch(t *testing.T) {
	inProvider(t, nil, "", func(t *testing.T, p *provider) {
		if got := p.fetches("failed"); got != "1" {
			t.Fatalf("%s failures", got)
		}
		err := p.refuses("while nothing is there", p.token(auth.RS256, "k1", nil), proto.ErrUnavailable)
		p.refuses("an algorithm that is not allowed", p.token(auth.HS256, "k1", nil), proto.ErrInvalidToken)
		p.publish(published(t, auth.RS256, "k1", nil))
		time.Sleep(err.RetryAfter)
		synctest.Wait()
		p.takes("when it has come again", p.token(auth.RS256, "k1", nil))
	})
}

// A verifier never waits for an issuer, however long that takes.
func TestVerifyingDoesNotWaitForAFetch(t *testing.T) {
	inProvider(t, nil, published(t, auth.RS256, "k1", nil), func(t *testing.T, p *provider) {
		old, start := p.token(auth.RS256, "k1", nil), time.Now()
		release := make(chan struct{})
		p.serve(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		})
		p.refuses("an unknown key", p.token(auth.RS256, "k2", nil), proto.ErrUnavailable)
		time.Sleep(11 * time.Second) // the fetch has begun
		synctest.Wait()
		if p.asked.Load() != 2 {
			t.Fatalf("%d fetches", p.asked.Load())
		}
		before := time.Now()
		p.takes("meanwhile", old)
		p.refuses("an unknown key meanwhile", p.token(auth.RS256, "k2", nil), proto.ErrUnavailable)
		if time.Since(before) != 0 {
			t.Errorf("it took %v", time.Since(before))
		}
		time.Sleep(10 * time.Second) // past the fetch's timeout
		synctest.Wait()
		if p.fetches("failed") != "1" {
			t.Errorf("%s failures after %v", p.fetches("failed"), time.Since(start))
		}
		close(release)
	})
}

func TestAnIssuersRotation(t *testing.T) {
	both := jwks(t, entry(t, public(material()[auth.RS256]), "k1", auth.RS256, nil), entry(t, public(material()[auth.ES256]), "k2", auth.ES256, nil))
	inProvider(t, nil, published(t, auth.RS256, "k1", nil), func(t *testing.T, p *provider) {
		byOld := p.token(auth.RS256, "k1", nil)
		p.takes("the first key", byOld)

		// A new key is there, and tokens of it come at once.
		p.publish(both)
		err := p.refuses("the second key, at once", p.token(auth.ES256, "k2", nil), proto.ErrUnavailable)
		p.takes("the first key still", byOld)
		time.Sleep(err.RetryAfter)
		synctest.Wait()
		byNew := p.token(auth.ES256, "k2", nil)
		p.takes("the second key, when it has come again", byNew)
		p.takes("the first key beside it", byOld)
		if p.asked.Load() != 2 {
			t.Errorf("%d fetches", p.asked.Load())
		}

		// The first is withdrawn, which the next regular fetch shows.
		p.publish(published(t, auth.ES256, "k2", nil))
		time.Sleep(time.Hour)
		synctest.Wait()
		if p.asked.Load() != 3 || p.keys() != "1" {
			t.Errorf("%d fetches, %s keys", p.asked.Load(), p.keys())
		}
		p.takes("the second key alone", byNew)
		p.refuses("the first key, withdrawn", byOld, proto.ErrInvalidToken)
	})
}

// An unknown key asks for a fetch every 10 s at most, and for none where the
// last one must have brought it.
func TestUnknownKeysAreNoFlood(t *testing.T) {
	inProvider(t, nil, published(t, auth.RS256, "k1", nil), func(t *testing.T, p *provider) {
		stale := p.token(auth.RS256, "forged", map[string]any{"iat": time.Now().Add(-time.Hour).Unix()})
		p.refuses("one that would be there", stale, proto.ErrInvalidToken)
		p.refuses("one that may not be there yet", p.token(auth.RS256, "forged", nil), proto.ErrUnavailable)
		for range 100 {
			for i := range 20 {
				_, _ = p.verifier.Verify([]byte(p.token(auth.EdDSA, fmt.Sprint("forged", i), map[string]any{"iat": nil})))
				_, _ = p.verifier.Verify([]byte(p.token(auth.EdDSA, fmt.Sprint("forged", i), nil)))
			}
			time.Sleep(time.Second)
		}
		if n := p.asked.Load(); n < 10 || n > 11 {
			t.Errorf("%d fetches in 100 s, want one every 10 s", n)
		}
		// A token that does not say when it was issued: known to be unknown
		// just after a fetch, and worth one later.
		time.Sleep(5 * time.Second)
		synctest.Wait()
		p.refuses("without iat, just after a fetch", p.token(auth.EdDSA, "forged", map[string]any{"iat": nil}), proto.ErrInvalidToken)
		time.Sleep(time.Minute)
		p.refuses("without iat, later", p.token(auth.EdDSA, "forged", map[string]any{"iat": nil}), proto.ErrUnavailable)
	})
}

func TestAnIssuersOutage(t *testing.T) {
	good := published(t, auth.RS256, "k1", nil)
	many := make([]map[string]any, 65)
	for i := range many {
		many[i] = entry(t, public(material()[auth.EdDSA]), fmt.Sprint(i), auth.EdDSA, nil)
	}
	text := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
	}
	for name, answer := range map[string]http.HandlerFunc{
		"an error":       func(w http.ResponseWriter, _ *http.Request) { http.Error(w, good, http.StatusInternalServerError) },
		"no content":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"a break":        func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a hang":         func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"a loop":         func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) },
		"a page":         text("<html>"),
		"no keys":        text(`{"keys":[]}`),
		"a secret":       text(jwks(t, entry(t, material()[auth.HS256], "k1", auth.HS256, nil))),
		"too many keys":  text(jwks(t, many...)),
		"too much":       text(`{"keys":[],"x":"` + strings.Repeat("x", 2<<20) + `"}`),
		"a slow trickle": trickle,
		"half an answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10000")
			fmt.Fprint(w, good)
		},
		"other keys only": text(published(t, auth.RS256, "k1", map[string]any{"use": "enc"})),
	} {
		t.Run(name, func(t *testing.T) {
			inProvider(t, nil, good, func(t *testing.T, p *provider) {
				begun := exported(p.metrics, `throng_auth_issuer_last_success_timestamp_seconds{issuer="idp"}`)
				p.serve(answer)
				time.Sleep(13 * time.Hour)
				p.takes("after half a day", p.token(auth.RS256, "k1", nil))
				p.refuses("with an unknown key", p.token(auth.RS256, "k2", nil), proto.ErrUnavailable)
				if p.fetches("ok") != "1" || p.fetches("failed") == "0" || p.keys() != "1" ||
					exported(p.metrics, `throng_auth_issuer_last_success_timestamp_seconds{issuer="idp"}`) != begun || begun == "0" {
					t.Errorf("%s ok, %s failed, %s keys, last success %s", p.fetches("ok"), p.fetches("failed"), p.keys(), begun)
				}
				if n := p.asked.Load(); n > 13*3600/300+30 && name != "a loop" {
					t.Errorf("%d fetches in half a day", n)
				}
				p.publish(good)
				time.Sleep(6 * time.Minute)
				synctest.Wait()
				if p.fetches("ok") == "1" {
					t.Error("the end of the outage was not noticed within minutes")
				}
				if !strings.Contains(p.log.String(), "issuer=idp") {
					t.Errorf("the log says nothing of it:\n%s", p.log.String())
				}
			})
		})
	}
}

// trickle sends a byte a second.
func trickle(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		fmt.Fprint(w, " ")
		_ = http.NewResponseController(w).Flush() // the next write tells
		select {
		case <-time.After(time.Second):
		case <-r.Context().Done():
		}
	}
}

// What is published beside usable keys does not spoil them, and is not used.
func TestKeysOfNoUseAreLeftOut(t *testing.T) {
	m := material()
	entries := []map[string]any{
		entry(t, public(m[auth.RS256]), "k1", auth.RS256, map[string]any{"alg": nil, "x5c": []string{"AAAA"}, "x5t": "x"}),
		entry(t, m[auth.HS256], "hs", auth.HS256, nil),
		entry(t, public(m[auth.RS256]), "enc", auth.RS256, map[string]any{"use": "enc"}),
		entry(t, public(m[auth.RS256]), "oaep", "RSA-OAEP", nil),
		entry(t, public(m[auth.RS256]), "ps", "PS256", nil),
		entry(t, public(m[auth.ES256]), "es", auth.ES256, nil), // not among the algorithms
		entry(t, public(m[auth.ES256]), "es as rs", auth.RS256, nil),
		entry(t, public(m[auth.RS256]), "sign", auth.RS256, map[string]any{"key_ops": []string{"sign"}}),
		entry(t, public(m[auth.RS256]), "even", auth.RS256, map[string]any{"e": "Ag"}),
		{"kty": "XYZ", "kid": "new"},
		{"kty": 1},
		{},
	}
	inProvider(t, func(o *auth.IssuerOptions) { o.Algorithms = []string{auth.RS256} }, jwks(t, entries...), func(t *testing.T, p *provider) {
		if p.keys() != "1" {
			t.Errorf("%s keys, want 1:\n%s", p.keys(), p.log.String())
		}
		p.takes("the good one", p.token(auth.RS256, "k1", nil))
		p.refuses("the secret", p.token(auth.HS256, "hs", nil), proto.ErrInvalidToken)
		p.refuses("the other algorithm", p.token(auth.ES256, "es", nil), proto.ErrInvalidToken)
	})
}

func TestTheClaimThatNamesTheUser(t *testing.T) {
	named := func(o *auth.IssuerOptions) { o.UserClaim = "email" }
	inProvider(t, named, published(t, auth.RS256, "k1", nil), func(t *testing.T, p *provider) {
		if id := p.takes("named by email", p.token(auth.RS256, "k1", map[string]any{"email": "ada@example.org"})); id.UserID != "idp:ada@example.org" {
			t.Errorf("%+v", id)
		}
		for _, email := range []any{nil, "", 1, []string{"x"}, "a\x00"} {
			p.refuses(fmt.Sprint("named by ", email), p.token(auth.RS256, "k1", map[string]any{"email": email}), proto.ErrInvalidToken)
		}
	})
}

// A fetch follows redirects, but not out of TLS, and not for ever.
func TestRedirects(t *testing.T) {
	body := published(t, auth.RS256, "k1", nil)
	for _, test := range []struct {
		from, to string
		follows  bool
	}{
		{"https://id.example/keys", "https://cdn.example/keys", true},
		{"https://id.example/keys", "http://id.example/keys", false},
		{"http://id.example/keys", "http://id.example/other", true},
		{"http://id.example/keys", "https://id.example/keys", true},
		{"https://id.example/keys", "file:///etc/passwd", false},
	} {
		t.Run(test.from+" to "+test.to, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked []string
				set := metrics.NewSet()
				issuer, err := auth.OpenIssuer(auth.IssuerOptions{
					Name: "idp", Issuer: "x", URL: test.from, Audience: []string{"y"}, Metrics: set,
					Transport: transport(func(r *http.Request) (*http.Response, error) {
						asked = append(asked, r.URL.String())
						w := httptest.NewRecorder()
						if r.URL.String() == test.from {
							http.Redirect(w, r, test.to, http.StatusFound)
						} else {
							fmt.Fprint(w, body)
						}
						return w.Result(), nil
					}),
				})
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				issuer.Close()
				want := 1
				if test.follows {
					want = 2
				}
				if len(asked) != want || (exported(set, `throng_auth_issuer_fetches_total{issuer="idp",result="ok"}`) == "1") != test.follows {
					t.Errorf("asked %v", asked)
				}
			})
		})
	}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestIssuersThatAreRefused(t *testing.T) {
	good := auth.IssuerOptions{Name: "idp", Issuer: "x", URL: "https://id.example", Audience: []string{"y"}}
	for says, change := range map[string]func(*auth.IssuerOptions){
		"URL":      func(o *auth.IssuerOptions) { o.URL = "file:///etc/passwd" },
		"iss":      func(o *auth.IssuerOptions) { o.Issuer = "" },
		"audience": func(o *auth.IssuerOptions) { o.Audience = nil },
		`"HS256"`:  func(o *auth.IssuerOptions) { o.Algorithms = []string{auth.HS256} },
		`"none"`:   func(o *auth.IssuerOptions) { o.Algorithms = []string{auth.RS256, "none"} },
	} {
		o := good
		change(&o)
		issuer, err := auth.OpenIssuer(o)
		if err == nil {
			issuer.Close()
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// One fetch over a real network, with nothing of the test's in between.
func TestAFetchOverTheNetwork(t *testing.T) {
	answered := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, published(t, auth.EdDSA, "k1", nil))
		close(answered)
	}))
	defer server.Close()
	issuer, err := auth.OpenIssuer(auth.IssuerOptions{Name: "idp", Issuer: "https://id.example", URL: server.URL, Audience: []string{"throng"}})
	if err != nil {
		t.Fatal(err)
	}
	defer issuer.Close()
	<-answered
	p := &provider{t: t, verifier: auth.NewVerifier(auth.VerifierOptions{Issuers: []*auth.Issuer{issuer}})}
	token := []byte(p.token(auth.EdDSA, "k1", nil))
	for deadline := time.Now().Add(30 * time.Second); ; { // the answer is on its way
		_, err := p.verifier.Verify(token)
		if err == nil {
			return
		}
		if !errors.Is(err, proto.ErrUnavailable) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
