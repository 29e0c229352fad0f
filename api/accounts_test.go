package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/api"
	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

const password = "correct horse"

func TestAccounts(t *testing.T) {
	f := start(t, nil)
	a := f.request("POST /register", "").json(`{"username":"Ada","password":"correct horse"}`).do().is(http.StatusCreated)
	if get[string](a, "userId") != "ada" || get[float64](a, "createdAt") < 1.6e12 {
		t.Errorf("registered: %s", a.text)
	}
	f.request("POST /register", "").json(`{"username":"ada","password":"correct horse"}`).do().refused(proto.ErrUserExists)
	f.request("POST /register", "").json(`{"username":"a:b","password":"correct horse"}`).do().refused(proto.ErrInvalidField)
	a = f.request("POST /register", "").json(`{"username":"bob","password":"short"}`).do().refused(proto.ErrInvalidField)
	if strings.Contains(a.text, "short\\\"") {
		t.Errorf("an error shows a password: %s", a.text)
	}
	f.request("POST /login", "").json(`{"username":"ada","password":"wrong horse"}`).do().refused(proto.ErrInvalidLogin)
	f.request("POST /login", "").json(`{"username":"nobody","password":"wrong horse"}`).do().refused(proto.ErrInvalidLogin)

	// An expired token in the header does not keep anybody from a new login.
	a = f.request("POST /login", f.token("ada", expired)).json(`{"username":"ada","password":"correct horse"}`).do().is(http.StatusOK)
	access, refresh := get[string](a, "accessToken"), get[string](a, "refreshToken")
	if get[float64](a, "expiresIn") != 900 || get[string](a, "userId") != "ada" || a.header.Get("Content-Encoding") != "" {
		t.Errorf("login: %s %v", a.text, a.header)
	}
	me := f.request("GET /me", access).do().is(http.StatusOK)
	if get[string](me, "userId") != "ada" || get[bool](me, "admin") || get[float64](me, "expiresAt") < 1.6e12 || get[string](me, "sessionId") == "" {
		t.Errorf("me: %s", me.text)
	}

	a = f.request("POST /refresh", "").json(fmt.Sprintf(`{"refreshToken":%q}`, refresh)).do().is(http.StatusOK)
	fresh := get[string](a, "accessToken")
	f.request("GET /me", fresh).do().is(http.StatusOK)
	f.request("POST /refresh", "").json(`{"refreshToken":"nonsense"}`).do().refused(proto.ErrInvalidToken)
	// A second use of a refresh token ends all that followed from the login.
	f.request("POST /refresh", "").json(fmt.Sprintf(`{"refreshToken":%q}`, refresh)).do().is(http.StatusUnauthorized)
	f.request("GET /me", fresh).do().refused(proto.ErrRevoked)
}

func TestLogout(t *testing.T) {
	f := start(t, nil)
	access, refresh := f.user("ada")
	f.request("POST /logout", "").do().refused(proto.ErrUnauthenticated)
	f.request("POST /logout", f.token("ada")).do().refused(proto.ErrNotFound) // of no login session
	f.request("POST /logout", access).do().is(http.StatusNoContent)
	f.request("GET /me", access).do().refused(proto.ErrRevoked)
	f.request("POST /refresh", "").json(fmt.Sprintf(`{"refreshToken":%q}`, refresh)).do().is(http.StatusUnauthorized)

	access, refresh = f.login("ada", password)
	f.request("POST /logout", "").json(fmt.Sprintf(`{"refreshToken":%q}`, refresh)).do().is(http.StatusNoContent)
	f.request("GET /me", access).do().refused(proto.ErrRevoked)
	f.request("POST /logout", "").json(`{"refreshToken":"nonsense"}`).do().refused(proto.ErrInvalidToken)
}

func TestLoginsAreThrottled(t *testing.T) {
	f := start(t, nil)
	f.user("ada")
	for range 10 {
		a := f.request("POST /login", "").json(`{"username":"ada","password":"wrong horse"}`).do()
		if a.status == http.StatusUnauthorized {
			continue
		}
		a.refused(proto.ErrRateLimited)
		if get[float64](a, "retryAfter") <= 0 {
			t.Errorf("no time to wait: %s", a.text)
		}
		return
	}
	t.Error("ten wrong passwords were looked at")
}

