//go:build linux && cgo && !nopkcs11

package token

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/internal/keystore/faults/shim"
	"mintmark/internal/keystore/token/wire"
	"mintmark/internal/pkitest"
)

// record is what of PINs survives a restart.
type record struct {
	mu       sync.Mutex
	versions map[string]bool
}

func (r *record) Refused(token, version string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.versions[token+" "+version], nil
}

func (r *record) Put(token, version string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.versions == nil {
		r.versions = make(map[string]bool)
	}
	r.versions[token+" "+version] = true
	return nil
}

func (r *record) Drop(token, version string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.versions, token+" "+version)
	return nil
}

func (r *record) all() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.versions)
}

// start opens a token that looks for itself at once.
func start(t *testing.T, cfg Config) *Token {
	t.Helper()
	token := openToken(t, cfg)
	if err := token.Start(); err != nil {
		t.Fatal(err)
	}
	return token
}

// state waits for a state of the primary.
func state(t *testing.T, token *Token, want State) {
	t.Helper()
	eventually(t, "it is "+string(want), func() bool { return token.Status().Legs[0].State == want })
}

// A login of which nobody knows whether it counted as a wrong PIN is not repeated, by
// this process or the next; another PIN, or an operator, is.
func TestLoginWithoutAnswer(t *testing.T) {
	p := newPair(t, 1)
	for name, fault := range map[string]struct {
		word  shim.Word
		value int64
	}{
		"it crashes":        {shim.LoginCrash, 1},
		"it hangs":          {shim.Hang, shim.HangLogin},
		"a general error":   {shim.Login, ckrGeneralError},
		"a function failed": {shim.Login, ckrFunctionFailed},
		"a device error":    {shim.Login, ckrDeviceError},
		"a vendor's error":  {shim.Login, ckrVendorDefined + 7},
		"it has no memory":  {shim.Login, 2},
	} {
		t.Run(name, func(t *testing.T) {
			tried := new(record)
			src := p.source(p.primary)
			cfg := Config{Primary: src, Refused: tried, KeepAlive: -1}
			logins := p.primary.Get(shim.Logins)
			p.primary.Set(fault.word, fault.value)
			defer p.primary.Mend()
			token := start(t, cfg)
			state(t, token, Refused)
			// It is looked at again, and nothing is tried.
			l := token.legs[0]
			l.mu.Lock()
			l.retryAt = time.Time{}
			l.mu.Unlock()
			l.poke()
			eventually(t, "it is not asked again", func() bool {
				return strings.Contains(token.Status().Legs[0].Detail, "is not asked again")
			})
			if err := token.Close(); err != nil {
				t.Fatal(err)
			}
			p.primary.Mend()
			token = start(t, cfg)
			state(t, token, Refused)
			if n := p.primary.Get(shim.Logins) - logins; n != 1 {
				t.Errorf("%d logins, want 1", n)
			}
			if _, err := token.Unlock(t.Context(), Unlock{By: "alice", Again: true}); err != nil {
				t.Error(err)
			}
			if left := tried.all(); len(left) != 0 {
				t.Errorf("of a PIN that is good there is on record: %v", left)
			}
			if _, err := token.Unlock(t.Context(), Unlock{By: "alice", Again: true}); err != nil {
				t.Errorf("unlocking a token that noticed by itself: %v", err)
			}
		})
	}
}

// A PIN that was not looked at is tried again; what an operator has tried once more, and
// was refused before, stays on record.
func TestLoginUntried(t *testing.T) {
	p := newPair(t, 1)
	tried := new(record)
	p.primary.Set(shim.Login, ckrSessionHandleInvalid)
	token := start(t, Config{Primary: p.source(p.primary), Refused: tried, KeepAlive: -1})
	eventually(t, "it was tried", func() bool { return p.primary.Get(shim.Logins) > 0 })
	p.primary.Set(shim.Login, 0)
	state(t, token, Ready)
	if left := tried.all(); len(left) != 0 {
		t.Errorf("there is on record: %v", left)
	}
	if err := token.Close(); err != nil {
		t.Fatal(err)
	}
	if err := tried.Put("factory", "1"); err != nil {
		t.Fatal(err)
	}
	token = start(t, Config{Primary: p.source(p.primary), Refused: tried, KeepAlive: -1})
	state(t, token, Refused)
	p.primary.Set(shim.Login, ckrSessionHandleInvalid)
	if _, err := token.Unlock(t.Context(), Unlock{By: "alice", Again: true}); err == nil {
		t.Error("it was unlocked")
	}
	if left := tried.all(); len(left) != 1 {
		t.Errorf("there is on record: %v", left)
	}
}

