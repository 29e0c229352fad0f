package room

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/proto"
)

// answer waits for what a call of the hub gives its callback.
func answer[T any](call func(done func(T, *proto.Error))) (T, *proto.Error) {
	type result struct {
		value T
		err   *proto.Error
	}
	c := make(chan result, 2)
	call(func(value T, err *proto.Error) { c <- result{value, err} })
	r := <-c
	synctest.Wait()
	select {
	case <-c:
		panic("two answers")
	default:
	}
	return r.value, r.err
}

// done is answer for what answers with an error alone.
func done(call func(done func(*proto.Error))) *proto.Error {
	_, err := answer(func(done func(struct{}, *proto.Error)) {
		call(func(err *proto.Error) { done(struct{}{}, err) })
	})
	return err
}

func (h *house) create(by Actor, room string, s RoomSettings) (RoomInfo, *proto.Error) {
	return answer(func(done func(RoomInfo, *proto.Error)) { h.hub.CreateRoom(by, room, h.namespace(room), s, done) })
}

func (h *house) info(room string) (RoomInfo, *proto.Error) {
	return answer(func(done func(RoomInfo, *proto.Error)) { h.hub.RoomInfo(room, h.namespace(room), done) })
}

func (h *house) change(by Actor, room string, s RoomSettings, version *uint64) (RoomInfo, *proto.Error) {
	return answer(func(done func(RoomInfo, *proto.Error)) {
		h.hub.ChangeRoom(by, room, h.namespace(room), s, version, done)
	})
}

func (h *house) moderate(by Actor, room string, action proto.HostAction, user string) *proto.Error {
	return done(func(done func(*proto.Error)) { h.hub.Moderate(by, room, h.namespace(room), action, user, done) })
}

func (h *house) delete(by Actor, room string) *proto.Error {
	return done(func(done func(*proto.Error)) { h.hub.DeleteRoom(by, room, h.namespace(room), done) })
}

func (h *house) deleteMessage(by Actor, room string, offset uint64) *proto.Error {
	return done(func(done func(*proto.Error)) { h.hub.DeleteMessage(by, room, h.namespace(room), offset, done) })
}

func (h *house) trim(by Actor, room string, before uint64, olderThan int64) (uint64, *proto.Error) {
	return answer(func(done func(uint64, *proto.Error)) {
		h.hub.Trim(by, room, h.namespace(room), before, olderThan, done)
	})
}

// wantCode compares an error's code, "" for none.
func wantCode(t *testing.T, what string, err *proto.Error, code string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Name
	}
	if got != code {
		t.Fatalf("%s: got the error %q (%v), want %q", what, got, err, code)
	}
}

var (
	ann     = Actor{UserID: "ann"}
	bob     = Actor{UserID: "bob"}
	manager = Actor{UserID: "root", Manage: true}
)

// TestWhoIsToldOfNoRoomFindsNone: a room that was looked at in vain has left
// memory by the time of the answer.
func TestWhoIsToldOfNoRoomFindsNone(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		left := make(chan int, 1)
		h.hub.DeleteRoom(manager, "r", h.namespace("r"), func(err *proto.Error) {
			wantCode(t, "a room that nobody has created", err, "not_found")
			left <- h.hub.Rooms()
		})
		if n := <-left; n != 0 {
			t.Errorf("%d rooms are in memory when it is answered", n)
		}
	})
}

