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
	secret, err := existingSecret(cfg)
	if err != nil {
		return failure(o, err)
	}
	token, err := auth.Sign(secret, *user, *ttl, auth.SignOptions{Rooms: rules})
	if err != nil {
		return failure(o, err)
	}
	fmt.Fprintln(o.out, token)
	return exitOK
}

func tokenUsage() string {
	return fmt.Sprintf(`Usage: throng token --user ID [--ttl DURATION] [--allow ROOMS=RIGHTS]... [FLAGS]

Prints a token for the user, signed with the secret that throng serve would use
with the same flags, file and environment.

  --user ID
        the user's id, 1 to %d bytes
  --ttl DURATION (default %s)
        how long the token is good for
  --allow ROOMS=RIGHTS
        restricts the user: a room's name or a prefix with a star, and the
        rights there (join, publish, read, create, dm), such as
        "chat:*=join,publish,read"; may be repeated. Without it the user may do
        everything

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
// data directory, which the server makes when it first starts.
func existingSecret(cfg *config.Config) ([]byte, error) {
	if secret := cfg.Auth.HS256.Bytes(); secret != nil {
		return secret, nil
	}
	secret, err := auth.LoadSecret(cfg.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no secret is configured and there is none at %s; start the server once, or say where its data lies with --data-dir or --config", filepath.Join(cfg.DataDir, auth.SecretFile))
	}
	return secret, err
}
