package model

import (
	"slices"
	"time"

	"github.com/thronghq/throng/proto"
)

// truth is what one room should be, as docs/protocol.md has it.
type truth struct {
	name  string
	ns    *proto.Namespace
	clock *clock

	// The log. What is not kept any more stays in the slice: visible says
	// what can be read.
	log    []*message // log[i] has offset i+1
	synced uint64     // offsets up to it survive a crash
	epoch  string     // "" while nobody has been told
	ended  []ending   // the epochs before it

	settings *settings // in force; nil where nobody has created the room
	stored   *settings // what the log has of them
	writes   []write   // of settings, with messages
	unsaved  bool      // the next message stores settings
	keys     map[keyID]*message
	users    map[string]*resident
	arrivals int

	awake   bool      // certainly in memory
	touched time.Time // it stays in memory for a while from here on
	maybe   time.Time // from here on it has certainly not been touched
	woken   bool      // it left memory, and came back with what the log had
	crashed bool      // the server crashed since the room was awake
	since   time.Time // of the last change of members

	past map[string]bool // every epoch that the room ever had

	trimmed uint64 // offsets below it are gone

	receipt    uint64 // of an inbox: how far its owner has acknowledged
	receiptLow uint64 // a crash may have set it back as far as here
	saved      uint64 // but not below what stood there at a clean stop

	// What happened in the step at hand.
	first   uint64     // the first new offset
	news    []presence // arrivals and departures
	updates []settings // of host or maxUsers
	typed   []*message // transient messages
}

// message is one message as the model has it.
type message struct {
	serial   int // in its content; higher ones were sent later
	author   *client
	from     string
	to       string
	key      string
	content  string
	encoding string // of the content: "base64" for bytes
	offset   uint64 // 0 for a transient one
	micros   int64  // about
	id       *identity
	got      map[*conn]bool // transient: who has it

	deleted   bool
	deletedBy string
}

// identity is what the server gave a message. The two copies of a direct one
// share it.
type identity struct {
	msgID  string // "" while nobody has been told
	millis int64
}

type ending struct {
	epoch string
	last  uint64
}

type settings struct {
	host          string
	maxUsers      int
	banned, muted []string
	closed        bool
}

// write is a change of the stored settings that came with a message.
type write struct {
	offset   uint64
	settings *settings
}

type keyID struct{ from, to, key string }

type resident struct {
	sessions int
	order    int
	goes     time.Time // zero while the user has a session
}

type presence struct {
	joined bool
	user   string
}

func newTruth(name string, ns *proto.Namespace, c *clock) *truth {
	r := &truth{name: name, ns: ns, clock: c, past: make(map[string]bool)}
	r.reset()
	return r
}

// reset begins the room's life anew, with nothing.
func (r *truth) reset() {
	r.log, r.synced, r.epoch, r.ended = nil, 0, "", nil
	r.settings, r.stored, r.writes, r.unsaved = nil, nil, nil, false
	r.keys, r.users = make(map[keyID]*message), make(map[string]*resident)
	r.receipt, r.receiptLow, r.saved = 0, 0, 0
	r.trimmed = 0
}

func (r *truth) head() uint64 { return uint64(len(r.log)) }

func (r *truth) durable() bool { return r.ns.Durability != proto.Memory }

// kept is how many messages can be read at most.
func (r *truth) kept() uint64 {
	if r.durable() {
		return uint64(r.ns.HistorySize)
	}
	return uint64(min(r.ns.HistorySize, 256)) // what a room of none keeps in memory
}

// visible reports whether the message at an offset can be read now.
func (r *truth) visible(offset uint64) bool {
	return offset >= max(r.trimmed, 1) && offset <= r.head() && offset+r.kept() > r.head() &&
		r.log[offset-1].micros >= r.clock.now().Add(-r.ns.HistoryTTL).UnixMicro()
}

// floor is the lowest offset that can be read now, head+1 for none.
func (r *truth) floor() uint64 {
	for o := uint64(1); o <= r.head(); o++ {
		if r.visible(o) {
			return o
		}
	}
	return r.head() + 1
}

// covers reports whether everything after a position can be replayed.
func (r *truth) covers(p position, replay int) bool {
	if p.offset > r.head() {
		return false
	}
	if p.epoch != r.epoch {
		i := slices.IndexFunc(r.ended, func(e ending) bool { return e.epoch == p.epoch })
		if i < 0 || p.offset > r.ended[i].last {
			return false
		}
	}
	return p.offset == r.head() || r.visible(p.offset+1) && r.head()-p.offset <= uint64(replay)
}

// forgotten reports whether the room may have forgotten a position's epoch: it is
// an old one, and nothing of its history is left.
func (r *truth) forgotten(epoch string) bool {
	i := slices.IndexFunc(r.ended, func(e ending) bool { return e.epoch == epoch })
	return epoch != r.epoch && i >= 0 && r.floor() > r.ended[i].last
}

