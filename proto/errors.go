package proto

import (
	"fmt"
	"time"

	"github.com/gobwas/ws"
)

// Code is one entry of the error registry: what the wire, REST and the metric
// labels call an error, and what it means for the client.
type Code struct {
	Name      string        // the wire's "code", and the metrics' label
	Reason    string        // the general sentence
	Close     ws.StatusCode // closes the connection with this code when not 0
	HTTP      int           // the status where the error answers an HTTP request
	Reconnect bool          // a closed client may connect again
	Retry     bool          // the same command may be sent again later
}

// Error is a registry entry with what was wrong in this case. It is a value of
// its own for each occurrence; compare Code, or use errors.Is with the entry.
type Error struct {
	*Code
	Detail     string        // replaces Reason where not ""
	RetryAfter time.Duration // when a retry makes sense; 0 for unknown
}

// Error implements error.
func (e *Error) Error() string { return e.Name + ": " + e.Text() }

// Text is the sentence that the client reads.
func (e *Error) Text() string {
	if e.Detail != "" {
		return e.Detail
	}
	return e.Reason
}

// Is reports whether the target is the same registry entry.
func (e *Error) Is(target error) bool {
	code, ok := target.(*Code)
	return ok && code == e.Code
}

// Error implements error, so that an entry serves as errors.Is's target.
func (c *Code) Error() string { return c.Name + ": " + c.Reason }

// New returns an error of this entry with its general reason.
func (c *Code) New() *Error { return &Error{Code: c} }

// With returns an error of this entry with a reason of its own, which should
// name the field, the value and what would be accepted.
func (c *Code) With(format string, args ...any) *Error {
	return &Error{Code: c, Detail: fmt.Sprintf(format, args...)}
}

// After returns an error of this entry that asks for a retry in d.
func (c *Code) After(d time.Duration) *Error { return &Error{Code: c, RetryAfter: d} }

// Codes is the registry, in the order of the documentation.
var Codes []*Code

func register(c Code) *Code {
	Codes = append(Codes, &c)
	return &c
}

