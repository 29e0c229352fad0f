package model

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing/synctest"

	"github.com/thronghq/throng/proto"
)

// race lets two clients do something in one room at the same time: both publish,
// or the second one joins, or reads what it had left. Which comes first is the
// server's choice; it must be the same for everybody.
func (w *world) race(c, d *client, r *truth, n, m int) {
	const most = 4 // messages, all of which must be kept, so that their order can be read
	w.wake(r)
	mayClose := r.ns.Slow == proto.SlowClose // whoever gets too much in the midst of its messages
	if c == d || d.session == nil || mayClose || r.owner() != "" || r.fresh() || r.kept() < most ||
		r.publishes(c.user) != "" || r.publishes(d.user) != "" {
		w.publish(c, r, "", m)
		return
	}
	var sent []*message
	frames := func(c *client) (list [][]byte) {
		for i := range most / 2 {
			msg := w.newMessage(c, r.name, "", m+i)
			reply, frame := w.prepare(c, msg.command(), func(e *event) { w.checkAck(c, r, msg, false, e) })
			reply.acks = msg
			sent, list = append(sent, msg), append(list, frame)
		}
		return list
	}
	ours := frames(c)
	var theirs [][]byte
	switch reads := d.lazy && n%3 > 0; {
	case reads:
	case n%2 == 0 && d.streams[r.name] == nil:
		theirs = [][]byte{w.prepareJoin(d, r, 0, m)}
	default:
		theirs = frames(d)
	}
	var senders sync.WaitGroup
	senders.Go(func() { c.say(ours...) })
	senders.Go(func() {
		if d.say(theirs...); theirs == nil {
			w.read(d, all)
		}
	})
	senders.Wait()
	synctest.Wait()
	w.order(r, sent)
}

// order appends messages whose order the server has chosen, as its history has
// it. Those of one client are in the order in which it sent them.
func (w *world) order(r *truth, sent []*message) {
	e := w.ephemeral(auditor, r.name, fmt.Sprintf(`"type":"history","room":%q,"after":%d`, r.name, r.head()))
	r.touch()
	if e.Type != "history" || len(e.Messages) != len(sent) {
		w.fail("%d messages were sent to room %s, but its history has %v", len(sent), r.name, &e)
	}
	for i := range e.Messages {
		content := string(e.Messages[i].Content)
		at := slices.IndexFunc(sent, func(m *message) bool { return m.content == content })
		switch {
		case at < 0:
			w.fail("the history of room %s has %.40s, which nobody sent", r.name, content)
		case slices.ContainsFunc(sent[:at], func(m *message) bool { return m.author == sent[at].author }):
			w.fail("the history of room %s has %.40s before what its author sent before it", r.name, strings.TrimSpace(content))
		}
		r.append(sent[at])
		sent = slices.Delete(sent, at, at+1)
	}
}
