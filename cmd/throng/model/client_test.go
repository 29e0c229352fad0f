package model

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
	"github.com/thronghq/throng/session"
)

// client is one device of a user: it has a connection or not, and remembers
// where it stood when it had one.
type client struct {
	user  string
	lazy  bool                  // it reads only when told to
	seen  map[string][]position // by room: where it has been, newest last
	pages []page                // pages of history that go on

	// While connected.
	session *session.Session
	conn    *conn
	streams map[string]*stream
	replies map[string]*reply // that have not come, by id
	marks   map[string]mark   // of frames that it has not read
	first   bool              // the session frame has come

	// What the step at hand must still bring.
	closes  map[string]string  // rooms that it is put out of, and why
	reports map[string]*report // of deliveries, by addressee's inbox
	heard   map[*message]bool  // in an inbox that it has not joined
	lags    map[string]uint64  // lag in such an inbox: the offset
	erased  []*message         // deletions in it, not told yet
}

// position is where a client stood in a room.
type position struct {
	epoch  string
	offset uint64
	millis int64 // of the message there, 0 where the client does not know
}

// stream is a connection's place in a room.
type stream struct {
	room     *truth
	epoch    string
	next     uint64 // the offset that follows
	born     int    // messages from this serial on are live
	echo     bool
	loose    bool // what is gone before the first message is no gap
	ending   bool // a command that ends it is on its way
	joined   bool // in this step
	members  int  // as the client was told last, and so are these
	host     string
	maxUsers int
	news     []presence // told in this step
	updates  int        // told in this step

	owed, may []*message // deleted, and not told yet: must it be, or may it
}

// reply is what answers a command.
type reply struct {
	command string
	check   func(e *event)
	acks    *message // the message that it acknowledges
}

// mark says what a frame means for its reader's position.
type mark struct {
	room string
	position
}

// report is a receipt that must come: of the message, or where it is uncertain
// also none.
type report struct {
	message *message
	may     bool // it may be missing
}

// page is where a page of history broke off.
type page struct {
	room   string
	query  query
	cursor string
	after  uint64 // the last offset on it
}

func newClient(user string) *client { return &client{user: user, seen: make(map[string][]position)} }

func (c *client) String() string { return c.user }

// connect opens a connection, with the token in the handshake or in an auth
// command, in one of the codecs.
func (w *world) connect(c *client, withAuth, inBinary bool) {
	if c.session != nil {
		return
	}
	token := token(c.user)
	var h session.Handshake
	if !withAuth {
		h.Authorization = "Bearer " + token
	}
	if inBinary {
		h.Protocols = []string{proto.BinarySubprotocol}
	}
	s, _, refused := w.sessions.Accept(h)
	if refused != nil {
		w.fail("%s is refused: %v", c, refused)
	}
	c.session, c.conn = s, newConn(w.faults, inBinary)
	c.streams, c.replies = make(map[string]*stream), make(map[string]*reply)
	c.marks, c.first = make(map[string]mark), false
	c.clearStep()
	s.Open(c.conn)
	if withAuth {
		w.send(c, `"type":"members","room":"lobby"`, w.refused(c, "lobby", "unauthenticated"))
		w.send(c, fmt.Sprintf(`"type":"auth","token":%q,"deviceInfo":{"type":"test","os":"none"}`, token), func(e *event) { w.opened(c, e) })
	}
}

// token signs a token for a user, which allows everything or what the rules say.
func token(user string, rules ...auth.Rule) string {
	token, err := auth.Sign(secret, user, 24*time.Hour, auth.SignOptions{Rooms: rules})
	if err != nil {
		panic(err)
	}
	return token
}

// reauth sends a fresh token that allows one room alone, so that the client is
// put out of the others but its inbox, and then one that allows everything.
func (w *world) reauth(c *client, r *truth) {
	for name, s := range c.streams {
		if s.room != r && s.room.owner() == "" {
			c.closes[name], s.ending = "forbidden", true
			s.room.depart(c.user, true)
		}
	}
	for _, token := range []string{token(c.user, auth.Rule{Match: r.name, Allow: auth.DefaultRights}), token(c.user)} {
		w.send(c, fmt.Sprintf(`"type":"auth","token":%q`, token), func(e *event) { w.opened(c, e) })
		w.calm()
	}
}

