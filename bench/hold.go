package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// holdResult says whether a server keeps its connections, and what memory it
// needs for them: what is true on a machine however slow.
type holdResult struct {
	Joined     int            `json:"joined"`
	Largest    int            `json:"largest_room"` // its members
	Reached    uint64         `json:"reached"`      // members that got their room's message, its author's ack included
	InLargest  int            `json:"reached_in_largest_room"`
	Pinged     int            `json:"pinged"`   // connections that got a ping while they were held, and answered it
	Pings      uint64         `json:"pings"`    // in all that time
	Survived   int            `json:"survived"` // connections that were there at the end
	FirstLost  string         `json:"first_lost,omitempty"`
	Open       float64        `json:"open_seconds"`
	Publish    float64        `json:"publish_seconds"`
	Held       float64        `json:"held_seconds"`
	Memory     []memoryMoment `json:"memory"`
	PerConnRSS float64        `json:"rss_bytes_per_connection"` // at the most, beyond the empty server
	PerConnPSS float64        `json:"pss_bytes_per_connection"`
}

// holdsAtOnce bounds the handshakes under way: with more of them, each process
// does more in its turn on a machine where a change of process is dear.
const holdsAtOnce = 512

// descriptorsApart is how many descriptors a process keeps for other things than
// its connections.
const descriptorsApart = 64

// connsOfDescriptors is how many connections this process may open.
func connsOfDescriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		panic("bench: getrlimit: " + err.Error()) // its arguments are constant
	}
	return int(min(limit.Cur, 1<<30)) - descriptorsApart
}

// roomOf is the room of a connection. The first ones are the authors of a room
// each, those that follow fill the largest room, where one is asked for, and the
// rest are spread evenly.
func (o *options) roomOf(index int) int32 {
	switch {
	case o.Largest == 0 || index < o.Rooms:
		return int32(index % o.Rooms)
	case index < o.Rooms+o.Largest-1:
		return 0
	default:
		return int32(1 + (index-o.Rooms)%(o.Rooms-1))
	}
}

// hold is a run of throng bench hold, in one process.
type hold struct {
	*fanout
	server   *server
	progress *progress
	result   holdResult
}

// runHold opens connections that join rooms, sends a message to each room, and
// keeps the connections while the server pings them.
func runHold(ctx context.Context, o *options, p *progress) (*result, error) {
	t, err := parseTarget(ctx, o.URL, o.AllowRemote)
	if err != nil {
		return nil, err
	}
	watched, err := watchServer(ctx, o)
	if err != nil {
		return nil, err
	}
	if watched == nil {
		return nil, errNoServer
	}
	runtime.LockOSThread()
	h := &hold{server: watched, progress: p}
	h.fanout, err = newFanout(share{target: t, options: o, conns: o.Conns, progress: func(t *tally) {
		p.say("%d joined, %d messages delivered, %d pings", h.opener.ready, t.Delivered, h.loop.pings)
	}})
	if err != nil {
		return nil, err
	}
	defer h.close()
	h.opener.atOnce = holdsAtOnce
	return h.run(ctx)
}

func (h *hold) run(ctx context.Context) (*result, error) {
	if err := h.remember("empty"); err != nil {
		return nil, err
	}
	start, cpu := time.Now(), ownUsage()
	for _, part := range []func(context.Context) error{h.join, h.publishOnce, h.keep} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	if err := h.server.stop(); err != nil {
		return nil, err
	}
	h.tally.CPU = ownUsage().since(cpu).total().Seconds()
	r := newResult(h.tally, time.Since(start), h.server)
	r.LimitedBy, r.Why = "", "" // nothing here is a rate
	r.Hold = &h.result
	return r, nil
}

// join opens all connections.
func (h *hold) join(ctx context.Context) error {
	h.progress.stage("opening %d connections", len(h.loop.conns))
	if err := h.server.start(); err != nil {
		return err
	}
	start := time.Now()
	if err := h.loop.open(ctx, &h.opener); err != nil {
		return err
	}
	h.result.Open, h.result.Joined = time.Since(start).Seconds(), h.opener.ready
	for i := range h.loop.conns {
		if h.loop.conns[i].room == 0 {
			h.result.Largest++
		}
	}
	h.loop.lost = func(c *conn, why error) error {
		if h.result.FirstLost == "" {
			h.result.FirstLost = fmt.Sprintf("connection %d: %v", c.index, why)
		}
		h.loop.drop(c)
		return nil
	}
	return h.settleAnd(ctx, "joined")
}

