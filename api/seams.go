package api

import (
	"context"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/internal/budget"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
	"github.com/thronghq/throng/session"
)

// The interfaces of what the API asks of its neighbours. All are safe for
// concurrent use.

// Memory is the budget that all parts of the server share. *budget.Budget is one.
type Memory interface {
	// Kind returns the account of what is held for one purpose.
	Kind(name string) *budget.Kind
	// Watch takes a function that lists those who can be ended for what they
	// hold.
	Watch(list func(dst []budget.Holder) []budget.Holder)
	// Full reports that no request should be begun.
	Full() bool
}

// Verifier says whom a token or an API key names. *auth.Verifier is one.
type Verifier interface {
	Verify(token []byte) (*auth.Identity, *proto.Error)
}

// Authorizer decides what somebody may do in a room. *auth.Authorizer is one.
type Authorizer interface {
	Allow(id *auth.Identity, right auth.Right, room string) *proto.Error
}

// Accounts keeps the server's own users. Its methods may block until their
// context ends. *auth.Accounts is one.
type Accounts interface {
	logins
	loginSessions
	users
	keys
}

type logins interface {
	Register(ctx context.Context, name, password string, from auth.Client) (*auth.User, *proto.Error)
	Login(ctx context.Context, name, password string, from auth.Client) (*auth.Tokens, *proto.Error)
	Refresh(ctx context.Context, refreshToken string, from auth.Client) (*auth.Tokens, *proto.Error)
	Logout(ctx context.Context, session string) *proto.Error
	LogoutToken(ctx context.Context, refreshToken string) *proto.Error
	ChangePassword(ctx context.Context, user, keepSession, old, new string, from auth.Client) *proto.Error
}

type loginSessions interface {
	Sessions(ctx context.Context, user, cursor string, limit int) ([]auth.LoginSession, string, *proto.Error)
	RevokeSession(ctx context.Context, user, session string) *proto.Error
	RevokeUser(ctx context.Context, user string) *proto.Error
	RevokeToken(ctx context.Context, tokenID string, expires time.Time) *proto.Error
}

type users interface {
	CreateUser(ctx context.Context, name, password string, admin bool) (*auth.User, *proto.Error)
	User(ctx context.Context, name string) (*auth.User, *proto.Error)
	Users(ctx context.Context, prefix, cursor string, limit int) ([]auth.User, string, *proto.Error)
	SetPassword(ctx context.Context, name, password string) *proto.Error
	SetDisabled(ctx context.Context, name string, disabled bool) *proto.Error
	SetAdmin(ctx context.Context, name string, admin bool) *proto.Error
	DeleteUser(ctx context.Context, name string) *proto.Error
}

type keys interface {
	CreateKey(ctx context.Context, key auth.APIKey) (auth.APIKey, string, *proto.Error)
	Keys(ctx context.Context, cursor string, limit int) ([]auth.APIKey, string, *proto.Error)
	Key(ctx context.Context, id string) (auth.APIKey, *proto.Error)
	RevokeKey(ctx context.Context, id string) *proto.Error
}

// Rooms is the hub. Its callbacks come once and must not block. *room.Hub is
// one.
type Rooms interface {
	Namespace(field, name string) (*proto.Namespace, *proto.Error)
	roomSettings
	roomContents
}

type roomSettings interface {
	CreateRoom(by room.Actor, name string, ns *proto.Namespace, s room.RoomSettings, done func(room.RoomInfo, *proto.Error))
	RoomInfo(name string, ns *proto.Namespace, done func(room.RoomInfo, *proto.Error))
	ChangeRoom(by room.Actor, name string, ns *proto.Namespace, s room.RoomSettings, ifVersion *uint64, done func(room.RoomInfo, *proto.Error))
	DeleteRoom(by room.Actor, name string, ns *proto.Namespace, done func(*proto.Error))
	Moderate(by room.Actor, name string, ns *proto.Namespace, action proto.HostAction, user string, done func(*proto.Error))
}

