package api

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

func adminRoutes() []Route {
	return slices.Concat(userRoutes(), keyRoutes(), sessionRoutes(), serverRoutes(), webhookRoutes(), docRoutes())
}

func userRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Pattern: "/users", Access: Admin, Params: []string{"prefix", "cursor", "limit"}, gzip: true, handle: (*call).listUsers},
		{Method: http.MethodPost, Pattern: "/users", Access: Admin, handle: (*call).createUser},
		{Method: http.MethodGet, Pattern: "/users/{userId}", Access: Admin, handle: (*call).getUser},
		{Method: http.MethodPatch, Pattern: "/users/{userId}", Access: Admin, handle: (*call).changeUser},
		{Method: http.MethodDelete, Pattern: "/users/{userId}", Access: Admin, handle: (*call).deleteUser},
		{Method: http.MethodPut, Pattern: "/users/{userId}/password", Access: Admin, handle: (*call).setPassword},
		{Method: http.MethodPost, Pattern: "/users/{userId}/revoke", Access: Admin, handle: (*call).revokeUser},
		{Method: http.MethodGet, Pattern: "/users/{userId}/sessions", Access: Admin, Params: pageParams, handle: (*call).listUserLogins},
		{Method: http.MethodDelete, Pattern: "/users/{userId}/sessions/{id}", Access: Admin, handle: (*call).revokeUserLogin},
		{Method: http.MethodPost, Pattern: "/tokens/revoke", Access: User, handle: (*call).revokeToken},
	}
}

func keyRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Pattern: "/keys", Access: Admin, Params: pageParams, handle: (*call).listKeys},
		{Method: http.MethodPost, Pattern: "/keys", Access: Admin, handle: (*call).createKey},
		{Method: http.MethodGet, Pattern: "/keys/{id}", Access: Admin, handle: (*call).getKey},
		{Method: http.MethodDelete, Pattern: "/keys/{id}", Access: Admin, handle: (*call).revokeKey},
	}
}

// user is an account as administrators see it.
type user struct {
	UserID            string `json:"userId"`
	Admin             bool   `json:"admin"`
	Disabled          bool   `json:"disabled"`
	CreatedAt         int64  `json:"createdAt"`
	PasswordChangedAt int64  `json:"passwordChangedAt"`
	LastLoginAt       int64  `json:"lastLoginAt,omitzero"`
}

func userOf(u *auth.User) user {
	return user{u.Name, u.Admin, u.Disabled, u.CreatedAt, u.PasswordChangedAt, u.LastLoginAt}
}

func (c *call) listUsers() *proto.Error {
	accounts, err := c.accounts()
	if err != nil {
		return err
	}
	prefix := c.query.text("prefix", maxName)
	cursor, limit := c.query.page()
	if c.query.err != nil {
		return c.query.err
	}
	found, next, err := accounts.Users(c.r.Context(), prefix, cursor, limit)
	if err != nil {
		return err
	}
	answer := struct {
		Users []user `json:"users"`
		Next  string `json:"next,omitzero"`
	}{make([]user, len(found)), next}
	for i := range found {
		answer.Users[i] = userOf(&found[i])
	}
	return c.json(http.StatusOK, answer)
}

func (c *call) createUser() *proto.Error {
	accounts, err := c.accounts()
	if err != nil {
		return err
	}
	body := c.object("username", "password", "admin")
	name, password, admin := body.text("username", maxName), body.secret("password", maxPassword), body.boolean("admin")
	if body.err != nil {
		return body.err
	}
	created, err := accounts.CreateUser(c.r.Context(), name, password, admin != nil && *admin)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", base+"/users/"+url.PathEscape(created.Name))
	return c.json(http.StatusCreated, userOf(created))
}

// named is the user that the path names.
func (c *call) named() string { return c.r.PathValue("userId") }

