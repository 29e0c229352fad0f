package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// KeyInfo is what may be told of a key.
type KeyInfo struct {
	ID        string
	Algorithm string
	CanSign   bool // it has a private part or is a secret, and is not retired
	Signs     bool // it is the one that does
}

// ListKeys returns the keys of a JWK Set file, in its order. signing is the kid
// of the key that is to sign, "" for the first that can.
func ListKeys(path, signing string) ([]KeyInfo, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	keys, err := parseKeys(data)
	if err != nil {
		return nil, fmt.Errorf("auth: %s: %w", path, err)
	}
	r, err := newKeyring(nil, keys, signing)
	if err != nil {
		return nil, fmt.Errorf("auth: %s: %w", path, err)
	}
	list := make([]KeyInfo, len(keys))
	for i := range keys {
		k := &r.keys[i]
		list[i] = KeyInfo{ID: k.id, Algorithm: k.alg, CanSign: k.private != nil, Signs: k == r.signer}
	}
	return list, nil
}

// PublicKeys returns the JWK Set of a file's public keys, for those who are to
// verify its tokens. Secrets are not in it.
func PublicKeys(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	keys, err := parseKeys(data)
	if err != nil {
		return nil, fmt.Errorf("auth: %s: %w", path, err)
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		if _, secret := k.public.([]byte); !secret {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.public, KeyID: k.id, Algorithm: k.alg, Use: "sig"})
		}
	}
	return json.Marshal(set, jsontext.WithIndent("  "))
}

// GenerateKey makes a key for the algorithm and puts it behind the others in a
// JWK Set file, which it makes where there is none. An empty kid makes one up.
// It returns the kid.
func GenerateKey(path, alg, kid string, now time.Time) (string, error) {
	if kid == "" {
		kid = newKeyID(now)
	}
	material, err := newMaterial(alg)
	if err != nil {
		return "", fmt.Errorf("auth: %w", err)
	}
	entry, err := json.Marshal(jose.JSONWebKey{Key: material, KeyID: kid, Algorithm: alg, Use: "sig"})
	if err != nil {
		return "", fmt.Errorf("auth: %w", err)
	}
	return kid, editKeys(path, true, func(entries []jsontext.Value) ([]jsontext.Value, error) {
		return append(entries, entry), nil
	})
}

// newKeyID makes up a kid that says from when it is.
func newKeyID(now time.Time) string {
	var random [4]byte
	rand.Read(random[:]) // never fails
	return now.UTC().Format("2006-01-02") + "." + hex.EncodeToString(random[:])
}

func newMaterial(alg string) (any, error) {
	switch alg {
	case HS256:
		secret := make([]byte, minOctBytes)
		rand.Read(secret) // never fails
		return secret, nil
	case RS256:
		const bits = 3072 // good beyond 2030 (NIST SP 800-57)
		return rsa.GenerateKey(rand.Reader, bits)
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return nil, fmt.Errorf("algorithm %.32q is none of %s", alg, strings.Join(algorithms, ", "))
}

// RetireKey lets a key of a JWK Set file sign no more: what it signed stays
// good. Its private part is dropped where it has a public one.
func RetireKey(path, kid string) error {
	return editKey(path, kid, func(j *jwk) (jsontext.Value, error) {
		if j.kty != "oct" {
			for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth"} {
				delete(j.members, private)
			}
		}
		j.members["key_ops"] = jsontext.Value(`["verify"]`)
		return json.Marshal(j.members, json.Deterministic(true))
	})
}

// RemoveKey drops a key from a JWK Set file: what it signed ends with it.
func RemoveKey(path, kid string) error {
	return editKey(path, kid, func(*jwk) (jsontext.Value, error) { return nil, nil })
}

// editKey replaces one key of a file by what edit makes of it, or drops it
// where that is nothing.
func editKey(path, kid string, edit func(*jwk) (jsontext.Value, error)) error {
	return editKeys(path, false, func(entries []jsontext.Value) ([]jsontext.Value, error) {
		for i, entry := range entries {
			j, err := readJWK(entry)
			if err != nil {
				return nil, err
			}
			if j.kid != kid {
				continue
			}
			edited, err := edit(j)
			if err != nil {
				return nil, err
			}
			if edited == nil {
				return slices.Delete(entries, i, i+1), nil
			}
			entries[i] = edited
			return entries, nil
		}
		return nil, fmt.Errorf("it has no key %q", kid)
	})
}

// editKeys changes a JWK Set file, which appears whole or not at all, with its
// owner, and a mode that only leaves its group in. Of several processes one
// does so at a time. A file that is not good before or after is left alone.
func editKeys(path string, create bool, edit func([]jsontext.Value) ([]jsontext.Value, error)) error {
	wrap := func(err error) error { return fmt.Errorf("auth: %s: %w", path, withoutPath(err)) }
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // the link stays one
	}
	unlock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return wrap(err)
	}
	defer unlock()

	before, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && create:
		before = []byte(`{"keys":[]}`)
	case err != nil:
		return wrap(err)
	}
	if _, err := parseKeys(before); err != nil {
		return wrap(err)
	}
	set, entries, err := splitSet(before)
	if err != nil {
		return wrap(err)
	}
	if entries, err = edit(entries); err != nil {
		return wrap(err)
	}
	if set["keys"], err = json.Marshal(entries); err != nil {
		return wrap(err)
	}
	after, err := json.Marshal(set, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return wrap(err)
	}
	if _, err := parseKeys(after); err != nil {
		return wrap(err)
	}
	if err := replaceFile(path, append(after, '\n')); err != nil {
		return wrap(err)
	}
	return nil
}

// lockDir keeps others who lock it from editing what is in a directory.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		_ = d.Close() // nothing was written
		return nil, err
	}
	return func() { _ = d.Close() }, nil // which unlocks it
}

// replaceFile writes a file beside its place and moves it there. It keeps owner
// and group of the one that it replaces, and of its mode what lets owner and
// group read; a new one has mode 0600.
func replaceFile(path string, data []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // where it has not moved
	_, err = file.Write(data)
	if before, statErr := os.Stat(path); err == nil && statErr == nil {
		if owner, ok := before.Sys().(*syscall.Stat_t); ok && (int(owner.Uid) != os.Geteuid() || int(owner.Gid) != os.Getegid()) {
			err = file.Chown(int(owner.Uid), int(owner.Gid))
		}
		err = errors.Join(err, file.Chmod(before.Mode().Perm()&0o640))
	}
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
