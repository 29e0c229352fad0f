package storage

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

// Accounts stand beside the rooms, under keys of their own; bytes from 0x15 to
// 0x1b are kept free for them.
const (
	prefixUser       = 0x10 // users, by name
	prefixLogin      = 0x11 // login sessions, by user and id
	prefixLoginID    = 0x12 // the users of login sessions, by id
	prefixAPIKey     = 0x13 // API keys, by id
	prefixRevocation = 0x14 // revocations, by subject
)

// maxLoginUser is the longest user id that a session's key can hold.
const maxLoginUser = 0xff

// Store implements auth.Store.
var _ auth.Store = (*Store)(nil)

func appendUserKey(dst []byte, name string) []byte {
	return append(append(dst, prefixUser), name...)
}

// appendLoginKey appends the key of a user's session. The name's length keeps
// the sessions of a from those of ab.
func appendLoginKey(dst []byte, user, id string) []byte {
	dst = append(dst, prefixLogin, byte(len(user)))
	return append(append(dst, user...), id...)
}

func appendLoginIDKey(dst []byte, id string) []byte {
	return append(append(dst, prefixLoginID), id...)
}

func appendAPIKeyKey(dst []byte, id string) []byte {
	return append(append(dst, prefixAPIKey), id...)
}

func appendRevocationKey(dst []byte, r auth.Revocation) []byte {
	kind, id := r.Subject()
	return append(append(dst, prefixRevocation, byte(kind)), id...)
}

// after returns the first possible key beyond all that begin with the prefix,
// whose first byte is not 0xff.
func after(prefix []byte) []byte {
	end := bytes.TrimRight(prefix, "\xff")
	end = bytes.Clone(end)
	end[len(end)-1]++
	return end
}

// User implements auth.Store.
func (s *Store) User(name string) (*auth.UserRecord, error) {
	return readAccount(s, appendUserKey(nil, name), decodeUser)
}

// Users implements auth.Store.
func (s *Store) Users(prefix, after string, limit int) ([]auth.UserRecord, error) {
	from := appendUserKey(nil, max(prefix, after))
	if after >= prefix && after != "" {
		from = append(from, 0) // the next possible name
	}
	return readAccounts(s, from, appendUserKey(nil, prefix), limit, decodeUser)
}

// Session implements auth.Store.
func (s *Store) Session(id string) (*auth.SessionRecord, error) {
	user, err := readAccount(s, appendLoginIDKey(nil, id), decodeLoginID)
	if user == nil || err != nil {
		return nil, err
	}
	return readAccount(s, appendLoginKey(nil, *user, id), decodeLogin)
}

// Sessions implements auth.Store.
func (s *Store) Sessions(user, after string, limit int) ([]auth.SessionRecord, error) {
	if len(user) > maxLoginUser {
		return nil, nil
	}
	from := appendLoginKey(nil, user, after)
	if after != "" {
		from = append(from, 0)
	}
	return readAccounts(s, from, appendLoginKey(nil, user, ""), limit, decodeLogin)
}

// Load implements auth.Store.
func (s *Store) Load() ([]auth.KeyRecord, []auth.RevocationRecord, error) {
	const all = int(^uint(0) >> 1)
	keys, err := readAccounts(s, []byte{prefixAPIKey}, []byte{prefixAPIKey}, all, decodeAPIKey)
	if err != nil {
		return nil, nil, err
	}
	revocations, err := readAccounts(s, []byte{prefixRevocation}, []byte{prefixRevocation}, all, decodeRevocation)
	return keys, revocations, err
}

// Apply implements auth.Store: it returns when an fsync covers the changes. On a
// disk that is nearly full only changes that do not grow are made.
func (s *Store) Apply(c *auth.Changes) error {
	if err := s.refusal(); err != nil && (err.Code != proto.ErrStorageFull || c.Grows()) {
		return err
	}
	if !s.beginRead() { // which is also what Close waits for
		return proto.ErrShuttingDown
	}
	defer s.readers.Done()
	batch := s.db.NewBatch()
	if err := putAccounts(batch, c); err != nil {
		return errors.Join(err, batch.Close())
	}
	if batch.Empty() {
		return batch.Close()
	}
	if err := s.commitSynced(batch); err != nil {
		s.fail(err)
		return err
	}
	return batch.Close()
}

