package issuer_test

import (
	"crypto/x509"
	"strings"
	"testing"

	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestKeyEncryption lets others encrypt for an EC key.
func TestKeyEncryption(t *testing.T) {
	for on, want := range map[bool]x509.KeyUsage{false: x509.KeyUsageDigitalSignature, true: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement} {
		ra := withHierarchy(t, newRA(t, newLedger(t), func(c *issuer.Config) {
			c.Profiles["device"] = profile(t, "device", issuer.ProfileConfig{Preset: "device", Keys: []string{"P-256", "P-384"}, KeyEncryption: on})
		}))
		if got := mustEnroll(t, ra, pkitest.Key(t, "P-256"), "dev-1").Certificate.KeyUsage; got != want {
			t.Errorf("%v: key usage %b, want %b", on, got, want)
		}
	}
	_, err := issuer.NewProfile("device", issuer.ProfileConfig{Preset: "device", KeyEncryption: true}, "")
	if err == nil || !strings.Contains(err.Error(), "key_encryption: needs EC keys") {
		t.Errorf("with RSA keys: %v", err)
	}
}
