package storage

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/thronghq/throng/proto"
)

// errHole is reported where messages that must be there are not.
var errHole = errors.New("storage: messages are missing in the middle of a room's log")

// view is what of a room's log can be read at one moment.
type view struct {
	head     place
	segments []segment
	cutoff   int64  // the oldest time
	floor    uint64 // the lowest offset, as far as it is known without the disk
	first    place  // a message that was the oldest by age, offset 0 for none
}

func (r *Room) view() view {
	r.mu.Lock()
	v := view{head: r.head, segments: r.segments, floor: r.floor, first: r.first}
	r.mu.Unlock()
	if size := uint64(r.namespace.HistorySize); v.head.offset > size {
		v.floor = max(v.floor, v.head.offset-size+1)
	} else if size == 0 {
		v.floor = v.head.offset + 1
	}
	v.cutoff = r.store.cutoff(v.segments, r.namespace)
	return v
}

// empty reports whether nothing can be read.
func (v *view) empty() bool {
	return v.floor > v.head.offset || v.head.time < v.cutoff || v.head.offset == 0
}

// cursor opens a cursor over all that the view can read.
func (r *Room) cursor(v *view) (*cursor, error) {
	return r.store.newCursor(r.id, r.store.spans(v.segments, v.cutoff, v.head.time+1))
}

// Read visits the stored messages that the range selects, oldest first or, with
// Reverse, newest first, until visit returns false. Only messages that the sink
// has been given are seen, and none that the namespace's retention excludes by
// number or by age. The message, its strings apart, is valid during the visit
// only. Visits should be short: a read keeps the store's files as they were.
//
// An error means that the history could not be read, never that there is less
// of it: proto.ErrStorage, or proto.ErrShuttingDown after Close, wrapped. What
// was visited before is right.
func (r *Room) Read(rg proto.Range, visit func(*proto.Message) bool) error {
	if !r.store.beginRead() {
		return proto.ErrShuttingDown
	}
	defer r.store.readers.Done()
	v := r.view()
	if v.empty() {
		return nil
	}
	r.store.tele.reads.Inc()
	if err := r.read(&v, rg, visit); err != nil {
		r.store.tele.readErrors.Inc()
		return fmt.Errorf("storage: reading room %q: %w", r.name, errors.Join(proto.ErrStorage, err))
	}
	return nil
}

// bounds are a range's, narrowed to what the view can read.
type bounds struct {
	low, high uint64 // offsets, both inclusive
	from, to  int64  // times, to exclusive
}

func (v *view) bounds(rg proto.Range) (b bounds, some bool) {
	b = bounds{low: max(v.floor, 1), high: v.head.offset, from: max(v.cutoff, rg.From), to: v.head.time + 1}
	if rg.After > 0 {
		if rg.After >= v.head.offset {
			return b, false
		}
		b.low = max(b.low, rg.After+1)
	}
	if rg.Before > 0 {
		b.high = min(b.high, rg.Before-1)
	}
	if rg.To > 0 {
		b.to = min(b.to, rg.To)
	}
	return b, b.low <= b.high && b.from < b.to
}

func (r *Room) read(v *view, rg proto.Range, visit func(*proto.Message) bool) (err error) {
	b, some := v.bounds(rg)
	if !some {
		return nil
	}
	c, err := r.cursor(v)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	w := walk{cursor: c, bounds: b, head: v.head, room: r.name, visit: visit, left: rg.Limit}
	if rg.Reverse {
		return w.backward(rg)
	}
	return w.forward(rg)
}

// walk is one read on its way.
type walk struct {
	*cursor
	bounds
	head  place
	room  string
	visit func(*proto.Message) bool
	left  int // of the limit; 0 at the start for none

	message proto.Message
}

// forward visits from the oldest message on.
func (w *walk) forward(rg proto.Range) error {
	ok := w.seekLow(rg)
	var last uint64
	for ; ok && w.key.offset <= w.high && w.key.time < w.to; ok = w.next() {
		if last != 0 && w.key.offset != last+1 {
			return errHole
		}
		last = w.key.offset
		more, err := w.show()
		if err != nil || !more {
			return err
		}
	}
	if w.err == nil && !ok && last < w.high && w.to > w.head.time {
		return errHole // the head is readable, but the walk did not reach it
	}
	return nil
}

// backward visits from the newest message on.
func (w *walk) backward(rg proto.Range) error {
	ok := w.seekHigh(rg)
	var last uint64
	for ; ok && w.key.offset >= w.low && w.key.time >= w.from; ok = w.prev() {
		if last != 0 && w.key.offset != last-1 {
			return errHole
		}
		last = w.key.offset
		more, err := w.show()
		if err != nil || !more {
			return err
		}
	}
	if w.err == nil && !ok && last == 0 && w.high == w.head.offset && w.to > w.head.time {
		return errHole
	}
	return nil
}

