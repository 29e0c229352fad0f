package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/proto"
)

// The bounds of accounts.
const (
	MaxUserName     = 64   // bytes of a user's name
	MinPassword     = 8    // bytes of a password, normalised
	MaxPassword     = 1024 // bytes of a password
	MaxSessions     = 100  // login sessions of a user; past it the one that was used least recently ends
	MaxKeys         = 10_000
	MaxKeyName      = 128     // bytes of an API key's name
	MaxKeyRules     = 100     // rules of an API key
	maxUserAgent    = 256     // bytes that are kept of a client's description of itself
	maxRevocations  = 1 << 20 // past it single tokens cannot be revoked any more
	maxPage         = 1000    // entries of a list
	housekeepingGap = time.Minute
)

// Client is who asks: for the throttle and for the list of sessions.
type Client struct {
	Address   netip.Addr // the zero value for unknown
	UserAgent string     // as the client describes itself
}

// Tokens is what a login and a refresh give.
type Tokens struct {
	AccessToken  string
	RefreshToken string        // good once
	ExpiresIn    time.Duration // of the access token
	UserID       string
	Session      string
}

// User is an account. Its name is the user's id. Times are Unix ms, 0 for
// never.
type User struct {
	Name              string
	Admin             bool
	Disabled          bool
	CreatedAt         int64
	PasswordChangedAt int64
	LastLoginAt       int64
}

// LoginSession is one login: the refresh tokens that followed from it, one
// after the other, and their access tokens. Times are Unix ms.
type LoginSession struct {
	ID         string
	UserID     string
	Address    string // of the client that used it last, "" for unknown
	UserAgent  string
	CreatedAt  int64
	LastUsedAt int64
	ExpiresAt  int64 // unless it is refreshed before
}

// Signer signs access tokens. A KeySet is one.
type Signer interface {
	Sign(claims AccessClaims) (string, error)
}

// AccountsOptions configures Accounts.
type AccountsOptions struct {
	Store    Store
	Keys     Signer
	Issuer   string   // of access tokens; "" leaves the claim out
	Audience []string // of access tokens; nil leaves the claim out

	AccessTTL    time.Duration // how long an access token is good for
	RefreshTTL   time.Duration // how long a session lasts after its last use
	Leeway       time.Duration // how much longer verifiers accept an access token
	Registration bool          // anyone may register

	Argon2       Argon2
	Hashes       int // passwords hashed at once; 0 takes one for every two cores, at least 1
	QueuedHashes int // passwords that may wait for it; 0 takes 32 for each that is hashed at once

	// NewDeriver makes what each of the workers derives keys with; nil for
	// one that does so in this process.
	NewDeriver func() Deriver

	// The throttle of logins, see throttle. Zero is off.
	LoginRate   proto.Rate // failed logins to one account from one address
	AddressRate proto.Rate // logins and registrations from one address

	// OnRevoke is called when something was revoked, and that is durable, from
	// the goroutine that did it. nil: nobody is told.
	OnRevoke func(Revocation)

	Now     func() time.Time // default: time.Now
	Logger  *slog.Logger     // default: none
	Metrics *metrics.Set     // default: a set of its own, not exported
}

