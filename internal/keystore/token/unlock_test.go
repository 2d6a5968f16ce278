//go:build linux && cgo && !nopkcs11

package token

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mintmark/internal/keystore/faults/shim"
	"mintmark/internal/keystore/token/wire"
	"mintmark/internal/pkitest"
)

// Two people type a part of the PIN each; the token signs then, and goes on after it
// was lost, without them.
func TestUnlock(t *testing.T) {
	p := newPair(t, 1)
	src := Source{Module: p.primary.Path, Token: wire.Selector{Label: "factory"}, Parts: 2}
	token := openToken(t, Config{Primary: src, KeepAlive: -1})
	public := KeyName{Public: p.signers[0].Public()}
	locked := func() {
		t.Helper()
		_, err := token.Signer(t.Context(), public, true)
		var u *UnavailableError
		if !errors.As(err, &u) || u.State != Locked || !strings.Contains(err.Error(), "mintmark hsm unlock factory") {
			t.Fatalf("a token that waits for its PIN: %v", err)
		}
	}
	unlock := func(by, pin, want string) Status {
		t.Helper()
		typed := []byte(pin)
		status, err := token.Unlock(t.Context(), Unlock{By: by, PIN: typed})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Fatalf("%s types %q: %v, want %q", by, pin, err, want)
		}
		if err != nil && pin != "" && strings.Contains(err.Error(), pin) {
			t.Errorf("the error has the PIN in it: %v", err)
		}
		if !bytes.Equal(typed, make([]byte, len(typed))) {
			t.Errorf("what %s typed is left in memory", by)
		}
		return status
	}
	locked()
	first, second := pkitest.SoftHSMPIN[:3], pkitest.SoftHSMPIN[3:]
	unlock("", first, "nobody")
	unlock("alice", "", "empty")
	unlock("alice", strings.Repeat("1", maxPIN+1), "longer than")
	if s := unlock("alice", first, ""); s.Legs[0].Parts != 1 || s.Legs[0].Needed != 2 || s.Legs[0].State != Locked || len(s.Legs[0].By) != 1 || s.Legs[0].By[0] != "alice" {
		t.Errorf("after one of two: %+v", s.Legs[0])
	}
	unlock("alice", second, "another person")
	locked()
	if n := p.primary.Get(shim.Logins); n != 0 {
		t.Errorf("%d logins before all parts were there", n)
	}
	// Wrong: tried once, and all parts are gone.
	unlock("bob", "wrong", "refused the PIN")
	if n := p.primary.Get(shim.Logins); n != 1 {
		t.Errorf("%d logins with a wrong PIN", n)
	}
	if n := counted(t, token, "token_pin_refused_total", ""); n != 1 {
		t.Errorf("%v PINs are counted as refused", n)
	}
	locked()
	unlock("bob", first, "the next one is taken in 10s")
	token.legs[0].mu.Lock()
	token.legs[0].nextTyped = time.Time{}
	token.legs[0].mu.Unlock()
	if s := token.Status().Legs[0]; s.Parts != 0 || len(s.By) != 0 {
		t.Errorf("%d parts are left, of %q", s.Parts, s.By)
	}
	unlock("bob", first, "")
	if s := unlock("alice", second, ""); s.Legs[0].State != Ready {
		t.Errorf("%+v", s.Legs[0])
	}
	unlock("carol", "1", "needs no PIN")
	s, err := token.Signer(t.Context(), public, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := signOnce(s); err != nil {
		t.Error(err)
	}
	if _, err := p.primary.Wipe(shim.Finalize, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := signOnce(s); err != nil {
		t.Errorf("after the sessions were lost: %v", err)
	}
	if err := syscall.Kill(childOf(t, token.legs[0]), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it signs in another process", func() bool { return signOnce(s) == nil })
	if _, err := token.Unlock(t.Context(), Unlock{By: "alice", Spare: true, PIN: []byte("1")}); err == nil || !strings.Contains(err.Error(), "no spare") {
		t.Errorf("unlocking a spare that there is not: %v", err)
	}
}

// The PIN that people typed is in memory only as long as it is needed, outside of what a
// core file has.
func TestUnlockMemory(t *testing.T) {
	p := newPair(t, 1)
	token := openToken(t, Config{Primary: Source{Module: p.primary.Path, Token: wire.Selector{Label: "factory"}}})
	if err := token.begin(); err != nil {
		t.Fatal(err)
	}
	if _, err := token.Unlock(t.Context(), Unlock{By: "alice", PIN: []byte(pkitest.SoftHSMPIN)}); err != nil {
		t.Fatal(err)
	}
	token.legs[0].mu.Lock()
	typed := token.legs[0].typed
	token.legs[0].mu.Unlock()
	if typed == nil || !typed.locked {
		t.Fatal("the PIN is not in locked memory")
	}
	if err := typed.with(func(pin []byte) error {
		if string(pin) != pkitest.SoftHSMPIN {
			t.Errorf("%d bytes are kept", len(pin))
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := token.Close(); err != nil {
		t.Fatal(err)
	}
	if err := typed.with(func([]byte) error { return nil }); err == nil {
		t.Error("it is still there after Close")
	}
}

// Parts wait for 10 minutes.
func TestPartsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p parts
		if all, err := p.add("alice", []byte("12"), 2); all != nil || err != nil {
			t.Fatal(all, err)
		}
		kept := p.pins[0]
		time.Sleep(partsLife - time.Nanosecond)
		if n := p.count(); n != 1 {
			t.Errorf("%d parts shortly before", n)
		}
		time.Sleep(time.Nanosecond)
		if n := p.count(); n != 0 {
			t.Errorf("%d parts after it", n)
		}
		if err := kept.with(func([]byte) error { return nil }); err == nil {
			t.Error("the part was not wiped")
		}
		if all, err := p.add("alice", []byte("12"), 2); all != nil || err != nil {
			t.Fatalf("alice again: %q, %v", all, err)
		}
		time.Sleep(partsLife / 2)
		all, err := p.add("bob", []byte("34"), 2)
		if err != nil || string(bytes.Join(all, nil)) != "1234" {
			t.Errorf("%q, %v", all, err)
		}
	})
}

// A PIN of the configuration: tried once, once more on purpose, and never the last time
// without that.
func TestConfiguredPIN(t *testing.T) {
	p := newPair(t, 1)
	src := p.source(p.primary)
	pin, version := "wrong", "1"
	src.PIN = func() ([]byte, string, error) { return []byte(pin), version, nil }
	token := openToken(t, Config{Primary: src, KeepAlive: -1})
	public := KeyName{Public: p.signers[0].Public()}
	refused := func(what string, logins int64) {
		t.Helper()
		for range 3 {
			if _, err := token.Signer(t.Context(), public, true); !errors.Is(err, ErrPIN) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if n := p.primary.Get(shim.Logins); n != logins {
			t.Errorf("%s: %d logins, want %d", what, n, logins)
		}
	}
	unlock := func(u Unlock, want string) {
		t.Helper()
		u.By = "alice"
		_, err := token.Unlock(t.Context(), u)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", u, err, want)
		}
	}
	refused("wrong", 1)
	unlock(Unlock{}, "comes from the configuration")
	unlock(Unlock{PIN: []byte("1")}, "not typed here")
	unlock(Unlock{Again: true}, "refused the PIN")
	refused("wrong again", 2)
	p.primary.Set(shim.FlagsOn, ckfUserPINFinalTry)
	unlock(Unlock{Again: true}, "--final-try")
	refused("the last try", 2)
	p.primary.Set(shim.FlagsOn, ckfUserPINLocked)
	unlock(Unlock{FinalTry: true}, "locked")
	refused("locked", 2)
	p.primary.Set(shim.FlagsOn, ckfUserPINFinalTry)
	pin = pkitest.SoftHSMPIN
	unlock(Unlock{FinalTry: true}, "")
	p.primary.Set(shim.FlagsOn, 0)
	if s, err := token.Signer(t.Context(), public, true); err != nil || signOnce(s) != nil {
		t.Errorf("with the right PIN: %v", err)
	}
	if n := p.primary.Get(shim.Logins); n != 3 {
		t.Errorf("%d logins, want 3", n)
	}
}

// A PIN that cannot be read, or that nobody can say of whether it was refused, is not
// tried.
func TestPINNotTried(t *testing.T) {
	p := newPair(t, 1)
	for what, tt := range map[string]struct {
		pin     func() ([]byte, string, error)
		refused Refusals
		want    string
		is      error
	}{
		"no file":  {func() ([]byte, string, error) { return nil, "", os.ErrNotExist }, nil, "reading the PIN", os.ErrNotExist},
		"empty":    {pinOf("", "1"), nil, "empty", nil},
		"long":     {pinOf(strings.Repeat("1", maxPIN+1), "1"), nil, "longer than", nil},
		"untold":   {pinOf(pkitest.SoftHSMPIN, "1"), brokenRefusals{}, "cannot be told", nil},
		"full":     {pinOf(pkitest.SoftHSMPIN, "1"), fullRefusals{}, "cannot be recorded", os.ErrPermission},
		"recorded": {pinOf(pkitest.SoftHSMPIN, "old"), brokenRefusals{}, "not asked again", ErrPIN},
	} {
		src := p.source(p.primary)
		src.PIN = tt.pin
		token := openToken(t, Config{Primary: src, Refused: tt.refused})
		_, err := token.Signer(t.Context(), KeyName{Public: p.signers[0].Public()}, true)
		if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %v, want %q", what, err, tt.want)
		}
	}
	if n := p.primary.Get(shim.Logins); n != 0 {
		t.Errorf("%d logins", n)
	}
}

// fullRefusals has no room for more.
type fullRefusals struct{ brokenRefusals }

func (fullRefusals) Refused(_, _ string) (bool, error) { return false, nil }

// brokenRefusals knows of the version "old" only.
type brokenRefusals struct{}

func (brokenRefusals) Refused(_, version string) (bool, error) {
	if version == "old" {
		return true, nil
	}
	return false, os.ErrPermission
}
func (brokenRefusals) Put(_, _ string) error  { return os.ErrPermission }
func (brokenRefusals) Drop(_, _ string) error { return os.ErrPermission }
