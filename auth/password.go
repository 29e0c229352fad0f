package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/secure/precis"

	"github.com/thronghq/throng/proto"
)

// Argon2 are the costs of hashing a password with argon2id (RFC 9106). Each
// stored hash has its own beside it; one that has others than these is made
// anew at its user's next login.
type Argon2 struct {
	MemoryKiB uint32 // default 64 MiB
	Time      uint32 // passes over the memory; default 3
}

const (
	argon2Lanes    = 1 // a hash has one core
	argon2Salt     = 16
	argon2Key      = 32
	minArgon2KiB   = 8
	maxArgon2KiB   = 4 << 20
	maxArgon2Time  = 100
	maxArgon2Lanes = 64
)

func (p Argon2) withDefaults() Argon2 {
	if p.MemoryKiB == 0 {
		p.MemoryKiB = 64 << 10
	}
	if p.Time == 0 {
		p.Time = 3
	}
	return p
}

func (p Argon2) validate() error {
	if p.MemoryKiB < minArgon2KiB || p.MemoryKiB > maxArgon2KiB {
		return fmt.Errorf("%d KiB of memory; from %d to %d", p.MemoryKiB, minArgon2KiB, maxArgon2KiB)
	}
	if p.Time < 1 || p.Time > maxArgon2Time {
		return fmt.Errorf("%d passes; from 1 to %d", p.Time, maxArgon2Time)
	}
	return nil
}

// KeyRequest is one use of argon2id: what a key of Length bytes is derived from.
type KeyRequest struct {
	Argon2
	Lanes    uint8
	Length   uint8
	Salt     []byte
	Password []byte
}

// Key derives the key on the caller's goroutine and one other.
func (r *KeyRequest) Key() []byte {
	return argon2.IDKey(r.Password, r.Salt, r.Time, r.MemoryKiB, r.Lanes, uint32(r.Length))
}

// Deriver derives keys for one worker, and so one at a time.
type Deriver interface {
	// Derive returns the key. It borrows the request.
	Derive(r *KeyRequest) ([]byte, error)
	// Rest gives back what is kept for the next key.
	Rest()
}

// here derives keys in this process.
type here struct{}

func (here) Derive(r *KeyRequest) ([]byte, error) { return r.Key(), nil }
func (here) Rest()                                {}

// passwordHash is a PHC string of argon2id, taken apart.
type passwordHash struct {
	Argon2
	lanes uint8
	salt  []byte
	key   []byte
}

// newPasswordHash hashes a password with a new salt.
func newPasswordHash(d Deriver, p Argon2, password []byte) (passwordHash, error) {
	h := passwordHash{Argon2: p, lanes: argon2Lanes, salt: make([]byte, argon2Salt)}
	_, _ = rand.Read(h.salt) // never fails
	var err error
	h.key, err = h.derive(d, password, argon2Key)
	return h, err
}

// dummyHash is one that no password has, and that costs as much as a real one.
func dummyHash(p Argon2) passwordHash {
	h := passwordHash{Argon2: p, lanes: argon2Lanes, salt: make([]byte, argon2Salt), key: make([]byte, argon2Key)}
	_, _ = rand.Read(h.salt)
	_, _ = rand.Read(h.key)
	return h
}

func (h *passwordHash) derive(d Deriver, password []byte, length int) ([]byte, error) {
	return d.Derive(&KeyRequest{Argon2: h.Argon2, Lanes: h.lanes, Length: uint8(length), Salt: h.salt, Password: password})
}

// matches reports whether it is the password's hash.
func (h *passwordHash) matches(d Deriver, password []byte) (bool, error) {
	key, err := h.derive(d, password, len(h.key))
	return err == nil && subtle.ConstantTimeCompare(key, h.key) == 1, err
}

// outdated reports whether a hash of today would have other parameters.
func (h *passwordHash) outdated(p Argon2) bool {
	return h.Argon2 != p || h.lanes != argon2Lanes || len(h.salt) != argon2Salt || len(h.key) != argon2Key
}

// String returns the hash as a PHC string: $argon2id$v=19$m=…,t=…,p=…$salt$key.
func (h passwordHash) String() string {
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.MemoryKiB, h.Time, h.lanes, encode(h.salt), encode(h.key))
}

var errBadHash = errors.New("auth: a stored password hash is damaged")

// parsePasswordHash reads a PHC string of argon2id, as String writes it.
func parsePasswordHash(text string) (passwordHash, error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return passwordHash{}, errBadHash
	}
	var h passwordHash
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.MemoryKiB, &h.Time, &h.lanes); err != nil {
		return passwordHash{}, errBadHash
	}
	decode := base64.RawStdEncoding.Strict().DecodeString
	var err error
	if h.salt, err = decode(parts[4]); err != nil {
		return passwordHash{}, errBadHash
	}
	if h.key, err = decode(parts[5]); err != nil {
		return passwordHash{}, errBadHash
	}
	if h.validate() != nil || h.lanes < 1 || h.lanes > maxArgon2Lanes || len(h.salt) < 8 || len(h.salt) > 64 || len(h.key) < 16 || len(h.key) > 64 || h.String() != text {
		return passwordHash{}, errBadHash
	}
	return h, nil
}

// normalPassword returns the password as it is hashed: normalised as RFC 8265's
// OpaqueString says, so that it is the same on every keyboard. The field is how
// the client knows it.
func normalPassword(field, password string) ([]byte, *proto.Error) {
	if len(password) > MaxPassword {
		return nil, proto.ErrInvalidField.With("field %q has %d bytes; a password has %d to %d", field, len(password), MinPassword, MaxPassword)
	}
	if !utf8.ValidString(password) {
		return nil, proto.ErrInvalidField.With("field %q is not valid UTF-8", field)
	}
	normal, err := precis.OpaqueString.Bytes([]byte(password))
	if err != nil && len(password) >= MinPassword {
		return nil, proto.ErrInvalidField.With("field %q holds a character that a password cannot have, such as a control character", field)
	}
	if len(normal) < MinPassword {
		return nil, proto.ErrInvalidField.With("field %q is too short; a password has %d to %d bytes", field, MinPassword, MaxPassword)
	}
	return normal, nil
}

// canonicalName returns a user name as it is stored: of the class that RFC 8265
// calls UsernameCaseMapped, so that names that look the same are the same. A
// name holds no colon: what other issuers' users are called begins with a prefix
// and one. It holds no star, with which the inbox of its user would be a pattern
// of rooms in a rule. And it is neither "." nor "..", which no path can name.
func canonicalName(field, name string) (string, *proto.Error) {
	const shape = "a user's name has 1 to %d bytes, letters, digits and signs without spaces, colons and stars, and is no . or .."
	if name == "" || len(name) > MaxUserName {
		return "", proto.ErrInvalidField.With("field %q has %d bytes; "+shape, field, len(name), MaxUserName)
	}
	canonical, err := precis.UsernameCaseMapped.String(name)
	if err == nil { // some rules take two passes to come to rest (RFC 8264, section 7)
		canonical, err = precis.UsernameCaseMapped.String(canonical)
	}
	if err != nil || len(canonical) > MaxUserName || strings.ContainsAny(canonical, ":*") || canonical == "." || canonical == ".." {
		return "", proto.ErrInvalidField.With("field %q cannot be a name; "+shape, field, MaxUserName)
	}
	if again, err := precis.UsernameCaseMapped.String(canonical); err != nil || again != canonical {
		return "", proto.ErrInvalidField.With("field %q has no one spelling; "+shape, field, MaxUserName)
	}
	return canonical, nil
}
