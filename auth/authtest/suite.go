package authtest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/auth"
)

// TestStore holds a store to what auth.Store promises. Open returns an empty
// one, which reopen closes and opens again.
func TestStore(t *testing.T, open func(t *testing.T) (store auth.Store, reopen func() auth.Store)) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s *tested)
	}{
		{"users", testUsers},
		{"sessions", testSessions},
		{"keys", testKeys},
		{"revocations", testRevocations},
		{"many changes", testChanges},
		{"lists", testLists},
	} {
		t.Run(test.name, func(t *testing.T) {
			store, reopen := open(t)
			test.run(t, &tested{Store: store, t: t, reopen: reopen})
		})
	}
}

// tested is a store in a test.
type tested struct {
	auth.Store
	t      *testing.T
	reopen func() auth.Store
}

func (s *tested) apply(c auth.Changes) {
	s.t.Helper()
	if err := s.Apply(&c); err != nil {
		s.t.Fatal(err)
	}
}

// again opens the store anew.
func (s *tested) again() { s.Store = s.reopen() }

// User returns a user with every field set.
func User(name string) auth.UserRecord {
	return auth.UserRecord{
		User:     auth.User{Name: name, Admin: true, Disabled: true, CreatedAt: 1, PasswordChangedAt: 1767323045123, LastLoginAt: 3},
		Password: "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
	}
}

// Session returns a session with every field set.
func Session(user, id string) auth.SessionRecord {
	return auth.SessionRecord{
		LoginSession: auth.LoginSession{
			ID: id, UserID: user, Address: "2001:db8::1", UserAgent: "curl/8.5.0",
			CreatedAt: 1767323045123, LastUsedAt: 1767323045124, ExpiresAt: 1769915045124,
		},
		Family: [32]byte{1, 31: 2}, Current: [32]byte{3, 31: 4}, AccessEnds: 1767323945124,
	}
}

// Key returns an API key with every field set.
func Key(id string) auth.KeyRecord {
	return auth.KeyRecord{
		APIKey: auth.APIKey{
			ID: id, Name: "the billing service", UserID: "key:" + id, Admin: true,
			Rooms:     []auth.Rule{{Match: "chat:*", Allow: auth.RightsOf(auth.RightPublish, auth.RightManage)}},
			CreatedAt: 1767323045123, LastUsedAt: 1767323045124, ExpiresAt: 1769915045124,
		},
		Secret: [32]byte{5, 31: 6},
	}
}

