package netio

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls that do not wait. Go's scheduler is not told of them: each that it
// is told of, after the process had nothing to do, wakes the thread that watches
// over long ones, which then looks around every 20 µs for a millisecond or more. See
// docs/design/0009-parked-pollers.md.

// recv reads from a socket.
func recv(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), syscall.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// fetchEvents returns how many events of an epoll descriptor it has put into events.
func fetchEvents(epoll uintptr, events []unix.EpollEvent) int {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, epoll,
			uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n)
		case syscall.EINTR:
		default:
			return 0
		}
	}
}

// signal makes an eventfd readable, unless it is.
func signal(eventfd int) {
	one := uint64(1)
	// It fails only where the counter is full, and then it is readable.
	_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, uintptr(eventfd), uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one))
}

// settle makes an eventfd unreadable.
func settle(eventfd int) {
	var count uint64
	// It fails only where it is unreadable.
	_, _, _ = syscall.RawSyscall(syscall.SYS_READ, uintptr(eventfd), uintptr(unsafe.Pointer(&count)), unsafe.Sizeof(count))
}

// closeDescriptor closes a descriptor that this package owns. No socket of it
// lingers.
func closeDescriptor(fd int) {
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0) // Linux frees the descriptor whatever close returns
}
