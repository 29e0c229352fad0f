package storage

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/auth/authtest"
	"github.com/thronghq/throng/proto"
)

// TestAccountsConform holds the store to what auth.Store promises.
func TestAccountsConform(t *testing.T) {
	authtest.TestStore(t, func(t *testing.T) (auth.Store, func() auth.Store) {
		o := testOptions(vfs.NewMem(), newClock())
		s := mustOpen(t, o)
		t.Cleanup(func() { mustClose(t, s) })
		return s, func() auth.Store {
			mustClose(t, s)
			s = mustOpen(t, o)
			return s
		}
	})
}

// TestAccountsSurviveCrash stops the machine while accounts are written from
// several goroutines: what Apply returned from is there, and of what it did not
// return from, each change is there wholly or not at all.
func TestAccountsSurviveCrash(t *testing.T) {
	for _, percent := range []int{0, 50, 100} {
		for seed := range uint64(4) {
			t.Run(fmt.Sprintf("%d%%/%d", percent, seed), func(t *testing.T) { testAccountsCrash(t, percent, seed) })
		}
	}
}

func testAccountsCrash(t *testing.T, percent int, seed uint64) {
	const writers = 4
	fs := vfs.NewCrashableMem()
	o := testOptions(fs, newClock())
	s := mustOpen(t, o)
	m := join(t, s, "lobby") // unsynced messages share the log
	var done [writers]atomic.Int64
	var stop atomic.Bool
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := 0; !stop.Load(); n++ {
				if err := s.Apply(accountChange(w, n)); err != nil {
					t.Error(err)
					return
				}
				done[w].Store(int64(n) + 1)
			}
		})
	}
	m.send(numbered(1, 200)...)
	rng := rand.New(rand.NewPCG(seed, uint64(percent)))
	for target := int64(5 + rng.IntN(30)); done[0].Load() < target; {
		m.send("x")
	}
	var safe [writers]int64
	for w := range writers {
		safe[w] = done[w].Load()
	}
	crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	stop.Store(true)
	writing.Wait()
	mustClose(t, s)

	o.FS = crashed
	s = mustOpen(t, o)
	for w := range writers {
		checkAccounts(t, s, w, int(safe[w]))
	}
	mustClose(t, s)
}

// accountChange is the nth change of a writer: it adds user and session n, and
// drops those of n-10.
func accountChange(w, n int) *auth.Changes {
	name := func(n int) string { return fmt.Sprintf("writer%d.user%06d", w, n) }
	c := &auth.Changes{
		Users:    []auth.UserRecord{authtest.User(name(n))},
		Sessions: []auth.SessionRecord{authtest.Session(name(n), fmt.Sprintf("%d-%d", w, n))},
		Revocations: []auth.RevocationRecord{
			{Revocation: auth.Revocation{TokenID: fmt.Sprintf("%d-%d", w, n)}},
		},
	}
	if n >= 10 {
		c.DropUsers = []string{name(n - 10)}
		c.DropSessions = []auth.SessionRecord{authtest.Session(name(n-10), fmt.Sprintf("%d-%d", w, n-10))}
	}
	return c
}

// checkAccounts checks one writer's accounts: at least the first safe changes
// were made, and nothing of a later one without all of it.
func checkAccounts(t *testing.T, s *Store, w, safe int) {
	t.Helper()
	users, err := s.Users(fmt.Sprintf("writer%d.", w), "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	if len(users) == 0 && safe == 0 {
		return // it had not begun
	}
	if len(users) == 0 {
		t.Fatalf("writer %d: nothing survived, %d changes were promised", w, safe)
	}
	last := -1
	if _, err := fmt.Sscanf(users[len(users)-1].Name, fmt.Sprintf("writer%d.user%%06d", w), &last); err != nil {
		t.Fatal(err)
	}
	if last+1 < safe {
		t.Fatalf("writer %d: %d changes survived, %d were promised", w, last+1, safe)
	}
	if want := min(last+1, 10); len(users) != want {
		t.Errorf("writer %d: %d users after change %d, want %d", w, len(users), last, want)
	}
	for _, u := range users {
		sessions, err := s.Sessions(u.Name, "", 10)
		if err != nil || len(sessions) != 1 {
			t.Fatalf("writer %d: sessions of %s: %v, %v", w, u.Name, sessions, err)
		}
		if got, err := s.Session(sessions[0].ID); err != nil || got == nil || *got != sessions[0] {
			t.Errorf("writer %d: session %s: %v, %v", w, sessions[0].ID, got, err)
		}
	}
	_, revocations, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	mine := 0
	for _, r := range revocations {
		if strings.HasPrefix(r.TokenID, fmt.Sprintf("%d-", w)) {
			mine++
		}
	}
	if mine != last+1 {
		t.Errorf("writer %d: %d revocations after %d changes", w, mine, last+1)
	}
}

