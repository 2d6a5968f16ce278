package issuer_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"strings"
	"testing"

	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// TestDeviceGroup takes the device from a part of the attribute that
// identifies it.
func TestDeviceGroup(t *testing.T) {
	for _, test := range []struct {
		pattern string
		wrong   string // part of the error; empty for none
	}{
		{`CA (?P<device>[a-z]+)`, ""},
		{`(?<device>[a-z]+)|CA`, ""}, // the other branch is refused by request
		{`CA (?P<device>[a-z]*)`, "matches nothing"},
		{`CA (?P<device>(?:x|))`, "matches nothing"},
		{`CA (?P<device>a)(?P<device>b)`, "two groups"},
		{`CA (?P<name>[a-z]*)`, ""},
	} {
		_, err := issuer.NewProfile("p", issuer.ProfileConfig{Preset: "device", Subject: map[string]issuer.Attribute{"commonName": {Pattern: test.pattern}}}, "")
		if (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%s: %v", test.pattern, err)
		}
	}
	if _, err := issuer.NewProfile("p", issuer.ProfileConfig{Preset: "device", Subject: map[string]issuer.Attribute{
		"commonName": {Pattern: `.+`}, "organization": {Pattern: `(?P<device>.+)`},
	}}, ""); err == nil {
		t.Error("a device in an attribute that does not identify it")
	}

	p := profile(t, "p", issuer.ProfileConfig{Preset: "device", Subject: map[string]issuer.Attribute{"commonName": {Pattern: `gw (?P<device>[a-z0-9-]+)|plain`}}})
	for name, want := range map[string]string{"gw dev-1": "dev-1", "plain": "", "dev-1": "", "gw ": ""} {
		if got, err := p.DeviceIn(pkix.Name{Names: []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4, 3}, Value: name}}}, ""); got != want || (err == nil) != (want != "") {
			t.Errorf("%q names %q, %v", name, got, err)
		}
	}
}

func TestPresetsOfIoTEdge(t *testing.T) {
	set := func(c issuer.ProfileConfig) error {
		c.Preset = "azure-edge-ca"
		_, err := issuer.NewProfile("p", c, "")
		return err
	}
	for field, c := range map[string]issuer.ProfileConfig{
		"san":                {SAN: issuer.SANConfig{DNS: ".*"}},
		"extended_key_usage": {ExtendedKeyUsage: []string{"serverAuth"}},
		"outlive_issuer":     {OutliveIssuer: true},
		"no_expiry":          {NoExpiry: true},
	} {
		if err := set(c); err == nil || !strings.Contains(err.Error(), ": "+field+": ") {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := set(issuer.ProfileConfig{Keys: []string{"P-256"}, Subject: map[string]issuer.Attribute{"commonName": {Pattern: `edge (?P<device>.+)`}}}); err != nil {
		t.Error(err)
	}
	names := profile(t, "edge", issuer.ProfileConfig{Preset: "azure-iot-edge"})
	cn := func(value string) pkix.Name {
		return pkix.Name{Names: []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4, 3}, Value: value}}}
	}
	for name, ok := range map[string]bool{
		"dev-1": true, "a": true, "9": true, "dev.1_x:y-z": true, strings.Repeat("a", 64): true,
		"Dev-1": false, "dev 1": false, "-dev": false, "dev.": false, "dév": false, "": false, strings.Repeat("a", 65): false,
	} {
		if _, err := names.DeviceIn(cn(name), ""); (err == nil) != ok {
			t.Errorf("registration id %q: %v", name, err)
		}
	}
}

// TestWants announces what enrollment enforces.
func TestWants(t *testing.T) {
	ra := newRA(t, newLedger(t), withEdge(t))
	w := ra.Wants("edge-ca")
	if !w.CA || len(w.Usages) != 0 || w.DNS || w.IP || w.URI || w.Email || len(w.Subject) != 1 || w.Subject[0].Name != "commonName" || w.Subject[0].Value != "" || w.Subject[0].Optional {
		t.Errorf("of a gateway: %+v", w)
	}
	if !slices.Contains(w.Keys, ca.RSA2048) || slices.Contains(w.Keys, ca.P521) {
		t.Errorf("keys %v", w.Keys)
	}
	w.Keys[0] = "changed"
	if again := ra.Wants("edge-ca"); again.Keys[0] == "changed" {
		t.Error("the profile's own list was handed out")
	}
	w = ra.Wants("fixed")
	if w.CA || !slices.Equal(w.Usages, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || len(w.Subject) != 3 || w.Subject[0].Value != "DE" || w.Subject[2].Value != "" {
		t.Errorf("of fixed: %+v", w)
	}
	if w = ra.Wants("server"); !w.DNS || !w.IP || w.URI || w.Email || !w.Subject[0].Optional {
		t.Errorf("of server: %+v", w)
	}
	if w = ra.Wants("nowhere"); len(w.Keys) != 0 {
		t.Errorf("of an unknown profile: %+v", w)
	}
	if p := profile(t, "x", issuer.ProfileConfig{Preset: "azure-edge-ca"}); p.Purpose != ledger.ForGateway || p.DeviceID() != "commonName" {
		t.Errorf("purpose %s, device in %s", p.Purpose, p.DeviceID())
	}
}
