package api

import (
	"net/http"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

// The bounds of what accounts are asked with, in bytes. What a name or a
// password may be is the accounts' to say.
const (
	maxName     = 256
	maxPassword = 4 << 10
	maxID       = 128
)

func accountRoutes() []Route {
	return []Route{
		{Method: http.MethodPost, Pattern: "/register", handle: (*call).register},
		{Method: http.MethodPost, Pattern: "/login", handle: (*call).login},
		{Method: http.MethodPost, Pattern: "/refresh", handle: (*call).refresh},
		{Method: http.MethodPost, Pattern: "/logout", handle: (*call).logout},
		{Method: http.MethodGet, Pattern: "/me", Access: User, handle: (*call).me},
		{Method: http.MethodPut, Pattern: "/me/password", Access: User, handle: (*call).changePassword},
		{Method: http.MethodGet, Pattern: "/me/sessions", Access: User, Params: pageParams, handle: (*call).ownLogins},
		{Method: http.MethodDelete, Pattern: "/me/sessions/{id}", Access: User, handle: (*call).revokeOwnLogin},
	}
}

// pageParams are the query parameters of a list.
var pageParams = []string{"cursor", "limit"}

// accounts returns the server's accounts, or says that it keeps none.
func (c *call) accounts() (Accounts, *proto.Error) {
	if c.api.Accounts == nil {
		return nil, proto.ErrNotFound.With("this server keeps no accounts")
	}
	return c.api.Accounts, nil
}

// client says where the request comes from.
func (c *call) client() auth.Client {
	return auth.Client{Address: c.address(), UserAgent: c.r.UserAgent()}
}

// credentials reads a name and a password.
func (c *call) credentials() (name, password string, _ *proto.Error) {
	body := c.object("username", "password")
	name, password = body.text("username", maxName), body.secret("password", maxPassword)
	return name, password, body.err
}

func (c *call) register() *proto.Error {
	accounts, err := c.accounts()
	if err != nil {
		return err
	}
	name, password, err := c.credentials()
	if err != nil {
		return err
	}
	user, err := accounts.Register(c.r.Context(), name, password, c.client())
	if err != nil {
		return err
	}
	return c.json(http.StatusCreated, struct {
		UserID    string `json:"userId"`
		CreatedAt int64  `json:"createdAt"`
	}{user.Name, user.CreatedAt})
}

func (c *call) login() *proto.Error {
	accounts, err := c.accounts()
	if err != nil {
		return err
	}
	name, password, err := c.credentials()
	if err != nil {
		return err
	}
	tokens, err := accounts.Login(c.r.Context(), name, password, c.client())
	if err != nil {
		return err
	}
	return c.tokens(tokens)
}

func (c *call) refresh() *proto.Error {
	accounts, err := c.accounts()
	if err != nil {
		return err
	}
	body := c.object("refreshToken")
	token := body.secret("refreshToken", c.api.Limits.TokenBytes)
	if body.err != nil {
		return body.err
	}
	tokens, err := accounts.Refresh(c.r.Context(), token, c.client())
	if err != nil {
		return err
	}
	return c.tokens(tokens)
}

// tokens answers with what a login gave (RFC 6749, section 5.1: seconds).
func (c *call) tokens(t *auth.Tokens) *proto.Error {
	return c.json(http.StatusOK, struct {
		AccessToken  string `json:"accessToken"`
		RefreshToken string `json:"refreshToken"`
		ExpiresIn    int64  `json:"expiresIn"`
		UserID       string `json:"userId"`
	}{t.AccessToken, t.RefreshToken, int64(t.ExpiresIn / time.Second), t.UserID})
}

// logout ends a login session: that of the refresh token in the body, or that
// of the access token that the request came with.
func (c *call) logout() *proto.Error {
	accounts, err := c.accounts()
	if err != nil {
		return err
	}
	body := c.optionalObject("refreshToken")
	token := body.optionalSecret("refreshToken", c.api.Limits.TokenBytes)
	switch {
	case body.err != nil:
		return body.err
	case token != nil:
		if err := accounts.LogoutToken(c.r.Context(), *token); err != nil {
			return err
		}
		return c.done()
	}
	if c.identity, err = c.whoAsks(); err != nil {
		return err
	}
	if c.identity.Session == "" {
		return proto.ErrNotFound.With("the token belongs to no login session; send the refresh token to end its session")
	}
	if err := accounts.Logout(c.r.Context(), c.identity.Session); err != nil {
		return err
	}
	return c.done()
}

func (c *call) me() *proto.Error {
	id := c.identity
	answer := struct {
		UserID    string `json:"userId"`
		Admin     bool   `json:"admin"`
		ExpiresAt int64  `json:"expiresAt,omitzero"`
		SessionID string `json:"sessionId,omitzero"`
		Issuer    string `json:"issuer,omitzero"`
	}{UserID: id.UserID, Admin: id.Admin, SessionID: id.Session, Issuer: id.Issuer}
	if !id.Expires.IsZero() {
		answer.ExpiresAt = id.Expires.UnixMilli()
	}
	return c.json(http.StatusOK, answer)
}

func (c *call) changePassword() *proto.Error {
	accounts, err := c.accounts()
	if err != nil {
		return err
	}
	body := c.object("oldPassword", "newPassword")
	old, fresh := body.secret("oldPassword", maxPassword), body.secret("newPassword", maxPassword)
	if body.err != nil {
		return body.err
	}
	if err := accounts.ChangePassword(c.r.Context(), c.identity.UserID, c.identity.Session, old, fresh, c.client()); err != nil {
		return err
	}
	return c.done()
}

func (c *call) ownLogins() *proto.Error { return c.listLogins(c.identity.UserID) }

// loginSession is a login session as clients see it.
type loginSession struct {
	ID         string `json:"id"`
	UserID     string `json:"userId"`
	Address    string `json:"address,omitzero"`
	UserAgent  string `json:"userAgent,omitzero"`
	CreatedAt  int64  `json:"createdAt"`
	LastUsedAt int64  `json:"lastUsedAt"`
	ExpiresAt  int64  `json:"expiresAt"`
	Current    bool   `json:"current"`
}

// listLogins answers with a page of a user's login sessions.
func (c *call) listLogins(user string) *proto.Error {
	accounts, err := c.accounts()
	if err != nil {
		return err
	}
	cursor, limit := c.query.page()
	if c.query.err != nil {
		return c.query.err
	}
	found, next, err := accounts.Sessions(c.r.Context(), user, cursor, limit)
	if err != nil {
		return err
	}
	answer := struct {
		Sessions []loginSession `json:"sessions"`
		Next     string         `json:"next,omitzero"`
	}{make([]loginSession, len(found)), next}
	for i, s := range found {
		answer.Sessions[i] = loginSession{
			s.ID, s.UserID, s.Address, s.UserAgent, s.CreatedAt, s.LastUsedAt, s.ExpiresAt, s.ID == c.identity.Session,
		}
	}
	return c.json(http.StatusOK, answer)
}

func (c *call) revokeOwnLogin() *proto.Error { return c.revokeLogin(c.identity.UserID) }

func (c *call) revokeLogin(user string) *proto.Error {
	accounts, err := c.accounts()
	if err != nil {
		return err
	}
	if err := accounts.RevokeSession(c.r.Context(), user, c.r.PathValue("id")); err != nil {
		return err
	}
	return c.done()
}