func TestOwnPasswordAndLogins(t *testing.T) {
	f := start(t, nil)
	first, _ := f.user("ada")
	second, _ := f.login("ada", password)
	a := f.request("GET /me/sessions", first).do().is(http.StatusOK)
	sessions := get[[]any](a, "sessions")
	current := 0
	for _, s := range sessions {
		entry := s.(map[string]any)
		if entry["current"] == true {
			current++
		}
		if entry["userId"] != "ada" || entry["address"] != "127.0.0.1" || entry["userAgent"] == "" || entry["expiresAt"] == nil {
			t.Errorf("a login session: %v", entry)
		}
	}
	if len(sessions) != 2 || current != 1 {
		t.Errorf("login sessions: %s", a.text)
	}
	seen, cursor := 0, ""
	for more := true; more; {
		a := f.request("GET /me/sessions?limit=1&cursor="+cursor, first).do().is(http.StatusOK)
		seen += len(get[[]any](a, "sessions"))
		cursor, more = a.fields["next"].(string)
	}
	if seen != 2 {
		t.Errorf("%d login sessions on all pages", seen)
	}
	f.request("DELETE /me/sessions/none", first).do().refused(proto.ErrNotFound)
	id := get[string](f.request("GET /me", second).do(), "sessionId")
	f.request("DELETE /me/sessions/"+id, f.token("bob")).do().refused(proto.ErrNotFound) // another's
	f.request("DELETE /me/sessions/"+id, first).do().is(http.StatusNoContent)
	f.request("GET /me", second).do().refused(proto.ErrRevoked)

	third, _ := f.login("ada", password)
	f.request("PUT /me/password", first).json(`{"oldPassword":"wrong horse","newPassword":"battery staple"}`).do().refused(proto.ErrInvalidLogin)
	f.request("PUT /me/password", first).json(`{"oldPassword":"correct horse","newPassword":"battery staple"}`).do().is(http.StatusNoContent)
	f.request("GET /me", first).do().is(http.StatusOK)
	f.request("GET /me", third).do().refused(proto.ErrRevoked)
	f.request("PUT /me/password", f.token("stranger")).json(`{"oldPassword":"correct horse","newPassword":"battery staple"}`).do().is(http.StatusUnauthorized)
}

