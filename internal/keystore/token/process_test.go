//go:build linux && cgo && !nopkcs11

package token

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/internal/keystore/faults/shim"
	"mintmark/internal/keystore/token/wire"
	"mintmark/internal/pkitest"
)

// testProcess starts a child that is killed when the test ends.
func testProcess(t testing.TB) *process {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	p, err := startProcess(ctx, nil, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

func openRequest(module, label string, sessions int) *wire.Open {
	return &wire.Open{Module: module, Token: wire.Selector{Label: label}, Sessions: sessions}
}

// openPIN opens the token and logs in.
func openPIN(ctx context.Context, p *process, o *wire.Open) (wire.Token, error) {
	info, err := p.open(ctx, o)
	if err == nil {
		err = p.login(ctx, &wire.Login{PIN: []byte(pkitest.SoftHSMPIN)})
	}
	return info, err
}

// opened starts a child that has the token open.
func opened(t testing.TB, module, label string, sessions int) *process {
	t.Helper()
	p := testProcess(t)
	if _, err := openPIN(t.Context(), p, openRequest(module, label, sessions)); err != nil {
		t.Fatal(err)
	}
	return p
}

// faulty returns a module before the real one that fails on command.
func faulty(t testing.TB, module string) *shim.Module {
	t.Helper()
	pkitest.Tool(t, "gcc")
	m, err := shim.New(t.TempDir(), module, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// generated makes a key whose id and label are name.
func generated(t testing.TB, p *process, name, algorithm string) wire.Key {
	t.Helper()
	k, err := p.generate(t.Context(), wire.Generate{ID: []byte(name), Label: []byte(name), Algorithm: algorithm})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// found finds a key that is there.
func found(t testing.TB, p *process, f wire.Find) wire.Key {
	t.Helper()
	k, err := p.find(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sha256Info is what is before a SHA-256 digest in an RSA signature (RFC 8017, Section
// 9.2, Note 1).
var sha256Info = []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}

// signsWith makes a signature and verifies it.
func signsWith(p *process, k wire.Key) error {
	message := []byte("message")
	public, err := x509.ParsePKIXPublicKey(k.Public)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(message)
	s := wire.Sign{Handle: k.Handle, Mechanism: wire.ECDSA, Input: digest[:]}
	if strings.Contains(string(k.Label), "RSA") {
		s.Mechanism, s.Input = wire.RSA, append(bytes.Clone(sha256Info), digest[:]...)
	}
	signature, err := p.sign(context.Background(), s)
	if err != nil {
		return err
	}
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(k, digest[:], signature) {
			return errors.New("the signature does not verify")
		}
		return nil
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], signature)
	}
	return fmt.Errorf("a public key of type %T", public)
}

func TestProcess(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	p := testProcess(t)
	info, err := p.probe(t.Context(), module, wire.Selector{Label: label})
	if err != nil || info.Label != label || info.Sessions != 0 || info.Slot == 0 || len(info.Serial) != 16 {
		t.Fatalf("probing: %+v, %v", info, err)
	}
	by, err := openPIN(t.Context(), p, &wire.Open{Module: module, Token: wire.Selector{Serial: info.Serial, Slot: &info.Slot}, Sessions: 3})
	if err != nil || by.Sessions != 3 || by.Label != label || by.Manufacturer != "SoftHSM project" || by.Cryptoki != "2.40" ||
		!strings.Contains(by.Library, "SoftHSM") {
		t.Fatalf("opening: %+v, %v", by, err)
	}
	for _, algorithm := range []string{"P-256", "P-384", "RSA-2048"} {
		made := generated(t, p, algorithm, algorithm)
		if made.Modifiable || string(made.ID) != algorithm || string(made.Label) != algorithm {
			t.Errorf("the new key is %+v", made)
		}
		for _, f := range []wire.Find{{ID: []byte(algorithm)}, {Label: []byte(algorithm)},
			{ID: []byte(algorithm), Label: []byte(algorithm)},
			{Public: made.Public, ID: []byte("not looked at")}} {
			k, err := p.find(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(k.Public, made.Public) || !bytes.Equal(k.ID, made.ID) || !bytes.Equal(k.Label, made.Label) {
				t.Errorf("found %+v, made %+v", k, made)
			}
			if err := signsWith(p, k); err != nil {
				t.Errorf("%s: %v", algorithm, err)
			}
		}
		checkAttributes(t, p, made)
	}
	gone := found(t, p, wire.Find{ID: []byte("P-256")})
	if err := p.destroy(t.Context(), gone.Handle); err != nil {
		t.Fatal(err)
	}
	for _, f := range []wire.Find{{ID: gone.ID}, {Public: gone.Public}} {
		if _, err := p.find(t.Context(), f); !hasTrouble(err, wire.NoKey) {
			t.Errorf("the key was destroyed and is found: %v", err)
		}
	}
	if err := signsWith(p, gone); !hasError(err, "", 0x82) {
		t.Errorf("signing with a destroyed key: %v", err)
	}
}

func checkAttributes(t *testing.T, p *process, k wire.Key) {
	t.Helper()
	want := map[string]bool{
		"CKA_TOKEN": true, "CKA_PRIVATE": true, "CKA_SENSITIVE": true, "CKA_ALWAYS_SENSITIVE": true,
		"CKA_EXTRACTABLE": false, "CKA_NEVER_EXTRACTABLE": true, "CKA_LOCAL": true,
		"CKA_SIGN": true, "CKA_SIGN_RECOVER": false, "CKA_DECRYPT": false, "CKA_UNWRAP": false, "CKA_DERIVE": false,
		"CKA_MODIFIABLE": false, "CKA_ALWAYS_AUTHENTICATE": false,
	}
	attributes, err := p.attributes(t.Context(), k.Handle)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range attributes {
		v, ok := want[a.Name]
		if !ok || !a.Known || a.Value != v {
			t.Errorf("%s is %t, known %t", a.Name, a.Value, a.Known)
		}
		delete(want, a.Name)
	}
	if len(want) > 0 {
		t.Errorf("not told: %v", want)
	}
}

func hasTrouble(err error, kind wire.Kind) bool {
	var e *wire.Trouble
	return errors.As(err, &e) && e.Kind == kind
}

// hasError reports whether err is that return value of the library, of that call if it
// is named.
func hasError(err error, call string, code uint) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Code == code && (call == "" || e.Call == call)
}

// Handles are good until the next Open, and are never those of another key.
func TestProcessHandles(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	p := opened(t, module, label, 2)
	k := generated(t, p, "a", "P-256")
	generated(t, p, "b", "P-256")
	if _, err := openPIN(t.Context(), p, openRequest(module, label, 2)); err != nil {
		t.Fatal(err)
	}
	b := found(t, p, wire.Find{ID: []byte("b")})
	if err := signsWith(p, b); err != nil {
		t.Error(err)
	}
	if err := signsWith(p, k); !hasError(err, "C_SignInit", 0x82) {
		t.Errorf("signing with a handle from before: %v", err)
	}
	if err := signsWith(p, b); err != nil {
		t.Errorf("a wrong handle broke the session: %v", err)
	}
}

// The directory of the token is taken away and comes back.
func TestProcessTokenAway(t *testing.T) {
	module, label, pin := pkitest.SoftHSM(t)
	dir := filepath.Join(filepath.Dir(pin), "tokens")
	counted := faulty(t, module)
	p := opened(t, counted.Path, label, 2)
	k := generated(t, p, "k", "P-256")
	move := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		logins := counted.Get(shim.Logins)
		move(dir, dir+"-away")
		if err := signsWith(p, k); err == nil {
			t.Fatal("signed without a token")
		}
		for range 3 {
			if _, err := openPIN(t.Context(), p, openRequest(counted.Path, label, 2)); err == nil {
				t.Fatal("opened a token that is not there")
			}
		}
		if err := signsWith(p, k); !hasTrouble(err, wire.NotOpen) {
			t.Errorf("signing in a token that is not open: %v", err)
		}
		if n := counted.Get(shim.Logins); n != logins {
			t.Errorf("%d logins while the token was away", n-logins)
		}
		move(dir+"-away", dir)
		if _, err := openPIN(t.Context(), p, openRequest(counted.Path, label, 2)); err != nil {
			t.Fatal(err)
		}
		k = found(t, p, wire.Find{Public: k.Public})
		if err := signsWith(p, k); err != nil {
			t.Fatal(err)
		}
		if n := counted.Get(shim.Logins); n != logins+1 {
			t.Errorf("%d logins when the token came back", n-logins)
		}

		// Away and back, unseen: one Open is enough.
		move(dir, dir+"-away")
		if err := signsWith(p, k); err == nil {
			t.Fatal("signed without a token")
		}
		move(dir+"-away", dir)
		if _, err := openPIN(t.Context(), p, openRequest(counted.Path, label, 2)); err != nil {
			t.Fatal(err)
		}
		k = found(t, p, wire.Find{Public: k.Public})
		if err := signsWith(p, k); err != nil {
			t.Fatal(err)
		}
		if n := counted.Get(shim.Logins); n != logins+2 {
			t.Errorf("%d logins when the token came back unseen", n-logins-1)
		}
	}
}

// Sessions are taken away behind the back of the child.
func TestProcessWiped(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	m := faulty(t, module)
	p := opened(t, m.Path, label, 3)
	k := generated(t, p, "k", "P-256")
	for _, w := range []shim.Wipe{shim.CloseAllSessions, shim.Logout, shim.Finalize} {
		if code, err := m.Wipe(w, 20*time.Second); err != nil || code != 0 {
			t.Fatal(code, err)
		}
		if w == shim.Logout {
			// Nothing is to be seen of the key, which does not mean that there is none.
			for _, f := range []wire.Find{{Public: k.Public}, {ID: k.ID}} {
				if _, err := p.find(t.Context(), f); !hasError(err, "C_FindObjects", 0x101) {
					t.Errorf("looking for the key when logged out: %v", err)
				}
			}
		}
		for i := range 5 {
			// Of three sessions none is left in the end.
			err := signsWith(p, k)
			var e *wire.Error
			if !errors.As(err, &e) {
				t.Errorf("signing after wipe %d: %v", w, err)
			}
			if i > 2 && w == shim.CloseAllSessions && !hasError(err, "C_Sign", 0xb3) {
				t.Errorf("signing without sessions: %v", err)
			}
		}
		if _, err := openPIN(t.Context(), p, openRequest(m.Path, label, 3)); err != nil {
			t.Fatal(err)
		}
		k = found(t, p, wire.Find{Public: k.Public})
		for range 4 {
			if err := signsWith(p, k); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A token that has fewer sessions than are asked for is used with what it has, for
// changes too.
func TestProcessFewSessions(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	m := faulty(t, module)
	m.Set(shim.MaxSessions, 3)
	p := testProcess(t)
	for range 2 {
		info, err := openPIN(t.Context(), p, openRequest(m.Path, label, 8))
		if err != nil || info.Sessions != 3 {
			t.Fatalf("%d sessions: %v", info.Sessions, err)
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		k := generated(t, p, name, "P-256")
		if err := signsWith(p, k); err != nil {
			t.Fatal(err)
		}
	}
	m.Set(shim.MaxSessions, 1)
	if info, err := openPIN(t.Context(), p, openRequest(m.Path, label, 8)); err != nil || info.Sessions != 1 {
		t.Fatalf("%d sessions: %v", info.Sessions, err)
	}
	_, err := p.generate(t.Context(), wire.Generate{ID: []byte("d"), Label: []byte("d"), Algorithm: "P-256"})
	if !hasError(err, "C_OpenSession", 0xb1) {
		t.Errorf("making a key with the only session: %v", err)
	}
	k := found(t, p, wire.Find{ID: []byte("a")})
	if err := signsWith(p, k); err != nil {
		t.Error(err)
	}
}
