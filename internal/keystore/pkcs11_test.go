//go:build linux && cgo && !nopkcs11

package keystore

import (
	"crypto"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/internal/keystore/token"
	"mintmark/internal/pkitest"
)

// factory is the configuration of a token of SoftHSM.
func factory(module, label, pinFile string) TokenConfig {
	return TokenConfig{Name: "factory", URI: "pkcs11:module-path=" + module + ";token=" + label, PIN: PIN{File: pinFile}}
}

func TestToken(t *testing.T) {
	module, label, pinFile := pkitest.SoftHSM(t)
	pkitest.AddToken(t, "second")
	second := factory(module, "second", pinFile)
	second.Name = "second"
	s := open(t, Config{Tokens: []TokenConfig{factory(module, label, pinFile), second}, State: t.TempDir()})
	key := func(token, object string) string { return "pkcs11:token=" + token + ";object=" + object }
	var made crypto.Signer
	for _, alg := range []string{"P-256", "P-384", "RSA-2048"} {
		uri, signer, err := s.Create(background, key(label, alg), alg)
		if err != nil {
			t.Fatal(err)
		}
		made = signer
		if !strings.HasPrefix(uri, key(label, alg)+";id=%") {
			t.Errorf("the final URI is %s", uri)
		}
		for _, name := range []string{
			uri, key(label, alg),
			uri + "?module-path=" + module,    // agrees
			uri + "?pin-source=" + pinFile,    // agrees
			key(label, alg) + ";type=private", // is what all are
		} {
			opened, err := s.Signer(background, name, signer.Public())
			if err != nil {
				t.Fatal(err)
			}
			signs(t, opened, signer.Public())
		}
		// By its public key, whatever it is called there.
		opened, err := s.Signer(background, key(label, "renamed"), signer.Public())
		if err != nil {
			t.Fatal(err)
		}
		signs(t, opened, signer.Public())
		if _, _, err := s.Create(background, key(label, alg), alg); !errors.Is(err, ErrExists) {
			t.Errorf("creating %s again: %v", alg, err)
		}
		if _, _, err := s.Create(background, strings.Replace(uri, "object="+alg, "object=other", 1), alg); !errors.Is(err, ErrExists) {
			t.Errorf("creating %s again under its id: %v", alg, err)
		}
	}
	if _, err := s.Signer(background, key("second", "P-256"), nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("a key of the other token: %v", err)
	}
	if _, err := s.Signer(background, key(label, "none"), made.Public()); err != nil {
		t.Errorf("a key under another name: %v", err)
	}
	stranger := pkitest.Key(t, "P-256").Public()
	if _, err := s.Signer(background, key(label, "P-256"), stranger); !errors.Is(err, ErrMismatch) {
		t.Errorf("another key under the name: %v", err)
	}
	if _, err := s.Signer(background, key(label, "none"), stranger); !errors.Is(err, ErrNotFound) {
		t.Errorf("no key under the name: %v", err)
	}
	if n := len(s.Tokens()); n != 2 {
		t.Errorf("%d tokens", n)
	}

	// What OpenSC sees: the key signs, and does nothing else.
	out, err := exec.Command(pkitest.Tool(t, "pkcs11-tool"), "--module", module, "--token-label", label, "--login", "--pin", pkitest.SoftHSMPIN, "--list-objects", "--type", "privkey").CombinedOutput()
	if err != nil {
		t.Fatalf("pkcs11-tool: %v\n%s", err, out)
	}
	text := string(out)
	if strings.Count(text, "never extractable") != 3 || strings.Contains(text, "decrypt") || strings.Contains(text, "unwrap") || strings.Contains(text, "derive") {
		t.Errorf("pkcs11-tool shows\n%s", text)
	}

	// Destroyed only as the key that it is.
	if err := s.Destroy(background, key(label, "P-256"), made.Public()); !errors.Is(err, ErrMismatch) {
		t.Errorf("destroying another key: %v", err)
	}
	if err := s.Destroy(background, key(label, "RSA-2048"), nil); err == nil {
		t.Error("a key was destroyed whatever it is")
	}
	if err := s.Destroy(background, key(label, "RSA-2048"), made.Public()); err != nil {
		t.Fatal(err)
	}
	if err := s.Destroy(background, key(label, "RSA-2048"), made.Public()); !errors.Is(err, ErrNotFound) {
		t.Errorf("destroying it again: %v", err)
	}
	if _, err := s.Signer(background, key(label, "P-256"), nil); err != nil {
		t.Errorf("another key went with it: %v", err)
	}
}

