package auth_test

import (
	"testing"
	"time"

	"github.com/thronghq/throng/auth"
)

func BenchmarkVerify(b *testing.B) {
	for _, alg := range allAlgorithms {
		b.Run(alg, func(b *testing.B) {
			keys := openKeys(b, auth.KeySetOptions{File: keysFile(b, jwks(b, entry(b, material()[alg], "k", alg, nil)))})
			v := auth.NewVerifier(auth.VerifierOptions{Keys: keys})
			token, err := keys.Sign(auth.AccessClaims{UserID: "ada", Session: "0123456789abcdef0123456789abcdef", TTL: time.Hour})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify([]byte(token)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	for _, alg := range allAlgorithms {
		b.Run(alg, func(b *testing.B) {
			keys := openKeys(b, auth.KeySetOptions{File: keysFile(b, jwks(b, entry(b, material()[alg], "k", alg, nil)))})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := keys.Sign(auth.AccessClaims{UserID: "ada", TTL: time.Hour}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A token costs what parsing it twice costs, once for its header and once for
// its claims; see docs/design/0042-keys.md.
func TestVerifyingAllocatesLittle(t *testing.T) {
	v := newVerifier()
	token := []byte(raw(t, `{"alg":"HS256","typ":"JWT"}`, `{"sub":"ada","exp":1800000060,"iat":1800000000,"jti":"0123456789abcdefghijkl"}`))
	const most = 45
	if n := testing.AllocsPerRun(100, func() {
		if _, err := v.Verify(token); err != nil {
			t.Fatal(err)
		}
	}); n > most {
		t.Errorf("%v allocations, want %d at most", n, most)
	}
}
