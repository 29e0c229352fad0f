package auth_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/thronghq/throng/auth"
)

func TestSecretIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	if _, err := auth.LoadSecret(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("before it is made: %v, want fs.ErrNotExist", err)
	}
	first, created, err := auth.LoadOrCreateSecret(dir)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	if len(first) != 64 {
		t.Errorf("the secret has %d bytes, want 64 hexadecimal digits", len(first))
	}
	again, created, err := auth.LoadOrCreateSecret(dir)
	if err != nil || created || string(again) != string(first) {
		t.Errorf("the second time: created %v, same %v, %v", created, string(again) == string(first), err)
	}
	info, err := os.Stat(filepath.Join(dir, auth.SecretFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v (%v), want the secret alone", entries, err)
	}
}

func TestSecretIsTheSameForAll(t *testing.T) {
	dir := t.TempDir()
	secrets := make([]string, 16)
	var makers int
	var mu sync.Mutex
	var group sync.WaitGroup
	for i := range secrets {
		group.Go(func() {
			secret, created, err := auth.LoadOrCreateSecret(dir)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			secrets[i] = string(secret)
			if created {
				makers++
			}
		})
	}
	group.Wait()
	for _, secret := range secrets {
		if secret != secrets[0] {
			t.Fatal("two processes would have different secrets")
		}
	}
	if makers != 1 {
		t.Errorf("%d of them made it, want 1", makers)
	}
}

func TestSecretThatOthersCanReadIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), auth.SecretFile)
	if err := os.WriteFile(path, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, _, err := auth.LoadOrCreateSecret(filepath.Dir(path))
		if err == nil || !strings.Contains(err.Error(), "chmod 600") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("mode %04o: got %v, want a refusal that says what to do", mode, err)
		}
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if secret, err := auth.LoadSecret(filepath.Dir(path)); err != nil || string(secret) != "s3cret" {
		t.Errorf("mode 0600: got %q, %v", secret, err)
	}
}

func TestEmptySecretIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, auth.SecretFile), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := auth.LoadOrCreateSecret(dir); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("got %v, want a refusal", err)
	}
}
