package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"mintmark/internal/keystore"
	"mintmark/internal/keystore/faults/shim"
)

// TestFaultCrash ends the process that holds the library in the middle of signatures.
// Nobody notices.
func TestFaultCrash(t *testing.T) {
	crashes := 3
	if long {
		crashes = 30
	}
	w := newWorld(t, false, nil)
	w.must(t, "issuing")
	l := startLoad(t, 4, func(ctx context.Context, worker int) error {
		_, err := issueVerified(ctx, w, "issuing")
		return err
	})
	for _, how := range []int64{shim.CrashAbort, shim.CrashSegfault, shim.CrashExit} {
		for range crashes {
			loads := w.Get(shim.Loads)
			w.SetTimes(shim.Crash, how, 1)
			eventually(t, "the library is loaded again", func() bool { return w.Get(shim.Loads) > loads })
			if !reached(t, l, l.asked.Load()+50) {
				t.Fatal("the load stands still")
			}
		}
	}
	asked, worst, failures := l.end()
	t.Logf("%d crashes: %d asked, %d failed, worst pause %v", 3*crashes, asked, len(failures), worst.Round(time.Millisecond))
	none(t, failures)
	// From outside, as by a kernel that is out of memory.
	if err := kill(int(w.Get(shim.PID))); err != nil {
		t.Fatal(err)
	}
	w.must(t, "issuing")
}

// TestFaultAstray: a process that loses its slots while it looks for the token is not
// believed that the token has gone. Only another one is, whose first word it is.
func TestFaultAstray(t *testing.T) {
	w := newWorld(t, false, nil)
	for range 3 {
		w.must(t, "issuing")
		w.Set(shim.Astray, 1)
		w.SetTimes(shim.Crash, shim.CrashAbort, 1)
		w.must(t, "issuing")
		if left := w.Get(shim.Astray); left != 0 {
			t.Fatal("no process went astray")
		}
	}
}

func kill(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return p.Kill()
}

// TestFaultFewSessions: a token that has fewer sessions than are configured is used
// with those.
func TestFaultFewSessions(t *testing.T) {
	w := newWorld(t, false, func(c *keystore.TokenConfig) { c.Sessions = 8 })
	w.Set(shim.MaxSessions, 3)
	l := startLoad(t, 8, func(ctx context.Context, worker int) error { return w.cas["issuing"].TestSign(ctx) })
	if !reached(t, l, 200) {
		t.Fatal("the load stands still")
	}
	_, _, failures := l.end()
	none(t, failures)
	for _, leg := range w.store.Tokens()[0].Status().Legs {
		if leg.Token.Sessions > 3 || leg.Token.Sessions < 1 {
			t.Errorf("%d sessions are said to be open", leg.Token.Sessions)
		}
	}
}

// TestFaultNoise: what a library prints gets into the log as lines of it, and nowhere
// else.
func TestFaultNoise(t *testing.T) {
	w := newWorld(t, false, nil)
	w.Set(shim.Noise, 1)
	for range 20 {
		w.must(t, "issuing")
	}
	eventually(t, "the log has what the library prints", func() bool {
		return strings.Contains(w.log.String(), "vendor: C_Sign")
	})
	if text := w.log.String(); strings.Contains(text, "\x1b") {
		t.Error("control characters of the library are in the log")
	}
}

// TestFaultLies: a key whose attributes read back as none of a CA is refused, and the
// attribute named.
func TestFaultLies(t *testing.T) {
	w := newWorld(t, false, nil)
	for _, tt := range []struct {
		name string
		cka  int64
		lie  int64
	}{
		{"CKA_EXTRACTABLE", 0x162, 1}, {"CKA_SENSITIVE", 0x103, 0}, {"CKA_SIGN", 0x108, 0}, {"CKA_DECRYPT", 0x105, 1},
		{"CKA_UNWRAP", 0x107, 1}, {"CKA_DERIVE", 0x10c, 1}, {"CKA_PRIVATE", 0x2, 0},
	} {
		w.Set(shim.Lie, tt.cka)
		w.Set(shim.LieValue, tt.lie)
		w.reopen(t)
		_, err := w.store.Signer(t.Context(), w.uris["issuing"], nil)
		if err == nil || !strings.Contains(err.Error(), tt.name) {
			t.Errorf("%s reads as %d: %v", tt.name, tt.lie, err)
		}
		if _, _, err := w.store.Create(t.Context(), fmt.Sprintf("pkcs11:token=factory;object=new-%s", tt.name), "P-256"); err == nil || !strings.Contains(err.Error(), tt.name) {
			t.Errorf("%s of a new key reads as %d: %v", tt.name, tt.lie, err)
		}
		w.Set(shim.Lie, 0)
		// The new key is gone again.
		if _, err := w.store.Signer(t.Context(), fmt.Sprintf("pkcs11:token=factory;object=new-%s", tt.name), nil); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("%s: the refused key: %v", tt.name, err)
		}
	}
	w.reopen(t)
	w.must(t, "issuing")
}
