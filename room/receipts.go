package room

import (
	"context"
	"sync"
	"time"

	"github.com/thronghq/throng/proto"
)

const (
	// saveEvery is how often receipts are saved, all of them in one batch: a
	// crash may set them back by as much.
	saveEvery = 5 * time.Second

	// receiptsWaiting is how many may wait for that before it is done early.
	receiptsWaiting = 50_000

	// maxReceiptsWaiting is how many may wait at all, while the disk takes
	// none: further users' are not kept.
	maxReceiptsWaiting = 4 * receiptsWaiting
)

// receipts holds what users have acknowledged until it is saved.
type receipts struct {
	full chan struct{} // asks for an early save

	mu    sync.Mutex
	dirty map[receiptOf]uint64
}

type receiptOf struct{ room, user string }

// raise takes note of an acknowledgement. It reports false where a higher one
// waits already.
func (t *receipts) raise(room, user string, offset uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := receiptOf{room, user}
	known := t.dirty[of]
	if known >= offset {
		return false
	}
	if known == 0 && len(t.dirty) >= maxReceiptsWaiting {
		return true
	}
	if t.dirty == nil {
		t.dirty = make(map[receiptOf]uint64)
	}
	t.dirty[of] = offset
	if len(t.dirty) >= receiptsWaiting {
		select {
		case t.full <- struct{}{}:
		default: // asked already
		}
	}
	return true
}

func (t *receipts) waiting(room, user string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dirty[receiptOf{room, user}]
}

// AckRequest is an ack command that the session has found in order.
type AckRequest struct {
	ID     string
	Epoch  string
	Offset uint64
	Done   func() // called where there is no error to answer; nil for nobody
}

// Ack takes note of what the user has received of the room, up to and with the
// offset. The connection must be in the room, where ms is its place, unless the
// room is the user's own inbox, whose authors are told. Only errors are
// answered.
func (h *Hub) Ack(m Member, ms *Membership, name string, ns *proto.Namespace, req AckRequest) {
	h.post(name, ns, func(r *Room, err *proto.Error) {
		owner, inbox := InboxOwner(name)
		inbox = inbox && owner == m.UserID()
		switch {
		case err != nil:
		case !inbox && (ms == nil || !ms.in(r)):
			err = proto.ErrNotJoined.New()
		default:
			err = r.checkPosition(req)
		}
		switch {
		case err != nil:
			sendError(m, req.ID, name, err)
		case inbox:
			h.readers.submit(&deliveredJob{room: r, user: owner, to: req.Offset})
		case ns.Durability != proto.Memory:
			h.receipts.raise(name, m.UserID(), req.Offset)
		}
		if err == nil && req.Done != nil {
			req.Done()
		}
	})
}

// checkPosition reports what is wrong with a position that a client says to
// have reached.
func (r *Room) checkPosition(req AckRequest) *proto.Error {
	head := r.head.Load()
	switch {
	case req.Epoch == r.epoch && req.Offset > head:
		return proto.ErrBeyondHead.With("field \"offset\" is %d; the head of room %q is %d", req.Offset, r.name, head)
	case req.Epoch != r.epoch && !r.stream.Covers(proto.Position{Epoch: req.Epoch, Offset: req.Offset}):
		return proto.ErrInvalidField.With("field \"epoch\" is %.40q; the epoch of room %q is %q", req.Epoch, r.name, r.epoch)
	}
	return nil
}

// receipt returns how far the user has acknowledged the room. It may block.
func (h *Hub) receipt(room, user string) (uint64, error) {
	waiting := h.receipts.waiting(room, user)
	if waiting > 0 {
		return waiting, nil
	}
	return h.log.Receipt(room, user)
}

// saveReceipts saves what waits, now and then until ctx ends.
func (h *Hub) saveReceipts(ctx context.Context) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-h.receipts.full:
		}
		h.flushReceipts()
	}
}

// flushReceipts saves what waits. What could not be saved waits on.
func (h *Hub) flushReceipts() {
	t := &h.receipts
	t.mu.Lock()
	list := make([]proto.Receipt, 0, len(t.dirty))
	for of, offset := range t.dirty {
		list = append(list, proto.Receipt{Room: of.room, User: of.user, Offset: offset})
	}
	t.mu.Unlock()
	if len(list) == 0 {
		return
	}
	if err := h.log.SaveReceipts(list); err != nil {
		h.logger.Error("receipts could not be saved", "receipts", len(list), "error", err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range list {
		if of := (receiptOf{r.Room, r.User}); t.dirty[of] == r.Offset {
			delete(t.dirty, of)
		}
	}
}
