package model

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing/synctest"

	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
)

// join sends a join from one of the places that a client may ask for.
func (w *world) join(c *client, r *truth, n, m int) {
	if frame := w.prepareJoin(c, r, n, m); frame != nil {
		c.say(frame)
	}
}

// prepareJoin is join without the sending. What is published to the room before
// the reply is looked at may come before the join or after it.
func (w *world) prepareJoin(c *client, r *truth, n, m int) (frame []byte) {
	w.wake(r)
	p := w.since(c, r, n, m)
	echo := m%5 == 0
	s := c.streams[r.name]
	r.create(c.user)
	if code := r.admits(c.user, s != nil); code != "" {
		_, frame = w.prepare(c, fmt.Sprintf(`"type":"join","room":%q%s`, r.name, p.field), w.refused(c, r.name, code))
		return frame
	}
	if s == nil {
		r.arrive(c.user)
	} else {
		s.ending = true
	}
	r.touch()
	head, members, born := r.head(), len(r.users), w.serial+1
	_, frame = w.prepare(c, fmt.Sprintf(`"type":"join","room":%q,"echo":%v%s`, r.name, echo, p.field), func(e *event) {
		host, maxUsers := r.updated()
		recovered := p.recovered && (!p.either || e.Recovered)
		if e.Type != "joined" || e.Room != r.name || e.Offset < head || e.Offset > r.head() || e.Recovered != recovered || e.Host != host ||
			e.MaxUsers != maxUsers || e.count() != members {
			w.fail("%s got %v, want joined at %d, recovered %v, host %q, maxUsers %d, members %d", c, e, head, recovered, host, maxUsers, members)
		}
		w.bindEpoch(r, e.Epoch)
		next := e.Offset + 1
		if recovered {
			next = p.start
		}
		if old := c.streams[r.name]; old != nil && len(old.owed) > 0 {
			w.fail("%s joined room %s again before it was told that offset %d is deleted", c, r.name, old.owed[0].offset)
		}
		s := &stream{room: r, epoch: e.Epoch, next: next, born: born, echo: echo, loose: p.loose, joined: true, members: members, host: host, maxUsers: maxUsers, updates: len(r.updates)}
		c.streams[r.name] = s
		if next == e.Offset+1 {
			w.mark(c, s, e, position{e.Epoch, e.Offset, 0})
		}
	})
	return frame
}

// beginning is where a join wants its stream to begin.
type beginning struct {
	field     string // of the command
	start     uint64 // the first offset, where the stream is recovered
	recovered bool   // it must be
	either    bool   // or it may also not be
	loose     bool   // what expires before it could be sent is no gap
}

// since chooses where a join begins.
func (w *world) since(c *client, r *truth, n, m int) beginning {
	head, seen := r.head(), c.seen[r.name]
	switch {
	case n%6 == 1:
		last := 1 + m%replayLimit
		start := head - min(uint64(last), head) + 1
		return beginning{fmt.Sprintf(`,"since":{"last":%d}`, last), max(start, r.floor()), true, false, true}
	case n%6 == 2 && head > 0:
		at := r.log[m%int(head)].id.millis // 0 where nobody knows it: from the beginning
		start := r.floor()
		for start <= head && r.log[start-1].micros < at*1000 {
			start++
		}
		return beginning{fmt.Sprintf(`,"since":{"timestamp":%d}`, at), start, true, false, true}
	case n%6 == 3:
		return beginning{field: `,"since":{"offset":0,"epoch":"no such epoch"}`}
	case n%6 == 4 && r.epoch != "":
		return beginning{field: fmt.Sprintf(`,"since":{"offset":%d,"epoch":%q}`, head+1, r.epoch)}
	case n%6 == 0 || len(seen) == 0:
		return beginning{}
	}
	p := seen[len(seen)-1]
	if m%4 == 0 {
		p = oneOf(seen, m/4)
	}
	return beginning{p.since(), p.offset + 1, r.covers(p, replayLimit), r.forgotten(p.epoch), false}
}

func (p position) since() string {
	hint := ""
	if p.millis > 0 {
		hint = fmt.Sprintf(`,"timestamp":%d`, p.millis)
	}
	return fmt.Sprintf(`,"since":{"offset":%d,"epoch":%q%s}`, p.offset, p.epoch, hint)
}

