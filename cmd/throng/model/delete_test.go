package model

import (
	"slices"
	"testing/synctest"

	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
)

// await asks the hub for something that REST offers, and returns the code of the
// error, "" for none.
func (w *world) await(what string, call func(done func(*proto.Error))) (code string) {
	answers := make(chan *proto.Error, 2)
	call(func(err *proto.Error) { answers <- err })
	synctest.Wait()
	if n := len(answers); n != 1 {
		w.fail("%s got %d answers", what, n)
	}
	if err := <-answers; err != nil {
		return err.Name
	}
	return ""
}

func (w *world) namespace(name string) *proto.Namespace {
	ns, err := w.hub.Namespace("room", name)
	if err != nil {
		w.fail("room %s: %v", name, err)
	}
	return ns
}

// exists reports whether somebody has created the room.
func (r *truth) exists() bool { return !r.fresh() || len(r.users) > 0 }

// createRoom creates a room, which is then on the disk.
func (w *world) createRoom(c *client, r *truth, m int) {
	w.wake(r)
	limit := 1 + m%3
	want := ""
	switch {
	case r.owner() != "":
		want = "forbidden"
	case r.exists():
		want = "room_exists"
	}
	var info room.RoomInfo
	code := w.await("a creation", func(done func(*proto.Error)) {
		w.hub.CreateRoom(room.Actor{UserID: c.user}, r.name, w.namespace(r.name), room.RoomSettings{MaxUsers: &limit}, func(i room.RoomInfo, err *proto.Error) {
			info = i
			done(err)
		})
	})
	if code != want {
		w.fail("creating room %s: %q, want %q", r.name, code, want)
	}
	if want != "" {
		return
	}
	r.settings = &settings{maxUsers: limit}
	if r.ns.Hosts {
		r.settings.host = c.user
	}
	r.stored = r.settings
	r.writes = append(r.writes, write{r.head(), r.settings})
	r.touch()
	w.bindEpoch(r, info.Epoch)
	if info.Host != r.settings.host || info.MaxUsers != limit || info.Offset != 0 || info.Oldest != 1 || info.Members != 0 {
		w.fail("creating room %s gave %+v, want %+v", r.name, info, r.settings)
	}
}

// absent is what a room that does not exist comes to when REST asks for it.
func (w *world) absent(r *truth, what, code string) {
	if code != "not_found" {
		w.fail("%s of room %s, which nobody has created: %q", what, r.name, code)
	}
	r.sleep() // it leaves memory at once
}

func (r *truth) hostedBy(user string) bool { return r.settings != nil && r.settings.host == user }

// deleteMessage deletes a message by its offset, as the client's user or as
// somebody who may delete all.
func (w *world) deleteMessage(c *client, r *truth, n, m int) {
	w.wake(r)
	by := room.Actor{UserID: c.user, Manage: n%4 == 0}
	head := r.head()
	offset := uint64(m) % (head + 2)
	if n%2 == 1 && head > 0 {
		offset = head - uint64(m)%min(head, 8)
	}
	want := ""
	var twin *message
	var other *truth
	switch {
	case offset == 0:
		want = "invalid_field"
	case offset > head:
		want = "beyond_head"
	case !r.visible(offset):
		want = "not_found"
	case !by.Manage && r.log[offset-1].from != c.user && !r.hostedBy(c.user):
		want = "forbidden"
	case !r.log[offset-1].deleted:
		other, twin = w.twin(r, r.log[offset-1])
	}
	if other != nil {
		w.wake(other)
	}
	code := w.await("a deletion", func(done func(*proto.Error)) {
		w.hub.DeleteMessage(by, r.name, w.namespace(r.name), offset, done)
	})
	switch {
	case !r.exists():
		w.absent(r, "a deletion", code)
		return
	case code != want:
		w.fail("deleting offset %d of room %s as %+v: %q, want %q", offset, r.name, by, code, want)
	case want == "invalid_field", want == "beyond_head":
		return
	}
	r.touch()
	if want != "" || r.log[offset-1].deleted {
		return
	}
	w.markDeleted(r, r.log[offset-1], c.user)
	if other != nil {
		other.touch()
		if twin != nil && other.visible(twin.offset) {
			w.markDeleted(other, twin, c.user)
		}
	}
}

