package room

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/thronghq/throng/proto"
)

const (
	// grace is how long after a user's last connection has gone the user
	// still counts as a member: most come back at once.
	grace = 5 * time.Second

	// countedAbove is the number of members above which arrivals and
	// departures are told as counts, one in countEvery at most.
	countedAbove = 200
	countEvery   = time.Second

	// tickEvery is how often rooms are looked at that wait for one of these.
	tickEvery = 500 * time.Millisecond

	// membersPage is how many users one reply to members lists.
	membersPage = 1000
)

// presence is what a room knows of its users. It belongs to the room's worker.
//
// Who is there, the list of members says. A room of more than fewMembers, or one
// in which it matters who came first, has a table of its users beside it, until
// its last member has gone.
type presence struct {
	table    map[string]resident // of the users with a session; nil for none
	leaving  map[string]leaver   // users without one, who may come back; nil for none
	arrivals uint64
	counted  int64 // when the last member_count went out, by Hub.steady
	dirty    bool  // a member_count is due
	watched  bool  // the hub ticks the room
}

// fewMembers are so many that looking at each is no slower than a table.
const fewMembers = 16

// resident is a user with sessions in the room.
type resident struct {
	sessions int
	order    uint64 // of the arrival: lower came earlier
}

// leaver is a user whose last session has gone.
type leaver struct {
	goes  int64  // when the user stops to count, by Hub.steady
	order uint64 // of the arrival
}

// sessions counts the members that are the user's.
func (r *Room) sessions(user string) int {
	if t := r.presence.table; t != nil {
		return t[user].sessions
	}
	n := 0
	for _, ms := range r.members {
		if ms.member.UserID() == user {
			n++
		}
	}
	return n
}

// has reports whether the user counts as one of the room's.
func (r *Room) has(user string) bool {
	_, leaving := r.presence.leaving[user]
	return leaving || r.sessions(user) > 0
}

// userCount is how many users the room has.
func (r *Room) userCount() int { return int(r.users.Load()) }

// arrive takes one more member, and tells the others of a user's first one.
func (r *Room) arrive(ms *Membership) {
	p := &r.presence
	user := ms.member.UserID()
	known := r.has(user)
	if p.table == nil && (len(r.members) >= fewMembers || r.ns.Succession == proto.OldestSucceeds) {
		r.tabulate()
	}
	order := p.arrivals
	if l, ok := p.leaving[user]; ok {
		order = l.order
		p.stay(user)
	} else if !known {
		p.arrivals++
	}
	if p.table != nil {
		u, there := p.table[user]
		if !there {
			u.order = order
		}
		u.sessions++
		p.table[user] = u
	}
	ms.slot = int32(len(r.members))
	r.members = append(r.members, ms)
	if !known {
		if r.users.Add(1) == 1 {
			r.hub.vacant.Add(-1)
		}
		r.entered(user)
		r.tellChange(proto.EvMemberJoined, user, ms)
	}
}

// tabulate makes the table of the members' users. Who came first of those who are
// there already is not known.
func (r *Room) tabulate() {
	p := &r.presence
	p.table = make(map[string]resident)
	for _, ms := range r.members {
		u := p.table[ms.member.UserID()]
		u.sessions++
		p.table[ms.member.UserID()] = u
	}
}

// depart counts one session less, of a member that has left the list. The user's
// last one ends the user's membership, at once or after the grace.
func (r *Room) depart(user string, atOnce bool) {
	p := &r.presence
	u := p.table[user]
	if p.table != nil {
		if u.sessions--; u.sessions > 0 {
			p.table[user] = u
		} else {
			delete(p.table, user)
		}
	}
	if len(r.members) == 0 {
		p.table = nil
	}
	if r.sessions(user) > 0 {
		return
	}
	if atOnce || !r.ns.Presence {
		r.gone(user)
		return
	}
	if p.leaving == nil {
		p.leaving = make(map[string]leaver)
	}
	p.leaving[user] = leaver{goes: r.hub.steady() + grace.Milliseconds(), order: u.order}
	r.watch()
}

// stay takes a user off those who are about to leave.
func (p *presence) stay(user string) {
	if delete(p.leaving, user); len(p.leaving) == 0 {
		p.leaving = nil
	}
}

// gone takes a user who has no session off the room's count.
func (r *Room) gone(user string) {
	r.presence.stay(user)
	if r.users.Add(-1) == 0 {
		r.hub.vacant.Add(1)
	}
	r.departed(user)
	r.tellChange(proto.EvMemberLeft, user, nil)
	if s := r.settings.Load(); r.ns.Succession == proto.OldestSucceeds && s.host() == user && !s.closed() {
		r.succeed(s) // a host that closes its room is put out with the others and stays its host
	}
}

// succeed makes the user who has been in the room for longest its host.
func (r *Room) succeed(now *Settings) {
	heir := ""
	for user, u := range r.presence.table {
		if heir == "" || u.order < r.presence.table[heir].order {
			heir = user
		}
	}
	if heir == "" {
		return // the next one to come finds the old host
	}
	next := now.edited(r.hub.now())
	next.appoint(heir)
	r.change(next)
	r.unsaved.Store(true) // the next message, or setting, stores it
}

// tellChange tells the members of an arrival or a departure: of each in small
// rooms, by counts in large ones.
func (r *Room) tellChange(kind proto.EventType, user string, except *Membership) {
	p := &r.presence
	switch {
	case !r.ns.Presence:
	case !r.ns.JoinLeave || r.userCount() > countedAbove:
		p.dirty = true
		r.watch()
	default:
		r.tell(&proto.Event{Type: kind, Room: r.name, UserID: user, Members: r.userCount()}, noticeMembers, except)
	}
}