func testUsers(t *testing.T, s *tested) {
	if u, err := s.User("ada"); u != nil || err != nil {
		t.Fatalf("a user who is not there: %v, %v", u, err)
	}
	plain := auth.UserRecord{User: auth.User{Name: "bob"}, Password: "x"}
	s.apply(auth.Changes{Users: []auth.UserRecord{User("ada"), plain}})
	s.again()
	for _, want := range []auth.UserRecord{User("ada"), plain} {
		if got, err := s.User(want.Name); err != nil || got == nil || *got != want {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
	}
	changed := User("ada")
	changed.Admin, changed.Disabled, changed.Password = false, false, "other"
	s.apply(auth.Changes{Users: []auth.UserRecord{changed}, DropUsers: []string{"bob", "nobody"}})
	if got, err := s.User("ada"); err != nil || *got != changed {
		t.Fatalf("got %+v, %v; want %+v", got, err, changed)
	}
	if got, err := s.User("bob"); got != nil || err != nil {
		t.Fatalf("a dropped user: %v, %v", got, err)
	}
}

func testSessions(t *testing.T, s *tested) {
	if got, err := s.Session(id(1)); got != nil || err != nil {
		t.Fatalf("a session that is not there: %v, %v", got, err)
	}
	plain := auth.SessionRecord{LoginSession: auth.LoginSession{ID: id(3), UserID: "bob"}}
	s.apply(auth.Changes{Sessions: []auth.SessionRecord{Session("ada", id(1)), Session("ada", id(2)), plain}})
	s.again()
	for _, want := range []auth.SessionRecord{Session("ada", id(1)), plain} {
		if got, err := s.Session(want.ID); err != nil || got == nil || *got != want {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
	}
	s.apply(auth.Changes{DropSessions: []auth.SessionRecord{
		{LoginSession: auth.LoginSession{ID: id(1), UserID: "ada"}},
		{LoginSession: auth.LoginSession{ID: id(9), UserID: "ada"}},
	}})
	if got, err := s.Session(id(1)); got != nil || err != nil {
		t.Fatalf("a dropped session: %v, %v", got, err)
	}
	left, err := s.Sessions("ada", "", 10)
	if err != nil || len(left) != 1 || left[0] != Session("ada", id(2)) {
		t.Fatalf("what is left: %+v, %v", left, err)
	}
}

func testKeys(t *testing.T, s *tested) {
	plain := auth.KeyRecord{APIKey: auth.APIKey{ID: id(2), Name: "n", UserID: "u"}}
	nothing := Key(id(3))
	nothing.Rooms = []auth.Rule{} // no rights, which is not everyone's rights
	s.apply(auth.Changes{Keys: []auth.KeyRecord{Key(id(1)), plain, nothing}})
	s.again()
	keys, revocations, err := s.Load()
	if err != nil || len(revocations) > 0 {
		t.Fatalf("loaded %v, %v", revocations, err)
	}
	slices.SortFunc(keys, func(a, b auth.KeyRecord) int { return strings.Compare(a.ID, b.ID) })
	if want := []auth.KeyRecord{Key(id(1)), plain, nothing}; !reflect.DeepEqual(keys, want) {
		t.Fatalf("got %+v, want %+v", keys, want)
	}
	s.apply(auth.Changes{DropKeys: []string{id(1), id(3), id(7)}})
	if keys, _, err := s.Load(); err != nil || !reflect.DeepEqual(keys, []auth.KeyRecord{plain}) {
		t.Fatalf("left %+v, %v", keys, err)
	}
}

func testRevocations(t *testing.T, s *tested) {
	want := []auth.RevocationRecord{
		{Revocation: auth.Revocation{UserID: "ada", Before: time.UnixMilli(1767323045123)}},
		{Revocation: auth.Revocation{UserID: "bob"}},
		{Revocation: auth.Revocation{UserID: "ada", Session: "ada"}, Expires: 5},
		{Revocation: auth.Revocation{TokenID: "ada"}, Expires: 6},
		{Revocation: auth.Revocation{TokenID: "t"}},
	}
	s.apply(auth.Changes{Revocations: want})
	// There is one of each subject.
	want[0].Before = time.UnixMilli(1767323045999)
	s.apply(auth.Changes{Revocations: want[:1]})
	s.again()
	checkRevocations(t, s, want)
	s.apply(auth.Changes{DropRevocations: []auth.Revocation{{UserID: "bob"}, {Session: "ada"}, {TokenID: "t"}, {TokenID: "none"}}})
	checkRevocations(t, s, []auth.RevocationRecord{want[0], want[3]})
}

func checkRevocations(t *testing.T, s *tested, want []auth.RevocationRecord) {
	t.Helper()
	keys, got, err := s.Load()
	if err != nil || len(keys) > 0 || len(got) != len(want) {
		t.Fatalf("loaded %v, %+v, %v", keys, got, err)
	}
	for _, r := range want {
		if !slices.ContainsFunc(got, func(g auth.RevocationRecord) bool {
			return g.UserID == r.UserID && g.Session == r.Session && g.TokenID == r.TokenID &&
				g.Expires == r.Expires && g.Before.Equal(r.Before)
		}) {
			t.Errorf("%+v is missing in %+v", r, got)
		}
	}
}

// testChanges puts and drops everything at once.
func testChanges(t *testing.T, s *tested) {
	s.apply(auth.Changes{})
	s.apply(auth.Changes{
		Users: []auth.UserRecord{User("ada")}, Sessions: []auth.SessionRecord{Session("ada", id(1))},
		Keys:        []auth.KeyRecord{Key(id(1))},
		Revocations: []auth.RevocationRecord{{Revocation: auth.Revocation{TokenID: "t"}}},
	})
	s.apply(auth.Changes{
		Users: []auth.UserRecord{User("bob")}, DropUsers: []string{"ada"},
		DropSessions: []auth.SessionRecord{Session("ada", id(1))}, DropKeys: []string{id(1)},
		DropRevocations: []auth.Revocation{{TokenID: "t"}},
	})
	s.again()
	users, err := s.Users("", "", 10)
	if err != nil || len(users) != 1 || users[0].Name != "bob" {
		t.Errorf("users %+v, %v", users, err)
	}
	if sessions, err := s.Sessions("ada", "", 10); err != nil || len(sessions) > 0 {
		t.Errorf("sessions %+v, %v", sessions, err)
	}
	if keys, revocations, err := s.Load(); err != nil || len(keys)+len(revocations) > 0 {
		t.Errorf("loaded %+v, %+v, %v", keys, revocations, err)
	}
}

// testLists checks order, prefixes and bounds of lists. A name that begins as
// another one does must not lead to the other's sessions.
func testLists(t *testing.T, s *tested) {
	names := []string{"a", "ab", "abc", "ac", "b", strings.Repeat("z", auth.MaxUserName), "é"}
	var c auth.Changes
	for i, name := range names {
		c.Users = append(c.Users, User(name))
		for n := range 3 {
			c.Sessions = append(c.Sessions, Session(name, id(10*i+n)))
		}
	}
	s.apply(c)
	for _, test := range []struct {
		prefix, after string
		limit         int
		want          []string
	}{
		{"", "", 100, names},
		{"", "", 2, names[:2]},
		{"", "abc", 2, names[3:5]},
		{"", "abb", 1, names[2:3]},
		{"ab", "", 100, names[1:3]},
		{"ab", "ab", 100, names[2:3]},
		{"ab", "a", 100, names[1:3]},
		{"ab", "b", 100, nil},
		{"\xc3", "", 100, names[6:7]},
		{"x", "", 100, nil},
	} {
		users, err := s.Users(test.prefix, test.after, test.limit)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, u := range users {
			got = append(got, u.Name)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("users %q after %q, %d: %q, want %q", test.prefix, test.after, test.limit, got, test.want)
		}
	}
	for i, name := range names {
		for _, test := range []struct {
			after string
			limit int
			want  []int
		}{{"", 100, []int{0, 1, 2}}, {"", 2, []int{0, 1}}, {id(10 * i), 5, []int{1, 2}}, {id(10*i + 2), 5, nil}} {
			sessions, err := s.Sessions(name, test.after, test.limit)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, session := range sessions {
				got = append(got, session.ID)
			}
			var want []string
			for _, n := range test.want {
				want = append(want, id(10*i+n))
			}
			if !slices.Equal(got, want) {
				t.Errorf("sessions of %q after %q, %d: %q, want %q", name, test.after, test.limit, got, want)
			}
		}
	}
}

func id(n int) string { return fmt.Sprintf("%032x", n) }
