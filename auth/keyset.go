package auth

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/golang-jwt/jwt/v5"
)

// KeySetOptions says where the server's own keys are.
type KeySetOptions struct {
	// Secret is an HS256 key without a kid, which the set keeps; nil for none.
	Secret []byte

	// File is a JWK Set (RFC 7517), which may change at any time; "" for
	// none. Each key has a kid and an alg.
	File string

	// SigningKey is the kid of the key in the file that signs. Without it,
	// the first one that can signs, and where there is none, the secret.
	SigningKey string

	Logger  *slog.Logger // nil for none
	Metrics *metrics.Set // nil for none
}

// KeySet is the server's own keys. It is safe for concurrent use; a change of
// its keys is seen by the next token.
type KeySet struct {
	ring atomic.Pointer[keyring]

	file  *keyFile // nil for none
	stop  chan struct{}
	ended sync.WaitGroup
}

// NewKeySet returns a set of HS256 secrets, which it keeps and which do not
// change. The first of them signs. Empty ones are left out: they would accept
// what anyone signs. There is nothing to close.
func NewKeySet(secrets ...[]byte) *KeySet {
	r := &keyring{}
	for _, secret := range secrets {
		if len(secret) > 0 {
			r.keys = append(r.keys, secretKey(secret))
		}
	}
	if len(r.keys) > 0 {
		r.signer = &r.keys[0]
	}
	k := &KeySet{}
	k.ring.Store(r)
	return k
}

// OpenKeySet reads the keys, and reads the file again within a second or two of
// a change, until Close. A file that is broken at first is an error; later it
// is logged and counted, and the keys that were there stay in force.
func OpenKeySet(o KeySetOptions) (*KeySet, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	k := &KeySet{stop: make(chan struct{})}
	r, err := newKeyring(o.Secret, nil, o.SigningKey)
	if o.File != "" {
		k.file = newKeyFile(o)
		r, err = k.file.load()
	}
	if err != nil {
		return nil, err
	}
	k.ring.Store(r)
	o.Metrics.NewGauge("throng_auth_keys", func() float64 { return float64(len(k.ring.Load().keys)) })
	if k.file != nil {
		k.ended.Go(func() { k.file.watch(k.stop, k.ring.Store) })
	}
	return k, nil
}

// Close ends the watch over the file. The keys stay.
func (k *KeySet) Close() {
	if k.file != nil {
		close(k.stop)
		k.ended.Wait()
	}
}

// newKeyring puts the secret behind the keys of the file and finds the one that
// signs.
func newKeyring(secret []byte, keys []key, signing string) (*keyring, error) {
	r := &keyring{keys: keys}
	if len(secret) > 0 {
		r.keys = append(slices.Clip(keys), secretKey(secret))
	}
	signs := func(k key) bool { return k.private != nil }
	if signing != "" {
		signs = func(k key) bool { return k.id == signing }
	}
	at := slices.IndexFunc(r.keys, signs)
	switch {
	case at >= 0 && r.keys[at].private != nil:
		r.signer = &r.keys[at]
	case at >= 0:
		return nil, fmt.Errorf("the key %q, which auth.signing_key names, cannot sign", signing)
	case signing != "":
		return nil, fmt.Errorf("there is no key %q, which auth.signing_key names", signing)
	}
	return r, nil
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
