package room

import (
	"cmp"
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	"github.com/thronghq/throng/proto"
)

// RoomSummary is what a list tells of a room.
type RoomSummary struct {
	Name        string
	Host        string // "" for none
	MaxUsers    int    // 0 for no bound
	Members     int    // distinct users
	Closed      bool
	Offset      uint64 // of the last message, 0 for none
	LastMessage int64  // its time, Unix ms
}

// listPage is how many rooms one page lists at most.
const listPage = 1000

// ListRooms lists the rooms whose names begin with prefix, in the order of their
// names' bytes, after the one that the cursor names: those in memory and those
// that are only stored, which it does not wake. Limit is at most 1,000; a page may
// be shorter, and next is "" after the last one. It blocks while it reads from the
// disk, so that nothing on a poller may call it.
func (h *Hub) ListRooms(prefix, cursor string, limit int) (list []RoomSummary, next string, _ *proto.Error) {
	after, err := listAfter(cursor)
	if err != nil {
		return nil, "", err
	}
	if limit <= 0 || limit > listPage {
		limit = listPage
	}
	stored, failed := h.log.Rooms(prefix, after, limit+1)
	if failed != nil {
		h.logger.Error("the stored rooms could not be listed", "error", failed)
		return nil, "", proto.ErrStorage.With("the stored rooms could not be read from the disk")
	}
	m := h.listAwake(prefix, after, limit+1)
	for _, s := range stored {
		if err := m.add(&s); err != nil {
			h.logger.Error("a stored room could not be listed", "room", s.Name, "error", err)
			return nil, "", proto.ErrStorage.With("the room %q could not be read from the disk", s.Name)
		}
	}
	if len(stored) > limit {
		m.upTo(stored[limit].Name)
	}
	return m.page(limit)
}

// merger puts the rooms in memory and the stored ones into one list.
type merger struct {
	list    []RoomSummary
	known   map[string]bool // rooms in memory: what is stored of them does not count
	horizon string          // the list is complete up to this name; "" for all names
}

// listAwake lists the rooms that are awake, at most limit. However many those
// are, it holds no more than twice as many at once.
func (h *Hub) listAwake(prefix, after string, limit int) *merger {
	m := &merger{known: make(map[string]bool)}
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.RLock()
		for name, r := range s.rooms {
			if name <= after || m.beyond(name) || !strings.HasPrefix(name, prefix) || !r.awake.Load() {
				continue
			}
			m.known[name] = true
			if r.exists() && r.settings.Load() != endedSettings {
				if m.list = append(m.list, r.summary()); len(m.list) == 2*limit {
					m.cut(limit)
				}
			}
		}
		s.mu.RUnlock()
	}
	if len(m.list) > limit {
		m.cut(limit)
	}
	return m
}

// cut keeps the first rooms by name, of which there are more.
func (m *merger) cut(limit int) {
	slices.SortFunc(m.list, byName)
	m.list = m.list[:limit]
	m.upTo(m.list[limit-1].Name)
	maps.DeleteFunc(m.known, func(name string, _ bool) bool { return m.beyond(name) })
}

func byName(a, b RoomSummary) int { return cmp.Compare(a.Name, b.Name) }

// summary tells of a room that is awake. Any goroutine may ask.
func (r *Room) summary() RoomSummary {
	s := r.settings.Load()
	return RoomSummary{
		Name: r.name, Host: s.host(), MaxUsers: s.maxUsers(), Members: int(r.users.Load()), Closed: s.closed(),
		Offset: r.head.Load(), LastMessage: r.headTime.Load() / 1000,
	}
}

// add takes a stored room.
func (m *merger) add(stored *proto.StoredRoom) error {
	if m.known[stored.Name] {
		return nil
	}
	s, err := parseSettings(stored.Settings)
	if err != nil {
		return err
	}
	m.list = append(m.list, RoomSummary{
		Name: stored.Name, Host: s.host(), MaxUsers: s.maxUsers(), Closed: s.closed(),
		Offset: stored.Offset, LastMessage: stored.Time / 1000,
	})
	return nil
}

// upTo says that beyond a name the list may lack rooms.
func (m *merger) upTo(name string) {
	if m.horizon == "" || name < m.horizon {
		m.horizon = name
	}
}

// beyond reports that a name is further than the list goes.
func (m *merger) beyond(name string) bool { return m.horizon != "" && name > m.horizon }

func (m *merger) page(limit int) (list []RoomSummary, next string, _ *proto.Error) {
	slices.SortFunc(m.list, byName)
	list = m.list
	if m.horizon != "" {
		list = slices.DeleteFunc(list, func(s RoomSummary) bool { return m.beyond(s.Name) })
		next = m.horizon
	}
	if len(list) > limit {
		list = list[:limit]
		next = list[limit-1].Name
	}
	if next != "" {
		next = listCursor(next)
	}
	return list, next, nil
}

// listCursor names the place after a room in the list.
func listCursor(name string) string {
	return base64.RawURLEncoding.EncodeToString([]byte("\n" + name)) // no other cursor begins so
}

func listAfter(cursor string) (after string, _ *proto.Error) {
	if cursor == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(b) < 2 || b[0] != '\n' {
		return "", proto.ErrBadCursor.With("field \"cursor\" is %.60q; it must be the next of a page of rooms", cursor)
	}
	return string(b[1:]), nil
}
