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

// Identity is who a token, or the server's own admission, says a user is. It
// does not change once made and is safe for concurrent use.
type Identity struct {
	UserID  string
	Expires time.Time // zero where the token names no end

	restricted bool // the token carries a rooms claim: rules holds all rights
	rules      []Rule
}

// NewIdentity returns the identity of a user who may do everything and whose
// admission does not end. The id has passed CheckUserID.
func NewIdentity(userID string) *Identity { return &Identity{UserID: userID} }

// Allows reports whether the user has the right in the room. For RightDM the
// room is the addressee's inbox, user:ID. A right that one rule gives is
// given, whatever the other rules say.
func (id *Identity) Allows(right Right, room string) bool {
	if !id.restricted {
		return true
	}
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
