package attest_test

import (
	"crypto/x509"
	"encoding/pem"
	"regexp"
	"testing"

	"mintmark/dpsreg/attest"
	"mintmark/dpsreg/attest/attesttest"
)

// documented is the form of a registration id as Microsoft has it in words.
var documented = regexp.MustCompile(`^[A-Za-z0-9\-._:]{0,127}[A-Za-z0-9\-]$`)

func FuzzCheckRegistrationID(f *testing.F) {
	for _, id := range []string{"", "a", "press-0042", "Press:0042-", "press.", "x_", "\xff", "pressé", "a\n", "ken\u212a"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if err := attest.CheckRegistrationID(id); (err == nil) != documented.MatchString(id) {
			t.Errorf("%q: %v", id, err)
		}
	})
}

// FuzzJudge: no chain makes Judge fall over, and what it accepts has a verified
// certificate or an individual enrollment.
func FuzzJudge(f *testing.F) {
	for _, fixture := range attesttest.Fixtures(f) {
		c := fixture.Case(f, now)
		f.Add(attesttest.PEM(c.Presented.Chain), c.Presented.RegistrationID, c.Presented.APIVersion, uint8(1))
	}
	accepted := attesttest.Accepted(f, now)
	f.Add(attesttest.PEM(accepted.Presented.Chain), "press-0042", "", uint8(0xff))
	f.Fuzz(func(t *testing.T, text []byte, id, version string, mask uint8) {
		var chain []*x509.Certificate
		for len(chain) < 8 {
			var block *pem.Block
			if block, text = pem.Decode(text); block == nil {
				break
			}
			if c, err := x509.ParseCertificate(block.Bytes); err == nil {
				chain = append(chain, c)
			}
		}
		var s attest.Service
		for i, c := range chain {
			if mask>>i&1 == 1 {
				s.Verified = append(s.Verified, attest.CA{Certificate: c, Verified: true})
				s.Groups = append(s.Groups, attest.Group{ID: "g", Anchors: []*x509.Certificate{c}})
			}
		}
		v := attest.Judge(s, attest.Presented{RegistrationID: id, Chain: chain, Now: now, APIVersion: version})
		switch {
		case v.Accepted && (v.Group == "" || v.Root < v.Anchor || v.Anchor < 1 || mask>>v.Root&1 == 0):
			t.Errorf("accepted without cause: %+v", v)
		case !v.Accepted && (v.Rule == "" || v.Code == 0 || v.Why == ""):
			t.Errorf("refused without cause: %+v", v)
		}
	})
}
