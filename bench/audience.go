package bench

import (
	"context"
	"errors"
	"runtime"
	"sync"
)

// audience is members of rooms on WebSockets, on a thread of their own, while
// something else goes on. They are a fan-out's, with its checks of order.
type audience struct {
	steps   chan func(worker)
	stopped sync.WaitGroup
	err     error // that ended the thread; set before steps' receiver is gone
	gone    chan struct{}
}

// newAudience opens the connections that the options ask for. Each message that
// reaches one of them is told to heard, on the audience's thread, if that is not
// nil.
func newAudience(ctx context.Context, o options, t target, heard func(stamp, uint64)) (*audience, error) {
	f, err := newFanout(share{target: t, options: &o, conns: o.Conns})
	if err != nil {
		return nil, err
	}
	f.heard = heard
	a := &audience{steps: make(chan func(worker)), gone: make(chan struct{})}
	a.stopped.Go(func() {
		runtime.LockOSThread() // and let the thread end with it
		defer close(a.gone)
		defer f.close()
		a.err = a.serve(ctx, f)
	})
	if _, err := a.step(ctx, input{Step: stepOpen}); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// serve does steps, and reads in between.
func (a *audience) serve(ctx context.Context, w worker) error {
	for {
		select {
		case step, ok := <-a.steps:
			if !ok {
				return nil
			}
			step(w)
		default:
			if err := w.idle(ctx); err != nil {
				return err
			}
		}
	}
}

// step has the members do a step, and returns when it is done.
func (a *audience) step(ctx context.Context, in input) (out output, err error) {
	done := make(chan struct{})
	select {
	case a.steps <- func(w worker) {
		defer close(done)
		out, err = w.step(ctx, in)
	}:
		<-done
		return out, err
	case <-a.gone:
		return output{}, errors.Join(errors.New("the audience has gone"), a.err)
	}
}

// close ends the connections.
func (a *audience) close() error {
	close(a.steps)
	a.stopped.Wait()
	return a.err
}
