package access_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func spki(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

var example = ledger.Approval{
	ID: "k3f7q2xw4m", Operation: "authority.create", Proposer: "alice",
	Words:     `create root CA "line-9", key P-256`,
	Plan:      []byte(`{"method":"POST","path":"/v1/authorities","body":{"name":"line-9"}}`),
	ExpiresAt: time.Date(2026, 11, 25, 3, 52, 18, 0, time.UTC),
}

// TestStatement pins the text: people keep signatures over it, and other
// programs make them.
func TestStatement(t *testing.T) {
	want := `mintmark approval, version 1
id: k3f7q2xw4m
operation: authority.create
proposer: alice
expires: 2026-11-25T03:52:18Z
plan-sha256: d01e421262f8117880025905f3defa16439091873f8fb998de265b7f909fc26b
words: create root CA "line-9", key P-256

{"method":"POST","path":"/v1/authorities","body":{"name":"line-9"}}
`
	if got := string(access.Statement(example)); got != want {
		t.Errorf("the statement is\n%s", got)
	}
	if !access.StatementOf(want, "k3f7q2xw4m") || access.StatementOf(want, "k3f7q2xw4") || access.StatementOf(want[1:], "k3f7q2xw4m") {
		t.Error("StatementOf does not tell the statement of this approval from others")
	}
}

// TestStatementCovers changes each thing that a second officer agrees to: the
// signature must not hold any more.
func TestStatementCovers(t *testing.T) {
	key := newKey(t)
	signature, err := access.Sign(key, access.Statement(example))
	if err != nil {
		t.Fatal(err)
	}
	if err := access.Verify(key.Public(), access.Statement(example), signature); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*ledger.Approval){
		"id":        func(a *ledger.Approval) { a.ID = "other" },
		"operation": func(a *ledger.Approval) { a.Operation = "authority.revoke" },
		"proposer":  func(a *ledger.Approval) { a.Proposer = "mallory" },
		"expiry":    func(a *ledger.Approval) { a.ExpiresAt = a.ExpiresAt.Add(time.Second) },
		"words":     func(a *ledger.Approval) { a.Words += " " },
		"plan":      func(a *ledger.Approval) { a.Plan = bytes.Replace(a.Plan, []byte("line-9"), []byte("line-8"), 1) },
		"line":      func(a *ledger.Approval) { a.ID, a.Operation = "k3f7q2xw4m\noperation: authority.create", "" },
	} {
		a := example
		change(&a)
		if err := access.Verify(key.Public(), access.Statement(a), signature); err == nil {
			t.Errorf("another %s passes under the same signature", name)
		}
	}
	if err := access.Verify(newKey(t).Public(), access.Statement(example), signature); err == nil {
		t.Error("the signature passes under another key")
	}
	if err := access.Verify(key.Public(), access.Statement(example), nil); err == nil {
		t.Error("no signature passes")
	}
}

func FuzzStatement(f *testing.F) {
	f.Add("a", "b", "c", "d", "a", "b", "c", "d")
	f.Add("a\noperation: b", "", "c", "d", "a", "b", "c", "d")
	f.Add("\xff", "\\", "\u202e", "\x1b[2J", "\ufffd", "\\\\", "\\u{202e}", "\\u{1b}[2J")
	f.Fuzz(func(t *testing.T, id, operation, proposer, words, id2, operation2, proposer2, words2 string) {
		one := ledger.Approval{ID: id, Operation: operation, Proposer: proposer, Words: words, Plan: example.Plan, ExpiresAt: example.ExpiresAt}
		two := ledger.Approval{ID: id2, Operation: operation2, Proposer: proposer2, Words: words2, Plan: example.Plan, ExpiresAt: example.ExpiresAt}
		text := string(access.Statement(one))
		same := id == id2 && operation == operation2 && proposer == proposer2 && words == words2
		if (text == string(access.Statement(two))) != same {
			t.Errorf("%q and %q: statements are equal: %v", one, two, !same)
		}
		if n := strings.Count(text, "\n"); n != 9 {
			t.Errorf("the statement has %d lines:\n%s", n, text)
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
			t.Errorf("the statement moves its reader's cursor: %q", text)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(spki(f, newKey(f)))
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	f.Add(spki(f, ed))
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		key, err := access.ParseKey(der)
		if err != nil {
			return
		}
		again, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatalf("a key that was read cannot be written: %v", err)
		}
		if access.Verify(key, []byte("x"), []byte("y")) == nil {
			t.Error("nonsense is a signature")
		}
		if _, err := access.ParseKey(again); err != nil {
			t.Errorf("a key that was written cannot be read: %v", err)
		}
	})
}

func TestParseKey(t *testing.T) {
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GODEBUG", "rsa1024min=0")
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, der := range map[string][]byte{"P-224": spki(t, weak), "RSA-1024": spki(t, short), "nothing": nil, "garbage": []byte("garbage")} {
		if key, err := access.ParseKey(der); err == nil || key != nil {
			t.Errorf("%s is taken as a key", name)
		}
	}
}

// TestOpenSSL has openssl sign, as an officer does who trusts no tool of ours.
func TestOpenSSL(t *testing.T) {
	pkitest.Tool(t, "openssl")
	dir := t.TempDir()
	statement := access.Statement(example)
	if err := os.WriteFile(filepath.Join(dir, "statement.txt"), statement, 0o600); err != nil {
		t.Fatal(err)
	}
	openssl := func(args ...string) {
		t.Helper()
		c := exec.Command("openssl", args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	digest := []string{"dgst", "-sha256", "-sign", "key", "-out", "signature", "statement.txt"}
	for name, c := range map[string]struct{ key, sign []string }{
		"P-256":    {[]string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, digest},
		"P-384":    {[]string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"}, digest},
		"RSA-2048": {[]string{"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, digest},
		"Ed25519":  {[]string{"-algorithm", "ED25519"}, []string{"pkeyutl", "-sign", "-rawin", "-inkey", "key", "-in", "statement.txt", "-out", "signature"}},
	} {
		t.Run(name, func(t *testing.T) {
			openssl(append([]string{"genpkey", "-out", "key"}, c.key...)...)
			openssl("pkey", "-in", "key", "-pubout", "-out", "public")
			openssl(c.sign...)
			text, err := os.ReadFile(filepath.Join(dir, "public"))
			if err != nil {
				t.Fatal(err)
			}
			block, _ := pem.Decode(text)
			public, err := access.ParseKey(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			signature, err := os.ReadFile(filepath.Join(dir, "signature"))
			if err != nil {
				t.Fatal(err)
			}
			if err := access.Verify(public, statement, signature); err != nil {
				t.Error(err)
			}
			if err := access.Verify(public, append(statement, '\n'), signature); err == nil {
				t.Error("the signature holds for another statement")
			}
		})
	}
}
