package bench

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// publish sends for a time, or a number of messages for each author. Where
// authors keep a number of messages under way, it returns when all are done.
func (f *fanout) publish(ctx context.Context, d time.Duration, quota uint64) (output, error) {
	start := f.loop.clock.now()
	f.stopAt = math.MaxInt64
	if quota == 0 {
		quota, f.stopAt = math.MaxUint32, start+int64(d)
	}
	for _, p := range f.authors {
		p.quotaEnd = uint64(p.seq) + quota
	}
	var err error
	if f.options.Rate > 0 {
		err = f.publishOnTime(ctx, start)
	} else {
		err = f.publishClosed(ctx, start)
	}
	return output{Heads: f.heads(nil)}, err
}

// publishClosed keeps a number of messages of each author under way. A message
// is due as soon as the one whose place it takes is done.
func (f *fanout) publishClosed(ctx context.Context, start int64) error {
	f.closed = true
	defer func() { f.closed = false }()
	for _, p := range f.authors {
		p.done, p.acked = p.seq, p.seq
		for range f.options.Outstanding {
			if err := f.next(p, start); err != nil {
				return err
			}
		}
	}
	stalled := start + int64(f.options.Timeout)
	for before := f.tally.Delivered; f.underWay > 0; {
		if err := f.loop.poll(ctx, stalled); err != nil {
			return err
		}
		switch now := f.loop.clock.now(); {
		case f.tally.Delivered != before:
			before, stalled = f.tally.Delivered, now+int64(f.options.Timeout)
		case now > stalled:
			return fmt.Errorf("nothing has arrived for %v while %d messages were under way", f.options.Timeout, f.underWay)
		}
	}
	return nil
}

// settle takes one of the readings that a message waits for. Members get an
// author's messages in order, so they are done in order, too.
func (f *fanout) settle(p *publisher, seq uint32) error {
	left := &p.left[seq%uint32(len(p.left))]
	if *left--; *left > 0 {
		return nil
	}
	p.done++
	f.underWay--
	return f.next(p, f.loop.clock.now())
}

// next sends an author's next message, unless it has sent enough.
func (f *fanout) next(p *publisher, due int64) error {
	if due >= f.stopAt || uint64(p.seq) >= p.quotaEnd {
		return nil
	}
	f.underWay++
	p.left[(p.seq+1)%uint32(len(p.left))] = f.rooms[p.conn.room].readers
	return f.send(p, due)
}

// publishOnTime sends at the rate, whatever arrives. Authors take turns, so
// that a process's sends are evenly spread.
func (f *fanout) publishOnTime(ctx context.Context, start int64) error {
	if len(f.authors) == 0 {
		return nil
	}
	for _, p := range f.authors {
		p.acked = p.seq
	}
	share := float64(len(f.authors)) / float64(f.options.Rooms*f.options.Publishers)
	err := f.loop.pace(ctx, start, f.stopAt, f.options.Rate*share, func(n int, due int64) (bool, error) {
		p := f.authors[n%len(f.authors)]
		if uint64(p.seq) >= p.quotaEnd {
			return false, nil
		}
		f.tally.lateness(due, f.loop.clock.now())
		return true, f.send(p, due)
	})
	if err != nil {
		return err
	}
	return f.awaitAnswers(ctx)
}

// awaitAnswers waits until every message is answered: before that nobody knows
// where the rooms end that the members are to reach.
func (f *fanout) awaitAnswers(ctx context.Context) error {
	end := f.loop.clock.now() + int64(f.options.Timeout)
	unanswered := func(p *publisher) bool { return p.acked < p.seq }
	for slices.ContainsFunc(f.authors, unanswered) && f.loop.clock.now() < end {
		if err := f.loop.poll(ctx, end); err != nil {
			return err
		}
	}
	return nil // what has no answer by now shows in what members lack
}

// send publishes one message that was due at that time.
func (f *fanout) send(p *publisher, due int64) error {
	p.seq++
	f.tally.Sent++
	s := stamp{author: p.conn.index, seq: p.seq, due: due}
	f.payload = f.dialect.appendPublish(beginFrame(f.payload[:0]), p.user, p.room, s, f.options.Size)
	f.payload = endFrame(f.payload, 0, f.dialect.opcode())
	return f.loop.send(p.conn, f.payload)
}