// A person's own key is in whatever token they have.
func TestAnyModule(t *testing.T) {
	module, label, pinFile := pkitest.SoftHSM(t)
	wrong := pkitest.WriteFile(t, "pin", []byte("00000000"))
	loose := pkitest.WriteFile(t, "open-pin", []byte(pkitest.SoftHSMPIN))
	if err := os.Chmod(loose, 0o644); err != nil {
		t.Fatal(err)
	}
	base := "pkcs11:module-path=" + module + ";token=" + label
	s := open(t, Config{AnyModule: true})
	uri, signer, err := s.Create(background, base+";object=k?pin-source="+pinFile, "P-256")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(uri, "?pin-source="+pinFile) {
		t.Errorf("the final URI is %s", uri)
	}
	for _, tt := range []struct {
		name, uri, want string
		is              error
	}{
		{"no module", "pkcs11:token=" + label + ";object=k?pin-source=" + pinFile, "names no PKCS#11 module", nil},
		{"relative module", "pkcs11:module-path=x.so;token=a;object=k?pin-source=" + pinFile, "no absolute path", nil},
		{"missing module", "pkcs11:module-path=/none.so;token=a;object=k?pin-source=" + pinFile, "/none.so", nil},
		{"module that is none", "pkcs11:module-path=" + pinFile + ";token=a;object=k?pin-source=" + pinFile, pinFile, nil},
		{"no token", "pkcs11:module-path=" + module + ";object=k?pin-source=" + pinFile, "names no token", nil},
		{"wrong token", "pkcs11:module-path=" + module + ";token=none;object=k?pin-source=" + pinFile, `"none"`, nil},
		{"no key", base + "?pin-source=" + pinFile, "names no key", nil},
		{"no PIN", base + ";object=k", "add ?pin-source=", nil},
		{"PIN in the URI", base + ";object=k?pin-value=" + pkitest.SoftHSMPIN, "ends in logs", nil},
		{"missing PIN file", base + ";object=k?pin-source=/none", "/none", os.ErrNotExist},
		{"PIN file for all to read", base + ";object=k?pin-source=" + loose, "chmod 400", nil},
		{"wrong PIN", base + ";object=k?pin-source=" + wrong, "refused the PIN", ErrPIN},
		{"wrong PIN again", base + ";object=k?pin-source=" + wrong, "refused the PIN", ErrPIN},
		{"missing key", base + ";object=none?pin-source=" + pinFile, "no such key", ErrNotFound},
		{"unknown attribute", base + ";object=k;model=x?pin-source=" + pinFile, `"model"`, nil},
		{"attribute twice", base + ";object=k;token=other?pin-source=" + pinFile, "twice", nil},
		{"a certificate", base + ";object=k;type=cert?pin-source=" + pinFile, "leave it out", nil},
		{"bad slot", "pkcs11:module-path=" + module + ";slot-id=x;object=k?pin-source=" + pinFile, "no number", nil},
	} {
		_, err := s.Signer(background, tt.uri, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), pkitest.SoftHSMPIN) {
			t.Errorf("%s: the error has the PIN in it", tt.name)
		}
	}
	if _, _, err := s.Create(background, base+"?pin-source="+pinFile, "P-256"); err == nil || !strings.Contains(err.Error(), "add object=") {
		t.Errorf("creating a key without a name: %v", err)
	}
	if _, _, err := s.Create(background, base+";object=k?pin-source="+pinFile, "P-521"); err == nil || !strings.Contains(err.Error(), "P-521 keys are not made") {
		t.Errorf("creating a P-521 key: %v", err)
	}
	// An open token is not harmed by wrong ones beside it.
	signs(t, signer, signer.Public())
	typed := open(t, Config{AnyModule: true, PIN: func(token string) ([]byte, error) { return []byte(pkitest.SoftHSMPIN), nil }})
	opened, err := typed.Signer(background, base+";object=k", signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	signs(t, opened, signer.Public())
}

