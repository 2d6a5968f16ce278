//go:build cgo && !nopkcs11

package keystore

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"mintmark/internal/pkitest"
)

func TestToken(t *testing.T) {
	module, label, pinFile := pkitest.SoftHSM(t)
	pkitest.AddToken(t, "second")
	key := func(token, object string) string {
		return "pkcs11:module-path=" + module + ";token=" + token + ";object=" + object + "?pin-source=" + pinFile
	}
	s := open(t, Config{})
	var made []crypto.Signer
	for _, alg := range []string{"P-256", "P-384", "RSA-2048"} {
		uri, signer, err := s.Create(background, key(label, alg), alg)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(uri, ";id=%") || !strings.HasSuffix(uri, "?pin-source="+pinFile) {
			t.Errorf("the final URI is %s", uri)
		}
		made = append(made, signer)
		for _, name := range []string{uri, key(label, alg)} {
			opened, err := s.Signer(background, name, nil)
			if err != nil {
				t.Fatal(err)
			}
			signs(t, opened, signer.Public())
		}
		if _, _, err := s.Create(background, key(label, alg), alg); !errors.Is(err, ErrExists) {
			t.Errorf("creating %s again: %v", alg, err)
		}
		if _, _, err := s.Create(background, strings.Replace(uri, "object="+alg, "object=other", 1), alg); !errors.Is(err, ErrExists) {
			t.Errorf("creating %s again under its id: %v", alg, err)
		}
	}
	if n := len(s.tokens.open); n != 1 {
		t.Errorf("%d logins for one token", n)
	}
	if _, err := s.Signer(background, key("second", "P-256"), nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("a key of the other token: %v", err)
	}
	if _, err := s.Signer(background, key(label, "none"), nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("a key that is not there: %v", err)
	}

	// What OpenSC sees: the key signs, and does nothing else.
	if tool, err := exec.LookPath("pkcs11-tool"); err == nil {
		out, err := exec.Command(tool, "--module", module, "--token-label", label, "--login", "--pin", pkitest.SoftHSMPIN, "--list-objects", "--type", "privkey").CombinedOutput()
		if err != nil {
			t.Fatalf("pkcs11-tool: %v\n%s", err, out)
		}
		text := string(out)
		if strings.Count(text, "never extractable") != 3 || strings.Contains(text, "decrypt") || strings.Contains(text, "unwrap") || strings.Contains(text, "derive") {
			t.Errorf("pkcs11-tool shows\n%s", text)
		}
	} else {
		t.Log("pkcs11-tool is not installed")
	}

	// Many goroutines, one token.
	var wg sync.WaitGroup
	sum := sha256.Sum256([]byte("x"))
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := made[0].Sign(rand.Reader, sum[:], crypto.SHA256); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestTokenIsOpenedAnew(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	s := open(t, Config{PIN: func(token string) ([]byte, error) { return []byte(pkitest.SoftHSMPIN), nil }})
	uri, signer, err := s.Create(background, "pkcs11:module-path="+module+";token="+label+";object=k", "P-256")
	if err != nil {
		t.Fatal(err)
	}
	// The session goes away under the signer.
	for _, open := range s.tokens.open {
		if err := open.kms.Close(); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256([]byte("x"))
	if _, err := signer.Sign(rand.Reader, sum[:], crypto.SHA256); err == nil {
		t.Fatal("a closed token signed")
	}
	again, err := s.Signer(background, uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	signs(t, again, signer.Public())
}

func TestTokenRefused(t *testing.T) {
	module, label, pinFile := pkitest.SoftHSM(t)
	wrong := pkitest.WriteFile(t, "pin", []byte("00000000"))
	open1 := pkitest.WriteFile(t, "open-pin", []byte(pkitest.SoftHSMPIN))
	if err := os.Chmod(open1, 0o644); err != nil {
		t.Fatal(err)
	}
	base := "pkcs11:module-path=" + module + ";token=" + label
	s := open(t, Config{})
	for _, tt := range []struct {
		name, uri, want string
		is              error
	}{
		{"no module", "pkcs11:token=" + label + ";object=k?pin-source=" + pinFile, "names no PKCS#11 module", nil},
		{"missing module", "pkcs11:module-path=/none.so;token=a;object=k?pin-source=" + pinFile, "/none.so", nil},
		{"module that is none", "pkcs11:module-path=" + pinFile + ";token=a;object=k?pin-source=" + pinFile, "opening token", nil},
		{"no token", "pkcs11:module-path=" + module + ";object=k?pin-source=" + pinFile, "names no token", nil},
		{"wrong token", "pkcs11:module-path=" + module + ";token=none;object=k?pin-source=" + pinFile, `"none"`, nil},
		{"no key", base + "?pin-source=" + pinFile, "names no key", nil},
		{"no PIN", base + ";object=k", "add ?pin-source=", nil},
		{"missing PIN file", base + ";object=k?pin-source=/none", "/none", os.ErrNotExist},
		{"PIN file for all to read", base + ";object=k?pin-source=" + open1, "chmod 400", nil},
		{"wrong PIN", base + ";object=k?pin-source=" + wrong, "refused the PIN", ErrPIN},
		{"wrong PIN again", base + ";object=k?pin-source=" + wrong, "not asked again", ErrPIN},
		{"missing key", base + ";object=k?pin-source=" + pinFile, "no such key", ErrNotFound},
	} {
		_, err := s.Signer(background, tt.uri, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, _, err := s.Create(background, base+"?pin-source="+pinFile, "P-256"); err == nil || !strings.Contains(err.Error(), "add object=") {
		t.Errorf("creating a key without a name: %v", err)
	}
	if _, _, err := s.Create(background, base+";object=k?pin-source="+pinFile, "P-521"); err == nil || !strings.Contains(err.Error(), "P-521 keys are not made") {
		t.Errorf("creating a P-521 key: %v", err)
	}
	// An open token is not harmed by a wrong one beside it.
	uri, signer, err := s.Create(background, base+";object=k?pin-source="+pinFile, "P-256")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Signer(background, "pkcs11:module-path="+module+";token=none;object=k?pin-source="+pinFile, nil); err == nil {
		t.Error("a token that is not there was opened")
	}
	opened, err := s.Signer(background, uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	signs(t, opened, signer.Public())
}
