package api

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/internal/httpcontent"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
)

// maxUsersMost is the largest bound that a room may have.
const maxUsersMost = 1<<31 - 1

func roomRoutes() []Route {
	routes := []Route{
		{Method: http.MethodGet, Pattern: "/rooms", Access: User, Params: []string{"prefix", "cursor", "limit"}, gzip: true, handle: (*call).listRooms},
		{Method: http.MethodPost, Pattern: "/rooms", Access: User, handle: (*call).createRoom},
		{Method: http.MethodGet, Pattern: "/rooms/{room}", Access: User, handle: (*call).getRoom},
		{Method: http.MethodPatch, Pattern: "/rooms/{room}", Access: User, handle: (*call).changeRoom},
		{Method: http.MethodDelete, Pattern: "/rooms/{room}", Access: User, handle: (*call).deleteRoom},
		{Method: http.MethodGet, Pattern: "/rooms/{room}/members", Access: User, Params: pageParams, gzip: true, handle: (*call).listMembers},
	}
	for _, m := range []struct {
		path   string
		action proto.HostAction
		user   bool // the body names one
	}{
		{"kick", proto.HostKick, true},
		{"ban", proto.HostBan, true},
		{"unban", proto.HostUnban, true},
		{"mute", proto.HostMute, true},
		{"unmute", proto.HostUnmute, true},
		{"hand-over", proto.HostHandOver, true},
		{"close", proto.HostClose, false},
		{"reopen", proto.HostReopen, false},
	} {
		routes = append(routes, Route{
			Method: http.MethodPost, Pattern: "/rooms/{room}/" + m.path, Access: User,
			handle: func(c *call) *proto.Error { return c.moderate(m.action, m.user) },
		})
	}
	return routes
}

// place is the room that a request names.
type place struct {
	name string
	ns   *proto.Namespace
}

// room returns the room in the request's path.
func (c *call) room() (place, *proto.Error) {
	name := c.r.PathValue("room")
	ns, err := c.api.Hub.Namespace("room", name)
	return place{name, ns}, err
}

// visible returns the room in the path where the caller may join or read it.
func (c *call) visible() (place, *proto.Error) {
	p, err := c.room()
	if err == nil && c.allow(auth.RightJoin, p.name) != nil {
		err = c.allow(auth.RightRead, p.name)
	}
	return p, err
}

// actor is the caller, as the room asks for it.
func (c *call) actor(p place) room.Actor {
	return room.Actor{UserID: c.identity.UserID, Manage: c.allow(auth.RightManage, p.name) == nil}
}

// summary is a room in a list.
type summary struct {
	Room        string `json:"room"`
	Host        string `json:"host,omitzero"`
	MaxUsers    int    `json:"maxUsers,omitzero"`
	Closed      bool   `json:"closed"`
	Members     int    `json:"members"`
	Offset      uint64 `json:"offset"`
	LastMessage int64  `json:"lastMessage,omitzero"`
}

// listRooms answers with a page of the rooms that the caller may join or read.
func (c *call) listRooms() *proto.Error {
	prefix := c.query.text("prefix", proto.MaxRoomName+len(proto.UserNamespace)+1)
	cursor, limit := c.query.page()
	if c.query.err != nil {
		return c.query.err
	}
	found, next, err := c.api.Hub.ListRooms(prefix, cursor, limit)
	if err != nil {
		return err
	}
	answer := struct {
		Rooms []summary `json:"rooms"`
		Next  string    `json:"next,omitzero"`
	}{[]summary{}, next}
	for _, r := range found {
		if c.allow(auth.RightJoin, r.Name) != nil && c.allow(auth.RightRead, r.Name) != nil {
			continue
		}
		answer.Rooms = append(answer.Rooms, summary{r.Name, r.Host, r.MaxUsers, r.Closed, r.Members, r.Offset, r.LastMessage})
	}
	return c.json(http.StatusOK, answer)
}

// settings reads the settings that a body asks for.
func (o *object) settings() room.RoomSettings {
	s := room.RoomSettings{Host: o.optionalText("host", auth.MaxUserID), Closed: o.boolean("closed")}
	if s.Host != nil && o.err == nil {
		o.err = auth.CheckUserID("host", *s.Host)
	}
	if n := o.integer("maxUsers", 0, maxUsersMost); n != nil {
		most := int(min(*n, maxUsersMost))
		s.MaxUsers = &most
	}
	return s
}

func (c *call) createRoom() *proto.Error {
	body := c.object("room", "maxUsers", "host")
	name, wanted := body.text("room", proto.MaxRoomName), body.settings()
	if body.err != nil {
		return body.err
	}
	ns, err := c.api.Hub.Namespace("room", name)
	if err != nil {
		return err
	}
	if err := c.allow(auth.RightCreate, name); err != nil {
		return err
	}
	p := place{name, ns}
	by := c.actor(p)
	info, err := await(c, func(done func(room.RoomInfo, *proto.Error)) {
		c.api.Hub.CreateRoom(by, name, ns, wanted, done)
	})
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", base+"/rooms/"+url.PathEscape(name))
	return c.answerRoom(http.StatusCreated, by, &info)
}

func (c *call) getRoom() *proto.Error {
	p, err := c.visible()
	if err != nil {
		return err
	}
	info, err := await(c, func(done func(room.RoomInfo, *proto.Error)) { c.api.Hub.RoomInfo(p.name, p.ns, done) })
	if err != nil {
		return err
	}
	return c.answerRoom(http.StatusOK, c.actor(p), &info)
}

