package auth_test

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

func TestRefresh(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	first := w.login("ada")
	w.advance(20 * time.Minute) // the access token has ended
	second := w.refresh(first.RefreshToken)
	if second.Session != first.Session || second.RefreshToken == first.RefreshToken || second.AccessToken == first.AccessToken {
		t.Errorf("refreshed %+v to %+v", first, second)
	}
	id := w.good(second.AccessToken)
	if id.Session != first.Session || !id.Expires.Equal(w.now.Add(15*time.Minute)) {
		t.Errorf("the new token is %+v", id)
	}
	// A session lasts as long as it is used.
	for range 5 {
		w.advance(23 * time.Hour)
		second = w.refresh(second.RefreshToken)
	}
	w.restart()
	second = w.refresh(second.RefreshToken)
	w.advance(24 * time.Hour)
	_, err := w.Refresh(t.Context(), second.RefreshToken, here)
	w.want(err, proto.ErrTokenExpired)
	if sessions, _, err := w.Sessions(t.Context(), "ada", "", 10); err != nil || len(sessions) > 0 {
		t.Errorf("an expired session is listed: %+v, %v", sessions, err)
	}
}

func TestRefreshRefuses(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	tokens := w.login("ada")
	raw, err := base64.RawURLEncoding.DecodeString(tokens.RefreshToken)
	if err != nil || len(raw) != 64 {
		t.Fatalf("a refresh token of %d bytes: %v", len(raw), err)
	}
	damaged := func(at int) string {
		b := slices.Clone(raw)
		b[at] ^= 1
		return base64.RawURLEncoding.EncodeToString(b)
	}
	for _, bad := range []string{
		"", "x", tokens.AccessToken, tokens.RefreshToken + "A", tokens.RefreshToken[1:], tokens.RefreshToken[:85] + "\n",
		strings.Repeat("A", 86), damaged(0), damaged(16), strings.Repeat("x", 1<<20),
	} {
		w.want(second(w.Refresh(t.Context(), bad, here)), proto.ErrInvalidToken)
	}
	// Who knows the session's id and nothing else ends nothing.
	w.good(tokens.AccessToken)
	w.refresh(tokens.RefreshToken)
}

// TestReuse: the second use of a refresh token ends its session, the access
// tokens of the thief and of the owner, and no other session.
func TestReuse(t *testing.T) {
	for _, restart := range []bool{false, true} {
		w := newWorld(t)
		w.register("ada")
		other := w.login("ada")
		first := w.login("ada")
		stolen := w.refresh(first.RefreshToken)
		again := w.refresh(stolen.RefreshToken)
		w.revoked.take()
		w.want(second(w.Refresh(t.Context(), first.RefreshToken, here)), proto.ErrRevoked)
		if got, want := w.revoked.take(), []auth.Revocation{{UserID: "ada", Session: first.Session}}; !slices.Equal(got, want) {
			t.Errorf("OnRevoke got %+v, want %+v", got, want)
		}
		if restart {
			w.restart()
		}
		for _, tokens := range []*auth.Tokens{first, stolen, again} {
			w.isRevoked(tokens.AccessToken)
			w.want(second(w.Refresh(t.Context(), tokens.RefreshToken, here)), proto.ErrInvalidToken)
		}
		w.good(other.AccessToken)
		w.refresh(other.RefreshToken)
	}
}

// TestConcurrentReuse: of 50 that use one refresh token at once exactly one
// wins, and the session is revoked.
func TestConcurrentReuse(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	first := w.login("ada")
	results := make([]*auth.Tokens, 50)
	errs := make([]*proto.Error, len(results))
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range results {
		all.Go(func() {
			<-start
			results[i], errs[i] = w.Refresh(context.Background(), first.RefreshToken, here)
		})
	}
	close(start)
	all.Wait()
	var winner *auth.Tokens
	for i, err := range errs {
		switch {
		case err == nil && winner != nil:
			t.Fatal("two won")
		case err == nil:
			winner = results[i]
		case err.Code != proto.ErrRevoked && err.Code != proto.ErrInvalidToken:
			t.Errorf("attempt %d: %v", i, err)
		}
	}
	if winner == nil {
		t.Fatal("nobody won")
	}
	w.isRevoked(winner.AccessToken)
	w.want(second(w.Refresh(t.Context(), winner.RefreshToken, here)), proto.ErrInvalidToken)
	if n := w.metric(`throng_accounts_refreshes_total{result="reused"}`); n != "1" {
		t.Errorf("the reuse was counted %s times", n)
	}
}

func TestLogout(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	byID, byToken, byUser, left := w.login("ada"), w.login("ada"), w.login("ada"), w.login("ada")
	w.revoked.take()
	w.ok(w.Logout(t.Context(), byID.Session))
	w.ok(w.LogoutToken(t.Context(), byToken.RefreshToken))
	w.ok(w.RevokeSession(t.Context(), "ada", byUser.Session))
	if got := w.revoked.take(); len(got) != 3 || got[0] != (auth.Revocation{UserID: "ada", Session: byID.Session}) {
		t.Errorf("OnRevoke got %+v", got)
	}
	for range 2 {
		for _, tokens := range []*auth.Tokens{byID, byToken, byUser} {
			w.isRevoked(tokens.AccessToken)
			w.want(second(w.Refresh(t.Context(), tokens.RefreshToken, here)), proto.ErrInvalidToken)
		}
		w.good(left.AccessToken)
		w.restart()
	}
	w.ok(w.Logout(t.Context(), byID.Session)) // again
	w.ok(w.Logout(t.Context(), ""))
	w.want(w.LogoutToken(t.Context(), byToken.RefreshToken), proto.ErrInvalidToken)
	w.want(w.RevokeSession(t.Context(), "ada", byUser.Session), proto.ErrNotFound)
	w.want(w.RevokeSession(t.Context(), "bob", left.Session), proto.ErrNotFound)
	w.good(left.AccessToken)

	// When the access tokens have ended, nothing is left to revoke.
	if n := w.metric("throng_accounts_revocations"); n != "3" {
		t.Errorf("%s revocations are kept", n)
	}
	w.advance(16 * time.Minute)
	w.restart() // closing tidies
	if n := w.metric("throng_accounts_revocations"); n != "0" {
		t.Errorf("%s revocations are kept after the tokens' end", n)
	}
	if _, stored, err := w.store.Load(); err != nil || len(stored) > 0 {
		t.Errorf("stored %+v, %v", stored, err)
	}
}

