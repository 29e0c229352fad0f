package hook

import (
	"container/heap"
	"context"
	"log/slog"
	"sync"
	"time"
)

// expireEvery is how often at least a queue is looked through for events that are
// too old; expireAtOnce bounds how many go while the queue is locked.
const (
	expireEvery  = time.Minute
	expireAtOnce = 1000
)

// job is one delivery: of a lane's first event or, without one, of the gap.
type job struct {
	lane  *lane
	entry *entry
	event event // the entry's, as it was when the job began
	upto  uint64
	gap   gap
	probe bool
}

// outcome is what became of a delivery.
type outcome struct {
	ok      bool
	own     bool // the endpoint had no part in it: the server could not read, or stops
	refused bool // for good
	gone    bool // the endpoint wants nothing any more
	busy    bool // the endpoint wants nothing for a while
	status  int  // of the answer, 0 for none
	after   time.Duration
	err     string
	through uint64 // message: the end of the run that was tried
}

// dispatch starts deliveries until stop is closed, each on a goroutine of its own,
// and waits for them; the end of ctx cuts them short.
func (ep *endpoint) dispatch(ctx context.Context, stop <-chan struct{}, history History) {
	var deliveries sync.WaitGroup
	defer deliveries.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		j, wait := ep.begin(ep.opts.Now())
		if j != nil {
			deliveries.Go(func() {
				began := time.Now()
				o := ep.deliver(ctx, j, history)
				ep.meters.observe(o, began)
				ep.finish(j, o, ep.opts.Now())
			})
			continue
		}
		timer.Reset(min(wait, expireEvery))
		select {
		case <-stop:
			return
		case <-ep.wake:
		case <-timer.C:
		}
	}
}

// begin returns the next delivery, or how long there is none.
func (ep *endpoint) begin(now time.Time) (*job, time.Duration) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.expireLocked(now) {
		return nil, 0
	}
	if ep.disabled || ep.running >= ep.opts.Concurrency {
		return nil, expireEvery
	}
	if wait := ep.paused.Sub(now); wait > 0 {
		return nil, wait
	}
	wait, ok := ep.breaker.wait(now)
	switch {
	case !ok:
		return nil, expireEvery
	case wait > 0:
		return nil, wait
	}
	probing := ep.breaker.opens > 0
	gapDue, isGap := ep.gapDueLocked(now)
	if isGap && (probing || !gapDue.After(now)) {
		ep.gapRunning = true
		ep.running++
		return &job{gap: ep.told, probe: ep.breaker.pass()}, 0
	}
	wait = expireEvery
	if isGap {
		wait = gapDue.Sub(now)
	}
	if len(ep.due) == 0 {
		return nil, wait
	}
	l := ep.due[0]
	if d := l.due.Sub(now); d > 0 && !probing {
		return nil, min(d, wait)
	}
	if ep.tooOld(l.head, now) { // although something younger stands before it
		ep.expireOneLocked(l.head, now)
		return nil, 0
	}
	if l.head.parked() {
		ep.parkLocked(l, now)
		return nil, writeEvery
	}
	heap.Pop(&ep.due)
	l.running = true
	ep.running++
	j := &job{lane: l, entry: l.head, event: l.head.event, upto: l.head.upto, probe: ep.breaker.pass()}
	j.event.last = l.head.written
	return j, 0
}

// parkLocked lets a lane wait until its first run has been written.
func (ep *endpoint) parkLocked(l *lane, now time.Time) {
	l.due = now.Add(expireEvery)
	if l.place >= 0 {
		heap.Fix(&ep.due, l.place)
	}
}

// gapDueLocked returns when the gap may be told, where there is one that is not
// being told.
func (ep *endpoint) gapDueLocked(now time.Time) (due time.Time, ok bool) {
	if ep.gapRunning {
		return time.Time{}, false
	}
	if ep.told.empty() {
		if ep.untold.empty() {
			return time.Time{}, false
		}
		ep.told, ep.untold = ep.untold, gap{}
		ep.told.id = newMsgID(now)
		ep.gapFailures, ep.gapDue = 0, now
	}
	return ep.gapDue, true
}

