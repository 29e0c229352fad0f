package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
)

// A refresh token is the session's id, the secret that all refresh tokens of
// the session share, and one of its own, together in base64url. The first says
// where to look, the second that the token was once given out, and the third
// that it is the newest. So a session takes the same space however often it is
// refreshed, and only who has had one of its tokens can end it by a second use.

const (
	sessionIDBytes     = 16
	familyBytes        = 16
	refreshSecretBytes = 32
	refreshBytes       = sessionIDBytes + familyBytes + refreshSecretBytes
)

// refreshToken is a refresh token, taken apart.
type refreshToken struct {
	session [sessionIDBytes]byte
	family  [familyBytes]byte
	secret  [refreshSecretBytes]byte
}

// newRefreshToken returns the first token of a new session.
func newRefreshToken() refreshToken {
	var t refreshToken
	_, _ = rand.Read(t.session[:]) // never fails
	_, _ = rand.Read(t.family[:])
	return t.next()
}

// next returns the token that follows.
func (t refreshToken) next() refreshToken {
	_, _ = rand.Read(t.secret[:])
	return t
}

// parseRefreshToken reads a token as String writes it.
func parseRefreshToken(text string) (t refreshToken, ok bool) {
	if len(text) != base64.RawURLEncoding.EncodedLen(refreshBytes) {
		return t, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != refreshBytes { // line ends within are skipped
		return t, false
	}
	raw = raw[copy(t.session[:], raw):]
	raw = raw[copy(t.family[:], raw):]
	copy(t.secret[:], raw)
	return t, true
}

// String returns the token as the client has it.
func (t refreshToken) String() string {
	raw := make([]byte, 0, refreshBytes)
	raw = append(append(append(raw, t.session[:]...), t.family[:]...), t.secret[:]...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// sessionID returns the session's id, as the claim sid has it.
func (t *refreshToken) sessionID() string { return hex.EncodeToString(t.session[:]) }

// seal writes what the store keeps of the token to its session.
func (t *refreshToken) seal(s *SessionRecord) {
	s.Family, s.Current = sha256.Sum256(t.family[:]), sha256.Sum256(t.secret[:])
}

// belongs reports whether the token was given out for the session, and current
// whether it is the newest one.
func (t *refreshToken) belongs(s *SessionRecord) (belongs, current bool) {
	family, secret := sha256.Sum256(t.family[:]), sha256.Sum256(t.secret[:])
	belongs = subtle.ConstantTimeCompare(family[:], s.Family[:]) == 1
	return belongs, belongs && subtle.ConstantTimeCompare(secret[:], s.Current[:]) == 1
}
