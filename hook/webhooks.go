package hook

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thronghq/throng/proto"
)

// Webhooks tells endpoints what happens. What happens is told to it by the
// methods that are named for the events; they never block, so that they may be
// called by whoever is in a hurry, and are safe for concurrent use, as all are.
type Webhooks struct {
	// Static after New.
	opts      Options
	log       *slog.Logger
	meters    *meters
	endpoints []*endpoint
	session   uint64
	wanted    Events            // in all namespaces but the inboxes', and of connections
	named     map[string]Events // in namespaces that endpoints name

	intake  intake
	changes changes
	unclean atomic.Bool // messages may be missing in the queues: the logs must be looked through
	audits  chan struct{}

	closing    atomic.Bool
	stop       chan struct{}      // ends the dispatchers
	abort      context.CancelFunc // ends deliveries
	stopAudit  context.CancelFunc
	stopWriter context.CancelFunc
	auditing   sync.WaitGroup
	delivering sync.WaitGroup
	writing    sync.WaitGroup
}

// New reads what waits and begins to deliver it. Events that happened while an
// endpoint was not configured are not told to it.
func New(o Options) (*Webhooks, error) {
	w, err := open(o)
	if err == nil {
		w.start()
	}
	return w, err
}

// open reads what waits.
func open(o Options) (*Webhooks, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	w := &Webhooks{opts: o, log: o.Logger, audits: make(chan struct{}, 1), stop: make(chan struct{}), named: make(map[string]Events)}
	w.intake.init(o.Intake, o.Memory)
	w.changes.wake = w.intake.wake
	w.meters = newMeters(o.Metrics)
	for _, cfg := range o.Endpoints {
		w.endpoints = append(w.endpoints, newEndpoint(cfg, &w.opts, &w.changes))
	}
	w.note()
	if err := w.load(); err != nil {
		return nil, fmt.Errorf("hook: reading the outbox: %w", err)
	}
	for _, ep := range w.endpoints {
		ep.meters = newEndpointMeters(o.Metrics, ep)
		ep.add(nil) // what was read may be past a bound that is new
	}
	return w, nil
}

// note notes what the endpoints want to be told.
func (w *Webhooks) note() {
	for _, ep := range w.endpoints {
		if ep.Namespaces == nil {
			w.wanted |= ep.Events
		}
		w.wanted |= ep.Events & Of(Connect, Disconnect)
		for _, ns := range ep.Namespaces {
			w.named[ns] |= ep.Events
		}
	}
}

func (w *Webhooks) start() {
	auditing, stopAudit := context.WithCancel(context.Background())
	writing, stopWriter := context.WithCancel(context.Background())
	delivering, abort := context.WithCancel(context.Background())
	w.stopAudit, w.stopWriter, w.abort = stopAudit, stopWriter, abort
	wr := &writer{w: w, marks: make(map[string]mark)}
	w.writing.Go(func() { wr.run(writing) })
	w.auditing.Go(func() { w.auditLoop(auditing) })
	for _, ep := range w.endpoints {
		w.delivering.Go(func() { ep.dispatch(delivering, w.stop, w.opts.History) })
	}
}

// load reads the queues and begins a session.
func (w *Webhooks) load() error {
	var old state
	record, err := w.opts.Outbox.Get(stateKey())
	if err != nil {
		return err
	}
	if record != nil {
		if old, err = decodeState(record); err != nil {
			return err
		}
	}
	w.unclean.Store(record != nil && !old.clean)
	w.session = old.session + 1
	keys, values := [][]byte{stateKey()}, [][]byte{appendState(nil, state{session: w.session})}
	for _, ep := range w.endpoints {
		if err := ep.load(w.opts.Outbox, w.session, w.opts.Now()); err != nil {
			return fmt.Errorf("endpoint %q: %w", ep.Name, err)
		}
		keys, values = append(keys, coverageKey(ep.Name)), append(values, appendCoverage(nil, ep.coverage))
	}
	if err := w.noteForgotten(); err != nil {
		return err
	}
	err = w.opts.Outbox.Write(keys, values)
	if errors.Is(err, proto.ErrStorageFull) {
		// A full disk still serves readers. The session is written no later than
		// what happens in it, once there is space.
		w.log.Warn("the webhooks begin without their outbox, which the disk has no space for", slog.Any("error", err))
		for i, key := range keys {
			w.changes.set(key, values[i])
		}
		return nil
	}
	return err
}

// noteForgotten says which endpoints' events are kept although nobody asks for
// them any more: their name may only have been misspelled.
func (w *Webhooks) noteForgotten() error {
	return w.opts.Outbox.Scan([]byte{keyCoverage}, []byte{keyCoverage + 1}, func(key, _ []byte) bool {
		name := string(key[1:])
		if _, problem := w.endpoint(name); problem != nil {
			w.log.Info("what waited for an endpoint that is not configured any more stays in the store", slog.String("endpoint", name))
		}
		return true
	})
}

