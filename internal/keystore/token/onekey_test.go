//go:build linux && cgo && !nopkcs11

package token

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/internal/keystore/faults/shim"
	"mintmark/internal/keystore/token/wire"
	"mintmark/internal/pkitest"
)

// journal is a log that can be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) count(what string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), what)
}

// A key that the token refuses is named, and keeps nobody from the others: not while
// the token is open, and not when it comes back.
func TestKeyThatIsRefused(t *testing.T) {
	p := newPair(t, 2)
	log := new(journal)
	const keepAlive = 200 * time.Millisecond
	token := p.open(t, false, Config{KeepAlive: keepAlive, Logger: slog.New(slog.NewTextHandler(log, nil))})
	refused, good := p.signer(t, token, 0), p.signer(t, token, 1)
	p.primary.Set(shim.Key, shim.KeyID([]byte("k0")))
	began := time.Now()
	p.primary.SetTimes(shim.Fail, 0x70, -1) // CKR_MECHANISM_INVALID
	says := func() {
		t.Helper()
		if err := signOnce(refused); err == nil || unavailable(err) || !strings.Contains(err.Error(), "0x70") {
			t.Errorf("a key that is refused: %v", err)
		}
	}
	says()
	named := func() bool {
		problems := token.Status().Legs[0].Problems
		return len(problems) == 1 && strings.Contains(problems[0], "0x70")
	}
	eventually(t, "the status names it", named)
	eventually(t, "it is tested again", func() bool { return log.count("a test signature failed") >= 3 })
	if n, most := log.count("a test signature failed"), int(time.Since(began)/keepAlive)+1; n > most {
		t.Errorf("%d test signatures in the time for %d", n, most)
	}

	p.primary.Set(shim.Gone, ckrTokenNotPresent)
	eventually(t, "the token is away", func() bool { return token.Status().Legs[0].State == Absent })
	p.primary.Set(shim.Gone, 0)
	eventually(t, "the other key signs again", func() bool { return signOnce(good) == nil })
	says()
	if !named() {
		t.Errorf("the status says %q", token.Status().Legs[0].Problems)
	}
	p.primary.Mend()
	if err := signOnce(refused); err != nil {
		t.Error(err)
	}
	if problems := token.Status().Legs[0].Problems; len(problems) != 0 {
		t.Errorf("after a signature the status says %q", problems)
	}
}

// A key that the spare lacked is used once it is there, without test signatures too.
func TestMissingKeyIsFound(t *testing.T) {
	p := newPair(t, 1)
	token := p.open(t, true, Config{KeepAlive: -1})
	s := made(t, token, "new", "P-256")
	lacks := func() bool { return len(token.Status().Legs[1].Problems) == 1 }
	eventually(t, "the spare lacks it", lacks)
	tokens := filepath.Join(filepath.Dir(os.Getenv("SOFTHSM2_CONF")), "tokens")
	if out, err := exec.Command("cp", "-a", tokens+"/.", p.copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	eventually(t, "the spare has it", func() bool { return !lacks() })
	p.primary.Set(shim.Gone, ckrTokenNotPresent)
	if err := signOnce(s); err != nil {
		t.Error(err)
	}
}

// hangTwice puts the first key out of use.
func hangTwice(t *testing.T, p *pair, s *Signer, reopened func()) {
	t.Helper()
	for range 2 {
		p.primary.Set(shim.Key, shim.KeyID([]byte("k0")))
		p.primary.Set(shim.Hang, shim.HangSign)
		if err := signOnce(s); !unavailable(err) {
			t.Fatalf("a key that hangs: %v", err)
		}
		p.primary.Set(shim.Hang, 0)
		reopened()
	}
}

// Nobody is at the pad of a token to try a key in a process of its own: the first
// signature after the next unlocking is the trial.
func TestPadKeyThatHung(t *testing.T) {
	p := newPair(t, 1)
	p.primary.Set(shim.Pad, 1)
	p.primary.PIN(pkitest.SoftHSMPIN)
	src := Source{Module: p.primary.Path, Token: wire.Selector{Label: "factory"}, Pad: true}
	token := openToken(t, Config{Primary: src, KeepAlive: -1, Attempt: 300 * time.Millisecond, Deadline: time.Second})
	unlock := func() {
		t.Helper()
		eventually(t, "it waits for somebody", func() bool { return token.Status().Legs[0].State == Locked })
		if _, err := token.Unlock(t.Context(), Unlock{By: "alice"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := token.Start(); err != nil {
		t.Fatal(err)
	}
	unlock()
	s := p.signer(t, token, 0)
	hangTwice(t, p, s, unlock)
	eventually(t, "the key is in use again", func() bool { return signOnce(s) == nil })
	if n := p.primary.Get(shim.Logins); n != 3 {
		t.Errorf("%d logins, of 3", n)
	}
}

// A token that has no session left for a trial in another process: the next signature
// is the trial.
func TestTrialWithoutSession(t *testing.T) {
	p := newPair(t, 1)
	token := p.open(t, false, Config{KeepAlive: -1, Attempt: 300 * time.Millisecond, Deadline: time.Second})
	s := p.signer(t, token, 0)
	hangTwice(t, p, s, func() {
		eventually(t, "it is open again", func() bool { return token.legs[0].current() != nil })
	})
	p.primary.Set(shim.MaxSessions, -1)
	pid := childOf(t, token.legs[0])
	eventually(t, "the key is in use again", func() bool { return signOnce(s) == nil })
	if childOf(t, token.legs[0]) != pid {
		t.Error("the trial took the process of the others")
	}
}

// One call that takes its time is not a library that hangs, nor are calls that wait for
// the only session.
func TestSlowIsNoHang(t *testing.T) {
	p := newPair(t, 1)
	for _, sessions := range []int{4, 1} {
		t.Run(fmt.Sprintf("%d sessions", sessions), func(t *testing.T) {
			token := p.open(t, false, Config{KeepAlive: -1, Sessions: sessions, Attempt: time.Second})
			s := p.signer(t, token, 0)
			for range 50 {
				if err := signOnce(s); err != nil {
					t.Fatal(err)
				}
			}
			p.primary.Set(shim.Delay, int64(600*time.Millisecond))
			defer p.primary.Set(shim.Delay, 0)
			callers := 1
			if sessions == 1 {
				callers = 3
			}
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					if err := signOnce(s); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if n := token.Status().Legs[0].Reopens; len(n) != 0 {
				t.Errorf("opened anew: %v", n)
			}
		})
	}
}
