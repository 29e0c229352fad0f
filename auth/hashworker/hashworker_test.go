package hashworker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/thronghq/throng/auth"
)

// serveVariable makes the test's binary the process.
const serveVariable = "hashworker-serve"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == serveVariable {
		if err := Serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func newProcess(t *testing.T) *Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := New(self, serveVariable)
	t.Cleanup(p.Rest)
	return p
}

func request(password string) *auth.KeyRequest {
	return &auth.KeyRequest{
		Argon2: auth.Argon2{MemoryKiB: 64, Time: 2}, Lanes: 1, Length: 32,
		Salt: []byte("0123456789abcdef"), Password: []byte(password),
	}
}

// TestDerive gets the keys that this process would make.
func TestDerive(t *testing.T) {
	p := newProcess(t)
	for _, password := range []string{"", "password", strings.Repeat("x", 4096)} {
		for range 2 {
			key, err := p.Derive(request(password))
			if err != nil {
				t.Fatal(err)
			}
			if want := request(password).Key(); !bytes.Equal(key, want) {
				t.Errorf("%.20q: %x, want %x", password, key, want)
			}
		}
		p.Rest() // and the next one starts again
	}
}

// TestPriority looks at all threads of the process: each gives way to everyone.
// It has no descriptors of the server.
func TestPriority(t *testing.T) {
	kept, err := os.Create(filepath.Join(t.TempDir(), "server's own"))
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	p := newProcess(t)
	for range 3 {
		if _, err := p.Derive(request("password")); err != nil {
			t.Fatal(err)
		}
	}
	proc := fmt.Sprintf("/proc/%d", p.cmd.Process.Pid)
	threads, err := filepath.Glob(proc + "/task/*/stat")
	if err != nil || len(threads) == 0 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if nice := strings.Fields(rest)[16]; nice != "10" { // field 19 of proc(5), after the second
			t.Errorf("%s: nice %s", thread, nice)
		}
	}
	if environment, err := os.ReadFile(proc + "/environ"); err != nil || string(environment) != "GOMAXPROCS=1\x00" {
		t.Errorf("environment %q, %v", environment, err)
	}
	descriptors, err := filepath.Glob(proc + "/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, descriptor := range descriptors {
		if target, err := os.Readlink(descriptor); err == nil && target == kept.Name() {
			t.Errorf("%s is open in the process", descriptor)
		}
	}
}

// TestProcessDies: the key that was asked for is lost, the next one is not.
func TestProcessDies(t *testing.T) {
	p := newProcess(t)
	if _, err := p.Derive(request("password")); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for {
		key, err := p.Derive(request("password"))
		if err == nil {
			if !bytes.Equal(key, request("password").Key()) {
				t.Errorf("another key: %x", key)
			}
			break
		}
		if failed++; failed > 1 {
			t.Fatal(err)
		}
	}
	missing := New(filepath.Join(t.TempDir(), "nothing"))
	if _, err := missing.Derive(request("password")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
	missing.Rest()
}

// TestServeCut ends requests in their middle.
func TestServeCut(t *testing.T) {
	whole := appendRequest(nil, request("password"))
	for n := range whole {
		err := Serve(bytes.NewReader(whole[:n]), io.Discard)
		if (n == 0) != (err == nil) {
			t.Errorf("%d bytes of a request: %v", n, err)
		}
	}
}
