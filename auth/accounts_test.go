package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/auth/authtest"
	"github.com/thronghq/throng/proto"
)

const password = "correct horse"

// here is the address that tests ask from.
var here = auth.Client{Address: netip.MustParseAddr("192.0.2.1"), UserAgent: "test/1"}

// world is accounts in a test, with what they are made of.
type world struct {
	*auth.Accounts
	t       *testing.T
	store   auth.Store
	opts    auth.AccountsOptions
	keys    *auth.KeySet
	set     *metrics.Set
	revoked *seen

	mu  sync.Mutex
	now time.Time
}

// seen remembers what OnRevoke was told.
type seen struct {
	mu   sync.Mutex
	list []auth.Revocation
}

func (s *seen) add(r auth.Revocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, r)
}

// take returns what was told since the last time.
func (s *seen) take() []auth.Revocation {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.list
	s.list = nil
	return list
}

// newWorld opens accounts over an empty store in memory, with cheap hashes and
// no throttle unless change says otherwise.
func newWorld(t *testing.T, change ...func(*auth.AccountsOptions)) *world {
	t.Helper()
	w := &world{t: t, store: authtest.NewMemory(), keys: auth.NewKeySet([]byte("0123456789abcdef0123456789abcdef")), revoked: new(seen)}
	w.now = time.Date(2026, 1, 2, 3, 4, 5, 123e6, time.UTC)
	w.opts = auth.AccountsOptions{
		Store: w.store, Keys: w.keys, AccessTTL: 15 * time.Minute, RefreshTTL: 24 * time.Hour, Leeway: 5 * time.Second,
		Registration: true, Argon2: auth.Argon2{MemoryKiB: 8, Time: 1},
		Now: w.clock, OnRevoke: w.revoked.add,
	}
	for _, c := range change {
		c(&w.opts)
	}
	w.open()
	t.Cleanup(func() { w.Close() })
	return w
}

func (w *world) open() {
	w.t.Helper()
	w.set = metrics.NewSet()
	w.opts.Metrics = w.set
	var err error
	if w.Accounts, err = auth.NewAccounts(w.opts); err != nil {
		w.t.Fatal(err)
	}
}

// restart closes the accounts and opens them again over the same store.
func (w *world) restart() {
	w.t.Helper()
	if err := w.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// ok fails the test where there is an error.
func (w *world) ok(err *proto.Error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// want fails the test where the error is not that of the registry's entry.
func (w *world) want(err *proto.Error, code *proto.Code) {
	w.t.Helper()
	if err == nil || err.Code != code {
		w.t.Fatalf("got %v, want %s", err, code.Name)
	}
}

func (w *world) register(name string) {
	w.t.Helper()
	_, err := w.Register(w.t.Context(), name, password, here)
	w.ok(err)
}

func (w *world) login(name string) *auth.Tokens {
	w.t.Helper()
	tokens, err := w.Login(w.t.Context(), name, password, here)
	w.ok(err)
	return tokens
}

func (w *world) refresh(token string) *auth.Tokens {
	w.t.Helper()
	tokens, err := w.Refresh(w.t.Context(), token, here)
	w.ok(err)
	return tokens
}

// verify returns what a verifier of this server says of an access token or key.
func (w *world) verify(token string) (*auth.Identity, *proto.Error) {
	return auth.NewVerifier(auth.VerifierOptions{
		Keys: w.keys, Issuer: w.opts.Issuer, Audience: w.opts.Audience, Leeway: w.opts.Leeway,
		APIKeys: w.VerifyKey, Revoked: w.Revoked, Now: w.clock,
	}).Verify([]byte(token))
}

// good and revokedNow hold an access token or key to its state.
func (w *world) good(token string) *auth.Identity {
	w.t.Helper()
	id, err := w.verify(token)
	w.ok(err)
	return id
}

func (w *world) isRevoked(token string) {
	w.t.Helper()
	_, err := w.verify(token)
	w.want(err, proto.ErrRevoked)
}

// metric returns the value of a metric as text, "" where there is none.
func (w *world) metric(name string) string {
	var b strings.Builder
	w.set.WritePrometheus(&b)
	for line := range strings.Lines(b.String()) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			return value
		}
	}
	return ""
}

