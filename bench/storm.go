package bench

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/gobwas/ws"
)

// storm is members of rooms that are all cut off in the same moment and come back
// at once, each with its position. Each room's author stays, publishes while the
// others are away, and goes on until they are back.
type storm struct {
	*fanout
	comers []comer  // by the connection's place
	epochs []string // by room, as the last join told
	again  retries  // connections that are away and wait to come again
	rate   float64  // of all authors' messages while clients come back

	storming bool
	begun    int64 // when all were let loose
	away     int   // connections that are
	next     int   // author whose turn it is
	nextDue  int64
}

// comer is what a client that was cut off knows.
type comer struct {
	away     bool
	since    int64 // beginning of the attempt under way
	failures int   // attempts in a row that ended without an answer
}

const (
	stormMost    = 10 * time.Minute // after which not everyone is back
	firstBackoff = 200 * time.Millisecond
	mostBackoff  = 5 * time.Second
	impatience   = 100 * time.Millisecond // of clients that do not do as they are told
)

func newStorm(part share) (*storm, error) {
	quick := *part.options
	quick.Rate = 0 // before the storm
	rate := part.options.Rate
	part.options = &quick
	f, err := newFanout(part)
	if err != nil {
		return nil, err
	}
	s := &storm{fanout: f, rate: rate, comers: make([]comer, part.conns), epochs: make([]string, part.options.Rooms)}
	f.loop.handler, f.loop.lost = s, s.lost
	return s, nil
}

func (s *storm) step(ctx context.Context, in input) (output, error) {
	switch {
	case in.Step == stepWarm: // fill the rooms
		return s.publish(ctx, 0, s.options.Messages)
	case in.Step == stepCut:
		return s.cut(ctx)
	case in.Step == stepRun:
		return s.comeBack(ctx)
	case in.Step == stepDrain && s.storming:
		return output{}, s.catchUp(ctx, in.Heads)
	default:
		return s.fanout.step(ctx, in)
	}
}

// cut resets every connection but the authors', and has these publish what the
// others miss.
func (s *storm) cut(ctx context.Context) (output, error) {
	s.storming = true
	for i := range s.rooms {
		s.rooms[i].readers = 0
	}
	for i := range s.loop.conns {
		if c := &s.loop.conns[i]; c.author != nil {
			s.rooms[c.room].readers++
		} else {
			s.loop.drop(c) // sockets do not linger: that is an RST
			s.comers[i].away = true
			s.away++
		}
	}
	return s.publish(ctx, 0, s.options.Messages)
}

// comeBack lets all loose, and returns when each has joined its room again.
func (s *storm) comeBack(ctx context.Context) (output, error) {
	s.begun = s.loop.clock.now()
	s.nextDue = s.begun
	s.tally.Storm.Cut += uint64(s.away)
	for i := range s.comers {
		if s.comers[i].away {
			if err := s.come(i); err != nil {
				return output{}, err
			}
		}
	}
	err := s.pump(ctx, func() bool { return s.away == 0 })
	if err == nil {
		err = s.awaitAnswers(ctx)
	}
	return output{Heads: s.heads(nil)}, err
}

// catchUp waits until everyone has what was published.
func (s *storm) catchUp(ctx context.Context, heads []uint64) error {
	heads, s.nextDue = s.heads(heads), 0
	at := 0
	err := s.pump(ctx, func() bool {
		for ; at < len(s.loop.conns); at++ {
			if c := &s.loop.conns[at]; s.comers[at].away || c.stream.last < heads[c.room] {
				return false
			}
		}
		return s.away == 0
	})
	s.tally.Storm.Caught = max(s.tally.Storm.Caught, s.elapsed())
	return err
}

// elapsed is the time since all were let loose, in seconds.
func (s *storm) elapsed() float64 { return time.Duration(s.loop.clock.now() - s.begun).Seconds() }

// pump has clients come again as their time has come, and authors publish, until
// done says so.
func (s *storm) pump(ctx context.Context, done func() bool) error {
	look := int64(0)
	for !done() {
		now := s.loop.clock.now()
		if now > s.begun+int64(stormMost) {
			return fmt.Errorf("%d clients are not back after %v", s.away, stormMost)
		}
		for len(s.again) > 0 && s.again[0].at <= now {
			if err := s.come(heap.Pop(&s.again).(retry).slot); err != nil {
				return err
			}
		}
		if now >= look {
			look = now + progressTick
			if err := s.giveUp(now); err != nil {
				return err
			}
		}
		wake := look
		if len(s.again) > 0 {
			wake = min(wake, s.again[0].at)
		}
		if s.nextDue > 0 && s.rate > 0 {
			if err := s.publishDue(now); err != nil {
				return err
			}
			wake = min(wake, s.nextDue)
		}
		if err := s.loop.poll(ctx, wake); err != nil {
			return err
		}
	}
	return nil
}

