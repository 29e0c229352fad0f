package auth

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// KeySet is the server's own keys. It is safe for concurrent use; a change of
// its keys is seen by the next token.
type KeySet struct {
	ring atomic.Pointer[keyring]
}

// NewKeySet returns a set of HS256 secrets, which it keeps and which do not
// change. The first of them signs. Empty ones are left out.
func NewKeySet(secrets ...[]byte) *KeySet {
	r := &keyring{}
	for _, secret := range secrets {
		if k, err := secretKey(secret); err == nil {
			r.keys = append(r.keys, k)
		}
	}
	if len(r.keys) > 0 {
		r.signer = &r.keys[0]
	}
	k := &KeySet{}
	k.ring.Store(r)
	return k
}

// AccessClaims is what an access token says.
type AccessClaims struct {
	UserID   string
	Session  string        // the login session; "" for none
	Admin    bool          // its user administers the server
	Issuer   string        // "" for none
	Audience []string      // nil for none
	Rooms    []Rule        // the user's rights; nil leaves them to the namespaces
	TTL      time.Duration // until its end, a second at least: claims have that resolution
	Now      time.Time     // the time of issue; zero means time.Now
}

// Sign returns a token that says this, signed with the set's signing key, whose
// kid stands in its header. Each has an id of its own (jti).
func (k *KeySet) Sign(c AccessClaims) (string, error) {
	signer := k.ring.Load().signer
	if signer == nil {
		return "", errors.New("auth: there is no key to sign with")
	}
	if bad := CheckUserID("user", c.UserID); bad != nil {
		return "", fmt.Errorf("auth: %s", bad.Text())
	}
	if c.TTL < time.Second {
		return "", fmt.Errorf("auth: a token cannot live %s; a second is the least", c.TTL)
	}
	if err := CheckRules(c.Rooms); err != nil {
		return "", fmt.Errorf("auth: %w", err)
	}
	if c.Now.IsZero() {
		c.Now = time.Now()
	}
	token := jwt.NewWithClaims(jwt.GetSigningMethod(signer.alg), &claims{
		Issuer: c.Issuer, Subject: c.UserID, Audience: c.Audience,
		Expires: date{c.Now.Add(c.TTL)}, IssuedAt: date{c.Now},
		TokenID: tokenID(), Session: c.Session, Admin: c.Admin,
		Rooms: roomsClaim{present: c.Rooms != nil, rules: c.Rooms},
	})
	if signer.id != "" {
		token.Header["kid"] = signer.id
	}
	text, err := token.SignedString(signer.private)
	if err != nil {
		return "", fmt.Errorf("auth: sign a token: %w", err)
	}
	return text, nil
}

// tokenID returns a random id: 128 bits, so that none comes twice.
func tokenID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// SignOptions says what a token of Sign holds beside the user and its end.
type SignOptions struct {
	Now   time.Time // the time of issue; zero means time.Now
	Rooms []Rule    // nil leaves the claim out
}

// Sign returns a token for the user, signed with an HS256 secret, that ends
// after ttl: KeySet.Sign for those who have nothing but a secret.
func Sign(secret []byte, userID string, ttl time.Duration, o SignOptions) (string, error) {
	return NewKeySet(secret).Sign(AccessClaims{UserID: userID, TTL: ttl, Now: o.Now, Rooms: o.Rooms})
}
