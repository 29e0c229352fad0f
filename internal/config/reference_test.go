package config

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/configuration.md instead of comparing it")

const referencePath = "../../docs/configuration.md"

// TestReference holds docs/configuration.md to the table of keys.
func TestReference(t *testing.T) {
	want := reference()
	if *update {
		if err := os.WriteFile(referencePath, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referencePath)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/configuration.md is behind the table of keys; run go test ./internal/config -run TestReference -update")
	}
}

// TestUsageListsEveryKey holds --help to the table of keys.
func TestUsageListsEveryKey(t *testing.T) {
	usage := Usage()
	for _, k := range keys(Default()) {
		if !strings.Contains(usage, "  --"+k.flag()) || !strings.Contains(usage, k.help) {
			t.Errorf("--help does not list %s", k.name)
		}
		if text := k.value.text(); !strings.Contains(usage, "(default "+text+")") && text != "" {
			t.Errorf("--help does not say that %s is %s by default", k.name, text)
		}
	}
}

func reference() []byte {
	var b bytes.Buffer
	b.WriteString(referenceHead)
	section := ""
	for _, k := range keys(Default()) {
		table, _, dotted := strings.Cut(k.name, ".")
		if !dotted {
			table = "At the top of the file"
		}
		if table != section {
			section = table
			title := table
			if dotted {
				title = "`[" + table + "]`"
			}
			fmt.Fprintf(&b, "\n## %s\n", title)
			if about := referenceSections[table]; about != "" {
				fmt.Fprintf(&b, "\n%s\n", about)
			}
			b.WriteString("\n| key | default | accepted | what it sets |\n|---|---|---|---|\n")
		}
		writeRow(&b, k)
	}
	for _, g := range groups {
		b.WriteString(referenceGroups[g.name])
		b.WriteString("\n| key | default | accepted | what it sets |\n|---|---|---|---|\n")
		table, _ := g.begin(Default(), "chat")
		for _, k := range table {
			writeRow(&b, k)
		}
	}
	b.WriteString(referenceExample)
	return b.Bytes()
}

func writeRow(b *bytes.Buffer, k key) {
	initial := "none"
	if k.value.text() != "" {
		initial = "`" + k.value.toml() + "`"
	}
	cell := strings.NewReplacer("|", `\|`).Replace
	fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", k.name, cell(initial), cell(k.value.accepts()), cell(k.help))
}

// referenceSections is what is said of a table beside its keys.
var referenceSections = map[string]string{
	"hook":   "An address of the application that decides; see [webhooks](webhooks.md#hook).",
	"rate":   "How often things may be done. What is too much gets `rate_limited` (429 over HTTP); a connection that goes on is closed. All but the throttle on logins is off until it is set.",
	"limits": "What a peer may do or make grow. Clients are told most of them in the `session` frame.",
}

const referenceHead = `# Configuration

<!-- Written by: go test ./internal/config -run TestReference -update -->

throng serves without any configuration. What is set comes from four places,
each overriding the one before it:

1. the defaults below;
2. a TOML file, named with ` + "`--config FILE` or `THRONG_CONFIG`" + `;
3. the environment;
4. the command line's flags.

The key ` + "`a.b_c` is `b_c` under `[a]` in the file, `THRONG_A_B_C`" + ` in the
environment, and ` + "`--a-b-c`" + ` as a flag. Lists are separated by commas in the
environment and on the command line, where the flag may also be repeated. A
flag without a value means true where the key is true or false.

A key, a variable that begins with THRONG_, or a flag that is not known is an
error. A platform that puts variables of its own into the environment (for a
service named throng, Kubernetes sets THRONG_PORT and the like) has to be told
not to (` + "`enableServiceLinks: false`" + `).

` + "`throng config check`" + ` lists everything that is wrong, each problem with its key,
where the value came from, and what would be accepted. ` + "`throng config print`" + `
shows what holds in the end, secrets masked. Both take the same flags, file and
environment as ` + "`throng serve`" + `. A change counts from the next start.
`

// referenceGroups is what is said of each kind of named tables.
var referenceGroups = map[string]string{
	namespaceTable: `
## ` + "`[namespace.NAME]`" + `

A room belongs to the namespace before the first colon of its name: chat:42 is
in chat, lobby is in default. The namespace default always exists; a room in a
namespace that is not in the file is refused. The name user is reserved for the
users' inboxes. Namespaces stand in the file alone.
`,
	issuerTable: `
## ` + "`[issuer.NAME]`" + `

Another server whose tokens are accepted beside this one's own: an identity
provider, or your own backend with keys of its own. [accounts](accounts.md) says
more. Issuers stand in the file alone.
`,
	webhookTable: `
## ` + "`[webhook.NAME]`" + `

An address that is told what happens; see [webhooks](webhooks.md). Webhooks stand
in the file alone.
`,
}

const referenceExample = `
## Example

` + "```toml" + `
listen   = ["10.0.0.5:8080", "unix:/run/throng/throng.sock"]
data_dir = "/var/lib/throng"
origins  = ["https://chat.example.org"]

[auth]
hs256_secret_file = "/etc/throng/secret"

[rate]
connection_publishes = "20/s burst 100"
address_handshakes   = "10/s burst 200"

[limits]
message = "16KiB"

[namespace.default]
hosts = false

[namespace.chat]
history_size = 100_000
history_ttl  = "720h"
durability   = "sync"

[namespace.ticker]
history_size = 0
slow         = "conflate"
allow        = ["join"]

[webhook.orders]
url         = "https://example.org/throng"
secret_file = "/etc/throng/webhook-secret"
events      = ["join", "leave"]
` + "```" + `
`

// TestReferenceExample loads the example, its secret's path apart.
func TestReferenceExample(t *testing.T) {
	_, text, _ := strings.Cut(referenceExample, "```toml\n")
	text, _, ok := strings.Cut(text, "```")
	if !ok {
		t.Fatal("the example is not fenced")
	}
	text = strings.Replace(text, `"/etc/throng/secret"`, `"keys.go"`, 1)
	text = strings.Replace(text, `"/etc/throng/webhook-secret"`, `"keys.go"`, 1)
	path := t.TempDir() + "/throng.toml"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := (&Flags{file: path, values: emptyFlags()}).Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Namespaces) != 3 || c.Limits.Message != 16<<10 {
		t.Errorf("got %+v", c)
	}
}

func emptyFlags() map[string]*flagValue {
	values := map[string]*flagValue{}
	for _, k := range keys(Default()) {
		values[k.name] = &flagValue{}
	}
	return values
}
