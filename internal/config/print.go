package config

import (
	"fmt"
	"strings"
)

// AppendTOML appends the configuration as a file that Load would read back,
// secrets excepted: in place of a secret stands a comment.
func (c *Config) AppendTOML(dst []byte) []byte {
	table := ""
	for _, k := range keys(c) {
		name := k.name
		if at := strings.LastIndexByte(name, '.'); at >= 0 {
			if name[:at] != table {
				table = name[:at]
				dst = fmt.Appendf(dst, "\n[%s]\n", table)
			}
			name = name[at+1:]
		}
		dst = appendKey(dst, name, k)
	}
	for _, g := range groups {
		g.each(c, func(name string, table []key) {
			dst = fmt.Appendf(dst, "\n[%s.%s]\n", g.name, quoteTOML(name))
			for _, k := range table {
				dst = appendKey(dst, k.name, k)
			}
		})
	}
	return dst
}

func appendKey(dst []byte, name string, k key) []byte {
	if k.secret {
		if k.value.text() == "" {
			return fmt.Appendf(dst, "# %s is not set\n", name)
		}
		return fmt.Appendf(dst, "# %s = %s\n", name, masked)
	}
	return fmt.Appendf(dst, "%s = %s\n", name, k.value.toml())
}

// Usage returns the text of --help about the keys: each flag with its default
// and what it is for.
func Usage() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  --%s FILE\n        a TOML file to read (environment: %s)\n", configFlag, configEnv)
	for _, k := range keys(Default()) {
		fmt.Fprintf(&b, "  --%s", k.flag())
		if text := k.value.text(); text != "" {
			fmt.Fprintf(&b, " (default %s)", text)
		}
		fmt.Fprintf(&b, "\n        %s\n", k.help)
	}
	return b.String()
}
