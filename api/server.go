package api

import (
	"net/http"
	"time"

	"github.com/thronghq/throng/proto"
)

// Info is what does not change while the server runs.
type Info struct {
	Version    string
	StartedAt  time.Time
	Namespaces []proto.Namespace
}

// Stats are counts of what the server holds now.
type Stats struct {
	Connections int `json:"connections"` // WebSockets that are open
	Rooms       int `json:"rooms"`       // in memory
}

func serverRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Pattern: "/server", Access: Admin, handle: (*call).server},
		{Method: http.MethodGet, Pattern: "/server/stats", Access: Admin, handle: (*call).stats},
		{Method: http.MethodPost, Pattern: "/drain", Access: Admin, handle: (*call).drain},
	}
}

// limits is the table of limits as clients are told it: bytes, counts, and ms.
type limits struct {
	Message  int   `json:"message"`
	Depth    int   `json:"depth"`
	Key      int   `json:"key"`
	KeyTTL   int64 `json:"keyTtl"`
	Rooms    int   `json:"rooms"`
	History  int   `json:"history"`
	Replay   int   `json:"replay"`
	Outbox   int   `json:"outbox"`
	Token    int   `json:"token"`
	Body     int64 `json:"body"`    // of a request
	Timeout  int64 `json:"timeout"` // of a request
	Batch    int   `json:"batch"`   // messages, or rooms, of a request
	PageMost int   `json:"page"`    // entries of a list
}

// namespace is a namespace's configuration.
type namespace struct {
	Name        string `json:"name"`
	HistorySize int    `json:"historySize"`
	HistoryTTL  int64  `json:"historyTtl"` // ms
	Durability  string `json:"durability"`
	Slow        string `json:"slow"`
	Presence    bool   `json:"presence"`
	JoinLeave   bool   `json:"joinLeave"`
	Hosts       bool   `json:"hosts"`
	Succession  string `json:"succession"`
}

func (c *call) server() *proto.Error {
	info, l := &c.api.Info, c.api.Limits
	answer := struct {
		Version    string      `json:"version"`
		StartedAt  int64       `json:"startedAt"`
		Uptime     int64       `json:"uptime"`
		Limits     limits      `json:"limits"`
		Namespaces []namespace `json:"namespaces"`
	}{
		Version: info.Version, StartedAt: info.StartedAt.UnixMilli(), Uptime: c.api.Now().Sub(info.StartedAt).Milliseconds(),
		Limits: limits{
			Message: l.Message, Depth: l.Depth, Key: l.KeyBytes, KeyTTL: l.KeyTTL.Milliseconds(), Rooms: l.RoomsPerConn,
			History: l.HistoryPage, Replay: l.Replay, Outbox: l.Outbox, Token: l.TokenBytes,
			Body: c.api.BodyBytes, Timeout: c.api.Timeout.Milliseconds(), Batch: batchMost, PageMost: pageMost,
		},
		Namespaces: make([]namespace, len(info.Namespaces)),
	}
	for i, ns := range info.Namespaces {
		answer.Namespaces[i] = namespace{
			ns.Name, ns.HistorySize, ns.HistoryTTL.Milliseconds(), ns.Durability.String(), ns.Slow.String(),
			ns.Presence, ns.JoinLeave, ns.Hosts, ns.Succession.String(),
		}
	}
	return c.json(http.StatusOK, answer)
}

func (c *call) stats() *proto.Error {
	answer := struct {
		Stats
		Requests int64 `json:"requests"` // being served, this one among them
		Streams  int64 `json:"streams"`  // of server-sent events
		Uptime   int64 `json:"uptime"`
	}{
		Requests: c.api.meters.active.Load(), Streams: c.api.meters.streams.Load(),
		Uptime: c.api.Now().Sub(c.api.Info.StartedAt).Milliseconds(),
	}
	if c.api.Stats != nil {
		answer.Stats = c.api.Stats()
	}
	return c.json(http.StatusOK, answer)
}

// drain begins the end of the process. The answer comes first.
func (c *call) drain() *proto.Error {
	if c.api.Drain == nil {
		return proto.ErrNotFound.With("this server is not drained by a request")
	}
	if err := c.noBody(); err != nil {
		return err
	}
	c.write(http.StatusAccepted, "", nil)
	_ = http.NewResponseController(c.w).Flush() // a writer that cannot is a test's
	c.api.Drain()
	return nil
}
