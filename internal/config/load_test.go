package config_test

import (
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/thronghq/throng/internal/config"
	"github.com/thronghq/throng/proto"
)

// load loads a configuration from a file's text ("" for no file), environment
// entries and flags.
func load(t testing.TB, file string, environ, args []string) (*config.Config, error) {
	t.Helper()
	if file != "" {
		path := filepath.Join(t.TempDir(), "throng.toml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"--config", path}, args...)
	}
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	set.Usage = func() {}
	flags := config.AddFlags(set)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	return flags.Load(environ)
}

func mustLoad(t testing.TB, file string, environ, args []string) *config.Config {
	t.Helper()
	c, err := load(t, file, environ, args)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	c := mustLoad(t, "", []string{"PATH=/bin", "NOT_THRONG_LISTEN=x"}, nil)
	if !slices.Equal(c.Listen, []string{":8080"}) || c.DataDir != "./throng-data" || c.Dev || c.Echo.Enabled {
		t.Errorf("listen %v, data_dir %q, dev %v, echo %v", c.Listen, c.DataDir, c.Dev, c.Echo.Enabled)
	}
	if c.Limits != proto.DefaultLimits() {
		t.Errorf("the limits are not proto's: %+v", c.Limits)
	}
	if want := []proto.Namespace{proto.NewNamespace("default")}; !reflect.DeepEqual(c.Namespaces, want) {
		t.Errorf("namespaces %+v, want %+v", c.Namespaces, want)
	}
	if c.Auth.HS256.Bytes() != nil || c.Warnings() != nil {
		t.Errorf("secret %v, warnings %v, want neither", c.Auth.HS256.Bytes(), c.Warnings())
	}
}

func TestPrecedence(t *testing.T) {
	const file = "ping_interval = '1s'\n"
	environ, args := []string{"THRONG_PING_INTERVAL=2s"}, []string{"--ping-interval", "3s"}
	tests := []struct {
		name          string
		file          string
		environ, args []string
		want          time.Duration
	}{
		{"default", "", nil, nil, 25 * time.Second},
		{"file", file, nil, nil, time.Second},
		{"environment", "", environ, nil, 2 * time.Second},
		{"environment over file", file, environ, nil, 2 * time.Second},
		{"flag", "", nil, args, 3 * time.Second},
		{"flag over file", file, nil, args, 3 * time.Second},
		{"flag over environment", "", environ, args, 3 * time.Second},
		{"flag over all", file, environ, args, 3 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := mustLoad(t, test.file, test.environ, test.args).PingInterval; got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestConfigFileFromEnvironment(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "c.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	environ := []string{"THRONG_CONFIG=" + write("data_dir = 'a'")}
	if c := mustLoad(t, "", environ, nil); c.DataDir != "a" || c.File() == "" {
		t.Errorf("data_dir %q from %q, want a", c.DataDir, c.File())
	}
	if c := mustLoad(t, "", environ, []string{"--config=" + write("data_dir = 'b'")}); c.DataDir != "b" {
		t.Errorf("data_dir %q, want b: the flag overrides the variable", c.DataDir)
	}
}

// TestEveryType sets a key of each type from each source.
func TestEveryType(t *testing.T) {
	const file = `
listen = [":1", "unix:/tmp/t.sock"]
memory_budget = "1GiB"
data_dir = "/d"
[log]
level = "warn"
format = "json"
[echo]
enabled = true
[net]
pollers = 1_0
send_buffer = 8192
[storage]
sync_interval = "10ms"
`
	environ := []string{
		"THRONG_LISTEN=:1, unix:/tmp/t.sock", "THRONG_MEMORY_BUDGET=1GiB", "THRONG_DATA_DIR=/d", "THRONG_LOG_LEVEL=warn",
		"THRONG_LOG_FORMAT=json", "THRONG_ECHO_ENABLED=1", "THRONG_NET_POLLERS=10", "THRONG_NET_SEND_BUFFER=8192", "THRONG_STORAGE_SYNC_INTERVAL=10ms",
	}
	args := []string{
		"--listen", ":1", "--listen=unix:/tmp/t.sock", "--memory-budget=1GiB", "--data-dir=/d", "--log-level=warn",
		"--log-format=json", "--echo-enabled", "--net-pollers=10", "--net-send-buffer=8192", "--storage-sync-interval=10ms",
	}
	for name, c := range map[string]*config.Config{
		"file": mustLoad(t, file, nil, nil), "environment": mustLoad(t, "", environ, nil), "flags": mustLoad(t, "", nil, args),
	} {
		want := config.Default()
		want.Listen, want.DataDir, want.MemoryBudget = []string{":1", "unix:/tmp/t.sock"}, "/d", 1<<30
		want.Log = config.Log{Level: slog.LevelWarn, Format: config.FormatJSON}
		want.Echo.Enabled = true
		want.Net = config.Net{Pollers: 10, SendBuffer: 8192}
		want.Storage.SyncInterval = 10 * time.Millisecond
		if got := string(c.AppendTOML(nil)); got != string(want.AppendTOML(nil)) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want.AppendTOML(nil))
		}
	}
}

func TestNamespaces(t *testing.T) {
	c := mustLoad(t, `
[namespace.zoo]
[namespace.chat]
history_size = 5
history_ttl = "1h30m"
durability = "none"
slow = "conflate"
presence = false
join_leave = false
hosts = true
succession = "oldest"
allow = ["join", "read"]
[namespace.default]
hosts = false
durability = "sync"
`, nil, nil)
	def := proto.NewNamespace("default")
	def.Hosts, def.Durability = false, proto.Sync
	want := []proto.Namespace{
		{
			Name: "chat", HistorySize: 5, HistoryTTL: 90 * time.Minute, Durability: proto.Memory, Slow: proto.SlowConflate,
			Hosts: true, Succession: proto.OldestSucceeds, Allow: []string{"join", "read"},
		},
		def,
		proto.NewNamespace("zoo"),
	}
	if !reflect.DeepEqual(c.Namespaces, want) {
		t.Errorf("got  %+v\nwant %+v", c.Namespaces, want)
	}
}

// A namespace compresses where it says so, and else where compress.enabled does,
// wherever that stands.
func TestCompress(t *testing.T) {
	const file = "[namespace.on]\ncompress = true\n[namespace.off]\ncompress = false\n[namespace.silent]\n"
	for _, test := range []struct {
		name          string
		file          string
		environ, args []string
		want          map[string]bool
		compresses    bool
	}{
		{"nowhere", "", nil, nil, map[string]bool{"default": false}, false},
		{"in one namespace", file, nil, nil, map[string]bool{"default": false, "off": false, "on": true, "silent": false}, true},
		{"everywhere, by the file", "[compress]\nenabled = true\n" + file, nil, nil, map[string]bool{"default": true, "off": false, "on": true, "silent": true}, true},
		{"everywhere, by the environment", file, []string{"THRONG_COMPRESS_ENABLED=true"}, nil, map[string]bool{"default": true, "off": false, "on": true, "silent": true}, true},
		{"everywhere, by a flag", "", nil, []string{"--compress-enabled"}, map[string]bool{"default": true}, true},
		{"in the inboxes alone", "[compress]\nenabled = true\n[namespace.default]\ncompress = false\n", nil, nil, map[string]bool{"default": false}, true},
		{"off in the end", "[compress]\nenabled = true\n", []string{"THRONG_COMPRESS_ENABLED=false"}, nil, map[string]bool{"default": false}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := mustLoad(t, test.file, test.environ, test.args)
			got := map[string]bool{}
			for _, n := range c.Namespaces {
				got[n.Name] = n.Compress
			}
			if !maps.Equal(got, test.want) || c.Compresses() != test.compresses {
				t.Errorf("got %v and %v, want %v and %v", got, c.Compresses(), test.want, test.compresses)
			}
			again := mustLoad(t, string(c.AppendTOML(nil)), nil, nil)
			if !reflect.DeepEqual(again.Namespaces, c.Namespaces) || again.Compress != c.Compress {
				t.Errorf("what is printed reads back as %+v", again.Namespaces)
			}
		})
	}
	if c := mustLoad(t, "[compress]\nminimum = '1KiB'\n", nil, nil); c.Compress.Minimum != 1024 {
		t.Errorf("the minimum is %d", c.Compress.Minimum)
	}
	for _, wrong := range []string{"[compress]\nminimum = 63\n", "[compress]\nenabled = 'yes'\n", "[namespace.chat]\ncompress = 9\n"} {
		_, err := load(t, wrong, nil, nil)
		var problems config.Problems
		if !errors.As(err, &problems) || len(problems) != 1 || !strings.Contains(problems[0].Key, "compress") {
			t.Errorf("%q: %v, want one problem with its key", wrong, err)
		}
	}
}

func TestIssuersAndWebhooks(t *testing.T) {
	c := mustLoad(t, `
[issuer.idp]
issuer = "https://id.example"
jwks_url = "https://id.example/keys"
audience = ["throng"]
user_prefix = "idp|"
[webhook.b]
url = "https://b.example/hook"
secret = "0123456789abcdef01234567"
events = ["join", "leave"]
namespaces = ["chat"]
[webhook.a]
url = "http://127.0.0.1:9/"
secret_file = "load_test.go"
allow_private = true
`, nil, nil)
	want := []config.Issuer{{
		Name: "idp", Issuer: "https://id.example", JWKSURL: "https://id.example/keys", Audience: []string{"throng"},
		Algorithms: []string{"RS256", "ES256", "EdDSA"}, UserClaim: "sub", UserPrefix: "idp|", Refresh: 15 * time.Minute,
	}}
	if !reflect.DeepEqual(c.Issuers, want) {
		t.Errorf("issuers\n%+v, want\n%+v", c.Issuers, want)
	}
	if len(c.Webhooks) != 2 || c.Webhooks[0].Name != "a" || c.Webhooks[1].Name != "b" {
		t.Fatalf("webhooks %+v, want a and b", c.Webhooks)
	}
	a, b := &c.Webhooks[0], &c.Webhooks[1]
	if !a.AllowPrivate || len(a.Events) != 7 || !strings.HasPrefix(string(a.Secret.Bytes()), "package config_test") {
		t.Errorf("webhook a is %+v", a)
	}
	if b.AllowPrivate || !slices.Equal(b.Events, []string{"join", "leave"}) || string(b.Secret.Bytes()) != "0123456789abcdef01234567" {
		t.Errorf("webhook b is %+v", b)
	}
}

func TestRates(t *testing.T) {
	c := mustLoad(t, `rate.room_publishes = "60/m burst 5"`, []string{"THRONG_RATE_ADDRESS_LOGINS="}, []string{"--rate-connection-frames", "50/s"})
	want := config.Default().Rate
	want.Room.Publishes = proto.Rate{PerSecond: 1, Burst: 5}
	want.Connection.Frames = proto.Rate{PerSecond: 50, Burst: 50}
	want.Address.Logins = proto.Rate{}
	if c.Rate != want {
		t.Errorf("got\n%+v, want\n%+v", c.Rate, want)
	}
}

func TestDev(t *testing.T) {
	tests := []struct {
		name          string
		file          string
		environ, args []string
		listen        string
		echo          bool
	}{
		{"alone", "", nil, []string{"--dev"}, "127.0.0.1:8080", true},
		{"from the environment", "", []string{"THRONG_DEV=true"}, nil, "127.0.0.1:8080", true},
		{"off", "", nil, []string{"--dev=false"}, ":8080", false},
		{"with an address", "", []string{"THRONG_LISTEN=:9"}, []string{"--dev"}, ":9", true},
		{"with the default address", "listen = [':8080']", nil, []string{"--dev"}, ":8080", true},
		{"without the echo", "", nil, []string{"--dev", "--echo-enabled=false"}, "127.0.0.1:8080", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := mustLoad(t, test.file, test.environ, test.args)
			if !slices.Equal(c.Listen, []string{test.listen}) || c.Echo.Enabled != test.echo {
				t.Errorf("listen %v, echo %v, want %s, %v", c.Listen, c.Echo.Enabled, test.listen, test.echo)
			}
		})
	}
}