// twin returns the other inbox that a direct message is in, and the message
// there, nil where it is lost.
func (w *world) twin(r *truth, m *message) (*truth, *message) {
	if r.owner() == "" {
		return nil, nil
	}
	other := w.rooms[m.to]
	if other == r {
		other = w.rooms[room.Inbox(m.from)]
	}
	if other == r {
		return nil, nil
	}
	w.wake(other)
	for _, twin := range other.log {
		if twin.id == m.id {
			return other, twin
		}
	}
	return other, nil
}

// markDeleted takes note of a deletion, and of who is to be told: whoever has
// been sent the message, and who is behind and gets it later may be.
func (w *world) markDeleted(r *truth, m *message, by string) {
	m.deleted, m.deletedBy = true, by
	if r.durable() {
		r.synced = max(r.synced, m.offset)
	}
	for _, c := range w.clients {
		switch s := c.streams[r.name]; {
		case c.session == nil:
		case s != nil && m.offset < s.next && s.loose && c.behind():
			s.may = append(s.may, m) // it may not have begun, and begins after the message
		case s != nil && m.offset < s.next:
			s.owed = append(s.owed, m)
		case s != nil:
			s.may = append(s.may, m)
		case r.owner() == c.user:
			c.erased = append(c.erased, m)
		}
	}
}

// behind reports whether something waits for the client to read.
func (c *client) behind() bool {
	refused, slow, _ := c.conn.state()
	return refused || slow
}

// checkDeleted checks that a deletion has happened, and is told once and not
// before the message.
func (w *world) checkDeleted(c *client, e *event) {
	lists := []*[]*message{&c.erased}
	if s := c.streams[e.Room]; s != nil {
		if lists = []*[]*message{&s.owed, &s.may}; e.Offset >= s.next {
			w.fail("%s got %v before the message", c, e)
		}
	} else if w.rooms[e.Room] == nil || w.rooms[e.Room].owner() != c.user {
		w.fail("%s got %v of a room that it is not in", c, e)
	}
	for _, list := range lists {
		i := slices.IndexFunc(*list, func(m *message) bool { return m.offset == e.Offset })
		if i < 0 {
			continue
		}
		if m := (*list)[i]; !w.is(m, e) || e.UserID != m.deletedBy {
			w.fail("%s got %v, want it deleted by %s", c, e, m.deletedBy)
		}
		*list = slices.Delete(*list, i, i+1)
		return
	}
	w.fail("%s got %v, which did not happen, or for the second time", c, e)
}

// trim removes a room's oldest messages.
func (w *world) trim(c *client, r *truth, n, m int) {
	w.wake(r)
	by := room.Actor{UserID: c.user, Manage: n%2 == 0}
	before := uint64(m) % (r.head() + 3)
	want := ""
	switch {
	case !by.Manage && !r.hostedBy(c.user) && r.owner() != c.user:
		want = "not_host"
	case before == 0:
		want = "invalid_field"
	case before > r.head()+1:
		want = "beyond_head"
	}
	var oldest uint64
	code := w.await("a trim", func(done func(*proto.Error)) {
		w.hub.Trim(by, r.name, w.namespace(r.name), before, 0, func(o uint64, err *proto.Error) {
			oldest = o
			done(err)
		})
	})
	switch {
	case !r.exists():
		w.absent(r, "a trim", code)
		return
	case code != want:
		w.fail("trimming room %s to %d as %+v: %q, want %q", r.name, before, by, code, want)
	case want != "":
		return
	}
	r.touch()
	r.trimmed = max(r.trimmed, before)
	if floor := r.floor(); oldest != floor {
		w.fail("room %s was trimmed to %d, and begins with %d, want %d", r.name, before, oldest, floor)
	}
}

// erase deletes a room.
func (w *world) erase(c *client, r *truth, m int) {
	w.wake(r)
	by := room.Actor{UserID: c.user, Manage: m%2 == 0}
	want := ""
	switch {
	case r.owner() != "":
		want = "forbidden"
	case !by.Manage && !r.hostedBy(c.user):
		want = "not_host"
	}
	code := w.await("a room's deletion", func(done func(*proto.Error)) {
		w.hub.DeleteRoom(by, r.name, w.namespace(r.name), done)
	})
	switch {
	case !r.exists():
		w.absent(r, "a room's deletion", code)
		return
	case code != want:
		w.fail("deleting room %s as %+v: %q, want %q", r.name, by, code, want)
	case want != "":
		return
	}
	for _, d := range w.clients {
		if s := d.streams[r.name]; s != nil {
			d.closes[r.name], s.ending = "room_closed", true
		}
	}
	r.reset()
	r.awake, r.crashed = false, false
}
