package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/thronghq/throng/proto"
)

// key is one row of the table: something that can be set.
type key struct {
	name   string // dotted, as in the file: a.b_c is b_c under [a]
	value  value
	help   string // one sentence or a few, without a full stop at the end
	secret bool   // never printed
}

// env is the name of the key's environment variable.
func (k key) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
}

// flag is the name of the key's flag, without the dashes.
func (k key) flag() string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(k.name)
}

const envPrefix = "THRONG_"

// Bounds that many keys share.
const (
	kib   = 1 << 10
	mib   = 1 << 20
	gib   = 1 << 30
	tib   = 1 << 40
	day   = 24 * time.Hour
	years = 10 * 365 * day
)

// keys returns the table with c's fields as the places of the values.
func keys(c *Config) []key {
	return append([]key{
		{name: "listen", value: listValue{&c.Listen, `addresses such as ":8080", "127.0.0.1:0" or "unix:/run/throng.sock"`, checkListen}, help: "where connections are accepted; without a host, on every address of the machine"},
		{name: "data_dir", value: stringValue{at: &c.DataDir}, help: "where the history and the secret lie; created where it does not exist"},
		{name: "dev", value: boolValue{&c.Dev}, help: "for trying out: listens on " + devListen + " unless listen is set, admits /ws?user=NAME without a token, enables the echo, lets anyone register. Never on an address that others reach"},
		{name: "origins", value: listValue{&c.Origins, `origins such as "https://example.org", or "*" for all`, checkOrigin}, help: "pages that browsers may connect from, beside those that this server serves itself"},
		{name: "ping_interval", value: durationValue{&c.PingInterval, time.Second, 45 * time.Second}, help: "how often a connection is pinged; one that is silent for two intervals, 60 s at the most, is closed"},
		{name: "drain_timeout", value: durationValue{&c.DrainTimeout, 0, time.Hour}, help: "how long a stop may take; its last tenth is kept for the log, and clients that have not gone by then are cut off"},
		{name: "memory_budget", value: sizeValue{&c.MemoryBudget, 0, tib}, help: "bounds what outboxes, event streams, replays, partial frames, requests' bodies and webhooks' queues hold together: from four fifths of it on, those that hold most are closed, and past it newcomers get 503; at least 1MiB; 0 takes a quarter of the memory that the process may use"},

		{name: "api.body", value: sizeValue{&c.API.Body, kib, 64 * mib}, help: "the body of a request to the REST API"},
		{name: "api.timeout", value: durationValue{&c.API.Timeout, 100 * time.Millisecond, time.Hour}, help: "how long a request to the REST API may take, streams of events apart"},
		{name: "auth.hs256_secret", value: stringValue{at: &c.Auth.HS256.Text}, secret: true, help: "the secret that tokens (JWT, HS256) are signed with. With neither it nor the file set, the server makes one in data_dir/secret"},
		{name: "auth.hs256_secret_file", value: stringValue{at: &c.Auth.HS256.File}, help: "a file that holds the secret instead; a line end after it does not count"},
		{name: "auth.keys_file", value: stringValue{at: &c.Auth.KeysFile}, help: "a JWK Set (RFC 7517) of keys that tokens are verified with, beside the secret, each with its kid and alg (HS256, RS256, ES256, EdDSA); read again when it changes. throng key makes and changes it"},
		{name: "auth.signing_key", value: stringValue{at: &c.Auth.SigningKey}, help: "the kid of the key in auth.keys_file that signs the server's own tokens; without it, the file's first private key, or the secret where there is none"},
		{name: "auth.issuer", value: stringValue{at: &c.Auth.Issuer}, help: "the iss that tokens signed with the server's keys have, and must have"},
		{name: "auth.audience", value: listValue{&c.Auth.Audience, "names", nil}, help: "the aud of such tokens: they must name one of these"},
		{name: "auth.leeway", value: durationValue{&c.Auth.Leeway, 0, 10 * time.Minute}, help: "how far the clocks of the signer and of this server may differ"},
		{name: "auth.access_ttl", value: durationValue{&c.Auth.AccessTTL, time.Second, day}, help: "how long the access token of a login is good for"},
		{name: "auth.refresh_ttl", value: durationValue{&c.Auth.RefreshTTL, time.Second, years}, help: "how long a login can be refreshed after its last use"},
		{name: "auth.registration", value: boolValue{&c.Auth.Registration}, help: "lets anyone register an account; true with dev"},
		{name: "auth.argon2_memory", value: sizeValue{&c.Auth.Argon2Memory, 8 * mib, 4 * gib}, help: "memory that hashing a password takes (argon2id)"},
		{name: "auth.argon2_time", value: intValue{&c.Auth.Argon2Time, 1, 100}, help: "passes over that memory"},
		{name: "auth.argon2_hashes", value: intValue{&c.Auth.Argon2Hashes, 0, 64}, help: "passwords that are hashed at once; 0 takes one for every two cores"},
		{name: "compress.enabled", value: boolValue{&c.Compress.Enabled}, help: "compresses what rooms send to clients that agree on permessage-deflate (RFC 7692), in all namespaces that do not say otherwise and in the users' inboxes. Content that an attacker can have a part in, and secrets, should not go into one message"},
		{name: "compress.minimum", value: sizeValue{&c.Compress.Minimum, 64, mib}, help: "the least payload of a frame that is compressed; smaller ones gain little"},
		{name: "echo.enabled", value: boolValue{&c.Echo.Enabled}, help: "serves /echo, which sends each WebSocket message back; for load and conformance tests"},
		{name: "hook.url", value: stringValue{at: &c.Hook.URL}, help: "is asked before a connection, join or message is let in; what it refuses does not happen"},
		{name: "hook.secret", value: stringValue{at: &c.Hook.Secret.Text}, secret: true, help: "the key that requests to it are signed with (Standard Webhooks), 24 bytes or more, perhaps in base64 after whsec_"},
		{name: "hook.secret_file", value: stringValue{at: &c.Hook.Secret.File}, help: "a file that holds that key instead"},
		{name: "hook.events", value: listValue{&c.Hook.Events, "some of " + strings.Join(hookEvents, ", "), oneOf(hookEvents)}, help: "what it is asked about"},
		{name: "hook.timeout", value: durationValue{&c.Hook.Timeout, 10 * time.Millisecond, time.Minute}, help: "how long its answer is waited for"},
		{name: "hook.on_failure", value: stringValue{&c.Hook.OnFailure, []string{HookAllow, HookRefuse}}, help: "what holds where no answer comes"},
		{name: "hook.allow_private", value: boolValue{&c.Hook.AllowPrivate}, help: "lets its URL lead to a loopback, link-local or private address"},
		{name: "log.level", value: textValue{&c.Log.Level, []string{"debug", "info", "warn", "error"}}, help: "the least level that is logged"},
		{name: "log.format", value: stringValue{&c.Log.Format, []string{FormatAuto, FormatJSON, FormatText}}, help: "how standard error is written; auto means text on a terminal and JSON elsewhere"},
		{name: "net.pollers", value: intValue{&c.Net.Pollers, 0, 256}, help: "event loops that read and write the sockets; 0 takes one for each core"},
		{name: "net.listeners", value: intValue{&c.Net.Listeners, 0, 256}, help: "listening sockets for each TCP address, which share its port; 0 takes one for each poller"},
		{name: "net.send_buffer", value: sizeValue{&c.Net.SendBuffer, 4 * kib, 16 * mib}, help: "the kernel's send buffer of a WebSocket (SO_SNDBUF, which Linux doubles); bounds what a stalled client holds"},
		{name: "net.admission", value: rateValue{&c.Net.Admission, fmt.Sprintf("%d/s for each core, as many at once", handshakesPerCore)}, help: "WebSocket handshakes that are answered; past it they wait for up to 5 s, and the others get 503 with a Retry-After"},
		{name: "net.trusted_proxies", value: listValue{&c.Net.TrustedProxies, `networks such as "10.0.0.0/8"`, checkNetwork}, help: "proxies whose X-Forwarded-For header, or PROXY header, tells a client's address"},
		{name: "net.proxy_protocol", value: boolValue{&c.Net.ProxyProtocol}, help: "the trusted proxies begin each connection with a PROXY protocol header, version 1 or 2"},
		{name: "storage.sync_interval", value: durationValue{&c.Storage.SyncInterval, time.Millisecond, time.Second}, help: "how often messages of async rooms are made durable: about what a crash can lose"},
		{name: "storage.cache", value: sizeValue{&c.Storage.Cache, mib, tib}, help: "memory for blocks of the history"},
		{name: "storage.min_free", value: sizeValue{&c.Storage.MinFree, 0, 1024 * tib}, help: "publishing is refused while data_dir's file system has less free space than this, reading goes on; 0 for what the store needs to stay safe, 12 to 192 MiB by the disk's size"},
		{name: "tls.cert", value: stringValue{at: &c.TLS.Cert}, help: "a PEM file with the server's certificate and those between it and the authority's; with it, every TCP address in listen speaks TLS and nothing else. Read again when it changes"},
		{name: "tls.key", value: stringValue{at: &c.TLS.Key}, help: "a PEM file with the certificate's private key; read again when it changes"},
		{name: "tls.client_ca", value: stringValue{at: &c.TLS.ClientCA}, help: "a PEM file of authorities; with it, clients must show a certificate of one of them, beside their token. Read again when it changes"},
		{name: "tls.acme_hosts", value: listValue{&c.TLS.ACMEHosts, `host names such as "chat.example.org"`, checkHostName}, help: "names for which an ACME authority issues certificates, whose terms of service are agreed to with that; port 443 of each must lead to this server. Kept in data_dir/acme"},
		{name: "tls.acme_email", value: stringValue{at: &c.TLS.ACMEEmail}, help: "where the authority may write to"},
		{name: "tls.acme_directory", value: stringValue{at: &c.TLS.ACMEDirectory}, help: "the URL of the authority's ACME directory (RFC 8555)"},
	}, slices.Concat(rateKeys(&c.Rate), limitKeys(&c.Limits))...)
}

