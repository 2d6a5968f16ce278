//go:build linux && cgo && !nopkcs11

package token

import (
	"errors"
	"log/slog"
	"testing"

	"mintmark/internal/pkitest"
)

func TestProcessStandsBy(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	l := &launcher{log: slog.New(slog.NewTextHandler(t.Output(), nil))}
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
	if _, err := openPIN(t.Context(), next, openRequest(module, label, 2)); err != nil {
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
	p, err := l.start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	if p == dead {
		t.Fatal("a dead process is taken")
	}
	if _, err := p.probe(t.Context(), module, openRequest(module, label, 1).Token); err != nil {
		t.Fatal(err)
	}

	// Closing ends the one that stands by, or the making of it.
	eventually(t, "another stands by", func() bool { return standby() != nil })
	last := standby()
	l.close()
	l.close()
	<-last.died()
	making := &launcher{log: l.log}
	if p, err = making.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	making.close()
	if making.standby != nil || making.stop != nil {
		t.Error("a process is made after close")
	}
	if _, err := l.start(t.Context()); !errors.Is(err, errProcessDied) {
		t.Errorf("starting after close: %v", err)
	}
	if standby() != nil {
		t.Error("a process stands by after close")
	}
}
