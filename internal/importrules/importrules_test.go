// Package importrules holds the project's folders to the one direction in
// which a message travels: which of them may import which, and which library
// stays behind which folder.
package importrules

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/thronghq/throng/"
	root   = "../.."
)

// mayImport says, for each folder at the top, which other folders its packages
// and their tests may import. All may import internal, which everyone's tests
// use; a package may import those below it.
var mayImport = map[string][]string{
	"proto":    {},
	"netio":    {"proto"},
	"room":     {"proto"},
	"auth":     {"proto"},
	"session":  {"proto", "room", "auth"},
	"storage":  {"proto", "auth"},
	"api":      {"proto", "room", "session", "auth"},
	"hook":     {"proto"},
	"client":   {"proto"},
	"web":      {},
	"cluster":  {"proto"},
	"internal": {"proto"},
	"bench":    {"proto", "storage"},
	"deploy":   {},
	"cmd":      {"proto", "netio", "room", "auth", "session", "storage", "api", "hook", "client", "web", "cluster", "bench"},
}

// keptTo says which folders may know a library, by the prefix of its path.
var keptTo = map[string][]string{
	"github.com/cloudwego/netpoll":  {"netio"},
	"github.com/gobwas/ws":          {"proto", "netio", "cmd", "bench"},
	"github.com/cockroachdb/pebble": {"storage", "bench"},
	"github.com/nats-io":            {"cluster"},
}

func TestImports(t *testing.T) {
	files := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		files++
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, imported := range imports(t, path) {
			if wrong := check(module+filepath.ToSlash(folder), imported); wrong != "" {
				t.Errorf("%s imports %s: %s", path, imported, wrong)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Errorf("only %d files were looked at", files)
	}
}

func imports(t *testing.T, path string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, imported)
	}
	return paths
}

// TestRulesCanFail gives the rules what they must refuse and must allow.
func TestRulesCanFail(t *testing.T) {
	tests := []struct {
		from, to string
		allowed  bool
	}{
		{"room", "fmt", true},
		{"room", module + "proto", true},
		{"room", module + "room/sub", true},
		{"room", module + "internal/throngtest", true},
		{"room", module + "storage", false},
		{"room", "github.com/gobwas/ws", false},
		{"room", "github.com/VictoriaMetrics/metrics", true},
		{"session", module + "room", true},
		{"session", module + "netio", false},
		{"netio/sub", "github.com/cloudwego/netpoll/x", true},
		{"storage", "github.com/cockroachdb/pebble/v2", true},
		{"cmd/throng", "github.com/cockroachdb/pebble/v2", false},
		{"internal/config", module + "auth", false},
		{"proto", module + "auth", false},
		{"new", "fmt", false},
	}
	for _, test := range tests {
		wrong := check(module+test.from, test.to)
		if (wrong == "") != test.allowed {
			t.Errorf("%s imports %s: allowed is %v (%q), want %v", test.from, test.to, wrong == "", wrong, test.allowed)
		}
	}
}

// check says what is wrong with an import, "" for nothing.
func check(from, to string) string {
	folder := top(from)
	allowed, known := mayImport[folder]
	if !known {
		return "the folder " + folder + " has no rule; give it one"
	}
	if strings.HasPrefix(to, module) {
		target := top(to)
		if target == folder || target == "internal" || slices.Contains(allowed, target) {
			return ""
		}
		return folder + " may import only " + strings.Join(append([]string{"internal"}, allowed...), ", ")
	}
	for library, folders := range keptTo {
		if (to == library || strings.HasPrefix(to, library+"/")) && !slices.Contains(folders, folder) {
			return "the library is kept to " + strings.Join(folders, ", ")
		}
	}
	return ""
}

func top(path string) string {
	folder, _, _ := strings.Cut(strings.TrimPrefix(path, module), "/")
	return folder
}