func TestARoomIsCreatedOnceAndStays(t *testing.T) {
	log := newMemory()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log)
		five, closed, eve := 5, true, "eve"
		_, err := h.info("r")
		wantCode(t, "a room that nobody has created", err, "not_found")
		if n := h.hub.Rooms(); n != 0 {
			t.Fatalf("%d rooms are in memory after a look at one that is not", n)
		}
		_, err = h.create(ann, "r", RoomSettings{Host: &eve})
		wantCode(t, "creating for another one", err, "forbidden")
		room, err := h.create(ann, "r", RoomSettings{MaxUsers: &five})
		wantCode(t, "creating", err, "")
		if room.Name != "r" || room.Host != "ann" || room.MaxUsers != 5 || room.Closed || room.Offset != 0 || room.Oldest != 1 || room.CreatedAt != time.Now().UnixMilli() {
			t.Fatalf("created: %+v", room)
		}
		_, err = h.create(bob, "r", RoomSettings{})
		wantCode(t, "creating again", err, "room_exists")
		bobs := h.client("bob")
		h.join(bobs, "lively", proto.Since{})
		bobs.readAll(t)
		_, err = h.create(ann, "lively", RoomSettings{})
		wantCode(t, "creating a room that somebody is in", err, "room_exists")
		_, err = h.create(ann, "user:ann", RoomSettings{})
		wantCode(t, "creating an inbox", err, "forbidden")
		tooMany := -1
		_, err = h.create(ann, "r2", RoomSettings{MaxUsers: &tooMany})
		wantCode(t, "creating with -1 users", err, "invalid_field")
		_, err = h.create(manager, "quiet:x", RoomSettings{Host: &eve, Closed: &closed})
		wantCode(t, "creating by a manager", err, "")
		log.set(func() { log.refuse = proto.ErrStorageFull.New() })
		_, err = h.create(ann, "r3", RoomSettings{})
		wantCode(t, "creating on a full disk", err, "storage_full")
		log.set(func() { log.refuse, log.fail = nil, proto.ErrStorage.New() })
		_, err = h.create(ann, "r3", RoomSettings{})
		wantCode(t, "creating on a broken disk", err, "storage_failed")
		log.set(func() { log.fail = nil })
		_, err = h.info("r3")
		wantCode(t, "what was not created", err, "not_found")
		h.hub.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log) // a restart
		defer h.hub.Close()
		room, err := h.info("r")
		wantCode(t, "after a restart", err, "")
		if room.Host != "ann" || room.MaxUsers != 5 || room.CreatedAt == 0 {
			t.Fatalf("after a restart: %+v", room)
		}
		room, err = h.info("quiet:x")
		wantCode(t, "without hosts", err, "")
		if room.Host != "eve" || !room.Closed {
			t.Fatalf("after a restart: %+v", room)
		}
		_, err = h.create(ann, "r", RoomSettings{})
		wantCode(t, "creating again", err, "room_exists")
		anns := h.client("ann")
		h.hub.Join(h.hub.NewMembership(anns, "r", h.namespace("r")), JoinRequest{}) // which creates nothing
		first(t, anns.readAll(t), "joined")
	})
}

func TestSettingsChangeByVersion(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		created, _ := h.create(ann, "r", RoomSettings{})
		client := h.client("bob")
		h.join(client, "r", proto.Since{})
		client.readAll(t)
		three, closed, open, host := 3, true, false, "bob"
		_, err := h.change(bob, "r", RoomSettings{MaxUsers: &three}, nil)
		wantCode(t, "by a guest", err, "not_host")
		_, err = h.change(ann, "nowhere", RoomSettings{MaxUsers: &three}, nil)
		wantCode(t, "of no room", err, "not_found")
		room, err := h.change(ann, "r", RoomSettings{MaxUsers: &three}, &created.Version)
		wantCode(t, "by the host", err, "")
		if room.MaxUsers != 3 || room.Version == created.Version || room.Members != 1 {
			t.Fatalf("changed: %+v", room)
		}
		first(t, client.readAll(t), "room_updated")
		_, err = h.change(ann, "r", RoomSettings{Host: &host}, &created.Version)
		wantCode(t, "with an old version", err, "precondition_failed")
		room, err = h.change(manager, "r", RoomSettings{Host: &host, Closed: &closed}, &room.Version)
		wantCode(t, "by a manager", err, "")
		if e := first(t, client.readAll(t), "room_closed"); !room.Closed || room.Host != "bob" || e.Reason != "room_closed" {
			t.Fatalf("closed: %+v, %+v", room, e)
		}
		_, err = h.change(bob, "r", RoomSettings{Closed: &open}, &room.Version)
		wantCode(t, "by the new host", err, "")
	})
}

