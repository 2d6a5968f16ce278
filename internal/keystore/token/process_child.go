//go:build linux && cgo && !nopkcs11

package token

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"mintmark/internal/keystore/token/wire"
)

// What a library prints is logged in lines of at most so many bytes, at most so many in
// so long.
const (
	logLine   = 512
	logCount  = 50
	logWindow = time.Minute
)

// thisBinary is this binary once more: the one that runs, not the one that an
// upgrade put in its place.
func thisBinary() (*exec.Cmd, error) {
	return &exec.Cmd{Path: "/proc/self/exe", Args: []string{os.Args[0], wire.ChildArg}}, nil
}

// childEnviron is the environment of the child: that of the server, in which the
// library may have settings, without what says where the secrets of the server are.
func childEnviron(environ []string) []string {
	kept := []string{} // not nil, which would be all
	for _, v := range environ {
		name, _, _ := strings.Cut(v, "=")
		if !serverOnly(name) {
			kept = append(kept, v)
		}
	}
	return kept
}

func serverOnly(name string) bool {
	for _, prefix := range []string{"AWS_", "AZURE_", "GOOGLE_", "PG"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES":
		return true
	}
	return false
}

// reap starts the child and waits for it. It keeps to one thread, because the
// kernel kills the child when the thread ends that started it (prctl(2),
// PR_SET_PDEATHSIG).
func (p *process) reap(started chan<- error, out *os.File) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.cmd.Wait() //nolint:errcheck // how it ended is in ProcessState
	if p.killed.Load() {
		p.log.Debug("the process that holds the library of the token was ended", "pid", p.cmd.Process.Pid)
	} else {
		p.log.Warn("the process that holds the library of the token ended by itself", "pid", p.cmd.Process.Pid, "how", p.cmd.ProcessState)
	}
	p.end()
	// A process that the library started may hold the other end for ever.
	out.SetReadDeadline(time.Now().Add(time.Second)) //nolint:errcheck // a pipe has deadlines
}

// logLines logs what the library prints, until r ends.
func logLines(r *os.File, log *slog.Logger) {
	defer r.Close()
	lines := bufio.NewReaderSize(r, logLine)
	var start time.Time
	var count, dropped int
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil // the rest is another line
		}
		if now := time.Now(); now.Sub(start) > logWindow {
			if dropped > 0 {
				log.Warn("the library of the token printed more than is logged", "lines", dropped)
			}
			start, count, dropped = now, 0, 0
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if count++; count <= logCount {
				log.Info("the library of the token printed", "text", strings.ToValidUTF8(string(line), "?"))
			} else {
				dropped++
			}
		}
		if err != nil {
			if dropped > 0 {
				log.Warn("the library of the token printed more than is logged", "lines", dropped)
			}
			if err != io.EOF && !errors.Is(err, os.ErrDeadlineExceeded) {
				log.Warn("reading what the library of the token prints", "error", err)
			}
			return
		}
	}
}
