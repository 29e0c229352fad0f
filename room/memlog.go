package room

import (
	"crypto/rand"
	"encoding/hex"
	randv2 "math/rand/v2"
	"sync"
	"time"

	"github.com/thronghq/throng/proto"
)

// MemoryLog is the Log of namespaces whose durability is none: it gives out
// offsets, times and an epoch for each life of a room, and keeps no message.
// What such a room can replay is what its ring holds.
type MemoryLog struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Room begins a new life of the room, with an epoch of its own.
func (l MemoryLog) Room(_ string, sink func([]*proto.Publish)) (Stream, error) {
	now := l.Now
	if now == nil {
		now = time.Now
	}
	var epoch [8]byte
	_, _ = rand.Read(epoch[:]) // never fails: crypto/rand ends the process instead
	return &memoryStream{now: now, sink: sink, head: proto.Head{Epoch: hex.EncodeToString(epoch[:])}}, nil
}

type memoryStream struct {
	now  func() time.Time
	sink func([]*proto.Publish)

	// mu also holds the sink's calls in the order of the offsets.
	mu       sync.Mutex
	head     proto.Head
	settings []byte
	ended    bool
	one      [1]*proto.Publish
}

func (s *memoryStream) Head() proto.Head {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head
}

func (s *memoryStream) Settings() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings
}

func (s *memoryStream) Append(p *proto.Publish) *proto.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Settings != nil {
		s.settings = p.Settings
	}
	switch {
	case s.ended:
		p.Err = proto.ErrRoomClosed.New()
	case p.Edit != proto.EditNone:
		s.ended = p.Edit == proto.EditEnd // other edits are the ring's
	case !p.SettingsOnly:
		s.head.Offset++
		s.head.Time = max(s.now().UnixMicro(), s.head.Time+1)
		p.Offset, p.Time = s.head.Offset, s.head.Time
		p.ID = proto.NewMsgID(p.Time, randv2.Uint64())
	}
	s.one[0] = p
	s.sink(s.one[:])
	s.one[0] = nil
	return nil
}

// AppendPair serves no room: direct inboxes are always durable.
func (MemoryLog) AppendPair(Stream, *proto.Publish, Stream, *proto.Publish) *proto.Error {
	return proto.ErrStorage.New()
}

// Rooms knows of none: what lives in memory alone the hub lists.
func (MemoryLog) Rooms(string, string, int) ([]proto.StoredRoom, error) { return nil, nil }

// Receipt knows of none: a memory room's offsets end with it.
func (MemoryLog) Receipt(string, string) (uint64, error) { return 0, nil }

// SaveReceipts keeps none.
func (MemoryLog) SaveReceipts([]proto.Receipt) error { return nil }

func (*memoryStream) Covers(proto.Position) bool { return false }

func (*memoryStream) Read(proto.Range, func(*proto.Message) bool) error { return nil }

func (*memoryStream) Close() {}