func (c *call) getUser() *proto.Error {
	accounts, err := c.accounts()
	if err != nil {
		return err
	}
	found, err := accounts.User(c.r.Context(), c.named())
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, userOf(found))
}

func (c *call) changeUser() *proto.Error {
	accounts, err := c.accounts()
	if err != nil {
		return err
	}
	body := c.object("disabled", "admin")
	disabled, admin := body.boolean("disabled"), body.boolean("admin")
	if disabled == nil && admin == nil {
		body.fail(proto.ErrInvalidField.With("the body changes nothing; disabled or admin is expected"))
	}
	if body.err != nil {
		return body.err
	}
	if admin != nil {
		if err := accounts.SetAdmin(c.r.Context(), c.named(), *admin); err != nil {
			return err
		}
	}
	if disabled != nil {
		if err := accounts.SetDisabled(c.r.Context(), c.named(), *disabled); err != nil {
			return err
		}
	}
	return c.getUser()
}

// withAccounts does something that answers with an error at most.
func (c *call) withAccounts(do func(Accounts) *proto.Error) *proto.Error {
	accounts, err := c.accounts()
	if err == nil {
		err = do(accounts)
	}
	if err != nil {
		return err
	}
	return c.done()
}

func (c *call) deleteUser() *proto.Error {
	return c.withAccounts(func(a Accounts) *proto.Error { return a.DeleteUser(c.r.Context(), c.named()) })
}

func (c *call) setPassword() *proto.Error {
	return c.withAccounts(func(a Accounts) *proto.Error {
		body := c.object("password")
		password := body.secret("password", maxPassword)
		if body.err != nil {
			return body.err
		}
		return a.SetPassword(c.r.Context(), c.named(), password)
	})
}

func (c *call) revokeUser() *proto.Error {
	return c.withAccounts(func(a Accounts) *proto.Error {
		if err := c.noBody(); err != nil {
			return err
		}
		if err := auth.CheckUserID("userId", c.named()); err != nil {
			return err
		}
		return a.RevokeUser(c.r.Context(), c.named())
	})
}

func (c *call) listUserLogins() *proto.Error { return c.listLogins(c.owner()) }

func (c *call) revokeUserLogin() *proto.Error { return c.revokeLogin(c.owner()) }

// owner is the user whose login sessions the path asks for: the account that its
// spelling names, as everywhere below /users, and else to the letter.
func (c *call) owner() string {
	if accounts, err := c.accounts(); err == nil {
		if account, err := accounts.User(c.r.Context(), c.named()); err == nil {
			return account.Name
		}
	}
	return c.named()
}

// revokeToken revokes one token: by its id for administrators, by itself for
// its own user, too.
func (c *call) revokeToken() *proto.Error {
	return c.withAccounts(func(a Accounts) *proto.Error {
		body := c.object("tokenId", "expiresAt", "token")
		token, id := body.optionalSecret("token", c.api.Limits.TokenBytes), body.optionalText("tokenId", maxID)
		expires := body.integer("expiresAt", 1, proto.MaxSafeInteger)
		switch {
		case body.err != nil:
			return body.err
		case token != nil && id == nil && expires == nil:
			return c.revokeGiven(a, *token)
		case token != nil || id == nil || expires == nil:
			return proto.ErrInvalidField.With("tokenId and expiresAt, or token alone, are expected")
		case !c.identity.Admin:
			return proto.ErrForbidden.With("user %q is no administrator, and may revoke own tokens only, by sending the token", c.identity.UserID)
		}
		return a.RevokeToken(c.r.Context(), *id, time.UnixMilli(int64(*expires)))
	})
}

