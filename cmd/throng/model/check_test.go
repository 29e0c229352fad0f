package model

import (
	"maps"
	"slices"

	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
)

// check judges one frame that the server has sent to a client, in the order in
// which they went out.
func (w *world) check(c *client, e *event) {
	if r := c.replies[e.ID]; e.ID != "" {
		if r == nil {
			w.fail("%s got %v, which answers nothing, or for the second time", c, e)
		}
		delete(c.replies, e.ID)
		r.check(e)
		return
	}
	switch e.Type {
	case "session":
		if c.first {
			w.fail("%s got a second session", c)
		}
		w.opened(c, e)
	case "message":
		if e.Offset == 0 {
			w.checkTransient(c, e)
		} else {
			w.checkMessage(c, e)
		}
	case "lag":
		w.checkLag(c, e)
	case "gap":
		w.checkGap(c, e)
	case "member_joined", "member_left", "member_count", "room_updated":
		w.checkPresence(c, e)
	case "room_closed":
		if c.closes[e.Room] != e.Reason {
			w.fail("%s got %v, want the reason %q", c, e, c.closes[e.Room])
		}
		delete(c.closes, e.Room)
		delete(c.streams, e.Room)
	case "deleted":
		w.checkDeleted(c, e)
	case "delivered":
		p := c.reports[e.To]
		if p == nil || !w.is(p.message, e) {
			w.fail("%s got a wrong receipt, or a second one: %v", c, e)
		}
		delete(c.reports, e.To)
	case "error":
		_, slow, closed := c.conn.state()
		if e.Code != "slow_consumer" || !slow || closed == 0 {
			w.fail("%s got %v, though it sent nothing wrong", c, e)
		}
	default:
		w.fail("%s got %v, which is unknown", c, e)
	}
}

// mustStream returns the client's place in a room that it must be in.
func (w *world) mustStream(c *client, name string, e *event) *stream {
	s := c.streams[name]
	if s == nil {
		w.fail("%s got %v of a room that it is not in", c, e)
	}
	return s
}

// checkMessage checks one message of a room's log: what it says, and that it is
// the one that follows.
func (w *world) checkMessage(c *client, e *event) {
	r := w.stream(c, e.To)
	w.same(c, r, e)
	m := r.log[e.Offset-1]
	s := c.streams[r.name]
	if s == nil {
		if r.owner() != c.user || m.offset < r.first || c.heard[m] {
			w.fail("%s got %v of a room that it is not in", c, e)
		}
		c.heard[m] = true
		return
	}
	own := m.author == c && m.serial >= s.born
	switch {
	case own && !s.echo:
		w.fail("%s got %v, its own message", c, e)
	case !w.follows(c, s, e.Offset):
		w.fail("%s got %v, want offset %d", c, e, s.next)
	}
	s.next, s.loose = e.Offset+1, false
	w.mark(c, s, e, position{s.epoch, e.Offset, e.Timestamp})
}

// follows reports whether an offset may be the stream's next.
func (w *world) follows(c *client, s *stream, offset uint64) bool {
	if offset == s.next {
		return true
	}
	if offset < s.next {
		return false
	}
	_, slow, _ := c.conn.state()
	skipped := func(o uint64) bool { return s.room.visible(o) }
	for o := s.next; o < offset; o++ {
		switch {
		case s.loose && !skipped(o):
		case s.room.ns.Slow == proto.SlowConflate && slow:
		default:
			return false
		}
	}
	return true
}

