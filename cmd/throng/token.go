package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/internal/config"
)

const defaultTTL = 24 * time.Hour

// runToken prints a token, and nothing else, on standard output.
func runToken(args []string, o outside) int {
	set := newFlagSet("token")
	user := set.String("user", "", "")
	ttl := set.Duration("ttl", defaultTTL, "")
	allow := set.StringArray("allow", nil, "")
	admin := set.Bool("admin", false, "")
	cfg, code, ok := loadConfig(set, args, o, tokenUsage())
	if !ok {
		return code
	}
	if *user == "" {
		return usageError(o, "token", errors.New("--user is missing"))
	}
	rules, err := parseRules(*allow)
	if err != nil {
		return usageError(o, "token", err)
	}
	token, err := signToken(cfg, auth.AccessClaims{UserID: *user, Admin: *admin, Rooms: rules, TTL: *ttl})
	if err != nil {
		return failure(o, err)
	}
	fmt.Fprintln(o.out, token)
	return exitOK
}

// signToken signs with the key that the server would sign with.
func signToken(cfg *config.Config, claims auth.AccessClaims) (string, error) {
	secret, err := existingSecret(cfg)
	if err != nil {
		return "", err
	}
	keys, err := auth.OpenKeySet(auth.KeySetOptions{
		Secret: secret, File: cfg.Auth.KeysFile, SigningKey: cfg.Auth.SigningKey,
	})
	if err != nil {
		return "", err
	}
	defer keys.Close()
	claims.Issuer, claims.Audience = cfg.Auth.Issuer, cfg.Auth.Audience
	return keys.Sign(claims)
}

func tokenUsage() string {
	return fmt.Sprintf(`Usage: throng token --user ID [--ttl DURATION] [--allow ROOMS=RIGHTS]... [--admin] [FLAGS]

Prints a token for the user, signed with the key or secret that throng serve
would use with the same flags, file and environment.

  --user ID
        the user's id, 1 to %d bytes
  --ttl DURATION (default %s)
        how long the token is good for
  --allow ROOMS=RIGHTS
        restricts the user: a room's name or a prefix with a star, and the
        rights there (join, publish, read, members, create, dm, manage), such
        as "chat:*=join,publish,read"; may be repeated. Without it the user has
        the rights of the rooms' namespaces
  --admin
        makes the user an administrator, who has every right and administers
        users, sessions and the server

%s`, auth.MaxUserID, defaultTTL, config.Usage())
}

// parseRules reads rules such as chat:*=join,read. The last equals sign
// divides, for a room's name may hold one.
func parseRules(texts []string) ([]auth.Rule, error) {
	var rules []auth.Rule
	for _, text := range texts {
		at := strings.LastIndexByte(text, '=')
		if at < 0 {
			return nil, fmt.Errorf("--allow %q has no equals sign; write ROOMS=RIGHTS, such as chat:*=join,read", text)
		}
		rights, err := auth.ParseRights(strings.Split(text[at+1:], ","))
		if err != nil {
			return nil, fmt.Errorf("--allow %q: %w", text, err)
		}
		rule := auth.Rule{Match: text[:at], Allow: rights}
		if err := rule.Check(); err != nil {
			return nil, fmt.Errorf("--allow %q: %w", text, err)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// existingSecret returns the configured secret or, without one, that of the
// data directory, which the server makes when it first starts. Beside a keys
// file there need be none.
func existingSecret(cfg *config.Config) ([]byte, error) {
	if secret := cfg.Auth.HS256.Bytes(); secret != nil {
		return secret, nil
	}
	secret, err := auth.LoadSecret(cfg.DataDir)
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		return secret, err
	case cfg.Auth.KeysFile != "":
		return nil, nil
	}
	return nil, fmt.Errorf("no secret is configured and there is none at %s; start the server once, or say where its data lies with --data-dir or --config", filepath.Join(cfg.DataDir, auth.SecretFile))
}
