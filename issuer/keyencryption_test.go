package issuer_test

import (
	"crypto/x509"
	"testing"

	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestKeyEncryption lets others encrypt for a key in the way that its type
// knows: RFC 5280, Section 4.2.1.3.
func TestKeyEncryption(t *testing.T) {
	for kind, want := range map[string]x509.KeyUsage{"P-256": x509.KeyUsageKeyAgreement, "RSA-2048": x509.KeyUsageKeyEncipherment} {
		for _, on := range []bool{false, true} {
			ra := withHierarchy(t, newRA(t, newLedger(t), func(c *issuer.Config) {
				c.Profiles["device"] = profile(t, "device", issuer.ProfileConfig{Preset: "device", KeyEncryption: on})
			}))
			answer := mustEnroll(t, ra, pkitest.Key(t, kind), "dev-1")
			usage := x509.KeyUsageDigitalSignature
			if on {
				usage |= want
			}
			if answer.Certificate.KeyUsage != usage {
				t.Errorf("%s, %v: key usage %b, want %b", kind, on, answer.Certificate.KeyUsage, usage)
			}
		}
	}
}
