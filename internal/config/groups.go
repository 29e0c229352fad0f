package config

import (
	"slices"
	"strings"
	"time"

	"github.com/thronghq/throng/proto"
)

// The kinds of named tables.
const (
	namespaceTable = "namespace"
	issuerTable    = "issuer"
	webhookTable   = "webhook"
)

// group is a kind of named tables, such as [namespace.NAME]. They stand in the
// file alone.
type group struct {
	name string

	// begin returns the keys of a table of that name, with their defaults,
	// and what puts it into the configuration.
	begin func(c *Config, name string) (table []key, put func())

	// each calls visit with the configuration's tables, in the order of
	// their names.
	each func(c *Config, visit func(name string, table []key))
}

// groups lists the kinds, in the order of the printed configuration.
var groups = []group{
	newGroup(namespaceTable, proto.NewNamespace, namespaceKeys,
		func(c *Config) *[]proto.Namespace { return &c.Namespaces },
		func(n *proto.Namespace) string { return n.Name }),
	newGroup(issuerTable, newIssuer, issuerKeys,
		func(c *Config) *[]Issuer { return &c.Issuers },
		func(i *Issuer) string { return i.Name }),
	newGroup(webhookTable, newWebhook, webhookKeys,
		func(c *Config) *[]Webhook { return &c.Webhooks },
		func(w *Webhook) string { return w.Name }),
}

func newIssuer(name string) Issuer {
	return Issuer{Name: name, UserClaim: "sub", Algorithms: slices.Clone(issuerAlgorithms), Refresh: 15 * time.Minute}
}

func newWebhook(name string) Webhook {
	return Webhook{Name: name, Events: slices.Clone(webhookEvents), Timeout: 10 * time.Second, MaxWaiting: 100_000, MaxAge: 3 * day}
}

// newGroup makes a group of the elements of one of the configuration's lists,
// which is sorted by their names.
func newGroup[T any](name string, fresh func(string) T, keys func(*T) []key, list func(*Config) *[]T, nameOf func(*T) string) group {
	return group{
		name: name,
		begin: func(c *Config, name string) ([]key, func()) {
			element := fresh(name)
			return keys(&element), func() {
				l := list(c)
				at, found := slices.BinarySearchFunc(*l, name, func(have T, name string) int {
					return strings.Compare(nameOf(&have), name)
				})
				if found {
					(*l)[at] = element
				} else {
					*l = slices.Insert(*l, at, element)
				}
			}
		},
		each: func(c *Config, visit func(string, []key)) {
			l := *list(c)
			for i := range l {
				visit(nameOf(&l[i]), keys(&l[i]))
			}
		},
	}
}

// readGroup reads the tables of one kind.
func (l *loader) readGroup(source string, g group, raw any) {
	tables, ok := raw.(map[string]any)
	if !ok {
		l.problems = append(l.problems, Problem{Key: g.name, Source: source, Value: showTOML(raw), Wrong: "not a table", Accepts: "[" + g.name + ".NAME] with settings under it"})
		return
	}
	for _, name := range sortedKeys(tables) {
		l.readNamed(source, g, name, tables[name])
	}
}

// readNamed reads one named table.
func (l *loader) readNamed(source string, g group, name string, raw any) {
	full := g.name + "." + name
	settings, ok := raw.(map[string]any)
	if !ok {
		l.problems = append(l.problems, Problem{Key: full, Source: source, Value: showTOML(raw), Wrong: "not a table", Accepts: "[" + full + "] with settings under it"})
		return
	}
	table, put := g.begin(l.config, name)
	for _, setting := range sortedKeys(settings) {
		i := slices.IndexFunc(table, func(k key) bool { return k.name == setting })
		if i < 0 {
			names := make([]string, len(table))
			for i, k := range table {
				names[i] = k.name
			}
			l.problems = append(l.problems, unknown(source, "key", full+".", setting, names))
			continue
		}
		k := table[i]
		err := k.value.setTOML(settings[setting])
		k.name = full + "." + k.name
		l.took(k, source, showTOML(settings[setting]), err)
	}
	l.config.from[full] = source
	put()
}