// same checks all that a message says against the model.
func (w *world) same(c *client, r *truth, e *event) {
	if e.Offset < 1 || e.Offset > r.head() {
		w.fail("%s got %v of room %s, whose head is %d", c, e, r.name, r.head())
	}
	m := r.log[e.Offset-1]
	key := ""
	if m.from == c.user {
		key = m.key // in replay and history; live, a message comes without it
	}
	content, encoding := m.content, m.encoding
	if m.deleted {
		content, encoding = "", ""
	}
	switch {
	case e.Deleted != m.deleted:
		w.fail("%s got %v in room %s, which is deleted: %v", c, e, r.name, m.deleted)
	case string(e.Content) != content || e.Encoding != encoding || e.From != m.from || e.To != m.to:
		w.fail("%s got %v in room %s, want content %.40s from %s to %s", c, e, r.name, m.content, m.from, m.to)
	case e.Key != "" && e.Key != key:
		w.fail("%s got %v in room %s with the key %q, want %q", c, e, r.name, e.Key, key)
	}
	w.identify(c, r, m, e)
}

// identify takes over a message's id and time, or compares them.
func (w *world) identify(c *client, r *truth, m *message, e *event) {
	known := m.id.millis != 0 // a receipt or a deletion tells the id alone
	if m.id.msgID != "" && m.id.msgID != e.MsgID || known && m.id.millis != e.Timestamp {
		w.fail("%s got %v in room %s with another id or time than others (%d, want %d)", c, e, r.name, e.Timestamp, m.id.millis)
	}
	if known {
		return
	}
	if other := w.ids[e.MsgID]; other != nil && other != m.id {
		w.fail("%s got %v in room %s with the id of another message", c, e, r.name)
	}
	if d := e.Timestamp - m.micros/1000; d < -1 || d > 1 {
		w.fail("%s got %v in room %s, %d ms from when it was sent", c, e, r.name, d)
	}
	w.ids[e.MsgID], m.id.msgID, m.id.millis = m.id, e.MsgID, e.Timestamp
	if m.offset == 0 {
		return
	}
	for _, other := range r.log {
		o := other.id
		if o.msgID == "" || o.millis == 0 || other == m {
			continue
		}
		if before := other.offset < m.offset; before != (o.msgID < e.MsgID) ||
			before && o.millis > e.Timestamp || !before && o.millis < e.Timestamp {
			w.fail("%s got %v in room %s, whose id or time is out of order with offset %d", c, e, r.name, other.offset)
		}
	}
}

// is reports whether an event carries the message's id, which becomes known
// where it was not.
func (w *world) is(m *message, e *event) bool {
	if m.id.msgID == "" && w.ids[e.MsgID] == nil {
		w.ids[e.MsgID], m.id.msgID = m.id, e.MsgID
	}
	return m.id.msgID == e.MsgID
}

// mark remembers that reading the frame will move the client's position.
func (w *world) mark(c *client, s *stream, e *event, p position) {
	c.marks[e.key()] = mark{s.room.name, p}
}

// checkTransient checks a message that is in no log: it comes once at most, to
// who was there when it was sent.
func (w *world) checkTransient(c *client, e *event) {
	r := w.rooms[e.To]
	if r == nil {
		w.fail("%s got %v of an unknown room", c, e)
	}
	i := slices.IndexFunc(r.typed, func(m *message) bool { return m.content == string(e.Content) })
	if i < 0 {
		w.fail("%s got %v, which nobody has just sent", c, e)
	}
	m, s := r.typed[i], c.streams[r.name]
	switch {
	case s == nil && r.owner() != c.user, m.got[c.conn]:
		w.fail("%s got %v, which it should not, or twice", c, e)
	case m.author == c && (s == nil || !s.echo):
		w.fail("%s got %v, its own message", c, e)
	case e.From != m.from || e.Key != "" || e.Encoding != m.encoding:
		w.fail("%s got %v, want it from %s", c, e, m.from)
	}
	m.got[c.conn] = true
	w.identify(c, r, m, e)
}

