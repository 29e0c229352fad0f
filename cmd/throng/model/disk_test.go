package model

import (
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/storage/storagetest"
)

// faultTime is how long the disk may fail: twice the interval in which async rooms
// are synced.
const faultTime = 10 * time.Millisecond

// expiresSoon reports whether the store looks for expired messages within
// faultTime. Removing them begins a new log, and where the old one fails then,
// Pebble stays in the midst of it with a mutex held, as it should in a process that
// is to end, which a bubble takes for work that goes on.
func (w *world) expiresSoon() bool {
	const every = briefTTL / 8 / 4
	since := time.Since(w.began) % every
	return since < faultTime || since > every-2*faultTime
}

// failDisk sends messages to a room while a write or a sync of the log fails,
// one of the next ones or none. Where it does, the server must end: what it has
// acknowledged until then, in a sync room, is there in the next life, and what it
// has not may be.
func (w *world) failDisk(c *client, r *truth, n, m int) {
	w.wake(r)
	r.create(c.user)
	if !r.durable() || r.publishes(c.user) != "" || w.expiresSoon() {
		w.publish(c, r, "", m)
		return
	}
	safe, refused := r.head(), false
	if r.ns.Durability != proto.Sync {
		safe = r.synced
	}
	w.fault.FailLog(int64(n%8), oneOf(storagetest.FaultModes, m))
	for i := range 1 + n%4 {
		msg := w.newMessage(c, r.name, "", m+i)
		r.append(msg)
		w.send(c, msg.command(), func(e *event) {
			switch {
			case e.Type == "error" && e.Code == "storage_failed":
				refused = true
			case refused:
				w.fail("%s got %v, after a message that was refused", c, e)
			default:
				w.checkAck(c, r, msg, false, e)
				if r.ns.Durability == proto.Sync {
					safe = msg.offset
				}
			}
		}).acks = msg
		if w.calm(); c.closed() {
			break
		}
	}
	time.Sleep(faultTime)
	synctest.Wait()
	w.fault.FailLog(-1, storagetest.NotDone)
	ended := w.ended.Load()
	if failed := w.fault.Happened(); ended != (failed != "") || refused && !ended {
		w.fail("%q has failed, a message was refused: %v, the server has ended: %v", failed, refused, ended)
	}
	if !ended {
		w.advance(time.Millisecond) // sees to what has become due in the fault's time
		return
	}
	for _, other := range w.clients {
		if s := other.streams[r.name]; s != nil && r.ns.Durability == proto.Sync {
			safe = max(safe, s.next-1)
		}
	}
	r.synced = safe
	w.leaveServer()
	w.crash(oneOf(percents, n), uint64(m))
}