// append adds a message to the log.
func (r *truth) append(m *message) {
	m.micros = r.clock.now().UnixMicro()
	if n := len(r.log); n > 0 {
		m.micros = max(m.micros, r.log[n-1].micros+1)
	}
	if r.durable() {
		r.clock.stored(m)
	}
	r.log = append(r.log, m)
	m.offset = r.head()
	if r.first == 0 {
		r.first = m.offset
	}
	if r.unsaved {
		r.unsaved = false
		r.stored = r.settings
		r.writes = append(r.writes, write{m.offset, r.settings})
	}
	if r.ns.Durability == proto.Sync {
		r.synced = m.offset
	}
	r.touch()
}

func (r *truth) touch() { r.touched, r.maybe = time.Now(), time.Now() }

// fresh reports that nobody has created the room yet.
func (r *truth) fresh() bool { return r.head() == 0 && r.settings == nil }

// create makes the user the host of a room that nobody has created.
func (r *truth) create(user string) {
	if r.fresh() && len(r.users) == 0 && r.ns.Hosts {
		r.settings, r.unsaved = &settings{host: user}, true
	}
}

// admits says with which error a join is refused, "" for none.
func (r *truth) admits(user string, member bool) string {
	s := r.settings
	switch {
	case s == nil || member && !s.closed && !slices.Contains(s.banned, user):
		return ""
	case s.closed && user != s.host:
		return "room_closed"
	case slices.Contains(s.banned, user):
		return "banned"
	case !member && r.users[user] == nil && s.maxUsers > 0 && len(r.users) >= s.maxUsers:
		return "room_full"
	}
	return ""
}

// publishes says with which error a message is refused, "" for none.
func (r *truth) publishes(user string) string {
	s := r.settings
	switch {
	case s == nil || s.host == user && !s.closed:
		return ""
	case s.closed:
		return "room_closed"
	case slices.Contains(s.banned, user):
		return "banned"
	case slices.Contains(s.muted, user):
		return "muted"
	}
	return ""
}

// updated is what members are told of the settings.
func (r *truth) updated() (host string, maxUsers int) {
	if r.settings == nil {
		return "", 0
	}
	return r.settings.host, r.settings.maxUsers
}

// arrive adds one session of a user.
func (r *truth) arrive(user string) {
	u := r.users[user]
	if u == nil {
		r.arrivals++
		u = &resident{order: r.arrivals}
		r.users[user] = u
		r.changed(presence{true, user})
	}
	u.sessions++
	u.goes = time.Time{}
	r.touch()
}

// grace is how long a user whose connection was cut still counts.
const grace = 5 * time.Second

// depart takes one session of a user out, for whom the rest of the user's stay
// is the grace, unless it left.
func (r *truth) depart(user string, atOnce bool) {
	r.touch()
	u := r.users[user]
	if u.sessions--; u.sessions > 0 {
		return
	}
	if u.goes = time.Now().Add(grace); atOnce || !r.ns.Presence {
		r.gone(user)
	}
}

// gone takes a user off the count. The host's place goes to who has been there
// for longest, where the namespace says so; but closing a room puts its host
// out and leaves the host what it is.
func (r *truth) gone(user string) {
	delete(r.users, user)
	r.changed(presence{false, user})
	if r.ns.Succession == proto.NoSuccession || r.settings == nil || r.settings.closed || r.settings.host != user {
		return
	}
	heir := ""
	for name, u := range r.users {
		if u.goes.IsZero() && (heir == "" || u.order < r.users[heir].order) {
			heir = name
		}
	}
	if heir != "" {
		next := *r.settings
		next.host = heir
		r.change(&next)
		r.unsaved = true
	}
}

func (r *truth) changed(p presence) {
	r.since = time.Now()
	r.news = append(r.news, p)
}

// change puts settings in force.
func (r *truth) change(next *settings) {
	if r.settings.host != next.host || r.settings.maxUsers != next.maxUsers {
		r.updates = append(r.updates, *next)
	}
	r.settings = next
}

// sleep lets the room leave memory: what the log has of it is what it has.
func (r *truth) sleep() {
	if !r.awake {
		return
	}
	r.leaveMemory()
	r.synced, r.saved, r.receiptLow = r.head(), r.receipt, r.receipt
}

// crash takes note that the server crashed: the log's end is not certain any
// more.
func (r *truth) crash() {
	r.leaveMemory()
	r.crashed, r.receiptLow = true, r.saved
}

func (r *truth) leaveMemory() {
	r.awake, r.woken = false, true
	clear(r.users)
	if !r.durable() || r.head() == 0 && r.stored == nil {
		r.reset()
	}
	r.settings, r.unsaved = r.stored, false
}

// truncate forgets what a crash has lost.
func (r *truth) truncate(head uint64) {
	if head < r.head() {
		for id, m := range r.keys {
			if m.offset > head {
				delete(r.keys, id)
			}
		}
		r.log = r.log[:head]
	}
	for len(r.writes) > 0 && r.writes[len(r.writes)-1].offset > head {
		r.writes = r.writes[:len(r.writes)-1]
		r.stored = nil
		if n := len(r.writes); n > 0 {
			r.stored = r.writes[n-1].settings
		}
		r.settings = r.stored
	}
	for i := range r.ended {
		r.ended[i].last = min(r.ended[i].last, head)
	}
	r.synced = head
}