// A server opens no module that the configuration does not name.
func TestConfiguredTokensOnly(t *testing.T) {
	module, label, pinFile := pkitest.SoftHSM(t)
	twin := factory("/usr/lib/other.so", label, pinFile)
	twin.Name = "twin"
	s := open(t, Config{Tokens: []TokenConfig{factory(module, label, pinFile), {Name: "third", URI: "pkcs11:module-path=/third.so;serial=1;token=third", PIN: PIN{Operators: 2}}}})
	both := open(t, Config{Tokens: []TokenConfig{factory(module, label, pinFile), twin}})
	for _, tt := range []struct {
		name, uri, want string
		s               *Store
	}{
		{"another module", "pkcs11:module-path=/tmp/evil.so;token=factory;object=k", "another module than /tmp/evil.so", s},
		{"another token", "pkcs11:module-path=" + module + ";token=other;object=k", "keys.tokens", s},
		{"another serial", "pkcs11:token=factory;serial=9;object=k", "keys.tokens", s},
		{"another slot", "pkcs11:token=factory;slot-id=9;object=k", "keys.tokens", s},
		{"no token", "pkcs11:module-path=" + module + ";object=k", "names no token", s},
		{"another PIN", "pkcs11:token=factory;object=k?pin-source=/etc/other", "another pin-source=", s},
		{"PIN in the URI", "pkcs11:token=factory;object=k?pin-value=1234", "ends in logs", s},
		{"PIN in the path", "pkcs11:token=factory;pin-value=1234;object=k", "ends in logs", s},
		{"two tokens", "pkcs11:token=factory;object=k", "fits 2", both},
	} {
		for _, do := range []func() error{
			func() error { _, err := tt.s.Signer(background, tt.uri, nil); return err },
			func() error { _, _, err := tt.s.Create(background, tt.uri, "P-256"); return err },
			func() error { return tt.s.Destroy(background, tt.uri, pkitest.Key(t, "P-256").Public()) },
		} {
			if err := do(); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "1234") {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
			}
		}
	}
	for _, one := range append(s.Tokens(), both.Tokens()...) {
		if state := one.Status().Legs[0].State; state != token.Idle {
			t.Errorf("token %q is %s, though nothing should have been opened", one.Name(), state)
		}
	}
}