// checkAck checks the answer to a message.
func (w *world) checkAck(c *client, r *truth, m *message, duplicate bool, e *event) {
	if e.Type != "ack" || e.Offset != m.offset || e.Duplicate != duplicate {
		w.fail("%s got %v, want an ack of offset %d in room %s, duplicate: %v", c, e, m.offset, r.name, duplicate)
	}
	w.identify(c, r, m, e)
	s := c.streams[r.name]
	if s == nil || m.offset == 0 || duplicate || m.serial < s.born || s.ending {
		return
	}
	switch {
	case s.echo && (e.Offset == s.next || e.Offset+1 == s.next):
		return // its message follows, or came before
	case s.echo && e.Offset < s.next && !r.visible(e.Offset):
		return // a gap has told that its message is gone
	case s.echo && w.follows(c, s, e.Offset): // conflated
		s.next = e.Offset
		return
	case s.echo || !w.follows(c, s, e.Offset):
		w.fail("%s got %v in room %s, out of its place: offset %d follows", c, e, r.name, s.next)
	}
	s.next = e.Offset + 1
	w.mark(c, s, e, position{s.epoch, e.Offset, e.Timestamp})
}

func (w *world) checkLag(c *client, e *event) {
	r := w.rooms[e.Room]
	_, slow, _ := c.conn.state()
	if r == nil || !slow {
		w.fail("%s got %v, though it is not slow", c, e)
	}
	if s := c.streams[e.Room]; s == nil {
		if r.owner() != c.user {
			w.fail("%s got %v of a room that it is not in", c, e)
		}
		if _, again := c.lags[e.Room]; !again {
			c.lags[e.Room] = e.Offset
		}
	} else if r.ns.Slow != proto.SlowLag || e.Offset+1 != s.next {
		w.fail("%s got %v, want offset %d", c, e, s.next-1)
	}
}

// checkGap checks that what is announced to be gone is gone, and all of it.
func (w *world) checkGap(c *client, e *event) {
	s := w.mustStream(c, e.Room, e)
	next := e.nextOffset()
	if e.Epoch != s.epoch || e.After+1 != s.next || next <= s.next || next > s.room.head()+1 {
		w.fail("%s got %v, want after %d", c, e, s.next-1)
	}
	for o := s.next; o < next; o++ {
		if s.room.visible(o) {
			w.fail("%s got %v, though offset %d is kept", c, e, o)
		}
	}
	s.next = next
	w.mark(c, s, e, position{s.epoch, next - 1, 0})
}

func (w *world) checkPresence(c *client, e *event) {
	s := w.mustStream(c, e.Room, e)
	if e.Type == "room_updated" {
		s.host, s.maxUsers = e.Host, e.MaxUsers
		for ; s.updates < len(s.room.updates); s.updates++ {
			if u := s.room.updates[s.updates]; u.host == e.Host && u.maxUsers == e.MaxUsers {
				s.updates++
				return
			}
		}
		if host, maxUsers := s.room.updated(); !w.wasSlow(c, s) || e.Host != host || e.MaxUsers != maxUsers {
			w.fail("%s got %v, which nobody did", c, e)
		}
		return
	}
	s.members = e.count()
	if !s.room.ns.Presence || (e.Type == "member_count") == s.room.ns.JoinLeave && !w.wasSlow(c, s) {
		w.fail("%s got %v in a namespace without", c, e)
	}
	if e.Type == "member_count" {
		return // verify compares the number
	}
	p := presence{e.Type == "member_joined", e.UserID}
	if !slices.Contains(s.room.news, p) || slices.Contains(s.news, p) {
		w.fail("%s got %v, which did not happen, or for the second time", c, e)
	}
	s.news = append(s.news, p)
}

// wasSlow reports whether the stream is or was behind in this step: it began
// with a replay, or its connection is slow.
func (w *world) wasSlow(c *client, s *stream) bool {
	_, slow, _ := c.conn.state()
	return slow || s.joined
}

