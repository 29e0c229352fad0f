package session

import (
	"testing"

	"github.com/thronghq/throng/auth"
)

// Whoever is in a room may not thereby see who else is.
func TestMembersNeedsItsRight(t *testing.T) {
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		s, c := f.user("ana", auth.Rule{Match: "r", Allow: auth.DefaultRights &^ auth.RightsOf(auth.RightMembers)})
		say(s, `{"type":"join","room":"r"}`)
		c.await(t, "joined")
		say(s, `{"type":"members","id":"1","room":"r"}`)
		c.refused(t, "1", "forbidden")
		other, d := f.user("bob", auth.Rule{Match: "r", Allow: auth.RightsOf(auth.RightJoin, auth.RightMembers)})
		say(other, `{"type":"members","id":"1","room":"r"}`)
		d.refused(t, "1", "not_joined")
		say(other, `{"type":"join","room":"r"}`)
		d.await(t, "joined")
		say(other, `{"type":"members","id":"2","room":"r"}`)
		if n := len(d.await(t, "members")["members"].([]any)); n != 2 {
			t.Errorf("%d members", n)
		}
	})
}

// The rights of the room's namespace are those of tokens without rules.
func TestRightsOfTheNamespace(t *testing.T) {
	restrict := func(o *Options) {
		o.Authorizer = auth.NewAuthorizer(map[string]auth.Rights{"chat": auth.RightsOf(auth.RightJoin)})
	}
	inFixture(t, restrict, func(t *testing.T, f *fixture) {
		s, c := f.user("ana")
		for _, frame := range []string{
			`{"type":"message","id":"1","to":"chat:x","content":1}`,
			`{"type":"history","id":"1","room":"chat:x"}`,
			`{"type":"join","id":"1","room":"chat:x","since":{"last":1}}`,
		} {
			say(s, "%s", frame)
			c.refused(t, "1", "forbidden")
		}
		say(s, `{"type":"message","to":"r","content":1}`)
		c.await(t, "ack")
	})
}
