//go:build !cgo || nopkcs11

package keystore

import (
	"strings"
	"testing"
)

func TestNoPKCS11(t *testing.T) {
	s := open(t, Config{})
	if _, err := s.Signer(background, "pkcs11:module-path=/x.so;token=a;object=b", nil); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
		t.Errorf("error %v", err)
	}
	if _, _, err := s.Create(background, "pkcs11:module-path=/x.so;token=a;object=b", "P-256"); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
		t.Errorf("error %v", err)
	}
}