// rateKeys is the part of the table that sets the rates, scope by scope.
func rateKeys(r *Rates) []key {
	rate := func(name string, at *proto.Rate, help string) key {
		return key{name: "rate." + name, value: rateValue{at, "no bound"}, help: help}
	}
	return []key{
		rate("connection_frames", &r.Connection.Frames, "frames from one connection, pings, pongs and fragments among them"),
		rate("connection_bytes", &r.Connection.Bytes, "their bytes"),
		rate("connection_joins", &r.Connection.Joins, "joins of one connection"),
		rate("connection_publishes", &r.Connection.Publishes, "messages from one connection"),
		rate("user_frames", &r.User.Frames, "frames and requests from all that one user has open"),
		rate("user_bytes", &r.User.Bytes, "their bytes"),
		rate("user_joins", &r.User.Joins, "joins of one user"),
		rate("user_publishes", &r.User.Publishes, "messages of one user"),
		rate("user_handshakes", &r.User.Handshakes, "connections that one user opens"),
		rate("user_logins", &r.User.Logins, "failed logins to one account from one address"),
		rate("address_frames", &r.Address.Frames, "frames and requests from one address (IPv6: from one /64)"),
		rate("address_bytes", &r.Address.Bytes, "their bytes"),
		rate("address_joins", &r.Address.Joins, "joins from one address"),
		rate("address_publishes", &r.Address.Publishes, "messages from one address"),
		rate("address_handshakes", &r.Address.Handshakes, "connections from one address"),
		rate("address_logins", &r.Address.Logins, "logins and registrations from one address"),
		rate("room_bytes", &r.Room.Bytes, "bytes of the messages to one room"),
		rate("room_joins", &r.Room.Joins, "joins to one room"),
		rate("room_publishes", &r.Room.Publishes, "messages to one room"),
	}
}

