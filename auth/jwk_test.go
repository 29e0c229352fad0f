package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// seedSets are sets to begin fuzzing with: small keys of all kinds, private and
// public.
func seedSets(f *testing.F) []string {
	f.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	sets := []string{
		`{"keys":[]}`, `{"keys":[{}]}`, `{"keys":[null]}`, `[]`, ``,
		`{"keys":[{"kty":"RSA","kid":"k","alg":"RS256","e":"AQAB","n":"` + rsaModulus + `"}]}`,
		`{"keys":[{"kty":"RSA","kid":"k","alg":"RS256","e":"AQAB","n":"AQAB","d":"AQAB","p":"Aw","q":"BQ"}]}`,
	}
	for _, key := range []jose.JSONWebKey{
		{Key: []byte("thirty-two bytes of a secret key"), KeyID: "k", Algorithm: HS256, Use: "sig"},
		{Key: ec, KeyID: "k", Algorithm: ES256},
		{Key: ec.Public(), KeyID: "k"},
		{Key: ed, KeyID: "k", Algorithm: EdDSA},
		{Key: ed.Public(), KeyID: "k", Algorithm: EdDSA, Use: "enc"},
	} {
		set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}})
		if err != nil {
			f.Fatal(err)
		}
		sets = append(sets, string(set))
	}
	return sets
}

// rsaModulus is that of RFC 7517, appendix A.1.
const rsaModulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"

// checkKey holds a key that was accepted to what verifying relies on.
func checkKey(t *testing.T, k key) {
	t.Helper()
	if !slices.Contains(algorithms, k.alg) {
		t.Fatalf("alg %q", k.alg)
	}
	if err := checkStrength(k.alg, k.public); err != nil {
		t.Fatalf("a weak key was taken: %v", err)
	}
	// The library takes the key for its algorithm: a bad signature is what
	// it complains of, not the key's type.
	if err := jwt.GetSigningMethod(k.alg).Verify("x", make([]byte, 64), k.public); err == nil {
		t.Fatal("zeros are a signature")
	}
	if err := k.checkPair(); err != nil {
		t.Fatal(err)
	}
}

func FuzzParseKeys(f *testing.F) {
	for _, set := range seedSets(f) {
		f.Add([]byte(set))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseKeys(data)
		if err != nil {
			return
		}
		if len(keys) > maxKeys {
			t.Fatalf("%d keys", len(keys))
		}
		seen := make(map[string]bool)
		for _, k := range keys {
			if k.id == "" || seen[k.id] {
				t.Fatalf("kid %q is empty or there twice", k.id)
			}
			seen[k.id] = true
			checkKey(t, k)
		}
	})
}

func FuzzParsePublicKeys(f *testing.F) {
	for _, set := range seedSets(f) {
		f.Add([]byte(set))
	}
	allowed := []string{RS256, ES256, EdDSA}
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, _, err := parsePublicKeys(data, allowed)
		if (err == nil) != (len(keys) > 0) || len(keys) > maxKeys {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		for _, k := range keys {
			if _, secret := k.public.([]byte); secret || k.private != nil || !slices.Contains(allowed, k.alg) {
				t.Fatalf("a key for %s that may sign was taken from another issuer", k.alg)
			}
			checkKey(t, k)
		}
	})
}

// A file is read again while a second change in the moment of the first could
// hide, and then only when something about it has changed.
func TestWhenTheKeysFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	write := func(path string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(`{"keys":[]}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(path)
	f := newKeyFile(KeySetOptions{File: path, Metrics: metrics.NewSet()})
	if _, err := f.load(); err != nil {
		t.Fatal(err)
	}
	if !f.changed() {
		t.Error("it is not read again just after it was written")
	}
	f.readAt = f.stamp.statusChanged.Add(settled)
	if f.changed() {
		t.Error("it is read again when nothing has changed")
	}
	// Another file of the same size and times takes its place.
	write(path + ".new")
	if err := os.Chtimes(path+".new", time.Time{}, f.stamp.changed); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if !f.changed() {
		t.Error("another file in its place is not noticed")
	}
	if _, err := f.load(); err != nil {
		t.Fatal(err)
	}
	f.readAt = f.stamp.statusChanged.Add(settled)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !f.changed() {
		t.Error("its end is not noticed")
	}
}