// show gives the current message to the visitor and reports whether to go on.
func (w *walk) show() (more bool, err error) {
	value, err := w.value()
	if err != nil {
		return false, err
	}
	rec, err := decodeRecord(value)
	if err != nil {
		return false, fmt.Errorf("offset %d: %w", w.key.offset, err)
	}
	m := &w.message
	m.ID = proto.NewMsgID(w.key.time, rec.tail)
	m.Offset, m.Time = w.key.offset, w.key.time
	if m.From != string(rec.author) { // most messages follow one of the same author
		m.From = string(rec.author)
	}
	if m.To = w.room; len(rec.to) > 0 {
		m.To = string(rec.to)
	}
	m.Key, m.Kind, m.Content = string(rec.key), rec.kind, rec.content
	if !w.visit(m) {
		return false, nil
	}
	w.left--
	return w.left != 0, nil
}

// hintReach is how far a hint of a position's time may miss and still save the
// search: clients know milliseconds.
const hintReach = 64

// seekLow moves to the first message within the bounds.
func (w *walk) seekLow(rg proto.Range) bool {
	if rg.Hint > 0 && rg.After > 0 && rg.Hint >= w.from && w.seekTime(rg.Hint) &&
		w.key.offset <= w.low && w.low-w.key.offset <= hintReach {
		for w.key.offset < w.low {
			if !w.next() {
				return false
			}
		}
		return true
	}
	if rg.From == 0 && w.low > 1 {
		ok := w.seekOffset(w.low, w.head)
		if !ok || w.key.time >= w.from {
			return ok
		}
	}
	ok := w.seekTime(w.from)
	if ok && w.key.offset < w.low {
		return w.seekOffset(w.low, w.head)
	}
	return ok
}

// seekHigh moves to the last message within the bounds.
func (w *walk) seekHigh(rg proto.Range) bool {
	if rg.Hint > 0 && rg.Before > 0 && rg.Hint < w.to && w.seekBefore(min(rg.Hint+1000, w.to)) &&
		w.key.offset >= w.high && w.key.offset-w.high <= hintReach {
		return w.downTo(w.high)
	}
	ok := w.seekBefore(w.to)
	if !ok || w.key.offset <= w.high {
		return ok
	}
	if w.key.offset-w.high <= nearby {
		return w.downTo(w.high)
	}
	return w.seekOffset(w.high, w.head) && w.downTo(w.high)
}

func (w *walk) downTo(offset uint64) bool {
	for w.key.offset > offset {
		if !w.prev() {
			return false
		}
	}
	return true
}

// Covers reports whether everything after a position is still in the log: its
// epoch is this log's, the position is within that epoch's end, and nothing
// after it has been removed. It touches the disk only when the oldest known
// message has expired since the last call.
func (r *Room) Covers(pos proto.Position) bool {
	generation, ok := parseEpoch(pos.Epoch, r.birth)
	if !ok {
		return false
	}
	head := r.Head().Offset
	end, ok := epochEnd(r.epochs, generation, head)
	if !ok || pos.Offset > end {
		return false
	}
	if pos.Offset == head {
		return true
	}
	first, err := r.lowest()
	if err != nil {
		r.logReadError(err)
		return false
	}
	return first != 0 && pos.Offset+1 >= first
}

// First returns the lowest offset that can be read, 0 where nothing can. If the
// disk cannot be read it is the lowest that may be; Read then tells the error.
func (r *Room) First() uint64 {
	first, err := r.lowest()
	if err != nil {
		r.logReadError(err)
		v := r.view()
		return v.floor
	}
	return first
}

func (r *Room) logReadError(err error) {
	r.store.tele.readErrors.Inc()
	r.store.log.Error("the oldest message of a room could not be read", slog.String("room", r.name), slog.Any("error", err))
}

// lowest returns the lowest offset that can be read, 0 where nothing can. The
// oldest message by age is remembered until it expires; what the number of
// messages excludes is known anyway.
func (r *Room) lowest() (uint64, error) {
	v := r.view()
	if v.empty() {
		return 0, nil
	}
	if v.first.offset == 0 || v.first.time < v.cutoff {
		if !r.store.beginRead() {
			return 0, proto.ErrShuttingDown
		}
		defer r.store.readers.Done()
		oldest, err := r.findOldest(&v)
		if err != nil {
			return 0, err
		}
		v.first = oldest
		r.mu.Lock()
		r.first = oldest
		r.mu.Unlock()
	}
	first := max(v.first.offset, v.floor)
	if first > v.head.offset {
		return 0, nil
	}
	return first, nil
}

// findOldest returns the oldest message that has not expired.
func (r *Room) findOldest(v *view) (p place, err error) {
	c, err := r.cursor(v)
	if err != nil {
		return place{}, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if !c.seekTime(v.cutoff) {
		if c.err == nil {
			return place{}, errHole // the head has not expired
		}
		return place{}, nil // close tells the error
	}
	return c.place(), nil
}
