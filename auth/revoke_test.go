package auth_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

func TestCovers(t *testing.T) {
	at := time.UnixMilli(1000)
	id := &auth.Identity{UserID: "ada", IssuedAt: at.UnixMicro(), Grant: &auth.Grant{Session: "s", TokenID: "t", KeyID: "k"}}
	undated := &auth.Identity{UserID: "ada", Grant: new(auth.Grant)}
	for _, test := range []struct {
		r    auth.Revocation
		id   *auth.Identity
		want bool
	}{
		{auth.Revocation{}, id, false},
		{auth.Revocation{}, undated, false},
		{auth.Revocation{UserID: "ada"}, id, true},
		{auth.Revocation{UserID: "bob"}, id, false},
		{auth.Revocation{Session: "s"}, id, true},
		{auth.Revocation{Session: "s"}, undated, false},
		{auth.Revocation{UserID: "ada", Session: "s"}, id, true},
		{auth.Revocation{UserID: "bob", Session: "s"}, id, false},
		{auth.Revocation{TokenID: "t"}, id, true},
		{auth.Revocation{TokenID: "u"}, id, false},
		{auth.Revocation{KeyID: "k"}, id, true},
		{auth.Revocation{KeyID: "l"}, id, false},
		{auth.Revocation{UserID: "ada", Before: at}, id, true},
		{auth.Revocation{UserID: "ada", Before: at.Add(time.Millisecond)}, id, true},
		{auth.Revocation{UserID: "ada", Before: at.Add(-time.Millisecond)}, id, false},
		{auth.Revocation{UserID: "ada", Before: at}, undated, true},
	} {
		if got := test.r.Covers(test.id); got != test.want {
			t.Errorf("%+v covers %+v: %v, want %v", test.r, test.id, got, test.want)
		}
	}
}

// TestRevokeUser ends tokens of every kind at once, and nothing that is issued
// afterwards, even in the same millisecond.
func TestRevokeUser(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	w.register("bob")
	old, others := w.login("ada"), w.login("bob")
	foreign, bad := w.keys.Sign(auth.AccessClaims{UserID: "ada", TTL: 48 * time.Hour, Now: w.now})
	if bad != nil {
		t.Fatal(bad)
	}
	_, key, err := w.CreateKey(t.Context(), auth.APIKey{Name: "ada's", UserID: "ada"})
	w.ok(err)
	w.good(foreign)
	w.good(key)
	w.revoked.take()

	w.ok(w.RevokeUser(t.Context(), "ada"))
	got := w.revoked.take()
	if len(got) != 2 || got[0].UserID != "ada" || !got[0].Before.Equal(w.now) || got[1].KeyID == "" {
		t.Errorf("OnRevoke got %+v", got)
	}
	fresh := w.login("ada")
	for range 2 {
		w.isRevoked(old.AccessToken)
		w.isRevoked(foreign)
		w.want(second(w.verify(key)), proto.ErrInvalidToken)
		w.want(second(w.Refresh(t.Context(), old.RefreshToken, here)), proto.ErrInvalidToken)
		w.good(fresh.AccessToken)
		w.good(others.AccessToken)
		w.restart()
	}
	w.advance(47 * time.Hour) // tokens of others may live for long
	w.restart()
	w.isRevoked(foreign)

	w.ok(w.RevokeUser(t.Context(), "google:somebody"))
	if !w.Revoked(&auth.Identity{UserID: "google:somebody", Grant: new(auth.Grant)}) {
		t.Error("a token that does not say when it was issued is good after the revocation")
	}
	if w.Revoked(auth.NewIdentity("google:somebody")) { // its clock is ahead of the test's
		t.Error("whom the server admits afterwards is revoked")
	}
	w.want(w.RevokeUser(t.Context(), ""), proto.ErrInvalidField)

	// Any spelling of an account's name means the account, and the id itself.
	spelled, bad := w.keys.Sign(auth.AccessClaims{UserID: "Bob", TTL: time.Hour, Now: w.now})
	if bad != nil {
		t.Fatal(bad)
	}
	w.advance(time.Second)
	bob := w.login("bob")
	w.ok(w.RevokeUser(t.Context(), "Bob"))
	w.isRevoked(bob.AccessToken)
	w.isRevoked(spelled)
}

