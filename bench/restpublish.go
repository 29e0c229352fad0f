package bench

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
)

// publish sends messages by POST on kept-alive connections, each of them a user
// of its own author number, and holds what the room's WebSocket members get to
// what the answers say.
func (r *rest) publish(ctx context.Context) (*result, error) {
	o := r.options
	token, err := r.bearer(ctx, r.userOf(0))
	if err != nil {
		return nil, err
	}
	if err := r.measureFloor(ctx); err != nil {
		return nil, err
	}
	r.progress.stage("opening %d members", o.Conns)
	members := *o
	members.Rooms, members.Publishers = 1, 0
	var heard tracks
	a, err := newAudience(ctx, members, r.target, heard.add)
	if err != nil {
		return nil, err
	}
	defer a.close()
	room := roomName(o.Prefix, 0)
	askers := make([]asker, o.Requests)
	for i := range askers {
		askers[i] = &poster{author: int32(o.Conns + i), path: messagesPath(room), size: o.Size}
	}
	r.progress.stage("measuring POST …/messages")
	load, warm := r.load(token), violations{}
	load.warm = func() error {
		head, _ := newest(askers)
		before, err := r.gathered(ctx, a, head)
		if err == nil {
			warm = before.Violations
			_, err = a.step(ctx, input{Step: stepBegin})
		}
		return err
	}
	p, err := load.run(ctx, askers)
	if err != nil {
		return nil, err
	}
	r.found.Requests = append(r.found.Requests, p.result("POST …/messages", r.floor))
	head, said := newest(askers)
	got, err := r.gathered(ctx, a, head)
	if err != nil {
		return nil, err
	}
	got.Violations.add(warm)
	got.Violations.add(p.tally.Violations)
	if !got.Violations.any() && !heard.are(said, o.Conns) {
		got.Violations.Order++ // some message has another offset for its author than for a member
	}
	got.Sent, got.Refused = p.tally.Sent, p.tally.Refused
	got.CPU, got.BusiestCPU = p.tally.CPU, p.tally.BusiestCPU
	return r.overall(got, p), nil
}

// newest returns the newest offset that posters know, and all that they were
// told.
func newest(posters []asker) (head uint64, said *tracks) {
	said = new(tracks)
	for _, one := range posters {
		p := one.(*poster)
		head = max(head, p.head)
		said.merge(&p.said)
	}
	return head, said
}

// gathered waits until all members have everything up to the head, and returns
// what they got since they joined.
func (r *rest) gathered(ctx context.Context, a *audience, head uint64) (*tally, error) {
	in := input{Step: stepDrain, Heads: []uint64{head}}
	if _, err := a.step(ctx, in); err != nil {
		return nil, err
	}
	in.Step = stepFinish
	out, err := a.step(ctx, in)
	return out.Tally, err
}

// poster publishes one message after the other.
type poster struct {
	author int32
	path   string
	size   int
	seq    uint32
	head   uint64 // offset of its newest message
	said   tracks
}

func (p *poster) next(body []byte, due int64) (method, path string, withBody []byte) {
	p.seq++
	body = append(body, `{"content":`...)
	body = appendContent(body, stamp{author: p.author, seq: p.seq, due: due}, p.size)
	return http.MethodPost, p.path, append(body, '}')
}

func (p *poster) answered(status int, body []byte, t *tally) (uint64, error) {
	if err := expectStatus(http.StatusCreated, status, body); err != nil {
		return 0, err
	}
	offset, ok := numberAfter(body, offsetField)
	if !ok {
		return 0, fmt.Errorf("the answer has no offset: %.300s", body)
	}
	if offset <= p.head {
		t.Violations.Order++ // a later message stands before an earlier one of the same author
	}
	p.head = offset
	p.said.add(stamp{author: p.author, seq: p.seq}, offset)
	return 1, nil
}

// tracks is a sum over pairs of a message and its offset: two that saw the same
// pairs, in whatever order, have the same.
type tracks struct{ sum atomic.Uint64 }

func (t *tracks) add(s stamp, offset uint64) {
	t.sum.Add(mix(mix(uint64(s.author)<<32|uint64(s.seq)) + offset))
}

func (t *tracks) merge(other *tracks) { t.sum.Add(other.sum.Load()) }

// are reports whether these are the other's pairs, each as many times.
func (t *tracks) are(other *tracks, times int) bool {
	return t.sum.Load() == other.sum.Load()*uint64(times)
}

// mix is the finalizer of SplitMix64: each bit of v moves all of the result.
func mix(v uint64) uint64 {
	v = (v ^ v>>30) * 0xbf58476d1ce4e5b9
	v = (v ^ v>>27) * 0x94d049bb133111eb
	return v ^ v>>31
}

// appendBatch appends the body of a batch of messages.
func appendBatch(dst []byte, first, count uint32, size int) []byte {
	dst = append(dst, `{"messages":[`...)
	for i := range count {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"content":`...)
		dst = appendContent(dst, stamp{seq: first + i}, size)
		dst = append(dst, '}')
	}
	return append(dst, "]}"...)
}

// decimal appends a number to a path.
func decimal(path string, n uint64) string { return path + strconv.FormatUint(n, 10) }