func TestUsers(t *testing.T) {
	f := start(t, nil)
	admin := f.token("root", asAdmin)
	a := f.request("POST /users", admin).json(`{"username":"Eve","password":"correct horse","admin":true}`).do().is(http.StatusCreated)
	if a.header.Get("Location") != "/api/v1/users/eve" || !get[bool](a, "admin") || get[bool](a, "disabled") || a.fields["lastLoginAt"] != nil {
		t.Errorf("created: %s %v", a.text, a.header)
	}
	f.request("POST /users", admin).json(`{"username":"eve","password":"correct horse"}`).do().refused(proto.ErrUserExists)
	f.request("POST /users", admin).json(`{"username":"x","password":"correct horse","admin":"yes"}`).do().refused(proto.ErrInvalidField).says(`field \"admin\" is \"yes\"; true or false is expected`)
	f.request("POST /users", admin).json(`{"username":5,"password":"correct horse"}`).do().refused(proto.ErrInvalidField).says(`field \"username\" is a number`)
	f.request("POST /users", admin).json(`{"username":null,"password":"correct horse"}`).do().refused(proto.ErrInvalidField).says(`field \"username\" is null`)
	f.request("POST /users", admin).json(`{"username":"x","username":"y","password":"correct horse"}`).do().refused(proto.ErrInvalidField).says("comes twice")
	eve, _ := f.login("eve", password)
	f.request("GET /users/nobody", eve).do().refused(proto.ErrNotFound) // an administrator by password, too
	f.request("GET /users/eve", eve).do().is(http.StatusOK).says(`"lastLoginAt":`)

	for i := range 5 {
		f.request("POST /users", admin).json(fmt.Sprintf(`{"username":"user%d","password":"correct horse"}`, i)).do().is(http.StatusCreated)
	}
	seen, cursor := "", ""
	for range 3 {
		a := f.request("GET /users?prefix=user&limit=2&cursor="+cursor, admin).do().is(http.StatusOK)
		for _, u := range get[[]any](a, "users") {
			seen += u.(map[string]any)["userId"].(string) + " "
		}
		cursor, _ = a.fields["next"].(string)
	}
	if seen != "user0 user1 user2 user3 user4 " || cursor != "" {
		t.Errorf("listed %q, then %q", seen, cursor)
	}

	f.request("PATCH /users/eve", admin).json(`{"admin":false}`).do().is(http.StatusOK).says(`"admin":false`)
	f.request("PATCH /users/nobody", admin).json(`{"admin":false}`).do().refused(proto.ErrNotFound)
	f.request("PATCH /users/eve", admin).json(`{"disabled":true}`).do().is(http.StatusOK).says(`"disabled":true`)
	f.request("GET /me", eve).do().refused(proto.ErrRevoked)
	f.request("POST /login", "").json(`{"username":"eve","password":"correct horse"}`).do().refused(proto.ErrAccountDisabled)
	f.request("PATCH /users/eve", admin).json(`{"disabled":false}`).do().is(http.StatusOK)

	f.request("PUT /users/eve/password", admin).json(`{"password":"battery staple"}`).do().is(http.StatusNoContent)
	eve, _ = f.login("eve", "battery staple")
	a = f.request("GET /users/EVE/sessions", admin).do().is(http.StatusOK)
	id := get[[]any](a, "sessions")[0].(map[string]any)["id"].(string)
	f.request("DELETE /users/Eve/sessions/"+id, admin).do().is(http.StatusNoContent)
	f.request("GET /me", eve).do().refused(proto.ErrRevoked)

	eve, _ = f.login("eve", "battery staple")
	f.request("POST /users/eve/revoke", admin).do().is(http.StatusNoContent)
	f.request("GET /me", eve).do().refused(proto.ErrRevoked)
	f.request("DELETE /users/eve", admin).do().is(http.StatusNoContent)
	f.request("DELETE /users/eve", admin).do().refused(proto.ErrNotFound)
}

func TestAFailingStoreIsNotExplained(t *testing.T) {
	f := start(t, nil)
	f.store.Fail(errors.New("the disk is gone"))
	a := f.request("POST /login", "").json(`{"username":"ada","password":"correct horse"}`).do().refused(proto.ErrStorage)
	if strings.Contains(a.text, "the disk is gone") {
		t.Errorf("the answer tells of the server's inside: %s", a.text)
	}
	f.store.Fail(nil)
}

func TestKeys(t *testing.T) {
	f := start(t, nil)
	admin := f.token("root", asAdmin)
	a := f.request("POST /keys", admin).json(`{"name":"billing","rooms":[{"match":"orders*","allow":["publish","create"]}]}`).do().is(http.StatusCreated)
	secret, id := get[string](a, "key"), get[string](a, "id")
	if a.header.Get("Location") != "/api/v1/keys/"+id || get[string](a, "userId") != "key:"+id {
		t.Errorf("created: %s %v", a.text, a.header)
	}
	f.request("POST /rooms/orders1/messages", secret).json(`{"content":1}`).do().is(http.StatusCreated)
	f.request("GET /rooms/orders1/messages", secret).do().refused(proto.ErrForbidden)
	f.request("POST /rooms/other/messages", secret).json(`{"content":1}`).do().refused(proto.ErrForbidden)
	for _, path := range []string{"/keys", "/keys/" + id} {
		if a := f.request("GET "+path, admin).do().is(http.StatusOK); strings.Contains(a.text, secret) || !strings.Contains(a.text, `"billing"`) {
			t.Errorf("%s: %s", path, a.text)
		}
	}
	for _, bad := range []string{
		`{"name":""}`, `{"name":"x","rooms":null}`, `{"name":"x","rooms":{}}`, `{"name":"x","rooms":[{"match":"a*b","allow":[]}]}`,
		`{"name":"x","rooms":[{"match":"a","allow":["fly"]}]}`, `{"name":"x","rooms":[{"match":"a","allow":["join"],"more":1}]}`,
		`{"name":"x","expiresAt":-1}`, `{"name":"x","expiresAt":1}`, `{"name":"x","userId":""}`, `{"name":"x","admin":1}`,
	} {
		f.request("POST /keys", admin).json(bad).do().refused(proto.ErrInvalidField)
	}
	f.request("DELETE /keys/"+id, admin).do().is(http.StatusNoContent)
	f.request("POST /rooms/orders1/messages", secret).json(`{"content":1}`).do().is(http.StatusUnauthorized)
	f.request("GET /keys/"+id, admin).do().refused(proto.ErrNotFound)
	f.request("DELETE /keys/"+id, admin).do().refused(proto.ErrNotFound)
}

