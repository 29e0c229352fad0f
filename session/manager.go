package session

import (
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
)

// BearerProtocol is the prefix of the subprotocol that carries a token, for
// browsers, which cannot set a header.
const BearerProtocol = "bearer."

// Options says how sessions behave. All fields above Dev must be set.
type Options struct {
	Hub        *room.Hub
	Directory  *Directory // the hub's People
	Verifier   *auth.Verifier
	Authorizer *auth.Authorizer
	Codecs     []proto.Codec // the first one serves clients that offer none
	Limits     proto.Limits
	Heartbeat  time.Duration // the server's ping interval, told to clients
	Logger     *slog.Logger
	Dev        bool // ?user=NAME admits that user without a token

	// Revoked reports whether what admitted the identity does not count any
	// more; nil revokes nothing. It must not block.
	Revoked func(*auth.Identity) bool

	Rates    Rates    // the zero value bounds nothing
	Gate     Gate     // nil lets everybody do what they have the right to
	Observer Observer // nil tells nobody

	Metrics *metrics.Set
	Now     func() time.Time
}

// Manager makes sessions. It is safe for concurrent use.
type Manager struct {
	Options
	meters   meters
	held     held
	limiter  *limiter               // nil where nothing is bounded
	ending   map[*proto.Code]uint32 // for each reason of an end, a number above 0
	forms    []proto.Form           // what connections' frames look like, for each codec those of windows
	jsonForm uint8                  // index in forms of event streams' form
}

type meters struct {
	sessions *metrics.Counter
	commands []*metrics.Counter // by proto.CommandType; none for CmdNone
	errors   map[*proto.Code]*metrics.Counter
}

// NewManager returns a manager without sessions.
func NewManager(o Options) *Manager {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	m := &Manager{Options: o, ending: make(map[*proto.Code]uint32), jsonForm: plainForm(jsonCodec(o.Codecs))}
	for _, c := range o.Codecs {
		for _, w := range windows {
			m.forms = append(m.forms, proto.Form{Codec: c, Window: w})
		}
	}
	m.held.register(o.Metrics)
	m.limiter = newLimiter(o.Rates, o.Now, o.Metrics)
	m.meters.sessions = o.Metrics.NewCounter("throng_sessions")
	m.meters.commands = make([]*metrics.Counter, proto.CmdNone+1)
	for t := proto.CmdNone + 1; t <= proto.CmdPing; t++ {
		m.meters.commands = append(m.meters.commands, o.Metrics.NewCounter(`throng_commands_total{type="`+t.String()+`"}`))
	}
	m.meters.errors = make(map[*proto.Code]*metrics.Counter)
	for i, c := range proto.Codes {
		m.ending[c] = uint32(i + 1)
		m.meters.errors[c] = o.Metrics.NewCounter(`throng_errors_total{code="` + c.Name + `"}`)
	}
	return m
}

// windows are those that a connection's frames may be compressed with; the first
// is none.
var windows = [...]proto.Window{proto.Plain, proto.SmallWindow, proto.StandardWindow}

// plainForm returns the index in Manager.forms of the plain form of a codec.
func plainForm(codec int) uint8 { return uint8(codec * len(windows)) }

// Handshake is what an upgrade request says of the client. The strings may be
// borrowed.
type Handshake struct {
	Query         string // raw
	Authorization string
	Protocols     []string // offered subprotocols
	Address       netip.Addr
}

// Accept answers an upgrade request with a session, which has no connection
// until Open, and the subprotocol to answer; or says why there is none. A
// client without a token gets a session that waits for auth.
func (m *Manager) Accept(h Handshake) (*Session, string, *proto.Error) {
	s := &Session{manager: m}
	var paid receipt
	if err := m.payHandshake(&paid, payer{address: h.Address}); err != nil {
		return nil, "", err
	}
	answer, bearer, err := m.choose(h.Protocols, s)
	if err != nil {
		return nil, "", err
	}
	query, parseErr := url.ParseQuery(h.Query)
	if parseErr != nil {
		return nil, "", proto.ErrBadHandshake.With("the request's query string cannot be parsed")
	}
	token := bearer
	switch {
	case h.Authorization != "":
		scheme, value, _ := strings.Cut(h.Authorization, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return nil, "", proto.ErrInvalidToken.With("the Authorization header's scheme must be Bearer")
		}
		token = strings.TrimSpace(value)
	case token == "":
		token = query.Get("token")
	}
	switch user := query.Get("user"); {
	case token != "":
		id, err := m.Verifier.Verify([]byte(token))
		if err != nil {
			return nil, "", err
		}
		s.identify(id)
	case m.Dev && user != "":
		user = strings.Clone(user)
		if err := auth.CheckUserID("user", user); err != nil {
			return nil, "", err
		}
		s.identify(auth.NewIdentity(user))
	}
	if err := m.payHandshake(&paid, payer{user: s.UserID()}); err != nil {
		return nil, "", err
	}
	return s, answer, nil
}

// payHandshake takes one handshake: of the address before the token is looked
// at, which takes the longest, and of the user as soon as it is known.
func (m *Manager) payHandshake(paid *receipt, p payer) *proto.Error {
	if m.limiter == nil {
		return nil
	}
	return m.limiter.payOn(paid, p, &toll{Handshakes: 1})
}

// choose finds the codec among the offered subprotocols, and a token that came
// as one of them.
func (m *Manager) choose(offered []string, s *Session) (answer, bearer string, _ *proto.Error) {
	others, chosen := 0, false
	for _, p := range offered {
		if token, ok := strings.CutPrefix(p, BearerProtocol); ok {
			bearer = token
			continue
		}
		others++
		if chosen {
			continue
		}
		if i := slices.IndexFunc(m.Codecs, func(c proto.Codec) bool { return c.Subprotocol() == p }); i >= 0 {
			s.form, chosen = plainForm(i), true
			answer = m.Codecs[i].Subprotocol()
		}
	}
	switch {
	case chosen:
		return answer, bearer, nil
	case others > 0 || bearer != "":
		return "", "", proto.ErrSubprotocol.With("none of the offered subprotocols is known; this server speaks %s", m.protocols())
	}
	return "", "", nil
}

func (m *Manager) protocols() string {
	names := make([]string, len(m.Codecs))
	for i, c := range m.Codecs {
		names[i] = c.Subprotocol()
	}
	return strings.Join(names, ", ")
}