// What is on record before the PIN is in the library, and is taken back also when the
// server ends meanwhile.
func TestLoginIsRecordedBefore(t *testing.T) {
	p := newPair(t, 1)
	tried := new(record)
	p.primary.Set(shim.Hang, shim.HangLogin)
	token := start(t, Config{Primary: p.source(p.primary), Refused: tried, KeepAlive: -1})
	eventually(t, "it logs in", func() bool { return p.primary.Get(shim.Hung) > 0 })
	if left := tried.all(); !left["factory 1"] {
		t.Errorf("while it logs in there is on record: %v", left)
	}
	closed := make(chan error)
	go func() { closed <- token.Close() }()
	<-token.ctx.Done()
	p.primary.Set(shim.Hang, 0)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if left := tried.all(); len(left) != 0 {
		t.Errorf("the end of the server left on record: %v", left)
	}
}

// Tokens may be slow with what they refuse. It is waited for, also where the sessions of
// a token that has served are opened anew.
func TestLoginThatIsRefusedSlowly(t *testing.T) {
	for name, change := range map[string]func(p *pair, pin, version *string){
		"another PIN in the file": func(_ *pair, pin, version *string) { *pin, *version = "wrong", "2" },
		"changed at the token":    func(p *pair, _, _ *string) { p.primary.Set(shim.Login, ckrPINIncorrect) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, 1)
			var mu sync.Mutex
			pin, version := pkitest.SoftHSMPIN, "1"
			src := p.source(p.primary)
			src.PIN = func() ([]byte, string, error) {
				mu.Lock()
				defer mu.Unlock()
				return []byte(pin), version, nil
			}
			token := openToken(t, Config{Primary: src, Refused: new(record), KeepAlive: -1})
			s := p.signer(t, token, 0)
			if err := signOnce(s); err != nil {
				t.Fatal(err)
			}
			logins := p.primary.Get(shim.Logins)
			mu.Lock()
			change(p, &pin, &version)
			mu.Unlock()
			p.primary.Set(shim.LoginDelay, int64(3*token.legs[0].t.cfg.Attempt/impatience))
			if _, err := p.primary.Wipe(shim.CloseAllSessions, 10*time.Second); err != nil {
				t.Fatal(err)
			}
			if err := signOnce(s); err == nil {
				t.Fatal("it signs")
			}
			state(t, token, Refused)
			if err := signOnce(s); !errors.Is(err, ErrPIN) {
				t.Error(err)
			}
			if n := p.primary.Get(shim.Logins) - logins; n != 1 {
				t.Errorf("%d logins, want 1", n)
			}
		})
	}
}

// A PIN that people typed and that was not answered for is forgotten.
func TestTypedWithoutAnswer(t *testing.T) {
	p := newPair(t, 1)
	src := p.source(p.primary)
	src.PIN = nil
	token := start(t, Config{Primary: src, KeepAlive: -1})
	state(t, token, Locked)
	p.primary.Set(shim.LoginCrash, 1)
	if _, err := token.Unlock(t.Context(), Unlock{By: "alice", PIN: []byte(pkitest.SoftHSMPIN)}); err == nil {
		t.Fatal("it was unlocked")
	}
	p.primary.Mend()
	if s := token.Status().Legs[0]; s.State != Locked || s.Needed != 1 {
		t.Errorf("%+v", s)
	}
	if n := p.primary.Get(shim.Logins); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	if _, err := token.Unlock(t.Context(), Unlock{By: "alice", PIN: []byte("1")}); err == nil || !strings.Contains(err.Error(), "the next one is taken in") {
		t.Error(err)
	}
}

