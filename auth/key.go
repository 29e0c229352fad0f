package auth

import (
	"errors"

	"github.com/golang-jwt/jwt/v5"
)

// The algorithms that tokens are signed with (RFC 7518, section 3.1; RFC 8037).
const (
	HS256 = "HS256"
	RS256 = "RS256"
	ES256 = "ES256"
	EdDSA = "EdDSA"
)

// algorithms lists them all.
var algorithms = []string{HS256, RS256, ES256, EdDSA}

// key is one key. Its algorithm belongs to it: what a token's header says can
// choose among keys, and never how one is used.
type key struct {
	id  string // kid; "" for the secret, which has none
	alg string

	// What verifies: []byte, *rsa.PublicKey, *ecdsa.PublicKey or
	// ed25519.PublicKey, as alg says.
	public jwt.VerificationKey

	// What signs, nil for a key that does not.
	private any
}

// keyring is a list of keys that does not change.
type keyring struct {
	keys   []key
	signer *key // among keys; nil where none signs
}

// errNoKey says that no key has a token's kid and alg.
var errNoKey = errors.New("auth: no such key")

// find returns what verifies a token of the algorithm: the key that the kid
// names or, where the token names none, all of the algorithm. The result is
// what the parser takes.
func (r *keyring) find(kid kid, alg string) (any, error) {
	var first jwt.VerificationKey
	var all []jwt.VerificationKey
	for i := range r.keys {
		k := &r.keys[i]
		if k.alg != alg || kid.given && k.id != kid.name {
			continue
		}
		switch {
		case first == nil:
			first = k.public
		case all == nil:
			all = []jwt.VerificationKey{first, k.public}
		default:
			all = append(all, k.public)
		}
	}
	switch {
	case all != nil:
		return jwt.VerificationKeySet{Keys: all}, nil
	case first != nil:
		return first, nil
	}
	return nil, errNoKey
}

// kid is the id of the key that a token's header names.
type kid struct {
	name  string
	given bool
}

// kidOf reads it. One that is there and no text, or is empty, is an error.
func kidOf(header map[string]any) (kid, error) {
	value, given := header["kid"]
	if !given {
		return kid{}, nil
	}
	name, ok := value.(string)
	if !ok || name == "" {
		return kid{}, errors.New("auth: kid is not a text, or empty")
	}
	return kid{name, true}, nil
}

// secretKey is a key of an HS256 secret that stands alone, without a kid.
func secretKey(secret []byte) key {
	return key{alg: HS256, public: secret, private: secret}
}