func TestTokensAreRevoked(t *testing.T) {
	f := start(t, nil)
	admin, ada, other := f.token("root", asAdmin), f.token("ada"), f.token("ada")
	f.request("POST /tokens/revoke", f.token("bob")).json(fmt.Sprintf(`{"token":%q}`, ada)).do().refused(proto.ErrForbidden)
	f.request("POST /tokens/revoke", ada).json(`{"tokenId":"x","expiresAt":1}`).do().refused(proto.ErrForbidden)
	f.request("POST /tokens/revoke", ada).json(`{"token":"x","tokenId":"y"}`).do().refused(proto.ErrInvalidField)
	f.request("POST /tokens/revoke", ada).json(`{"tokenId":"y"}`).do().refused(proto.ErrInvalidField)
	a := f.request("POST /tokens/revoke", ada).json(`{"token":"nonsense-that-nobody-signed"}`).do().refused(proto.ErrInvalidField)
	if strings.Contains(a.text, "nonsense") {
		t.Errorf("an error shows a token: %s", a.text)
	}
	f.request("POST /tokens/revoke", other).json(fmt.Sprintf(`{"token":%q}`, ada)).do().is(http.StatusNoContent)
	f.request("GET /me", ada).do().refused(proto.ErrRevoked)
	f.request("GET /me", other).do().is(http.StatusOK)
	f.request("POST /tokens/revoke", other).json(fmt.Sprintf(`{"token":%q}`, ada)).do().is(http.StatusNoContent) // again
	id := f.jti(other)
	f.request("POST /tokens/revoke", admin).json(fmt.Sprintf(`{"tokenId":%q,"expiresAt":%d}`, id, time.Now().Add(2*time.Hour).UnixMilli())).do().is(http.StatusNoContent)
	f.request("GET /me", other).do().refused(proto.ErrRevoked)
}

func TestServer(t *testing.T) {
	drained := 0
	f := start(t, func(o *api.Options) {
		o.Drain = func() { drained++ }
		o.Stats = func() api.Stats { return api.Stats{Connections: 7, Rooms: 3} }
	})
	admin := f.token("root", asAdmin)
	f.request("GET /server", admin).do().is(http.StatusOK).says(`"version":"test"`).says(`"name":"chat","historySize":10000`)
	f.request("GET /server/stats", admin).do().is(http.StatusOK).says(`"connections":7,"rooms":3,"requests":1`)
	f.request("POST /drain", admin).json(`{"now":true}`).do().refused(proto.ErrInvalidField)
	if drained != 0 {
		t.Error("drained by a request that was refused")
	}
	f.request("POST /drain", admin).do().is(http.StatusAccepted)
	if drained != 1 {
		t.Errorf("drained %d times", drained)
	}
}

// jti returns the id of a token of the fixture.
func (f *fixture) jti(token string) string {
	f.t.Helper()
	id, err := auth.NewVerifier(auth.VerifierOptions{Keys: f.keys}).Verify([]byte(token))
	if err != nil {
		f.t.Fatal(err)
	}
	return id.TokenID
}
