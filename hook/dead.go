package hook

import (
	"bytes"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/thronghq/throng/proto"
)

// Status is how an endpoint fares. Times are Unix ms, 0 for never.
type Status struct {
	Name       string
	URL        string // without a password or a query
	Events     []string
	Namespaces []string // nil for all but the users' inboxes
	Circuit    string   // closed, open, half-open, or gone after 410 Gone
	Waiting    int      // events, a run of messages counting as one
	Running    int      // deliveries under way
	Oldest     int64    // when the event that has waited longest began to
	Dead       int      // dead letters
	Dropped    uint64   // events that were given up since the start, each message counting
	Delivered  uint64   // deliveries since the start
	Failures   int      // in a row
	Next       int64    // when the next delivery is due, 0 where nothing waits or one is under way
	Success    int64    // the last delivery
	Failure    int64    // the last try that failed
	Error      string   // the last error, "" for none
}

// Letter is an event that is not tried any more. Times are Unix ms.
type Letter struct {
	ID          string // names the letter to Replay and DeleteDead
	Event       string
	Timestamp   int64 // when it happened
	At          int64 // when it was given up
	Attempts    uint64
	Status      int    // of the last answer, 0 for none
	Reason      string // why it was given up
	Room        string // "" for connect and disconnect
	UserID      string // join, leave, connect, disconnect
	Epoch       string // message
	First, Last uint64 // message
}

// Endpoints returns how the endpoints fare, in the order of the configuration.
func (w *Webhooks) Endpoints() []Status {
	all := make([]Status, len(w.endpoints))
	for i, ep := range w.endpoints {
		all[i] = ep.status(w.opts.Now())
	}
	return all
}

// Endpoint returns how one endpoint fares.
func (w *Webhooks) Endpoint(name string) (Status, bool) {
	ep, err := w.endpoint(name)
	if err != nil {
		return Status{}, false
	}
	return ep.status(w.opts.Now()), true
}

func (w *Webhooks) endpoint(name string) (*endpoint, *proto.Error) {
	i := slices.IndexFunc(w.endpoints, func(ep *endpoint) bool { return ep.Name == name })
	if i < 0 {
		return nil, proto.ErrNotFound.With("there is no webhook %q", name)
	}
	return w.endpoints[i], nil
}

func (ep *endpoint) status(now time.Time) Status {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	s := Status{
		Name: ep.Name, URL: redacted(ep.URL), Events: ep.Events.Names(), Namespaces: ep.Namespaces,
		Circuit: ep.breaker.state(now), Waiting: ep.waiting, Running: ep.running, Dead: len(ep.dead),
		Dropped: ep.dropped, Delivered: ep.delivered, Failures: ep.breaker.failures, Success: ep.lastSuccess, Failure: ep.lastFailure, Error: ep.lastErrorText,
	}
	if ep.disabled {
		s.Circuit = "gone"
	}
	if ep.oldest != nil {
		s.Oldest = ep.oldest.queued
	}
	if len(ep.due) > 0 && ep.running == 0 && !ep.disabled {
		next := ep.due[0].due
		if ep.breaker.opens > 0 {
			next = ep.breaker.until // a probe does not wait for its lane
		}
		s.Next = max(next.UnixMilli(), ep.paused.UnixMilli())
	}
	return s
}

// redacted returns a URL without what may be secret in it.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// Dead returns an endpoint's dead letters, oldest first, from a cursor on, "" for
// the first ones; next is "" at the end. It reads from disk.
func (w *Webhooks) Dead(name, cursor string, limit int) (letters []Letter, next string, problem *proto.Error) {
	ep, problem := w.endpoint(name)
	if problem != nil {
		return nil, "", problem
	}
	from := uint64(0)
	if cursor != "" {
		var ok bool
		if from, ok = parseLetterID(cursor); !ok {
			return nil, "", proto.ErrBadCursor.New()
		}
	}
	var bad error
	err := w.opts.Outbox.Scan(queueKey(keyDead, name, from), queueEnd(keyDead, name), func(key, value []byte) bool {
		id := letterID(queueNumber(key))
		if len(letters) == limit {
			next = id
			return false
		}
		var l *letter
		if l, bad = decodeLetter(value); bad != nil {
			return false
		}
		letters = append(letters, l.public(id))
		return true
	})
	if err := errors.Join(err, bad); err != nil {
		ep.log.Error("the dead letters could not be read", "error", err)
		return nil, "", proto.ErrStorage.New()
	}
	return letters, next, nil
}

