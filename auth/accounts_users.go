package auth

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/thronghq/throng/proto"
)

// Register makes an account for who asks, where that is allowed. The error is
// ErrRegistrationClosed, ErrUserExists, ErrInvalidField, or that of a throttle.
func (a *Accounts) Register(ctx context.Context, name, password string, by Client) (*User, *proto.Error) {
	if !a.opts.Registration {
		return nil, proto.ErrRegistrationClosed.New()
	}
	if err := a.throttle.register(by.Address); err != nil {
		return nil, err
	}
	user, err := a.create(ctx, name, password, false, by)
	if err == nil {
		a.tele.registrations.Inc()
	}
	return user, err
}

// CreateUser makes an account. The name is stored in its canonical form, which
// is the one returned.
func (a *Accounts) CreateUser(ctx context.Context, name, password string, admin bool) (*User, *proto.Error) {
	return a.create(ctx, name, password, admin, Client{})
}

// create is CreateUser for a client.
func (a *Accounts) create(ctx context.Context, name, password string, admin bool, by Client) (*User, *proto.Error) {
	canonical, err := canonicalName("username", name)
	if err != nil {
		return nil, err
	}
	normal, err := normalPassword("password", password)
	if err != nil {
		return nil, err
	}
	if err := a.free(ctx, canonical); err != nil { // before the work
		return nil, err
	}
	hash, err := a.hasher.hash(ctx, by.Address, normal)
	if err != nil {
		return nil, err
	}
	release, err := a.turns.take(ctx, canonical)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := a.free(ctx, canonical); err != nil {
		return nil, err
	}
	now := a.now()
	record := UserRecord{User: User{Name: canonical, Admin: admin, CreatedAt: now, PasswordChangedAt: now}, Password: hash}
	if err := a.apply(ctx, &Changes{Users: []UserRecord{record}}); err != nil {
		return nil, err
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "a user was created", slog.String("user", canonical), slog.Bool("admin", admin))
	return &record.User, nil
}

// free reports a user of that name as ErrUserExists.
func (a *Accounts) free(ctx context.Context, name string) *proto.Error {
	user, err := a.find(ctx, name)
	if err != nil {
		return err
	}
	if user != nil {
		return proto.ErrUserExists.With("the user name %q is taken", name)
	}
	return nil
}

// User returns a user, by any spelling of the name.
func (a *Accounts) User(ctx context.Context, name string) (*User, *proto.Error) {
	record, err := a.known(ctx, name)
	if err != nil {
		return nil, err
	}
	return &record.User, nil
}

// known returns a user by any spelling of the name, or ErrNotFound.
func (a *Accounts) known(ctx context.Context, name string) (*UserRecord, *proto.Error) {
	canonical, bad := canonicalName("userId", name)
	if bad == nil {
		record, err := a.find(ctx, canonical)
		if err != nil || record != nil {
			return record, err
		}
	}
	return nil, proto.ErrNotFound.With("there is no user %.64q", name)
}

// Users lists users in order of name: those whose names begin with the prefix,
// after the cursor, at most limit. The next cursor is "" at the end.
func (a *Accounts) Users(ctx context.Context, prefix, cursor string, limit int) (users []User, next string, err *proto.Error) {
	if err := page(limit); err != nil {
		return nil, "", err
	}
	records, bad := a.store.Users(prefix, cursor, limit+1) // one more tells whether there is more
	if bad != nil {
		return nil, "", a.fault(ctx, bad)
	}
	for _, r := range records {
		if len(users) == limit {
			return users, users[limit-1].Name, nil
		}
		users = append(users, r.User)
	}
	return users, "", nil
}

// change changes one user, alone. What changeIt adds to the changes is applied
// by it.
func (a *Accounts) change(ctx context.Context, name string, changeIt func(user *UserRecord) *proto.Error) *proto.Error {
	user, err := a.known(ctx, name)
	if err != nil {
		return err
	}
	release, err := a.turns.take(ctx, user.Name)
	if err != nil {
		return err
	}
	defer release()
	if user, err = a.known(ctx, user.Name); err != nil {
		return err
	}
	return changeIt(user)
}

// ChangePassword replaces the user's own password, and ends all sessions of the
// user but keepSession, which may be "". The old password is checked, and
// throttled, as at a login.
func (a *Accounts) ChangePassword(ctx context.Context, name, keepSession, old, replacement string, by Client) *proto.Error {
	normal, err := normalPassword("newPassword", replacement)
	if err != nil {
		return err
	}
	checked, paid, err := a.checkPassword(ctx, name, old, by)
	if err != nil {
		return err
	}
	hash, err := a.hasher.hash(ctx, by.Address, normal)
	if err != nil {
		paid.didNotFail()
		return err
	}
	err = a.change(ctx, checked.Name, func(user *UserRecord) *proto.Error {
		if _, err := a.current(ctx, checked); err != nil {
			return err
		}
		return a.putPassword(ctx, user, hash, keepSession)
	})
	if err == nil {
		paid.didNotFail()
	}
	return err
}

