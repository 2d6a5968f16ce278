//go:build linux && cgo && !nopkcs11

package token

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// sendFrame sends without waiting, so that it need not tell the scheduler of Go.
func sendFrame(fd int, frame []byte) error {
	_, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(frame))),
		uintptr(len(frame)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// receiveFrame waits in the kernel for a frame, on a thread of its own: the poller
// of Go takes longer to wake up.
func receiveFrame(fd int, frame []byte) (int, error) {
	n, _, e := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(frame))),
		uintptr(len(frame)), 0, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}
