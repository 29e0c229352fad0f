package storage

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/thronghq/throng/proto"
)

// Outbox keeps the records of what waits to be sent to other servers. It is a
// part of the store with keys of its own, which the store does not look into.
// Its methods may be called from any goroutine; they block on the disk.
type Outbox struct{ s *Store }

// Outbox returns the store's outbox.
func (s *Store) Outbox() Outbox { return Outbox{s} }

// Get returns a copy of the record under a key, nil for none.
func (o Outbox) Get(key []byte) ([]byte, error) {
	if !o.s.beginRead() {
		return nil, proto.ErrShuttingDown
	}
	defer o.s.readers.Done()
	value, closer, err := o.s.db.Get(appendOutboxKey(nil, key))
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("storage: reading the outbox: %w", err)
	}
	record := append([]byte{}, value...)
	return record, closer.Close()
}

// Scan visits the records with from <= key < to in the order of their keys, until
// visit returns false. A nil to is no bound. Key and value are valid during the
// visit only, which should be short: a scan keeps the store's files as they were.
func (o Outbox) Scan(from, to []byte, visit func(key, value []byte) bool) (err error) {
	if !o.s.beginRead() {
		return proto.ErrShuttingDown
	}
	defer o.s.readers.Done()
	end := []byte{prefixOutbox + 1}
	if to != nil {
		end = appendOutboxKey(nil, to)
	}
	it, err := o.s.db.NewIter(&pebble.IterOptions{LowerBound: appendOutboxKey(nil, from), UpperBound: end})
	if err != nil {
		return fmt.Errorf("storage: reading the outbox: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("storage: reading the outbox: %w", err)
		}
		if !visit(it.Key()[1:], value) {
			return nil
		}
	}
	if err := it.Error(); err != nil {
		return fmt.Errorf("storage: reading the outbox: %w", err)
	}
	return nil
}

// Write sets each key to the value beside it, or removes it where that is nil, in
// the given order and all in one commit, which is synced when Write returns. What
// was appended to rooms before is then synced, too: there is one write-ahead log.
//
// An error is proto.ErrStorageFull, ErrStorage or ErrShuttingDown, wrapped. Where
// it is ErrStorage, the commit may be there after a restart nevertheless.
func (o Outbox) Write(keys, values [][]byte) error {
	s := o.s
	if err := s.refusal(); err != nil {
		return fmt.Errorf("storage: writing the outbox: %w", err)
	}
	if !s.beginRead() {
		return proto.ErrShuttingDown
	}
	defer s.readers.Done()
	batch := s.db.NewBatch()
	var scratch []byte
	for i, key := range keys {
		scratch = appendOutboxKey(scratch[:0], key)
		err := error(nil)
		if values[i] == nil {
			err = batch.Delete(scratch, nil)
		} else {
			err = batch.Set(scratch, values[i], nil)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("storage: writing the outbox: %w", err), batch.Close())
		}
	}
	if err := o.commit(batch); err != nil {
		s.fail(err)
	}
	if err := s.failure(); err != nil {
		return errors.Join(proto.ErrStorage, err)
	}
	return batch.Close()
}

// commit writes and syncs. What Pebble throws when the write-ahead log has failed
// is an error like the others.
func (o Outbox) commit(batch *pebble.Batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("storage: writing the outbox: %v", p)
		}
	}()
	if err := o.s.db.Apply(batch, pebble.Sync); err != nil {
		return fmt.Errorf("storage: writing the outbox: %w", err)
	}
	return nil
}
