package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/gobwas/ws"
)

// handshake opens connections and drops them, over and over, a number of them at
// a time. Delivered is how many were accepted; the latency is from connect to
// the server's answer.
//
// Without a token the path is /echo, and the answer is the 101. With one it is
// /ws, and the answer is the session frame behind the 101: the server has then
// verified the token and made a session. Either way the client resets the
// connection at once, and what the server does about that is in the figures.
type handshake struct {
	share
	loop     *loop
	opener   opener
	tokens   []string // presented in turn, none for /echo
	since    []int64  // by the connection's place: when it was begun
	again    []*conn  // that have been dropped
	underWay int

	tally *tally
	cpu   usage
}

func newHandshake(part share) (*handshake, error) {
	h := &handshake{share: part, since: make([]int64, part.conns), tally: newTally()}
	var err error
	if h.tokens, err = readTokens(part.options.TokenFile); err != nil {
		return nil, err
	}
	if h.loop, err = newLoop(part.conns, h, func() { part.report(h.tally) }); err != nil {
		return nil, err
	}
	for i := range h.loop.conns {
		h.loop.conns[i].index = int32(part.first + i)
	}
	if h.opener, err = newOpener(h.loop, part, h.request); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// readTokens reads a file of tokens, one on each line; no path means none.
func readTokens(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--token-file: %w", err)
	}
	var tokens []string
	for _, field := range bytes.Fields(text) {
		tokens = append(tokens, string(field))
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("--token-file %s: it holds no token", path)
	}
	return tokens, nil
}

func (h *handshake) request(c *conn) []byte {
	if len(h.tokens) == 0 {
		return appendRequest(nil, h.target, "/echo", "", false)
	}
	token := h.tokens[h.tally.Sent%uint64(len(h.tokens))]
	b := appendRequest(nil, h.target, "/ws", jsonDialect{}.subprotocol(), false)
	b = append(b[:len(b)-len("\r\n")], "Authorization: Bearer "...)
	return append(append(b, token...), "\r\n\r\n"...)
}

func (h *handshake) close() { h.loop.close() }

func (h *handshake) idle(ctx context.Context) error { return h.loop.idle(ctx) }

func (h *handshake) step(ctx context.Context, in input) (output, error) {
	now := h.loop.clock.now()
	switch in.Step {
	case stepOpen, stepDrain: // nothing stays open
		return output{}, nil
	case stepWarm:
		return output{}, h.run(ctx, now+int64(h.options.Warmup))
	case stepBegin:
		h.tally, h.cpu = newTally(), ownUsage()
		return output{}, nil
	case stepRun:
		return output{}, h.run(ctx, now+int64(h.options.Duration))
	case stepFinish:
		h.tally.CPU = ownUsage().since(h.cpu).total().Seconds()
		return output{Tally: h.tally}, nil
	default:
		return output{}, fmt.Errorf("handshake has no step %q", in.Step)
	}
}

// run keeps all connections opening until that time, and returns when the last
// ones have been answered.
func (h *handshake) run(ctx context.Context, until int64) error {
	h.again = h.again[:0]
	for i := range h.loop.conns {
		h.again = append(h.again, &h.loop.conns[i])
	}
	stalled := h.loop.clock.now() + int64(h.options.Timeout)
	for before := h.tally.Delivered; ; {
		now := h.loop.clock.now()
		if now < until {
			if err := h.dialAgain(now); err != nil {
				return err
			}
		}
		if h.underWay == 0 {
			return nil
		}
		if err := h.loop.poll(ctx, stalled); err != nil {
			if _, refused := errors.AsType[*refusedUpgrade](err); refused {
				err = fmt.Errorf("%w; net.admission bounds the handshakes a second, and has to be out of the way", err)
			}
			return err
		}
		if h.tally.Delivered != before {
			before, stalled = h.tally.Delivered, now+int64(h.options.Timeout)
		} else if now > stalled {
			return fmt.Errorf("no handshake has been answered for %v", h.options.Timeout)
		}
	}
}

func (h *handshake) dialAgain(now int64) error {
	for _, c := range h.again {
		h.since[h.loop.slot(c)] = now
		if err := h.loop.dial(c, &h.opener); err != nil {
			return err
		}
		h.tally.Sent++
		h.underWay++
	}
	h.again = h.again[:0]
	return nil
}

// answered drops a connection, whose place is taken by another once all that
// has come is read.
func (h *handshake) answered(c *conn, at int64) error {
	h.tally.Delivered++
	h.tally.Latency.record(h.since[h.loop.slot(c)], at)
	h.underWay--
	h.loop.drop(c) // sockets do not linger: that is an RST
	h.again = append(h.again, c)
	return nil
}

func (h *handshake) opened(c *conn) error {
	if len(h.tokens) > 0 {
		return nil // the session is to come
	}
	return h.answered(c, h.loop.clock.now())
}

func (h *handshake) frame(c *conn, _ ws.OpCode, payload []byte, at int64) error {
	if c.state == stateClosed {
		return nil
	}
	var ev event
	if err := (jsonDialect{}).read(payload, &ev); err != nil {
		return err
	}
	if ev.kind != evSession {
		return fmt.Errorf("%w: %.300s", errRefused, payload)
	}
	return h.answered(c, at)
}
