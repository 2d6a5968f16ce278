//go:build linux && cgo && !nopkcs11

package child

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"mintmark/internal/keystore/token/wire"
)

// link is the socket to the server.
const link = 3

// Main serves as the child and ends the process, if this process was started as
// one; else it returns at once. It must be the first call of main, and of TestMain in
// tests that open tokens.
func Main() {
	if len(os.Args) != 2 || os.Args[1] != wire.ChildArg || !isLink(link) {
		return
	}
	if err := serve(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", wire.ChildArg, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// isLink tells a child from a person who types its argument.
func isLink(fd int) bool {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET {
		return false
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_UNIX
}

// serve answers requests until the server has closed its end.
func serve() error {
	if err := harden(); err != nil {
		return err
	}
	// The service manager signals every process of a unit: the server still needs
	// this one to end in order. It ends when the socket does.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	unix.CloseOnExec(link)

	s := &server{library: newLibrary()}
	if err := send(wire.AppendHello(nil)); err != nil {
		return nil // the server has gone already
	}
	s.grow(1)
	watch()
	return nil
}

// harden keeps the memory of the process from others, and the process from outliving
// the server.
func harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl PR_SET_DUMPABLE: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("setrlimit RLIMIT_CORE: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("prctl PR_SET_PDEATHSIG: %w", err)
	}
	return nil
}

// watch returns when the server is gone, also while the library hangs in every
// thread that would find out.
func watch() {
	fds := []unix.PollFd{{Fd: link}} // of no events: POLLHUP and POLLERR come always
	for {
		_, err := unix.Poll(fds, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil || fds[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0 {
			return
		}
	}
}

// server takes requests off the socket in as many threads as there are sessions: the
// kernel hands each request to one of them, and each sends its reply itself.
type server struct {
	library *library

	mu      sync.Mutex
	threads int
}

// grow has at least n threads take requests.
func (s *server) grow(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n <= s.threads {
		return
	}
	// A thread that comes back from the library must find a processor of Go's free,
	// or it waits for the scheduler to notice that the others are away.
	runtime.GOMAXPROCS(n + 4)
	for ; s.threads < n; s.threads++ {
		go s.run(new(thread))
	}
}

// run answers one request after the other.
func (s *server) run(t *thread) {
	runtime.LockOSThread() // a library may keep things by thread
	in := make([]byte, wire.MaxFrame+1)
	out := make([]byte, 0, 4096)
	for {
		n, err := receive(in)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			os.Exit(0)
		}
		id, op, body, err := wire.Header(in[:n])
		if err != nil {
			fmt.Fprintln(os.Stderr, "a request is no frame")
			os.Exit(1)
		}
		out, err = t.answer(s, out[:0], id, wire.Op(op), body)
		if op == byte(wire.OpLogin) {
			clear(in[:n]) // the PIN
		}
		if err != nil {
			out = wire.AppendError(out[:0], id, err)
		}
		if err := send(out); err != nil {
			os.Exit(0)
		}
	}
}

func receive(b []byte) (int, error) {
	return unix.Read(link, b) // one packet; Recvfrom would also make room for an address
}

func send(b []byte) error {
	for {
		err := unix.Sendto(link, b, unix.MSG_NOSIGNAL, nil)
		if err != unix.EINTR {
			return err
		}
	}
}
