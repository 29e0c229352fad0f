package model

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
	"github.com/thronghq/throng/storage"
	"github.com/thronghq/throng/storage/storagetest"
)

// author is a member that publishes with keys, one message at a time.
type author struct {
	codec   proto.Codec
	answers chan proto.Event
}

func newAuthor() *author {
	limits := proto.DefaultLimits()
	return &author{codec: proto.NewJSON(&limits), answers: make(chan proto.Event, 16)}
}

// UserID implements room.Member.
func (a *author) UserID() string { return "ann" }

// Codec implements room.Member.
func (a *author) Form() proto.Form { return proto.Form{Codec: a.codec} }

// Send implements room.Member.
func (a *author) Send(ev *proto.Event) { a.answers <- *ev }

func (a *author) Prefetch() {}

// Deliver implements room.Member. It takes no frames, and so the acks come as events.
func (a *author) Deliver([]byte) bool { return false }

// Close implements room.Member.
func (a *author) Close(*proto.Error) {}

// Ended implements room.Member.
func (a *author) Ended(*room.Membership) {}

// keyedServer is a hub over a store.
type keyedServer struct {
	store *storage.Store
	hub   *room.Hub
}

func openKeyed(o storage.Options) (*keyedServer, error) {
	o.Namespaces, o.CacheBytes = namespaces()[1:2], 1<<20
	store, err := storage.Open("data", o)
	if err != nil {
		return nil, err
	}
	return &keyedServer{store, room.NewHub(room.Options{
		Namespaces: namespaces(), Limits: proto.DefaultLimits(), Log: roomLog{store},
		Logger: slog.New(slog.DiscardHandler), Workers: 1,
	})}, nil
}

// publish sends one keyed message to a sync room and returns the answer.
func (s *keyedServer) publish(a *author, n int) proto.Event {
	ns := namespaces()[1]
	s.hub.Publish(a, nil, "safe:vault", &ns, room.Publication{
		ID: []byte("1"), Key: fmt.Appendf(nil, "k%d", n), Content: fmt.Appendf(nil, "%d", n), MayCreate: true,
	})
	return <-a.answers
}

func (s *keyedServer) close() error {
	s.hub.Close()
	return s.store.Close()
}

// keyedMessages is how many messages a life of keyedFault publishes.
const keyedMessages = 6

// TestKeysOutliveEveryFault fails each operation of the disk while a client
// publishes with keys to a sync room, starts the server again, and has the client
// repeat everything: what was acknowledged gets the same answer, what was not
// becomes one message, and nothing is there twice.
func TestKeysOutliveEveryFault(t *testing.T) {
	for _, mode := range storagetest.FaultModes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			for at := int64(0); keyedFault(t, at, mode); at++ {
				if at > 5000 {
					t.Fatal("5,000 operations in one short life of a store")
				}
			}
		})
	}
}

// keyedFault reports whether there was an operation of that index.
func keyedFault(t *testing.T, at int64, mode storagetest.FaultMode) (happened bool) {
	disk, acks := storagetest.NewDisk(), make(chan proto.Event, keyedMessages)
	fault := storagetest.NewFault(at, mode)
	fatal, ended := make(chan error, 1), make(chan error, 1)
	o := storage.Options{FS: fault.FS(disk.FS()), Fatal: func(err error) { fatal <- err }}
	go func() { ended <- keyedLife(o, acks) }() // may hang for good once the store has failed
	select {
	case <-fatal:
	case <-ended:
	}
	unsynced := 100
	if mode == storagetest.NotDone {
		unsynced = 0
	}
	s, err := openKeyed(storage.Options{FS: disk.Crash(unsynced, uint64(at)).FS()})
	if err != nil {
		t.Fatalf("%s failed, %v, and then the store does not open: %v", fault.Happened(), mode, err)
	}
	a := newAuthor()
	for n := range keyedMessages {
		again := s.publish(a, n)
		if again.Type != proto.EvAck || again.Offset != uint64(n+1) {
			t.Fatalf("%s failed, %v: the repeat of message %d is answered with %+v", fault.Happened(), mode, n, again)
		}
		select {
		case first := <-acks:
			if !again.Duplicate || again.MsgID != first.MsgID || again.Offset != first.Offset || again.Millis != first.Millis {
				t.Fatalf("%s failed, %v: message %d was answered with %+v, and its repeat with %+v", fault.Happened(), mode, n, first, again)
			}
		default:
		}
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	return fault.Happened() != ""
}

// keyedLife publishes until something fails, and then stops.
func keyedLife(o storage.Options, acks chan<- proto.Event) error {
	s, err := openKeyed(o)
	if err != nil {
		return err
	}
	a := newAuthor()
	for n := range keyedMessages {
		ack := s.publish(a, n)
		if ack.Type != proto.EvAck {
			return ack.Err
		}
		acks <- ack
	}
	return s.close()
}
