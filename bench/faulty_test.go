package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// faulty is a server with one room that does what servers must not do to one
// of those who listen.
type faulty struct {
	listener net.Listener
	fault    func(n int, send func(payload []byte), payload []byte) // n counts messages from 1
	serving  sync.WaitGroup

	mu      sync.Mutex
	members []net.Conn
	count   int
}

func startFaulty(t *testing.T, fault func(n int, send func([]byte), payload []byte)) *faulty {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{listener: listener, fault: fault}
	f.serving.Go(f.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		f.serving.Wait()
	})
	return f
}

func (f *faulty) accept() {
	for {
		c, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.serving.Go(func() { f.serve(c) })
	}
}

func (f *faulty) serve(c net.Conn) {
	defer c.Close()
	if !f.admit(c) {
		return
	}
	for {
		payload, err := wsutil.ReadClientText(c)
		if err != nil {
			return
		}
		f.publish(c, payload)
	}
}

// admit answers a handshake. No message is sent between the answer and the place
// among the members: who has the one has the other.
func (f *faulty) admit(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := ws.Upgrade(c); err != nil {
		return false
	}
	f.members = append(f.members, c)
	return true
}

func (f *faulty) publish(author net.Conn, payload []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	wronged := false
	for _, member := range f.members {
		send := func(payload []byte) { _ = wsutil.WriteServerText(member, payload) }
		if member != author && !wronged {
			wronged = true
			f.fault(f.count, send, payload)
		} else {
			send(payload)
		}
	}
}

// TestViolationsAreFound holds the generator to finding what it is there for.
func TestViolationsAreFound(t *testing.T) {
	var held []byte
	for _, test := range []struct {
		name  string
		fault func(n int, send func([]byte), payload []byte)
		want  violations
	}{
		{"none", func(_ int, send func([]byte), payload []byte) { send(payload) }, violations{}},
		{"loses the third", func(n int, send func([]byte), payload []byte) {
			if n != 3 {
				send(payload)
			}
		}, violations{Lost: 1}},
		{"loses the last two", func(n int, send func([]byte), payload []byte) {
			if n < 9 {
				send(payload)
			}
		}, violations{Lost: 2}},
		{"sends the fourth twice", func(n int, send func([]byte), payload []byte) {
			send(payload)
			if n == 4 {
				send(payload)
			}
		}, violations{Duplicates: 1}},
		{"swaps the fifth and the sixth", func(n int, send func([]byte), payload []byte) {
			if n == 5 {
				held = bytes.Clone(payload)
				return
			}
			send(payload)
			if n == 6 {
				send(held)
			}
		}, violations{Lost: 1, Order: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := startFaulty(t, test.fault)
			var out, table bytes.Buffer
			err := Run(t.Context(), []string{
				"fanout", "--codec", "floor", "--members", "3", "--messages", "10", "--rate", "1000", "--warmup", "0", "--timeout", "1s",
				"--url", f.listener.Addr().String(), "--pid", strconv.Itoa(os.Getpid()),
			}, Streams{Out: &out, Err: &table})
			if broken := test.want.any(); errors.Is(err, ErrViolated) != broken || !broken && err != nil {
				t.Errorf("the error is %v", err)
			}
			var r result
			if err := json.Unmarshal(out.Bytes(), &r); err != nil {
				t.Fatalf("%q: %v", out.String(), err)
			}
			if r.Violations != test.want {
				t.Errorf("%+v, want %+v\n%s", r.Violations, test.want, table.String())
			}
		})
	}
}

// TestStallIsAnError waits for a message that never comes.
func TestStallIsAnError(t *testing.T) {
	f := startFaulty(t, func(int, func([]byte), []byte) {})
	var out, table bytes.Buffer
	err := Run(t.Context(), []string{
		"fanout", "--codec", "floor", "--members", "2", "--messages", "1", "--warmup", "0", "--timeout", "300ms",
		"--url", f.listener.Addr().String(), "--pid", strconv.Itoa(os.Getpid()),
	}, Streams{Out: &out, Err: &table})
	if err == nil || out.Len() > 0 {
		t.Errorf("error %v, result %q", err, out.String())
	}
}
