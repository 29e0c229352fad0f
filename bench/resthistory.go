package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strconv"
)

// batchBytes is about how large the bodies are with which a room is filled.
const batchBytes = 512 << 10

// maxBatch is how many messages such a body has at most.
const maxBatch = 1000

// history fills a room, and pages through it: by offset, from the oldest message
// to the newest and over again, and by time, from random moments on.
func (r *rest) history(ctx context.Context) (*result, error) {
	o := r.options
	token, err := r.bearer(ctx, r.userOf(0))
	if err != nil {
		return nil, err
	}
	if err := r.measureFloor(ctx); err != nil {
		return nil, err
	}
	r.progress.stage("filling a room")
	path := messagesPath(roomName(o.Prefix, 0))
	first, last, err := r.fill(ctx, token, path)
	if err != nil {
		return nil, err
	}
	both := newTally()
	var phases []phase
	for _, by := range []struct {
		name string
		one  func() asker
	}{
		{"GET …/messages by offset", func() asker {
			return &offsetPager{path: path + "?limit=" + strconv.Itoa(o.Page) + "&after=", head: o.Messages, page: o.Page}
		}},
		{"GET …/messages by time", func() asker {
			return &timePager{path: path + "?limit=" + strconv.Itoa(o.Page) + "&from=", head: o.Messages, page: o.Page, first: first, last: last}
		}},
	} {
		r.progress.stage("measuring %s", by.name)
		askers := make([]asker, o.Requests)
		for i := range askers {
			askers[i] = by.one()
		}
		p, err := r.load(token).run(ctx, askers)
		if err != nil {
			return nil, err
		}
		r.found.Requests = append(r.found.Requests, p.result(by.name, r.floor))
		both.add(p.tally)
		both.BusiestCPU = both.CPU // it is one process, one phase after the other
		phases = append(phases, p)
	}
	return r.overall(both, phases...), nil
}

// fill publishes the messages in batches, and returns the times of the first and
// the last one.
func (r *rest) fill(ctx context.Context, token, path string) (first, last int64, err error) {
	c, err := dialREST(ctx, r.target, netip.Addr{}, r.options.Timeout)
	if err != nil {
		return 0, 0, err
	}
	defer c.close()
	c.token = token
	count := uint64(max(1, min(maxBatch, batchBytes/r.options.Size)))
	var body []byte
	for done := uint64(0); done < r.options.Messages; {
		n := min(count, r.options.Messages-done)
		body = appendBatch(body[:0], uint32(done)+1, uint32(n), r.options.Size)
		answer, err := c.must(http.StatusOK, http.MethodPost, path+"/batch", body)
		if err != nil {
			return 0, 0, err
		}
		offsets := uint64(0)
		if _, err := (jsonDialect{}).readPage(answer, func(uint64) { offsets++ }); err != nil || offsets != n {
			return 0, 0, errors.Join(fmt.Errorf("%d of %d messages of a batch were taken: %.300s", offsets, n, answer), err)
		}
		done += n
	}
	for _, end := range []struct {
		at uint64
		to *int64
	}{{1, &first}, {r.options.Messages, &last}} {
		message, err := c.must(http.StatusOK, http.MethodGet, decimal(path+"/", end.at), nil)
		if err != nil {
			return 0, 0, err
		}
		at, ok := numberAfter(message, timestampField)
		if !ok {
			return 0, 0, fmt.Errorf("a message has no time: %.300s", message)
		}
		*end.to = int64(at)
	}
	return first, last, nil
}

var timestampField = []byte(`"timestamp":`)

// readRESTPage checks that a page's messages are gapless from the first one on,
// and that it is full unless the room ends with it. It returns the last offset.
func readRESTPage(body []byte, first, head uint64, page int, t *tally) (last, messages uint64, err error) {
	checked := stream{last: first - 1}
	_, err = jsonDialect{}.readPage(body, func(offset uint64) {
		messages++
		checked.see(offset, &t.Violations)
	})
	if messages < uint64(page) {
		checked.end(head, &t.Violations)
	}
	return checked.last, messages, err
}

// offsetPager reads page after page.
type offsetPager struct {
	path string
	head uint64
	page int
	last uint64 // the offset before the next page
}

func (p *offsetPager) next([]byte, int64) (method, path string, body []byte) {
	return http.MethodGet, decimal(p.path, p.last), nil
}

func (p *offsetPager) answered(status int, body []byte, t *tally) (messages uint64, err error) {
	if err := expectStatus(http.StatusOK, status, body); err != nil {
		return 0, err
	}
	p.last, messages, err = readRESTPage(body, p.last+1, p.head, p.page, t)
	if p.last >= p.head {
		p.last = 0
	}
	return messages, err
}

// timePager reads the page that begins at a random moment.
type timePager struct {
	path        string
	head        uint64
	page        int
	first, last int64 // times of the room's ends
	from        int64 // that was asked for
}

func (p *timePager) next([]byte, int64) (method, path string, body []byte) {
	p.from = p.first + rand.Int64N(p.last-p.first+1)
	return http.MethodGet, decimal(p.path, uint64(p.from)), nil
}

func (p *timePager) answered(status int, body []byte, t *tally) (uint64, error) {
	if err := expectStatus(http.StatusOK, status, body); err != nil {
		return 0, err
	}
	offset, ok := numberAfter(body, offsetField)
	at, okTime := numberAfter(body, timestampField)
	if !ok || !okTime || int64(at) < p.from {
		return 0, fmt.Errorf("the page from the time %d on begins otherwise: %.300s", p.from, body)
	}
	_, messages, err := readRESTPage(body, offset, p.head, p.page, t)
	return messages, err
}
