package auth

import (
	"context"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/thronghq/throng/proto"
)

// Login checks a user's password and begins a session. The error is
// ErrInvalidLogin, the same and after the same work whether the user does not
// exist or the password is wrong; ErrAccountDisabled, told only to who has the
// password; ErrRateLimited, or ErrOverloaded, where too many passwords wait for
// their check.
func (a *Accounts) Login(ctx context.Context, name, password string, by Client) (*Tokens, *proto.Error) {
	tokens, err := a.login(ctx, name, password, by)
	a.tele.logins[loginResult(err)].Inc()
	return tokens, err
}

// login looks at the password again where its hash was replaced meanwhile: by
// another password, or by a login beside this one that made it anew.
func (a *Accounts) login(ctx context.Context, name, password string, by Client) (*Tokens, *proto.Error) {
	for {
		user, paid, err := a.checkPassword(ctx, name, password, by)
		if err != nil {
			return nil, err
		}
		tokens, err := a.admit(ctx, user, password, by)
		if err == nil || err == errReplaced {
			paid.didNotFail()
		}
		if err != errReplaced {
			return tokens, err
		}
	}
}

// admit begins a session of the user, whose password was checked.
func (a *Accounts) admit(ctx context.Context, user *UserRecord, password string, by Client) (*Tokens, *proto.Error) {
	replacement := a.rehash(ctx, user, password, by)
	release, err := a.turns.take(ctx, user.Name)
	if err != nil {
		return nil, err
	}
	defer release()
	now, err := a.current(ctx, user)
	if err != nil {
		return nil, err
	}
	if replacement != "" {
		now.Password = replacement
	}
	return a.begin(ctx, now, by)
}

// loginResult is the metrics' label of how a login ended.
func loginResult(err *proto.Error) string {
	if err == nil {
		return "ok"
	}
	switch err.Code {
	case proto.ErrInvalidLogin:
		return "invalid"
	case proto.ErrAccountDisabled:
		return "disabled"
	case proto.ErrRateLimited:
		return "throttled"
	case proto.ErrOverloaded:
		return "overloaded"
	}
	return "failed"
}

// checkPassword returns the user whose name and password these are. A user who
// does not exist, or cannot, costs as much as a wrong password.
func (a *Accounts) checkPassword(ctx context.Context, name, password string, by Client) (*UserRecord, loginAttempt, *proto.Error) {
	canonical, _ := canonicalName("username", name) // "" is nobody's name
	paid, err := a.throttle.login(canonical, by.Address)
	if err != nil {
		return nil, loginAttempt{}, err
	}
	var user *UserRecord
	if canonical != "" {
		if user, err = a.find(ctx, canonical); err != nil {
			paid.didNotFail()
			return nil, loginAttempt{}, err
		}
	}
	normal, _ := normalPassword("password", password) // nil is nobody's password
	var stored *passwordHash
	if user != nil && normal != nil {
		hash, bad := parsePasswordHash(user.Password)
		if bad != nil {
			paid.didNotFail()
			return nil, loginAttempt{}, a.fault(ctx, bad)
		}
		stored = &hash
	}
	matches, err := a.hasher.check(ctx, by.Address, stored, normal)
	switch {
	case err != nil:
		paid.didNotFail()
		return nil, loginAttempt{}, err
	case !matches:
		return nil, loginAttempt{}, proto.ErrInvalidLogin.New()
	case user.Disabled:
		paid.didNotFail()
		return nil, loginAttempt{}, proto.ErrAccountDisabled.New()
	}
	return user, paid, nil
}

// rehash returns a hash of today's parameters where the stored one has others,
// "" where it need not, or cannot now, be replaced.
func (a *Accounts) rehash(ctx context.Context, user *UserRecord, password string, by Client) string {
	stored, bad := parsePasswordHash(user.Password)
	if bad != nil || !stored.outdated(a.opts.Argon2) {
		return ""
	}
	normal, err := normalPassword("password", password)
	if err != nil {
		return ""
	}
	replacement, _ := a.hasher.hash(ctx, by.Address, normal)
	return replacement
}

// errReplaced is what current says of a hash that is no longer the user's.
var errReplaced = proto.ErrInvalidLogin.New()

// current returns the user as stored now, whose turn the caller has, unless
// the hash that was checked is no longer the user's, which is errReplaced.
func (a *Accounts) current(ctx context.Context, checked *UserRecord) (*UserRecord, *proto.Error) {
	now, err := a.find(ctx, checked.Name)
	switch {
	case err != nil:
		return nil, err
	case now == nil || now.Password != checked.Password:
		return nil, errReplaced
	case now.Disabled:
		return nil, proto.ErrAccountDisabled.New()
	}
	return now, nil
}

// begin begins a session of the user, whose turn the caller has, and writes the
// user with it.
func (a *Accounts) begin(ctx context.Context, user *UserRecord, by Client) (*Tokens, *proto.Error) {
	token, now := newRefreshToken(), a.now()
	session := SessionRecord{LoginSession: LoginSession{
		ID: token.sessionID(), UserID: user.Name, CreatedAt: now,
	}}
	tokens, err := a.issue(ctx, user, &session, token, by, now)
	if err != nil {
		return nil, err
	}
	user.LastLoginAt = now
	c := Changes{Users: []UserRecord{*user}, Sessions: []SessionRecord{session}}
	if err := a.makeRoom(ctx, &c, user.Name, now); err != nil {
		return nil, err
	}
	if err := a.apply(ctx, &c); err != nil {
		return nil, err
	}
	return tokens, nil
}

