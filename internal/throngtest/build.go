// Package throngtest runs the real server for black-box tests: it builds the
// binary once per test process, starts it on a free port with a data directory
// of its own, kills and restarts it, and speaks its JSON protocol.
//
// Everything that a test starts ends with the test, by its process id. Nothing
// sleeps: whatever is waited for has a deadline, past which the test fails and
// shows what the server wrote.
package throngtest

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// BinaryEnv names a variable with the path of a binary to test instead of one
// that is built.
const BinaryEnv = "THRONG_BINARY"

const mainPackage = "github.com/thronghq/throng/cmd/throng"

// built is the binary of this test process. The directory outlives the test
// that built it, so Main removes it.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// Main runs the tests of a package that calls Build or Start, and removes the
// binary after them: func TestMain(m *testing.M) { throngtest.Main(m) }.
func Main(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// Build returns the path of the binary, which the first call builds, with the
// race detector where the test has it. Where THRONG_BINARY is set, that is the
// binary. The package's TestMain must call Main.
func Build(t testing.TB) string {
	t.Helper()
	if path := os.Getenv(BinaryEnv); path != "" {
		return path
	}
	built.once.Do(func() { built.path, built.err = build() })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

func build() (path string, err error) {
	if err := lookAtSources(); err != nil {
		return "", err
	}
	if built.dir, err = os.MkdirTemp("", "throngtest-"); err != nil {
		return "", err
	}
	path = filepath.Join(built.dir, "throng")
	args := []string{"build", "-buildvcs=false", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	output, err := exec.Command("go", append(args, mainPackage)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("throngtest: go build: %w\n%s", err, output)
	}
	return path, nil
}

// lookAtSources reads the module's folders, so that go test, which remembers
// what a test has read, does not take the result of an older binary for this
// one's.
func lookAtSources() error {
	output, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("throngtest: go list -m: %w", err)
	}
	root := strings.TrimSpace(string(output))
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // what cannot be read is no source: the build would tell
		}
		if entry.IsDir() && path != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "bin") {
			return fs.SkipDir
		}
		return nil
	})
}
