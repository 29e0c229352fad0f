package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"
)

const (
	configFlag = "config"
	configEnv  = envPrefix + "CONFIG"
)

// Flags are the flags of one command that reads the configuration.
type Flags struct {
	set    *pflag.FlagSet
	file   string
	values map[string]*flagValue // by key
}

// AddFlags adds a flag for every key, and --config, to the command's own.
func AddFlags(set *pflag.FlagSet) *Flags {
	f := &Flags{set: set, values: map[string]*flagValue{}}
	set.StringVar(&f.file, configFlag, "", "a TOML file to read")
	for _, k := range keys(Default()) {
		recorded := &flagValue{}
		f.values[k.name] = recorded
		flag := set.VarPF(recorded, k.flag(), "", k.help)
		if _, ok := k.value.(boolValue); ok {
			flag.NoOptDefVal = "true"
		}
	}
	return f
}

// flagValue keeps what the command line says of a key until Load comes to it.
type flagValue struct{ texts []string }

func (v *flagValue) String() string { return strings.Join(v.texts, ",") }
func (v *flagValue) Type() string   { return "value" }

func (v *flagValue) Set(text string) error {
	v.texts = append(v.texts, text)
	return nil
}

// Parse parses the command line. Where a flag is unknown, the error names the
// nearest one; pflag.ErrHelp passes through.
func (f *Flags) Parse(args []string) error {
	err := f.set.Parse(args)
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	name := unknown.GetSpecifiedName()
	var names []string
	f.set.VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
	return fmt.Errorf("there is no flag --%s%s", name, didYouMean("--", name, names))
}

// Load returns the configuration that the defaults, the file, the environment
// (as os.Environ gives it) and the parsed flags make together. The error is
// Problems and holds everything that is wrong, not only the first.
func (f *Flags) Load(environ []string) (*Config, error) {
	c := Default()
	l := loader{config: c, keys: keys(c), vars: throngVars(environ)}
	c.file = l.vars[configEnv]
	if f.file != "" {
		c.file = f.file
	}
	if c.file != "" {
		l.readFile(c.file)
	}
	l.readEnvironment()
	l.readFlags(f.values)
	l.readSecrets()
	c.applyDev()
	c.applyCompress()
	l.problems = append(l.problems, c.Validate()...)
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	return c, nil
}

// loader gathers one configuration and all that is wrong with it.
type loader struct {
	config   *Config
	keys     []key
	vars     map[string]string // the environment's THRONG_ variables
	problems Problems
}

func (l *loader) key(name string) (key, bool) {
	for _, k := range l.keys {
		if k.name == name {
			return k, true
		}
	}
	return key{}, false
}

// took notes where the key's value came from, or why it was refused.
func (l *loader) took(k key, source, shown string, err error) {
	if err == nil {
		l.config.from[k.name] = source
		return
	}
	if k.secret {
		shown = masked
	}
	l.problems = append(l.problems, Problem{
		Key: k.name, Source: source, Value: shown,
		Wrong: err.Error(), Accepts: k.value.accepts(),
	})
}

func (l *loader) readFile(path string) {
	source := "file " + path
	data, err := os.ReadFile(path)
	if err != nil {
		l.problems = append(l.problems, Problem{Key: configFlag, Value: path, Wrong: err.Error(), Accepts: "a readable TOML file"})
		return
	}
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		l.problems = append(l.problems, syntaxProblem(path, err))
		return
	}
	named := map[string]any{}
	for _, g := range groups {
		if raw, ok := tree[g.name]; ok {
			named[g.name] = raw
			delete(tree, g.name)
		}
	}
	l.readTable(source, "", tree)
	for _, g := range groups {
		if raw, ok := named[g.name]; ok {
			l.readGroup(source, g, raw)
		}
	}
}

func syntaxProblem(path string, err error) Problem {
	source := "file " + path
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		line, column := decode.Position()
		source = fmt.Sprintf("file %s:%d:%d", path, line, column)
	}
	return Problem{Source: source, Wrong: strings.TrimPrefix(err.Error(), "toml: "), Accepts: "TOML 1.0"}
}

// readTable reads one table of the file, whose keys begin with prefix, and the
// tables in it.
func (l *loader) readTable(source, prefix string, table map[string]any) {
	for _, name := range sortedKeys(table) {
		full := prefix + name
		raw := table[name]
		if k, ok := l.key(full); ok {
			l.took(k, source, showTOML(raw), k.value.setTOML(raw))
			continue
		}
		if inner, ok := raw.(map[string]any); ok && l.isTable(full) {
			l.readTable(source, full+".", inner)
			continue
		}
		names := []string{}
		for _, g := range groups {
			names = append(names, g.name+".NAME")
		}
		for _, k := range l.keys {
			names = append(names, k.name)
		}
		l.problems = append(l.problems, unknown(source, "key", "", full, names))
	}
}

// isTable reports whether keys stand under the name.
func (l *loader) isTable(name string) bool {
	return slices.ContainsFunc(l.keys, func(k key) bool { return strings.HasPrefix(k.name, name+".") })
}

func (l *loader) readEnvironment() {
	names := []string{strings.TrimPrefix(configEnv, envPrefix)}
	for _, k := range l.keys {
		names = append(names, strings.TrimPrefix(k.env(), envPrefix))
		if text, ok := l.vars[k.env()]; ok {
			l.took(k, "environment "+k.env(), text, k.value.set(text))
		}
	}
	for _, variable := range sortedKeys(l.vars) {
		name := strings.TrimPrefix(variable, envPrefix)
		if !slices.Contains(names, name) {
			l.problems = append(l.problems, unknown("environment", "variable", envPrefix, name, names))
		}
	}
}

func (l *loader) readFlags(values map[string]*flagValue) {
	for _, k := range l.keys {
		given := values[k.name].texts
		if len(given) == 0 {
			continue
		}
		text := given[len(given)-1]
		if _, ok := k.value.(isList); ok {
			text = strings.Join(given, ",")
		}
		l.took(k, "flag --"+k.flag(), text, k.value.set(text))
	}
}

// readSecrets reads the files that hold secrets.
func (l *loader) readSecrets() {
	c := l.config
	l.readSecret("auth.hs256_secret_file", &c.Auth.HS256)
	l.readSecret("hook.secret_file", &c.Hook.Secret)
	for i := range c.Webhooks {
		l.readSecret(webhookTable+"."+c.Webhooks[i].Name+".secret_file", &c.Webhooks[i].Secret)
	}
}

func (l *loader) readSecret(key string, s *Secret) {
	if s.File == "" {
		return
	}
	text, err := os.ReadFile(s.File)
	secret := bytes.TrimRight(text, "\r\n")
	if err == nil && len(secret) == 0 {
		err = errors.New("the file is empty")
	}
	if err != nil {
		l.problems = append(l.problems, Problem{
			Key: key, Source: l.config.from[key], Value: quoteTOML(s.File),
			Wrong: err.Error(), Accepts: "a readable file that holds the secret",
		})
		return
	}
	s.fromFile = secret
}

// throngVars picks the variables that are throng's.
func throngVars(environ []string) map[string]string {
	vars := map[string]string{}
	for _, entry := range environ {
		if name, text, ok := strings.Cut(entry, "="); ok && strings.HasPrefix(name, envPrefix) {
			vars[name] = text
		}
	}
	return vars
}

func sortedKeys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
