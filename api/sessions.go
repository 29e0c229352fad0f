package api

import (
	"net/http"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/session"
)

func sessionRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Pattern: "/sessions", Access: User, Params: []string{"userId", "room", "cursor", "limit"}, gzip: true, handle: (*call).listSessions},
		{Method: http.MethodGet, Pattern: "/sessions/{id}", Access: User, handle: (*call).getSession},
		{Method: http.MethodDelete, Pattern: "/sessions/{id}", Access: User, handle: (*call).disconnect},
	}
}

// liveSession is a connection, as administrators and its own user see it.
type liveSession struct {
	SessionID   string     `json:"sessionId"`
	UserID      string     `json:"userId"`
	Login       string     `json:"login,omitzero"`
	Address     string     `json:"address"`
	DeviceInfo  deviceInfo `json:"deviceInfo"`
	Codec       string     `json:"codec"`
	Via         string     `json:"via"`
	ConnectedAt int64      `json:"connectedAt"`
	ExpiresAt   int64      `json:"expiresAt,omitzero"`
	Rooms       []string   `json:"rooms"`
}

type deviceInfo struct {
	Type string `json:"type"`
	OS   string `json:"os"`
}

func sessionOf(i *session.Info) liveSession {
	return liveSession{
		i.SessionID, i.UserID, i.Login, i.Address,
		deviceInfo{i.DeviceType, i.DeviceOS},
		i.Codec, i.Via, i.ConnectedAt, i.TokenExpires, listOf(i.Rooms),
	}
}

func (c *call) listSessions() *proto.Error {
	f := session.Filter{UserID: c.query.text("userId", auth.MaxUserID), Room: c.query.text("room", 2*proto.MaxRoomName)}
	cursor, limit := c.query.page()
	if c.query.err != nil {
		return c.query.err
	}
	if !c.identity.Admin {
		if f.UserID != "" && f.UserID != c.identity.UserID {
			return proto.ErrForbidden.With("user %q is no administrator, and sees own connections only", c.identity.UserID)
		}
		f.UserID = c.identity.UserID
	}
	found, next, err := c.api.Sessions.List(f, cursor, limit)
	if err != nil {
		return err
	}
	answer := struct {
		Sessions []liveSession `json:"sessions"`
		Next     string        `json:"next,omitzero"`
	}{make([]liveSession, len(found)), next}
	for i := range found {
		answer.Sessions[i] = sessionOf(&found[i])
	}
	return c.json(http.StatusOK, answer)
}

// session returns the connection in the path. That of another user is not there
// for anybody but administrators.
func (c *call) session() (session.Info, *proto.Error) {
	id := c.r.PathValue("id")
	info, found := c.api.Sessions.Get(id)
	if !found || info.UserID != c.identity.UserID && !c.identity.Admin {
		return session.Info{}, proto.ErrNotFound.With("there is no connection %.64q", id)
	}
	return info, nil
}

func (c *call) getSession() *proto.Error {
	info, err := c.session()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, sessionOf(&info))
}

func (c *call) disconnect() *proto.Error {
	info, err := c.session()
	if err != nil {
		return err
	}
	c.api.Sessions.Disconnect(info.SessionID, proto.ErrDisconnected.New()) // it may have gone by itself: as good
	return c.done()
}
