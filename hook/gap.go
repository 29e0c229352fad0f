package hook

import (
	"encoding/binary"
	"encoding/json"

	"github.com/thronghq/throng/proto"
)

// maxGapSpans bounds the runs of messages that a gap lists; of what is beyond it
// tells the number.
const maxGapSpans = 64

// gap is what an endpoint was not told of.
type gap struct {
	id           proto.MsgID
	since, until int64 // Unix ms: when the first and last of it happened or was dropped
	counts       [eventCount]uint64
	spans        []roomSpan
}

// roomSpan is a run of a room's messages.
type roomSpan struct {
	room string
	span
}

func (g *gap) empty() bool { return g.counts == [eventCount]uint64{} }

// add notes n missing events of a kind that happened at a time.
func (g *gap) add(kind Event, n uint64, at int64) {
	if n == 0 {
		return
	}
	if g.empty() || at < g.since {
		g.since = at
	}
	g.until = max(g.until, at)
	g.counts[kind] += n
}

// addEvent notes one event, which for messages is a run of them.
func (g *gap) addEvent(e *event) {
	g.add(e.kind, e.size(), e.at)
	if e.kind == Message {
		g.addSpan(roomSpan{e.room, e.span})
	}
}

func (g *gap) addSpan(s roomSpan) {
	for i := range g.spans {
		if o := &g.spans[i]; o.room == s.room && o.epoch == s.epoch && o.last+1 == s.first {
			o.last = s.last
			return
		}
	}
	if len(g.spans) < maxGapSpans {
		g.spans = append(g.spans, s)
	}
}

// merge adds what another gap misses.
func (g *gap) merge(o *gap) {
	for kind, n := range o.counts {
		g.add(Event(kind), n, o.since)
	}
	g.until = max(g.until, o.until)
	for _, s := range o.spans {
		g.addSpan(s)
	}
}

func appendGap(dst []byte, g *gap) []byte {
	dst = append(dst, recordVersion)
	dst = append(dst, g.id[:]...)
	dst = binary.AppendUvarint(dst, uint64(g.since))
	dst = binary.AppendUvarint(dst, uint64(g.until))
	for _, n := range g.counts[Connect:] {
		dst = binary.AppendUvarint(dst, n)
	}
	dst = binary.AppendUvarint(dst, uint64(len(g.spans)))
	for _, s := range g.spans {
		dst = appendSpan(appendString(dst, s.room), s.span)
	}
	return dst
}

func decodeGap(b []byte) (*gap, error) {
	r := reader{rest: b}
	r.version(recordVersion)
	g := &gap{id: r.id(), since: r.time(), until: r.time()}
	for kind := Connect; kind < eventCount; kind++ {
		g.counts[kind] = r.uvarint()
	}
	n := r.uvarint()
	r.bad = r.bad || n > maxGapSpans
	for ; n > 0 && !r.bad; n-- {
		g.spans = append(g.spans, roomSpan{r.string(), r.span()})
	}
	return g, r.end()
}

// missingSpan is a run of messages in payloads.
type missingSpan struct {
	Room  string `json:"room,omitempty"`
	Epoch string `json:"epoch,omitempty"`
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// body is the gap's payload.
func (g *gap) body(endpoint string) (id string, body []byte, err error) {
	id = eventID(g.id)
	counts := make(map[string]uint64)
	for kind, n := range g.counts {
		if n > 0 {
			counts[Event(kind).String()] = n
		}
	}
	listed := uint64(0)
	spans := make([]missingSpan, len(g.spans))
	for i, s := range g.spans {
		spans[i] = missingSpan{Room: s.room, Epoch: s.epoch, First: s.first, Last: s.last}
		listed += s.count()
	}
	body, err = json.Marshal(struct {
		ID        string            `json:"id"`
		Event     string            `json:"event"`
		Timestamp int64             `json:"timestamp"`
		Endpoint  string            `json:"endpoint"`
		Since     int64             `json:"since"`
		Until     int64             `json:"until"`
		Missing   map[string]uint64 `json:"missing"`
		Messages  []missingSpan     `json:"messages"`
		Unlisted  uint64            `json:"unlisted"`
	}{id, Gap.String(), g.until, endpoint, g.since, g.until, counts, spans, g.counts[Message] - min(listed, g.counts[Message])})
	return id, body, err
}

func eventID(id proto.MsgID) string { return "evt_" + id.String() }