func TestSecret(t *testing.T) {
	long := strings.Repeat("s", 32)
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(long+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, environ := range [][]string{{"THRONG_AUTH_HS256_SECRET=" + long}, {"THRONG_AUTH_HS256_SECRET_FILE=" + path}} {
		c := mustLoad(t, "", environ, nil)
		if string(c.Auth.HS256.Bytes()) != long || c.Warnings() != nil {
			t.Errorf("%v: secret %q, warnings %v", environ, c.Auth.HS256.Bytes(), c.Warnings())
		}
		if strings.Contains(string(c.AppendTOML(nil)), long) {
			t.Errorf("%v: printing shows the secret", environ)
		}
	}
	c := mustLoad(t, "", []string{"THRONG_AUTH_HS256_SECRET=short"}, nil)
	if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], "5 bytes") || strings.Contains(w[0], "short") {
		t.Errorf("warnings %q, want one of the secret's length", w)
	}
}

func TestDevWarnsWhereOthersReachIt(t *testing.T) {
	for listen, warns := range map[string]bool{
		"127.0.0.1:1": false, "[::1]:1": false, "localhost:1": false, "unix:/tmp/s": false,
		":1": true, "0.0.0.0:1": true, "192.0.2.1:1": true, "example.org:1": true, "[::]:1": true,
	} {
		c := mustLoad(t, "", nil, []string{"--dev", "--listen", listen})
		if got := c.Warnings() != nil; got != warns {
			t.Errorf("%s: warns %v, want %v", listen, got, warns)
		}
	}
}

