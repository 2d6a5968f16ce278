package doctor

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"mintmark/dpsreg"
	"mintmark/dpsreg/attest/attesttest"
)

// bundle is a bundle of w: the root verified, a group on it and the CA below, a disabled
// one, and what is to be deleted.
func (w works) bundle() dpsreg.Bundle {
	text := func(c *x509.Certificate) string { return string(attesttest.PEM([]*x509.Certificate{c})) }
	root, upper := text(w.root.Certificate), text(w.upper.Certificate)
	return dpsreg.Bundle{
		Version: 1, At: now,
		Target: dpsreg.Target{
			Name: "plant", SubscriptionID: "11111111-2222-4333-8444-555555555555", ResourceGroup: "plant", Service: "plant-dps",
			CAs: []dpsreg.CA{{Authority: "root"}, {Authority: "line", State: dpsreg.StateDeleted}},
			Groups: []dpsreg.Group{
				{ID: "all", Anchors: []string{"root", "works"}},
				{ID: "line", Anchors: []string{"line"}, Disabled: true},
				{ID: "old", Anchors: []string{"works"}, State: dpsreg.StateDeleted},
			},
		},
		Authorities: []dpsreg.BundledAuthority{
			{Name: "root", Certificate: root, Chain: []string{}},
			{Name: "works", Certificate: upper, Chain: []string{root}},
			{Name: "line", Certificate: text(w.line.Certificate), Chain: []string{upper, root}},
		},
	}
}

func TestReadBundle(t *testing.T) {
	w := newWorksAt(t, time.Now())
	data, err := json.Marshal(w.bundle())
	if err != nil {
		t.Fatal(err)
	}
	cas, groups, err := ReadBundle(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(cas) != 1 || cas[0].Name != "root-"+dpsreg.SHA256(w.root.Certificate)[:8] || !cas[0].Verified || !cas[0].Certificate.Equal(w.root.Certificate) {
		t.Errorf("CAs %+v", cas)
	}
	if len(groups) != 2 || len(groups[0].Anchors) != 2 || groups[0].Disabled || !groups[1].Disabled || !groups[1].Anchors[0].Equal(w.line.Certificate) {
		t.Errorf("groups %+v", groups)
	}
	r := check(t, w.chain(), Options{Verified: cas, Groups: groups, Now: time.Now()})
	if r.Rule != "disabled" || r.Group != "line" {
		t.Errorf("%+v", r)
	}
}

func TestReadBundleRefuses(t *testing.T) {
	w := newWorksAt(t, time.Now())
	for name, c := range map[string]struct {
		change func(b *dpsreg.Bundle)
		want   string
	}{
		"version":         {func(b *dpsreg.Bundle) { b.Version = 2 }, "version 2"},
		"no certificate":  {func(b *dpsreg.Bundle) { b.Authorities[0].Certificate = "x" }, "root"},
		"a CA is missing": {func(b *dpsreg.Bundle) { b.Target.CAs[0].Authority = "other" }, "other"},
		"an anchor is":    {func(b *dpsreg.Bundle) { b.Target.Groups[0].Anchors[1] = "other" }, "other"},
		"a private key": {func(b *dpsreg.Bundle) {
			b.Authorities[0].Certificate += string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))
		}, "root"},
	} {
		b := w.bundle()
		c.change(&b)
		data, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		cas, groups, err := ReadBundle(data)
		if err == nil || !strings.Contains(err.Error(), c.want) || cas != nil || groups != nil {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for _, text := range []string{"", "[]", `{"version":1,"secret":"x"}`, strings.Repeat(" ", dpsreg.MaxBundle+1)} {
		if _, _, err := ReadBundle([]byte(text)); err == nil {
			t.Errorf("%.40q is taken", text)
		}
	}
}