// TestSessionsAreBounded: a login too many ends the session that was used least
// recently, and expired ones go first.
func TestSessionsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	var all []*auth.Tokens
	for range auth.MaxSessions {
		all = append(all, w.login("ada"))
		w.advance(time.Second)
	}
	all[0] = w.refresh(all[0].RefreshToken) // now all[1] is the oldest
	w.advance(time.Second)
	w.login("ada")
	w.good(all[0].AccessToken)
	w.isRevoked(all[1].AccessToken)
	w.good(all[2].AccessToken)
	sessions, _, err := w.Sessions(t.Context(), "ada", "", 1000)
	w.ok(err)
	if len(sessions) != auth.MaxSessions {
		t.Errorf("%d sessions", len(sessions))
	}
	w.advance(25 * time.Hour)
	w.login("ada")
	if stored, err := w.store.Sessions("ada", "", 1000); err != nil || len(stored) != 1 {
		t.Errorf("%d sessions are stored, %v", len(stored), err)
	}
}

// TestFamilies drives sessions of two users at random beside a plain model of
// them: a list of tokens, each with the state that it should be in.
func TestFamilies(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	w.register("bob")
	rapid.Check(t, func(r *rapid.T) {
		m := &families{w: w, t: r}
		defer m.end()
		r.Repeat(map[string]func(*rapid.T){
			"login":   m.login,
			"refresh": m.refresh,
			"logout":  m.logout,
			"revoke":  m.revoke,
			"restart": func(*rapid.T) { w.restart() },
			"":        m.check,
		})
	})
}

// families is the model: every refresh token that was given out.
type families struct {
	w      *world
	t      *rapid.T
	tokens []*auth.Tokens
	newest map[string]string // refresh token by session; no entry for ended ones
}

func (m *families) login(r *rapid.T) {
	user := rapid.SampledFrom([]string{"ada", "bob"}).Draw(r, "user")
	if len(m.tokens) > 60 {
		return
	}
	tokens := m.w.login(user)
	m.tokens = append(m.tokens, tokens)
	if m.newest == nil {
		m.newest = make(map[string]string)
	}
	m.newest[tokens.Session] = tokens.RefreshToken
}

func (m *families) pick(r *rapid.T) *auth.Tokens {
	if len(m.tokens) == 0 {
		r.Skip("no tokens")
	}
	return m.tokens[rapid.IntRange(0, len(m.tokens)-1).Draw(r, "token")]
}

func (m *families) refresh(r *rapid.T) {
	used := m.pick(r)
	got, err := m.w.Refresh(context.Background(), used.RefreshToken, here)
	newest, alive := m.newest[used.Session]
	switch {
	case !alive:
		if err == nil || err.Code != proto.ErrInvalidToken {
			r.Fatalf("a token of an ended session: %v", err)
		}
	case newest != used.RefreshToken:
		if err == nil || err.Code != proto.ErrRevoked {
			r.Fatalf("a used token: %v", err)
		}
		delete(m.newest, used.Session)
	default:
		if err != nil {
			r.Fatalf("the newest token: %v", err)
		}
		m.tokens = append(m.tokens, got)
		m.newest[got.Session] = got.RefreshToken
	}
}

func (m *families) logout(r *rapid.T) {
	session := m.pick(r).Session
	if err := m.w.Logout(context.Background(), session); err != nil {
		r.Fatal(err)
	}
	delete(m.newest, session)
}

func (m *families) revoke(r *rapid.T) {
	user := m.pick(r).UserID
	if err := m.w.RevokeUser(context.Background(), user); err != nil {
		r.Fatal(err)
	}
	for _, tokens := range m.tokens {
		if tokens.UserID == user {
			delete(m.newest, tokens.Session)
		}
	}
}

// check holds all access tokens and lists to the model.
func (m *families) check(r *rapid.T) {
	for _, tokens := range m.tokens {
		_, alive := m.newest[tokens.Session]
		if _, err := m.w.verify(tokens.AccessToken); (err == nil) != alive {
			r.Fatalf("access token of %s: %v, alive is %v", tokens.Session, err, alive)
		}
	}
	listed := 0
	for _, user := range []string{"ada", "bob"} {
		sessions, _, err := m.w.Sessions(context.Background(), user, "", 1000)
		if err != nil {
			r.Fatal(err)
		}
		for _, s := range sessions {
			if _, alive := m.newest[s.ID]; !alive {
				r.Fatalf("session %s is listed", s.ID)
			}
			listed++
		}
	}
	if listed != len(m.newest) {
		r.Fatalf("%d sessions are listed, %d are alive", listed, len(m.newest))
	}
}

// end logs everybody out, for the next run.
func (m *families) end() {
	for _, user := range []string{"ada", "bob"} {
		if err := m.w.RevokeUser(context.Background(), user); err != nil {
			m.t.Error(err)
		}
	}
}