// TestProblems wants each problem in a line of its own that begins with the
// key, and all of them at once.
func TestProblems(t *testing.T) {
	file := `
lisen = ":1"
dev = "yes"
config = "x"
data_dir = ""
memory_budget = "1KiB"
origins = ["https://example.org/page"]
[log]
level = "loud"
[limits]
outbox = "1KiB"
mesage = 3
[no]
such = 1
[auth]
hs256_secret = 12345
[namespace]
loose = 3
[namespace.chat]
history_sise = 4
slow = "fast"
[namespace.user]
[namespace."a:b"]
[namespace.""]
`
	environ := []string{"THRONG_PING_INTERVAL=25", "THRONG_LISTN=:1", "THRONG_NET_POLLERS=-1"}
	args := []string{"--net-send-buffer=64XB", "--listen=localhost", "--storage-cache=9999999999GiB"}
	_, err := load(t, file, environ, args)
	var problems config.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("got %v, want Problems", err)
	}
	want := []struct{ begins, has string }{
		{"config (file ", "there is no such key"},
		{`dev = "yes" (file `, "accepted is true or false"},
		{`lisen (file `, "did you mean listen?"},
		{`limits.mesage (file `, "did you mean limits.message?"},
		{`log.level = "loud" (file `, "one of debug, info, warn, error"},
		{`no (file `, "there is no such key"},
		{`origins = ["https://example.org/page"] (file `, "nothing after it"},
		{`auth.hs256_secret = (secret) (file `, "not a string"},
		{`namespace.loose = 3 (file `, "not a table"},
		{`namespace.chat.history_sise (file `, "did you mean namespace.chat.history_size?"},
		{`namespace.chat.slow = "fast" (file `, "one of lag, close, conflate"},
		{`ping_interval = 25 (environment THRONG_PING_INTERVAL)`, "with its unit"},
		{`THRONG_LISTN (environment)`, "did you mean THRONG_LISTEN?"},
		{`net.pollers = -1 (environment THRONG_NET_POLLERS)`, "from 0 to 256"},
		{`net.send_buffer = 64XB (flag --net-send-buffer)`, "KiB"},
		{`listen = localhost (flag --listen)`, "not host:port"},
		{`storage.cache = 9999999999GiB (flag --storage-cache)`, "out of range"},
		{`data_dir = "" (file `, "the path is empty"},
		{`memory_budget = 1KiB (file `, "at least 1MiB"},
		{`limits.outbox = 1KiB (file `, "limits.message"},
		{`namespace.user (file `, "reserved"},
		{`namespace.a:b (file `, "colon"},
		{`namespace. (file `, "empty"},
	}
	lines := strings.Split(err.Error(), "\n")
	for _, w := range want {
		if !slices.ContainsFunc(lines, func(line string) bool {
			return strings.HasPrefix(line, w.begins) && strings.Contains(line, w.has)
		}) {
			t.Errorf("no line begins with %q and has %q", w.begins, w.has)
		}
	}
	if len(lines) != len(want) {
		t.Errorf("%d lines, want %d:\n%s", len(lines), len(want), err)
	}
	if strings.Contains(err.Error(), "12345") {
		t.Error("a refused secret is shown")
	}
}