func (c *client) clearStep() {
	c.closes, c.reports = make(map[string]string), make(map[string]*report)
	c.erased = nil
	c.heard, c.lags = make(map[*message]bool), make(map[string]uint64)
	if c.conn != nil {
		c.conn.forget()
	}
	for _, s := range c.streams {
		s.joined, s.news, s.updates, s.ending = false, nil, 0, false
	}
}

// cut breaks the connection: what it had not read is lost.
func (w *world) cut(c *client) {
	if c.session == nil {
		return
	}
	c.hangUp()
	for _, name := range slices.Sorted(maps.Keys(c.streams)) {
		w.rooms[name].depart(c.user, false)
	}
	c.streams = nil
	if !slices.ContainsFunc(w.clients, func(other *client) bool { return other.user == c.user && other.session != nil }) {
		delete(w.status, c.user)
	}
}

// closed reports whether the server has closed the connection: what the client
// sends from then on is lost.
func (c *client) closed() bool {
	_, _, code := c.conn.state()
	return code != 0
}

func (c *client) hangUp() {
	if c.session != nil {
		c.session.Closed("")
		c.session, c.conn = nil, nil
	}
}

// send sends a command, given as the inside of a JSON object. Check gets its
// reply, which must come.
func (w *world) send(c *client, command string, check func(*event)) *reply {
	r, frame := w.prepare(c, command, check)
	c.say(frame)
	return r
}

// say sends frames, given as JSON, in the connection's codec.
func (c *client) say(frames ...[]byte) {
	for _, f := range frames {
		if c.conn.binary {
			c.session.Message(binary, toBinary(f))
		} else {
			c.session.Message(text, f)
		}
	}
}

// prepare is send without the sending of the frame.
func (w *world) prepare(c *client, command string, check func(*event)) (*reply, []byte) {
	w.command++
	id := strconv.Itoa(w.command)
	r := &reply{command: command, check: check}
	if check != nil {
		c.replies[id] = r
	}
	return r, fmt.Appendf(nil, `{"id":%q,%s}`, id, command)
}

// refused is a check for an error.
func (w *world) refused(c *client, name, code string) func(*event) {
	return func(e *event) {
		if e.Type != "error" || e.Code != code || e.Room != name {
			w.fail("%s got %v, want the error %s", c, e, code)
		}
	}
}

// opened checks a session frame.
func (w *world) opened(c *client, e *event) {
	if e.Type != "session" || e.UserID != c.user || e.Status != "online" {
		w.fail("%s got %v, want its session", c, e)
	}
	c.first = true
}

// calm lets the server do all that it can, looks at every frame, and lets those
// read that do so by themselves.
func (w *world) calm() {
	for busy := true; busy; {
		synctest.Wait()
		busy = false
		for _, c := range w.clients {
			if c.session == nil {
				continue
			}
			for _, e := range c.conn.look() {
				w.check(c, &e)
			}
			if !c.lazy && w.read(c, all) {
				busy = true
			}
		}
	}
}

// all is more frames than wait for anybody.
const all = 1 << 30

// read takes frames out of the client's outbox, which moves its positions. It
// reports whether there were any.
func (w *world) read(c *client, n int) bool {
	events, drained := c.conn.read(n)
	for i := range events {
		key := events[i].key()
		if m, ok := c.marks[key]; ok {
			delete(c.marks, key)
			c.seen[m.room] = append(c.seen[m.room], m.position)
		}
	}
	if drained {
		c.session.Drained()
	}
	return len(events) > 0
}

// key names a frame that moves a position: no two of a connection are the same.
func (e *event) key() string {
	return e.Type + " " + e.ID + " " + e.Room + " " + e.To + " " + e.MsgID + " " + strconv.FormatUint(e.After, 10)
}

// owner returns the user whose inbox a room is, "" for none.
func (r *truth) owner() string {
	if owner, inbox := room.InboxOwner(r.name); inbox {
		return owner
	}
	return ""
}
