//go:build cgo

package ceremony

import (
	"testing"

	"mintmark/internal/keystore"
	"mintmark/internal/pkitest"
)

// TestCeremonyInToken keeps the keys in a PKCS#11 token.
func TestCeremonyInToken(t *testing.T) {
	module, token, pinFile := pkitest.SoftHSM(t)
	store, err := keystore.Open(keystore.Config{Tokens: []keystore.TokenConfig{{
		Name: "vault", URI: "pkcs11:module-path=" + module + ";token=" + token, PIN: keystore.PIN{File: pinFile}, Sessions: 1,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	twoRooms(t, store, map[string]string{
		"rooturi": "pkcs11:token=factory;object=first-root", "rootalg": "P-384", "seconduri": "pkcs11:token=factory;object=second-root", "secondalg": "RSA-2048",
	})
}
