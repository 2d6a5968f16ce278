//go:build linux && cgo && !nopkcs11

package token

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mintmark/internal/keystore/faults/shim"
	"mintmark/internal/keystore/token/wire"
	"mintmark/internal/pkitest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The call of a context that ends does not wait for the child, and its reply does not
// go to another call.
func TestProcessContext(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	p := opened(t, module, label, 1)
	a, b := generated(t, p, "a", "P-256"), generated(t, p, "b", "P-256")
	freeze(t, p)
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
		_, err := p.sign(ctx, wire.Sign{Handle: a.Handle, Mechanism: wire.ECDSA, Input: []byte("x")})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("signing while the child is stopped: %v", err)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.sign(cancelled, wire.Sign{Handle: a.Handle}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := signsWith(p, b); err != nil {
			t.Fatal(err)
		}
	}
	p.mu.Lock()
	if n := len(p.pending); n != 0 {
		t.Errorf("%d calls are waited for", n)
	}
	p.mu.Unlock()

	// More requests than the socket takes: those who cannot send wait, until their
	// context ends.
	freeze(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	failed := make(chan error)
	const many = 3000
	for range many {
		go func() {
			_, err := p.sign(ctx, wire.Sign{Handle: a.Handle, Mechanism: wire.ECDSA, Input: make([]byte, 32)})
			failed <- err
		}()
	}
	for range many {
		if err := <-failed; !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("signing while the child is stopped: %v", err)
		}
	}
	p.kill() // also one that is stopped
	<-p.died()
}

// freeze stops the child, and returns when each of its threads has stopped.
func freeze(t *testing.T, p *process) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "every thread has stopped", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
		if err != nil || len(threads) == 0 {
			t.Fatal("the child has no threads: ", err)
		}
		for _, name := range threads {
			data, err := os.ReadFile(name)
			if _, after, _ := strings.Cut(string(data), ") "); err != nil || !strings.HasPrefix(after, "T") {
				return false
			}
		}
		return true
	})
}

// What a child leaves behind in the server: nothing.
func TestProcessLeavesNothing(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	fds := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d)
	}
	testProcess(t).kill() // what the first start leaves for good: pidfd checks, the poller
	goroutines, files := runtime.NumGoroutine(), fds()
	for range 3 {
		p := opened(t, module, label, 2)
		pid := p.cmd.Process.Pid
		p.kill()
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("the child is still there after kill: %v", err)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > goroutines || fds() > files; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before; %d files, %d before\n%s", runtime.NumGoroutine(), goroutines, fds(), files, buf[:runtime.Stack(buf, true)])
		}
	}
}

func TestProcessDoesNotStart(t *testing.T) {
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	for _, tt := range []struct {
		name    string
		command func() (*exec.Cmd, error)
		is      error
	}{
		{"no command", func() (*exec.Cmd, error) { return nil, errors.ErrUnsupported }, errors.ErrUnsupported},
		{"no such file", func() (*exec.Cmd, error) { return exec.Command("/none"), nil }, os.ErrNotExist},
		{"a program that ends", func() (*exec.Cmd, error) { return exec.Command("/bin/true"), nil }, errProcessDied},
	} {
		if _, err := startProcess(t.Context(), tt.command, log); !errors.Is(err, tt.is) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := startProcess(ctx, func() (*exec.Cmd, error) { return exec.Command("/bin/sleep", "100"), nil }, log)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program that says nothing: %v", err)
	}
}

// The child ends with a server that is killed.
func TestProcessDiesWithParent(t *testing.T) {
	if os.Getenv("TOKEN_TEST_PARENT") != "" {
		p := testProcess(t)
		fmt.Printf("child %d\n", p.cmd.Process.Pid)
		select {}
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestProcessDiesWithParent$")
	cmd.Env = append(os.Environ(), "TOKEN_TEST_PARENT=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var pid int
	if _, err := fmt.Fscanf(out, "child %d\n", &pid); err != nil {
		t.Fatal(err)
	}
	if !runs(pid) {
		t.Fatal("there is no child")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); runs(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the child outlives its parent")
		}
	}
}

// runs reports whether a process is there that is more than its entry for its parent.
func runs(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(data), ") ")
	return !strings.HasPrefix(after, "Z")
}

// The child ends when the socket does, also while the library hangs in its only
// session, and not before: signals to all processes of a unit are for the server.
func TestProcessEndsWithSocket(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	m := faulty(t, module)
	p := opened(t, m.Path, label, 1)
	k := generated(t, p, "k", "P-256")
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		if err := p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := signsWith(p, k); err != nil {
		t.Fatalf("after signals: %v", err)
	}
	m.Set(shim.Hang, shim.HangSign)
	go signsWith(p, k) //nolint:errcheck // it fails when the child ends
	eventually(t, "the signature hangs", func() bool { return m.Get(shim.Hung) > 0 })
	p.link.RLock()
	err := syscall.Shutdown(p.fd, syscall.SHUT_RDWR)
	p.link.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	<-p.died()
}

func TestLogLines(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		logLines(r, slog.New(slog.NewTextHandler(&log, nil)))
	}()
	io.WriteString(w, "one\n\n  \nbad \xff byte\nforged level=ERROR \"quoted\"\n"+strings.Repeat("x", 3*logLine)+"\n")
	for i := range 2 * logCount {
		fmt.Fprintln(w, "line", i)
	}
	io.WriteString(w, "no end")
	w.Close()
	<-done
	text := log.String()
	for _, want := range []string{"text=one\n", `text="bad ? byte"`, `text="forged level=ERROR \"quoted\""`, "text=" + strings.Repeat("x", logLine) + "\n", "lines=57"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log has no %q:\n%s", want, text)
		}
	}
	if n := strings.Count(text, "\n"); n != logCount+1 {
		t.Errorf("%d lines in the log", n)
	}
}
