package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
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
		{name: "dev", value: boolValue{&c.Dev}, help: "for trying out: listens on " + devListen + " unless listen is set, admits /ws?user=NAME without a token, enables the echo. Never on an address that others reach"},
		{name: "origins", value: listValue{&c.Origins, `origins such as "https://example.org", or "*" for all`, checkOrigin}, help: "pages that browsers may connect from, beside those that this server serves itself"},
		{name: "ping_interval", value: durationValue{&c.PingInterval, time.Second, 45 * time.Second}, help: "how often a connection is pinged; one that is silent for two intervals, 60 s at the most, is closed"},
		{name: "drain_timeout", value: durationValue{&c.DrainTimeout, 0, time.Hour}, help: "how long a stop may take; its last tenth is kept for the log, and clients that have not gone by then are cut off"},
		{name: "memory_budget", value: sizeValue{&c.MemoryBudget, 0, tib}, help: "bounds what outboxes, replays and partial frames hold together; 0 takes a quarter of the memory that the process may use"},

		{name: "auth.hs256_secret", value: stringValue{at: &c.Auth.HS256Secret}, secret: true, help: "the secret that tokens (JWT, HS256) are signed with. With neither it nor the file set, the server makes one in data_dir/secret"},
		{name: "auth.hs256_secret_file", value: stringValue{at: &c.Auth.HS256SecretFile}, help: "a file that holds the secret instead; a line end after it does not count"},
		{name: "echo.enabled", value: boolValue{&c.Echo.Enabled}, help: "serves /echo, which sends each WebSocket message back; for load and conformance tests"},
		{name: "log.level", value: textValue{&c.Log.Level, []string{"debug", "info", "warn", "error"}}, help: "the least level that is logged"},
		{name: "log.format", value: stringValue{&c.Log.Format, []string{FormatAuto, FormatJSON, FormatText}}, help: "how standard error is written; auto means text on a terminal and JSON elsewhere"},
		{name: "net.pollers", value: intValue{&c.Net.Pollers, 0, 256}, help: "event loops that read and write the sockets; 0 takes one for each core"},
		{name: "net.listeners", value: intValue{&c.Net.Listeners, 0, 256}, help: "listening sockets for each TCP address, which share its port; 0 takes one for each poller"},
		{name: "net.send_buffer", value: sizeValue{&c.Net.SendBuffer, 4 * kib, 16 * mib}, help: "the kernel's send buffer of a WebSocket (SO_SNDBUF, which Linux doubles); bounds what a stalled client holds"},
		{name: "storage.sync_interval", value: durationValue{&c.Storage.SyncInterval, time.Millisecond, time.Second}, help: "how often messages of async rooms are made durable: about what a crash can lose"},
		{name: "storage.cache", value: sizeValue{&c.Storage.Cache, mib, tib}, help: "memory for blocks of the history"},
		{name: "storage.min_free", value: sizeValue{&c.Storage.MinFree, 0, 1024 * tib}, help: "publishing is refused while data_dir's file system has less free space than this, reading goes on; 0 for what the store needs to stay safe, 12 to 192 MiB by the disk's size"},
	}, limitKeys(&c.Limits)...)
}

// limitKeys is the part of the table that sets proto.Limits, field by field.
func limitKeys(l *proto.Limits) []key {
	return []key{
		{name: "limits.message", value: sizeValue{&l.Message, 1, 64 * mib}, help: "content of one message"},
		{name: "limits.envelope", value: sizeValue{&l.Envelope, kib, mib}, help: "a frame beside its content"},
		{name: "limits.depth", value: intValue{&l.Depth, 1, 10_000}, help: "nesting of JSON"},
		{name: "limits.invalid_frames", value: intValue{&l.InvalidFrames, 1, 1_000_000}, help: "invalid frames in a row that close the connection"},
		{name: "limits.rooms", value: intValue{&l.RoomsPerConn, 1, 1_000_000}, help: "rooms that one connection may have joined"},
		{name: "limits.outbox", value: sizeValue{&l.Outbox, kib, gib}, help: "room messages that wait for one connection; past it the room's slow policy holds"},
		{name: "limits.replies", value: sizeValue{&l.Replies, 64 * kib, gib}, help: "replies that wait for one connection; past it, it is closed"},
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
		{name: "succession", value: textValue{&n.Succession, []string{"none", "oldest"}}, help: "who becomes host when the host leaves: none lets it stay the host, oldest makes it the member who has been in the room for longest"},
	}
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