// load reads what waits for the endpoint, and since when it is told of messages.
func (ep *endpoint) load(outbox Outbox, session uint64, now time.Time) error {
	record, err := outbox.Get(coverageKey(ep.Name))
	if err != nil {
		return err
	}
	ep.coverage = coverage{session: session, since: now.UnixMicro(), scope: ep.scope()}
	if record != nil {
		old, err := decodeCoverage(record)
		if err != nil {
			return err
		}
		if old.session == session-1 && old.scope == ep.coverage.scope {
			ep.coverage.since = old.since
		}
	}
	if record, err = outbox.Get(gapKey(ep.Name)); err == nil && record != nil {
		var g *gap
		if g, err = decodeGap(record); err == nil {
			ep.told = *g
		}
	}
	if err != nil {
		return err
	}
	latest := uint64(0)
	var bad error
	err = outbox.Scan(queuePrefix(keyQueue, ep.Name), queueEnd(keyQueue, ep.Name), func(key, value []byte) bool {
		var e *event
		if e, bad = decodeEvent(value); bad != nil {
			return false
		}
		latest = queueNumber(key)
		ep.pushLocked(&entry{event: *e, number: latest}, now)
		return true
	})
	if err := errors.Join(err, bad); err != nil {
		return err
	}
	err = outbox.Scan(queuePrefix(keyDead, ep.Name), queueEnd(keyDead, ep.Name), func(key, _ []byte) bool {
		ep.dead = append(ep.dead, queueNumber(key))
		latest = max(latest, queueNumber(key))
		return true
	})
	ep.changed.atLeast(latest)
	return err
}

// scope is a hash of the messages that the endpoint is told of.
func (ep *endpoint) scope() uint64 {
	h := fnv.New64a()
	if !ep.Events.Has(Message) {
		return h.Sum64()
	}
	_, _ = h.Write([]byte{1})
	for _, ns := range slices.Sorted(slices.Values(ep.Namespaces)) {
		_, _ = h.Write(appendString(nil, ns))
	}
	return h.Sum64()
}

// Close stops in steps: events that still come are ignored; deliveries under way
// may end until ctx does, and are then cut short; what waits, and what became of
// the deliveries, is written. It returns an error where not everything could be
// written: the next start then looks for what is missing.
func (w *Webhooks) Close(ctx context.Context) error {
	if w.closing.Swap(true) {
		return nil
	}
	w.intake.close()
	w.stopAudit()
	w.auditing.Wait()
	close(w.stop)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.delivering.Wait()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		w.abort()
		<-ended
	}
	w.abort()
	w.stopWriter()
	w.writing.Wait()
	for _, ep := range w.endpoints {
		ep.client.CloseIdleConnections()
		ep.meters.close()
	}
	if w.unclean.Load() {
		return nil
	}
	err := w.opts.Outbox.Write([][]byte{stateKey()}, [][]byte{appendState(nil, state{session: w.session, clean: true})})
	switch {
	case errors.Is(err, proto.ErrStorageFull): // the next start takes this one's end for a crash
		w.log.Warn("the end of the webhooks could not be noted", slog.Any("error", err))
	case err != nil:
		return fmt.Errorf("hook: closing: %w", err)
	}
	return nil
}

// Opened tells that a room has its first member.
func (w *Webhooks) Opened(room string) { w.inRoom(event{kind: RoomOpened, room: room}) }

// Emptied tells that a room's last member has left.
func (w *Webhooks) Emptied(room string) { w.inRoom(event{kind: RoomEmptied, room: room}) }

// Joined tells that a user has come into a room.
func (w *Webhooks) Joined(room, user string) { w.inRoom(event{kind: Join, room: room, user: user}) }

// Left tells that a user has left a room.
func (w *Webhooks) Left(room, user string) { w.inRoom(event{kind: Leave, room: room, user: user}) }

// inRoom takes an event other than a message, if anybody wants to know of it.
func (w *Webhooks) inRoom(e event) {
	if w.wants(e.kind, proto.NamespaceOf(e.room)) {
		w.put(e)
	}
}

// Published tells that messages were committed to a room's log, those with the
// offsets first to last. Where it is not told of some, the next call for the room
// finds them, and at the latest the next audit.
func (w *Webhooks) Published(room, epoch string, first, last uint64) {
	if w.wants(Message, proto.NamespaceOf(room)) && w.opts.Logged(room) {
		w.put(event{kind: Message, room: room, span: span{epoch, first, last}})
	}
}

// Connected tells that a user has connected and authenticated.
func (w *Webhooks) Connected(c Connection) {
	if w.wanted.Has(Connect) {
		w.put(event{kind: Connect, user: c.UserID, conn: &c})
	}
}

// Disconnected tells that such a connection has ended, and why, where that is
// known.
func (w *Webhooks) Disconnected(c Connection, reason string) {
	if w.wanted.Has(Disconnect) {
		w.put(event{kind: Disconnect, user: c.UserID, conn: &c, reason: reason})
	}
}

// wants reports whether any endpoint is told of a kind of event in a namespace.
func (w *Webhooks) wants(kind Event, namespace string) bool {
	return w.wanted.Has(kind) && namespace != proto.UserNamespace || w.named[namespace].Has(kind)
}

// put hands an event to the writer. Where there is no space, what the endpoints
// miss is counted for their gap; messages are found again by an audit.
func (w *Webhooks) put(e event) {
	e.at = w.opts.Now().UnixMilli()
	if w.intake.put(e) {
		return
	}
	w.meters.overflows.Inc()
	if e.kind == Message {
		return
	}
	ns := namespaceOf(&e)
	for _, ep := range w.endpoints {
		if ep.covers(e.kind, ns) {
			ep.missed[e.kind].Add(1)
			ep.meters.droppedIntake.Inc()
		}
	}
}

// namespaceOf returns the namespace of an event's room, "" for a connection's.
func namespaceOf(e *event) string {
	if e.room == "" {
		return ""
	}
	return proto.NamespaceOf(e.room)
}