func (w *world) leave(c *client, r *truth) {
	s := c.streams[r.name]
	if s == nil {
		w.send(c, fmt.Sprintf(`"type":"leave","room":%q`, r.name), w.refused(c, r.name, "not_joined"))
		return
	}
	s.ending = true
	r.depart(c.user, true)
	w.send(c, fmt.Sprintf(`"type":"leave","room":%q`, r.name), func(e *event) {
		if e.Type != "left" || e.Room != r.name {
			w.fail("%s got %v, want left", c, e)
		}
		delete(c.streams, r.name)
	})
}

// newMessage makes a message with content of its own, small or not, JSON or
// bytes.
func (w *world) newMessage(c *client, to, key string, m int) *message {
	w.serial++
	size := 0
	if m%7 == 0 {
		size = 300
	}
	msg := &message{
		serial: w.serial, author: c, from: c.user, to: to, key: key, id: new(identity),
		content: fmt.Sprintf(`{"fill":%q,"n":%d}`, strings.Repeat("x", size), w.serial),
	}
	if m%5 == 3 {
		msg.content, msg.encoding = strconv.Quote(base64.StdEncoding.EncodeToString([]byte(msg.content))), "base64"
	}
	return msg
}

// command is the message as a client sends it.
func (m *message) command() string {
	s := fmt.Sprintf(`"type":"message","to":%q,"content":%s`, m.to, m.content)
	if m.encoding != "" {
		s += fmt.Sprintf(`,"encoding":%q`, m.encoding)
	}
	if m.key != "" {
		s += fmt.Sprintf(`,"key":%q`, m.key)
	}
	return s
}

func (w *world) publish(c *client, r *truth, key string, m int) {
	w.wake(r)
	w.append(c, r, nil, w.newMessage(c, r.name, key, m))
}

// append sends a message to a room, or a direct one to both inboxes, of which
// r is the author's.
func (w *world) append(c *client, r, other *truth, m *message) {
	r.create(c.user)
	if code := r.publishes(c.user); code != "" {
		w.send(c, m.command(), w.refused(c, r.name, code))
		return
	}
	if id := (keyID{m.from, m.to, m.key}); m.key != "" {
		if first := r.keys[id]; first != nil && !r.expiredKey(first) {
			w.repeat(c, r, first, m)
			return
		}
		r.keys[id] = m
	}
	r.append(m)
	if other != nil {
		twin := *m
		twin.key = ""
		other.append(&twin)
		m.micros = max(m.micros, twin.micros)
		twin.micros = m.micros
	}
	w.send(c, m.command(), func(e *event) { w.checkAck(c, r, m, false, e) }).acks = m
}

// expiredKey reports whether the key of a message is free again.
func (r *truth) expiredKey(m *message) bool {
	return m.micros < r.clock.now().Add(-keyTTL).UnixMicro()
}

// repeat sends a message whose key has been used.
func (w *world) repeat(c *client, r *truth, first, m *message) {
	if m.content != first.content && !first.deleted {
		w.send(c, m.command(), w.refused(c, m.to, "key_conflict"))
		return
	}
	w.send(c, m.command(), func(e *event) { w.checkAck(c, r, first, true, e) })
}

// publishKeyed sends a message with one of two keys, new or again, to a room or
// as a note to oneself. A key whose message a woken room cannot read any more
// may be known or not, and is left alone.
func (w *world) publishKeyed(c *client, r *truth, n int) {
	w.wake(r)
	m := w.newMessage(c, r.name, oneOf([]string{"k", "l"}, n), n)
	if first := r.keys[keyID{m.from, m.to, m.key}]; first != nil {
		if r.woken && !r.visible(first.offset) {
			m.key = ""
		} else if n%4 < 2 {
			m.content, m.encoding = first.content, first.encoding
		}
	}
	w.append(c, r, nil, m)
}

func (w *world) transient(c *client, r *truth, n int) {
	w.wake(r)
	m := w.newMessage(c, r.name, "", n)
	command := m.command() + `,"transient":true`
	r.create(c.user)
	if code := r.publishes(c.user); code != "" {
		w.send(c, command, w.refused(c, r.name, code))
		return
	}
	m.micros, m.got = w.clock.now().UnixMicro(), make(map[*conn]bool)
	r.typed = append(r.typed, m)
	r.touch()
	w.send(c, command, func(e *event) { w.checkAck(c, r, m, false, e) })
}