func TestModerationNeedsNoConnection(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.create(ann, "r", RoomSettings{})
		client := h.client("bob")
		h.join(client, "r", proto.Since{})
		client.readAll(t)
		wantCode(t, "by a guest", h.moderate(bob, "r", proto.HostKick, "ann"), "not_host")
		wantCode(t, "in no room", h.moderate(ann, "nowhere", proto.HostKick, "bob"), "not_found")
		wantCode(t, "by a manager in no room", h.moderate(manager, "nowhere", proto.HostKick, "bob"), "not_found")
		wantCode(t, "banning the host", h.moderate(manager, "r", proto.HostBan, "ann"), "invalid_field")
		wantCode(t, "muting", h.moderate(ann, "r", proto.HostMute, "bob"), "")
		h.publish(client, nil, "r", "p", "1")
		if e := first(t, client.readAll(t), "error"); e.Code != "muted" {
			t.Fatalf("muted: %+v", e)
		}
		wantCode(t, "banning", h.moderate(manager, "r", proto.HostBan, "bob"), "")
		if e := first(t, client.readAll(t), "room_closed"); e.Reason != "banned" {
			t.Fatalf("banned: %+v", e)
		}
		room, _ := h.info("r")
		if !slices.Equal(room.Banned, []string{"bob"}) || !slices.Equal(room.Muted, []string{"bob"}) {
			t.Fatalf("%+v", room)
		}
		wantCode(t, "handing over to who is banned", h.moderate(ann, "r", proto.HostHandOver, "bob"), "")
		if room, _ := h.info("r"); room.Host != "bob" || len(room.Banned) > 0 || len(room.Muted) > 0 {
			t.Fatalf("%+v", room)
		}
		wantCode(t, "handing over", h.moderate(manager, "r", proto.HostHandOver, "eve"), "")
		wantCode(t, "after handing over", h.moderate(ann, "r", proto.HostClose, ""), "not_host")
	})
}

func TestMembersAreListedFromOutside(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		type page struct {
			list  []proto.MemberInfo
			next  string
			total int
		}
		list := func(room, cursor string, limit int) (page, *proto.Error) {
			return answer(func(done func(page, *proto.Error)) {
				h.hub.ListMembers(room, h.namespace(room), cursor, limit, func(list []proto.MemberInfo, next string, total int, err *proto.Error) {
					done(page{list, next, total}, err)
				})
			})
		}
		_, err := list("r", "", 10)
		wantCode(t, "of no room", err, "not_found")
		for i := range 5 {
			c := h.client(fmt.Sprint("u", i))
			h.people.connect(c)
			ms := h.join(c, "r", proto.Since{})
			synctest.Wait()
			if i == 3 {
				h.hub.Drop(ms) // it may come back
			}
		}
		h.people.setStatus("u1", Busy)
		var got []string
		cursor := ""
		for {
			p, err := list("r", cursor, 2)
			wantCode(t, "a page", err, "")
			if p.total != 5 || len(p.list) > 2 {
				t.Fatalf("%+v", p)
			}
			for _, m := range p.list {
				got = append(got, m.UserID+" "+m.Status)
			}
			if cursor = p.next; cursor == "" {
				break
			}
		}
		if want := []string{"u0 online", "u1 busy", "u2 online", "u3 online", "u4 online"}; !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
		_, err = list("r", "x", 2)
		wantCode(t, "a wrong cursor", err, "invalid_cursor")
	})
}

// watcher writes down what an observer is told.
type watcher struct{ told []string }

func (w *watcher) note(format string, args ...any) {
	w.told = append(w.told, fmt.Sprintf(format, args...))
}
func (w *watcher) Opened(room string)       { w.note("%s opened", room) }
func (w *watcher) Emptied(room string)      { w.note("%s emptied", room) }
func (w *watcher) Joined(room, user string) { w.note("%s joined %s", user, room) }
func (w *watcher) Left(room, user string)   { w.note("%s left %s", user, room) }
func (w *watcher) Published(room, epoch string, first, last uint64) {
	w.note("%s %s %d-%d", room, epoch, first, last)
}

func TestTheObserverIsToldInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory())
		defer h.hub.Close()
		w := new(watcher)
		h.hub.observer = w
		ann, ann2, bob := h.client("ann"), h.client("ann"), h.client("bob")
		anns := h.join(ann, "r", proto.Since{})
		h.join(ann2, "r", proto.Since{})
		bobs := h.join(bob, "r", proto.Since{})
		synctest.Wait()
		for range 3 {
			h.publish(ann, anns, "r", "p", "1")
			synctest.Wait()
		}
		h.hub.Publish(ann, anns, "r", h.namespace("r"), Publication{Content: []byte("1"), Transient: true})
		h.hub.Leave(bobs, "l")
		h.hub.Leave(anns, "l")
		synctest.Wait()
		if err := h.delete(manager, "r"); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"r opened", "ann joined r", "bob joined r", "r e1 1-1", "r e1 2-2", "r e1 3-3", "bob left r",
			"ann left r", "r emptied",
		}
		if !slices.Equal(w.told, want) {
			t.Fatalf("%q, want %q", w.told, want)
		}
	})
}

func TestRoomsAreListedFromMemoryAndDisk(t *testing.T) {
	log := newMemory()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log)
		for i := range 30 {
			name := fmt.Sprintf("r%02d", i)
			if i%2 == 0 {
				h.create(ann, name, RoomSettings{MaxUsers: &i})
			}
		}
		h.hub.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log)
		defer h.hub.Close()
		var want []string
		for i := range 30 {
			name := fmt.Sprintf("r%02d", i)
			switch i % 6 {
			case 1:
				h.join(h.client("bob"), name, proto.Since{}) // only in memory
			case 2:
				h.info(name) // in both
			case 3:
				h.info(name) // nowhere
				continue
			case 4:
				if err := h.delete(ann, name); err != nil {
					t.Fatal(err)
				}
				continue
			case 5:
				continue
			}
			want = append(want, name)
		}
		h.join(h.client("bob"), "mem:x", proto.Since{})
		synctest.Wait()
		awake := h.hub.Rooms()
		for _, limit := range []int{1, 2, 3, 7, 100} {
			var got []string
			for cursor := ""; ; {
				list, next, err := h.hub.ListRooms("r", cursor, limit)
				if err != nil || len(list) > limit {
					t.Fatal(list, err)
				}
				for _, s := range list {
					got = append(got, s.Name)
					var i int
					fmt.Sscanf(s.Name, "r%d", &i)
					if i%2 == 0 && (s.Host != "ann" || s.MaxUsers != i || s.Members != 0) || i%6 == 1 && s.Members != 1 {
						t.Errorf("%+v", s)
					}
				}
				if cursor = next; next == "" {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("limit %d: %v, want %v", limit, got, want)
			}
		}
		if m := h.hub.listAwake("r", "", 2); len(m.list) != 2 || len(m.known) > 4 || m.horizon != m.list[1].Name {
			t.Fatalf("for a page of 2 rooms, %d of them and %d names are held, up to %q", len(m.list), len(m.known), m.horizon)
		}
		if list, _, _ := h.hub.ListRooms("mem:", "", 10); len(list) != 1 || list[0].Name != "mem:x" {
			t.Fatalf("%+v", list)
		}
		if n := h.hub.Rooms(); n != awake {
			t.Fatalf("%d rooms were woken", n-awake)
		}
		_, _, err := h.hub.ListRooms("", "nonsense", 1)
		wantCode(t, "a wrong cursor", err, "invalid_cursor")
		log.set(func() { log.broken = fmt.Errorf("broken") })
		_, _, err = h.hub.ListRooms("", "", 1)
		wantCode(t, "a broken disk", err, "storage_failed")
		log.set(func() { log.broken = nil })
	})
}
