package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/internal/config"
)

// keyVerbs are what throng key does, and whether it takes a KID.
var keyVerbs = []struct {
	name  string
	takes bool
	run   func(c keyCommand) error
}{
	{"generate", false, generateKey},
	{"list", false, listKeys},
	{"retire", true, func(c keyCommand) error { return auth.RetireKey(c.file, c.kid) }},
	{"remove", true, func(c keyCommand) error { return auth.RemoveKey(c.file, c.kid) }},
}

// keyCommand is one call of throng key.
type keyCommand struct {
	outside
	file    string
	signing string // auth.signing_key
	kid     string
	alg     string
	public  bool
}

// runKey changes and shows the keys file. A server that uses it sees that by
// itself.
func runKey(args []string, o outside) int {
	if len(args) == 0 {
		return usageError(o, "key", errors.New("key takes generate, list, retire or remove"))
	}
	if args[0] == "-h" || args[0] == "--help" {
		fmt.Fprint(o.out, keyUsage())
		return exitOK
	}
	for _, verb := range keyVerbs {
		if verb.name != args[0] {
			continue
		}
		c := keyCommand{outside: o}
		args = args[1:]
		if verb.takes && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			c.kid, args = args[0], args[1:]
		}
		set := newFlagSet("key")
		switch verb.name {
		case "generate":
			set.StringVar(&c.alg, "alg", auth.EdDSA, "")
			set.StringVar(&c.kid, "kid", "", "")
		case "list":
			set.BoolVar(&c.public, "public", false, "")
		}
		cfg, code, ok := loadConfig(set, args, o, keyUsage())
		switch {
		case !ok:
			return code
		case verb.takes && c.kid == "":
			return usageError(o, "key", fmt.Errorf("key %s takes the KID of a key", verb.name))
		case cfg.Auth.KeysFile == "":
			return usageError(o, "key", errors.New("no keys file is configured; name it with --auth-keys-file or --config"))
		}
		c.file, c.signing = cfg.Auth.KeysFile, cfg.Auth.SigningKey
		if err := verb.run(c); err != nil {
			return failure(o, err)
		}
		return exitOK
	}
	return usageError(o, "key", fmt.Errorf("key takes generate, list, retire or remove, not %q", args[0]))
}

func generateKey(c keyCommand) error {
	kid, err := auth.GenerateKey(c.file, c.alg, c.kid, time.Now())
	if err == nil {
		fmt.Fprintln(c.out, kid)
	}
	return err
}

func listKeys(c keyCommand) error {
	if c.public {
		set, err := auth.PublicKeys(c.file)
		if err == nil {
			fmt.Fprintf(c.out, "%s\n", set)
		}
		return err
	}
	keys, err := auth.ListKeys(c.file, c.signing)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KID\tALG\tUSE")
	for _, k := range keys {
		use := "verifies"
		switch {
		case k.Signs:
			use = "signs"
		case k.CanSign:
			use = "waits to sign"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", k.ID, k.Algorithm, use)
	}
	return w.Flush()
}

func keyUsage() string {
	return fmt.Sprintf(`Usage: throng key generate [--alg ALG] [--kid KID] [FLAGS]
       throng key list [--public] [FLAGS]
       throng key retire|remove KID [FLAGS]

Looks after the keys file (auth.keys_file), which tokens are signed and verified
with. A running server takes a change within two seconds.

generate makes a key, puts it behind the others, and prints its kid. The file is
made where there is none. Unless auth.signing_key names another, the first key
that can sign does: a new one verifies at once and signs when those before it
are retired.
  --alg HS256|RS256|ES256|EdDSA (default %s)
        the only algorithm that the key is used with
  --kid KID
        what tokens name it by; made up by default

list shows the keys and which of them signs.
  --public
        prints the public keys as a JWK Set instead, for others who verify
        this server's tokens

retire lets a key sign no more: its tokens stay good until they end. remove
drops it, and with it every token that it signed.

%s`, auth.EdDSA, config.Usage())
}