// verify checks, when everything has come to rest, that nothing is missing.
func (w *world) verify() {
	for _, c := range w.clients {
		if c.session == nil {
			continue
		}
		refused, slow, closed := c.conn.state()
		if closed != 0 {
			w.verifyClosed(c, slow, closed)
			continue
		}
		for id, r := range c.replies {
			if r.acks == nil || !refused {
				w.fail("%s got no answer to command %s: %.80s", c, id, r.command)
			}
		}
		for name, reason := range c.closes {
			w.fail("%s was not told that it is put out of %s: %s", c, name, reason)
		}
		for to, p := range c.reports {
			if !p.may {
				w.fail("%s was not told what has been delivered to %s", c, to)
			}
		}
		if !c.first && len(c.replies) == 0 {
			w.fail("%s got no session", c)
		}
		for _, name := range slices.Sorted(maps.Keys(c.streams)) {
			w.verifyStream(c, c.streams[name], refused, slow)
		}
		w.verifyInbox(c, slow)
	}
	for _, r := range w.rooms {
		r.first, r.news, r.updates, r.typed = 0, nil, nil, nil
	}
	for _, c := range w.clients {
		c.clearStep()
	}
}

// verifyClosed checks that only a slow connection of a namespace that wants it
// so was closed, which ends it.
func (w *world) verifyClosed(c *client, slow bool, code proto.CloseCode) {
	allowed := func(s *stream) bool { return s.room.ns.Slow == proto.SlowClose }
	if code != proto.ErrSlowConsumer.Close || !slow || !slices.ContainsFunc(slices.Collect(maps.Values(c.streams)), allowed) {
		w.fail("%s was closed with %d", c, code)
	}
	w.cut(c)
}

func (w *world) verifyStream(c *client, s *stream, refused, slow bool) {
	r := s.room
	if refused {
		return // verified when it has caught up
	}
	for (s.loose || slow && r.ns.Slow == proto.SlowConflate) && s.next <= r.head() && !r.visible(s.next) {
		s.next++ // it has expired before the connection could take it
	}
	if len(s.owed) > 0 {
		w.fail("%s reads, but was not told that offset %d of room %s is deleted", c, s.owed[0].offset, r.name)
	}
	if s.next != r.head()+1 {
		w.fail("%s reads, but has not got offset %d of room %s, whose head is %d", c, s.next, r.name, r.head())
	}
	if r.ns.Presence && r.ns.JoinLeave && s.members != len(r.users) {
		w.fail("%s was told of %d members of room %s, want %d", c, s.members, r.name, len(r.users))
	}
	if host, maxUsers := r.updated(); s.host != host || s.maxUsers != maxUsers {
		w.fail("%s was told of the host %q and maxUsers %d in room %s, want %q and %d", c, s.host, s.maxUsers, r.name, host, maxUsers)
	}
	if slow || s.joined {
		return
	}
	if r.ns.Presence && r.ns.JoinLeave && len(s.news) != len(r.news) {
		w.fail("%s was told of %d arrivals and departures in room %s, want %d", c, len(s.news), r.name, len(r.news))
	}
	if s.updates != len(r.updates) {
		w.fail("%s was not told of a change of room %s's host or maxUsers", c, r.name)
	}
	for _, m := range r.typed {
		if !m.got[c.conn] && (m.author != c || s.echo) {
			w.fail("%s reads, but did not get a transient message of %s in room %s", c, m.from, r.name)
		}
	}
}

// verifyInbox checks that a connection which has not joined its user's inbox
// got what came live, or was told from where on it lags.
func (w *world) verifyInbox(c *client, slow bool) {
	r := w.rooms[room.Inbox(c.user)]
	if c.streams[r.name] != nil {
		return
	}
	lag, lags := c.lags[r.name]
	for o := r.first; o > 0 && o <= r.head(); o++ {
		if m := r.log[o-1]; m.author != c && !c.heard[m] && (!lags || o <= lag) {
			w.fail("%s did not get offset %d of its inbox, and was not told", c, o)
		}
	}
	for _, m := range c.erased {
		if !lags || m.offset <= lag {
			w.fail("%s was not told that offset %d of its inbox is deleted", c, m.offset)
		}
	}
	for _, m := range r.typed {
		if m.author != c && !m.got[c.conn] && !slow {
			w.fail("%s did not get a transient message of %s", c, m.from)
		}
	}
}

// oneOf picks from a list by a number of the program.
func oneOf[T any](list []T, n int) T { return list[n%len(list)] }
