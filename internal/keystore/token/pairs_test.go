//go:build linux && cgo && !nopkcs11

package token

import (
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mintmark/internal/keystore/faults/shim"
	"mintmark/internal/keystore/token/wire"
	"mintmark/internal/pkitest"
)

// An id that two keys share, of which one has no private half any more, does not make the
// private half of the other one its own: it does not sign for it, and is not destroyed
// for it.
func TestPrivateKeyOfAnother(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	pkcs11 := pkitest.Tool(t, "pkcs11-tool")
	tool := func(args ...string) []byte {
		t.Helper()
		args = append([]string{"--module", module, "--token-label", label, "--login", "--pin", pkitest.SoftHSMPIN}, args...)
		out, err := exec.Command(pkcs11, args...).Output()
		if err != nil {
			t.Fatalf("pkcs11-tool %q: %v\n%s", args[6:], err, out)
		}
		return out
	}
	cfg := Config{Primary: softSource(module, label), Accept: []string{"CKA_DECRYPT", "CKA_UNWRAP", "CKA_SIGN_RECOVER", "CKA_DERIVE"}}
	maker := openToken(t, cfg)
	old := made(t, maker, "k", "P-256").Public()
	if err := maker.Close(); err != nil {
		t.Fatal(err)
	}
	tool("--delete-object", "--type", "privkey", "--id", "6b")
	tool("--keypairgen", "--key-type", "EC:prime256v1", "--usage-sign", "--id", "6b", "--label", "live")
	der := tool("--read-object", "--type", "pubkey", "--label", "live")
	live, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		t.Fatal(err)
	}

	token := openToken(t, cfg)
	if s, err := token.Signer(t.Context(), KeyName{Public: old}, true); err == nil || !strings.Contains(err.Error(), "is another one") {
		t.Errorf("the key that has no private half: %v, %v", s, err)
	}
	if err := token.Destroy(t.Context(), KeyName{Public: old}); err == nil || !strings.Contains(err.Error(), "is another one") {
		t.Errorf("destroying it: %v", err)
	}
	s, err := token.Signer(t.Context(), KeyName{Public: live}, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := signOnce(s); err != nil {
		t.Error(err)
	}
	if err := token.Destroy(t.Context(), KeyName{Public: live}); err != nil {
		t.Error(err)
	}
}

// A library whose token has left says that there is no such key: nothing was destroyed.
func TestDestroyWithoutToken(t *testing.T) {
	p := newPair(t, 1)
	token := p.open(t, true, Config{KeepAlive: -1})
	s := p.signer(t, token, 0)
	eventually(t, "the spare has it", func() bool { return token.legs[1].saw(token.registered()[0]) })
	tokens := filepath.Join(filepath.Dir(os.Getenv("SOFTHSM2_CONF")), "tokens")
	// The primary has been asked when the spare hangs.
	p.spare.Set(shim.Hang, shim.HangFind)
	done := make(chan error, 1)
	go func() { done <- token.Destroy(t.Context(), KeyName{Public: s.Public()}) }()
	eventually(t, "the spare is asked", func() bool { return p.spare.Get(shim.Hung) > 0 })
	if err := os.Rename(tokens, tokens+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	p.spare.Set(shim.Hang, 0)
	if err := <-done; err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("destroying a key in a token that has left: %v", err)
	}
	if err := os.Remove(tokens); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tokens+".away", tokens); err != nil {
		t.Fatal(err)
	}
	again := p.open(t, false, Config{KeepAlive: -1})
	if err := signOnce(p.signer(t, again, 0)); err != nil {
		t.Error(err)
	}
}

// A search by a public key finds that one, and no other of its kind.
func TestProcessFindsNoOther(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	p := opened(t, module, label, 1)
	for _, algorithm := range []string{"P-256", "RSA-2048"} {
		generated(t, p, algorithm, algorithm)
		other, err := x509.MarshalPKIXPublicKey(pkitest.Key(t, algorithm).Public())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.find(t.Context(), wire.Find{Public: other}); !hasTrouble(err, wire.NoKey) {
			t.Errorf("%s: a key that is not there: %v", algorithm, err)
		}
	}
}

// Whoever looks for a key that is not there is told, and the log is left alone.
func TestNoKeyIsNoNews(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	log := new(journal)
	token := openToken(t, Config{Primary: softSource(module, label), KeepAlive: -1, Logger: slog.New(slog.NewTextHandler(log, nil))})
	public := KeyName{Public: made(t, token, "k", "P-256").Public()}
	if err := token.Destroy(t.Context(), public); err != nil {
		t.Fatal(err)
	}
	if _, err := token.Signer(t.Context(), public, true); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if n := log.count("level=ERROR"); n != 0 {
		t.Errorf("%d errors are in the log", n)
	}
}