// issue signs an access token, and notes in the session what was issued and to
// whom.
func (a *Accounts) issue(ctx context.Context, user *UserRecord, s *SessionRecord, token refreshToken, by Client, now int64) (*Tokens, *proto.Error) {
	access, err := a.opts.Keys.Sign(AccessClaims{
		UserID: user.Name, Session: s.ID, Admin: user.Admin,
		Issuer: a.opts.Issuer, Audience: a.opts.Audience, TTL: a.opts.AccessTTL, Now: time.UnixMilli(now),
	})
	if err != nil {
		a.log.LogAttrs(ctx, slog.LevelError, "an access token could not be signed", slog.Any("error", err))
		return nil, proto.ErrInternal.With("an access token could not be signed")
	}
	token.seal(s)
	s.LastUsedAt = now
	s.ExpiresAt = now + a.opts.RefreshTTL.Milliseconds()
	s.AccessEnds = max(s.AccessEnds, now+a.opts.AccessTTL.Milliseconds())
	s.Address, s.UserAgent = "", describe(by.UserAgent)
	if by.Address.IsValid() {
		s.Address = by.Address.Unmap().String()
	}
	return &Tokens{
		AccessToken: access, RefreshToken: token.String(), ExpiresIn: a.opts.AccessTTL,
		UserID: user.Name, Session: s.ID,
	}, nil
}

// describe returns what is kept of a User-Agent.
func describe(agent string) string {
	agent = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, agent)
	for len(agent) > maxUserAgent {
		_, size := utf8.DecodeLastRuneInString(agent)
		agent = agent[:len(agent)-size]
	}
	return agent
}

// Refresh gives new tokens for a refresh token, which is good no more. The
// second use of one ends its session at once, with its access tokens and the
// connections that they opened: who of the two is a thief, nobody can tell.
// That holds for a client, too, that sends the same request twice. The error is
// ErrRevoked then, ErrTokenExpired for a session that was not used for too long,
// and ErrInvalidToken for what is no refresh token, or one of a session that has
// ended.
func (a *Accounts) Refresh(ctx context.Context, refreshToken string, by Client) (*Tokens, *proto.Error) {
	tokens, result, err := a.refresh(ctx, refreshToken, by)
	a.tele.refreshes[result].Inc()
	return tokens, err
}

func (a *Accounts) refresh(ctx context.Context, text string, by Client) (tokens *Tokens, result string, err *proto.Error) {
	session, token, release, err := a.presented(ctx, text)
	if err != nil {
		return nil, "invalid", err
	}
	defer release()
	now := a.now()
	_, newest := token.belongs(session)
	if now >= session.ExpiresAt {
		return nil, "expired", proto.ErrTokenExpired.With("the session was not used for too long")
	}
	if !newest {
		a.log.LogAttrs(ctx, slog.LevelWarn, "a refresh token was used twice: its session is revoked",
			slog.String("user", session.UserID), slog.String("session", session.ID), slog.Any("address", by.Address))
		if err := a.end(ctx, &Changes{}, *session); err != nil {
			return nil, "failed", err
		}
		return nil, "reused", proto.ErrRevoked.With("the refresh token was used before: its session is revoked")
	}
	user, err := a.find(ctx, session.UserID)
	if err != nil {
		return nil, "failed", err
	}
	if user == nil || user.Disabled { // their sessions end with them
		return nil, "invalid", noRefreshToken()
	}
	tokens, err = a.issue(ctx, user, session, token.next(), by, now)
	if err != nil {
		return nil, "failed", err
	}
	if err := a.apply(ctx, &Changes{Sessions: []SessionRecord{*session}}); err != nil {
		return nil, "failed", err
	}
	return tokens, "ok", nil
}

func noRefreshToken() *proto.Error {
	return proto.ErrInvalidToken.With("the refresh token is not valid, or its session has ended")
}

// presented returns the session that the refresh token was given out for, as it
// is now, and the turn of its user.
func (a *Accounts) presented(ctx context.Context, text string) (*SessionRecord, refreshToken, func(), *proto.Error) {
	token, ok := parseRefreshToken(text)
	if !ok {
		return nil, token, nil, noRefreshToken()
	}
	session, release, err := a.session(ctx, token.sessionID())
	if err != nil {
		return nil, token, nil, err
	}
	if session == nil {
		return nil, token, nil, noRefreshToken()
	}
	if belongs, _ := token.belongs(session); !belongs {
		release()
		return nil, token, nil, noRefreshToken()
	}
	return session, token, release, nil
}

// Logout ends a session by its id: its refresh token, its access tokens, and
// the connections that they opened. One that has ended is no error.
func (a *Accounts) Logout(ctx context.Context, session string) *proto.Error {
	s, release, err := a.session(ctx, session)
	if err != nil || s == nil {
		return err
	}
	defer release()
	return a.end(ctx, &Changes{}, *s)
}

// LogoutToken is Logout by one of the session's refresh tokens. The error is
// ErrInvalidToken where the token is none, or its session has ended.
func (a *Accounts) LogoutToken(ctx context.Context, refreshToken string) *proto.Error {
	session, _, release, err := a.presented(ctx, refreshToken)
	if err != nil {
		return err
	}
	defer release()
	return a.end(ctx, &Changes{}, *session)
}
