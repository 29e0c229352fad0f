package storage

import (
	"encoding/binary"
	"errors"
)

// The first byte of a key says what the key is. Bytes from 0x10 to 0x1f are
// kept for accounts and the outbox; from firstClass on they are retention classes.
const (
	prefixStore = 0x00 // the store's own records
	prefixClass = 0x01 // retention classes, by number
	prefixRoom  = 0x02 // rooms, by name
	prefixSpace = 0x03 // namespaces, by name
	prefixAcked = 0x04 // receipts, by room id and user
	prefixEnded = 0x05 // deleted rooms whose messages are still to be removed, by room id
	firstClass  = 0x80

	prefixOutbox = 0x1c // what waits to be sent to other servers; 0x1d to 0x1f are kept free for it
)

// messageKeyLen is the length of a message's key.
const messageKeyLen = 1 + 4 + 8 + 8 + 8

var errBadKey = errors.New("storage: not a message key")

var (
	keyState = []byte{prefixStore, 's'} // storeState
	keyClock = []byte{prefixStore, 'c'} // the newest message time, to a second
	keyRooms = []byte{prefixStore, 'r'} // the highest room id given
)

// messageKey says where a message stands. Within a room time order is offset
// order, so that one key serves both.
type messageKey struct {
	class  byte
	bucket uint32
	room   uint64
	time   int64
	offset uint64
}

// appendMessageKey appends the key's messageKeyLen bytes.
func appendMessageKey(dst []byte, k messageKey) []byte {
	dst = append(dst, k.class)
	dst = binary.BigEndian.AppendUint32(dst, k.bucket)
	dst = binary.BigEndian.AppendUint64(dst, k.room)
	dst = binary.BigEndian.AppendUint64(dst, uint64(k.time))
	return binary.BigEndian.AppendUint64(dst, k.offset)
}

func decodeMessageKey(key []byte) (messageKey, error) {
	if len(key) != messageKeyLen || key[0] < firstClass || key[13]&0x80 != 0 {
		return messageKey{}, errBadKey
	}
	return messageKey{
		class:  key[0],
		bucket: binary.BigEndian.Uint32(key[1:]),
		room:   binary.BigEndian.Uint64(key[5:]),
		time:   int64(binary.BigEndian.Uint64(key[13:])),
		offset: binary.BigEndian.Uint64(key[21:]),
	}, nil
}

// appendBucketKey appends the first possible key of a bucket.
func appendBucketKey(dst []byte, class byte, bucket uint32) []byte {
	dst = append(dst, class)
	return binary.BigEndian.AppendUint32(dst, bucket)
}

func appendClassKey(dst []byte, class byte) []byte { return append(dst, prefixClass, class) }

func appendNamespaceKey(dst []byte, name string) []byte {
	dst = append(dst, prefixSpace)
	return append(dst, name...)
}

func appendRoomKey(dst []byte, name string) []byte {
	dst = append(dst, prefixRoom)
	return append(dst, name...)
}

// appendReceiptKey appends the key of a user's receipt in a room.
func appendReceiptKey(dst []byte, room uint64, user string) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, prefixAcked), room)
	return append(dst, user...)
}

// appendOutboxKey appends the key of an outbox's record.
func appendOutboxKey(dst, key []byte) []byte {
	return append(append(dst, prefixOutbox), key...)
}