func TestSingleProblems(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	tests := []struct {
		name, file    string
		environ, args []string
		says          string
	}{
		{"syntax", "listen = [", nil, nil, "throng.toml:1:10)"},
		{"a key twice", "dev = true\ndev = true", nil, nil, "throng.toml:2"},
		{"namespaces as a value", "namespace = 3", nil, nil, "not a table"},
		{"a variable like no other", "", []string{"THRONG_X=1"}, nil, "there is no such variable"},
		{"no such file", "", nil, []string{"--config", missing}, "no such file"},
		{"no such secret file", "", nil, []string{"--auth-hs256-secret-file", missing}, "auth.hs256_secret_file"},
		{"an empty secret file", "", nil, []string{"--auth-hs256-secret-file", os.DevNull}, "the file is empty"},
		{"an empty secret", "", []string{"THRONG_AUTH_HS256_SECRET="}, nil, "the secret is empty"},
		{"both secrets", "", []string{"THRONG_AUTH_HS256_SECRET=x"}, []string{"--auth-hs256-secret-file", "load_test.go"}, "one of the two"},
		{"no address", "listen = []", nil, nil, "no address"},
		{"an address without a port", "", nil, []string{"--listen=127.0.0.1:"}, "port"},
		{"a port by name", "", nil, []string{"--listen=:http"}, "port"},
		{"a port out of range", "", nil, []string{"--listen=:65536"}, "port"},
		{"a socket without a path", "", nil, []string{"--listen=unix:"}, "path"},
		{"an address that is a number", "listen = [8080]", nil, nil, "element 1 is not a string"},
		{"a line longer than the head", "", nil, []string{"--limits-handshake-line=9KiB"}, "limits.handshake_bytes"},
		{"replies below a page", "", nil, []string{"--limits-replies=64KiB"}, "limits.history_bytes"},
		{"a float", "limits.rooms = 1.5", nil, nil, "not a whole number"},
		{"a table for a value", "[listen]\nport = 1", nil, nil, "not a list"},
		{"a right that is none", "[namespace.chat]\nallow = ['joyn']", nil, nil, "join, publish, read, members, create, dm"},
		{"a rate without a unit", "", nil, []string{"--rate-user-joins=5"}, "/s, /m or /h"},
		{"a network with host bits", "", nil, []string{"--net-trusted-proxies=10.0.0.1/8"}, "the others 0"},
		{"a signing key without keys", "", nil, []string{"--auth-signing-key=a"}, "auth.keys_file"},
		{"refresh before access", "", nil, []string{"--auth-refresh-ttl=1m"}, "auth.access_ttl"},
		{"a hook without a secret", "", nil, []string{"--hook-url=http://x.example", "--hook-events=join"}, "at least 24 bytes"},
		{"a hook that is never asked", "", nil, []string{"--hook-url=http://x.example", "--hook-secret=0123456789abcdef01234567"}, "never be asked"},
		{"a webhook without a URL", "[webhook.w]\nsecret = '0123456789abcdef01234567'", nil, nil, "an http or https URL"},
		{"a webhook's name", "[webhook.'a b']\nurl = 'http://x.example'\nsecret = '0123456789abcdef01234567'", nil, nil, "letters, digits"},
		{"an issuer for all audiences", "[issuer.i]\nissuer = 'i'\njwks_url = 'https://i.example'", nil, nil, "made for other services"},
		{"two issuers of one name", "[issuer.i]\nissuer = 'i'\njwks_url = 'https://i.example'\naudience = ['t']\n[issuer.j]\nissuer = 'i'\njwks_url = 'https://i.example'\naudience = ['t']", nil, nil, "another issuer"},
		{"more invalid frames than a session counts", "", nil, []string{"--limits-invalid-frames=256"}, "from 1 to 255"},
		{"a value for a table", "log = 'debug'", nil, nil, "there is no such key"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := load(t, test.file, test.environ, test.args)
			var problems config.Problems
			if !errors.As(err, &problems) || len(problems) != 1 {
				t.Fatalf("got %v, want one problem", err)
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %q, want a mention of %q", err, test.says)
			}
		})
	}
}