// expireLocked makes dead letters of events that waited for too long, and reports
// whether there may be more.
func (ep *endpoint) expireLocked(now time.Time) (more bool) {
	for range expireAtOnce {
		e := ep.idleOldestLocked()
		if e == nil || !ep.tooOld(e, now) {
			return false
		}
		ep.expireOneLocked(e, now)
	}
	return true
}

func (ep *endpoint) tooOld(e *entry, now time.Time) bool {
	return e.queued <= now.Add(-ep.MaxAge).UnixMilli()
}

func (ep *endpoint) expireOneLocked(e *entry, now time.Time) {
	reason := "it waited for longer than max_age"
	if ep.lastErrorText != "" {
		reason += "; the last error: " + ep.lastErrorText
	}
	ep.removeLocked(e)
	ep.buryLocked(&e.event, e.attempts, outcome{err: reason}, now)
}

// finish takes what became of a delivery.
func (ep *endpoint) finish(j *job, o outcome, now time.Time) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.running--
	ep.noteLocked(j, o, now)
	if j.entry == nil {
		ep.finishGapLocked(o, now)
	} else {
		ep.finishEntryLocked(j, o, now)
	}
	ep.wakeUp()
}

// noteLocked draws the conclusions about the endpoint.
func (ep *endpoint) noteLocked(j *job, o outcome, now time.Time) {
	if !o.ok {
		ep.lastErrorText = o.err
	}
	switch {
	case o.own:
		ep.breaker.abandon(j.probe)
		return
	case o.ok, o.refused, o.gone: // it answers
		if ep.breaker.success() {
			ep.hurryLocked(now)
			ep.log.Info("the endpoint answers again")
		}
	case ep.breaker.failure(now, j.probe):
		ep.log.Warn("the endpoint's circuit is open", slog.Duration("for", ep.breaker.opens), slog.String("error", o.err))
	}
	if o.ok {
		ep.delivered++
		ep.lastSuccess = now.UnixMilli()
		return
	}
	ep.lastFailure = now.UnixMilli()
	if o.busy && o.after > 0 {
		ep.paused = now.Add(o.after)
	}
	if o.gone && !ep.disabled {
		ep.disabled = true
		ep.log.Warn("the endpoint answered 410 Gone: nothing is sent to it until a restart or a replay")
	}
}

// hurryLocked lets everything that waits after a failure be tried now.
func (ep *endpoint) hurryLocked(now time.Time) {
	for _, l := range ep.due {
		if l.due.After(now) {
			l.due = now
		}
	}
	heap.Init(&ep.due)
	ep.gapDue = now
}

func (ep *endpoint) finishGapLocked(o outcome, now time.Time) {
	ep.gapRunning = false
	switch {
	case o.ok, o.refused:
		if o.refused {
			ep.log.Warn("the endpoint refused to be told what is missing", slog.String("error", o.err))
		}
		ep.told = gap{}
		ep.changed.touchGap(ep)
	case o.gone:
	default:
		ep.gapFailures++
		ep.gapDue = now.Add(max(ep.backoff(ep.gapFailures), o.after))
	}
}

func (ep *endpoint) finishEntryLocked(j *job, o outcome, now time.Time) {
	l, e := j.lane, j.entry
	l.running = false
	if !o.own {
		e.attempts++
	}
	switch {
	case o.ok:
		l.failures = 0
		ep.advanceLocked(e, o, now)
	case o.refused:
		l.failures = 0
		dead := j.event
		if dead.kind == Message {
			dead.last = o.through
		}
		ep.buryLocked(&dead, e.attempts, o, now)
		ep.advanceLocked(e, o, now)
	default:
		e.upto = o.through
		l.failures++
		l.due = now.Add(max(ep.backoff(l.failures), o.after))
	}
	if l.head != nil {
		heap.Push(&ep.due, l)
	}
}

// advanceLocked takes out of the queue what has been dealt with: the event, or the
// beginning of a run of messages.
func (ep *endpoint) advanceLocked(e *entry, o outcome, now time.Time) {
	e.lane.due = now
	if e.kind == Message && o.through < e.last {
		e.first, e.upto, e.attempts = o.through+1, 0, 0
		e.queued = now.UnixMilli() // the rest is younger than the beginning
		ep.changed.touch(ep, e)
		if e.parked() {
			ep.parkLocked(e.lane, now)
		}
		return
	}
	ep.removeLocked(e)
}
