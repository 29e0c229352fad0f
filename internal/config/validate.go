package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/thronghq/throng/proto"
)

// goodSecret is the length, in bytes, from which a secret is as strong as
// HMAC-SHA-256 can make it; with fewer bytes it is only as strong as they are
// (RFC 7518, section 3.2).
const goodSecret = 32

// leastMemory is the smallest memory budget, in bytes: four clients' outboxes.
const leastMemory = mib

// maxNamespaceName leaves a room's name as many bytes after the colon.
const maxNamespaceName = proto.MaxRoomName / 2

// Validate reports everything that is wrong with the values together: what
// the bounds of a single key, which hold when it is set, cannot say. Load
// calls it; nil means that all is well.
func (c *Config) Validate() Problems {
	var problems Problems
	report := func(key, value, wrong, accepts string) {
		problems = append(problems, Problem{Key: key, Source: c.from[key], Value: value, Wrong: wrong, Accepts: accepts})
	}
	if len(c.Listen) == 0 {
		report("listen", "[]", "there is no address to listen on", `at least one, such as ":8080"`)
	}
	if c.DataDir == "" {
		report("data_dir", `""`, "the path is empty", "a directory, which is created where it does not exist")
	}
	if n := c.MemoryBudget; n > 0 && n < leastMemory {
		report("memory_budget", formatSize(n), "a few clients would use it up", "at least "+formatSize(leastMemory)+", or 0 for a quarter of the memory that the process may use")
	}
	c.validateAuth(report)
	c.validateHooks(report)
	c.validateIssuers(report)
	c.validateLimits(report)
	c.validateTLS(report)
	for _, n := range c.Namespaces {
		key := namespaceTable + "." + n.Name
		if wrong := checkNamespaceName(n.Name); wrong != "" {
			report(key, "", wrong, fmt.Sprintf("a name of 1 to %d bytes without colons and control characters, other than %q", maxNamespaceName, proto.UserNamespace))
		}
	}
	return problems
}

func (c *Config) validateAuth(report func(key, value, wrong, accepts string)) {
	const secret = "auth.hs256_secret"
	if c.given(secret) && c.Auth.HS256.Text == "" {
		report(secret, `""`, "the secret is empty", "a secret, such as openssl rand -hex 32 prints, or the key left out")
	}
	checkSecret(report, secret, &c.Auth.HS256)
	if c.Auth.SigningKey != "" && c.Auth.KeysFile == "" {
		report("auth.signing_key", quoteTOML(c.Auth.SigningKey), "there is no auth.keys_file that could hold it", "a kid of that file, or the key left out")
	}
	if c.Auth.RefreshTTL < c.Auth.AccessTTL {
		report("auth.refresh_ttl", formatDuration(c.Auth.RefreshTTL), "it ends before the access token does", "at least auth.access_ttl, which is "+formatDuration(c.Auth.AccessTTL))
	}
}

// validateTLS holds the parts of TLS together.
func (c *Config) validateTLS(report func(key, value, wrong, accepts string)) {
	t := &c.TLS
	switch {
	case t.Cert != "" && t.Key == "":
		report("tls.key", `""`, "tls.cert has no key", "the file of the certificate's private key")
	case t.Cert == "" && t.Key != "":
		report("tls.cert", `""`, "tls.key has no certificate", "the file of the key's certificate")
	}
	if t.ClientCA != "" && !t.Enabled() {
		report("tls.client_ca", quoteTOML(t.ClientCA), "without TLS nobody shows a certificate", "tls.cert or tls.acme_hosts beside it")
	}
	if len(t.ACMEHosts) > 0 {
		checkURL(report, "tls.acme_directory", t.ACMEDirectory)
	}
	if t.Enabled() && !slices.ContainsFunc(c.Listen, func(a string) bool { return !strings.HasPrefix(a, unixPrefix) }) {
		report("listen", listValue{at: &c.Listen}.toml(), "unix sockets do not speak TLS", "a TCP address beside them, or no TLS")
	}
}

// checkSecret reports a secret that is given twice.
func checkSecret(report func(key, value, wrong, accepts string), key string, s *Secret) {
	if s.Text != "" && s.File != "" {
		report(key+"_file", quoteTOML(s.File), key+" is set, too", "one of the two")
	}
}

// validateHooks holds the hook and the webhooks to what they cannot do without.
func (c *Config) validateHooks(report func(key, value, wrong, accepts string)) {
	if c.Hook.URL != "" {
		checkURL(report, "hook.url", c.Hook.URL)
		checkHookSecret(report, "hook.secret", &c.Hook.Secret)
		if len(c.Hook.Events) == 0 {
			report("hook.events", "[]", "it would never be asked", "some of "+strings.Join(hookEvents, ", "))
		}
	}
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		key := webhookTable + "." + w.Name
		checkGroupName(report, key, w.Name)
		checkURL(report, key+".url", w.URL)
		checkHookSecret(report, key+".secret", &w.Secret)
		if len(w.Events) == 0 {
			report(key+".events", "[]", "nothing would ever be sent", "some of "+strings.Join(webhookEvents, ", "))
		}
	}
}

