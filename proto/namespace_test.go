package proto_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/thronghq/throng/proto"
)

func TestNamespaceOf(t *testing.T) {
	for room, want := range map[string]string{
		"lobby":     "default",
		"chat:a":    "chat",
		"chat:a:b":  "chat",
		":a":        "",
		"user:bob":  proto.UserNamespace,
		"default:a": proto.DefaultNamespace,
	} {
		if got := proto.NamespaceOf(room); got != want {
			t.Errorf("room %q is in namespace %q, want %q", room, got, want)
		}
	}
}

func TestCheckRoomName(t *testing.T) {
	for _, name := range []string{"a", "chat:a b", "café 😀", strings.Repeat("x", proto.MaxRoomName)} {
		if err := proto.CheckRoomName("room", name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"":                                       `field "room" is empty`,
		strings.Repeat("x", proto.MaxRoomName+1): `field "room" has 129 bytes`,
		"a\xff":                                  `field "room" is not valid UTF-8`,
		"ab\n":                                   `control character at byte 2`,
		"\x7f":                                   `control character at byte 0`,
		"a\u0085":                                `control character at byte 1`,
	} {
		err := proto.CheckRoomName("room", name)
		if !errors.Is(err, proto.ErrInvalidField) || !strings.Contains(err.Text(), want) {
			t.Errorf("%q: %v; want %s", name, err, want)
		}
	}
}

func TestNamespaceWords(t *testing.T) {
	for _, d := range []proto.Durability{proto.Async, proto.Sync, proto.Memory} {
		var got proto.Durability
		if err := got.UnmarshalText([]byte(d.String())); err != nil || got != d {
			t.Errorf("%s becomes %s, %v", d, got, err)
		}
	}
	for _, p := range []proto.SlowPolicy{proto.SlowLag, proto.SlowClose, proto.SlowConflate} {
		var got proto.SlowPolicy
		if err := got.UnmarshalText([]byte(p.String())); err != nil || got != p {
			t.Errorf("%s becomes %s, %v", p, got, err)
		}
	}
	if err := new(proto.Durability).UnmarshalText([]byte("asink")); err == nil || !strings.Contains(err.Error(), "none, async, sync") {
		t.Errorf("a bad durability: %v", err)
	}
	if err := new(proto.SlowPolicy).UnmarshalText([]byte("drop")); err == nil || !strings.Contains(err.Error(), "lag, close, conflate") {
		t.Errorf("a bad policy: %v", err)
	}
}

func TestNewNamespace(t *testing.T) {
	if ns := proto.NewNamespace("default"); !ns.Hosts || ns.HistorySize != 10_000 || ns.HistoryTTL.Hours() != 168 || ns.Durability != proto.Async {
		t.Errorf("default: %+v", ns)
	}
	if ns := proto.NewNamespace("chat"); ns.Hosts || ns.Name != "chat" || !ns.Presence || !ns.JoinLeave {
		t.Errorf("chat: %+v", ns)
	}
}
