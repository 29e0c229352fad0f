package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter bounds what an endpoint may ask for.
const maxRetryAfter = time.Hour

// userAgent names the sender.
const userAgent = "throng"

// deliver makes one try.
func (ep *endpoint) deliver(ctx context.Context, j *job, history History) outcome {
	var id string
	var body []byte
	var err error
	o := outcome{through: j.upto}
	switch {
	case j.entry == nil:
		id, body, err = j.gap.body(ep.Name)
	case j.event.kind == Message:
		id, body, o.through, err = messageBody(&j.event, ep.Name, j.upto, history)
	default:
		id, body, err = eventBody(&j.event, ep.Name)
	}
	if err != nil {
		o.own, o.err, o.through = true, shorten(err.Error()), j.upto
		return o
	}
	ctx, cancel := context.WithTimeout(ctx, ep.Timeout)
	defer cancel()
	a, err := post(ctx, ep.client, target{ep.URL, ep.Secret}, id, ep.opts.Now(), body, answerBody)
	if err != nil {
		o.own = errors.Is(context.Cause(ctx), context.Canceled)
		o.err = shorten(err.Error())
		return o
	}
	o.judge(a, ep.opts.Now())
	return o
}

// judge tells what an answer means.
func (o *outcome) judge(a answer, now time.Time) {
	o.status = a.status
	if o.ok = a.status >= 200 && a.status < 300; o.ok {
		return
	}
	o.err = "the endpoint answered " + strconv.Itoa(a.status)
	switch a.status {
	case http.StatusGone:
		o.gone = true
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		o.busy = true
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly:
	default:
		o.refused = a.status >= 400 && a.status < 500
	}
	o.after = retryAfter(a.header.Get("Retry-After"), now)
}

// retryAfter reads the header's two forms, seconds and a date; 0 for none.
func retryAfter(value string, now time.Time) time.Duration {
	var d time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// target is where something is sent, and the key that it is signed with.
type target struct {
	url string
	key []byte
}

// answer is an HTTP answer.
type answer struct {
	status int
	header http.Header
	body   []byte // its beginning
	cut    bool   // there was more
}

// post sends a signed body and reads the answer's, up to a number of bytes.
func post(ctx context.Context, c *http.Client, to target, id string, now time.Time, body []byte, limit int64) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.url, bytes.NewReader(body))
	if err != nil {
		return answer{}, withoutURL(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", userAgent)
	sign(request.Header, to.key, id, now, body)
	response, err := c.Do(request)
	if err != nil {
		return answer{}, withoutURL(err)
	}
	defer response.Body.Close()
	a := answer{status: response.StatusCode, header: response.Header}
	a.body, err = io.ReadAll(io.LimitReader(response.Body, limit+1))
	if a.cut = int64(len(a.body)) > limit; a.cut {
		a.body = a.body[:limit]
	} else if err != nil {
		return answer{}, fmt.Errorf("hook: reading the answer: %w", err)
	}
	return a, nil
}

// withoutURL takes the URL out of an error: it may hold a secret, and the reader
// knows the endpoint by its name.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// shorten bounds an error's text.
func shorten(text string) string {
	if len(text) <= errorTextBytes {
		return text
	}
	return strings.ToValidUTF8(text[:errorTextBytes], "") + "…"
}