func TestRegisterAndLogin(t *testing.T) {
	w := newWorld(t, func(o *auth.AccountsOptions) { o.Issuer, o.Audience = "throng", []string{"chat"} })
	user, err := w.Register(t.Context(), "Ada", password, here)
	w.ok(err)
	if user.Name != "ada" || user.Admin || user.Disabled || user.CreatedAt != w.now.UnixMilli() {
		t.Errorf("registered %+v", user)
	}
	_, err = w.Register(t.Context(), "ADA", "another password", here)
	w.want(err, proto.ErrUserExists)

	w.advance(time.Second)
	tokens, err := w.Login(t.Context(), "aDa", password, here)
	w.ok(err)
	id := w.good(tokens.AccessToken)
	if id.UserID != "ada" || tokens.UserID != "ada" || id.Session == "" || id.Session != tokens.Session || id.Admin ||
		!id.Expires.Equal(w.now.Add(15*time.Minute)) || tokens.ExpiresIn != 15*time.Minute || id.Issuer != "throng" {
		t.Errorf("logged in as %+v with %+v", id, tokens)
	}
	sessions, next, err := w.Sessions(t.Context(), "ada", "", 10)
	w.ok(err)
	want := auth.LoginSession{
		ID: tokens.Session, UserID: "ada", Address: "192.0.2.1", UserAgent: "test/1",
		CreatedAt: w.now.UnixMilli(), LastUsedAt: w.now.UnixMilli(), ExpiresAt: w.now.Add(24 * time.Hour).UnixMilli(),
	}
	if len(sessions) != 1 || sessions[0] != want || next != "" {
		t.Errorf("sessions %+v, %q; want %+v", sessions, next, want)
	}
	if user, err := w.User(t.Context(), "Ada"); err != nil || user.LastLoginAt != w.now.UnixMilli() {
		t.Errorf("user %+v, %v", user, err)
	}
}

func TestRegistrationClosed(t *testing.T) {
	w := newWorld(t, func(o *auth.AccountsOptions) { o.Registration = false })
	_, err := w.Register(t.Context(), "ada", password, here)
	w.want(err, proto.ErrRegistrationClosed)
	_, err = w.CreateUser(t.Context(), "ada", password, true)
	w.ok(err)
	if !w.good(w.login("ada").AccessToken).Admin {
		t.Error("the administrator's token is not one")
	}
}

func TestNames(t *testing.T) {
	w := newWorld(t)
	for name, want := range map[string]string{
		"ada": "ada", "ÅNGSTRÖM": "ångström", "A\u030Angstrom": "ångstrom", "Ⅷ": "", "ａｄａ２": "ada2",
		"": "", "a b": "", "a:b": "", "a\x00": "", "a\n": "", "\xff": "", strings.Repeat("x", 65): "",
		strings.Repeat("y", 64): strings.Repeat("y", 64), "שלום": "שלום", "שa": "", "a/b@c.d": "a/b@c.d",
		".": "", "..": "", "．．": "", "...": "...", "*": "", "a*": "", "ａ＊": "",
	} {
		user, err := w.CreateUser(t.Context(), name, password, false)
		switch {
		case want == "" && (err == nil || err.Code != proto.ErrInvalidField):
			t.Errorf("%q: %v, %v", name, user, err)
		case want != "" && (err != nil || user.Name != want):
			t.Errorf("%q: %v, %v; want %q", name, user, err, want)
		}
	}
}

func TestPasswords(t *testing.T) {
	w := newWorld(t)
	for i, bad := range []string{"", "short12", "with\x00zero", "line\nfeed00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff", strings.Repeat("x", 1025)} {
		_, err := w.CreateUser(t.Context(), fmt.Sprint("bad", i), bad, false)
		w.want(err, proto.ErrInvalidField)
		if bad != "" && strings.Contains(err.Text(), bad) {
			t.Errorf("the error quotes the password: %v", err)
		}
	}
	for i, pair := range [][2]string{
		{"12345678", "12345678"},
		{strings.Repeat("x", 1024), strings.Repeat("x", 1024)},
		{"e\u0301cole pri\u0301ve\u0301e", "\u00e9cole pr\u00edv\u00e9e"}, // composed or not
		{"two\u00a0\u3000words", "two  words"},                            // spaces of other kinds
	} {
		name := fmt.Sprint("good", i)
		_, err := w.CreateUser(t.Context(), name, pair[0], false)
		w.ok(err)
		_, err = w.Login(t.Context(), name, pair[1], here)
		w.ok(err)
	}
	w.register("ada")
	for _, wrong := range []string{"", "x", "Correct horse", strings.ToUpper(password), password + " ", strings.Repeat("x", 5000), "\xff\xff\xff\xff\xff\xff\xff\xff"} {
		_, err := w.Login(t.Context(), "ada", wrong, here)
		w.want(err, proto.ErrInvalidLogin)
	}
}

