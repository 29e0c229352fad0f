package netio

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"
)

// poller is netpoll's Poll without Trigger: it calls an operator's functions
// when its descriptor is ready. docs/design/0001-netpoll-poller.md says why
// netpoll's poller is used and its Connection is not.
//
// What holds for every implementation:
//
//   - OnRead and OnWrite run on the goroutine that runs Wait. Reading is level
//     triggered; PollWritable is edge triggered and does not read.
//   - When the peer has gone, the operator is detached and OnHup runs once, on
//     a goroutine of its own.
//   - Operators come from Alloc. Free and Control with PollReadable or
//     PollWritable must not be called inside a function of the same operator.
//   - All methods are safe for concurrent use.
type poller interface {
	// Wait runs the loop until Close.
	Wait() error
	// Close ends Wait.
	Close() error
	// Control starts, changes or ends the watching of an operator.
	Control(op *netpoll.FDOperator, event netpoll.PollEvent) error
	// Alloc returns an operator to fill and to hand to Control.
	Alloc() *netpoll.FDOperator
	// Free takes an operator back that is not watched any more.
	Free(op *netpoll.FDOperator)
}

// openPoll is netpoll's own constructor, which it does not export. The module's
// version is pinned in go.mod, and checkPoller tests at every start that what
// it returns behaves as this package needs it.
//
//go:linkname openPoll github.com/cloudwego/netpoll.openPoll
func openPoll() (netpoll.Poll, error)

// maxEvents is how many events netpoll may take from the kernel at once. Left
// alone it doubles its arrays up to 128 Ki events and never shrinks them.
const maxEvents = 1024

// silenceNetpoll keeps netpoll from writing to standard error what it makes of
// a hang-up that comes together with a hand-over.
var silenceNetpoll = sync.OnceFunc(func() { netpoll.SetLoggerOutput(io.Discard) })

// newNetpoll opens one of netpoll's pollers with bounded event arrays.
func newNetpoll() (poller, error) {
	silenceNetpoll()
	p, err := openPoll()
	if err != nil {
		return nil, fmt.Errorf("netpoll: %w", err)
	}
	field := reflect.ValueOf(p).Elem().FieldByName("Reset")
	reset, ok := field.Interface().(func(size, caps int))
	if !ok || !field.CanSet() {
		return nil, errors.Join(errors.New("netpoll: the poller has no Reset of the expected kind"), p.Close())
	}
	field.Set(reflect.ValueOf(func(size, _ int) {
		if size <= maxEvents {
			reset(size, 1) // one vector an event: this package reads and writes by itself
		}
	}))
	if err := park(p); err != nil {
		return nil, fmt.Errorf("netpoll: %w", errors.Join(err, p.Close()))
	}
	return p, nil
}

// pollerCheckTime bounds checkPoller's wait for each event.
const pollerCheckTime = 10 * time.Second

// checkPoller runs a socket pair through a running poller: readable, writable,
// detached and watched again, hung up. It fails where the poller does not do
// what the poller interface says.
func checkPoller(p poller) (err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(pair[0]), unix.Close(pair[1])) }()

	events := make(chan string, 64)
	op := p.Alloc()
	op.FD = pair[0]
	op.OnRead = func(netpoll.Poll) error {
		var b [8]byte
		if n, _ := unix.Read(pair[0], b[:]); n > 0 {
			events <- "read"
		}
		return nil
	}
	op.OnWrite = func(netpoll.Poll) error {
		_ = p.Control(op, netpoll.PollRW2R)
		events <- "write"
		return nil
	}
	op.OnHup = func(netpoll.Poll) error { events <- "hup"; return nil }

	steps := []struct {
		do   func() error
		want string
	}{
		{func() error { return p.Control(op, netpoll.PollReadable) }, ""},
		{func() error { _, err := unix.Write(pair[1], []byte{1}); return err }, "read"},
		{func() error { return p.Control(op, netpoll.PollR2RW) }, "write"},
		{func() error { return p.Control(op, netpoll.PollDetach) }, ""},
		{func() error { _, err := unix.Write(pair[1], []byte{1}); return err }, ""},
		{func() error { return p.Control(op, netpoll.PollReadable) }, "read"},
		{func() error { return unix.Shutdown(pair[0], unix.SHUT_RDWR) }, "hup"},
	}
	timeout := time.NewTimer(pollerCheckTime)
	defer timeout.Stop()
	for i, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("poller self-test, step %d: %w", i, err)
		}
		if s.want == "" {
			continue
		}
		select {
		case got := <-events:
			if got != s.want {
				return fmt.Errorf("poller self-test, step %d: got %q, want %q", i, got, s.want)
			}
		case <-timeout.C:
			return fmt.Errorf("poller self-test, step %d: no %q within %v", i, s.want, pollerCheckTime)
		}
	}
	p.Free(op)
	return nil
}