func (l *letter) public(id string) Letter {
	e := l.event
	return Letter{
		ID: id, Event: e.kind.String(), Timestamp: e.at, At: l.at, Attempts: l.attempts, Status: int(l.status), Reason: l.reason,
		Room: e.room, UserID: e.user, Epoch: e.epoch, First: e.first, Last: e.last,
	}
}

// Replay puts dead letters back into the queue, all of them where no ids are
// given, and returns how many there were. They come after what waits already. An
// endpoint that said that it is gone is tried again.
func (w *Webhooks) Replay(name string, ids []string) (int, *proto.Error) {
	ep, problem := w.endpoint(name)
	if problem != nil {
		return 0, problem
	}
	numbers, problem := ep.lettersOf(ids)
	if problem != nil {
		return 0, problem
	}
	replayed := 0
	for _, number := range numbers {
		ok, problem := w.replay(ep, number)
		if problem != nil {
			return replayed, problem
		}
		if ok {
			replayed++
		}
	}
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.disabled = false
	ep.wakeUp()
	return replayed, nil
}

// lettersOf returns the numbers of the letters with the given ids, or of all.
func (ep *endpoint) lettersOf(ids []string) ([]uint64, *proto.Error) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if len(ids) == 0 {
		return slices.Clone(ep.dead), nil
	}
	numbers := make([]uint64, len(ids))
	for i, id := range ids {
		number, ok := parseLetterID(id)
		if ok {
			_, ok = slices.BinarySearch(ep.dead, number)
		}
		if !ok {
			return nil, proto.ErrNotFound.With("the webhook %q has no dead letter %q", ep.Name, id)
		}
		numbers[i] = number
	}
	return numbers, nil
}

// replay puts one letter back, unless it has gone or is still being written.
func (w *Webhooks) replay(ep *endpoint, number uint64) (bool, *proto.Error) {
	if w.closing.Load() {
		return false, proto.ErrShuttingDown.New()
	}
	key := queueKey(keyDead, ep.Name, number)
	record, err := w.opts.Outbox.Get(key)
	if err == nil && record == nil {
		return false, nil
	}
	var l *letter
	if err == nil {
		l, err = decodeLetter(record)
	}
	if err != nil {
		ep.log.Error("a dead letter could not be read", "error", err)
		return false, proto.ErrStorage.New()
	}
	if !ep.takeLetter(number) {
		return false, nil
	}
	now := w.opts.Now()
	e := &entry{event: *l.event, number: w.changes.number(now)}
	e.queued = now.UnixMilli()
	ep.add([]*entry{e})
	w.changes.touch(ep, e)
	w.changes.set(key, nil) // not before the event stands in the queue
	return true, nil
}

// takeLetter takes a letter out of the list, if it is there.
func (ep *endpoint) takeLetter(number uint64) bool {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	i, ok := slices.BinarySearch(ep.dead, number)
	if ok {
		ep.dead = slices.Delete(ep.dead, i, i+1)
	}
	return ok
}

// DeleteDead removes a dead letter.
func (w *Webhooks) DeleteDead(name, id string) *proto.Error {
	ep, problem := w.endpoint(name)
	if problem != nil {
		return problem
	}
	if w.closing.Load() {
		return proto.ErrShuttingDown.New()
	}
	number, ok := parseLetterID(id)
	if !ok || !ep.takeLetter(number) {
		return proto.ErrNotFound.With("the webhook %q has no dead letter %q", name, id)
	}
	w.changes.set(queueKey(keyDead, name, number), nil)
	return nil
}

// letterID is how a letter's number is written outside.
func letterID(number uint64) string { return strconv.FormatUint(number, 36) }

func parseLetterID(id string) (number uint64, ok bool) {
	number, err := strconv.ParseUint(id, 36, 64)
	return number, err == nil && bytes.Equal([]byte(id), strconv.AppendUint(nil, number, 36))
}
