//go:build !cloudkms && (!yubikey || !cgo)

package keystore

import (
	"strings"
	"testing"
)

// What this build has no backend for is said in words.
func TestKMSNotBuilt(t *testing.T) {
	s := open(t, Config{AnyModule: true})
	for uri, want := range map[string]string{
		"cloudkms:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1": "-tags cloudkms",
		"yubikey:slot-id=9c?pin-source=/x":                                            "-tags yubikey",
	} {
		if _, err := s.Signer(background, uri, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", uri, err)
		}
		if _, _, err := s.Create(background, uri, "P-256"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("making %s: %v", uri, err)
		}
	}
}