// publishOnce sends one message to each room, and looks whom it has reached.
func (h *hold) publishOnce(ctx context.Context) error {
	h.progress.stage("publishing to %d rooms", h.options.Rooms)
	start := time.Now()
	if _, err := h.publish(ctx, 0, 1); err != nil {
		return err
	}
	if err := h.drain(ctx, nil); err != nil {
		return err
	}
	h.result.Publish = time.Since(start).Seconds()
	heads := h.heads(nil)
	for i := range h.loop.conns {
		c := &h.loop.conns[i]
		c.stream.end(heads[c.room], &h.tally.Violations)
		if heads[c.room] == 0 || c.stream.last != heads[c.room] {
			continue
		}
		h.result.Reached++
		if c.room == 0 {
			h.result.InLargest++
		}
	}
	return h.settleAnd(ctx, "after a message in every room")
}

// keep answers pings for the time that is asked for.
func (h *hold) keep(ctx context.Context) error {
	h.progress.stage("keeping the connections for %v", h.options.Duration)
	for i := range h.loop.conns {
		h.loop.conns[i].pinged = false
	}
	before, start := h.loop.pings, time.Now()
	if err := h.loop.serve(ctx, h.options.Duration); err != nil {
		return err
	}
	h.result.Held, h.result.Pings = time.Since(start).Seconds(), h.loop.pings-before
	for i := range h.loop.conns {
		switch c := &h.loop.conns[i]; {
		case c.state != stateReady:
		case c.pinged:
			h.result.Pinged++
			fallthrough
		default:
			h.result.Survived++
		}
	}
	return h.remember("after the heartbeats")
}

// settleAnd leaves the server alone for the settling time, pings apart, and
// notes its memory.
func (h *hold) settleAnd(ctx context.Context, moment string) error {
	h.progress.stage("leaving the server alone")
	if err := h.loop.serve(ctx, h.options.Settle); err != nil {
		return err
	}
	return h.remember(moment)
}

// remember notes the memory of a moment.
func (h *hold) remember(moment string) error {
	m, err := readMoment(h.server.pid, moment)
	if err != nil {
		return fmt.Errorf("the memory of process %d: %w", h.server.pid, err)
	}
	h.result.Memory = append(h.result.Memory, m)
	h.progress.note("%s", m)
	empty, n := h.result.Memory[0], float64(len(h.loop.conns))
	h.result.PerConnRSS = max(h.result.PerConnRSS, float64(m.RSS-empty.RSS)/n)
	h.result.PerConnPSS = max(h.result.PerConnPSS, float64(m.PSS-empty.PSS)/n)
	return nil
}

// ErrNotHeld means that connections were lost, or not reached by what they were
// to get. The result has been written.
var ErrNotHeld = errors.New("not every connection was reached, pinged and kept")

// whole reports whether nothing is missing.
func (r *holdResult) whole() bool {
	return r.Survived == r.Joined && r.Pinged == r.Joined && r.Reached == uint64(r.Joined)
}

func (r *holdResult) rows(row func(name, format string, args ...any)) {
	row("joined", "%d, %d of them in the largest room", r.Joined, r.Largest)
	row("reached", "%d, %d of them in the largest room", r.Reached, r.InLargest)
	row("pinged", "%d in %.0f s, %d pings", r.Pinged, r.Held, r.Pings)
	row("survived", "%d%s", r.Survived, map[bool]string{true: "; the first that did not: " + r.FirstLost}[r.FirstLost != ""])
	for _, m := range r.Memory {
		row(m.Moment, "%s", m.figures())
	}
	row("each", "%.0f bytes of RSS, %.0f of PSS at the most, beyond the empty server", r.PerConnRSS, r.PerConnPSS)
}
