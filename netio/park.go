package netio

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"syscall"
	"unsafe"

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"
)

// parked has the loop of one of netpoll's pollers wait as a goroutine waits.
//
// Left alone it waits in epoll_wait, with its processor in the hands of Go's
// runtime: a goroutine that becomes ready meanwhile has to wait until the
// runtime's monitor takes the processor away, 20 µs to 10 ms later, and the monitor
// looks every 20 µs from then on. So the poller's epoll descriptor is given to the
// runtime's own poller, the goroutine parks until it is readable, and netpoll
// handles what there is. See docs/design/0009-parked-pollers.md.
type parked struct {
	poll   netpoll.Poll
	handle func(events []unix.EpollEvent) (closed bool) // netpoll's
	file   *os.File                                     // of the epoll descriptor, a duplicate
	wait   syscall.RawConn                              // of file
	fetch  func(fd uintptr) bool                        // k.take, made once

	// Owned by the loop's goroutine.
	events []unix.EpollEvent
	n      int // events that wait to be handled
}

// parkedTurns is after how many batches netpoll's loop gets its turn, in which it
// makes operators that were freed available again.
const parkedTurns = 64

// park takes the place of the poller's exported field Handler, whose type is
// that of parked.handler but for the name of the event's.
func park(p netpoll.Poll) error {
	of := reflect.ValueOf(p).Elem()
	field, epoll := of.FieldByName("Handler"), of.FieldByName("fd")
	if !field.IsValid() || !field.CanSet() || !epoll.IsValid() || !epoll.CanInt() {
		return errors.New("the poller has no Handler or descriptor of the expected kind")
	}
	kind := field.Type()
	if kind.NumIn() != 1 || kind.NumOut() != 1 || kind.In(0).Kind() != reflect.Slice || kind.Out(0).Kind() != reflect.Bool ||
		kind.In(0).Elem().Size() != unsafe.Sizeof(unix.EpollEvent{}) {
		return fmt.Errorf("the poller's Handler is a %v", kind)
	}
	fd, err := unix.FcntlInt(uintptr(epoll.Int()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("dup", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // os watches no other files
		return errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fd))
	}
	k := &parked{poll: p, file: os.NewFile(uintptr(fd), "epoll"), events: make([]unix.EpollEvent, maxEvents)}
	k.fetch = k.take
	if k.wait, err = k.file.SyscallConn(); err != nil {
		return errors.Join(err, k.file.Close())
	}
	handler := (*func([]unix.EpollEvent) bool)(field.Addr().UnsafePointer())
	k.handle, *handler = *handler, k.handler
	return nil
}

// handler handles events until the poller is closed, and parks whenever there are
// none. It returns to netpoll's loop now and then, with an event to come, so that
// the loop does not wait.
func (k *parked) handler(events []unix.EpollEvent) (closed bool) {
	for turn := 1; ; turn++ {
		if k.handle(events) {
			_ = k.file.Close() // netpoll has closed the descriptor that counts
			return true
		}
		if turn >= parkedTurns {
			_ = k.poll.Trigger() // fails only where events wait anyway
			return false
		}
		if err := k.wait.Read(k.fetch); err != nil {
			return false // the runtime does not watch it: netpoll's own way still works
		}
		events = k.events[:k.n]
	}
}

// take fetches events without waiting, and reports whether there are any.
func (k *parked) take(fd uintptr) bool {
	k.n = fetchEvents(fd, k.events)
	return k.n > 0
}
