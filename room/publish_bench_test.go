package room

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/thronghq/throng/internal/callgrind"
	"github.com/thronghq/throng/proto"
)

// inStep returns a function that publishes a message of 128 bytes to a room of ten
// members and waits until the last of them has it: the message's whole way through
// the room, from the command to the last delivery, without sockets and without a
// disk. As no message goes out together with another, each costs the same.
func inStep(t testing.TB) (publish func()) {
	t.Helper()
	h := NewHub(Options{Namespaces: namespaces(), Limits: proto.DefaultLimits(), Log: newMemory(), Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(h.Close)
	ns, err := h.Namespace("room", "mem:r")
	if err != nil {
		t.Fatal(err)
	}
	delivered := make(chan struct{}, 1)
	var joined sync.WaitGroup
	var places []*Membership
	for i := range 10 {
		joined.Add(1)
		var m Member = &joiner{counter: counter{codec: testCodec, name: fmt.Sprint(i)}, joined: &joined}
		if i == 9 {
			m = &last{m.(*joiner), delivered}
		}
		places = append(places, h.NewMembership(m, "mem:r", ns))
		h.Join(places[i], JoinRequest{MayCreate: true})
		joined.Wait()
	}
	select {
	case <-delivered: // its own member_joined
	default:
	}
	author, content := places[0].member, []byte(fmt.Sprintf(`"%0126d"`, 0))
	return func() {
		h.Publish(author, places[0], "mem:r", ns, Publication{ID: []byte("1"), Content: content})
		<-delivered
	}
}

// last is a joiner that tells of each delivery.
type last struct {
	*joiner
	delivered chan struct{}
}

func (l *last) Deliver(b []byte) bool {
	l.delivered <- struct{}{}
	return l.joiner.Deliver(b)
}

// A message's way through a room allocates what is kept of it (itself, its bytes,
// its frame with where it ends, and the author's ack) and nothing else.
func TestAPublishAllocatesLittle(t *testing.T) {
	if raceEnabled {
		t.Skip("not counted under the race detector")
	}
	publish := inStep(t)
	publish()
	if n := testing.AllocsPerRun(500, publish); n > 5 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkPublishInStep is one message after the other.
func BenchmarkPublishInStep(b *testing.B) { callgrind.Loop(b, inStep(b)) }