func TestNoSuggestionThatIsNotNear(t *testing.T) {
	for _, environ := range [][]string{{"THRONG_X=1"}, {"THRONG_=1"}, {"THRONG_SERVICE_HOST=10.0.0.1"}} {
		if _, err := load(t, "", environ, nil); err == nil || strings.Contains(err.Error(), "did you mean") {
			t.Errorf("%v: got %v, want a problem without a suggestion", environ, err)
		}
	}
}

func TestUnknownFlag(t *testing.T) {
	_, err := load(t, "", nil, []string{"--data-dri=x"})
	if err == nil || !strings.Contains(err.Error(), "did you mean --data-dir?") {
		t.Errorf("got %v, want a suggestion", err)
	}
	if _, err := load(t, "", nil, []string{"--zzzzzzzzzz"}); err == nil || strings.Contains(err.Error(), "did you mean") {
		t.Errorf("got %v, want no suggestion", err)
	}
	if _, err := load(t, "", nil, []string{"--help"}); !errors.Is(err, pflag.ErrHelp) {
		t.Errorf("got %v, want pflag.ErrHelp", err)
	}
}

// TestPrintReadsBack prints a configuration and loads what was printed.
func TestPrintReadsBack(t *testing.T) {
	c := mustLoad(t, `
data_dir = "/a \"quoted\"\tand \\ odd\u0001 Zoë"
origins = ["*", "http://a.example:81"]
limits.message = 12345
[namespace."sp ace"]
durability = "sync"
`, nil, nil)
	printed := string(c.AppendTOML(nil))
	again := mustLoad(t, printed, nil, nil)
	if got := string(again.AppendTOML(nil)); got != printed {
		t.Errorf("printed\n%s\nand after reading it back\n%s", printed, got)
	}
	if again.DataDir != c.DataDir || again.Limits != c.Limits || !reflect.DeepEqual(again.Namespaces, c.Namespaces) {
		t.Error("what was read back is not the same")
	}
}

func FuzzFile(f *testing.F) {
	f.Add("listen = [':1']\n[namespace.chat]\nslow = 'lag'")
	f.Add("limits.message = '64KiB'\nping_interval = '1s'")
	f.Add("[namespace]\nx = 1\n[log]\nlevel = 3")
	f.Add(string(config.Default().AppendTOML(nil)))
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "secret_file") {
			t.Skip("would read any file")
		}
		if strings.Contains(text, "hook") {
			t.Skip("needs a secret, which is not printed")
		}
		c, err := load(t, text+"\n", nil, nil)
		if err != nil {
			var problems config.Problems
			if !errors.As(err, &problems) || len(problems) == 0 {
				t.Fatalf("got %v, want Problems", err)
			}
			return
		}
		printed := string(c.AppendTOML(nil))
		again, err := load(t, printed, nil, nil)
		if err != nil {
			t.Fatalf("what was printed is refused: %v\n%s", err, printed)
		}
		if got := string(again.AppendTOML(nil)); got != printed {
			t.Fatalf("printed\n%s\nand after reading it back\n%s", printed, got)
		}
	})
}
