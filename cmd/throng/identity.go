package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/internal/config"
	"github.com/thronghq/throng/storage"
)

// identity is who may come in, and what they may do.
type identity struct {
	keys       *auth.KeySet
	issuers    []*auth.Issuer
	accounts   *auth.Accounts
	verifier   *auth.Verifier
	authorizer *auth.Authorizer
	ownSecret  bool // the secret is the data directory's own
}

// openIdentity opens the keys and the accounts. What revokes something calls
// onRevoke.
func openIdentity(cfg *config.Config, log *slog.Logger, set *metrics.Set, store *storage.Store, onRevoke func(auth.Revocation)) (*identity, error) {
	i := new(identity)
	if err := i.open(cfg, log, set, store, onRevoke); err != nil {
		return nil, errors.Join(err, i.close())
	}
	return i, nil
}

func (i *identity) open(cfg *config.Config, log *slog.Logger, set *metrics.Set, store *storage.Store, onRevoke func(auth.Revocation)) (err error) {
	if i.authorizer, err = newAuthorizer(cfg); err != nil {
		return err
	}
	secret, own, err := serverSecret(cfg)
	if err != nil {
		return err
	}
	i.ownSecret = own
	i.keys, err = auth.OpenKeySet(auth.KeySetOptions{
		Secret: secret, File: cfg.Auth.KeysFile, SigningKey: cfg.Auth.SigningKey, Logger: log, Metrics: set,
	})
	if err != nil {
		return err
	}
	for _, other := range cfg.Issuers {
		issuer, err := auth.OpenIssuer(auth.IssuerOptions{
			Name: other.Name, Issuer: other.Issuer, URL: other.JWKSURL, Audience: other.Audience,
			Algorithms: other.Algorithms, UserClaim: other.UserClaim, UserPrefix: other.UserPrefix, Refresh: other.Refresh, Logger: log, Metrics: set,
		})
		if err != nil {
			return err
		}
		i.issuers = append(i.issuers, issuer)
	}
	i.accounts, err = newAccounts(cfg, log, set, store, i.keys, newDeriver, onRevoke)
	if err != nil {
		return err
	}
	i.verifier = auth.NewVerifier(auth.VerifierOptions{
		Keys: i.keys, Issuers: i.issuers, Issuer: cfg.Auth.Issuer, Audience: cfg.Auth.Audience,
		APIKeys: i.accounts.VerifyKey, Revoked: i.accounts.Revoked,
		Leeway: cfg.Auth.Leeway, MaxBytes: cfg.Limits.TokenBytes, Logger: log, Metrics: set,
	})
	return nil
}

// newAccounts opens the store's accounts. Passwords are hashed in this process
// where newDeriver is nil.
func newAccounts(cfg *config.Config, log *slog.Logger, set *metrics.Set, store *storage.Store, keys auth.Signer, newDeriver func() auth.Deriver, onRevoke func(auth.Revocation)) (*auth.Accounts, error) {
	const kib = 1 << 10
	return auth.NewAccounts(auth.AccountsOptions{
		Store: store, Keys: keys, Issuer: cfg.Auth.Issuer, Audience: cfg.Auth.Audience,
		AccessTTL: cfg.Auth.AccessTTL, RefreshTTL: cfg.Auth.RefreshTTL, Leeway: cfg.Auth.Leeway, Registration: cfg.Auth.Registration,
		Argon2: auth.Argon2{MemoryKiB: uint32(cfg.Auth.Argon2Memory / kib), Time: uint32(cfg.Auth.Argon2Time)},
		Hashes: cfg.Auth.Argon2Hashes, NewDeriver: newDeriver,
		LoginRate: cfg.Rate.User.Logins, AddressRate: cfg.Rate.Address.Logins,
		OnRevoke: onRevoke, Now: time.Now, Logger: log, Metrics: set,
	})
}

// close ends what runs in the background. The store must still be open.
func (i *identity) close() error {
	var err error
	if i.accounts != nil {
		err = i.accounts.Close()
	}
	for _, issuer := range i.issuers {
		issuer.Close()
	}
	if i.keys != nil {
		i.keys.Close()
	}
	return err
}

// serverSecret returns the secret that tokens are signed with where no key of a
// file does: the configured one, or the data directory's own. Where there is
// none it is made, unless a keys file stands in for it.
func serverSecret(cfg *config.Config) (secret []byte, made bool, err error) {
	if secret := cfg.Auth.HS256.Bytes(); secret != nil {
		return secret, false, nil
	}
	if cfg.Auth.KeysFile != "" {
		secret, err := auth.LoadSecret(cfg.DataDir)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return secret, false, err
	}
	secret, _, err = auth.LoadOrCreateSecret(cfg.DataDir)
	return secret, true, err
}

// newAuthorizer gives everyone the rights that the namespaces say.
func newAuthorizer(cfg *config.Config) (*auth.Authorizer, error) {
	rights := make(map[string]auth.Rights)
	for _, ns := range namespaces(cfg) {
		set, err := auth.ParseRights(ns.Allow)
		if err != nil {
			return nil, fmt.Errorf("namespace.%s.allow: %w", ns.Name, err)
		}
		rights[ns.Name] = set
	}
	return auth.NewAuthorizer(rights), nil
}