// direct sends a message to a user's inbox, the author's own among them.
func (w *world) direct(c *client, to string, n int) {
	own, other := w.rooms[room.Inbox(c.user)], w.rooms[room.Inbox(to)]
	w.wake(own)
	w.wake(other)
	if own == other {
		other = nil
	}
	w.append(c, own, other, w.newMessage(c, room.Inbox(to), "", n))
}

// query is what a history command asks for.
type query struct {
	from, to      int64
	after, before uint64
	limit         int
	reverse       bool
	beyond        uint64 // the last offset of the page before, whose cursor goes with the query
}

func (q query) command(name string) string {
	s := fmt.Sprintf(`"type":"history","room":%q`, name)
	for _, f := range []struct {
		name  string
		value int64
	}{{"from", q.from}, {"to", q.to}, {"after", int64(q.after)}, {"before", int64(q.before)}, {"limit", int64(q.limit)}} {
		if f.value > 0 {
			s += fmt.Sprintf(`,%q:%d`, f.name, f.value)
		}
	}
	if q.reverse {
		s += `,"reverse":true`
	}
	return s
}

// find returns what the query selects of what can be read.
func (q query) find(r *truth) (found []*message) {
	for _, m := range r.log {
		if !r.visible(m.offset) || m.offset <= q.after || q.before > 0 && m.offset >= q.before ||
			m.micros < q.from*1000 || q.to > 0 && m.micros >= q.to*1000 {
			continue
		}
		if q.beyond > 0 && (q.reverse && m.offset >= q.beyond || !q.reverse && m.offset <= q.beyond) {
			continue
		}
		found = append(found, m)
	}
	if q.reverse {
		slices.Reverse(found)
	}
	return found
}

func (w *world) history(c *client, r *truth, n, m int) {
	w.wake(r)
	q := query{limit: []int{0, 1, 3, 5}[m%4], reverse: m%8 >= 4}
	head := r.head()
	switch n % 4 {
	case 1:
		q.after = uint64(m) % (head + 2)
	case 2:
		q.after = uint64(m/2) % (head + 1)
		q.before = q.after + 1 + uint64(m%5)
	case 3:
		if head > 0 {
			q.from = r.log[uint64(m)%head].id.millis // 0 where nobody knows it
			q.to = max(q.from, r.log[head-1].id.millis)
		}
	}
	w.ask(c, r, q, "")
}

// ask sends a history command, perhaps with the cursor of the page before.
func (w *world) ask(c *client, r *truth, q query, cursor string) {
	if owner := r.owner(); owner != "" && owner != c.user {
		w.send(c, q.command(r.name), w.refused(c, r.name, "forbidden"))
		return
	}
	r.touch()
	command := q.command(r.name)
	if cursor != "" {
		command += fmt.Sprintf(`,"cursor":%q`, cursor)
	}
	want := q.find(r)
	w.send(c, command, func(e *event) {
		if e.Type != "history" || e.Room != r.name {
			w.fail("%s got %v, want history of room %s", c, e, r.name)
		}
		w.bindEpoch(r, e.Epoch)
		n := len(e.Messages)
		switch {
		case n > len(want), q.limit > 0 && n > q.limit, n == 0 && len(want) > 0, (n < len(want)) != (e.cursor() != ""):
			w.fail("%s got %v, %d messages of %d with limit %d, next %v", c, e, n, len(want), q.limit, e.cursor() != "")
		}
		for i := range e.Messages {
			got := &e.Messages[i]
			if got.Offset != want[i].offset {
				w.fail("%s got %v, want offset %d at place %d", c, e, want[i].offset, i)
			}
			w.same(c, r, got)
			if key := want[i].key; want[i].from == c.user && got.Key != key {
				w.fail("%s got %v without its key %q", c, e, key)
			}
		}
		if next := e.cursor(); next != "" {
			c.pages = append(c.pages, page{r.name, q, next, want[n-1].offset})
		}
	})
}