func (o AccountsOptions) withDefaults() AccountsOptions {
	o.Argon2 = o.Argon2.withDefaults()
	if o.Hashes == 0 {
		o.Hashes = defaultHashes()
	}
	if o.QueuedHashes == 0 {
		o.QueuedHashes = 32 * o.Hashes
	}
	if o.NewDeriver == nil {
		o.NewDeriver = func() Deriver { return here{} }
	}
	if o.OnRevoke == nil {
		o.OnRevoke = func(Revocation) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	return o
}

// Validate reports every option that has a bad value.
func (o AccountsOptions) Validate() error {
	o = o.withDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.Store == nil {
		bad("Store: missing")
	}
	if o.Keys == nil {
		bad("Keys: missing; access tokens must be signed")
	}
	if o.AccessTTL < time.Second {
		bad("AccessTTL: %v is too short; at least 1s", o.AccessTTL)
	}
	if o.RefreshTTL < o.AccessTTL {
		bad("RefreshTTL: %v is shorter than AccessTTL (%v)", o.RefreshTTL, o.AccessTTL)
	}
	if o.Leeway < 0 {
		bad("Leeway: %v is negative", o.Leeway)
	}
	if err := o.Argon2.validate(); err != nil {
		bad("Argon2: %w", err)
	}
	if o.Hashes < 1 {
		bad("Hashes: %d is too few; at least 1", o.Hashes)
	}
	if o.QueuedHashes < 1 {
		bad("QueuedHashes: %d is too few; at least 1", o.QueuedHashes)
	}
	return errors.Join(errs...)
}

// Accounts are the server's own users: their passwords, login sessions and API
// keys, and what was revoked of them and of others. Its methods are safe for
// concurrent use. All that take a context may block, on a disk or for a
// password's hash, and are for goroutines that may; VerifyKey and Revoked never
// block.
//
// What changes one account happens one after the other (see turns); the checks
// of passwords, which take long, are outside of that.
type Accounts struct {
	// Static after NewAccounts.
	opts  AccountsOptions
	store Store
	log   *slog.Logger
	tele  *accountsTelemetry

	hasher   *hasher
	throttle *throttle
	turns    turns
	keys     keyTable
	revoked  revocations

	clockMu sync.Mutex
	last    int64 // ms; the highest time given out, see cut

	stop    chan struct{}
	workers sync.WaitGroup
	once    sync.Once
}

// NewAccounts opens the accounts that the store keeps. The caller closes them
// before the store.
func NewAccounts(o AccountsOptions) (*Accounts, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("auth: accounts: %w", err)
	}
	o = o.withDefaults()
	a := &Accounts{opts: o, store: o.Store, log: o.Logger, stop: make(chan struct{})}
	if err := a.load(); err != nil {
		return nil, err
	}
	a.tele = newAccountsTelemetry(o.Metrics)
	a.hasher = newHasher(&a.opts, a.tele)
	a.throttle = newThrottle(o.LoginRate, o.AddressRate, o.Now, a.tele)
	a.tele.exportGauges(a)
	a.workers.Go(a.housekeep)
	return a, nil
}

// load reads what is kept in memory.
func (a *Accounts) load() error {
	keys, revoked, err := a.store.Load()
	if err != nil {
		return fmt.Errorf("auth: accounts: %w", err)
	}
	a.keys.init(keys)
	a.revoked.init(revoked)
	// What is issued from now on comes after what was revoked before the
	// restart, also where the clock was set back a little meanwhile.
	for _, r := range revoked {
		a.last = max(a.last, r.Before.UnixMilli()+1)
	}
	return nil
}

// Close writes what is only in memory and ends the hashing; passwords that wait
// for it are refused. Nothing may be asked of the accounts afterwards.
func (a *Accounts) Close() error {
	a.once.Do(func() {
		close(a.stop)
		a.workers.Wait()
		a.hasher.close()
		a.tele.close()
	})
	return nil
}

// housekeep writes when keys were last used, and forgets revocations that
// nothing is left of, every minute and at the end.
func (a *Accounts) housekeep() {
	ticker := time.NewTicker(housekeepingGap)
	defer ticker.Stop()
	for {
		select {
		case <-a.stop:
			a.tidy()
			return
		case <-ticker.C:
			a.tidy()
		}
	}
}

func (a *Accounts) tidy() {
	a.throttle.expire()
	release, err := a.turns.take(context.Background(), sharedTurn)
	if err != nil {
		return
	}
	defer release()
	changes := Changes{Keys: a.keys.usedSince(), DropRevocations: a.revoked.prune(a.opts.Now())}
	if len(changes.Keys)+len(changes.DropRevocations) == 0 {
		return
	}
	if err := a.store.Apply(&changes); err != nil {
		a.log.LogAttrs(context.Background(), slog.LevelWarn, "when API keys were last used could not be written", slog.Any("error", err))
	}
}

// apply writes changes; those of keys and revocations in memory follow.
func (a *Accounts) apply(ctx context.Context, c *Changes) *proto.Error {
	if err := a.store.Apply(c); err != nil {
		return a.fault(ctx, err)
	}
	a.keys.apply(c)
	a.revoked.apply(c)
	for i := range c.Revocations {
		a.opts.OnRevoke(c.Revocations[i].Revocation)
	}
	for _, id := range c.DropKeys {
		a.opts.OnRevoke(Revocation{KeyID: id})
	}
	return nil
}

// fault words a store's error for the client.
func (a *Accounts) fault(ctx context.Context, err error) *proto.Error {
	if known, ok := errors.AsType[*proto.Error](err); ok {
		return known
	}
	if code, ok := errors.AsType[*proto.Code](err); ok && code != proto.ErrStorage {
		return code.New()
	}
	a.log.LogAttrs(ctx, slog.LevelError, "accounts could not be read or written", slog.Any("error", err))
	return proto.ErrStorage.With("accounts could not be read or written")
}

// page checks the bound of a list.
func page(limit int) *proto.Error {
	if limit < 1 || limit > maxPage {
		return proto.ErrInvalidField.With("limit is %d; from 1 to %d", limit, maxPage)
	}
	return nil
}
