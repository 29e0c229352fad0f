package room

import (
	"github.com/thronghq/throng/proto"
)

// RoomInfo is what can be known of a room. The lists are shared and must not be
// changed.
type RoomInfo struct {
	Name        string
	Host        string // "" for none
	Epoch       string
	MaxUsers    int // 0 for no bound
	Members     int // distinct users
	Closed      bool
	Oldest      uint64 // the lowest offset that can be read, the next message's where none can
	Offset      uint64 // of the last message, 0 for none
	LastMessage int64  // its time, Unix ms
	CreatedAt   int64  // Unix ms, 0 for unknown
	Banned      []string
	Muted       []string
	Version     uint64 // another one after each change of the settings
}

// RoomInfo tells of a room that somebody has created; for another one Done gets
// ErrNotFound.
func (h *Hub) RoomInfo(name string, ns *proto.Namespace, done func(RoomInfo, *proto.Error)) {
	h.existing(name, ns, func(r *Room, err *proto.Error) {
		if err != nil {
			done(RoomInfo{}, err)
			return
		}
		r.inform(done)
	})
}

// inform gives done the room as it is now.
func (r *Room) inform(done func(RoomInfo, *proto.Error)) {
	r.touch()
	info := RoomInfo{
		Name: r.name, Epoch: r.epoch, Members: r.userCount(),
		Offset: r.head.Load(), LastMessage: r.headTime.Load() / 1000,
	}
	if s := r.settings.Load(); s != nil {
		info.Host, info.MaxUsers, info.Closed = s.Host, s.MaxUsers, s.Closed
		info.CreatedAt, info.Version = s.Created, s.Version
		info.Banned, info.Muted = s.Banned, s.Muted
	}
	r.hub.readers.submit(&infoJob{room: r, info: info, done: done})
}

// infoJob asks the log for what only it knows.
type infoJob struct {
	room *Room
	info RoomInfo
	done func(RoomInfo, *proto.Error)
}

func (j *infoJob) run() {
	oldest, err := j.room.oldest(j.info.Offset)
	if err != nil {
		j.done(RoomInfo{}, err)
		return
	}
	j.info.Oldest = oldest
	j.done(j.info, nil)
}

// oldest returns the lowest offset up to head that can be read, and head + 1
// where none can. It may block.
func (r *Room) oldest(head uint64) (uint64, *proto.Error) {
	first := head + 1
	err := r.read(proto.Range{Before: head + 1, Limit: 1}, func(m *proto.Message) bool {
		first = m.Offset
		return false
	})
	if err != nil {
		r.hub.logger.Error("a room's oldest message could not be read", "room", r.name, "error", err)
		return 0, proto.ErrStorage.With("the history of room %q could not be read", r.name)
	}
	return first, nil
}
