package room

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

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
	Created  int64    `json:"createdAt,omitempty"` // Unix ms
	Version  uint64   `json:"version,omitempty"`
}

// newSettings returns those of a room that is created now. The version rises
// with each change, and is another one than that of an earlier room of the name.
func newSettings(host string, now time.Time) *Settings {
	millis := now.UnixMilli()
	return &Settings{Host: host, Created: millis, Version: uint64(millis)}
}

// edited returns a copy to change, with the next version.
func (s *Settings) edited(now time.Time) *Settings {
	if s == nil {
		return &Settings{Version: uint64(now.UnixMilli())}
	}
	next := *s
	next.Version++
	return &next
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

func (s *Settings) version() uint64 {
	if s == nil {
		return 0
	}
	return s.Version
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
	if !r.fresh() || r.userCount() > 0 {
		return nil
	}
	if !may {
		return proto.ErrForbidden.With("room %q does not exist, and user %q lacks the right to create it", r.name, user)
	}
	if r.ns.Hosts {
		r.settings.Store(newSettings(user, r.hub.now()))
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
	Manage bool // the user has the right to act as the host
}

// Host carries out a command of the room's host. The answer comes once the new
// settings are stored; kicks are answered at once.
func (h *Hub) Host(m Member, name string, ns *proto.Namespace, req HostRequest) {
	answer := func(err *proto.Error) {
		if err != nil {
			sendError(m, req.ID, name, err)
			return
		}
		m.Send(&proto.Event{Type: proto.EvHost, ID: []byte(req.ID), Room: name})
	}
	h.post(name, ns, func(r *Room, err *proto.Error) {
		if err != nil {
			answer(err)
			return
		}
		r.moderate(Actor{UserID: m.UserID(), Manage: req.Manage}, req, answer)
	})
}

// mayRule refuses who is neither the room's host nor may act as one.
func (r *Room) mayRule(by Actor) *proto.Error {
	if host := r.settings.Load().host(); by.Manage || host != "" && host == by.UserID {
		return nil
	}
	return proto.ErrNotHost.New()
}

// moderate carries out a host's command. Done is called once, with nil when
// what it changed is stored.
func (r *Room) moderate(by Actor, req HostRequest, done func(*proto.Error)) {
	if err := r.mayRule(by); err != nil {
		done(err)
		return
	}
	if req.Action == proto.HostKick {
		r.expelUser(req.User, proto.ErrKicked)
		done(nil)
		return
	}
	next := r.settings.Load().edited(r.hub.now())
	if err := next.apply(r.name, req); err != nil {
		done(err)
		return
	}
	r.amend(next, done)
}

// apply changes the settings as a command asks.
func (s *Settings) apply(room string, req HostRequest) *proto.Error {
	switch req.Action {
	case proto.HostMaxUsers:
		s.MaxUsers = req.Max
	case proto.HostBan:
		if req.User == s.Host {
			return proto.ErrInvalidField.With("field \"ban\" is %.40q, the room's own host", req.User)
		}
		s.Banned = with(s.Banned, req.User)
	case proto.HostUnban:
		s.Banned = without(s.Banned, req.User)
	case proto.HostMute:
		s.Muted = with(s.Muted, req.User)
	case proto.HostUnmute:
		s.Muted = without(s.Muted, req.User)
	case proto.HostHandOver:
		s.appoint(req.User)
	case proto.HostClose:
		s.Closed = true
	case proto.HostReopen:
		s.Closed = false
	default:
		return proto.ErrInvalidField.With("the host command names none of maxUsers, kick, ban, unban, mute, unmute, handOver, close")
	}
	if len(s.Banned) > maxListed || len(s.Muted) > maxListed {
		return proto.ErrOverloaded.With("room %q has %d users on that list, as many as fit", room, maxListed)
	}
	return nil
}

// amend puts settings in force at once; done is called when they are stored. Who
// may not be in the room any more is put out.
func (r *Room) amend(next *Settings, done func(*proto.Error)) {
	now := r.settings.Load()
	if err := r.store(next, done); err != nil {
		done(err)
		return
	}
	r.change(next)
	var banned []string
	if now != nil {
		banned = now.Banned
	}
	for _, user := range added(banned, next.Banned) {
		r.expelUser(user, proto.ErrBanned)
	}
	if next.Closed && !now.closed() {
		r.expelAll(proto.ErrRoomClosed)
	}
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

// store gives the settings to the log.
func (r *Room) store(s *Settings, done func(*proto.Error)) *proto.Error {
	e := &edit{done: func(err *proto.Error) {
		if err != nil {
			r.unsaved.Store(true) // they are in force: the next message stores them
		}
		done(err)
	}}
	e.To, e.Settings, e.SettingsOnly, e.Durable = r.name, s.marshal(), true, true
	if err := r.submitEdit(e); err != nil {
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

// appoint makes a user the host. Bans and mutes are the host's to say, and do not
// hold for the host.
func (s *Settings) appoint(user string) {
	s.Host = user
	s.Banned, s.Muted = without(s.Banned, user), without(s.Muted, user)
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