// SetPassword replaces a user's password and ends all sessions of the user.
func (a *Accounts) SetPassword(ctx context.Context, name, password string) *proto.Error {
	normal, err := normalPassword("password", password)
	if err != nil {
		return err
	}
	if _, err := a.known(ctx, name); err != nil { // before the work
		return err
	}
	hash, err := a.hasher.hash(ctx, netip.Addr{}, normal)
	if err != nil {
		return err
	}
	return a.change(ctx, name, func(user *UserRecord) *proto.Error {
		return a.putPassword(ctx, user, hash, "")
	})
}

func (a *Accounts) putPassword(ctx context.Context, user *UserRecord, hash, keepSession string) *proto.Error {
	sessions, err := a.allSessions(ctx, user.Name)
	if err != nil {
		return err
	}
	user.Password, user.PasswordChangedAt = hash, a.now()
	others := slices.DeleteFunc(sessions, func(s SessionRecord) bool { return s.ID == keepSession })
	if err := a.end(ctx, &Changes{Users: []UserRecord{*user}}, others...); err != nil {
		return err
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "a password was changed", slog.String("user", user.Name), slog.Int("sessions_ended", len(others)))
	return nil
}

// SetDisabled disables a user, which ends everything that was issued to the
// user, or enables one again. While a user is disabled, tokens of other issuers
// for the same user id are refused, too.
func (a *Accounts) SetDisabled(ctx context.Context, name string, disabled bool) *proto.Error {
	return a.change(ctx, name, func(user *UserRecord) *proto.Error {
		if user.Disabled == disabled {
			return nil
		}
		user.Disabled = disabled
		r := Revocation{UserID: user.Name}
		if !disabled {
			r.Before = a.cut()
		}
		c := Changes{Users: []UserRecord{*user}, Revocations: []RevocationRecord{{Revocation: r}}}
		if err := a.revokeEverything(ctx, &c, user.Name); err != nil {
			return err
		}
		a.log.LogAttrs(ctx, slog.LevelInfo, "a user was disabled or enabled", slog.String("user", user.Name), slog.Bool("disabled", disabled))
		return nil
	})
}

// SetAdmin makes a user an administrator, from the next refresh on, or one no
// longer, which ends everything that was issued to the user.
func (a *Accounts) SetAdmin(ctx context.Context, name string, admin bool) *proto.Error {
	return a.change(ctx, name, func(user *UserRecord) *proto.Error {
		if user.Admin == admin {
			return nil
		}
		user.Admin = admin
		c := Changes{Users: []UserRecord{*user}}
		var err *proto.Error
		if admin {
			err = a.apply(ctx, &c)
		} else {
			err = a.revokeEverything(ctx, &c, user.Name)
		}
		if err == nil {
			a.log.LogAttrs(ctx, slog.LevelInfo, "a user's rights were changed", slog.String("user", user.Name), slog.Bool("admin", admin))
		}
		return err
	})
}

// DeleteUser removes a user, and ends everything that was issued to the user.
// Messages that the user wrote stay; the name may be registered again.
func (a *Accounts) DeleteUser(ctx context.Context, name string) *proto.Error {
	return a.change(ctx, name, func(user *UserRecord) *proto.Error {
		c := Changes{
			DropUsers:   []string{user.Name},
			Revocations: []RevocationRecord{{Revocation: Revocation{UserID: user.Name, Before: a.cut()}}},
		}
		if err := a.revokeEverything(ctx, &c, user.Name); err != nil {
			return err
		}
		a.log.LogAttrs(ctx, slog.LevelInfo, "a user was deleted", slog.String("user", user.Name))
		return nil
	})
}

// cut returns a time for Revocation.Before: everything issued until now is not
// after it, and everything issued from now on is.
func (a *Accounts) cut() time.Time {
	a.clockMu.Lock()
	defer a.clockMu.Unlock()
	t := a.timeLocked()
	a.last = t + 1
	return time.UnixMilli(t)
}

// now returns the time in Unix ms.
func (a *Accounts) now() int64 {
	a.clockMu.Lock()
	defer a.clockMu.Unlock()
	a.last = a.timeLocked()
	return a.last
}

// timeLocked returns the time in Unix ms. It does not go back, unless the clock
// was set back by more than verifiers forgive: nobody would accept a token that
// is issued so far ahead, and until the clock was there again nobody could log
// in.
func (a *Accounts) timeLocked() int64 {
	now := a.opts.Now().UnixMilli()
	if forgiven := max(a.opts.Leeway, time.Millisecond).Milliseconds(); a.last > now+forgiven {
		return now
	}
	return max(now, a.last)
}
