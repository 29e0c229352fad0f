package auth

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/golang-jwt/jwt/v5"

	"github.com/thronghq/throng/proto"
)

// APIKeyPrefix begins every API key, and no JWT.
const APIKeyPrefix = "throng_"

// DefaultLeeway is how far the clocks of the signer and of this server may
// differ: exp, nbf and iat are judged that much in the token's favour.
const DefaultLeeway = 5 * time.Second

// DefaultMaxBytes is how long a token may be.
const DefaultMaxBytes = 4 << 10

// VerifierOptions says what a verifier accepts. The zero value refuses
// everything.
type VerifierOptions struct {
	Keys     *KeySet       // of the server's own tokens, which may change at any time; nil for none
	Issuers  []*Issuer     // other servers; each has an iss of its own
	Issuer   string        // what own tokens must have as iss; "": anything
	Audience []string      // one of which own tokens must name as aud; nil: anything
	Leeway   time.Duration // how far clocks may differ; negative for DefaultLeeway
	MaxBytes int           // of a token; 0 for DefaultMaxBytes

	// APIKeys answers for tokens that begin with APIKeyPrefix; nil refuses
	// them. It borrows the token and must not block.
	APIKeys func(token []byte) (*Identity, *proto.Error)

	// Revoked reports whether what admitted the identity does not count any
	// more; nil revokes nothing. It must not block.
	Revoked func(*Identity) bool

	Now     func() time.Time // nil for time.Now
	Logger  *slog.Logger     // told at level debug why something is refused; nil for none
	Metrics *metrics.Set     // nil for none
}

// Verifier checks what clients show: tokens of the server's own keys and of
// other issuers, and API keys. It is safe for concurrent use, takes no lock and never blocks: it is
// called on pollers.
type Verifier struct {
	VerifierOptions
	parser  *jwt.Parser
	issuers map[string]*Issuer // by iss
	meters  verifierMeters
}

// verifierMeters counts what was shown, by result.
type verifierMeters struct{ ok, expired, revoked, unavailable, invalid *metrics.Counter }

