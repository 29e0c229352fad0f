package api

import (
	"strings"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

// devUser is the query parameter that names the user, with --dev.
const devUser = "user"

// authenticate finds out who asks, and whether that may be enough for the
// route. Where anyone may ask it looks at nothing: who logs in anew may still
// send the token that has expired. Requests over the admin socket come with
// their identity.
func (c *call) authenticate() *proto.Error {
	if c.route.Access == Anyone {
		return nil
	}
	if c.identity = auth.IdentityFrom(c.r.Context()); c.identity == nil {
		var err *proto.Error
		if c.identity, err = c.whoAsks(); err != nil {
			return err
		}
	}
	if c.route.Access == Admin && !c.identity.Admin {
		return proto.ErrForbidden.With("user %q is no administrator", c.identity.UserID)
	}
	return nil
}

func (c *call) whoAsks() (*auth.Identity, *proto.Error) {
	token, err := bearer(c.r.Header.Values("Authorization"))
	if err != nil {
		return nil, err
	}
	if token == "" && c.route.stream {
		token = c.r.URL.Query().Get(tokenParam)
	}
	if token != "" {
		return c.verify(token)
	}
	if name := c.r.URL.Query().Get(devUser); c.api.Dev && name != "" {
		if err := auth.CheckUserID(devUser, name); err != nil {
			return nil, err
		}
		return auth.NewIdentity(name), nil
	}
	return nil, proto.ErrUnauthenticated.With("the request names no user; send the header Authorization: Bearer TOKEN")
}

func (c *call) verify(token string) (*auth.Identity, *proto.Error) {
	if most := c.api.Limits.TokenBytes; len(token) > most {
		return nil, proto.ErrInvalidToken.With("the token has %d bytes; it may have %d", len(token), most)
	}
	return c.api.Verifier.Verify([]byte(token))
}

// bearer returns the token of the Authorization header (RFC 6750, section 2.1),
// "" where there is none.
func bearer(values []string) (string, *proto.Error) {
	if len(values) == 0 {
		return "", nil
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	switch {
	case len(values) > 1:
		return "", proto.ErrInvalidToken.With("the request has %d Authorization headers; one is expected", len(values))
	case !strings.EqualFold(scheme, "Bearer"):
		return "", proto.ErrInvalidToken.With("the Authorization header's scheme must be Bearer")
	}
	if token = strings.TrimSpace(token); token == "" {
		return "", proto.ErrInvalidToken.With("the Authorization header holds no token")
	}
	return token, nil
}

// allow reports an error where the caller lacks the right in the room.
func (c *call) allow(right auth.Right, room string) *proto.Error {
	return c.api.Authorizer.Allow(c.identity, right, room)
}