// publishDue has the authors, in turn, send what is due.
func (s *storm) publishDue(now int64) error {
	share := float64(len(s.authors)) / float64(s.options.Rooms*s.options.Publishers)
	for ; s.nextDue <= now && len(s.authors) > 0; s.nextDue += int64(float64(time.Second) / (s.rate * share)) {
		p := s.authors[s.next%len(s.authors)]
		s.next++
		if p.conn.state != stateReady {
			continue
		}
		if err := s.send(p, s.nextDue); err != nil {
			return err
		}
	}
	return nil
}

// come begins a client's next attempt.
func (s *storm) come(slot int) error {
	c := &s.loop.conns[slot]
	s.tally.Storm.Attempts++
	s.comers[slot].since = s.loop.clock.now()
	if err := s.loop.dial(c, &s.opener); err != nil {
		return s.lost(c, err)
	}
	return nil
}

// giveUp ends attempts that have had no answer for too long.
func (s *storm) giveUp(now int64) error {
	for i := range s.comers {
		c := &s.loop.conns[i]
		if s.comers[i].away && c.state != stateClosed && c.state != stateNone && now-s.comers[i].since > int64(s.options.Timeout) {
			if err := s.lost(c, errNoAnswer); err != nil {
				return err
			}
		}
	}
	return nil
}

var errNoAnswer = errors.New("the server did not answer")

// lost takes a connection's end: during the storm its client comes again.
func (s *storm) lost(c *conn, why error) error {
	if !s.storming {
		return why
	}
	slot := int(s.loop.slot(c))
	one, t := &s.comers[slot], s.tally.Storm
	if !one.away {
		one.away = true
		s.away++
	}
	s.loop.drop(c)
	var wait time.Duration
	refused, isRefused := errors.AsType[*refusedUpgrade](why)
	switch {
	case isRefused:
		t.Refused++
		one.failures = 0
		if wait = refused.after; wait == 0 || s.options.Impatient {
			wait = impatience + rand.N(impatience)
		}
	case errors.Is(why, errNoAnswer):
		t.TimedOut++
	default:
		t.Broken++
	}
	if wait == 0 {
		wait = min(firstBackoff<<min(one.failures, 16), mostBackoff)
		wait = wait/2 + rand.N(wait)
		one.failures++
	}
	heap.Push(&s.again, retry{s.loop.clock.now() + int64(wait), slot})
	return nil
}

// opened joins the room, from where the client was cut off.
func (s *storm) opened(c *conn) error {
	if !s.comers[s.loop.slot(c)].away {
		return s.fanout.opened(c)
	}
	frame := appendResume(beginFrame(nil), roomName(s.options.Prefix, c.room), s.epochs[c.room], c.stream.last)
	return s.loop.send(c, endFrame(frame, 0, s.dialect.opcode()))
}

func (s *storm) frame(c *conn, _ ws.OpCode, payload []byte, at int64) error {
	if err := s.dialect.read(payload, &s.ev); err != nil {
		return err
	}
	if s.ev.kind == evJoined {
		return s.joined(c, payload, at)
	}
	return s.count(c, &s.ev, len(payload), at)
}

// joined takes a client back into its room.
func (s *storm) joined(c *conn, payload []byte, at int64) error {
	epoch, err := joinedEpoch(payload)
	if err != nil {
		return err
	}
	head := s.ev.offset
	if epoch != s.epochs[c.room] {
		s.epochs[c.room], s.rooms[c.room].head = epoch, head
	}
	one := &s.comers[s.loop.slot(c)]
	if !one.away {
		return s.ready(c, head)
	}
	if !recovered(payload) {
		s.tally.Storm.NotRecovered++
		c.stream.last = head
	}
	one.away, one.failures = false, 0
	s.away--
	if p := c.author; p != nil {
		p.acked = p.seq // what was not answered is in the log, or was not taken
	}
	c.state = stateReady
	s.rooms[c.room].head = max(s.rooms[c.room].head, head)
	s.tally.Storm.Back.record(s.begun, at)
	s.tally.Storm.All = max(s.tally.Storm.All, time.Duration(at-s.begun).Seconds())
	return nil
}

// retry is a client that waits until it comes again.
type retry struct {
	at   int64
	slot int
}

// retries orders them by their time.
type retries []retry

func (r retries) Len() int           { return len(r) }
func (r retries) Less(i, j int) bool { return r[i].at < r[j].at }
func (r retries) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }

// Push implements heap.Interface.
func (r *retries) Push(x any) { *r = append(*r, x.(retry)) }

// Pop implements heap.Interface.
func (r *retries) Pop() any {
	last := len(*r) - 1
	one := (*r)[last]
	*r = (*r)[:last]
	return one
}
