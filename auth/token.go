package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/thronghq/throng/proto"
)

// Leeway is how far the clocks of the signer and of this server may differ:
// exp, nbf and iat are judged that much in the token's favour.
const Leeway = 5 * time.Second

// claims is what throng reads from a token. Claims that it does not know are
// the signer's own and are ignored.
type claims struct {
	jwt.RegisteredClaims
	Rooms roomsClaim `json:"rooms,omitzero"`
}

// roomsClaim tells a list of no rules, which allows nothing, from no list,
// which allows everything.
type roomsClaim struct {
	present bool
	rules   []Rule
}

// MarshalJSON writes the rules as a list.
func (r roomsClaim) MarshalJSON() ([]byte, error) { return json.Marshal(r.rules) }

// UnmarshalJSON reads a list of rules. A null is no list of no rules: what a
// signer meant by it is anyone's guess.
func (r *roomsClaim) UnmarshalJSON(data []byte) error {
	r.present = true
	if string(data) == "null" {
		return errors.New("rooms is null")
	}
	return json.Unmarshal(data, &r.rules)
}

// Verifier checks tokens. It is safe for concurrent use and does not change.
type Verifier struct {
	keys   jwt.VerificationKeySet
	parser *jwt.Parser
}

// NewVerifier returns a verifier that accepts tokens signed with any of the
// keys, so that a key can be replaced while tokens of the old one live. It
// keeps the keys. The time comes from now.
//
// With no keys every token is refused.
func NewVerifier(keys [][]byte, now func() time.Time) *Verifier {
	v := &Verifier{parser: jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithTimeFunc(now),
		jwt.WithLeeway(Leeway),
		jwt.WithIssuedAt(),
		jwt.WithStrictDecoding(),
	)}
	for _, key := range keys {
		if len(key) > 0 { // an empty key would accept what anyone signs
			v.keys.Keys = append(v.keys.Keys, key)
		}
	}
	return v
}

// Verify returns who the token names. The token is borrowed until Verify
// returns. It must be a compact JWS signed with HS256 (RFC 7515, RFC 7518
// section 3.2); sub is the user's id; exp, nbf and iat are held to where they
// are present; rooms, a list of Rule, restricts what the user may do.
//
// The error is ErrTokenExpired or ErrInvalidToken and says what was wrong, but
// holds nothing of the token that would help to use it.
func (v *Verifier) Verify(token []byte) (*Identity, *proto.Error) {
	var c claims
	_, err := v.parser.ParseWithClaims(string(token), &c, v.keyFor)
	if err != nil {
		return nil, refusal(err, &c)
	}
	if bad := CheckUserID("sub", c.Subject); bad != nil {
		return nil, proto.ErrInvalidToken.With("%s", bad.Text())
	}
	id := &Identity{UserID: c.Subject}
	if c.ExpiresAt != nil {
		id.Expires = c.ExpiresAt.Time
	}
	for i, rule := range c.Rooms.rules {
		if err := rule.Check(); err != nil {
			return nil, proto.ErrInvalidToken.With("rooms[%d]: %v", i, err)
		}
	}
	id.restricted, id.rules = c.Rooms.present, c.Rooms.rules
	return id, nil
}

func (v *Verifier) keyFor(*jwt.Token) (any, error) { return v.keys, nil }

// refusal words the library's error for a client. The library's own text is
// not used: it may quote the token.
func refusal(err error, c *claims) *proto.Error {
	var because string
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return proto.ErrTokenExpired.With("the token expired at %s", c.ExpiresAt.UTC().Format(time.RFC3339))
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		because = "its time has not come (nbf)"
	case errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		because = "it says that it was issued in the future (iat)"
	case errors.Is(err, jwt.ErrTokenMalformed):
		because = "it is not three base64url parts, the first two of them JSON objects with fields of the right types"
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		because = "it is not signed with HS256 and a key of this server"
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		because = "no key of this server fits it"
	default:
		because = "its claims are not in order"
	}
	return proto.ErrInvalidToken.With("the token is refused: %s", because)
}

// SignOptions says what a token holds beside the user and its end.
type SignOptions struct {
	Now   time.Time // the time of issue; zero means time.Now
	Rooms []Rule    // nil leaves the claim out: everything is allowed
}

// Sign returns a token for the user that ends after ttl, which must be at
// least a second: the claims have that resolution.
func Sign(secret []byte, userID string, ttl time.Duration, opts SignOptions) (string, error) {
	if len(secret) == 0 {
		return "", errors.New("auth: no secret to sign with")
	}
	if bad := CheckUserID("user", userID); bad != nil {
		return "", fmt.Errorf("auth: %s", bad.Text())
	}
	if ttl < time.Second {
		return "", fmt.Errorf("auth: a token cannot live %s; a second is the least", ttl)
	}
	for _, rule := range opts.Rooms {
		if err := rule.Check(); err != nil {
			return "", fmt.Errorf("auth: %w", err)
		}
	}
	now := opts.Now
	if now.IsZero() {
		now = time.Now()
	}
	c := claims{RegisteredClaims: jwt.RegisteredClaims{
		Subject:   userID,
		IssuedAt:  jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
	}}
	if opts.Rooms != nil {
		c.Rooms = roomsClaim{present: true, rules: opts.Rooms}
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("auth: sign a token: %w", err)
	}
	return token, nil
}
