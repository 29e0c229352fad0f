package hook

import (
	"context"
	"log/slog"
	"time"
)

const (
	writeEvery = 5 * time.Millisecond // commits of the outbox are at least as far apart
	writeRetry = time.Second          // after a commit that failed
	maxMarks   = 65_536               // rooms whose marks are kept in memory
)

// writer brings what happens into the queues. It is one goroutine, so that what
// one room's events are has one order.
type writer struct {
	// Static.
	w *Webhooks

	marks map[string]mark // of rooms that had messages since the start
	empty []event         // to be used again
}

// batch is what is written at once.
type batch struct {
	keys, values [][]byte
	added        map[*endpoint][]*entry
	rooms        map[string]bool // that have something in added
	extended     []extended
	taken        int64 // bytes that are counted for what the intake gave
}

// extended is a run that has become longer.
type extended struct {
	touched
	upto uint64
}

func (b *batch) set(key, value []byte) {
	b.keys = append(b.keys, key)
	b.values = append(b.values, value)
}

// run writes until ctx ends and nothing is left.
func (wr *writer) run(ctx context.Context) {
	pace := time.NewTicker(writeEvery)
	defer pace.Stop()
	for {
		stopping := false
		select {
		case <-wr.w.intake.wake:
		case <-ctx.Done():
			stopping = true
		}
		b := wr.gather()
		err := wr.write(ctx, b)
		if err == nil {
			for _, x := range b.extended {
				x.ep.wrote(x.e, x.upto)
			}
			for ep, entries := range b.added {
				ep.add(entries)
			}
		}
		wr.w.opts.Memory.Add(-b.taken)
		switch {
		case stopping && (err != nil || len(b.keys) == 0):
			return
		case !stopping:
			select {
			case <-pace.C:
			case <-ctx.Done():
			}
		}
	}
}