// NewVerifier returns a verifier. The options are not to be changed afterwards.
func NewVerifier(o VerifierOptions) *Verifier {
	if o.Keys == nil {
		o.Keys = NewKeySet()
	}
	if o.Leeway < 0 {
		o.Leeway = DefaultLeeway
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	counter := func(result string) *metrics.Counter {
		return o.Metrics.GetOrCreateCounter(`throng_auth_verifications_total{result="` + result + `"}`)
	}
	issuers := make(map[string]*Issuer)
	for _, i := range o.Issuers {
		issuers[i.options.Issuer] = i
	}
	return &Verifier{
		VerifierOptions: o,
		issuers:         issuers,
		parser: jwt.NewParser(
			jwt.WithValidMethods(algorithms),
			jwt.WithStrictDecoding(),
			jwt.WithoutClaimsValidation(), // they are checked here
		),
		meters: verifierMeters{counter("ok"), counter("expired"), counter("revoked"), counter("unavailable"), counter("invalid")},
	}
}

// Verify returns who the token names. The token is borrowed until Verify
// returns.
//
// An API key is what APIKeys says. Everything else must be a compact JWS (RFC
// 7515). Its iss alone decides whose keys count: those of the issuer that it
// names or, where none of the options has it, the server's own. One of them
// must have signed it with the algorithm that the key is for.
//
// In the server's own tokens, sub is the user's id; iss and aud are held to the
// options, exp, nbf and iat to the clock where they are present; sid and jti
// name the login session and the token, admin makes an administrator, and
// rooms, a list of Rule, says what the user may do. What other issuers may say
// stands at IssuerOptions.
//
// The error is ErrTokenExpired, ErrRevoked, ErrUnavailable or ErrInvalidToken,
// or what APIKeys answers, and says what was wrong, but holds nothing of the
// token that would help to use it.
func (v *Verifier) Verify(token []byte) (*Identity, *proto.Error) {
	id, err := v.identify(token)
	if err == nil && v.Revoked != nil && v.Revoked(id) {
		id, err = nil, proto.ErrRevoked.New()
	}
	v.count(err)
	if err != nil {
		v.Logger.LogAttrs(context.Background(), slog.LevelDebug, "a token is refused", slog.Any("error", err))
	}
	return id, err
}

func (v *Verifier) count(err *proto.Error) {
	m := &v.meters
	switch {
	case err == nil:
		m.ok.Inc()
	case err.Code == proto.ErrTokenExpired:
		m.expired.Inc()
	case err.Code == proto.ErrRevoked:
		m.revoked.Inc()
	case err.Code == proto.ErrUnavailable:
		m.unavailable.Inc()
	default:
		m.invalid.Inc()
	}
}

func (v *Verifier) identify(token []byte) (*Identity, *proto.Error) {
	switch {
	case len(token) > v.MaxBytes:
		return nil, proto.ErrInvalidToken.With("the token has %d bytes; it may have %d", len(token), v.MaxBytes)
	case bytes.HasPrefix(token, []byte(APIKeyPrefix)):
		if v.APIKeys == nil {
			return nil, refused("this server knows no API keys")
		}
		return v.APIKeys(token)
	case bytes.ContainsAny(token, "\r\n"): // the decoder would pass over them
		return nil, malformed()
	}
	a := attempt{verifier: v}
	parsed, err := v.parser.ParseWithClaims(string(token), &a.claims, a.keys)
	if err != nil {
		return nil, refusal(err)
	}
	return a.admit(parsed)
}

// attempt is one token that is being verified.
type attempt struct {
	verifier *Verifier
	issuer   *Issuer // nil for the server's own tokens
	claims   claims
}

// keys finds the keys that may have signed the token, of which nothing is
// believed yet.
func (a *attempt) keys(token *jwt.Token) (any, error) {
	if _, critical := token.Header["crit"]; critical {
		return nil, refused("its header asks for extensions (crit), of which this server knows none")
	}
	if !isAccessToken(token.Header) {
		return nil, refused("its typ says that it is made for something else")
	}
	kid, err := kidOf(token.Header)
	if err != nil {
		return nil, refused("its kid is not a text, or empty")
	}
	v, alg := a.verifier, token.Method.Alg()
	if a.issuer = v.issuers[a.claims.Issuer]; a.issuer != nil {
		return a.issuer.find(kid, alg, v.Now(), a.claims.IssuedAt.Time)
	}
	return v.Keys.ring.Load().find(kid, alg)
}

// isAccessToken reports whether a header does not say that the token is of
// another kind (typ; RFC 8725, section 3.11), such as logout+jwt: an issuer
// signs those with the same keys for the same audience. Access tokens are
// at+jwt (RFC 9068), or of no kind.
func isAccessToken(header map[string]any) bool {
	value, given := header["typ"]
	if !given {
		return true
	}
	kind, ok := value.(string)
	kind = strings.ToLower(kind)
	return ok && (!strings.HasSuffix(kind, "+jwt") || strings.HasSuffix(kind, "at+jwt"))
}

// admit turns the claims, whose signature is good, into an identity.
func (a *attempt) admit(token *jwt.Token) (*Identity, *proto.Error) {
	c, v := &a.claims, a.verifier
	issuer, audience := v.Issuer, v.Audience
	if a.issuer != nil {
		issuer, audience = a.issuer.options.Issuer, a.issuer.options.Audience
	}
	if issuer != "" && c.Issuer != issuer {
		return nil, refused("its issuer (iss) is not the one that this server asks for")
	}
	if !names(c.Audience, audience) {
		return nil, refused("it is not made for this server (aud)")
	}
	if err := c.checkTimes(v.Now(), v.Leeway); err != nil {
		return nil, err
	}
	if err := CheckRules(c.Rooms.rules); err != nil {
		return nil, refused(err.Error())
	}
	id := &Identity{UserID: c.Subject, Grant: &Grant{
		Expires: c.Expires.Time, Session: c.Session, TokenID: c.TokenID, Issuer: c.Issuer, Admin: c.Admin,
		restricted: c.Rooms.present, rules: c.Rooms.rules,
	}}
	if at := c.IssuedAt.Time; !at.IsZero() {
		id.IssuedAt = at.UnixMicro()
	}
	if a.issuer != nil {
		if err := a.issuer.adopt(id, token); err != nil {
			return nil, err
		}
	}
	if bad := CheckUserID("sub", id.UserID); bad != nil {
		return nil, proto.ErrInvalidToken.With("%s", bad.Text())
	}
	return id, nil
}

// names reports whether the claim names one of those that are asked for, or
// none is.
func names(claim, asked []string) bool {
	return len(asked) == 0 || slices.ContainsFunc(claim, func(name string) bool { return slices.Contains(asked, name) })
}

// refusal words an error of the parser for a client. The library's own text is
// not used: it may quote the token.
func refusal(err error) *proto.Error {
	if known, ok := errors.AsType[*proto.Error](err); ok {
		return known
	}
	switch {
	case errors.Is(err, errNoKey):
		return refused("no key of this server has its kid and its algorithm")
	case errors.Is(err, jwt.ErrTokenMalformed):
		return malformed()
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return refused("it is not signed with an algorithm and a key of this server")
	}
	return refused("its header names no algorithm that this server knows")
}

func malformed() *proto.Error {
	return refused("it is not three base64url parts, the first two of them JSON objects with fields of the right types, each once")
}