type roomContents interface {
	ListRooms(prefix, cursor string, limit int) ([]room.RoomSummary, string, *proto.Error)
	ListMembers(name string, ns *proto.Namespace, cursor string, limit int, done func(list []proto.MemberInfo, next string, total int, err *proto.Error))
	DeleteMessage(by room.Actor, name string, ns *proto.Namespace, offset uint64, done func(*proto.Error))
	Trim(by room.Actor, name string, ns *proto.Namespace, before uint64, olderThan int64, done func(oldest uint64, err *proto.Error))
}

// Sessions carries out commands for those who have no connection, and knows who
// has one. *session.Manager is one.
type Sessions interface {
	// Do carries out one command and waits for its answer.
	Do(ctx context.Context, by session.Caller, cmd *proto.Command) (*proto.Event, *proto.Error)

	// Start is Do that calls back: commands started by one goroutine reach
	// their rooms in that order. The command may be reused when Start
	// returns; done is called once, on any goroutine, and must not block.
	Start(by session.Caller, cmd *proto.Command, done func(*proto.Event, *proto.Error))

	// Limit takes n from the caller's buckets, or says when there will be
	// enough in them.
	Limit(by session.Caller, what session.Limited, n int) *proto.Error

	// OpenStream makes a session whose connection is an HTTP response.
	OpenStream(by session.Caller, conn session.Conn) *session.Session

	List(f session.Filter, cursor string, limit int) ([]session.Info, string, *proto.Error)
	Get(id string) (session.Info, bool)
	Disconnect(id string, err *proto.Error) bool
}

// Webhooks shows and changes what waits for the endpoints that the
// configuration names. Its methods may block on a disk.
type Webhooks interface {
	Endpoints() []Endpoint
	Endpoint(name string) (Endpoint, bool)
	Dead(name, cursor string, limit int) ([]DeadLetter, string, *proto.Error)

	// Replay sends dead letters again, all of them where ids is nil, and
	// returns how many.
	Replay(name string, ids []string) (int, *proto.Error)
	DeleteDead(name, id string) *proto.Error
}

// Endpoint is one webhook and how it fares. Times are Unix ms, 0 for never. Its
// fields are those of hook.Status.
type Endpoint struct {
	Name       string   `json:"name"`
	URL        string   `json:"url"` // without a password or a query
	Events     []string `json:"events"`
	Namespaces []string `json:"namespaces,omitzero"` // nil for all but the users' inboxes
	Circuit    string   `json:"circuit"`             // closed, open, half-open, or gone after 410 Gone
	Waiting    int      `json:"waiting"`             // events, a run of messages counting as one
	Running    int      `json:"running"`             // deliveries under way
	Oldest     int64    `json:"oldest,omitzero"`     // when the event that has waited longest began to
	Dead       int      `json:"dead"`                // dead letters
	Dropped    uint64   `json:"dropped"`             // events that were given up since the start, each message counting
	Delivered  uint64   `json:"delivered"`           // deliveries since the start
	Failures   int      `json:"failures"`            // in a row
	Next       int64    `json:"nextAttempt,omitzero"`
	Success    int64    `json:"lastSuccess,omitzero"`
	Failure    int64    `json:"lastFailure,omitzero"`
	Error      string   `json:"lastError,omitzero"`
}

// DeadLetter is an event that is not tried any more. Times are Unix ms. Its
// fields are those of hook.Letter.
type DeadLetter struct {
	ID        string `json:"id"`
	Event     string `json:"event"`
	Timestamp int64  `json:"timestamp"` // when it happened
	At        int64  `json:"givenUpAt"`
	Attempts  uint64 `json:"attempts"`
	Status    int    `json:"status,omitzero"` // of the last answer
	Reason    string `json:"reason"`          // why it was given up
	Room      string `json:"room,omitzero"`
	UserID    string `json:"userId,omitzero"` // join, leave, connect, disconnect
	Epoch     string `json:"epoch,omitzero"`  // message
	First     uint64 `json:"first,omitzero"`
	Last      uint64 `json:"last,omitzero"`
}
