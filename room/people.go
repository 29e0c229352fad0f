package room

// Status is what a user says of itself.
type Status uint8

// The statuses. A user without a session has none.
const (
	Online Status = iota
	Away
	Busy
)

// String returns the status as the wire has it.
func (s Status) String() string { return [...]string{Online: "online", Away: "away", Busy: "busy"}[s] }

// ParseStatus reads what String writes.
func ParseStatus(text string) (Status, bool) {
	for _, s := range []Status{Online, Away, Busy} {
		if s.String() == text {
			return s, true
		}
	}
	return Online, false
}

// People are the users who are connected, whichever rooms they are in. The
// methods are safe for concurrent use and never block.
type People interface {
	// Members appends the user's connections that can be sent something.
	Members(dst []Member, user string) []Member

	// Status returns what the user says of itself; Online for who has not
	// said anything since the first of its connections.
	Status(user string) Status
}

// nobody is the People of a hub that has been given none.
type nobody struct{}

// Members implements People.
func (nobody) Members(dst []Member, _ string) []Member { return dst }

// Status implements People.
func (nobody) Status(string) Status { return Online }
