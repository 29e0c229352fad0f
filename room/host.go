package room

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/thronghq/throng/proto"
)

// maxListed bounds how many users a room's host may ban, and mute.
const maxListed = 1000

// Settings is what a room keeps beside its messages. A value is immutable; a
// nil pointer stands for a room that nobody has created yet, or one without a
// host.
type Settings struct {
	Host     string   `json:"host,omitempty"`
	MaxUsers int      `json:"maxUsers,omitempty"`
	Banned   []string `json:"banned,omitempty"`
	Muted    []string `json:"muted,omitempty"`
	Closed   bool     `json:"closed,omitempty"`
}

func parseSettings(stored []byte) (*Settings, error) {
	if stored == nil {
		return nil, nil
	}
	s := new(Settings)
	if err := json.Unmarshal(stored, s); err != nil {
		return nil, fmt.Errorf("the room's stored settings: %w", err)
	}
	return s, nil
}

func (s *Settings) marshal() []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic("room: settings are plain data: " + err.Error())
	}
	return b
}

func (s *Settings) host() string {
	if s == nil {
		return ""
	}
	return s.Host
}

func (s *Settings) maxUsers() int {
	if s == nil {
		return 0
	}
	return s.MaxUsers
}

func (s *Settings) closed() bool            { return s != nil && s.Closed }
func (s *Settings) banned(user string) bool { return s != nil && slices.Contains(s.Banned, user) }

func (s *Settings) mayPublish(user string) *proto.Error {
	switch {
	case s == nil || s.Host == user && !s.Closed:
		return nil
	case s.Closed:
		return proto.ErrRoomClosed.New()
	case slices.Contains(s.Banned, user):
		return proto.ErrBanned.New()
	case slices.Contains(s.Muted, user):
		return proto.ErrMuted.New()
	}
	return nil
}

// create lets a user be the one who brings the room to life, where nobody has:
// the user becomes its host where the namespace has hosts.
func (r *Room) create(user string, may bool) *proto.Error {
	if !r.fresh() || len(r.presence.users) > 0 {
		return nil
	}
	if !may {
		return proto.ErrForbidden.With("room %q does not exist, and user %q lacks the right to create it", r.name, user)
	}
	if r.ns.Hosts {
		r.settings.Store(&Settings{Host: user})
		r.unsaved.Store(true)
	}
	return nil
}

// HostRequest is a host command that the session has found in order.
type HostRequest struct {
	ID     string
	Action proto.HostAction
	User   string // whom, for the actions that name somebody
	Max    int
}

// Host carries out a command of the room's host. The answer comes once the new
// settings are stored; kicks are answered at once.
func (h *Hub) Host(m Member, name string, ns *proto.Namespace, req HostRequest) {
	h.post(name, ns, func(r *Room, err *proto.Error) {
		if err == nil {
			err = r.command(m, req)
		}
		if err != nil {
			sendError(m, req.ID, name, err)
		}
	})
}

func (r *Room) command(m Member, req HostRequest) *proto.Error {
	now := r.settings.Load()
	if now.host() == "" || now.host() != m.UserID() {
		return proto.ErrNotHost.New()
	}
	next := *now
	var expelled *proto.Code
	switch req.Action {
	case proto.HostMaxUsers:
		next.MaxUsers = req.Max
	case proto.HostKick:
		r.expelUser(req.User, proto.ErrKicked)
		m.Send(&proto.Event{Type: proto.EvHost, ID: []byte(req.ID), Room: r.name})
		return nil
	case proto.HostBan:
		next.Banned, expelled = with(now.Banned, req.User), proto.ErrBanned
	case proto.HostUnban:
		next.Banned = without(now.Banned, req.User)
	case proto.HostMute:
		next.Muted = with(now.Muted, req.User)
	case proto.HostUnmute:
		next.Muted = without(now.Muted, req.User)
	case proto.HostHandOver:
		next.Host = req.User
	case proto.HostClose:
		next.Closed = true
	case proto.HostReopen:
		next.Closed = false
	default:
		return proto.ErrInvalidField.With("the host command names none of maxUsers, kick, ban, unban, mute, unmute, handOver, close")
	}
	if len(next.Banned) > maxListed || len(next.Muted) > maxListed {
		return proto.ErrOverloaded.With("room %q has %d users on that list, as many as fit", r.name, maxListed)
	}
	if expelled != nil && req.User == now.Host {
		return proto.ErrInvalidField.With("field \"ban\" is %.40q, the room's own host", req.User)
	}
	if err := r.store(m, req.ID, &next); err != nil {
		return err
	}
	r.change(&next)
	if expelled != nil {
		r.expelUser(req.User, expelled)
	}
	if next.Closed && !now.Closed {
		for len(r.members) > 0 {
			r.expel(r.members[len(r.members)-1], proto.ErrRoomClosed)
		}
	}
	return nil
}

// event tells of the settings that concern all members.
func (s *Settings) event(room string) *proto.Event {
	return &proto.Event{Type: proto.EvRoomUpdated, Room: room, Host: s.host(), MaxUsers: s.maxUsers()}
}

// change puts settings in force and tells the members of what concerns them.
func (r *Room) change(next *Settings) {
	now := r.settings.Load()
	r.settings.Store(next)
	if next.Host != now.host() || next.MaxUsers != now.maxUsers() {
		r.tell(next.event(r.name), noticeSettings, nil)
	}
}

// store appends the settings to the log; the sink's turn answers the host.
func (r *Room) store(m Member, id string, s *Settings) *proto.Error {
	o := &outgoing{member: m, id: []byte(id)}
	o.To, o.Settings, o.SettingsOnly = r.name, s.marshal(), true
	o.Origin = o
	r.beginAppend() // the room is alive: its worker is at it
	if err := r.stream.Append(&o.Publish); err != nil {
		r.endAppend()
		return err
	}
	r.unsaved.Store(false)
	return nil
}

// expelUser puts all sessions of a user out of the room.
func (r *Room) expelUser(user string, code *proto.Code) {
	for i := len(r.members) - 1; i >= 0; i-- {
		if r.members[i].member.UserID() == user {
			r.expel(r.members[i], code)
		}
	}
}

// with returns the list with the user in it; lists are never changed in place.
func with(list []string, user string) []string {
	if slices.Contains(list, user) {
		return list
	}
	return append(slices.Clip(list), user)
}

func without(list []string, user string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(u string) bool { return u == user })
}
