package model

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
	"github.com/thronghq/throng/session"
	"github.com/thronghq/throng/storage"
	"github.com/thronghq/throng/storage/storagetest"
)

// failure is what a run panics with when the server breaks its word.
type failure string

var (
	secret = []byte("a secret of at least thirty-two bytes")
	users  = []string{"ann", "bob", "cyd"}
)

// The rooms, at least one of each kind of namespace.
var roomNames = []string{"lobby", "hall", "safe:vault", "mem:talk", "last:price", "shut:feed", "brief:news", "never:ping", "quiet:zone"}

const (
	connections = 6 // two for each user
	replayLimit = 12
	briefTTL    = 40*time.Second + 500*time.Microsecond
	keyTTL      = time.Minute + 300*time.Microsecond // no sum of whole milliseconds
)

// namespaces gives each rule of docs/protocol.md a namespace where it shows.
func namespaces() []proto.Namespace {
	make := func(name string, change func(*proto.Namespace)) proto.Namespace {
		ns := proto.NewNamespace(name)
		ns.HistorySize, ns.HistoryTTL = 40, 3*time.Minute+500*time.Microsecond
		change(&ns)
		return ns
	}
	return []proto.Namespace{
		make(proto.DefaultNamespace, func(*proto.Namespace) {}),
		make("safe", func(ns *proto.Namespace) {
			ns.Durability, ns.Hosts, ns.Succession = proto.Sync, true, proto.OldestSucceeds
		}),
		make("mem", func(ns *proto.Namespace) { ns.Durability, ns.HistorySize, ns.Hosts = proto.Memory, 8, true }),
		make("last", func(ns *proto.Namespace) { ns.Slow = proto.SlowConflate }),
		make("shut", func(ns *proto.Namespace) { ns.Slow = proto.SlowClose }),
		make("brief", func(ns *proto.Namespace) { ns.HistorySize, ns.HistoryTTL = 5, briefTTL }),
		make("never", func(ns *proto.Namespace) { ns.HistorySize = 0 }),
		make("quiet", func(ns *proto.Namespace) { ns.JoinLeave, ns.Durability = false, proto.Sync }),
		make(proto.UserNamespace, func(ns *proto.Namespace) { ns.Presence, ns.JoinLeave = false, false }),
	}
}

// world is a server, its clients, and the model of what they should see.
type world struct {
	t      *testing.T
	faults faults

	clock    *clock
	disk     *storagetest.Disk
	began    time.Time // when the store was opened
	fault    *storagetest.Fault
	ended    *atomic.Bool // the store has failed, and the server is to end
	buried   bool         // one that has failed is still there, see stop
	store    *storage.Store
	hub      *room.Hub
	sessions *session.Manager

	clients []*client
	rooms   map[string]*truth
	ids     map[string]*identity // by msgId
	status  map[string]string    // by user
	serial  int                  // of messages
	command int                  // ids of commands
	at      string               // what is being done, for failures
}

// run plays a program and returns what the server did wrong, or nil.
func run(t *testing.T, program []step, f faults) (err error) {
	var w *world
	defer func() {
		if p := recover(); p != nil && !w.buried { // else synctest complains of what stays
			panic(p)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t, f)
		defer func() {
			p := recover()
			w.stop()
			what, ours := p.(failure)
			switch {
			case ours:
				err = fmt.Errorf("%s\n%s", what, w.at)
			case p != nil:
				panic(p)
			}
		}()
		for i, s := range program {
			w.at = fmt.Sprintf("in step %d: %v", i+1, s)
			w.play(s)
		}
		w.at = "at the end"
		w.finish()
	})
	return err
}

func newWorld(t *testing.T, f faults) *world {
	w := &world{
		t: t, faults: f, clock: newClock(), disk: storagetest.NewDisk(), rooms: make(map[string]*truth),
		ids: make(map[string]*identity), status: make(map[string]string),
	}
	for i := range connections {
		w.clients = append(w.clients, newClient(users[i%len(users)]))
	}
	all := namespaces()
	names := slices.Clone(roomNames)
	for _, user := range users {
		names = append(names, room.Inbox(user))
	}
	for _, name := range names {
		i := slices.IndexFunc(all, func(ns proto.Namespace) bool { return ns.Name == proto.NamespaceOf(name) })
		w.rooms[name] = newTruth(name, &all[i], w.clock)
	}
	w.start()
	return w
}

// start brings up the server on the disk.
func (w *world) start() {
	store, err := w.open()
	if err != nil {
		w.fail("the store does not open: %v", err)
	}
	w.store = store
	w.serve()
}

