package auth

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// SecretFile is the name of the secret within the data directory.
const SecretFile = "secret"

// secretBytes is the entropy of a secret that the server makes: as much as
// HMAC-SHA-256 can use (RFC 7518, section 3.2).
const secretBytes = 32

// LoadSecret reads the secret of the data directory dir: what its file holds,
// without the line end. Where there is none,
// the error is fs.ErrNotExist; a file that others than its owner may read or
// write is refused.
func LoadSecret(dir string) ([]byte, error) {
	path := filepath.Join(dir, SecretFile)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("auth: %s has mode %04o, so that others can read or change it; run chmod 600 %s, or remove it for a new one", path, mode, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	secret := bytes.TrimRight(text, "\r\n")
	if len(secret) == 0 {
		return nil, fmt.Errorf("auth: %s is empty; remove it for a new one", path)
	}
	return secret, nil
}

// LoadOrCreateSecret reads the secret of the data directory dir, which exists,
// or makes one; created tells which. The file appears whole or not at all, and
// of several processes that start at once all get the same secret.
func LoadOrCreateSecret(dir string) (secret []byte, created bool, err error) {
	secret, err = LoadSecret(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, false, err
	}
	switch err := createSecret(dir); {
	case err == nil:
		created = true
	case !errors.Is(err, fs.ErrExist):
		return nil, false, fmt.Errorf("auth: create %s: %w", filepath.Join(dir, SecretFile), err)
	}
	secret, err = LoadSecret(dir)
	return secret, created, err
}

// createSecret writes a secret beside its place and links it there, which
// fails with fs.ErrExist where another process was first.
func createSecret(dir string) error {
	random := make([]byte, secretBytes)
	rand.Read(random) // never fails

	file, err := os.CreateTemp(dir, SecretFile+".*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if _, err := file.Write(append(hex.AppendEncode(nil, random), '\n')); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), filepath.Join(dir, SecretFile)); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