// TestClockSetBack: a clock that was ahead for a moment keeps nobody out once it
// is right again, not even those of whom something was revoked meanwhile and
// now again.
func TestClockSetBack(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	w.register("bob")

	// What verifiers forgive makes no difference: what is issued after a
	// revocation comes after it.
	w.ok(w.RevokeUser(t.Context(), "bob"))
	w.advance(-w.opts.Leeway / 2)
	w.good(w.login("bob").AccessToken)

	w.advance(10 * time.Hour)
	ahead := w.login("ada")
	w.ok(w.RevokeUser(t.Context(), "bob"))
	w.advance(-10 * time.Hour)
	for range 2 {
		w.good(w.login("ada").AccessToken)
		w.good(w.refresh(ahead.RefreshToken).AccessToken)
		ahead = w.login("ada")
		w.restart()
	}
	w.ok(w.RevokeUser(t.Context(), "bob"))
	w.good(w.login("bob").AccessToken)
}

// TestRevokeUserRaces: sessions that are refreshed as fast as they can be, and
// logins, end with the revocation; nothing that they got before it is good.
func TestRevokeUserRaces(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	const sessions = 8
	var got [sessions][]*auth.Tokens
	var refreshing, running sync.WaitGroup
	running.Add(sessions)
	for i := range sessions {
		tokens := w.login("ada")
		refreshing.Go(func() {
			for n := 0; ; n++ {
				if n == 5 {
					running.Done()
				}
				got[i] = append(got[i], tokens)
				next, err := w.Refresh(context.Background(), tokens.RefreshToken, here)
				if err != nil {
					if err.Code != proto.ErrInvalidToken || n < 5 {
						t.Errorf("session %d ends after %d refreshes with %v", i, n, err)
					}
					return
				}
				tokens = next
			}
		})
	}
	running.Wait()
	w.ok(w.RevokeUser(t.Context(), "ada"))
	fresh := w.login("ada")
	refreshing.Wait()
	for i := range got {
		for _, tokens := range got[i] {
			w.isRevoked(tokens.AccessToken)
		}
	}
	w.good(fresh.AccessToken)
	w.good(w.refresh(fresh.RefreshToken).AccessToken)
}

func TestDisable(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	tokens := w.login("ada")
	_, key, err := w.CreateKey(t.Context(), auth.APIKey{Name: "ada's", UserID: "ada"})
	w.ok(err)
	w.revoked.take()
	w.ok(w.SetDisabled(t.Context(), "ADA", true))
	if got := w.revoked.take(); !slices.Contains(got, auth.Revocation{UserID: "ada"}) {
		t.Errorf("OnRevoke got %+v", got)
	}
	w.advance(time.Hour)
	later, bad := w.keys.Sign(auth.AccessClaims{UserID: "ada", TTL: time.Hour, Now: w.now})
	if bad != nil {
		t.Fatal(bad)
	}
	for range 2 {
		w.isRevoked(later) // also what is issued now, by whomever
		w.want(second(w.Login(t.Context(), "ada", password, here)), proto.ErrAccountDisabled)
		w.want(second(w.Refresh(t.Context(), tokens.RefreshToken, here)), proto.ErrInvalidToken)
		_, _, err = w.CreateKey(t.Context(), auth.APIKey{Name: "another", UserID: "ada"})
		w.want(err, proto.ErrAccountDisabled)
		w.restart()
	}
	// Revoking a disabled user does not enable.
	w.ok(w.RevokeUser(t.Context(), "ada"))
	w.isRevoked(later)
	w.revoked.take()
	w.ok(w.SetDisabled(t.Context(), "ada", true)) // nothing changes
	if got := w.revoked.take(); len(got) > 0 {
		t.Errorf("OnRevoke got %+v", got)
	}
	w.ok(w.SetDisabled(t.Context(), "ada", false))
	w.isRevoked(later)
	w.want(second(w.verify(key)), proto.ErrInvalidToken)
	w.good(w.login("ada").AccessToken)
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	tokens := w.login("ada")
	w.ok(w.DeleteUser(t.Context(), "Ada"))
	w.isRevoked(tokens.AccessToken)
	w.want(second(w.Refresh(t.Context(), tokens.RefreshToken, here)), proto.ErrInvalidToken)
	w.want(second(w.Login(t.Context(), "ada", password, here)), proto.ErrInvalidLogin)
	w.want(second(w.User(t.Context(), "ada")), proto.ErrNotFound)
	w.want(w.DeleteUser(t.Context(), "ada"), proto.ErrNotFound)
	if stored, err := w.store.Sessions("ada", "", 10); err != nil || len(stored) > 0 {
		t.Errorf("sessions are left: %+v, %v", stored, err)
	}
	w.register("ada") // another one
	w.good(w.login("ada").AccessToken)
	w.isRevoked(tokens.AccessToken)
}