// TestLoginTellsNothing: whatever is wrong with a login, one password is
// hashed, at the same cost, and the answer is the same.
func TestLoginTellsNothing(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	w.register("eve")
	w.ok(w.SetDisabled(t.Context(), "eve", true))
	for _, try := range []struct{ name, password string }{
		{"ada", "wrong password"},
		{"ada", "short"},
		{"ada", strings.Repeat("x", 2000)},
		{"nobody", password},
		{"no body", password},
		{"", ""},
		{strings.Repeat("x", 10000), password},
		{"eve", "wrong password"},
	} {
		before := w.metric("throng_accounts_hash_seconds_count")
		_, err := w.Login(t.Context(), try.name, try.password, here)
		w.want(err, proto.ErrInvalidLogin)
		if err.Text() != proto.ErrInvalidLogin.Reason {
			t.Errorf("%.20q: %q", try.name, err.Text())
		}
		if hashed := number(t, w.metric("throng_accounts_hash_seconds_count")) - number(t, before); hashed != 1 {
			t.Errorf("%.20q, %.20q: %d hashes", try.name, try.password, hashed)
		}
	}
	_, err := w.Login(t.Context(), "eve", password, here)
	w.want(err, proto.ErrAccountDisabled)
}

func number(t *testing.T, text string) (n int) {
	t.Helper()
	if text != "" {
		if _, err := fmt.Sscan(text, &n); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func TestRehash(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	old, _ := w.store.User("ada")
	w.opts.Argon2 = auth.Argon2{MemoryKiB: 16, Time: 2}
	w.restart()
	w.want(second(w.Login(t.Context(), "ada", "wrong password", here)), proto.ErrInvalidLogin)
	if now, _ := w.store.User("ada"); now.Password != old.Password {
		t.Error("a failed login changed the hash")
	}
	w.login("ada")
	now, _ := w.store.User("ada")
	if !strings.HasPrefix(now.Password, "$argon2id$v=19$m=16,t=2,p=1$") {
		t.Errorf("after a login with other parameters the hash is %s", now.Password)
	}
	w.login("ada")
	if again, _ := w.store.User("ada"); again.Password != now.Password {
		t.Error("a hash of today's parameters was made anew")
	}
	if now.PasswordChangedAt != old.PasswordChangedAt {
		t.Error("a new hash of the same password counts as a change")
	}
}

// hooked is a deriver that is told of every key first.
type hooked struct{ before func(*auth.KeyRequest) }

func (d hooked) Derive(r *auth.KeyRequest) ([]byte, error) { d.before(r); return r.Key(), nil }
func (hooked) Rest()                                       {}

// TestRehashBesideLogin: who logs in while another login makes the hash anew has
// the right password all the same.
func TestRehashBesideLogin(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	var seen atomic.Bool
	w.opts.Argon2 = auth.Argon2{MemoryKiB: 16, Time: 2}
	w.opts.Hashes = 2
	w.opts.NewDeriver = func() auth.Deriver {
		return hooked{func(r *auth.KeyRequest) {
			if r.Argon2 == w.opts.Argon2 && !seen.Swap(true) { // the new hash: the old one was checked
				if _, err := w.Login(context.Background(), "ada", password, here); err != nil {
					t.Error("the login in between:", err)
				}
			}
		}}
	}
	w.restart()
	w.login("ada")
}

func second[T any](_ T, err *proto.Error) *proto.Error { return err }

func TestChangePassword(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	mine, other := w.login("ada"), w.login("ada")
	w.want(w.ChangePassword(t.Context(), "ada", mine.Session, "wrong password", "new password", here), proto.ErrInvalidLogin)
	w.want(w.ChangePassword(t.Context(), "ada", mine.Session, password, "short", here), proto.ErrInvalidField)
	w.revoked.take()
	w.ok(w.ChangePassword(t.Context(), "ada", mine.Session, password, "new password", here))
	w.good(mine.AccessToken)
	w.refresh(mine.RefreshToken)
	w.isRevoked(other.AccessToken)
	w.want(second(w.Refresh(t.Context(), other.RefreshToken, here)), proto.ErrInvalidToken)
	if got, want := w.revoked.take(), []auth.Revocation{{UserID: "ada", Session: other.Session}}; !slices.Equal(got, want) {
		t.Errorf("OnRevoke got %+v, want %+v", got, want)
	}
	w.want(second(w.Login(t.Context(), "ada", password, here)), proto.ErrInvalidLogin)
	w.ok(second(w.Login(t.Context(), "ada", "new password", here)))

	w.ok(w.SetPassword(t.Context(), "Ada", password))
	if sessions, _, _ := w.Sessions(t.Context(), "ada", "", 10); len(sessions) != 0 {
		t.Errorf("sessions after an administrator's change: %+v", sessions)
	}
	w.login("ada")
	w.want(w.SetPassword(t.Context(), "nobody", password), proto.ErrNotFound)
}

func TestStoreFails(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	tokens := w.login("ada")
	memory := w.store.(*authtest.Memory)
	for fault, code := range map[error]*proto.Code{
		errors.New("broken"):       proto.ErrStorage,
		proto.ErrStorageFull.New(): proto.ErrStorageFull,
		proto.ErrShuttingDown:      proto.ErrShuttingDown,
	} {
		memory.Fail(fault)
		ctx := t.Context()
		for what, err := range map[string]*proto.Error{
			"login":    second(w.Login(ctx, "ada", password, here)),
			"register": second(w.Register(ctx, "bob", password, here)),
			"refresh":  second(w.Refresh(ctx, tokens.RefreshToken, here)),
			"logout":   w.Logout(ctx, tokens.Session),
			"user":     second(w.User(ctx, "ada")),
			"disable":  w.SetDisabled(ctx, "ada", true),
			"revoke":   w.RevokeUser(ctx, "ada"),
			"token":    w.RevokeToken(ctx, "x", time.Time{}),
		} {
			if err == nil || err.Code != code {
				t.Errorf("%s: %v, want %s", what, err, code.Name)
			}
		}
		memory.Fail(nil)
	}
	w.good(tokens.AccessToken)
	w.refresh(tokens.RefreshToken) // a refresh that failed did not use the token up
}

func TestUsersAreListed(t *testing.T) {
	w := newWorld(t)
	for i := range 7 {
		w.register(fmt.Sprintf("user%d", i))
	}
	w.register("other")
	var got []string
	cursor := ""
	for {
		users, next, err := w.Users(t.Context(), "user", cursor, 3)
		w.ok(err)
		for _, u := range users {
			got = append(got, u.Name)
		}
		if cursor = next; next == "" {
			break
		}
	}
	if want := []string{"user0", "user1", "user2", "user3", "user4", "user5", "user6"}; !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	if users, next, err := w.Users(t.Context(), "user", "user3", 3); err != nil || len(users) != 3 || next != "" {
		t.Errorf("the last page, full: %+v, %q, %v", users, next, err)
	}
	for _, limit := range []int{0, -1, 1001} {
		_, _, err := w.Users(t.Context(), "", "", limit)
		w.want(err, proto.ErrInvalidField)
	}
}

func TestSessionsAreListed(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	want := map[string]bool{}
	w.login("ada") // expires
	w.advance(24 * time.Hour)
	for range 4 {
		want[w.login("ada").Session] = true
	}
	pages := 0
	for cursor := ""; ; pages++ {
		sessions, next, err := w.Sessions(t.Context(), "ada", cursor, 2)
		w.ok(err)
		for _, s := range sessions {
			if !want[s.ID] {
				t.Errorf("listed %s, perhaps again", s.ID)
			}
			delete(want, s.ID)
		}
		if cursor = next; next == "" {
			break
		}
	}
	if len(want) > 0 || pages != 1 {
		t.Errorf("not listed: %v; %d further pages", want, pages)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := auth.NewAccounts(auth.AccountsOptions{RefreshTTL: -1, Leeway: -1, Argon2: auth.Argon2{MemoryKiB: 1}, Hashes: -1, QueuedHashes: -1})
	for _, field := range []string{"Store", "Keys", "AccessTTL", "RefreshTTL", "Leeway", "Argon2", "Hashes", "QueuedHashes"} {
		if err == nil || !strings.Contains(err.Error(), field+":") {
			t.Errorf("%s is not reported: %v", field, err)
		}
	}
}

// TestConcurrentRegistration: of many who want one name, one gets it.
func TestConcurrentRegistration(t *testing.T) {
	w := newWorld(t, func(o *auth.AccountsOptions) { o.QueuedHashes = 64 })
	var won, lost sync.Map
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			_, err := w.Register(context.Background(), "ada", fmt.Sprint("password ", i), here)
			if err == nil {
				won.Store(i, true)
			} else if err.Code == proto.ErrUserExists {
				lost.Store(i, true)
			}
		})
	}
	all.Wait()
	count := func(m *sync.Map) (n int) { m.Range(func(any, any) bool { n++; return true }); return n }
	if count(&won) != 1 || count(&lost) != 19 {
		t.Fatalf("%d won, %d lost", count(&won), count(&lost))
	}
	won.Range(func(i, _ any) bool {
		w.ok(second(w.Login(t.Context(), "ada", fmt.Sprint("password ", i), here)))
		return true
	})
}
