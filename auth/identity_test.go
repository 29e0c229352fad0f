package auth_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unsafe"

	"github.com/thronghq/throng/auth"
)

func TestAllows(t *testing.T) {
	claim := func(rooms string) *auth.Identity {
		id, err := newVerifier().Verify([]byte(raw(t, `{"alg":"HS256"}`, `{"sub":"ada","rooms":`+rooms+`}`)))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	tests := []struct {
		name  string
		id    *auth.Identity
		right auth.Right
		room  string
		want  bool
	}{
		{"no claim", auth.NewIdentity("ada"), auth.RightCreate, "any", true},
		{"no rules", claim(`[]`), auth.RightJoin, "any", false},
		{"no rights", claim(`[{"match":"*","allow":[]}]`), auth.RightJoin, "any", false},
		{"every room", claim(`[{"match":"*","allow":["join"]}]`), auth.RightJoin, "any", true},
		{"another right", claim(`[{"match":"*","allow":["join"]}]`), auth.RightRead, "any", false},
		{"the prefix", claim(`[{"match":"chat:*","allow":["join"]}]`), auth.RightJoin, "chat:1", true},
		{"the prefix alone", claim(`[{"match":"chat:*","allow":["join"]}]`), auth.RightJoin, "chat:", true},
		{"beside the prefix", claim(`[{"match":"chat:*","allow":["join"]}]`), auth.RightJoin, "chats", false},
		{"the name", claim(`[{"match":"lobby","allow":["join"]}]`), auth.RightJoin, "lobby", true},
		{"longer than the name", claim(`[{"match":"lobby","allow":["join"]}]`), auth.RightJoin, "lobby2", false},
		{"a second rule", claim(`[{"match":"a","allow":["read"]},{"match":"a","allow":["dm"]}]`), auth.RightDM, "a", true},
		{"an inbox", claim(`[{"match":"user:bob","allow":["dm"]}]`), auth.RightDM, "user:bob", true},
		{"another inbox", claim(`[{"match":"user:bob","allow":["dm"]}]`), auth.RightDM, "user:eve", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.id.Allows(test.right, test.room); got != test.want {
				t.Errorf("Allows(%s, %q) = %v, want %v", test.right, test.room, got, test.want)
			}
		})
	}
}

func TestRightsAsJSON(t *testing.T) {
	for _, want := range []string{`[]`, `["join"]`, `["join","publish","read","create","dm","members","manage"]`} {
		var set auth.Rights
		if err := json.Unmarshal([]byte(want), &set); err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(set)
		if err != nil || string(got) != want {
			t.Errorf("%s came back as %s (%v)", want, got, err)
		}
	}
	if auth.AllRights != auth.RightsOf(auth.RightJoin, auth.RightPublish, auth.RightRead, auth.RightCreate, auth.RightDM, auth.RightMembers, auth.RightManage) {
		t.Error("AllRights is not the set of every right")
	}
	if auth.DefaultRights != auth.RightsOf(auth.RightJoin, auth.RightPublish, auth.RightRead, auth.RightCreate, auth.RightDM, auth.RightMembers) {
		t.Error("DefaultRights is not every right but manage")
	}
}

func TestCheckUserID(t *testing.T) {
	for _, good := range []string{"a", "Zoë", "user:1", strings.Repeat("x", auth.MaxUserID)} {
		if err := auth.CheckUserID("user", good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "\x00", "a\tb", "\u0085", "\xff", strings.Repeat("x", auth.MaxUserID+1)} {
		err := auth.CheckUserID("user", bad)
		if err == nil || !strings.Contains(err.Text(), `"user"`) {
			t.Errorf("%q: got %v, want an error that names the field", bad, err)
		}
	}
}

func TestAllowsAllocatesNothing(t *testing.T) {
	id, err := newVerifier().Verify([]byte(raw(t, `{"alg":"HS256"}`, `{"sub":"ada","rooms":[{"match":"chat:*","allow":["join"]}]}`)))
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { id.Allows(auth.RightJoin, "chat:1") }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestIdentityOutlivesTheToken(t *testing.T) {
	token := []byte(raw(t, `{"alg":"HS256"}`, `{"sub":"ada"}`))
	id, err := newVerifier().Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	clear(token)
	if id.UserID != "ada" {
		t.Errorf("the user changed to %q with the borrowed token", id.UserID)
	}
}

// TestAnIdentityIsSmall: each connection keeps one.
func TestAnIdentityIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(auth.Identity{}); size > 32 {
		t.Errorf("an identity has %d bytes, want 32 at most", size)
	}
}
