package room

// Observer is told of what happens in all rooms. Its methods are called by the
// rooms' workers, for one room in the order in which things happen, and must
// not block: a room waits for them.
type Observer interface {
	// Opened tells that a room without users has got its first one.
	Opened(room string)

	// Emptied tells that a room's last user has gone.
	Emptied(room string)

	// Joined tells of a user's first session in the room, after Opened.
	Joined(room, user string)

	// Left tells that a user does not count as a member any more, before
	// Emptied.
	Left(room, user string)

	// Published tells of committed messages, from the first offset to the
	// last.
	Published(room, epoch string, first, last uint64)
}

// entered tells the observer of a user who was not in the room before.
func (r *Room) entered(user string) {
	o := r.hub.observer
	if o == nil {
		return
	}
	if r.userCount() == 1 {
		o.Opened(r.name)
	}
	o.Joined(r.name, user)
}

// departed tells the observer of a user who is not in the room any more.
func (r *Room) departed(user string) {
	o := r.hub.observer
	if o == nil {
		return
	}
	o.Left(r.name, user)
	if r.userCount() == 0 {
		o.Emptied(r.name)
	}
}