func (c *call) changeRoom() *proto.Error {
	p, err := c.visible()
	if err != nil {
		return err
	}
	body := c.object("maxUsers", "closed", "host")
	wanted := body.settings()
	if len(body.fields) == 0 {
		body.fail(proto.ErrInvalidField.With("the body changes nothing; maxUsers, closed or host is expected"))
	}
	if body.err != nil {
		return body.err
	}
	ifVersion, err := ifVersion(c.r.Header.Get("If-Match"))
	if err != nil {
		return err
	}
	by := c.actor(p)
	info, err := await(c, func(done func(room.RoomInfo, *proto.Error)) {
		c.api.Hub.ChangeRoom(by, p.name, p.ns, wanted, ifVersion, done)
	})
	if err != nil {
		return err
	}
	return c.answerRoom(http.StatusOK, by, &info)
}

// answerRoom answers with a room as the actor may see it.
func (c *call) answerRoom(status int, by room.Actor, r *room.RoomInfo) *proto.Error {
	answer := struct {
		Room        string   `json:"room"`
		Host        string   `json:"host,omitzero"`
		MaxUsers    int      `json:"maxUsers,omitzero"`
		Closed      bool     `json:"closed"`
		Members     int      `json:"members"`
		Epoch       string   `json:"epoch"`
		Offset      uint64   `json:"offset"`
		Oldest      uint64   `json:"oldest"`
		LastMessage int64    `json:"lastMessage,omitzero"`
		CreatedAt   int64    `json:"createdAt,omitzero"` // not known of inboxes
		Banned      []string `json:"banned,omitzero"`
		Muted       []string `json:"muted,omitzero"`
	}{
		Room: r.Name, Host: r.Host, MaxUsers: r.MaxUsers, Closed: r.Closed, Members: r.Members, Epoch: r.Epoch,
		Offset: r.Offset, Oldest: r.Oldest, LastMessage: r.LastMessage, CreatedAt: r.CreatedAt,
	}
	if by.Manage || r.Host == by.UserID {
		answer.Banned, answer.Muted = listOf(r.Banned), listOf(r.Muted)
	}
	body := marshal(answer)
	return c.tagged(status, roomTag(r.Version, body), body)
}

// listOf makes an empty list of none at all.
func listOf(users []string) []string {
	if users == nil {
		return []string{}
	}
	return users
}

// A room's tag is a strong one of the whole answer, with the version of the
// settings before it. The members and messages that come and go change the tag,
// and so what a reader has is told from what there is; a change of the settings
// asks for the version alone, or none would ever find its room as it was read.
func roomTag(version uint64, body []byte) string {
	return `"` + strconv.FormatUint(version, 10) + "-" + httpcontent.StrongTag(body)[1:]
}

// ifVersion reads an If-Match header with a room's tag, nil for none or for any.
func ifVersion(header string) (*uint64, *proto.Error) {
	header = strings.TrimSpace(header)
	if header == "" || header == "*" {
		return nil, nil
	}
	version, _, found := strings.Cut(strings.TrimPrefix(header, `"`), "-")
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil || !found || header[0] != '"' || !strings.HasSuffix(header, `"`) {
		return nil, proto.ErrPrecondition.With("If-Match is %.60q, which is no ETag of this room", header)
	}
	return &n, nil
}

func (c *call) deleteRoom() *proto.Error {
	p, err := c.visible()
	if err != nil {
		return err
	}
	return c.act(func(done func(*proto.Error)) { c.api.Hub.DeleteRoom(c.actor(p), p.name, p.ns, done) })
}

// act waits for something that answers with an error at most, and says so.
func (c *call) act(start func(done func(*proto.Error))) *proto.Error {
	_, err := await(c, func(done func(struct{}, *proto.Error)) {
		start(func(err *proto.Error) { done(struct{}{}, err) })
	})
	if err != nil {
		return err
	}
	return c.done()
}

func (c *call) listMembers() *proto.Error {
	p, err := c.room()
	if err != nil {
		return err
	}
	if err := c.allow(auth.RightMembers, p.name); err != nil {
		return err
	}
	cursor, limit := c.query.page()
	if c.query.err != nil {
		return c.query.err
	}
	type member struct {
		UserID string `json:"userId"`
		Status string `json:"status"`
	}
	type page struct {
		Members []member `json:"members"`
		Next    string   `json:"next,omitzero"`
		Total   int      `json:"total"`
	}
	answer, err := await(c, func(done func(page, *proto.Error)) {
		c.api.Hub.ListMembers(p.name, p.ns, cursor, limit, func(list []proto.MemberInfo, next string, total int, err *proto.Error) {
			found := page{make([]member, len(list)), next, total}
			for i, m := range list {
				found.Members[i] = member(m)
			}
			done(found, err)
		})
	})
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, answer)
}

// moderate does what a room's host may do.
func (c *call) moderate(action proto.HostAction, named bool) *proto.Error {
	p, err := c.visible()
	if err != nil {
		return err
	}
	var user string
	if named {
		body := c.object("userId")
		user = body.text("userId", auth.MaxUserID)
		err = body.err
	} else {
		err = c.noBody()
	}
	if err == nil && named {
		err = auth.CheckUserID("userId", user)
	}
	if err != nil {
		return err
	}
	return c.act(func(done func(*proto.Error)) { c.api.Hub.Moderate(c.actor(p), p.name, p.ns, action, user, done) })
}

// tagged answers with a body that has a tag, or with 304 where the client has
// it already.
func (c *call) tagged(status int, tag string, body []byte) *proto.Error {
	c.w.Header().Set("ETag", tag)
	given := c.r.Header.Values("If-None-Match")
	if status == http.StatusOK && len(given) > 0 && isRead(c.r.Method) && httpcontent.ListsTag(given, tag) {
		c.write(http.StatusNotModified, "", nil)
		return nil
	}
	c.write(status, "application/json", body)
	return nil
}

func isRead(method string) bool { return method == http.MethodGet || method == http.MethodHead }