// page asks for the next page of a history, or in a room that it is not of.
func (w *world) page(c *client, r *truth, n int) {
	if len(c.pages) == 0 {
		return
	}
	p := c.pages[len(c.pages)-1]
	of := w.rooms[p.room]
	if n%5 == 0 && of != r && (r.owner() == "" || r.owner() == c.user) {
		w.wake(r)
		r.touch()
		w.send(c, fmt.Sprintf(`%s,"cursor":%q`, p.query.command(r.name), p.cursor), w.refused(c, r.name, "invalid_cursor"))
		return
	}
	c.pages = c.pages[:len(c.pages)-1]
	w.wake(of)
	if p.after > of.head() { // lost in a crash, or the room's life is over
		w.ask(c, of, query{}, "")
		return
	}
	p.query.beyond = p.after
	w.ask(c, of, p.query, p.cursor)
}

// ack acknowledges what has been seen, too much, or in a room that the client is
// not in. In an inbox the authors are told.
func (w *world) ack(c *client, r *truth, n int) {
	member := c.streams[r.name] != nil
	if member || r.owner() == c.user && r.epoch != "" {
		w.wake(r)
	}
	if r.epoch == "" {
		return // nobody knows what to say
	}
	offset := uint64(n) % (r.head() + 2)
	command := fmt.Sprintf(`"type":"ack","room":%q,"epoch":%q,"offset":%d`, r.name, r.epoch, offset)
	switch {
	case !member && r.owner() != c.user:
		w.send(c, command, w.refused(c, r.name, "not_joined"))
		return
	case offset > r.head():
		w.send(c, command, w.refused(c, r.name, "beyond_head"))
		return
	}
	w.send(c, command, nil)
	if r.owner() != c.user || offset <= r.receiptLow {
		return
	}
	certain := r.receipt == r.receiptLow || offset > r.receipt
	latest := make(map[string]*message)
	for o := r.receiptLow + 1; o <= offset; o++ {
		if m := r.log[o-1]; r.visible(o) && m.from != c.user {
			latest[m.from] = m
		}
	}
	for _, other := range w.clients {
		if m := latest[other.user]; m != nil && other.session != nil {
			other.reports[r.name] = &report{m, !certain || m.offset <= r.receipt && r.receipt != r.receiptLow}
		}
	}
	r.receipt, r.receiptLow = max(r.receipt, offset), offset
}

func (w *world) members(c *client, r *truth) {
	command := fmt.Sprintf(`"type":"members","room":%q`, r.name)
	switch {
	case c.streams[r.name] == nil:
		w.send(c, command, w.refused(c, r.name, "not_joined"))
		return
	case !r.ns.Presence:
		w.send(c, command, w.refused(c, r.name, "forbidden"))
		return
	}
	want := slices.Sorted(maps.Keys(r.users))
	w.send(c, command, func(e *event) {
		list := e.list()
		if e.Type != "members" || e.Room != r.name || len(list) != len(want) {
			w.fail("%s got %v with %d members, want %d", c, e, len(list), len(want))
		}
		for i, u := range list {
			status := w.status[want[i]]
			if status == "" {
				status = "online"
			}
			if u.UserID != want[i] || u.Status != status {
				w.fail("%s was told that member %d is %s, %s; want %s, %s", c, i, u.UserID, u.Status, want[i], status)
			}
		}
	})
}

func (w *world) setStatus(c *client, n int) {
	status := oneOf([]string{"online", "away", "busy"}, n)
	w.status[c.user] = status
	w.send(c, fmt.Sprintf(`"type":"status","status":%q`, status), nil)
}

// stall sends messages to a room of a sync namespace while the disk does not
// sync: nobody may hear of them. Then the disk syncs, or the machine crashes.
func (w *world) stall(c *client, r *truth, n, m int) {
	w.wake(r)
	r.create(c.user)
	if r.ns.Durability != proto.Sync || r.publishes(c.user) != "" {
		w.publish(c, r, "", m)
		return
	}
	before := r.head()
	w.disk.HoldSyncs()
	for range 1 + n%3 {
		w.publish(c, r, "", m)
	}
	synctest.Wait()
	for _, other := range w.clients {
		if other.session == nil {
			continue
		}
		for _, e := range other.conn.look() {
			if e.Type == "ack" || e.Type == "message" {
				w.fail("%s got %v of room %s, which is not synced", other, &e, r.name)
			}
			w.check(other, &e)
		}
	}
	if m%2 == 0 {
		w.disk.Release()
		return
	}
	r.synced = before
	w.leaveServer()
	w.crash(oneOf(percents, n), uint64(m))
}
