package hook

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/thronghq/throng/proto"
)

// An audit compares the ends of the rooms' logs with the marks, which say up to
// where their messages have entered the queues, and enqueues what is missing. That
// is how messages are told of at least once: what a crash took from the intake, or
// the intake had no space for, still stands in the log.

// auditPage is how many rooms and marks are read at a time.
const auditPage = 1000

var errAborted = errors.New("hook: the audit was cut short")

// auditLoop audits after an unclean stop, when the intake overflowed, and from
// time to time.
func (w *Webhooks) auditLoop(ctx context.Context) {
	ticker := time.NewTicker(w.opts.Audit)
	defer ticker.Stop()
	if w.unclean.Load() {
		w.startAudit()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.audits:
		case <-ticker.C:
		}
		w.unclean.Store(false)
		found, err := w.audit(ctx)
		if err != nil {
			w.unclean.Store(true)
			if ctx.Err() == nil {
				w.log.Error("the rooms' logs could not be compared with what is sent; this is tried again", slog.Any("error", err))
			}
		} else if found > 0 {
			w.log.Info("messages were found in the rooms' logs that had not been queued", slog.Int("rooms", found))
		}
		w.meters.audits.Inc()
	}
}

// startAudit asks for an audit soon.
func (w *Webhooks) startAudit() {
	w.unclean.Store(true)
	select {
	case w.audits <- struct{}{}:
	default:
	}
}

// audit goes through rooms and marks in the order of their names, a stretch at a
// time, and returns in how many rooms messages were missing. The marks are read
// first: a room that has one has had its record before.
func (w *Webhooks) audit(ctx context.Context) (found int, err error) {
	for after, more := "", true; more; {
		var marks map[string]mark
		var last string
		if marks, last, more, err = w.marksAfter(after); err != nil {
			return found, err
		}
		n, err := w.auditStretch(ctx, after, last, more, marks)
		found += n
		if err != nil {
			return found, err
		}
		after = last
	}
	return found, nil
}

// marksAfter returns the marks of the rooms that come next, and whether there may
// be more.
func (w *Webhooks) marksAfter(after string) (marks map[string]mark, last string, more bool, err error) {
	marks = make(map[string]mark)
	var bad error
	err = w.opts.Outbox.Scan(append(markKey(after), 0), []byte{keyMark + 1}, func(key, value []byte) bool {
		last = string(key[1:])
		marks[last], bad = decodeMark(value)
		more = len(marks) == auditPage
		return bad == nil && !more
	})
	return marks, last, more, errors.Join(err, bad)
}

// logEnd is the end of a room's log.
type logEnd struct {
	room, epoch string
	offset      uint64
}

// auditStretch compares the rooms from one name to another, or to the last room,
// with their marks.
func (w *Webhooks) auditStretch(ctx context.Context, after, last string, bounded bool, marks map[string]mark) (found int, err error) {
	for more := true; more; {
		page := make([]logEnd, 0, auditPage)
		more = false
		err := w.opts.History.Rooms(after, func(room, epoch string, offset uint64) bool {
			if bounded && room > last {
				return false
			}
			page = append(page, logEnd{room, epoch, offset})
			more = len(page) == auditPage
			return !more
		})
		if err != nil {
			return found, err
		}
		for _, l := range page {
			after = l.room
			m := marks[l.room]
			delete(marks, l.room)
			if m.offset == l.offset && m.epoch == l.epoch || !w.wants(Message, proto.NamespaceOf(l.room)) || !w.opts.Logged(l.room) {
				continue
			}
			if m.offset != l.offset {
				found++
			}
			e := event{kind: Message, at: w.opts.Now().UnixMilli(), room: l.room, span: span{l.epoch, 0, l.offset}}
			if !w.intake.offer(e) {
				return found, errAborted
			}
		}
		if ctx.Err() != nil {
			return found, errAborted
		}
	}
	for room, m := range marks {
		w.changes.forget(room, m)
	}
	return found, nil
}