// limitKeys is the part of the table that sets proto.Limits, field by field.
func limitKeys(l *proto.Limits) []key {
	return []key{
		{name: "limits.message", value: sizeValue{&l.Message, 1, 64 * mib}, help: "content of one message"},
		{name: "limits.envelope", value: sizeValue{&l.Envelope, kib, mib}, help: "a frame beside its content"},
		{name: "limits.depth", value: intValue{&l.Depth, 1, 10_000}, help: "nesting of JSON"},
		{name: "limits.invalid_frames", value: intValue{&l.InvalidFrames, 1, 255}, help: "invalid frames in a row that close the connection"},
		{name: "limits.rooms", value: intValue{&l.RoomsPerConn, 1, 1_000_000}, help: "rooms that one connection may have joined"},
		{name: "limits.outbox", value: sizeValue{&l.Outbox, kib, gib}, help: "room messages that wait for one connection; past it the room's slow policy holds"},
		{name: "limits.replies", value: sizeValue{&l.Replies, 64 * kib, gib}, help: "replies that wait for one connection; past it, it is closed"},
		{name: "limits.message_timeout", value: durationValue{&l.MessageTimeout, time.Second, time.Hour}, help: "a message that has begun to come has to bring 4 KiB more, or its end, within this time, each time; otherwise the connection is closed"},
		{name: "limits.handshake_timeout", value: durationValue{&l.HandshakeTimeout, 100 * time.Millisecond, time.Hour}, help: "from the accept to the end of the request's head"},
		{name: "limits.handshake_bytes", value: sizeValue{&l.HandshakeBytes, 512, 64 * kib}, help: "the request's head"},
		{name: "limits.handshake_line", value: sizeValue{&l.HandshakeLine, 256, 64 * kib}, help: "one line of the request's head"},
		{name: "limits.handshake_headers", value: intValue{&l.HandshakeHeaders, 5, 10_000}, help: "headers of the request"},
		{name: "limits.auth_timeout", value: durationValue{&l.AuthTimeout, 100 * time.Millisecond, time.Hour}, help: "from the upgrade to a valid auth"},
		{name: "limits.history_page", value: intValue{&l.HistoryPage, 1, 100_000}, help: "messages in one history reply"},
		{name: "limits.history_bytes", value: sizeValue{&l.HistoryBytes, kib, gib}, help: "content in one history reply; its first message always fits"},
		{name: "limits.replay", value: intValue{&l.Replay, 0, 100_000_000}, help: "missed messages that a join replays; who missed more reads history"},
		{name: "limits.id_bytes", value: sizeValue{&l.IDBytes, 1, 4 * kib}, help: "a command's id"},
		{name: "limits.key_bytes", value: sizeValue{&l.KeyBytes, 1, 4 * kib}, help: "an idempotency key"},
		{name: "limits.key_ttl", value: durationValue{&l.KeyTTL, 0, day}, help: "how long an idempotency key is remembered"},
		{name: "limits.key_records", value: intValue{&l.KeyRecords, 0, 10_000_000}, help: "messages that are read for their keys when a room wakes"},
		{name: "limits.user_id_bytes", value: sizeValue{&l.UserIDBytes, 1, 128}, help: "a user's id"},
		{name: "limits.token_bytes", value: sizeValue{&l.TokenBytes, 128, 64 * kib}, help: "a token"},
		{name: "limits.echo_message", value: sizeValue{&l.EchoMessage, kib, gib}, help: "one message on /echo"},
	}
}

