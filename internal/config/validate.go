package config

import (
	"fmt"
	"net"
	"net/netip"
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
	c.validateAuth(report)
	c.validateLimits(report)
	for _, n := range c.Namespaces {
		key := namespaceTable + "." + n.Name
		if wrong := checkNamespaceName(n.Name); wrong != "" {
			report(key, "", wrong, fmt.Sprintf("a name of 1 to %d bytes without colons and control characters, other than %q", maxNamespaceName, proto.UserNamespace))
		}
	}
	return problems
}

func (c *Config) validateAuth(report func(key, value, wrong, accepts string)) {
	const secret, file = "auth.hs256_secret", "auth.hs256_secret_file"
	if c.given(secret) && c.Auth.HS256Secret == "" {
		report(secret, `""`, "the secret is empty", "a secret, such as openssl rand -hex 32 prints, or the key left out")
	}
	if c.Auth.HS256Secret != "" && c.Auth.HS256SecretFile != "" {
		report(file, quoteTOML(c.Auth.HS256SecretFile), secret+" is set, too", "one of the two")
	}
}

// Warnings returns what is accepted and yet should be looked at, a sentence
// each.
func (c *Config) Warnings() []string {
	var warnings []string
	if n := len(c.Auth.Secret()); n > 0 && n < goodSecret {
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
