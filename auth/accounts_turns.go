package auth

import (
	"context"
	"sync"
	"time"

	"github.com/thronghq/throng/proto"
)

// turns lets what changes one account happen one after the other, which takes a
// read from the disk and a synced write, while other accounts go on beside it.
// A lock per account would do the same; a turn ends its wait with the request.
//
// Who needs both takes an account's turn first, then the shared one.
type turns struct {
	mu   sync.Mutex
	held map[string]*turn // bounded by the requests that are being served
}

// sharedTurn is for what belongs to no account: API keys and single tokens. No
// account has that name.
const sharedTurn = ""

type turn struct {
	free  chan struct{} // holds one value while nobody has the turn
	users int           // who have it or wait for it, under turns.mu
}

// take waits for the turn of the name; the caller calls release when it is
// done. The end of ctx ends the wait with ErrOverloaded.
func (t *turns) take(ctx context.Context, name string) (release func(), err *proto.Error) {
	t.mu.Lock()
	if t.held == nil {
		t.held = make(map[string]*turn)
	}
	mine := t.held[name]
	if mine == nil {
		mine = &turn{free: make(chan struct{}, 1)}
		mine.free <- struct{}{}
		t.held[name] = mine
	}
	mine.users++
	t.mu.Unlock()
	select {
	case <-mine.free:
		return func() {
			mine.free <- struct{}{}
			t.leave(name, mine)
		}, nil
	case <-ctx.Done():
		t.leave(name, mine)
		return nil, proto.ErrOverloaded.After(time.Second)
	}
}

func (t *turns) leave(name string, mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.users--; mine.users == 0 {
		delete(t.held, name)
	}
}
