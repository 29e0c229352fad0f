package model

import (
	"sync/atomic"

	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
)

// faults breaks the server on purpose, to see whether the model notices. The
// zero value breaks nothing.
type faults struct {
	publish  func(n int64, p *proto.Publish)      // changes what is appended
	edit     func(p *proto.Publish)               // changes a deletion or a trim
	read     func(n int64, m *proto.Message) bool // false drops a message that is read
	lose     func(n int64) bool                   // drops a room's frame on its way to a connection
	unsynced bool                                 // sync namespaces are treated as async
	acksAll  bool                                 // what the log refuses is acknowledged, too
	machine  bool                                 // the rooms go by the machine's clock
	binary   func(m *proto.Message)               // changes what binary clients get
}

// codec puts the fault around the binary codec.
func (f faults) codec(c proto.Codec) proto.Codec {
	if f.binary == nil {
		return c
	}
	return &faultyCodec{c, f.binary}
}

type faultyCodec struct {
	proto.Codec
	change func(m *proto.Message)
}

// AppendMessage implements proto.Codec.
func (c *faultyCodec) AppendMessage(dst []byte, m *proto.Message, own bool) []byte {
	changed := *m
	c.change(&changed)
	return c.Codec.AppendMessage(dst, &changed, own)
}

// log puts the faults around a log.
func (f faults) log(l room.Log) room.Log {
	if f.publish == nil && f.edit == nil && f.read == nil && !f.acksAll {
		return l
	}
	return &faultyLog{Log: l, faults: f}
}

// loser counts one connection's frames.
func (f faults) loser() func() bool {
	if f.lose == nil {
		return func() bool { return false }
	}
	var n int64
	return func() bool { n++; return f.lose(n) }
}

type faultyLog struct {
	room.Log
	faults faults
}

// Room implements room.Log.
func (l *faultyLog) Room(name string, sink func([]*proto.Publish)) (room.Stream, error) {
	if l.faults.acksAll {
		inner := sink
		sink = func(pubs []*proto.Publish) {
			for _, p := range pubs {
				p.Err = nil
			}
			inner(pubs)
		}
	}
	s, err := l.Log.Room(name, sink)
	if err != nil {
		return nil, err
	}
	return &faultyStream{Stream: s, faults: l.faults}, nil
}

type faultyStream struct {
	room.Stream
	faults    faults
	published atomic.Int64
	visited   atomic.Int64
}

// Append implements room.Stream.
func (s *faultyStream) Append(p *proto.Publish) *proto.Error {
	switch {
	case s.faults.edit != nil && p.Edit != proto.EditNone:
		s.faults.edit(p)
	case s.faults.publish != nil && p.Edit == proto.EditNone && !p.SettingsOnly:
		s.faults.publish(s.published.Add(1), p)
	}
	return s.Stream.Append(p)
}

// Read implements room.Stream.
func (s *faultyStream) Read(rg proto.Range, visit func(*proto.Message) bool) error {
	return s.Stream.Read(rg, func(m *proto.Message) bool {
		if s.faults.read != nil && !s.faults.read(s.visited.Add(1), m) {
			return true
		}
		return visit(m)
	})
}
