package netio

import (
	"container/heap"
	"container/list"
	"net/netip"
)

// line is the handshakes that wait for admission. The addresses that they come
// from take turns, and within an address they are in the order in which they came:
// who comes with thousands does not make others wait behind them.
type line struct {
	places  map[*Conn]place
	lanes   map[netip.Addr]*lane
	turns   list.List // of *lane: whose turn is next comes first
	longest lanes
}

// lane is what waits of one address.
type lane struct {
	from  netip.Addr
	conns list.List // of *Conn, at least one
	turn  *list.Element
	at    int // in longest
}

// place is where a handshake waits.
type place struct {
	lane *lane
	at   *list.Element
}

func newLine() line {
	return line{places: make(map[*Conn]place), lanes: make(map[netip.Addr]*lane)}
}

// count returns how many wait.
func (l *line) count() int { return len(l.places) }

// add takes one more.
func (l *line) add(c *Conn) {
	from := network(c.Address())
	n := l.lanes[from]
	if n == nil {
		n = &lane{from: from}
		n.turn = l.turns.PushBack(n)
		l.lanes[from] = n
		heap.Push(&l.longest, n)
	}
	l.places[c] = place{n, n.conns.PushBack(c)}
	heap.Fix(&l.longest, n.at)
}

// next takes the one whose turn it is. There must be one.
func (l *line) next() *Conn {
	n := l.turns.Front().Value.(*lane)
	l.turns.MoveToBack(n.turn)
	return l.take(n.conns.Front().Value.(*Conn))
}

// pushOut takes the newest of the address that has most, where that is more than
// the address of c would have with it; else it returns nil.
func (l *line) pushOut(c *Conn) *Conn {
	own := 0
	if n := l.lanes[network(c.Address())]; n != nil {
		own = n.conns.Len()
	}
	if len(l.longest) == 0 || l.longest[0].conns.Len() <= own+1 {
		return nil
	}
	return l.take(l.longest[0].conns.Back().Value.(*Conn))
}

// forget takes one out, if it is there.
func (l *line) forget(c *Conn) {
	if _, there := l.places[c]; there {
		l.take(c)
	}
}

func (l *line) take(c *Conn) *Conn {
	p := l.places[c]
	delete(l.places, c)
	n := p.lane
	n.conns.Remove(p.at)
	if n.conns.Len() > 0 {
		heap.Fix(&l.longest, n.at)
		return c
	}
	l.turns.Remove(n.turn)
	delete(l.lanes, n.from)
	heap.Remove(&l.longest, n.at)
	return c
}

// network is what counts as one address: an IPv6 client has all of a /64.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	p, _ := a.Prefix(64) // an IPv6 address has one
	return p.Addr()
}

// lanes is a heap; the longest lane comes first.
type lanes []*lane

func (h lanes) Len() int           { return len(h) }
func (h lanes) Less(i, j int) bool { return h[i].conns.Len() > h[j].conns.Len() }

func (h lanes) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *lanes) Push(x any) {
	n := x.(*lane)
	n.at = len(*h)
	*h = append(*h, n)
}

// Pop implements heap.Interface.
func (h *lanes) Pop() any {
	last := len(*h) - 1
	n := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return n
}