// The registry. docs/protocol.md lists it, and a test holds the two together.
var (
	// What the client sent.
	ErrInvalidJSON  = register(Code{Name: "invalid_json", Reason: "the frame is not valid JSON", HTTP: 400})
	ErrInvalidFrame = register(Code{Name: "invalid_frame", Reason: "the frame is not of the kind that the subprotocol uses", HTTP: 400})
	ErrInvalidField = register(Code{Name: "invalid_field", Reason: "a field is missing or has a wrong value", HTTP: 422})
	ErrUnknownType  = register(Code{Name: "unknown_type", Reason: "the frame's type is not known", HTTP: 400})
	ErrTooDeep      = register(Code{Name: "too_deep", Reason: "the JSON is nested too deeply", HTTP: 400})
	ErrTooLarge     = register(Code{Name: "too_large", Reason: "the content is larger than limits.message", HTTP: 413})
	ErrTooManyBad   = register(Code{Name: "too_many_errors", Reason: "too many invalid frames in a row", Close: ws.StatusPolicyViolation, HTTP: 400})
	ErrBadCursor    = register(Code{Name: "invalid_cursor", Reason: "the cursor was not given out by this server for this room", HTTP: 400})
	ErrBeyondHead   = register(Code{Name: "beyond_head", Reason: "the offset is beyond the room's head", HTTP: 400})
	ErrKeyConflict  = register(Code{Name: "key_conflict", Reason: "the key was used with other content", HTTP: 409})

	// Who the client is and what it may do.
	ErrUnauthenticated = register(Code{Name: "unauthenticated", Reason: "the first command must be auth", HTTP: 401})
	ErrInvalidToken    = register(Code{Name: "invalid_token", Reason: "the token is not valid", Close: 4401, HTTP: 401})
	ErrTokenExpired    = register(Code{Name: "token_expired", Reason: "the token has expired", Close: 4402, HTTP: 401, Reconnect: true})
	ErrAuthTimeout     = register(Code{Name: "auth_timeout", Reason: "no valid auth in time", Close: 4408, HTTP: 401, Reconnect: true})
	ErrWrongUser       = register(Code{Name: "wrong_user", Reason: "a fresh token must name the same user", HTTP: 403})
	ErrForbidden       = register(Code{Name: "forbidden", Reason: "the user lacks the right", HTTP: 403})
	ErrRevoked         = register(Code{Name: "revoked", Reason: "the token, its session or its user's access has been revoked", Close: 4403, HTTP: 401})
	ErrDisconnected    = register(Code{Name: "disconnected", Reason: "an administrator has closed the connection", Close: 4405, HTTP: 0})
	ErrRefused         = register(Code{Name: "refused", Reason: "the application has refused it", Close: 0, HTTP: 403})
	ErrOrigin          = register(Code{Name: "origin_refused", Reason: "the page's origin is not allowed", HTTP: 403})

	// Accounts.
	ErrInvalidLogin       = register(Code{Name: "invalid_credentials", Reason: "no account has this user name and password", HTTP: 401})
	ErrAccountDisabled    = register(Code{Name: "account_disabled", Reason: "the account is disabled", HTTP: 403})
	ErrRegistrationClosed = register(Code{Name: "registration_closed", Reason: "this server lets nobody register", HTTP: 403})
	ErrUserExists         = register(Code{Name: "user_exists", Reason: "the user name is taken", HTTP: 409})

	// Rooms.
	ErrUnknownNamespace = register(Code{Name: "unknown_namespace", Reason: "the room's namespace is not configured", HTTP: 404})
	ErrNotJoined        = register(Code{Name: "not_joined", Reason: "the connection has not joined the room", HTTP: 409})
	ErrTooManyRooms     = register(Code{Name: "too_many_rooms", Reason: "the connection has joined as many rooms as limits.rooms allows", HTTP: 429})
	ErrRoomExists       = register(Code{Name: "room_exists", Reason: "the room exists already", HTTP: 409})
	ErrRoomFull         = register(Code{Name: "room_full", Reason: "the room has as many users as maxUsers allows", HTTP: 409, Retry: true})
	ErrRoomClosed       = register(Code{Name: "room_closed", Reason: "the room's host has closed it", HTTP: 410})
	ErrNotHost          = register(Code{Name: "not_host", Reason: "only the room's host may do this", HTTP: 403})
	ErrKicked           = register(Code{Name: "kicked", Reason: "the host has put the user out of the room", HTTP: 403})
	ErrBanned           = register(Code{Name: "banned", Reason: "the host has banned the user from the room", HTTP: 403})
	ErrMuted            = register(Code{Name: "muted", Reason: "the host has muted the user in the room", HTTP: 403})

	// How much.
	ErrRateLimited = register(Code{Name: "rate_limited", Reason: "more than the rate limit allows", HTTP: 429, Retry: true})
	ErrFlooding    = register(Code{Name: "flooding", Reason: "the client went on after its rate limit was reached", Close: 4429, HTTP: 429, Reconnect: true})

	// The server's state.
	ErrOverloaded   = register(Code{Name: "overloaded", Reason: "the server cannot take more right now", HTTP: 503, Retry: true})
	ErrStorageFull  = register(Code{Name: "storage_full", Reason: "the disk is nearly full; publishing is refused until there is space", HTTP: 507, Retry: true})
	ErrStorage      = register(Code{Name: "storage_failed", Reason: "the history could not be read or written", HTTP: 500, Retry: true})
	ErrInternal     = register(Code{Name: "internal", Reason: "the server failed", Close: ws.StatusInternalServerError, HTTP: 500, Reconnect: true, Retry: true})
	ErrShuttingDown = register(Code{Name: "shutting_down", Reason: "the server is shutting down", Close: 1012, HTTP: 503, Reconnect: true, Retry: true})
	ErrUnavailable  = register(Code{Name: "unavailable", Reason: "the server takes no more connections right now", HTTP: 503, Reconnect: true, Retry: true})
	ErrHookDown     = register(Code{Name: "hook_unavailable", Reason: "the application that decides on this does not answer", HTTP: 503, Retry: true})
	ErrSlowConsumer = register(Code{Name: "slow_consumer", Reason: "the client does not read its messages", Close: 4409, HTTP: 0, Reconnect: true})
	ErrSilent       = register(Code{Name: "silent", Reason: "nothing came from the client for too long", Close: 4410, HTTP: 0, Reconnect: true})
	ErrUnfinished   = register(Code{Name: "unfinished", Reason: "a message was begun and came too slowly to its end", Close: 4411, HTTP: 0, Reconnect: true})

	// HTTP alone.
	ErrNotFound         = register(Code{Name: "not_found", Reason: "there is nothing at this path", HTTP: 404})
	ErrMethodNotAllowed = register(Code{Name: "method_not_allowed", Reason: "the path does not take this method", HTTP: 405})
	ErrMediaType        = register(Code{Name: "unsupported_media_type", Reason: "the body is not of a type that the path takes", HTTP: 415})
	ErrPrecondition     = register(Code{Name: "precondition_failed", Reason: "the resource is not in the state that If-Match names", HTTP: 412})
	ErrBadHandshake     = register(Code{Name: "bad_handshake", Reason: "the request is not a WebSocket upgrade as RFC 6455 asks for", HTTP: 400})
	ErrHandshakeLarge   = register(Code{Name: "handshake_too_large", Reason: "the request's head is larger than the limit", HTTP: 431})
	ErrHandshakeTimeout = register(Code{Name: "handshake_timeout", Reason: "the request's head took too long", HTTP: 408, Reconnect: true})
	ErrUpgradeVersion   = register(Code{Name: "unsupported_version", Reason: "Sec-WebSocket-Version must be 13", HTTP: 426})
	ErrSubprotocol      = register(Code{Name: "unknown_subprotocol", Reason: "none of the offered subprotocols is known", HTTP: 400})
)
