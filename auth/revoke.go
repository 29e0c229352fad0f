package auth

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/thronghq/throng/proto"
)

// Revocation names what is no longer good: the tokens, API keys and
// connections for which all of its fields that are not empty match.
type Revocation struct {
	UserID  string
	Session string // a login session
	TokenID string
	KeyID   string
	Before  time.Time // issued then or earlier, or nobody knows when
}

// Covers reports whether the identity is no longer good. An empty revocation
// covers nothing.
func (r Revocation) Covers(id *Identity) bool {
	if r == (Revocation{}) {
		return false
	}
	return (r.UserID == "" || r.UserID == id.UserID) &&
		(r.Session == "" || r.Session == id.Session) &&
		(r.TokenID == "" || r.TokenID == id.TokenID) &&
		(r.KeyID == "" || r.KeyID == id.KeyID) &&
		(r.Before.IsZero() || id.IssuedAt == 0 || id.IssuedAt <= r.Before.UnixMicro())
}

// SubjectKind says what a stored revocation is about.
type SubjectKind byte

// The kinds, as they are stored.
const (
	SubjectUser    SubjectKind = 'u'
	SubjectSession SubjectKind = 's'
	SubjectToken   SubjectKind = 't'
)

// Subject returns what a stored revocation is about: a session, a token, or
// else a user. There is one revocation of each subject at most.
func (r Revocation) Subject() (kind SubjectKind, id string) {
	switch {
	case r.Session != "":
		return SubjectSession, r.Session
	case r.TokenID != "":
		return SubjectToken, r.TokenID
	}
	return SubjectUser, r.UserID
}

// revocations are those that still cover something, by subject.
type revocations struct {
	mu    sync.RWMutex
	users map[string]RevocationRecord
	ids   map[subject]int64 // sessions and tokens; when the revocation expires
}

type subject struct {
	kind SubjectKind
	id   string
}

func subjectOf(r Revocation) subject {
	kind, id := r.Subject()
	return subject{kind, id}
}

func (t *revocations) init(list []RevocationRecord) {
	t.users = make(map[string]RevocationRecord)
	t.ids = make(map[subject]int64)
	for _, r := range list { // those that have expired are pruned like all others
		t.putLocked(r)
	}
}

func (t *revocations) putLocked(r RevocationRecord) {
	if s := subjectOf(r.Revocation); s.kind == SubjectUser {
		t.users[s.id] = r
	} else {
		t.ids[s] = r.Expires
	}
}

// apply follows what was written.
func (t *revocations) apply(c *Changes) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range c.Revocations {
		t.putLocked(r)
	}
}

// covers reports whether something that is kept covers the identity.
func (t *revocations) covers(id *Identity) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if id.Session != "" && t.hasLocked(SubjectSession, id.Session) {
		return true
	}
	if id.TokenID != "" && t.hasLocked(SubjectToken, id.TokenID) {
		return true
	}
	r, ok := t.users[id.UserID]
	return ok && r.Covers(id)
}

func (t *revocations) hasLocked(kind SubjectKind, id string) bool {
	_, ok := t.ids[subject{kind, id}]
	return ok
}

// user returns the revocation of a user.
func (t *revocations) user(name string) (RevocationRecord, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r, ok := t.users[name]
	return r, ok
}

func (t *revocations) size() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.users) + len(t.ids)
}

// prune forgets what has expired, and returns it, so that the store does, too.
func (t *revocations) prune(now time.Time) (expired []Revocation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s, expires := range t.ids {
		if expires == 0 || expires > now.UnixMilli() {
			continue
		}
		delete(t.ids, s)
		if s.kind == SubjectSession {
			expired = append(expired, Revocation{Session: s.id})
		} else {
			expired = append(expired, Revocation{TokenID: s.id})
		}
	}
	return expired
}

// Revoked reports whether the identity is no longer good: its token, session,
// API key or user was revoked after it was issued, or the user is disabled. It
// reads from memory alone.
func (a *Accounts) Revoked(id *Identity) bool {
	if id.KeyID != "" && !a.keys.has(id.KeyID) {
		return true
	}
	return a.revoked.covers(id)
}

// RevokeUser ends everything that was issued to the user until now: login
// sessions, tokens, those of other issuers too, and the API keys that act as
// the user. The user need not have an account. Who has one can log in again.
// Another spelling of an account's name means the account, too: nobody who
// revokes should find that it was not the one.
func (a *Accounts) RevokeUser(ctx context.Context, user string) *proto.Error {
	if bad := CheckUserID("userId", user); bad != nil {
		return bad
	}
	account, err := a.known(ctx, user)
	switch {
	case err != nil && err.Code != proto.ErrNotFound:
		return err
	case err == nil && account.Name != user:
		if err := a.revokeID(ctx, account.Name); err != nil {
			return err
		}
	}
	return a.revokeID(ctx, user)
}

// revokeID is RevokeUser for an id to the letter.
func (a *Accounts) revokeID(ctx context.Context, user string) *proto.Error {
	release, err := a.turns.take(ctx, user)
	if err != nil {
		return err
	}
	defer release()
	var c Changes
	if err := a.revokeEverything(ctx, &c, user); err != nil {
		return err
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "a user's access was revoked", slog.String("user", user))
	return nil
}

// revokeEverything adds the end of all that was issued to the user until now to
// the changes, and applies them. The caller has the user's turn. One that is
// disabled stays revoked without a limit in time.
func (a *Accounts) revokeEverything(ctx context.Context, c *Changes, user string) *proto.Error {
	release, err := a.turns.take(ctx, sharedTurn)
	if err != nil {
		return err
	}
	defer release()
	if c.DropSessions, err = a.allSessions(ctx, user); err != nil {
		return err
	}
	if len(c.Revocations) == 0 {
		r := Revocation{UserID: user, Before: a.cut()}
		if old, ok := a.revoked.user(user); ok && old.Before.IsZero() {
			r.Before = time.Time{}
		}
		c.Revocations = []RevocationRecord{{Revocation: r}}
	}
	c.DropKeys = a.keys.of(user)
	a.tele.sessionsEnded.Add(len(c.DropSessions))
	return a.apply(ctx, c)
}

// RevokeToken ends one token by its id, the claim jti, whoever issued it.
// Expires is when the token does, which is how long the revocation is kept; the
// zero time keeps it for ever.
func (a *Accounts) RevokeToken(ctx context.Context, tokenID string, expires time.Time) *proto.Error {
	if tokenID == "" || len(tokenID) > MaxTokenID {
		return proto.ErrInvalidField.With("a token's id has %d bytes; from 1 to %d", len(tokenID), MaxTokenID)
	}
	release, err := a.turns.take(ctx, sharedTurn)
	if err != nil {
		return err
	}
	defer release()
	if a.revoked.size() >= maxRevocations {
		return proto.ErrOverloaded.With("%d revocations are kept already; revoke the user instead", maxRevocations)
	}
	r := RevocationRecord{Revocation: Revocation{TokenID: tokenID}}
	if !expires.IsZero() {
		r.Expires = expires.Add(a.opts.Leeway).UnixMilli() + 1 // until then verifiers accept it
		if r.Expires <= a.opts.Now().UnixMilli() {
			return nil
		}
	}
	return a.apply(ctx, &Changes{Revocations: []RevocationRecord{r}})
}

// MaxTokenID is the longest token id, in bytes, that can be revoked.
const MaxTokenID = 256
