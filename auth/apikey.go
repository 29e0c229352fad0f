package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/thronghq/throng/proto"
)

// An API key is throng_<id>_<secret>: 16 hex digits and 52 characters of
// base32, which are 256 random bits. The store has the secret's SHA-256; a
// random secret of that length needs no slow hash.

const (
	keyIDBytes     = 8
	keySecretBytes = 32
)

// keyEncoding writes secrets without signs, so that a double click takes all.
var keyEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// APIKey is a backend's key, without its secret. Times are Unix ms, 0 for
// never.
type APIKey struct {
	ID         string
	Name       string // for people
	UserID     string // who acts with it; key:<id> unless given
	Admin      bool
	Rooms      []Rule // nil: the rights of everyone
	CreatedAt  int64
	LastUsedAt int64 // to a minute or so
	ExpiresAt  int64
}

// keyTable holds all API keys.
type keyTable struct {
	mu   sync.RWMutex
	byID map[string]*keyState
}

// keyState is a key in memory. It does not change but for its use.
type keyState struct {
	record   KeyRecord
	identity *Identity

	used  atomic.Int64 // ms; the last use
	saved atomic.Int64 // ms; the last use that was written
}

func newKeyState(r KeyRecord) *keyState {
	k := &keyState{record: r, identity: &Identity{
		UserID: r.UserID, IssuedAt: r.CreatedAt * 1000,
		Grant: &Grant{KeyID: r.ID, Admin: r.Admin, restricted: r.Rooms != nil, rules: r.Rooms},
	}}
	if r.ExpiresAt != 0 {
		k.identity.Expires = time.UnixMilli(r.ExpiresAt)
	}
	k.used.Store(r.LastUsedAt)
	k.saved.Store(r.LastUsedAt)
	return k
}

// key returns the key as others see it.
func (k *keyState) key() APIKey {
	key := k.record.APIKey
	key.Rooms = slices.Clone(key.Rooms)
	key.LastUsedAt = k.used.Load()
	return key
}

func (t *keyTable) init(list []KeyRecord) {
	t.byID = make(map[string]*keyState, len(list))
	for _, r := range list {
		t.byID[r.ID] = newKeyState(r)
	}
}

// apply follows what was written.
func (t *keyTable) apply(c *Changes) {
	if len(c.Keys)+len(c.DropKeys) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range c.Keys {
		t.byID[r.ID] = newKeyState(r)
	}
	for _, id := range c.DropKeys {
		delete(t.byID, id)
	}
}

func (t *keyTable) get(id string) *keyState {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

func (t *keyTable) has(id string) bool { return t.get(id) != nil }

func (t *keyTable) size() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.byID)
}