// TestAccountsFailWithLog breaks the log: the change is not acknowledged, the
// store fails once, and what was there is still read.
func TestAccountsFailWithLog(t *testing.T) {
	var broken atomic.Bool
	o := testOptions(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && strings.HasSuffix(op.Path, ".log") && op.Kind == errorfs.OpFileSyncData {
			return errorfs.ErrInjected
		}
		return nil
	})), newClock())
	fatal := make(chan error, 16)
	o.Fatal = func(err error) { fatal <- err }
	s := mustOpen(t, o)
	if err := s.Apply(&auth.Changes{Users: []auth.UserRecord{authtest.User("ada")}}); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	if err := s.Apply(&auth.Changes{Users: []auth.UserRecord{authtest.User("bob")}}); err == nil {
		t.Fatal("a change was acknowledged that the disk refused")
	}
	<-fatal
	err := s.Apply(&auth.Changes{DropUsers: []string{"ada"}})
	if known, ok := errors.AsType[*proto.Error](err); !ok || known.Code != proto.ErrStorage {
		t.Errorf("a change after the failure: %v", err)
	}
	if u, err := s.User("ada"); u == nil || err != nil {
		t.Errorf("a read after the failure: %v, %v", u, err)
	}
	if len(fatal) > 0 {
		t.Error("Fatal was called twice")
	}
	if s.Close() == nil {
		t.Error("a store that has failed closes cleanly")
	}
}

// TestAccountsAfterClose asks a closed store.
func TestAccountsAfterClose(t *testing.T) {
	s := mustOpen(t, testOptions(vfs.NewMem(), newClock()))
	mustClose(t, s)
	if err := s.Apply(&auth.Changes{Users: []auth.UserRecord{authtest.User("ada")}}); !errors.Is(err, proto.ErrShuttingDown) {
		t.Errorf("a change: %v", err)
	}
	if _, err := s.User("ada"); !errors.Is(err, proto.ErrShuttingDown) {
		t.Errorf("a read: %v", err)
	}
	if _, err := s.Users("", "", 1); !errors.Is(err, proto.ErrShuttingDown) {
		t.Errorf("a list: %v", err)
	}
}

// TestAccountsOnFullDisk: nobody registers or logs in any more, but access can
// still be ended.
func TestAccountsOnFullDisk(t *testing.T) {
	s := mustOpen(t, testOptions(vfs.NewMem(), newClock()))
	session := authtest.Session("ada", "1")
	if err := s.Apply(&auth.Changes{Sessions: []auth.SessionRecord{session}}); err != nil {
		t.Fatal(err)
	}
	s.space.full.Store(true)
	err := s.Apply(&auth.Changes{Users: []auth.UserRecord{authtest.User("ada")}})
	if known, ok := errors.AsType[*proto.Error](err); !ok || known.Code != proto.ErrStorageFull {
		t.Errorf("a new user on a full disk: %v", err)
	}
	err = s.Apply(&auth.Changes{
		DropSessions: []auth.SessionRecord{session},
		Revocations:  []auth.RevocationRecord{{Revocation: auth.Revocation{Session: "1"}}},
	})
	if err != nil {
		t.Errorf("a logout on a full disk: %v", err)
	}
	err = s.Apply(&auth.Changes{
		Users:       []auth.UserRecord{authtest.User("ada")},
		Revocations: []auth.RevocationRecord{{Revocation: auth.Revocation{UserID: "ada"}}},
	})
	if err != nil {
		t.Errorf("disabling on a full disk: %v", err)
	}
	s.space.full.Store(false)
	mustClose(t, s)
}

