package auth

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"

	"github.com/thronghq/throng/proto"
)

// maxRules bounds the rules of a token: each of its user's commands may look at
// all of them.
const maxRules = 1000

// claims is what throng reads from a token and writes into one (RFC 7519,
// section 4.1). Claims that it does not know are the signer's own and are
// ignored. Names are matched to the letter, and one that comes twice is
// refused, so that no other reader of the token sees another user in it.
type claims struct {
	Issuer    string     `json:"iss,omitzero"`
	Subject   string     `json:"sub,omitzero"`
	Audience  audience   `json:"aud,omitzero"`
	Expires   date       `json:"exp,omitzero"`
	NotBefore date       `json:"nbf,omitzero"`
	IssuedAt  date       `json:"iat,omitzero"`
	TokenID   string     `json:"jti,omitzero"`
	Session   string     `json:"sid,omitzero"`
	Admin     bool       `json:"admin,omitzero"`
	Rooms     roomsClaim `json:"rooms,omitzero"`
}

// plainClaims is claims without the methods that the JSON packages look for.
type plainClaims claims

// UnmarshalJSON reads a JSON object.
func (c *claims) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, (*plainClaims)(c)) }

// MarshalJSON writes a JSON object.
func (c *claims) MarshalJSON() ([]byte, error) { return json.Marshal((*plainClaims)(c)) }

// date is a time in seconds since 1970, with fractions (RFC 7519's
// NumericDate), of which milliseconds are kept: what is issued in the second of
// a revocation is told from what was before it. The zero date is none at all.
type date struct{ time.Time }

// lastSecond is the end of the year 9999: what lies beyond is a mistake, and
// would overflow a duration.
const lastSecond = 253402300799

// MarshalJSON writes a number, whole where the time is.
func (d date) MarshalJSON() ([]byte, error) {
	ms := d.UnixMilli()
	if ms%1000 == 0 {
		return strconv.AppendInt(nil, ms/1000, 10), nil
	}
	return fmt.Appendf(nil, "%d.%03d", ms/1000, ms%1000), nil
}

// UnmarshalJSON reads a number between 0 and the end of the year 9999.
func (d *date) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return errors.New("the time is null")
	}
	var seconds float64
	if err := json.Unmarshal(data, &seconds); err != nil {
		return err
	}
	if !(seconds >= 0 && seconds <= lastSecond) {
		return errors.New("the time is out of range")
	}
	d.Time = time.UnixMilli(int64(math.Round(seconds * 1000)))
	return nil
}

// audience is one name or a list of them.
type audience []string

// MarshalJSON writes a list, or a name alone where it is the only one.
func (a audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// UnmarshalJSON reads either form.
func (a *audience) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*a = audience{""}
		return json.Unmarshal(data, &(*a)[0])
	}
	if string(data) == "null" {
		return errors.New("aud is null")
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// roomsClaim tells a list of no rules, which allows nothing, from no list,
// which leaves the rights to the namespaces.
type roomsClaim struct {
	present bool
	rules   []Rule
}

// IsZero reports that there is no claim.
func (r roomsClaim) IsZero() bool { return !r.present }

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

// CheckRules reports what is wrong with a list of rules, or nil.
func CheckRules(rules []Rule) error {
	if len(rules) > maxRules {
		return fmt.Errorf("there are %d rules; %d is the most", len(rules), maxRules)
	}
	for i, rule := range rules {
		if err := rule.Check(); err != nil {
			return fmt.Errorf("rooms[%d]: %w", i, err)
		}
	}
	return nil
}

// checkTimes holds exp, nbf and iat, where they are present, to the clock.
func (c *claims) checkTimes(now time.Time, leeway time.Duration) *proto.Error {
	switch {
	case !c.Expires.IsZero() && !now.Before(c.Expires.Add(leeway)):
		return proto.ErrTokenExpired.With("the token expired at %s", c.Expires.UTC().Format(time.RFC3339))
	case now.Add(leeway).Before(c.NotBefore.Time):
		return refused("its time has not come (nbf)")
	case now.Add(leeway).Before(c.IssuedAt.Time):
		return refused("it says that it was issued in the future (iat)")
	}
	return nil
}

// refused says why a token is not taken.
func refused(because string) *proto.Error {
	return proto.ErrInvalidToken.With("the token is refused: %s", because)
}

// The rest of jwt.Claims, which the parser asks for and, as all checks are
// ours, does not call.

// GetExpirationTime implements jwt.Claims.
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return numericDate(c.Expires), nil }

// GetIssuedAt implements jwt.Claims.
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error) { return numericDate(c.IssuedAt), nil }

// GetNotBefore implements jwt.Claims.
func (c *claims) GetNotBefore() (*jwt.NumericDate, error) { return numericDate(c.NotBefore), nil }

// GetIssuer implements jwt.Claims.
func (c *claims) GetIssuer() (string, error) { return c.Issuer, nil }

// GetSubject implements jwt.Claims.
func (c *claims) GetSubject() (string, error) { return c.Subject, nil }

// GetAudience implements jwt.Claims.
func (c *claims) GetAudience() (jwt.ClaimStrings, error) { return jwt.ClaimStrings(c.Audience), nil }

func numericDate(d date) *jwt.NumericDate {
	if d.IsZero() {
		return nil
	}
	return jwt.NewNumericDate(d.Time)
}