// leastHookSecret is how many bytes Standard Webhooks asks of a key.
const leastHookSecret = 24

func checkHookSecret(report func(key, value, wrong, accepts string), key string, s *Secret) {
	checkSecret(report, key, s)
	if n := len(s.Bytes()); n < leastHookSecret && (s.File == "" || n > 0) { // a file that cannot be read is reported already
		report(key, masked, fmt.Sprintf("the secret has %d bytes", n), fmt.Sprintf("at least %d bytes, such as openssl rand -hex 32 prints", leastHookSecret))
	}
}

// validateIssuers holds other servers' tables to what they cannot do without.
func (c *Config) validateIssuers(report func(key, value, wrong, accepts string)) {
	for i := range c.Issuers {
		issuer := &c.Issuers[i]
		key := issuerTable + "." + issuer.Name
		checkGroupName(report, key, issuer.Name)
		checkURL(report, key+".jwks_url", issuer.JWKSURL)
		if issuer.Issuer == "" {
			report(key+".issuer", `""`, "the issuer is missing", "the iss of its tokens")
		}
		if slices.ContainsFunc(c.Issuers[:i], func(other Issuer) bool { return other.Issuer == issuer.Issuer }) || issuer.Issuer != "" && issuer.Issuer == c.Auth.Issuer {
			report(key+".issuer", quoteTOML(issuer.Issuer), "another issuer has it, too", "an iss of its own")
		}
		if len(issuer.Audience) == 0 {
			report(key+".audience", "[]", "tokens that it made for other services would do", "the aud of the tokens that it makes for this server")
		}
		if len(issuer.Algorithms) == 0 {
			report(key+".algorithms", "[]", "none of its tokens could be verified", "some of "+strings.Join(issuerAlgorithms, ", "))
		}
	}
}

func checkURL(report func(key, value, wrong, accepts string), key, text string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		report(key, quoteTOML(text), "not a URL", "an http or https URL")
	}
}

// checkGroupName holds the name of a table to what logs, metrics and paths can
// take.
func checkGroupName(report func(key, value, wrong, accepts string), key, name string) {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
	}
	if name == "" || len(name) > maxNamespaceName || strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		report(key, "", "the name is not plain", fmt.Sprintf("a name of 1 to %d letters, digits, - and _", maxNamespaceName))
	}
}

// Warnings returns what is accepted and yet should be looked at, a sentence
// each.
func (c *Config) Warnings() []string {
	var warnings []string
	if n := len(c.Auth.HS256.Bytes()); n > 0 && n < goodSecret {
		warnings = append(warnings, fmt.Sprintf("the secret that tokens are signed with has %d bytes, so that it can be guessed from any token; RFC 7518 asks for %d or more, such as openssl rand -hex 32 prints", n, goodSecret))
	}
	if c.Dev && slices.ContainsFunc(c.Listen, reachable) {
		warnings = append(warnings, "dev admits anyone as any user, and an address in listen can be reached from other machines")
	}
	return warnings
}

// reachable reports whether other machines may reach the address.
func reachable(address string) bool {
	if strings.HasPrefix(address, unixPrefix) {
		return false
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil || host == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err != nil || !ip.IsLoopback()
}

// validateLimits holds limits that depend on one another together.
func (c *Config) validateLimits(report func(key, value, wrong, accepts string)) {
	l := &c.Limits
	if l.HandshakeLine > l.HandshakeBytes {
		report("limits.handshake_line", formatSize(l.HandshakeLine), "a line cannot be longer than the whole head", "at most limits.handshake_bytes, which is "+formatSize(l.HandshakeBytes))
	}
	if l.Outbox < l.Message {
		report("limits.outbox", formatSize(l.Outbox), "a message of the largest size would not fit", "at least limits.message, which is "+formatSize(l.Message))
	}
	if need := l.HistoryBytes + l.Message; l.Replies < need {
		report("limits.replies", formatSize(l.Replies), "a page of history would not fit", "at least limits.history_bytes and limits.message together, "+formatSize(need))
	}
}

func checkNamespaceName(name string) string {
	switch {
	case name == "":
		return "the name is empty"
	case name == proto.UserNamespace:
		return "the name is reserved for the users' inboxes"
	case len(name) > maxNamespaceName:
		return "the name is too long"
	case strings.Contains(name, ":"):
		return "a colon ends the name of a namespace"
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return "the name holds a control character"
	}
	return ""
}
