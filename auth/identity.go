package auth

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/thronghq/throng/proto"
)

// MaxUserID is the longest user id, in bytes.
const MaxUserID = 128

// Identity is who a token, an API key, or the server's own admission says a
// user is. It does not change once made and is safe for concurrent use.
//
// Each connection keeps one, so its size counts: what only a token or an API key
// says is in the Grant, which those who have nothing to say share.
type Identity struct {
	UserID   string
	IssuedAt int64 // Unix µs, 0 where the token does not say
	*Grant         // never nil
}

// Grant is what a token or an API key says beside the user's name. The zero value
// is that of everyone.
type Grant struct {
	Expires time.Time // zero where the admission names no end
	Session string    // the login session that the token belongs to (claim sid); "" for none
	TokenID string    // the token's own id (claim jti); "" for none
	KeyID   string    // the API key that admitted the user; "" for tokens
	Issuer  string    // who made the token (claim iss); "" where it does not say
	Admin   bool      // may administer users, sessions and the server, and has every right but in others' inboxes

	restricted bool // the token or API key has rules: they hold all rights
	rules      []Rule
}

// everyone's grant is shared and never changes.
var everyone Grant

// NewIdentity returns the identity of a user whom the server admits now, by
// itself: with the rights of everyone, and without an end. The id has passed
// CheckUserID.
func NewIdentity(userID string) *Identity {
	return &Identity{UserID: userID, IssuedAt: time.Now().UnixMicro(), Grant: &everyone}
}

// Allows reports whether the identity by itself gives the right in the room:
// by its rules, or, where it has none, by DefaultRights. A right that one rule
// gives is given, whatever the other rules say. What the server decides on goes
// through an Authorizer, which knows inboxes and the namespaces' rights, too.
func (id *Identity) Allows(right Right, room string) bool {
	if id.Admin {
		return true
	}
	if !id.restricted {
		return DefaultRights.has(right)
	}
	return id.grants(right, room)
}

// grants reports whether one of the rules gives the right.
func (id *Identity) grants(right Right, room string) bool {
	for i := range id.rules {
		rule := &id.rules[i]
		if rule.Allow.has(right) && rule.covers(room) {
			return true
		}
	}
	return false
}

// CheckUserID reports what is wrong with a user's id, or nil. An id has 1 to
// MaxUserID bytes of UTF-8 without control characters. The error names the
// field, as the client knows it.
func CheckUserID(field, id string) *proto.Error {
	switch {
	case id == "":
		return proto.ErrInvalidField.With("field %q is empty; a user's id has 1 to %d bytes", field, MaxUserID)
	case len(id) > MaxUserID:
		return proto.ErrInvalidField.With("field %q has %d bytes; a user's id has 1 to %d", field, len(id), MaxUserID)
	case !utf8.ValidString(id):
		return proto.ErrInvalidField.With("field %q is not valid UTF-8", field)
	case strings.ContainsFunc(id, unicode.IsControl):
		return proto.ErrInvalidField.With("field %q holds a control character; a user's id has none", field)
	}
	return nil
}