// compressKey is the name of the one setting of a namespace whose default is a key
// of the configuration.
const compressKey = "compress"

// namespaceKeys is the table of a namespace's settings, by their names within
// [namespace.NAME].
func namespaceKeys(n *proto.Namespace) []key {
	return []key{
		{name: "history_size", value: intValue{&n.HistorySize, 0, 1_000_000_000}, help: "messages that a room keeps; 0 keeps none"},
		{name: "history_ttl", value: durationValue{&n.HistoryTTL, time.Second, years}, help: "how long a message is kept"},
		{name: "durability", value: textValue{&n.Durability, []string{"none", "async", "sync"}}, help: "when a message counts as accepted: none keeps it in memory only, async writes it within milliseconds, sync waits for the disk"},
		{name: "slow", value: textValue{&n.Slow, []string{"lag", "close", "conflate"}}, help: "what happens to a member that does not keep up: lag feeds it from the log at its own pace, close closes it, conflate sends it only the latest message"},
		{name: "presence", value: boolValue{&n.Presence}, help: "the room's members can be listed and counted"},
		{name: "join_leave", value: boolValue{&n.JoinLeave}, help: "members are told who joins and leaves"},
		{name: "hosts", value: boolValue{&n.Hosts}, help: "the user who creates a room is its host; true in default"},
		{name: compressKey, value: boolValue{&n.Compress}, help: "its rooms' frames are compressed for clients that agree on permessage-deflate; what compress.enabled is, unless it stands here"},
		{name: "succession", value: textValue{&n.Succession, []string{"none", "oldest"}}, help: "who becomes host when the host leaves: none lets it stay the host, oldest makes it the member who has been in the room for longest"},
		{name: "allow", value: listValue{&n.Allow, "some of " + strings.Join(rightNames, ", "), oneOf(rightNames)}, help: "what users may do whose tokens do not say it themselves"},
	}
}

