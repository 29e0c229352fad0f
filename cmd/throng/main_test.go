package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/thronghq/throng/auth"
)

// invoke runs a command line as main does, in an empty environment.
func invoke(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(args, outside{out: &out, err: &err})
	return code, out.String(), err.String()
}

func TestCommandLine(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	tests := []struct {
		name   string
		args   []string
		code   int
		stdout string // a part of it, "" for nothing at all
		stderr string
	}{
		{"help", []string{"help"}, exitOK, "--data-dir (default ./throng-data)", ""},
		{"--help", []string{"--help"}, exitOK, "throng token", ""},
		{"serve --help", []string{"serve", "--help"}, exitOK, "--limits-message (default 64KiB)", ""},
		{"token --help", []string{"token", "--help"}, exitOK, "--allow ROOMS=RIGHTS", ""},
		{"config --help", []string{"config", "--help"}, exitOK, "check prints", ""},
		{"config check --help", []string{"config", "check", "--help"}, exitOK, "check prints", ""},
		{"version", []string{"version"}, exitOK, "throng ", ""},
		{"--version", []string{"--version"}, exitOK, "throng ", ""},
		{"version of something", []string{"version", "x"}, exitUsage, "", `"x"`},
		{"no such command", []string{"sevre"}, exitUsage, "", `no command "sevre"`},
		{"no such flag", []string{"--lissten=:1"}, exitUsage, "", "did you mean --listen?"},
		{"an argument too many", []string{"serve", "now"}, exitUsage, "", `"now"`},
		{"a refused configuration", []string{"--listen=x", "--log-level=y"}, exitConfig, "", "log.level = y (flag --log-level)"},
		{"config", []string{"config"}, exitUsage, "", "check or print"},
		{"config of something", []string{"config", "chek"}, exitUsage, "", `"chek"`},
		{"config check", []string{"config", "check"}, exitOK, "ok\n", ""},
		{"config check finds", []string{"config", "check", "--listen=x"}, exitFailure, "", "listen = x (flag --listen)"},
		{"config check warns", []string{"config", "check", "--auth-hs256-secret=x"}, exitOK, "ok\n", "RFC 7518"},
		{"config check looks at the keys", []string{"config", "check", "--auth-keys-file=" + missing}, exitFailure, "", "no such file"},
		{"config check looks for the signing key", []string{"config", "check", "--auth-signing-key=k"}, exitFailure, "", "auth.signing_key"},
		{"config check, flag unknown", []string{"config", "check", "--x"}, exitUsage, "", "--x"},
		{"config print", []string{"config", "print", "--listen=:1"}, exitOK, `listen = [":1"]`, ""},
		{"key", []string{"key"}, exitUsage, "", "generate, list, retire or remove"},
		{"key --help", []string{"key", "--help"}, exitOK, "throng key retire|remove KID", ""},
		{"key generate --help", []string{"key", "generate", "--help"}, exitOK, "--alg HS256", ""},
		{"key of something", []string{"key", "burn"}, exitUsage, "", `"burn"`},
		{"key without a file", []string{"key", "list"}, exitUsage, "", "--auth-keys-file"},
		{"key of a file that is not there", []string{"key", "list", "--auth-keys-file=" + missing}, exitFailure, "", "no such file"},
		{"key retire without a kid", []string{"key", "retire", "--auth-keys-file=" + missing}, exitUsage, "", "KID"},
		{"key remove, no file", []string{"key", "remove", "x", "--auth-keys-file=" + missing}, exitFailure, "", "no such file"},
		{"key with a bad algorithm", []string{"key", "generate", "--alg=none", "--auth-keys-file=" + missing}, exitFailure, "", "none of HS256"},
		{"token with a keys file that is not there", []string{"token", "--user=a", "--auth-keys-file=" + missing}, exitFailure, "", "no such file"},
		{"token without a user", []string{"token"}, exitUsage, "", "--user is missing"},
		{"token without a secret", []string{"token", "--user=a", "--data-dir=" + missing}, exitFailure, "", "start the server once"},
		{"token with a bad rule", []string{"token", "--user=a", "--allow=x"}, exitUsage, "", "no equals sign"},
		{"token with a bad right", []string{"token", "--user=a", "--allow=x=fly"}, exitUsage, "", `"fly"`},
		{"token with a bad match", []string{"token", "--user=a", "--allow=x*y=join"}, exitUsage, "", "star"},
		{"token with a bad life", []string{"token", "--user=a", "--ttl=soon"}, exitUsage, "", "soon"},
		{"token without a life", []string{"token", "--user=a", "--ttl=0", "--auth-hs256-secret=x"}, exitFailure, "", "a second is the least"},
		{"token for nobody", []string{"token", "--user=a\n", "--auth-hs256-secret=x"}, exitFailure, "", "control character"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := invoke(test.args...)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, s := range []struct{ name, got, want string }{{"output", stdout, test.stdout}, {"error", stderr, test.stderr}} {
				if !strings.Contains(s.got, s.want) || (s.want == "" && s.got != "") {
					t.Errorf("standard %s is %q, want %q in it", s.name, s.got, s.want)
				}
			}
		})
	}
}

func TestToken(t *testing.T) {
	dir := t.TempDir()
	fromDir, created, err := auth.LoadOrCreateSecret(dir)
	if err != nil || !created {
		t.Fatal(created, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		args   []string
		secret string
	}{
		{"of the data directory", []string{"--data-dir=" + dir}, string(fromDir)},
		{"configured", []string{"--data-dir=" + dir, "--auth-hs256-secret=configured"}, "configured"},
		{"from a file", []string{"--data-dir=" + dir, "--auth-hs256-secret-file=" + file}, "from a file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := invoke(append([]string{"token", "--user", "ada", "--ttl", "1h", "--allow", "a=b:*=join,read", "--allow=lobby=dm"}, test.args...)...)
			if code != exitOK || stderr != "" {
				t.Fatalf("exit code %d, standard error %q", code, stderr)
			}
			token, ok := strings.CutSuffix(stdout, "\n")
			if !ok || strings.ContainsAny(token, " \n") {
				t.Fatalf("standard output is %q, want a token alone", stdout)
			}
			id, refused := auth.NewVerifier(auth.VerifierOptions{Keys: auth.NewKeySet([]byte(test.secret))}).Verify([]byte(token))
			if refused != nil {
				t.Fatal(refused)
			}
			if id.UserID != "ada" || !id.Allows(auth.RightRead, "a=b:1") || !id.Allows(auth.RightDM, "lobby") || id.Allows(auth.RightJoin, "lobby") {
				t.Errorf("the token is for %q with other rights than asked for", id.UserID)
			}
		})
	}
}
