package room

import (
	"math"
	"slices"

	"github.com/thronghq/throng/proto"
)

// Actor is who wants something done to a room.
type Actor struct {
	UserID string
	Manage bool // has the right to act as the host of this room
}

// RoomSettings are the settings that somebody wants a room to have; nil leaves
// one as it is.
type RoomSettings struct {
	Host     *string // "" for none
	MaxUsers *int    // 0 for no bound
	Closed   *bool
}

// check reports the first value that no room can have.
func (s *RoomSettings) check(limits *proto.Limits) *proto.Error {
	switch {
	case s.MaxUsers != nil && (*s.MaxUsers < 0 || *s.MaxUsers > math.MaxInt32):
		return proto.ErrInvalidField.With("field \"maxUsers\" is %d; an integer of 0 to %d is expected", *s.MaxUsers, math.MaxInt32)
	case s.Host != nil && len(*s.Host) > limits.UserIDBytes:
		return proto.ErrInvalidField.With("field \"host\" has %d bytes; a user id has at most %d", len(*s.Host), limits.UserIDBytes)
	}
	return nil
}

func (s *RoomSettings) apply(next *Settings) {
	if s.Host != nil {
		next.appoint(*s.Host)
	}
	if s.MaxUsers != nil {
		next.MaxUsers = *s.MaxUsers
	}
	if s.Closed != nil {
		next.Closed = *s.Closed
	}
}

// CreateRoom brings a room to life that nobody has created yet; who may do so
// the caller has found out. The creator is its host where the namespace has
// hosts and the settings name no other. Done gets the room once that is on the
// disk: it then lives on without members and messages, but for one of a
// namespace that keeps nothing on the disk, which lives as long as it is in
// memory.
func (h *Hub) CreateRoom(by Actor, name string, ns *proto.Namespace, s RoomSettings, done func(RoomInfo, *proto.Error)) {
	h.post(name, ns, func(r *Room, err *proto.Error) {
		if err == nil {
			err = r.mayBeCreated(by, &s)
		}
		if err != nil {
			done(RoomInfo{}, err)
			return
		}
		next := newSettings("", h.now())
		if ns.Hosts {
			next.Host = by.UserID
		}
		s.apply(next)
		r.amend(next, func(err *proto.Error) {
			if err != nil {
				r.settings.CompareAndSwap(next, nil)
				done(RoomInfo{}, err)
				return
			}
			r.inform(done)
		})
	})
}

func (r *Room) mayBeCreated(by Actor, s *RoomSettings) *proto.Error {
	if _, inbox := InboxOwner(r.name); inbox {
		return proto.ErrForbidden.With("room %q is an inbox; it needs no creation", r.name)
	}
	if r.ended {
		return overloadedBy("room %q is just being deleted", r.name)
	}
	if r.exists() {
		return proto.ErrRoomExists.With("room %q exists already", r.name)
	}
	if s.Host != nil && *s.Host != by.UserID && !by.Manage {
		return proto.ErrForbidden.With("field \"host\" is %.40q; without the right to manage room %q only oneself can be named", *s.Host, r.name)
	}
	return s.check(&r.hub.limits)
}

// exists reports whether somebody has created the room.
func (r *Room) exists() bool { return !r.fresh() || r.users.Load() > 0 }

// existing is post for rooms that exist: for another one do gets ErrNotFound,
// and it leaves memory again.
func (h *Hub) existing(name string, ns *proto.Namespace, do func(r *Room, err *proto.Error)) {
	h.post(name, ns, func(r *Room, err *proto.Error) {
		switch {
		case err != nil:
			do(r, err)
		case r.ended:
			do(r, r.missing())
		case !r.exists():
			r.leave() // first: whoever is told that there is none finds none
			do(r, r.missing())
		default:
			do(r, nil)
		}
	})
}

// ChangeRoom changes a room's settings, as its host may. Where ifVersion is
// given the room must have that version. Done gets the room as it is then.
func (h *Hub) ChangeRoom(by Actor, name string, ns *proto.Namespace, s RoomSettings, ifVersion *uint64, done func(RoomInfo, *proto.Error)) {
	h.existing(name, ns, func(r *Room, err *proto.Error) {
		if err == nil {
			err = r.mayRule(by)
		}
		if err == nil {
			err = s.check(&h.limits)
		}
		if err == nil && ifVersion != nil && *ifVersion != r.settings.Load().version() {
			err = proto.ErrPrecondition.With("room %q has been changed meanwhile", name)
		}
		if err != nil {
			done(RoomInfo{}, err)
			return
		}
		next := r.settings.Load().edited(h.now())
		s.apply(next)
		r.amend(next, func(err *proto.Error) {
			if err != nil {
				done(RoomInfo{}, err)
				return
			}
			r.inform(done)
		})
	})
}

// Moderate is the host's command for somebody who need not be a connection.
func (h *Hub) Moderate(by Actor, name string, ns *proto.Namespace, action proto.HostAction, user string, done func(*proto.Error)) {
	h.existing(name, ns, func(r *Room, err *proto.Error) {
		if err != nil {
			done(err)
			return
		}
		r.moderate(by, HostRequest{Action: action, User: user}, done)
	})
}

// ListMembers lists a page of a room's users as Members does, for somebody who
// need not be one. Limit is at most 1,000; total counts all users.
func (h *Hub) ListMembers(name string, ns *proto.Namespace, cursor string, limit int, done func(list []proto.MemberInfo, next string, total int, err *proto.Error)) {
	h.existing(name, ns, func(r *Room, err *proto.Error) {
		var names []string
		if err == nil {
			names, err = r.usersAfter(cursor)
		}
		if err != nil {
			done(nil, "", 0, err)
			return
		}
		total := r.userCount()
		h.readers.submit(&membersJob{room: r, names: names, limit: limit, done: func(list []proto.MemberInfo, next string) {
			done(list, next, total, nil)
		}})
	})
}

// expelAll puts everybody out of the room.
func (r *Room) expelAll(code *proto.Code) {
	for _, ms := range r.members {
		ms.stopCursor()
		ms.state = stateOut // it is not told how the others go
	}
	for len(r.members) > 0 {
		r.expel(r.members[len(r.members)-1], code)
	}
}

// added returns the users of a list that an older one has not.
func added(old, list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(user string) bool { return slices.Contains(old, user) })
}
