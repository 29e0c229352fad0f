package room

import "github.com/thronghq/throng/proto"

// edit is a change of a room's settings or of its log on its way through the
// log. It takes its turn among the messages.
type edit struct {
	proto.Publish

	room *Room
	done func(err *proto.Error) // on the room's worker; nil when the change is stored
}

// submitEdit gives an edit to the log. Where it returns an error, done is not
// called.
func (r *Room) submitEdit(e *edit) *proto.Error {
	e.prepare(r)
	if !r.beginAppend() {
		return r.absent()
	}
	if err := r.stream.Append(&e.Publish); err != nil {
		r.endAppend()
		return err
	}
	return nil
}

func (e *edit) prepare(r *Room) { e.room, e.Origin = r, e }

// absent is the answer of a room that has left memory meanwhile.
func (r *Room) absent() *proto.Error { return overloadedBy("room %q has just left memory", r.name) }

// landed takes an edit that the log has given back.
func (e *edit) landed(*Room, *proto.Error) {
	e.Origin = nil
	e.room.touch()
	e.done(e.Err)
}
