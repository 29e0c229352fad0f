package auth

import (
	"cmp"
	"context"
	"slices"

	"github.com/thronghq/throng/proto"
)

// find returns a user by the canonical name, nil for none.
func (a *Accounts) find(ctx context.Context, name string) (*UserRecord, *proto.Error) {
	user, err := a.store.User(name)
	if err != nil {
		return nil, a.fault(ctx, err)
	}
	return user, nil
}

// session returns a session with the turn of its user, which the caller
// releases; nil and no turn where there is no such session.
func (a *Accounts) session(ctx context.Context, id string) (*SessionRecord, func(), *proto.Error) {
	seen, bad := a.store.Session(id)
	if bad != nil {
		return nil, nil, a.fault(ctx, bad)
	}
	if seen == nil {
		return nil, nil, nil
	}
	release, err := a.turns.take(ctx, seen.UserID)
	if err != nil {
		return nil, nil, err
	}
	now, bad := a.store.Session(id)
	if bad != nil || now == nil {
		release()
		if bad != nil {
			return nil, nil, a.fault(ctx, bad)
		}
		return nil, nil, nil
	}
	return now, release, nil
}

// allSessions returns all sessions of a user, of which there are MaxSessions at
// most.
func (a *Accounts) allSessions(ctx context.Context, user string) ([]SessionRecord, *proto.Error) {
	sessions, err := a.store.Sessions(user, "", MaxSessions)
	if err != nil {
		return nil, a.fault(ctx, err)
	}
	return sessions, nil
}

// drop adds the end of sessions to the changes: of their access tokens as far
// as these still live.
func (a *Accounts) drop(c *Changes, sessions ...SessionRecord) {
	now := a.now()
	for _, s := range sessions {
		c.DropSessions = append(c.DropSessions, s)
		if ends := s.AccessEnds + a.opts.Leeway.Milliseconds() + 1; ends > now {
			c.Revocations = append(c.Revocations, RevocationRecord{
				Revocation: Revocation{UserID: s.UserID, Session: s.ID}, Expires: ends,
			})
		}
	}
	a.tele.sessionsEnded.Add(len(sessions))
}

// end ends sessions and applies the changes. The caller has their user's turn.
func (a *Accounts) end(ctx context.Context, c *Changes, sessions ...SessionRecord) *proto.Error {
	a.drop(c, sessions...)
	return a.apply(ctx, c)
}

// makeRoom ends the user's expired sessions, and those used least recently
// that are too many, so that there is room for a new one.
func (a *Accounts) makeRoom(ctx context.Context, c *Changes, user string, now int64) *proto.Error {
	sessions, err := a.allSessions(ctx, user)
	if err != nil {
		return err
	}
	slices.SortFunc(sessions, func(s, t SessionRecord) int { return cmp.Compare(s.LastUsedAt, t.LastUsedAt) })
	tooMany := len(sessions) - (MaxSessions - 1)
	for i, s := range sessions {
		if i < tooMany || s.ExpiresAt <= now {
			a.drop(c, s)
		}
	}
	return nil
}

// Sessions lists a user's login sessions in order of id, after the cursor, at
// most limit. The next cursor is "" at the end. A user without any, or without
// an account, has an empty list.
func (a *Accounts) Sessions(ctx context.Context, user, cursor string, limit int) (sessions []LoginSession, next string, err *proto.Error) {
	if err := page(limit); err != nil {
		return nil, "", err
	}
	records, err := a.allSessions(ctx, user)
	if err != nil {
		return nil, "", err
	}
	now := a.now()
	for _, r := range records {
		switch {
		case r.ID <= cursor || r.ExpiresAt <= now:
		case len(sessions) == limit:
			return sessions, sessions[limit-1].ID, nil
		default:
			sessions = append(sessions, r.LoginSession)
		}
	}
	return sessions, "", nil
}

// RevokeSession ends one session of the user, with its access tokens and the
// connections that they opened.
func (a *Accounts) RevokeSession(ctx context.Context, user, session string) *proto.Error {
	s, release, err := a.session(ctx, session)
	if err != nil {
		return err
	}
	if release != nil {
		defer release()
	}
	if s == nil || s.UserID != user {
		return proto.ErrNotFound.With("user %q has no session %.64q", user, session)
	}
	return a.end(ctx, &Changes{}, *s)
}