func (c *call) revokeGiven(a Accounts, token string) *proto.Error {
	of, err := c.verify(token)
	switch {
	case err != nil && (err.Code == proto.ErrTokenExpired || err.Code == proto.ErrRevoked):
		return nil // it is worth nothing any more
	case err != nil:
		return proto.ErrInvalidField.With("field \"token\": %s", err.Text())
	case of.UserID != c.identity.UserID && !c.identity.Admin:
		return proto.ErrForbidden.With("the token is another user's")
	case of.KeyID != "":
		return proto.ErrInvalidField.With("field \"token\" is an API key; those are revoked by DELETE %s/keys/%s", base, of.KeyID)
	case of.TokenID == "":
		return proto.ErrInvalidField.With("field \"token\" has no id (jti) by which it could be revoked")
	}
	return a.RevokeToken(c.r.Context(), of.TokenID, of.Expires)
}

// key is an API key's entry. The key itself is shown when it is created.
type key struct {
	ID         string      `json:"id"`
	Name       string      `json:"name"`
	UserID     string      `json:"userId"`
	Admin      bool        `json:"admin"`
	Rooms      []auth.Rule `json:"rooms,omitzero"`
	CreatedAt  int64       `json:"createdAt"`
	LastUsedAt int64       `json:"lastUsedAt,omitzero"`
	ExpiresAt  int64       `json:"expiresAt,omitzero"`
	Key        string      `json:"key,omitzero"`
}

func keyOf(k *auth.APIKey, secret string) key {
	return key{k.ID, k.Name, k.UserID, k.Admin, k.Rooms, k.CreatedAt, k.LastUsedAt, k.ExpiresAt, secret}
}

func (c *call) listKeys() *proto.Error {
	accounts, err := c.accounts()
	if err != nil {
		return err
	}
	cursor, limit := c.query.page()
	if c.query.err != nil {
		return c.query.err
	}
	found, next, err := accounts.Keys(c.r.Context(), cursor, limit)
	if err != nil {
		return err
	}
	answer := struct {
		Keys []key  `json:"keys"`
		Next string `json:"next,omitzero"`
	}{make([]key, len(found)), next}
	for i := range found {
		answer.Keys[i] = keyOf(&found[i], "")
	}
	return c.json(http.StatusOK, answer)
}

func (c *call) createKey() *proto.Error {
	accounts, err := c.accounts()
	if err != nil {
		return err
	}
	body := c.object("name", "userId", "admin", "rooms", "expiresAt")
	wanted := auth.APIKey{Name: body.text("name", auth.MaxKeyName), Rooms: body.rules("rooms")}
	if id := body.optionalText("userId", auth.MaxUserID); id != nil {
		wanted.UserID = *id
	}
	if admin := body.boolean("admin"); admin != nil {
		wanted.Admin = *admin
	}
	if expires := body.integer("expiresAt", 1, proto.MaxSafeInteger); expires != nil {
		wanted.ExpiresAt = int64(*expires)
	}
	if body.err != nil {
		return body.err
	}
	created, secret, err := accounts.CreateKey(c.r.Context(), wanted)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", base+"/keys/"+url.PathEscape(created.ID))
	return c.json(http.StatusCreated, keyOf(&created, secret))
}

// rules returns a list of rules, nil where there is none. An empty list gives no
// rights at all.
func (o *object) rules(name string) []auth.Rule {
	value := o.fields[name]
	if value == nil {
		return nil
	}
	var rules []auth.Rule
	err := json.Unmarshal(value, &rules, json.RejectUnknownMembers(true))
	if err != nil || rules == nil {
		o.wrong(name, o.show(name), `a list of {"match","allow"}, a pattern of rooms and the rights in them,`)
	} else if err := auth.CheckRules(rules); err != nil {
		o.fail(proto.ErrInvalidField.With("field %q: %v", name, err))
	}
	return rules
}

func (c *call) getKey() *proto.Error {
	accounts, err := c.accounts()
	if err != nil {
		return err
	}
	found, err := accounts.Key(c.r.Context(), c.r.PathValue("id"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, keyOf(&found, ""))
}

func (c *call) revokeKey() *proto.Error {
	return c.withAccounts(func(a Accounts) *proto.Error { return a.RevokeKey(c.r.Context(), c.r.PathValue("id")) })
}