// TestSweepLogins removes sessions an hour after their end, and no others.
func TestSweepLogins(t *testing.T) {
	clock := newClock()
	s := mustOpen(t, testOptions(vfs.NewMem(), clock))
	var c auth.Changes
	for id, ends := range map[string]time.Duration{"long": time.Hour, "soon": time.Second, "now": 0} {
		l := authtest.Session("ada", id)
		l.ExpiresAt = clock.Now().Add(ends).UnixMilli()
		c.Sessions = append(c.Sessions, l)
	}
	if err := s.Apply(&c); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after   time.Duration
		removed int
	}{{0, 0}, {time.Hour, 1}, {time.Second, 1}, {0, 0}, {time.Hour - time.Second, 1}} {
		clock.advance(step.after)
		if removed, err := s.sweepLogins(); removed != step.removed || err != nil {
			t.Errorf("%v later: %d removed, %v; want %d", step.after, removed, err, step.removed)
		}
	}
	if got, err := s.Session("long"); got != nil || err != nil {
		t.Errorf("the last one: %v, %v", got, err)
	}
	mustClose(t, s)
}

// The accounts' vectors of docs/storage-format.md.
func accountVectors() []struct {
	name string
	b    []byte
} {
	user, login, key := authtest.User("ada"), authtest.Session("ada", "5f"), authtest.Key("0a1b")
	user.Disabled = false
	revoked := auth.RevocationRecord{Revocation: auth.Revocation{UserID: "ada", Before: time.UnixMilli(1767323045123)}}
	ended := auth.RevocationRecord{Revocation: auth.Revocation{UserID: "ada", Session: "5f"}, Expires: 1767323950124}
	return []struct {
		name string
		b    []byte
	}{
		{"user key of ada", appendUserKey(nil, "ada")},
		{"user record, an administrator", appendUser(nil, &user)},
		{"session key of ada's 5f", appendLoginKey(nil, "ada", "5f")},
		{"session record", appendLogin(nil, &login)},
		{"session's user, key of 5f", appendLoginIDKey(nil, "5f")},
		{"session's user, record", appendLoginID(nil, "ada")},
		{"API key's key of 0a1b", appendAPIKeyKey(nil, "0a1b")},
		{"API key record", appendAPIKey(nil, &key)},
		{"revocation key of ada", appendRevocationKey(nil, revoked.Revocation)},
		{"revocation record of ada", appendRevocation(nil, &revoked)},
		{"revocation key of session 5f", appendRevocationKey(nil, ended.Revocation)},
		{"revocation record of session 5f", appendRevocation(nil, &ended)},
	}
}

func TestAccountVectors(t *testing.T) {
	page, err := os.ReadFile("../docs/storage-format.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range accountVectors() {
		line := "| " + v.name + " | `" + hex.EncodeToString(v.b) + "` |"
		if !strings.Contains(string(page), line) {
			t.Errorf("docs/storage-format.md lacks the line\n%s", line)
		}
	}
}

// FuzzDecodeAccounts gives every decoder what might stand on a damaged disk:
// what one accepts, it would have written.
func FuzzDecodeAccounts(f *testing.F) {
	vectors := accountVectors()
	for i := 0; i < len(vectors); i += 2 {
		f.Add(vectors[i].b, vectors[i+1].b)
	}
	f.Fuzz(func(t *testing.T, key, b []byte) {
		same := func(gotKey, got []byte) {
			if !bytes.Equal(gotKey, key) || !bytes.Equal(got, b) {
				t.Fatalf("%x, %x became %x, %x", key, b, gotKey, got)
			}
		}
		if u, err := decodeUser(key, b); err == nil {
			same(appendUserKey(nil, u.Name), appendUser(nil, &u))
		}
		if l, err := decodeLogin(key, b); err == nil {
			same(appendLoginKey(nil, l.UserID, l.ID), appendLogin(nil, &l))
		}
		if user, err := decodeLoginID(key, b); err == nil {
			same(appendLoginIDKey(nil, string(key[1:])), appendLoginID(nil, user))
		}
		if k, err := decodeAPIKey(key, b); err == nil {
			same(appendAPIKeyKey(nil, k.ID), appendAPIKey(nil, &k))
		}
		if r, err := decodeRevocation(key, b); err == nil {
			same(appendRevocationKey(nil, r.Revocation), appendRevocation(nil, &r))
		}
	})
}