// A token that two names lead to is logged in to by one of them only.
func TestTokenUnderTwoNames(t *testing.T) {
	p := newPair(t, 1)
	primary, spare := p.source(p.primary), p.source(p.primary)
	primary.PIN, spare.PIN = pinOf("wrong", "1"), pinOf("wrong", "1")
	// The shim looks for its control file beside it.
	spare.Module = filepath.Join(t.TempDir(), "other.so")
	for _, end := range []string{"", ".control"} {
		if err := os.Symlink(p.primary.Path+end, spare.Module+end); err != nil {
			t.Fatal(err)
		}
	}
	probe := start(t, Config{Primary: p.source(p.primary)})
	state(t, probe, Ready)
	spare.Token = wire.Selector{Serial: probe.Status().Legs[0].Token.Serial}
	if err := probe.Close(); err != nil {
		t.Fatal(err)
	}
	logins := p.primary.Get(shim.Logins)
	token := start(t, Config{Primary: primary, Spare: &spare, Claims: new(Claims)})
	twice := func() (n int) {
		for _, l := range token.Status().Legs {
			if strings.Contains(l.Detail, `is the token of "factory"`) {
				n++
			}
		}
		return n
	}
	eventually(t, "both were refused", func() bool {
		legs := token.Status().Legs
		return legs[0].State == Refused && legs[1].State == Refused
	})
	if n := twice(); n != 1 {
		t.Errorf("%d of two names are refused: %+v", n, token.Status())
	}
	if n := p.primary.Get(shim.Logins) - logins; n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

// An absence is no failure: the pauses after a failed login begin anew.
func TestLoginAfterAbsence(t *testing.T) {
	p := newPair(t, 1)
	token := p.open(t, false, Config{KeepAlive: -1})
	s := p.signer(t, token, 0)
	initialized := p.primary.Get(shim.Initialized)
	p.primary.Set(shim.Gone, ckrTokenNotPresent)
	eventually(t, "it is away", func() bool { return signOnce(s) != nil && token.Status().Legs[0].State == Absent })
	eventually(t, "it is looked for", func() bool { return p.primary.Get(shim.Initialized) > initialized+8 })
	p.primary.Set(shim.Login, ckrFunctionFailed)
	p.primary.Set(shim.Gone, 0)
	state(t, token, Failing)
	l := token.legs[0]
	l.mu.Lock()
	defer l.mu.Unlock()
	if wait := time.Until(l.retryAt); wait > haltProbe {
		t.Errorf("the next login is in %s", wait)
	}
}

// How many people have to type a PIN is said where one does, also for the last try; and
// what they are to do where there is no server to go to.
func TestWhoTypes(t *testing.T) {
	p := newPair(t, 1)
	typed := p.source(p.primary)
	typed.PIN = nil
	pad := typed
	pad.Pad = true
	p.primary.Set(shim.FlagsOn, ckfUserPINFinalTry)
	for name, tt := range map[string]struct {
		cfg    Config
		needed int
		want   string
	}{
		"typed":      {Config{Primary: typed}, 1, "say mintmark hsm unlock factory --final-try"},
		"pad":        {Config{Primary: pad}, 0, "say mintmark hsm unlock factory --final-try"},
		"configured": {Config{Primary: p.source(p.primary)}, 0, "say mintmark hsm unlock factory --final-try"},
		"no server":  {Config{Primary: p.source(p.primary), NoServer: true}, 0, "pkcs11-tool --login"},
	} {
		token := start(t, tt.cfg)
		state(t, token, Refused)
		s := token.Status().Legs[0]
		if s.Needed != tt.needed || !strings.Contains(s.Detail, tt.want) || tt.cfg.NoServer && strings.Contains(s.Detail, "hsm unlock") {
			t.Errorf("%s: %d people, %q", name, s.Needed, s.Detail)
		}
	}
}
