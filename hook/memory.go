package hook

import "unsafe"

// What waits is counted in the server's memory budget, by these estimates of what
// it keeps alive. Texts that several queues share count in each.
const (
	eventCost      = int64(unsafe.Sizeof(event{}))
	entryCost      = int64(unsafe.Sizeof(entry{}))
	connectionCost = int64(unsafe.Sizeof(Connection{}))
	laneCost       = int64(unsafe.Sizeof(lane{})) + 64 // and its places in the map and the heap
)

// texts is what an event holds beside its fields.
func (e *event) texts() int64 {
	n := int64(len(e.room) + len(e.user) + len(e.epoch) + len(e.reason))
	if c := e.conn; c != nil {
		n += connectionCost + int64(len(c.SessionID)+len(c.UserID)+len(c.Address)+len(c.DeviceType)+len(c.DeviceOS)+len(c.Via))
	}
	return n
}

// cost is what an event takes in an endpoint's queue. It does not change while the
// event waits.
func (e *entry) cost() int64 { return entryCost + e.texts() }

func (l *lane) cost() int64 { return laneCost + int64(len(l.key)) }

// countLocked counts bytes more, or fewer, that wait for the endpoint.
func (ep *endpoint) countLocked(bytes int64) {
	ep.bytes += bytes
	ep.opts.Memory.Add(bytes)
}
