package proto

import "encoding/hex"

// MsgID is a message's globally unique id: a UUIDv7 (RFC 9562, section 5.7)
// whose 60 bits of time are the message's own microseconds and whose remaining
// 62 bits are random. Times rise strictly within a room, and so do its ids.
type MsgID [16]byte

// NewMsgID builds the id of a message with the given time, in microseconds
// since the Unix epoch, and random tail, of which 62 bits are used.
func NewMsgID(micros int64, tail uint64) MsgID {
	ms := uint64(micros) / 1000
	// Method 3 of RFC 9562, section 6.2: a fraction of the millisecond in
	// the 12 bits of rand_a. 4096 steps hold 1000 microseconds in order.
	fraction := uint64(micros) % 1000 * 4096 / 1000
	hi := ms<<16 | 7<<12 | fraction
	lo := tail&(1<<62-1) | 1<<63
	var id MsgID
	for i := range 8 {
		id[i] = byte(hi >> (56 - 8*i))
		id[8+i] = byte(lo >> (56 - 8*i))
	}
	return id
}

// Tail returns the id's 62 random bits: with the time, all of it.
func (id MsgID) Tail() uint64 {
	var lo uint64
	for _, b := range id[8:] {
		lo = lo<<8 | uint64(b)
	}
	return lo & (1<<62 - 1)
}

// AppendText appends the id in the usual form, 36 bytes.
func (id MsgID) AppendText(dst []byte) []byte {
	dst = hex.AppendEncode(dst, id[0:4])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[4:6])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[6:8])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, id[8:10])
	dst = append(dst, '-')
	return hex.AppendEncode(dst, id[10:16])
}

// String returns the id in the usual form, such as
// 0192f0c4-1a2b-7c3d-8e4f-5a6b7c8d9e0f.
func (id MsgID) String() string { return string(id.AppendText(nil)) }