// notice says what a member has missed that does not read fast enough: it is
// told how things stand when it has caught up.
type notice uint8

const (
	noticeMembers  notice = 1 << iota // who came and went
	noticeSettings                    // the host, or maxUsers
	noticeDeleted                     // deletions, which its cursor keeps
)

// tell sends a notice to all members but one.
func (r *Room) tell(ev *proto.Event, kind notice, except *Membership) {
	if len(r.members) == 0 || len(r.members) == 1 && r.members[0] == except {
		return
	}
	b := batches.Get().(*batch)
	b.notice = kind
	r.encodeEvents(b, ev)
	if except != nil {
		except.author = true
		defer func() { except.author = false }()
	}
	r.deliver(b)
	b.reset()
	batches.Put(b)
}

func (r *Room) countEvent() *proto.Event {
	return &proto.Event{Type: proto.EvMemberCount, Room: r.name, Members: r.userCount()}
}

// news appends the frames of what a member has missed, as things stand now.
func (r *Room) news(dst []byte, ms *Membership) []byte {
	codec := ms.member.Form().Codec
	if ms.missed&noticeMembers != 0 {
		dst = proto.AppendEventFrame(dst, codec, r.countEvent())
	}
	if ms.missed&noticeSettings != 0 {
		dst = proto.AppendEventFrame(dst, codec, r.settings.Load().event(r.name))
	}
	return dst
}

// watch asks the hub to tick the room.
func (r *Room) watch() {
	if r.presence.watched {
		return
	}
	r.presence.watched = true
	r.hub.watchMu.Lock()
	defer r.hub.watchMu.Unlock()
	r.hub.watched[r] = struct{}{}
}

// tick ends graces that are over and sends a count that is due.
func (r *Room) tick() {
	p := &r.presence
	now := r.hub.steady()
	for user, l := range p.leaving {
		if l.goes <= now {
			r.gone(user)
		}
	}
	if p.dirty && now-p.counted >= countEvery.Milliseconds() {
		p.dirty, p.counted = false, now
		r.tell(r.countEvent(), noticeMembers, nil)
	}
	if len(p.leaving) == 0 && !p.dirty && !r.ended {
		p.watched = false
		r.hub.watchMu.Lock()
		defer r.hub.watchMu.Unlock()
		delete(r.hub.watched, r)
	}
}

// tickWatched lets the rooms that wait for a time see what it is.
func (h *Hub) tickWatched(rooms []*Room) []*Room {
	rooms = rooms[:0]
	h.watchMu.Lock()
	for r := range h.watched {
		rooms = append(rooms, r)
	}
	h.watchMu.Unlock()
	for i, r := range rooms {
		r.post(op{do: func(r *Room, _ *proto.Error) { r.tick() }})
		rooms[i] = nil
	}
	return rooms
}

// Members answers with a page of the room's users, in the order of their names,
// after the one that the cursor names. Done is called after the answer.
func (h *Hub) Members(ms *Membership, id, cursor string, done func()) {
	h.post(ms.Room(), ms.Namespace(), func(r *Room, err *proto.Error) {
		var names []string
		switch {
		case err != nil:
		case !ms.in(r):
			err = proto.ErrNotJoined.New()
		default:
			names, err = r.usersAfter(cursor)
		}
		if err != nil {
			sendError(ms.member, id, ms.Room(), err)
			done()
			return
		}
		h.readers.submit(&membersJob{room: r, names: names, done: func(list []proto.MemberInfo, next string) {
			ms.member.Send(&proto.Event{Type: proto.EvMembers, ID: []byte(id), Room: r.name, List: list, Next: next})
			done()
		}})
	})
}

// usersAfter lists the room's users that come after the one which the cursor
// names, in no order and some of them more than once; all where it is "".
func (r *Room) usersAfter(cursor string) ([]string, *proto.Error) {
	if !r.ns.Presence {
		return nil, proto.ErrForbidden.With("the namespace %q of room %q tells nobody who is there", r.ns.Name, r.name)
	}
	after := ""
	if cursor != "" {
		var err *proto.Error
		if after, err = r.membersAfter(cursor); err != nil {
			return nil, err
		}
	}
	var names []string
	add := func(user string) {
		if user > after {
			names = append(names, user)
		}
	}
	if t := r.presence.table; t != nil {
		for user := range t {
			add(user)
		}
	} else {
		for _, ms := range r.members {
			add(ms.member.UserID())
		}
	}
	for user := range r.presence.leaving {
		add(user)
	}
	return names, nil
}

// membersJob sorts a page and looks up its users; a large room's takes a while.
type membersJob struct {
	room  *Room
	names []string
	limit int // 0 for the largest page
	done  func(list []proto.MemberInfo, next string)
}

func (j *membersJob) run() {
	if j.limit <= 0 || j.limit > membersPage {
		j.limit = membersPage
	}
	slices.Sort(j.names)
	j.names = slices.Compact(j.names)
	next := ""
	if len(j.names) > j.limit {
		j.names = j.names[:j.limit]
		next = membersCursor(j.room.name, j.names[j.limit-1])
	}
	list := make([]proto.MemberInfo, len(j.names))
	for i, name := range j.names {
		list[i] = proto.MemberInfo{UserID: name, Status: j.room.hub.people.Status(name).String()}
	}
	j.done(list, next)
}

// membersCursor names the place after a user in the room's list.
func membersCursor(room, user string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(room + "\n" + user)) // neither holds a control character
}

func (r *Room) membersAfter(cursor string) (string, *proto.Error) {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil {
		if room, user, ok := strings.Cut(string(b), "\n"); ok && room == r.name && user != "" {
			return user, nil
		}
	}
	return "", proto.ErrBadCursor.With("field \"cursor\" is %.60q; it must be the next of a page of the members of room %q", cursor, r.name)
}
