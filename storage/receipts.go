package storage

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/thronghq/throng/proto"
)

const receiptVersion = 1

var errBadReceipt = errors.New("storage: a receipt is damaged")

// Receipt returns how far a user has acknowledged a room's messages, as far as
// that was saved; 0 for nothing, and for a room that nothing is stored of. It
// reads from disk.
func (s *Store) Receipt(room, user string) (uint64, error) {
	if !s.beginRead() {
		return 0, proto.ErrShuttingDown
	}
	defer s.readers.Done()
	id, err := s.roomID(room)
	if err != nil || id == 0 {
		return 0, err
	}
	return s.receipt(appendReceiptKey(nil, id, user))
}

// SaveReceipts stores receipts in one batch. One that is lower than what is
// stored, or of a room that nothing is stored of, changes nothing. It reads from
// disk, and waits for no fsync: a crash may set receipts back.
func (s *Store) SaveReceipts(receipts []proto.Receipt) error {
	if err := s.refusal(); err != nil {
		return err
	}
	if !s.beginRead() {
		return proto.ErrShuttingDown
	}
	defer s.readers.Done()
	batch := s.db.NewBatch()
	ids := make(map[string]uint64)
	for _, r := range receipts {
		id, known := ids[r.Room]
		if !known {
			var err error
			if id, err = s.roomID(r.Room); err != nil {
				return errors.Join(err, batch.Close())
			}
			ids[r.Room] = id
		}
		if id == 0 {
			continue
		}
		if err := s.raiseReceipt(batch, appendReceiptKey(nil, id, r.User), r.Offset); err != nil {
			return errors.Join(err, batch.Close())
		}
	}
	if err := s.db.Apply(batch, pebble.NoSync); err != nil {
		return errors.Join(fmt.Errorf("storage: saving receipts: %w", err), batch.Close())
	}
	return batch.Close()
}

func (s *Store) raiseReceipt(batch *pebble.Batch, key []byte, offset uint64) error {
	stored, err := s.receipt(key)
	if err != nil || stored >= offset {
		return err
	}
	return batch.Set(key, binary.AppendUvarint([]byte{receiptVersion << 4}, offset), nil)
}

// receipt reads a receipt's record.
func (s *Store) receipt(key []byte) (uint64, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("storage: reading a receipt: %w", err)
	}
	offset, err := decodeReceipt(value)
	return offset, errors.Join(err, closer.Close())
}

func decodeReceipt(b []byte) (uint64, error) {
	if len(b) == 0 || b[0] != receiptVersion<<4 {
		return 0, errBadReceipt
	}
	offset, rest, ok := cutUvarint(b[1:])
	if !ok || len(rest) > 0 {
		return 0, errBadReceipt
	}
	return offset, nil
}

// roomID returns a room's interned id, 0 where nothing is stored of it.
func (s *Store) roomID(name string) (uint64, error) {
	value, closer, err := s.db.Get(appendRoomKey(nil, name))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("storage: room %q: %w", name, err)
	}
	m, err := decodeMeta(value)
	if err := errors.Join(err, closer.Close()); err != nil {
		return 0, fmt.Errorf("storage: room %q: %w", name, err)
	}
	return m.room, nil
}
