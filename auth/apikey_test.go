package auth_test

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

func TestAPIKey(t *testing.T) {
	w := newWorld(t)
	rules := []auth.Rule{{Match: "news:*", Allow: auth.RightsOf(auth.RightPublish)}}
	key, token, err := w.CreateKey(t.Context(), auth.APIKey{Name: "newsroom", Rooms: rules, ExpiresAt: w.now.Add(time.Hour).UnixMilli()})
	w.ok(err)
	if !regexp.MustCompile(`^throng_[0-9a-f]{16}_[a-z2-7]{52}$`).MatchString(token) {
		t.Errorf("a key %q", token)
	}
	for range 2 {
		id := w.good(token)
		if id.UserID != "key:"+key.ID || id.KeyID != key.ID || id.Admin || !id.Expires.Equal(w.now.Add(time.Hour)) {
			t.Errorf("identity %+v", id)
		}
		if !id.Allows(auth.RightPublish, "news:today") || id.Allows(auth.RightRead, "news:today") || id.Allows(auth.RightPublish, "chat") {
			t.Error("the rights are not those of the key")
		}
		w.restart()
	}
	w.advance(time.Hour)
	w.want(second(w.verify(token)), proto.ErrTokenExpired)
	w.revoked.take()
	w.ok(w.RevokeKey(t.Context(), key.ID))
	if got := w.revoked.take(); !slices.Equal(got, []auth.Revocation{{KeyID: key.ID}}) {
		t.Errorf("OnRevoke got %+v", got)
	}
	w.want(second(w.verify(token)), proto.ErrInvalidToken)
	if !w.Revoked(&auth.Identity{UserID: "key:" + key.ID, Grant: &auth.Grant{KeyID: key.ID}}) {
		t.Error("what the key admitted is not revoked")
	}
	w.want(w.RevokeKey(t.Context(), key.ID), proto.ErrNotFound)
	w.restart()
	w.want(second(w.Key(t.Context(), key.ID)), proto.ErrNotFound)
}

func TestAPIKeyRights(t *testing.T) {
	w := newWorld(t)
	_, everyone, err := w.CreateKey(t.Context(), auth.APIKey{Name: "a", UserID: "backend"})
	w.ok(err)
	_, nothing, err := w.CreateKey(t.Context(), auth.APIKey{Name: "b", Rooms: []auth.Rule{}})
	w.ok(err)
	_, admin, err := w.CreateKey(t.Context(), auth.APIKey{Name: "c", Admin: true})
	w.ok(err)
	w.restart()
	if id := w.good(everyone); id.UserID != "backend" || !id.Allows(auth.RightPublish, "x") || id.Allows(auth.RightManage, "x") {
		t.Errorf("a key without rules: %+v", id)
	}
	if w.good(nothing).Allows(auth.RightRead, "x") {
		t.Error("a key with no rules has a right")
	}
	if id := w.good(admin); !id.Admin || !id.Allows(auth.RightManage, "x") {
		t.Errorf("an administrator's key: %+v", id)
	}
}

func TestAPIKeyRefuses(t *testing.T) {
	w := newWorld(t)
	key, token, err := w.CreateKey(t.Context(), auth.APIKey{Name: "a"})
	w.ok(err)
	other, _, err := w.CreateKey(t.Context(), auth.APIKey{Name: "b"})
	w.ok(err)
	last := token[len(token)-2]
	flipped := token[:len(token)-2] + string(rune('a'+(last-'a'+1)%26)) + token[len(token)-1:]
	for _, bad := range []string{
		"", "throng_", "throng__", token[1:], token + "a", token[:len(token)-1], strings.ToUpper(token), flipped,
		strings.Replace(token, key.ID, other.ID, 1), strings.Replace(token, key.ID, "0123456789abcdef", 1),
		"throng_" + strings.Repeat("x", 1<<16),
	} {
		id, err := w.VerifyKey([]byte(bad))
		if id != nil || err == nil || err.Code != proto.ErrInvalidToken {
			t.Errorf("%.80q: %v, %v", bad, id, err)
		}
		if err != nil && len(bad) > 20 && strings.Contains(err.Text(), bad[10:20]) {
			t.Errorf("the error quotes the key: %v", err)
		}
	}
	for _, bad := range []auth.APIKey{
		{},
		{Name: strings.Repeat("x", 129)},
		{Name: "a\nb"},
		{Name: "a", UserID: strings.Repeat("x", 129)},
		{Name: "a", ExpiresAt: w.now.UnixMilli()},
		{Name: "a", Rooms: []auth.Rule{{Match: "a*b"}}},
		{Name: "a", Rooms: make([]auth.Rule, 101)},
	} {
		_, _, err := w.CreateKey(t.Context(), bad)
		w.want(err, proto.ErrInvalidField)
	}
}

func TestKeysAreListed(t *testing.T) {
	w := newWorld(t)
	var want []string
	for range 7 {
		key, _, err := w.CreateKey(t.Context(), auth.APIKey{Name: "x"})
		w.ok(err)
		want = append(want, key.ID)
	}
	slices.Sort(want)
	var got []string
	for cursor, more := "", true; more; {
		keys, next, err := w.Keys(t.Context(), cursor, 3)
		w.ok(err)
		for _, k := range keys {
			got = append(got, k.ID)
		}
		cursor, more = next, next != ""
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
}

// TestLastUse is written in batches, not with each use.
func TestLastUse(t *testing.T) {
	w := newWorld(t)
	key, token, err := w.CreateKey(t.Context(), auth.APIKey{Name: "a"})
	w.ok(err)
	gone, goneToken, err := w.CreateKey(t.Context(), auth.APIKey{Name: "b"})
	w.ok(err)
	w.advance(time.Minute)
	w.good(token)
	w.good(goneToken)
	w.ok(w.RevokeKey(t.Context(), gone.ID))
	if stored, _, _ := w.store.Load(); len(stored) != 1 || stored[0].LastUsedAt != 0 {
		t.Errorf("a use was written at once: %+v", stored)
	}
	now, err := w.Key(t.Context(), key.ID)
	if err != nil || now.LastUsedAt != w.now.UnixMilli() {
		t.Errorf("last used %+v, %v", now, err)
	}
	w.restart()
	if stored, _, _ := w.store.Load(); len(stored) != 1 || stored[0].LastUsedAt != w.now.UnixMilli() {
		t.Errorf("after a while stored %+v", stored)
	}
}

// TestKeysRace verifies keys while they come and go.
func TestKeysRace(t *testing.T) {
	w := newWorld(t)
	_, token, err := w.CreateKey(t.Context(), auth.APIKey{Name: "stays"})
	w.ok(err)
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				id, err := w.VerifyKey([]byte(token))
				if err != nil || w.Revoked(id) {
					t.Errorf("%v, %v", id, err)
					return
				}
			}
		})
	}
	for range 100 {
		key, _, err := w.CreateKey(t.Context(), auth.APIKey{Name: "goes"})
		w.ok(err)
		w.ok(w.RevokeUser(t.Context(), key.UserID))
	}
	close(stop)
	all.Wait()
}
