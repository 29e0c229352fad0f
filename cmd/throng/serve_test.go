package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/thronghq/throng/internal/throngtest"
)

// TestASecondSignalEndsTheDrain holds a connection that does not answer the
// server's close, so that the drain lasts.
func TestASecondSignalEndsTheDrain(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--drain-timeout=1h"}})
	throngtest.Dial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{}).Expect("session")
	s.Signal(syscall.SIGTERM)
	s.AwaitStderr(`"msg":"draining"`)
	s.Signal(syscall.SIGTERM)
	if code := s.Wait(); code != -1 {
		t.Errorf("exit code %d, want -1: the signal should have ended it", code)
	}
}

// TestServeRefuses starts servers that cannot serve.
func TestServeRefuses(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{})
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("open\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"a taken port", []string{"--listen=" + s.Addr(), "--data-dir=" + t.TempDir()}, exitFailure, s.Addr()},
		{"a taken data directory", []string{"--listen=127.0.0.1:0", "--data-dir=" + s.DataDir}, exitFailure, s.DataDir},
		{"a file as data directory", []string{"--listen=127.0.0.1:0", "--data-dir=" + file}, exitFailure, file},
		{"a secret that others read", []string{"--listen=127.0.0.1:0", "--data-dir=" + filepath.Dir(secret)}, exitFailure, "chmod 600"},
		{"a refused configuration", []string{"--listen=here"}, exitConfig, "listen = here (flag --listen)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := throngtest.Run(t, nil, test.args...)
			if code != test.code || stdout != "" || !strings.Contains(stderr, test.says) {
				t.Errorf("exit code %d, standard output %q, standard error %s\nwant %d and a mention of %q", code, stdout, stderr, test.code, test.says)
			}
		})
	}
}