func TestTokenConfigRefused(t *testing.T) {
	good := TokenConfig{Name: "factory", URI: "pkcs11:module-path=/x.so;token=factory", PIN: PIN{File: "/pin"}}
	open(t, Config{Tokens: []TokenConfig{good}})
	spare := func(uri string, pin PIN) func(*TokenConfig) {
		return func(c *TokenConfig) { c.Spare = &SpareConfig{URI: uri, PIN: pin} }
	}
	for name, tt := range map[string]struct {
		want   string
		change func(*TokenConfig)
	}{
		"no name":          {"a-z, 0-9", func(c *TokenConfig) { c.Name = "" }},
		"name with a path": {"a-z, 0-9", func(c *TokenConfig) { c.Name = "../x" }},
		"file":             {"one of the scheme pkcs11", func(c *TokenConfig) { c.URI = "softkms:path=x" }},
		"no module":        {"add module-path=", func(c *TokenConfig) { c.URI = "pkcs11:token=factory" }},
		"no token":         {"add token=", func(c *TokenConfig) { c.URI = "pkcs11:module-path=/x.so" }},
		"a key":            {"names no key", func(c *TokenConfig) { c.URI += ";object=k" }},
		"PIN in the URI":   {"ends in logs", func(c *TokenConfig) { c.URI += "?pin-value=1234" }},
		"PIN beside":       {"configured beside", func(c *TokenConfig) { c.URI += "?pin-source=/pin" }},
		"no PIN":           {"exactly one", func(c *TokenConfig) { c.PIN = PIN{} }},
		"two PINs":         {"exactly one", func(c *TokenConfig) { c.PIN.Pad = true }},
		"credential":       {"no name of a credential", func(c *TokenConfig) { c.PIN = PIN{Credential: "../x"} }},
		"operators":        {"people for a PIN", func(c *TokenConfig) { c.PIN = PIN{Operators: -1} }},
		"sessions":         {"sessions", func(c *TokenConfig) { c.Sessions = -1 }},
		"deadline":         {"must be longer", func(c *TokenConfig) { c.Attempt, c.Deadline = time.Second, time.Second }},
		"spare itself":     {"the token itself", spare(good.URI, good.PIN)},
		"spare no PIN":     {"spare: ", spare("pkcs11:module-path=/x.so;token=b", PIN{})},
		"spare no URI":     {"spare: ", spare("", good.PIN)},
	} {
		c := good
		tt.change(&c)
		if _, err := Open(Config{Tokens: []TokenConfig{c}}); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "1234") {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if _, err := Open(Config{Tokens: []TokenConfig{good, good}}); err == nil || !strings.Contains(err.Error(), "two tokens") {
		t.Errorf("two tokens of one name: %v", err)
	}
}

// A wrong PIN is tried once, and not by the next server either, until it is changed.
func TestWrongPINOverRestarts(t *testing.T) {
	module, label, pinFile := pkitest.SoftHSM(t)
	maker := open(t, Config{Tokens: []TokenConfig{factory(module, label, pinFile)}})
	uri, signer, err := maker.Create(background, "pkcs11:token=factory;object=k", "P-256")
	if err != nil {
		t.Fatal(err)
	}
	file := pkitest.WriteFile(t, "pin", []byte("00000000"))
	state := t.TempDir()
	for i, want := range []string{"0xa0", "not asked again", "not asked again"} {
		s := open(t, Config{Tokens: []TokenConfig{factory(module, label, file)}, State: state})
		for range 2 {
			if _, err := s.Signer(background, uri, signer.Public()); !errors.Is(err, ErrPIN) {
				t.Fatalf("server %d: %v", i, err)
			}
		}
		if detail := s.Tokens()[0].Status().Legs[0].Detail; !strings.Contains(detail, want) && !strings.Contains(detail, "not asked again") {
			t.Errorf("server %d: %s", i, detail)
		}
		if i > 0 {
			if detail := s.Tokens()[0].Status().Legs[0].Detail; !strings.Contains(detail, want) {
				t.Errorf("server %d tried it again: %s", i, detail)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// What is kept is nothing of the PIN.
	text := string(pkitest.ReadFile(t, filepath.Join(state, "refused", "factory")))
	if strings.Contains(text, "00000000") || !strings.Contains(text, file) {
		t.Errorf("what is kept: %s", text)
	}
	// A server that runs notices that it was corrected.
	s := open(t, Config{Tokens: []TokenConfig{factory(module, label, file)}, State: state})
	if _, err := s.Signer(background, uri, signer.Public()); !errors.Is(err, ErrPIN) {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(pkitest.SoftHSMPIN), 0o600); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		opened, err := s.Signer(background, uri, signer.Public())
		if err == nil {
			signs(t, opened, signer.Public())
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A damaged list of refused PINs is not taken for an empty one.
func TestRefusalsDamaged(t *testing.T) {
	module, label, pinFile := pkitest.SoftHSM(t)
	state := t.TempDir()
	if err := os.Mkdir(filepath.Join(state, "refused"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "refused", "factory"), []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{Tokens: []TokenConfig{factory(module, label, pinFile)}, State: state})
	if _, _, err := s.Create(background, "pkcs11:token=factory;object=k", "P-256"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("%v", err)
	}
}