func TestSetAdmin(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	plain := w.login("ada")
	w.ok(w.SetAdmin(t.Context(), "ada", true))
	if w.good(plain.AccessToken).Admin {
		t.Error("a token changed")
	}
	admin := w.refresh(plain.RefreshToken)
	if !w.good(admin.AccessToken).Admin {
		t.Error("an administrator's token is none")
	}
	w.ok(w.SetAdmin(t.Context(), "ada", false))
	w.isRevoked(admin.AccessToken)
	if w.good(w.login("ada").AccessToken).Admin {
		t.Error("still an administrator")
	}
	w.want(w.SetAdmin(t.Context(), "nobody", true), proto.ErrNotFound)
}

func TestRevokeToken(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	one, two := w.login("ada"), w.login("ada")
	id := w.good(one.AccessToken)
	w.revoked.take()
	w.ok(w.RevokeToken(t.Context(), id.TokenID, id.Expires))
	if got := w.revoked.take(); !slices.Equal(got, []auth.Revocation{{TokenID: id.TokenID}}) {
		t.Errorf("OnRevoke got %+v", got)
	}
	for range 2 {
		w.isRevoked(one.AccessToken)
		w.good(two.AccessToken)
		w.restart()
	}
	w.refresh(one.RefreshToken) // the session goes on
	three := w.login("ada")
	late := w.good(three.AccessToken)
	w.advance(w.opts.AccessTTL + w.opts.Leeway/2) // verifiers still accept it
	w.good(three.AccessToken)
	w.ok(w.RevokeToken(t.Context(), late.TokenID, late.Expires))
	w.isRevoked(three.AccessToken)
	w.advance(time.Minute)
	w.restart()
	if n := w.metric("throng_accounts_revocations"); n != "0" {
		t.Errorf("%s revocations are kept after the token's end", n)
	}
	w.ok(w.RevokeToken(t.Context(), "long gone", w.now.Add(-time.Hour)))
	w.ok(w.RevokeToken(t.Context(), "without end", time.Time{}))
	w.advance(1e5 * time.Hour)
	w.restart()
	if n := w.metric("throng_accounts_revocations"); n != "1" {
		t.Errorf("%s revocations are kept, want the one without end", n)
	}
	w.want(w.RevokeToken(t.Context(), "", time.Time{}), proto.ErrInvalidField)
}

// TestRevokedAllocates nothing: it is asked for every token.
func TestRevokedAllocates(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	w.ok(w.RevokeUser(t.Context(), "ada"))
	id := w.good(w.login("ada").AccessToken)
	if n := testing.AllocsPerRun(100, func() { w.Revoked(id) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
