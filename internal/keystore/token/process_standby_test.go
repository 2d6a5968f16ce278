//go:build linux && cgo && !nopkcs11

package token

import (
	"errors"
	"log/slog"
	"os/exec"
	"sync/atomic"
	"testing"

	"mintmark/internal/pkitest"
)

func TestProcessStandsBy(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	var started atomic.Int32
	l := &launcher{log: slog.New(slog.NewTextHandler(t.Output(), nil)), command: func() (*exec.Cmd, error) {
		started.Add(1)
		return thisBinary()
	}}
	defer l.close()
	standby := func() *process {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.standby
	}
	start := func() *process {
		p, err := l.start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.kill)
		return p
	}
	first := start()
	eventually(t, "a process stands by", func() bool { return standby() != nil })
	first.kill()

	next := standby()
	if p := start(); p != next {
		t.Fatal("the process that stands by is not taken")
	}
	if _, err := next.open(t.Context(), openRequest(module, label, 2)); err != nil {
		t.Fatal(err)
	}
	if err := signsWith(next, generated(t, next, "k", "P-256")); err != nil {
		t.Fatal(err)
	}

	// One that died while it stood by is not taken.
	eventually(t, "another stands by", func() bool { return standby() != nil })
	dead := standby()
	if err := dead.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-dead.died()
	p := start()
	if p == dead {
		t.Fatal("a dead process is taken")
	}
	if _, err := p.probe(t.Context(), module, openRequest(module, label, 1).Token); err != nil {
		t.Fatal(err)
	}
	if n := started.Load(); n != 4 {
		t.Errorf("%d processes were started", n)
	}

	// Closing ends the one that stands by, and the making of the next.
	eventually(t, "another stands by", func() bool { return standby() != nil })
	last := standby()
	start()
	l.close()
	l.close()
	<-last.died()
	if _, err := l.start(t.Context()); !errors.Is(err, errProcessDied) {
		t.Errorf("starting after close: %v", err)
	}
	if standby() != nil {
		t.Error("a process stands by after close")
	}
}
