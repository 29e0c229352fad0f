package session

import (
	"net/netip"
	"slices"

	"github.com/thronghq/throng/proto"
)

// Info is what an operator learns about a live session.
type Info struct {
	SessionID    string
	UserID       string
	Login        string // the login session that its token belongs to, "" for none
	Address      string // the client's, "" for unknown
	DeviceType   string // as the client says, and so is DeviceOS
	DeviceOS     string
	Codec        string   // the subprotocol
	Via          string   // Via.String
	ConnectedAt  int64    // Unix ms
	TokenExpires int64    // Unix ms, 0 for never
	Rooms        []string // joined or being joined, by name
}

// info returns what is known of the session, whose user is.
func (s *Session) info() Info {
	id := s.identity.Load()
	i := Info{
		SessionID: s.ID(), UserID: id.UserID, Login: id.Session,
		Codec: s.Codec().Subprotocol(), Via: s.via.String(), ConnectedAt: s.connectedAt,
	}
	if a := s.Address(); a.IsValid() {
		i.Address = a.String()
	}
	if !id.Expires.IsZero() {
		i.TokenExpires = id.Expires.UnixMilli()
	}
	i.DeviceType, i.DeviceOS = s.device()
	s.mu.Lock()
	defer s.mu.Unlock()
	places := s.placesLocked()
	i.Rooms = make([]string, len(places))
	for n, ms := range places {
		i.Rooms[n] = ms.Room()
	}
	slices.Sort(i.Rooms)
	return i
}

// Address is the client's; not valid where it is not known.
func (s *Session) Address() netip.Addr { return s.conn.Address().Unmap() }

// Filter selects sessions. Fields that are "" select all.
type Filter struct {
	UserID string
	Room   string // that they have joined, or are joining
}

const (
	maxListed = 1000   // sessions in one page
	maxLooked = 20_000 // sessions that are looked at for one page
)

// List returns a page of the live sessions that the filter selects, limit or
// maxListed at the most, and the cursor of the next page, "" where there is none.
// A page may be short, and even empty, before the end: maxLooked sessions are
// looked at for one. The first page has no cursor. It is for administrators and
// takes up to some milliseconds.
func (m *Manager) List(f Filter, cursor string, limit int) (list []Info, next string, _ *proto.Error) {
	var after [16]byte
	if cursor != "" {
		var ok bool
		if after, ok = parseID(cursor); !ok {
			return nil, "", proto.ErrBadCursor.With("field \"cursor\" is %.60q; it must be the next of a page of sessions", cursor)
		}
	}
	if limit <= 0 || limit > maxListed {
		limit = maxListed
	}
	looked := 0
	var last [16]byte
	visit := func(s *Session) bool {
		more := f.Room == "" || s.in(f.Room)
		if looked == maxLooked || more && len(list) == limit {
			next = formatID(last)
			return false
		}
		looked++
		last = s.id
		if more {
			list = append(list, s.info())
		}
		return true
	}
	if f.UserID != "" {
		m.Directory.walkUser(f.UserID, after, visit)
	} else {
		m.Directory.walk(after, visit)
	}
	return list, next, nil
}

// in reports whether the session has joined the room, or is joining it.
func (s *Session) in(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.findPlaceLocked(name) != nil
}

// Get returns one live session.
func (m *Manager) Get(sessionID string) (Info, bool) {
	s := m.find(sessionID)
	if s == nil {
		return Info{}, false
	}
	return s.info(), true
}

// Disconnect closes one live session for the given reason. It reports false
// where there is none of that id.
func (m *Manager) Disconnect(sessionID string, err *proto.Error) bool {
	s := m.find(sessionID)
	if s == nil {
		return false
	}
	s.Close(err)
	return true
}

func (m *Manager) find(sessionID string) *Session {
	id, ok := parseID(sessionID)
	if !ok {
		return nil
	}
	return m.Directory.find(id)
}
