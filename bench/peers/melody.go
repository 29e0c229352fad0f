package main

import (
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/olahol/melody"
)

// memberRoom is the key under which a session keeps its place.
const memberRoom = "room"

type melodyPlace struct {
	in      *room[*melody.Session]
	entered bool // or the upgrade has failed
}

func placeOf(s *melody.Session) *melodyPlace { return s.MustGet(memberRoom).(*melodyPlace) }

// serveMelody gives rooms their own members: the library's BroadcastFilter would
// ask every session of the server for every message. Two servers differ in what
// they do with a message.
func serveMelody(l net.Listener) error {
	floor, echo := newMelody(), newMelody()
	all := new(rooms[*melody.Session])
	floor.HandleConnect(func(s *melody.Session) {
		p := placeOf(s)
		p.entered = true
		p.in.enter(s)
	})
	floor.HandleDisconnect(func(s *melody.Session) { placeOf(s).in.leave(s) })
	// Write fails for a session that is over, which its own handler notices.
	floor.HandleMessage(func(s *melody.Session, payload []byte) {
		placeOf(s).in.each(func(to *melody.Session) { _ = to.Write(payload) })
	})
	floor.HandleMessageBinary(func(s *melody.Session, payload []byte) {
		placeOf(s).in.each(func(to *melody.Session) { _ = to.WriteBinary(payload) })
	})
	echo.HandleMessage(func(s *melody.Session, payload []byte) { _ = s.Write(payload) })
	echo.HandleMessageBinary(func(s *melody.Session, payload []byte) { _ = s.WriteBinary(payload) })
	return serveHTTP(l,
		func(w http.ResponseWriter, r *http.Request, name string) {
			p := &melodyPlace{in: all.admission(name)}
			_ = floor.HandleRequestWithKeys(w, r, map[string]any{memberRoom: p}) // it has answered
			if !p.entered {
				p.in.refuse()
			}
		},
		func(w http.ResponseWriter, r *http.Request) { _ = echo.HandleRequest(w, r) })
}

// newMelody sets what does not suit a benchmark: messages of 512 bytes at the
// most, a queue of 256, which takes 12 KiB of each session, a write buffer of its
// own, and pings. A session whose queue is full is closed, where melody itself
// would drop the message.
func newMelody() *melody.Melody {
	m := melody.New()
	m.Upgrader.ReadBufferSize, m.Upgrader.WriteBufferSize, m.Upgrader.WriteBufferPool = readBuffer, readBuffer, new(sync.Pool)
	m.Config.MaxMessageSize, m.Config.MessageBufferSize = maxMessage, queued
	m.Config.PingPeriod, m.Config.PongWait = 24*time.Hour, 25*time.Hour
	m.HandleError(func(s *melody.Session, err error) {
		if err == melody.ErrMessageBufferFull {
			_ = s.WebsocketConnection().Close()
		}
	})
	return m
}
