package storage

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"github.com/thronghq/throng/auth"
)

// The records of accounts, see docs/storage-format.md. Times in them are Unix
// ms.
const (
	accountVersion = 1

	userAdmin    = 0x01
	userDisabled = 0x02

	apiKeyAdmin = 0x01
	apiKeyRules = 0x02

	revocationBefore = 0x01
)

var errBadAccount = errors.New("storage: a record of an account is damaged")

// accountHead appends the first byte of a record.
func accountHead(dst []byte, flags byte) []byte { return append(dst, accountVersion<<4|flags) }

func appendTimes(dst []byte, times ...int64) []byte {
	for _, t := range times {
		dst = binary.AppendUvarint(dst, uint64(t))
	}
	return dst
}

func appendText(dst []byte, text string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// accountReader reads a record until something in it is bad.
type accountReader struct {
	metaReader
	flags byte
}

func readAccountHead(b []byte, known byte) accountReader {
	if len(b) == 0 || b[0]>>4 != accountVersion || b[0]&0x0f&^known != 0 {
		return accountReader{}
	}
	return accountReader{metaReader{rest: b[1:], ok: true}, b[0] & known}
}

func (r *accountReader) has(flag byte) bool { return r.flags&flag != 0 }

func (r *accountReader) millis() int64 { return r.micros() }

func (r *accountReader) text() string {
	if !r.ok {
		return ""
	}
	var b []byte
	b, r.rest, r.ok = cutBytes(r.rest)
	return string(b)
}

func (r *accountReader) hash() (h [32]byte) {
	if !r.ok || len(r.rest) < len(h) {
		r.ok = false
		return h
	}
	r.rest = r.rest[copy(h[:], r.rest):]
	return h
}

// end returns all that is left.
func (r *accountReader) end() []byte {
	b := r.rest
	r.rest = nil
	return b
}

// done reports a record that was bad or has something left.
func (r *accountReader) done() error {
	if !r.ok || len(r.rest) > 0 {
		return errBadAccount
	}
	return nil
}

func appendUser(dst []byte, u *auth.UserRecord) []byte {
	var flags byte
	if u.Admin {
		flags |= userAdmin
	}
	if u.Disabled {
		flags |= userDisabled
	}
	dst = appendTimes(accountHead(dst, flags), u.CreatedAt, u.PasswordChangedAt, u.LastLoginAt)
	return append(dst, u.Password...)
}

func decodeUser(key, b []byte) (u auth.UserRecord, err error) {
	if len(key) < 2 || key[0] != prefixUser {
		return u, errBadAccount
	}
	r := readAccountHead(b, userAdmin|userDisabled)
	u.Name = string(key[1:])
	u.Admin, u.Disabled = r.has(userAdmin), r.has(userDisabled)
	u.CreatedAt, u.PasswordChangedAt, u.LastLoginAt = r.millis(), r.millis(), r.millis()
	u.Password = string(r.end())
	return u, r.done()
}

func appendLogin(dst []byte, l *auth.SessionRecord) []byte {
	dst = appendTimes(accountHead(dst, 0), l.CreatedAt, l.LastUsedAt, l.ExpiresAt, l.AccessEnds)
	dst = append(append(dst, l.Family[:]...), l.Current[:]...)
	return append(appendText(dst, l.Address), l.UserAgent...)
}

func decodeLogin(key, b []byte) (l auth.SessionRecord, err error) {
	if len(key) < 3 || key[0] != prefixLogin || len(key) < 3+int(key[1]) || key[1] == 0 {
		return l, errBadAccount
	}
	r := readAccountHead(b, 0)
	l.UserID, l.ID = string(key[2:2+int(key[1])]), string(key[2+int(key[1]):])
	l.CreatedAt, l.LastUsedAt, l.ExpiresAt, l.AccessEnds = r.millis(), r.millis(), r.millis(), r.millis()
	l.Family, l.Current = r.hash(), r.hash()
	l.Address, l.UserAgent = r.text(), string(r.end())
	return l, r.done()
}

func appendLoginID(dst []byte, user string) []byte { return append(accountHead(dst, 0), user...) }

func decodeLoginID(key, b []byte) (user string, err error) {
	if len(key) < 2 || key[0] != prefixLoginID {
		return "", errBadAccount
	}
	r := readAccountHead(b, 0)
	user = string(r.end())
	r.ok = r.ok && user != "" && len(user) <= maxLoginUser
	return user, r.done()
}

func appendAPIKey(dst []byte, k *auth.KeyRecord) []byte {
	var flags byte
	if k.Admin {
		flags |= apiKeyAdmin
	}
	if k.Rooms != nil {
		flags |= apiKeyRules
	}
	dst = appendTimes(accountHead(dst, flags), k.CreatedAt, k.LastUsedAt, k.ExpiresAt)
	dst = append(dst, k.Secret[:]...)
	dst = appendText(appendText(dst, k.Name), k.UserID)
	if k.Rooms != nil {
		dst = append(dst, rulesText(k.Rooms)...)
	}
	return dst
}

// rulesText writes rules as the claim rooms of a token has them. They are
// strings and sets of known rights, which always have a text.
func rulesText(rules []auth.Rule) []byte {
	text, err := json.Marshal(rules)
	if err != nil {
		panic("storage: rules without a text: " + err.Error())
	}
	return text
}

func decodeAPIKey(key, b []byte) (k auth.KeyRecord, err error) {
	if len(key) < 2 || key[0] != prefixAPIKey {
		return k, errBadAccount
	}
	r := readAccountHead(b, apiKeyAdmin|apiKeyRules)
	k.ID, k.Admin = string(key[1:]), r.has(apiKeyAdmin)
	k.CreatedAt, k.LastUsedAt, k.ExpiresAt = r.millis(), r.millis(), r.millis()
	k.Secret = r.hash()
	k.Name, k.UserID = r.text(), r.text()
	if r.has(apiKeyRules) {
		text := r.end()
		k.Rooms = []auth.Rule{}
		if json.Unmarshal(text, &k.Rooms) != nil || k.Rooms == nil || !bytes.Equal(rulesText(k.Rooms), text) {
			return k, errBadAccount
		}
	}
	return k, r.done()
}

func appendRevocation(dst []byte, v *auth.RevocationRecord) []byte {
	var flags byte
	if !v.Before.IsZero() {
		flags |= revocationBefore
	}
	dst = appendTimes(accountHead(dst, flags), v.Expires)
	if flags&revocationBefore != 0 {
		dst = appendTimes(dst, v.Before.UnixMilli())
	}
	if kind, _ := v.Subject(); kind != auth.SubjectUser {
		dst = append(dst, v.UserID...)
	}
	return dst
}

func decodeRevocation(key, b []byte) (v auth.RevocationRecord, err error) {
	if len(key) < 3 || key[0] != prefixRevocation {
		return v, errBadAccount
	}
	r := readAccountHead(b, revocationBefore)
	v.Expires = r.millis()
	if r.has(revocationBefore) {
		v.Before = time.UnixMilli(r.millis())
	}
	subject := string(key[2:])
	switch auth.SubjectKind(key[1]) {
	case auth.SubjectUser:
		v.UserID = subject
	case auth.SubjectSession:
		v.Session, v.UserID = subject, string(r.end())
	case auth.SubjectToken:
		v.TokenID, v.UserID = subject, string(r.end())
	default:
		return v, errBadAccount
	}
	return v, r.done()
}