// write commits a batch, and tries again until it succeeds or the end has come.
func (wr *writer) write(ctx context.Context, b *batch) error {
	if len(b.keys) == 0 {
		return nil
	}
	for failures := 0; ; failures++ {
		err := wr.w.opts.Outbox.Write(b.keys, b.values)
		if err == nil {
			if failures > 0 {
				wr.w.log.Info("the outbox of the webhooks is written again")
			}
			return nil
		}
		wr.w.meters.writeErrors.Inc()
		if failures == 0 {
			wr.w.log.Error("the outbox of the webhooks cannot be written; this is tried each second", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			wr.w.unclean.Store(true)
			return err
		case <-time.After(writeRetry):
		}
	}
}

// gather makes a batch of all that has happened since the last one.
func (wr *writer) gather() *batch {
	b := &batch{added: make(map[*endpoint][]*entry), rooms: make(map[string]bool)}
	w := wr.w
	now := w.opts.Now()
	items, taken, lost := w.intake.take(wr.empty[:0])
	b.taken = taken
	if lost {
		w.startAudit()
	}
	for _, ep := range w.endpoints {
		ep.miss(now.UnixMilli())
	}
	wr.forget(b, w.changes.takeStale())
	for i := range items {
		if e := &items[i]; e.kind == Message {
			wr.enqueueRun(b, e, now)
		} else {
			wr.enqueue(b, e, now)
		}
	}
	clear(items)
	wr.empty = items
	t, gaps, keys, values := w.changes.take()
	for _, x := range b.extended {
		t = append(t, x.touched)
	}
	for _, t := range t {
		b.set(queueKey(keyQueue, t.ep.Name, t.e.number), t.ep.record(t.e))
	}
	for ep := range gaps {
		b.set(gapKey(ep.Name), ep.gapRecord())
	}
	b.keys, b.values = append(b.keys, keys...), append(b.values, values...)
	return b
}

// enqueue gives an event to the endpoints that are told of its kind.
func (wr *writer) enqueue(b *batch, e *event, now time.Time) {
	e.queued, e.id, e.run = e.at, newMsgID(now), wr.w.session
	ns := namespaceOf(e)
	for _, ep := range wr.w.endpoints {
		if ep.covers(e.kind, ns) {
			wr.append(b, ep, e, now)
		}
	}
}

// enqueueRun gives a run of a room's messages to the endpoints, beginning with
// the first message that they have not been given.
func (wr *writer) enqueueRun(b *batch, e *event, now time.Time) {
	m, fresh, err := wr.mark(e.room)
	if err != nil {
		wr.failed(e.room, err)
		return
	}
	if m.epoch == e.epoch && e.last <= m.offset {
		return
	}
	e.queued = e.at
	ns := namespaceOf(e)
	known := m.epoch == e.epoch && (!fresh || e.first == m.offset+1) || m.epoch == "" && e.first == 1
	var add []*event
	var to []*endpoint
	for _, ep := range wr.w.endpoints {
		if !ep.covers(Message, ns) {
			continue
		}
		run := *e
		run.first = m.offset + 1
		if !known {
			first, err := wr.w.opts.History.Resume(e.room, m.epoch, m.offset, ep.coverage.since)
			if err != nil {
				wr.failed(e.room, err)
				return
			}
			if run.first = first; first == 0 {
				run.first = e.first // 0 where it was found by an audit
			}
		}
		if run.first > 0 && run.first <= run.last {
			add, to = append(add, &run), append(to, ep)
		}
	}
	for i, ep := range to {
		if t := wr.extend(b, ep, add[i]); t == nil {
			wr.append(b, ep, add[i], now)
		}
	}
	m = mark{epoch: e.epoch, offset: e.last}
	if len(wr.marks) >= maxMarks {
		clear(wr.marks)
	}
	wr.marks[e.room] = m
	b.set(markKey(e.room), appendMark(nil, m))
}

// failed leaves a room's messages to the next audit: its mark has not moved.
func (wr *writer) failed(room string, err error) {
	wr.w.meters.historyErrors.Inc()
	wr.w.unclean.Store(true)
	wr.w.log.Error("where a room's messages begin that are to be sent could not be read; the next audit tries again",
		slog.String("room", room), slog.Any("error", err))
}

// mark returns a room's mark, and whether it is the first time since the start
// that it was asked for.
func (wr *writer) mark(room string) (m mark, fresh bool, err error) {
	if m, ok := wr.marks[room]; ok {
		return m, false, nil
	}
	record, err := wr.w.opts.Outbox.Get(markKey(room))
	if err != nil || record == nil {
		return mark{}, true, err
	}
	m, err = decodeMark(record)
	return m, true, err
}

// append makes an entry of an event, at the end of an endpoint's queue.
func (wr *writer) append(b *batch, ep *endpoint, e *event, now time.Time) {
	entry := &entry{event: *e, number: wr.w.changes.number(now)}
	b.set(queueKey(keyQueue, ep.Name, entry.number), appendEvent(nil, e))
	b.added[ep] = append(b.added[ep], entry)
	if e.room != "" {
		b.rooms[e.room] = true
	}
	ep.meters.events[e.kind].Add(int(e.size()))
}

// extend lengthens the run at the end of a room's events, unless others of the
// room are about to follow it.
func (wr *writer) extend(b *batch, ep *endpoint, e *event) *entry {
	if b.rooms[e.room] {
		return nil
	}
	t := ep.extend(e)
	if t != nil {
		b.extended = append(b.extended, extended{touched{ep, t}, e.last})
		ep.meters.events[Message].Add(int(e.size()))
	}
	return t
}

// forget removes the marks of rooms that are no more.
func (wr *writer) forget(b *batch, stale map[string]mark) {
	for room, m := range stale {
		if newer, ok := wr.marks[room]; ok && newer != m {
			continue // the room is there again
		}
		delete(wr.marks, room)
		b.set(markKey(room), nil)
	}
}
