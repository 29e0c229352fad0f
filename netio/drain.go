package netio

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/thronghq/throng/proto"
)

const (
	// pacePerConn and paceShare bound for how long Shutdown spreads its
	// closes: so long for each connection, and so much of the time it has.
	pacePerConn = 2 * time.Millisecond
	paceShare   = 2
	paceStep    = 20 * time.Millisecond // between two batches, half of it more or less
	yieldEvery  = 32                    // raw sends, which have no preemption point
)

// Shutdown refuses new connections and closes the others with 1012, in paced
// batches in random order and at uneven intervals, so that the clients don't
// come back all at once. The contexts of streaming requests (Options.Streams)
// end in the same way. It waits until what waits for the connections is sent,
// net/http has answered its requests, and all goroutines have ended. When ctx
// ends first, it cuts off what is left and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.refuse()
	s.endOnce.Do(func() {
		s.endErr = s.end(ctx)
		close(s.done)
	})
	<-s.done
	return s.endErr
}

// Hurry has Shutdown, under way or to come, close all connections in one go. It
// cuts nobody off: that is for the end of Shutdown's context.
func (s *Server) Hurry() { s.hurryOnce.Do(func() { close(s.hurry) }) }

func (s *Server) end(ctx context.Context) error {
	var webErr error
	var web sync.WaitGroup
	web.Go(func() { webErr = s.web.shutdown(ctx) })
	web.Go(func() { paced(ctx, s.hurry, s.web.streams.close(), (*stream).shutDown) })
	s.closeAll(ctx)
	var err error
	select {
	case <-s.core.live.drained():
	case <-ctx.Done():
		err = ctx.Err()
		s.core.slots.each((*Conn).Abort)
		<-s.core.live.drained()
	}
	web.Wait()
	s.web.givers.Wait() // no connection is left that could be given away
	if s.core.handshakes != nil {
		s.core.handshakes.work.Wait() // … or whose handshake could go on
	}
	return errors.Join(err, webErr, s.release())
}

// closeAll closes every connection, spread over time.
func (s *Server) closeAll(ctx context.Context) {
	var conns []*Conn
	s.core.slots.each(func(c *Conn) { conns = append(conns, c) })
	rand.Shuffle(len(conns), func(i, j int) { conns[i], conns[j] = conns[j], conns[i] })
	paced(ctx, s.hurry, conns, (*Conn).shutDown)
}

// paced calls do for each, spread over time: until hurry is closed, when the
// rest follows at once, or until ctx ends, when nothing does.
func paced[T any](ctx context.Context, hurry <-chan struct{}, all []T, do func(T)) {
	spread := time.Duration(len(all)) * pacePerConn
	if deadline, ok := ctx.Deadline(); ok {
		spread = min(spread, time.Until(deadline)/paceShare)
	}
	steps := max(int(spread/paceStep), 1)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for i := range steps {
		select {
		case <-ctx.Done():
			return
		case <-hurry:
		case <-pause.C:
			pause.Reset(paceStep/2 + rand.N(paceStep))
		}
		if ctx.Err() != nil {
			return // whatever else came with it
		}
		for n, one := range all[len(all)*i/steps : len(all)*(i+1)/steps] {
			if n%yieldEvery == yieldEvery-1 {
				runtime.Gosched()
			}
			do(one)
		}
	}
}

// shutDown tells the client that the server goes. A connection that is not open
// has nothing to be told.
func (c *Conn) shutDown() {
	if c.currentPhase() == phaseHandshake {
		c.die(CauseShutdown)
		return
	}
	c.closeFor(CauseShutdown, proto.ErrShuttingDown.Close, proto.ErrShuttingDown.Reason)
}
