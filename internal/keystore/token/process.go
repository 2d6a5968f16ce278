//go:build linux && cgo && !nopkcs11

package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mintmark/internal/keystore/token/wire"
)

var (
	// errProcessDied is what a call returns when the child ended before it answered.
	errProcessDied = errors.New("the process that holds the library of the token has died")

	errGarbled = errors.New("the process that holds the library of the token sent a reply that cannot be read")
)

// killWait is how long kill waits for the child. One that the kernel does not let
// die, because a driver hangs, is left behind.
const killWait = time.Second

// process is a running child that holds the library of one token. Its methods may
// be called concurrently.
//
// What the library refuses is a *wire.Error, and what is wrong otherwise a
// *wire.Trouble; when the child has died, errProcessDied. A call whose context ends
// returns its error; the signature that hangs in the library goes on hanging until
// kill.
type process struct {
	cmd *exec.Cmd
	log *slog.Logger

	link  sync.RWMutex // held to send; held exclusively to close fd
	fd    int          // a SOCK_SEQPACKET socket; -1 when it is closed
	ended chan struct{}
	once  sync.Once // closes ended

	killed atomic.Bool

	mu      sync.Mutex
	pending map[uint32]*call
	next    uint32
	dead    bool
}

// call is a request that waits for its reply.
type call struct {
	id      uint32
	request []byte // a frame
	status  wire.Status
	reply   []byte        // the body of a frame; it may come before send returns
	done    chan struct{} // of one: the reply is there, or the child has died
}

var calls = sync.Pool{New: func() any {
	return &call{request: make([]byte, 0, 512), reply: make([]byte, 0, 512), done: make(chan struct{}, 1)}
}}

// startProcess runs command (this binary if nil), which must be this binary with
// Main of package child in it, and returns when it says that it is there. What the
// library prints goes to log.
func startProcess(ctx context.Context, command func() (*exec.Cmd, error), log *slog.Logger) (*process, error) {
	if command == nil {
		command = thisBinary
	}
	cmd, err := command()
	if err != nil {
		return nil, fmt.Errorf("starting the process for the token: %w", err)
	}
	p := &process{cmd: cmd, log: log, ended: make(chan struct{}), pending: make(map[uint32]*call)}
	hello := &call{done: make(chan struct{}, 1)}
	p.pending[0] = hello // the id that no request has
	if err := p.start(); err != nil {
		return nil, fmt.Errorf("starting the process for the token: %w", err)
	}
	select {
	case <-hello.done:
		if hello.status == wire.Hello {
			return p, nil
		}
		err = errProcessDied
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.kill()
	return nil, fmt.Errorf("starting the process for the token: %w", err)
}

// start runs the child and what listens to it.
func (p *process) start() error {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	p.fd = ends[0]
	theirs := os.NewFile(uintptr(ends[1]), "socket")
	defer theirs.Close()
	out, in, err := os.Pipe()
	if err != nil {
		unix.Close(p.fd)
		return err
	}
	defer in.Close()

	p.cmd.ExtraFiles = []*os.File{theirs} // fd 3
	p.cmd.Stdout, p.cmd.Stderr = in, in
	p.cmd.Env = childEnviron(p.cmd.Environ())
	if p.cmd.SysProcAttr == nil {
		p.cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	// A Ctrl-C at the terminal is for the server, which may still sign while it ends.
	p.cmd.SysProcAttr.Setpgid = true
	p.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL

	started := make(chan error)
	go p.reap(started, out)
	if err := <-started; err != nil {
		unix.Close(p.fd)
		out.Close()
		return err
	}
	go logLines(out, p.log.With("pid", p.cmd.Process.Pid))
	go p.receive()
	return nil
}

// kill ends the child at once and waits for it. It may be called more than once.
func (p *process) kill() {
	p.killed.Store(true)
	p.cmd.Process.Kill() //nolint:errcheck // it has ended already
	p.link.RLock()
	if p.fd >= 0 {
		unix.Shutdown(p.fd, unix.SHUT_RDWR) //nolint:errcheck // ends receive, also where the child does not die
	}
	p.link.RUnlock()
	select {
	case <-p.ended:
	case <-time.After(killWait):
		p.log.Error("the process that holds the library of the token does not end", "pid", p.cmd.Process.Pid)
		p.end()
	}
}

// died is closed when the child has ended.
func (p *process) died() <-chan struct{} { return p.ended }

// end makes every call fail, those under way and those to come.
func (p *process) end() {
	p.mu.Lock()
	p.dead = true
	pending := p.pending
	p.pending = nil
	p.mu.Unlock()
	for _, c := range pending {
		c.status = 0
		c.done <- struct{}{}
	}
	p.once.Do(func() { close(p.ended) })
}
