//go:build !linux || !cgo || nopkcs11

package keystore

import (
	"strings"
	"testing"
)

func TestNoPKCS11(t *testing.T) {
	s := open(t, Config{AnyModule: true, Tokens: []TokenConfig{{Name: "a", URI: "pkcs11:module-path=/x.so;token=a", PIN: PIN{File: "/pin"}}}})
	for _, uri := range []string{"pkcs11:module-path=/x.so;token=b;object=b", "pkcs11:token=a;object=b"} {
		if _, err := s.Signer(background, uri, nil); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
			t.Errorf("error %v", err)
		}
		if _, _, err := s.Create(background, uri, "P-256"); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
			t.Errorf("error %v", err)
		}
	}
}