// of returns the ids of the keys that act as the user.
func (t *keyTable) of(user string) (ids []string) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for id, k := range t.byID {
		if k.record.UserID == user {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// usedSince returns the records of keys whose last use was not written yet.
// They count as written from then on.
func (t *keyTable) usedSince() (records []KeyRecord) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, k := range t.byID {
		if used := k.used.Load(); used != k.saved.Swap(used) {
			r := k.record
			r.LastUsedAt = used
			records = append(records, r)
		}
	}
	return records
}

// unknownKey is compared with where there is no key of an id.
var unknownKey [sha256.Size]byte

// VerifyKey returns who an API key admits. The token is borrowed until it
// returns. It reads from memory alone. The error is ErrInvalidToken or
// ErrTokenExpired.
func (a *Accounts) VerifyKey(token []byte) (*Identity, *proto.Error) {
	invalid := func() *proto.Error { return proto.ErrInvalidToken.With("no API key of this server is that") }
	rest, ok := bytes.CutPrefix(token, []byte(APIKeyPrefix))
	if !ok {
		return nil, invalid()
	}
	id, text, ok := bytes.Cut(rest, []byte("_"))
	if !ok || len(id) != hex.EncodedLen(keyIDBytes) || len(text) != keyEncoding.EncodedLen(keySecretBytes) {
		return nil, invalid()
	}
	k := a.keys.get(string(id))
	want := &unknownKey
	if k != nil {
		want = &k.record.Secret
	}
	got := sha256.Sum256(text)
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || k == nil {
		return nil, invalid()
	}
	now := a.opts.Now()
	if !k.identity.Expires.IsZero() && !now.Before(k.identity.Expires) {
		return nil, proto.ErrTokenExpired.With("the API key expired at %s", k.identity.Expires.UTC().Format(time.RFC3339))
	}
	k.used.Store(now.UnixMilli())
	return k.identity, nil
}

// CreateKey makes an API key with the name, user, rights and end that are
// given; the rest of it is filled in. The token is the key itself, which
// nothing else will show again.
func (a *Accounts) CreateKey(ctx context.Context, key APIKey) (created APIKey, token string, err *proto.Error) {
	if err := a.checkKey(&key); err != nil {
		return APIKey{}, "", err
	}
	release, err := a.turns.take(ctx, sharedTurn)
	if err != nil {
		return APIKey{}, "", err
	}
	defer release()
	if a.keys.size() >= MaxKeys {
		return APIKey{}, "", proto.ErrOverloaded.With("there are %d API keys, and there can be no more; revoke one first", MaxKeys)
	}
	var random [keyIDBytes + keySecretBytes]byte
	_, _ = rand.Read(random[:]) // never fails
	key.ID = hex.EncodeToString(random[:keyIDBytes])
	secret := keyEncoding.EncodeToString(random[keyIDBytes:])
	if key.UserID == "" {
		key.UserID = "key:" + key.ID
	}
	if r, ok := a.revoked.user(key.UserID); ok && r.Before.IsZero() {
		return APIKey{}, "", proto.ErrAccountDisabled.With("user %q is disabled", key.UserID)
	}
	key.CreatedAt, key.LastUsedAt = a.now(), 0
	if err := a.apply(ctx, &Changes{Keys: []KeyRecord{{APIKey: key, Secret: sha256.Sum256([]byte(secret))}}}); err != nil {
		return APIKey{}, "", err
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "an API key was created",
		slog.String("key", key.ID), slog.String("name", key.Name), slog.String("user", key.UserID), slog.Bool("admin", key.Admin))
	return key, APIKeyPrefix + key.ID + "_" + secret, nil
}

// checkKey checks what the caller says of a key.
func (a *Accounts) checkKey(key *APIKey) *proto.Error {
	if bad := checkLine("name", key.Name, MaxKeyName); bad != nil {
		return bad
	}
	if key.UserID != "" {
		if bad := CheckUserID("userId", key.UserID); bad != nil {
			return bad
		}
	}
	if len(key.Rooms) > MaxKeyRules {
		return proto.ErrInvalidField.With("rooms has %d rules; at most %d", len(key.Rooms), MaxKeyRules)
	}
	for i, rule := range key.Rooms {
		if err := rule.Check(); err != nil {
			return proto.ErrInvalidField.With("rooms[%d]: %v", i, err)
		}
	}
	if key.ExpiresAt != 0 && key.ExpiresAt <= a.now() {
		return proto.ErrInvalidField.With("expiresAt %d is in the past", key.ExpiresAt)
	}
	key.Rooms = slices.Clone(key.Rooms)
	return nil
}

// Keys lists API keys in order of id, after the cursor, at most limit. The next
// cursor is "" at the end.
func (a *Accounts) Keys(_ context.Context, cursor string, limit int) (keys []APIKey, next string, err *proto.Error) {
	if err := page(limit); err != nil {
		return nil, "", err
	}
	a.keys.mu.RLock()
	defer a.keys.mu.RUnlock()
	ids := slices.Sorted(maps.Keys(a.keys.byID))
	from, found := slices.BinarySearch(ids, cursor)
	if found {
		from++
	}
	ids = ids[from:]
	if len(ids) > limit {
		ids = ids[:limit]
		next = ids[limit-1]
	}
	for _, id := range ids {
		keys = append(keys, a.keys.byID[id].key())
	}
	return keys, next, nil
}

// Key returns an API key.
func (a *Accounts) Key(_ context.Context, id string) (APIKey, *proto.Error) {
	k := a.keys.get(id)
	if k == nil {
		return APIKey{}, proto.ErrNotFound.With("there is no API key %.64q", id)
	}
	return k.key(), nil
}

// RevokeKey ends an API key and the connections that it opened.
func (a *Accounts) RevokeKey(ctx context.Context, id string) *proto.Error {
	release, err := a.turns.take(ctx, sharedTurn)
	if err != nil {
		return err
	}
	defer release()
	if !a.keys.has(id) {
		return proto.ErrNotFound.With("there is no API key %.64q", id)
	}
	if err := a.apply(ctx, &Changes{DropKeys: []string{id}}); err != nil {
		return err
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "an API key was revoked", slog.String("key", id))
	return nil
}

// checkLine checks a text that people write.
func checkLine(field, text string, most int) *proto.Error {
	if text == "" || len(text) > most || strings.ToValidUTF8(text, "") != text || strings.ContainsFunc(text, unicode.IsControl) {
		return proto.ErrInvalidField.With("field %q has 1 to %d bytes of UTF-8 without control characters", field, most)
	}
	return nil
}
