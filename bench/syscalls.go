package bench

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// recv and write are raw system calls on non-blocking sockets: they return at
// once, so the scheduler need not know of them. An interrupted one is retried.

func recv(fd int, b []byte) (int, error) { return raw(unix.SYS_READ, fd, b) }

func write(fd int, b []byte) (int, error) { return raw(unix.SYS_WRITE, fd, b) }

func raw(call uintptr, fd int, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
