//go:build linux && cgo && !nopkcs11

package token

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"os"
	"strings"
	"testing"

	"mintmark/internal/keystore/faults/shim"
	"mintmark/internal/keystore/token/wire"
	"mintmark/internal/pkitest"
)

func TestProcessRefusesToOpen(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	pkitest.AddToken(t, "twice")
	pkitest.AddToken(t, "twice")
	text := pkitest.WriteFile(t, "text", []byte("no library"))
	slot := uint(4711)
	good := func() *wire.Open { return openRequest(module, label, 1) }
	for _, tt := range []struct {
		name   string
		change func(*wire.Open)
		kind   wire.Kind
		want   string
	}{
		{"a relative path", func(o *wire.Open) { o.Module = "libsofthsm2.so" }, wire.NoModule, "not absolute"},
		{"no path", func(o *wire.Open) { o.Module = "" }, wire.NoModule, "not absolute"},
		{"no such file", func(o *wire.Open) { o.Module = "/none.so" }, wire.NoModule, "/none.so"},
		{"no library", func(o *wire.Open) { o.Module = text }, wire.NoModule, "loading the PKCS#11 module"},
		{"a library of something else", func(o *wire.Open) { o.Module = libc(t) }, wire.NoModule, "C_GetFunctionList"},
		{"no such label", func(o *wire.Open) { o.Token.Label = "none" }, wire.NoToken, `labelled "none"`},
		{"no such serial number", func(o *wire.Open) { o.Token.Serial = "none" }, wire.NoToken, `serial number "none"`},
		{"no such slot", func(o *wire.Open) { o.Token.Slot = &slot }, wire.NoToken, "slot 4711"},
		{"a label of two tokens", func(o *wire.Open) { o.Token.Label = "twice" }, wire.ManyTokens, "2 tokens"},
		{"nothing that selects", func(o *wire.Open) { o.Token = wire.Selector{} }, wire.ManyTokens, "3 tokens"},
	} {
		p := testProcess(t)
		o := good()
		tt.change(o)
		_, err := p.open(t.Context(), o)
		if !hasTrouble(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.kind == wire.NoModule {
			// The process is still good for a module that there is.
			if _, err := openPIN(t.Context(), p, good()); err != nil {
				t.Errorf("after %s: %v", tt.name, err)
			}
		}
		p.kill()
	}
}

func libc(t *testing.T) string {
	for _, path := range []string{"/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Skip("no C library where one is expected")
	return ""
}

func TestProcessRefuses(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	ctx := t.Context()
	p := testProcess(t)
	for name, err := range map[string]error{
		"find":     errorOf(p.find(ctx, wire.Find{ID: []byte("k")})),
		"sign":     errorOf(p.sign(ctx, wire.Sign{Handle: 1, Mechanism: wire.ECDSA, Input: []byte("x")})),
		"generate": errorOf(p.generate(ctx, wire.Generate{ID: []byte("k"), Label: []byte("k"), Algorithm: "P-256"})),
		"destroy":  p.destroy(ctx, 1),
		"login":    p.login(ctx, &wire.Login{PIN: []byte("1")}),
	} {
		if !hasTrouble(err, wire.NotOpen) {
			t.Errorf("%s before open: %v", name, err)
		}
	}
	for _, sessions := range []int{0, -1, wire.MaxSessions + 1} {
		if _, err := openPIN(ctx, p, openRequest(module, label, sessions)); err == nil {
			t.Errorf("%d sessions were opened", sessions)
		}
	}
	if _, err := openPIN(ctx, p, openRequest(module, label, 2)); err != nil {
		t.Fatal(err)
	}
	_, err := openPIN(ctx, p, openRequest(module+".other", label, 2))
	if !hasTrouble(err, wire.BadRequest) {
		t.Errorf("another module: %v", err)
	}
	k := generated(t, p, "k", "P-256")
	for _, id := range []string{"1", "2"} {
		if _, err := p.generate(ctx, wire.Generate{ID: []byte(id), Label: []byte("same"), Algorithm: "P-256"}); err != nil {
			t.Fatal(err)
		}
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.MarshalPKIXPublicKey(pkitest.Key(t, "P-256").Public())
	if err != nil {
		t.Fatal(err)
	}
	otherRSA, err := x509.MarshalPKIXPublicKey(pkitest.Key(t, "RSA-2048").Public())
	if err != nil {
		t.Fatal(err)
	}
	long := make([]byte, 5000)
	for _, tt := range []struct {
		name string
		err  error
		kind wire.Kind // or
		want string
	}{
		{"find nothing", errorOf(p.find(ctx, wire.Find{})), wire.BadRequest, "neither id"},
		{"find another id", errorOf(p.find(ctx, wire.Find{ID: []byte("x")})), wire.NoKey, ""},
		{"find id and label of two keys", errorOf(p.find(ctx, wire.Find{ID: []byte("1"), Label: []byte("k")})), wire.NoKey, ""},
		{"find another public key", errorOf(p.find(ctx, wire.Find{Public: other, ID: []byte("k")})), wire.NoKey, ""},
		{"find another RSA key", errorOf(p.find(ctx, wire.Find{Public: otherRSA, ID: []byte("k")})), wire.NoKey, ""},
		{"find a label of two keys", errorOf(p.find(ctx, wire.Find{Label: []byte("same")})), wire.ManyKeys, "2 private keys"},
		{"find what is no public key", errorOf(p.find(ctx, wire.Find{Public: []byte("x")})), wire.BadRequest, "parsing the public key"},
		{"find a key of another kind", errorOf(p.find(ctx, wire.Find{Public: ed})), wire.BadRequest, "ed25519"},
		{"find an id that is too long", errorOf(p.find(ctx, wire.Find{ID: long})), 0, "too long"},
		{"generate without an id", errorOf(p.generate(ctx, wire.Generate{Label: []byte("n"), Algorithm: "P-256"})), wire.BadRequest, "id and a label"},
		{"generate without a label", errorOf(p.generate(ctx, wire.Generate{ID: []byte("n"), Algorithm: "P-256"})), wire.BadRequest, "id and a label"},
		{"generate another kind", errorOf(p.generate(ctx, wire.Generate{ID: []byte("n"), Label: []byte("n"), Algorithm: "P-521"})), wire.BadRequest, "P-521"},
		{"sign by another mechanism", errorOf(p.sign(ctx, wire.Sign{Handle: k.Handle, Mechanism: wire.RSA, Input: []byte("x")})), wire.BadRequest, "mechanism"},
		{"sign by no mechanism", errorOf(p.sign(ctx, wire.Sign{Handle: k.Handle, Input: []byte("x")})), wire.BadRequest, "mechanism"},
		{"sign nothing", errorOf(p.sign(ctx, wire.Sign{Handle: k.Handle, Mechanism: wire.ECDSA})), wire.BadRequest, "nothing to sign"},
		{"sign too much", errorOf(p.sign(ctx, wire.Sign{Handle: k.Handle, Mechanism: wire.ECDSA, Input: long})), 0, "too long"},
	} {
		if tt.err == nil || tt.kind != 0 && !hasTrouble(tt.err, tt.kind) || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, tt.err)
		}
	}
	for name, err := range map[string]error{
		"sign":       errorOf(p.sign(ctx, wire.Sign{Handle: 9999, Mechanism: wire.ECDSA, Input: []byte("x")})),
		"attributes": errorOf(p.attributes(ctx, 9999)),
		"destroy":    p.destroy(ctx, 9999),
	} {
		if !hasError(err, "", 0x82) {
			t.Errorf("%s with a handle of no key: %v", name, err)
		}
	}
	if err := signsWith(p, k); err != nil {
		t.Errorf("after what was refused: %v", err)
	}
	if err := p.login(ctx, &wire.Login{}); err == nil {
		t.Error("an empty PIN was sent")
	}

	// A wrong PIN, after which nothing is open.
	if _, err := p.open(ctx, openRequest(module, label, 1)); err != nil {
		t.Fatal(err)
	}
	wrong := []byte("00000000")
	if err := p.login(ctx, &wire.Login{PIN: wrong}); !hasError(err, "C_Login", 0xa0) || strings.Trim(string(wrong), "\x00") != "" {
		t.Errorf("a wrong PIN: %v, which is %q then", err, wrong)
	}
	if _, err := p.find(ctx, wire.Find{ID: []byte("k")}); !hasTrouble(err, wire.NotOpen) {
		t.Errorf("after a wrong PIN: %v", err)
	}

	// Without a login, private keys are not to be seen.
	if _, err := p.open(ctx, openRequest(module, label, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.find(ctx, wire.Find{ID: []byte("k")}); !hasTrouble(err, wire.NoKey) {
		t.Errorf("a private key without a login: %v", err)
	}
}

func errorOf[T any](_ T, err error) error { return err }

// What the library returns for a signature and cannot be one is told apart from what
// can, and the session is not used again.
func TestProcessGarbage(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	m := faulty(t, module)
	for _, algorithm := range []string{"P-256", "RSA-2048"} {
		p := opened(t, m.Path, label, 1)
		k := generated(t, p, algorithm, algorithm)
		for _, garbage := range []int64{shim.GarbageShort, shim.GarbageEmpty, shim.GarbageTooLong} {
			m.SetTimes(shim.Garbage, garbage, 1)
			if err := signsWith(p, k); !hasTrouble(err, wire.BadSignature) {
				t.Errorf("garbage %d of %s: %v", garbage, algorithm, err)
			}
			if err := signsWith(p, k); !hasError(err, "C_Sign", 0xb3) {
				t.Errorf("the session is used after garbage %d: %v", garbage, err)
			}
			if _, err := openPIN(t.Context(), p, openRequest(m.Path, label, 1)); err != nil {
				t.Fatal(err)
			}
			k = found(t, p, wire.Find{Public: k.Public})
			if err := signsWith(p, k); err != nil {
				t.Error(err)
			}
		}
		// What has the length of a signature is for the caller to verify.
		for _, garbage := range []int64{shim.GarbageWrong, shim.GarbageRange, shim.GarbageZero} {
			m.SetTimes(shim.Garbage, garbage, 1)
			err := signsWith(p, k)
			var e *wire.Error
			var tr *wire.Trouble
			if err == nil || errors.As(err, &e) || errors.As(err, &tr) {
				t.Errorf("garbage %d of %s: %v", garbage, algorithm, err)
			}
		}
		p.kill()
	}
}

// A login that the library refuses is tried once.
func TestProcessLogsInOnce(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	m := faulty(t, module)
	p := testProcess(t)
	for _, code := range []int64{0xa0, 0xa4, 0x05, 0x30, 0xe0} {
		m.Set(shim.Login, code)
		before := m.Get(shim.Logins)
		if _, err := openPIN(t.Context(), p, openRequest(m.Path, label, 4)); !hasError(err, "C_Login", uint(code)) {
			t.Errorf("login: %v", err)
		}
		if n := m.Get(shim.Logins) - before; n != 1 {
			t.Errorf("%d logins for one Open that returned %#x", n, code)
		}
	}
	m.Mend()
	if _, err := openPIN(t.Context(), p, openRequest(m.Path, label, 4)); err != nil {
		t.Fatal(err)
	}

	// At the token's own PIN pad.
	m.Set(shim.Pad, 1)
	m.PIN(pkitest.SoftHSMPIN)
	if _, err := p.open(t.Context(), openRequest(m.Path, label, 2)); err != nil {
		t.Fatal(err)
	}
	if err := p.login(t.Context(), &wire.Login{Pad: true}); err != nil {
		t.Fatal(err)
	}
	if err := signsWith(p, generated(t, p, "k", "P-256")); err != nil {
		t.Error(err)
	}
}

// A token that ends while a call is under way, and calls after that.
func TestProcessDies(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	m := faulty(t, module)
	for _, crash := range []int64{shim.CrashAbort, shim.CrashSegfault, shim.CrashExit} {
		p := opened(t, m.Path, label, 2)
		k := generated(t, p, string(rune('a'+crash)), "P-256")
		m.SetTimes(shim.Crash, crash, 1)
		if err := signsWith(p, k); !errors.Is(err, errProcessDied) {
			t.Errorf("crash %d: %v", crash, err)
		}
		<-p.died()
		if err := signsWith(p, k); !errors.Is(err, errProcessDied) {
			t.Errorf("after crash %d: %v", crash, err)
		}
		p.kill()
		p.kill()
	}
}