// issuerKeys is the table of another server whose tokens are accepted.
func issuerKeys(i *Issuer) []key {
	return []key{
		{name: "issuer", value: stringValue{at: &i.Issuer}, help: "the iss of its tokens; required"},
		{name: "jwks_url", value: stringValue{at: &i.JWKSURL}, help: "where its public keys are; required"},
		{name: "audience", value: listValue{&i.Audience, "names", nil}, help: "its tokens must name one of these as aud; required, for tokens made for others must not do"},
		{name: "algorithms", value: listValue{&i.Algorithms, "some of " + strings.Join(issuerAlgorithms, ", "), oneOf(issuerAlgorithms)}, help: "what its keys may sign with"},
		{name: "user_claim", value: stringValue{at: &i.UserClaim}, help: "the claim of its tokens that names the user; it must never name two users alike"},
		{name: "user_prefix", value: stringValue{at: &i.UserPrefix}, help: "put before that to make a user's id, so that its users are not taken for others of the same name"},
		{name: "refresh", value: durationValue{&i.Refresh, 10 * time.Second, day}, help: "how often its keys are fetched; and soon after a token with an unknown one"},
	}
}

// webhookKeys is the table of a webhook.
func webhookKeys(w *Webhook) []key {
	return []key{
		{name: "url", value: stringValue{at: &w.URL}, help: "where events are sent; required"},
		{name: "secret", value: stringValue{at: &w.Secret.Text}, secret: true, help: "the key that they are signed with (Standard Webhooks), 24 bytes or more, perhaps in base64 after whsec_; this or the file is required"},
		{name: "secret_file", value: stringValue{at: &w.Secret.File}, help: "a file that holds that key instead"},
		{name: "events", value: listValue{&w.Events, "some of " + strings.Join(webhookEvents, ", "), oneOf(webhookEvents)}, help: "what is sent"},
		{name: "namespaces", value: listValue{&w.Namespaces, "namespaces", nil}, help: "whose rooms' events are sent; empty for all"},
		{name: "timeout", value: durationValue{&w.Timeout, 100 * time.Millisecond, 5 * time.Minute}, help: "how long an answer is waited for"},
		{name: "max_waiting", value: intValue{&w.MaxWaiting, 100, 100_000_000}, help: "events that may wait; past it the oldest go, and a gap event says so"},
		{name: "max_age", value: durationValue{&w.MaxAge, time.Second, years}, help: "how long an event is tried before it becomes a dead letter"},
		{name: "allow_private", value: boolValue{&w.AllowPrivate}, help: "lets the URL lead to a loopback, link-local or private address"},
	}
}

// What the lists of names take.
var (
	rightNames       = []string{"join", "publish", "read", "members", "create", "dm"}
	issuerAlgorithms = []string{"RS256", "ES256", "EdDSA"}
	hookEvents       = []string{"connect", "join", "publish"}
	webhookEvents    = []string{"connect", "disconnect", "room_opened", "room_emptied", "join", "leave", "message"}
)

// oneOf refuses what is not among the words.
func oneOf(words []string) func(string) error {
	return func(item string) error {
		if slices.Contains(words, item) {
			return nil
		}
		return errors.New("unknown")
	}
}

// checkHostName holds a name to what an authority can look up: labels in lower
// case, at least two of them, no address and no wildcard.
func checkHostName(name string) error {
	labels := strings.Split(name, ".")
	if _, err := netip.ParseAddr(name); err == nil || len(labels) < 2 || len(name) > 253 {
		return errors.New("not the full name of a host")
	}
	plain := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' }
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "-") != label || strings.ContainsFunc(label, func(r rune) bool { return !plain(r) }) {
			return errors.New("not a host name in lower case, as DNS has it")
		}
	}
	return nil
}

func checkNetwork(text string) error {
	if p, err := netip.ParsePrefix(text); err != nil || p != p.Masked() {
		return errors.New("not an address and the number of bits that count, the others 0")
	}
	return nil
}

// unixPrefix marks the path of a unix socket among the addresses.
const unixPrefix = "unix:"

func checkListen(address string) error {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		if path == "" || len(path) > 107 {
			return errors.New("a unix socket's path has 1 to 107 bytes")
		}
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return errors.New("not host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return errors.New("the port is not a number from 0 to 65535")
	}
	return nil
}

func checkOrigin(origin string) error {
	if origin == "*" {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return errors.New("neither a scheme and a host, nor a star")
	}
	if fmt.Sprintf("%s://%s", u.Scheme, u.Host) != origin {
		return errors.New("an origin is a scheme, a host and perhaps a port, and nothing after it")
	}
	return nil
}