// commitSynced writes a batch and waits for its fsync. What Pebble throws when
// the write-ahead log has failed is an error like the others.
func (s *Store) commitSynced(batch *pebble.Batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("storage: writing accounts: %v", p)
		}
	}()
	if err := batch.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("storage: writing accounts: %w", err)
	}
	return s.failure()
}

// putAccounts fills a batch.
func putAccounts(b *pebble.Batch, c *auth.Changes) error {
	var errs []error
	set := func(key, value []byte) { errs = append(errs, b.Set(key, value, nil)) }
	drop := func(key []byte) { errs = append(errs, b.Delete(key, nil)) }
	for i := range c.Users {
		set(appendUserKey(nil, c.Users[i].Name), appendUser(nil, &c.Users[i]))
	}
	for i := range c.Sessions {
		l := &c.Sessions[i]
		if len(l.UserID) > maxLoginUser {
			return fmt.Errorf("storage: a user id of %d bytes has no sessions; at most %d", len(l.UserID), maxLoginUser)
		}
		set(appendLoginKey(nil, l.UserID, l.ID), appendLogin(nil, l))
		set(appendLoginIDKey(nil, l.ID), appendLoginID(nil, l.UserID))
	}
	for i := range c.Keys {
		set(appendAPIKeyKey(nil, c.Keys[i].ID), appendAPIKey(nil, &c.Keys[i]))
	}
	for i := range c.Revocations {
		set(appendRevocationKey(nil, c.Revocations[i].Revocation), appendRevocation(nil, &c.Revocations[i]))
	}
	for _, name := range c.DropUsers {
		drop(appendUserKey(nil, name))
	}
	for i := range c.DropSessions {
		l := &c.DropSessions[i]
		drop(appendLoginKey(nil, l.UserID, l.ID))
		drop(appendLoginIDKey(nil, l.ID))
	}
	for _, id := range c.DropKeys {
		drop(appendAPIKeyKey(nil, id))
	}
	for _, r := range c.DropRevocations {
		drop(appendRevocationKey(nil, r))
	}
	return errors.Join(errs...)
}

// readAccount reads one record, nil where there is none.
func readAccount[T any](s *Store, key []byte, decode func(key, value []byte) (T, error)) (*T, error) {
	if !s.beginRead() {
		return nil, proto.ErrShuttingDown
	}
	defer s.readers.Done()
	v, err := getRecord(s.db, key, func(value []byte) (T, error) { return decode(key, value) })
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("storage: reading accounts: %w", err)
	}
	return &v, nil
}

// readAccounts reads at most limit records whose keys begin with the prefix, from
// the given key on.
func readAccounts[T any](s *Store, from, prefix []byte, limit int, decode func(key, value []byte) (T, error)) (list []T, err error) {
	if !s.beginRead() {
		return nil, proto.ErrShuttingDown
	}
	defer s.readers.Done()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: after(prefix)})
	if err != nil {
		return nil, fmt.Errorf("storage: reading accounts: %w", err)
	}
	defer func() {
		if err = errors.Join(err, it.Close()); err != nil {
			list, err = nil, fmt.Errorf("storage: reading accounts: %w", err)
		}
	}()
	for ok := it.First(); ok && len(list) < limit; ok = it.Next() {
		v, err := decode(it.Key(), it.Value())
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, it.Error()
}

// sweepLogins removes login sessions that have expired an hour ago or earlier;
// until then somebody may still be looking at one.
func (s *Store) sweepLogins() (removed int, err error) {
	if !s.beginRead() {
		return 0, nil
	}
	defer s.readers.Done()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixLogin}, UpperBound: []byte{prefixLogin + 1}})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	batch := s.db.NewBatch()
	until := s.opts.Now().Add(-sweepInterval).UnixMilli()
	for ok := it.First(); ok && s.failure() == nil; ok = it.Next() {
		l, err := decodeLogin(it.Key(), it.Value())
		if err != nil {
			return 0, errors.Join(err, batch.Close())
		}
		if l.ExpiresAt > until {
			continue
		}
		err = putAccounts(batch, &auth.Changes{DropSessions: []auth.SessionRecord{l}})
		if err != nil {
			return 0, errors.Join(err, batch.Close())
		}
		removed++
	}
	if err := errors.Join(it.Error(), s.db.Apply(batch, pebble.NoSync), batch.Close()); err != nil {
		return 0, err
	}
	return removed, nil
}
