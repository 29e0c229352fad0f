package auth_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

// who are the kinds of identities that the table asks about. All of them are
// the user ada.
func who(t testing.TB) map[string]*auth.Identity {
	claim := func(claims string) *auth.Identity {
		id, err := newVerifier().Verify([]byte(raw(t, `{"alg":"HS256"}`, `{"sub":"ada"`+claims+`}`)))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	return map[string]*auth.Identity{
		"plain":   claim(``),
		"granted": claim(`,"rooms":[{"match":"chat:*","allow":["join","publish","manage"]},{"match":"lobby","allow":["read"]},{"match":"user:b*","allow":["dm","read","join","publish"]}]`),
		"barred":  claim(`,"rooms":[]`),
		"admin":   claim(`,"admin":true`),
		"bounded": claim(`,"admin":true,"rooms":[]`), // an administrator all the same
	}
}

// rights writes a set as the table does: one letter for each right, in the
// order join, publish, read, members, create, dm, manage.
var letters = []struct {
	letter string
	right  auth.Right
}{
	{"j", auth.RightJoin},
	{"p", auth.RightPublish},
	{"r", auth.RightRead},
	{"m", auth.RightMembers},
	{"c", auth.RightCreate},
	{"d", auth.RightDM},
	{"M", auth.RightManage},
}

// TestAuthorizer is the table of who may do what: for each kind of identity and
// room, the rights that are allowed. All others must be refused.
func TestAuthorizer(t *testing.T) {
	authorizer := auth.NewAuthorizer(map[string]auth.Rights{
		"news":   auth.RightsOf(auth.RightJoin, auth.RightRead),
		"open":   auth.AllRights,
		"closed": 0,
	})
	const (
		all     = "jprmcdM"
		regular = "jprmcd " // DefaultRights
		none    = "       "
		own     = "jprm   " // what everyone has in the own inbox
	)
	table := []struct {
		room                                   string
		plain, granted, barred, admin, bounded string
	}{
		// room         plain      granted    barred  admin      bounded
		{"lobby", regular, "  r    ", none, all, all},
		{"lobby2", regular, none, none, all, all},
		{"chat:1", regular, "jp    M", none, all, all},
		{"chat:", regular, "jp    M", none, all, all},
		{"chat", regular, none, none, all, all}, // in default, like lobby
		{"chats:1", regular, none, none, all, all},
		{"news:1", "j r    ", none, none, all, all},
		{"open:1", all, none, none, all, all},
		{"closed:1", none, none, none, all, all},
		{"unnamed:1", regular, none, none, all, all}, // no rights configured
		{"user:ada", "jprmcd ", own, own, all, all},
		{"user:bob", " p   d ", " p   d ", none, " p   d ", " p   d "}, // p is dm there
		{"user:eve", " p   d ", none, none, " p   d ", " p   d "},
		{"user:ada:x", " p   d ", none, none, " p   d ", " p   d "},   // another user's, whose id holds a colon
		{"user:Ada", " p   d ", none, none, " p   d ", " p   d "},     // ids are matched to the letter
		{"users:ada", regular, none, none, all, all},                  // no inbox
		{"user", regular, none, none, all, all},                       // no inbox
		{"user:", " p   d ", none, none, " p   d ", " p   d "},        // nobody's
		{"chat:user:ada", regular, "jp    M", none, all, all},         // no inbox
		{"USER:ada", regular, none, none, all, all},                   // no inbox
		{"user:ada\x00", " p   d ", none, none, " p   d ", " p   d "}, // no room can have that name
	}
	identities := who(t)
	for _, row := range table {
		for _, column := range []struct{ kind, want string }{
			{"plain", row.plain}, {"granted", row.granted}, {"barred", row.barred}, {"admin", row.admin}, {"bounded", row.bounded},
		} {
			for i, l := range letters {
				want := column.want[i:i+1] == l.letter
				err := authorizer.Allow(identities[column.kind], l.right, row.room)
				if want != (err == nil) {
					t.Errorf("%s, %s in %q: allowed %v, want %v", column.kind, l.right, row.room, err == nil, want)
				}
				if err != nil && (!errors.Is(err, proto.ErrForbidden) || !strings.Contains(err.Text(), l.right.String()) && l.right != auth.RightPublish) {
					t.Errorf("%s, %s in %q: %v, want forbidden that names the right", column.kind, l.right, row.room, err)
				}
			}
		}
	}
}

// A nobody has no right anywhere, and that is another error.
func TestAuthorizerWithoutAnIdentity(t *testing.T) {
	for _, room := range []string{"lobby", "user:", "user:ada"} {
		for _, l := range letters {
			if err := auth.NewAuthorizer(nil).Allow(nil, l.right, room); !errors.Is(err, proto.ErrUnauthenticated) {
				t.Errorf("%s in %q: %v", l.right, room, err)
			}
		}
	}
}

// Configured rights are what they were when the authorizer was made.
func TestAuthorizerKeepsItsRights(t *testing.T) {
	rights := map[string]auth.Rights{"default": 0}
	authorizer := auth.NewAuthorizer(rights)
	rights["default"] = auth.AllRights
	if authorizer.Allow(auth.NewIdentity("ada"), auth.RightJoin, "lobby") == nil {
		t.Error("a change of the map reached the authorizer")
	}
	if err := auth.NewAuthorizer(nil).Allow(auth.NewIdentity("ada"), auth.RightJoin, "lobby"); err != nil {
		t.Errorf("without any configuration: %v", err)
	}
}

func TestAllowingAllocatesNothing(t *testing.T) {
	authorizer := auth.NewAuthorizer(map[string]auth.Rights{"chat": auth.DefaultRights})
	identities := who(t)
	for _, kind := range []string{"plain", "granted", "admin"} {
		if n := testing.AllocsPerRun(100, func() {
			if authorizer.Allow(identities[kind], auth.RightJoin, "chat:1") != nil || authorizer.Allow(identities[kind], auth.RightPublish, "user:bob") != nil {
				t.Fatal("refused")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations, want none", kind, n)
		}
	}
}