// open opens the store.
func (w *world) open() (*storage.Store, error) {
	var durable []proto.Namespace
	for _, ns := range namespaces() {
		if ns.Durability == proto.Memory {
			continue
		}
		if w.faults.unsynced {
			ns.Durability = proto.Async
		}
		durable = append(durable, ns)
	}
	ended := new(atomic.Bool)
	w.began = time.Now()
	w.fault, w.ended = storagetest.NewFault(-1, storagetest.NotDone), ended
	return storage.Open("data", storage.Options{
		FS: w.fault.FS(w.disk.FS()), CacheBytes: 1 << 20, Namespaces: durable, Now: w.clock.machine,
		Fatal: func(error) { ended.Store(true) },
	})
}

// serve has the hub and the sessions work on the store.
func (w *world) serve() {
	limits := proto.DefaultLimits()
	limits.Replay, limits.KeyTTL = replayLimit, keyTTL
	now := w.store.Now
	if w.faults.machine {
		now = w.clock.machine
	}
	people := session.NewDirectory()
	w.hub = room.NewHub(room.Options{
		Namespaces: namespaces(), Limits: limits, People: people, Log: w.faults.log(roomLog{w.store}), Now: now,
		Logger: slog.New(slog.DiscardHandler), Workers: 2,
	})
	w.sessions = session.NewManager(session.Options{
		Hub: w.hub, Directory: people, Limits: limits,
		Verifier: auth.NewVerifier(auth.VerifierOptions{Keys: auth.NewKeySet(secret)}), Authorizer: auth.NewAuthorizer(nil),
		Codecs: []proto.Codec{proto.NewJSON(&limits), w.faults.codec(proto.NewBinary(&limits))}, Heartbeat: 25 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
}

// stop ends the server, after its last connection. Of one whose store has failed,
// the store cannot be closed: its goroutines stay until the process has ended.
func (w *world) stop() {
	w.disk.Release()
	for _, c := range w.clients {
		c.hangUp()
	}
	if w.store == nil {
		return
	}
	if w.hub != nil {
		w.hub.Close()
		w.hub = nil
	}
	err := w.store.Close()
	if w.ended.Load() {
		w.buried = true
	} else if err != nil {
		w.t.Errorf("the store does not close: %v", err)
	}
	w.store = nil
}

// restart stops the server cleanly and starts it again.
func (w *world) restart() {
	w.stop()
	for _, r := range w.rooms {
		r.sleep()
	}
	clear(w.status)
	w.startAgain(false)
}

// crash kills the machine as it is and starts the server on what is left.
func (w *world) crash(percent int, seed uint64) {
	left := w.disk.Crash(percent, seed)
	w.stop()
	for _, r := range w.rooms {
		r.crash()
	}
	clear(w.status)
	w.disk = left
	w.startAgain(true)
}

// advance lets time pass, at least d: as much as it takes until it is certain
// who still counts as a member and which rooms have left memory.
func (w *world) advance(d time.Duration) {
	const (
		ticks  = 600 * time.Millisecond // a user is gone within that after the grace
		stays  = 30 * time.Second       // an empty room stays in memory for this long
		sweeps = 6 * time.Second        // and leaves within that after it
	)
	began := time.Now()
	for d > 0 {
		time.Sleep(d)
		synctest.Wait()
		now, more := time.Now(), time.Duration(0)
		for _, r := range w.rooms {
			if !r.awake {
				continue
			}
			for name, u := range r.users {
				switch over := now.Sub(u.goes); {
				case u.goes.IsZero() || over < 0:
				case over < ticks:
					more = max(more, ticks)
				default:
					r.gone(name)
				}
			}
			if len(r.users) > 0 {
				continue
			}
			if now.Sub(r.maybe) >= stays+sweeps {
				r.sleep()
			} else if now.Sub(r.touched) >= stays {
				more = max(more, sweeps)
			}
		}
		d = more
	}
	synced := time.Since(began) >= 10*time.Millisecond // that is, twice the interval of syncs
	awake := 0
	for _, r := range w.rooms {
		if r.awake {
			awake++
			if synced {
				r.synced = r.head()
			}
		}
	}
	if n := w.hub.Rooms(); n != awake {
		w.fail("%d rooms are in memory, want %d", n, awake)
	}
}

// wake makes sure of what a room holds before it is used, where that is not
// known: after a crash, and when all that it had has expired.
func (w *world) wake(r *truth) {
	if r.awake {
		return
	}
	if stored := r.head() > 0 || r.stored != nil; stored && (r.crashed || r.floor() > r.head()) {
		w.audit(r)
	}
	r.awake, r.crashed = true, false
	r.touch()
}

// auditor is a user that may join and read every room, and create none.
const auditor = "auditor"

// audit joins a room that is not in memory, and takes over what the join says
// where docs/protocol.md allows it.
func (w *world) audit(r *truth) {
	user := auditor
	switch owner := r.owner(); {
	case owner != "":
		user = owner
	case r.stored != nil && r.stored.closed:
		user = r.stored.host // whom nobody keeps out
	}
	e := w.ephemeral(user, r.name, fmt.Sprintf(`"type":"join","room":%q`, r.name))
	w.settle(r, &e)
}

// ephemeral connects for one command about a room, and returns the answer.
func (w *world) ephemeral(user, room, command string) event {
	token := token(user, auth.Rule{Match: "*", Allow: auth.RightsOf(auth.RightJoin, auth.RightRead, auth.RightMembers)})
	c := newConn(faults{}, false)
	s, _, refused := w.sessions.Accept(session.Handshake{Authorization: "Bearer " + token})
	if refused != nil {
		w.fail("%s is refused: %v", user, refused)
	}
	s.Open(c)
	s.Message(text, fmt.Appendf(nil, `{"id":"audit",%s}`, command))
	synctest.Wait()
	s.Message(text, fmt.Appendf(nil, `{"type":"leave","room":%q}`, room))
	synctest.Wait()
	s.Closed("")
	synctest.Wait()
	for _, e := range c.look() {
		if e.ID == "audit" {
			return e
		}
	}
	w.fail("%s got no answer to %s", user, command)
	return event{}
}

// settle takes over what a join says of a room whose state was not certain.
func (w *world) settle(r *truth, e *event) {
	certain := r.head()
	if r.crashed {
		certain = r.synced
	}
	low := certain
	expired := r.floor() > certain
	if expired {
		low = 0 // where the log ended may be gone with what stood there
	}
	noSettings := r.stored == nil || r.crashed && len(r.writes) > 0 && r.writes[0].offset > certain
	mayBeGone := low == 0 && noSettings
	switch {
	case e.Type == "error" && e.Code == "forbidden" && mayBeGone, e.Offset == 0 && mayBeGone && r.head() > 0:
		r.reset()
		if e.Type == "joined" {
			w.bindEpoch(r, e.Epoch)
		}
		return
	case e.Type != "joined":
		w.fail("room %s: got %v after a wake, want joined at %d to %d", r.name, e, low, r.head())
	case e.Offset < low || e.Offset > r.head():
		w.fail("room %s is at offset %d after a wake, want %d to %d", r.name, e.Offset, low, r.head())
	}
	sync := r.ns.Durability == proto.Sync
	lost := e.Offset < r.head()
	r.truncate(e.Offset)
	switch {
	case r.epoch == "":
		w.bindEpoch(r, e.Epoch)
	case e.Epoch != r.epoch:
		if !expired && (!r.crashed || sync) {
			w.fail("room %s has another epoch after a wake, though nothing can be lost", r.name)
		}
		r.ended = append(r.ended, ending{r.epoch, r.head()})
		r.epoch = ""
		w.bindEpoch(r, e.Epoch)
	case r.crashed && !sync, !r.crashed && lost:
		w.fail("room %s has the same epoch after a crash that may have lost messages", r.name)
	}
	if r.settings == nil && (e.Host != "" || e.MaxUsers != 0) ||
		r.settings != nil && (e.Host != r.settings.host || e.MaxUsers != r.settings.maxUsers) {
		w.fail("room %s after a wake: %v, want %+v", r.name, e, r.settings)
	}
}

// bindEpoch compares an epoch with the room's, or takes it over where the room
// has been given none.
func (w *world) bindEpoch(r *truth, epoch string) {
	switch {
	case epoch == "":
		w.fail("room %s: an empty epoch", r.name)
	case r.epoch == epoch:
	case r.epoch != "":
		w.fail("room %s: the epoch has changed", r.name)
	case r.past[epoch]:
		w.fail("room %s: an epoch of an earlier life comes again", r.name)
	}
	r.epoch, r.past[epoch] = epoch, true
}

func (w *world) fail(format string, args ...any) {
	panic(failure(fmt.Sprintf(format, args...)))
}

// roomLog is the store as the rooms see it, wired as the server does it.
type roomLog struct{ *storage.Store }

// Room implements room.Log.
func (l roomLog) Room(name string, sink func([]*proto.Publish)) (room.Stream, error) {
	return l.Store.Room(name, sink)
}

// AppendPair implements room.Log.
func (l roomLog) AppendPair(a room.Stream, p *proto.Publish, b room.Stream, q *proto.Publish) *proto.Error {
	return l.Store.AppendPair(base(a), p, base(b), q)
}

// base is the store's own stream, without a fault around it.
func base(s room.Stream) *storage.Room {
	if f, ok := s.(*faultyStream); ok {
		s = f.Stream
	}
	return s.(*storage.Room)
}

// stream returns the room whose stream a message belongs to for its reader: a
// direct one is in the reader's own inbox, whoever it is for.
func (w *world) stream(c *client, to string) *truth {
	if strings.HasPrefix(to, room.Inbox("")) {
		to = room.Inbox(c.user)
	}
	r := w.rooms[to]
	if r == nil {
		w.fail("%s got a message to %q", c, to)
	}
	return r
}
