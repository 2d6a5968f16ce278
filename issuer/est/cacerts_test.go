package est

import (
	"crypto/x509"
	"encoding/base64"
	"slices"
	"testing"

	"mintmark/internal/cms"
)

func TestCACertsFlavours(t *testing.T) {
	f := newFixture(t, withLabels(Label{Name: "active", CACerts: CACertsActive}, Label{Name: "path", CACerts: CACertsPath}, Label{Name: "full", CACerts: CACertsFull}))
	get := func(label string) []*x509.Certificate {
		return f.raw(t, rawRequest{method: "GET", path: "/.well-known/est/" + label + "/cacerts"}).certificates(t)
	}
	next := newCA(t, "Next Root", nil)
	cross := sign(t, next, f.authority.root.certificate, f.authority.root.certificate.PublicKey)
	back := sign(t, f.authority.root, next.certificate, next.certificate.PublicKey)
	bridges := []*x509.Certificate{f.authority.root.certificate, next.certificate, cross, back}
	same := func(got []*x509.Certificate, want ...*x509.Certificate) bool {
		return len(got) == len(want) && !slices.ContainsFunc(want, func(c *x509.Certificate) bool { return !slices.ContainsFunc(got, c.Equal) })
	}
	root, issuing := f.authority.root.certificate, f.authority.issuing.certificate

	t.Run("24 95 while a rollover runs, and only then", func(t *testing.T) {
		for range 2 {
			for _, label := range []string{"full", "line-a"} {
				if got := get(label); !same(got, root, issuing) {
					t.Errorf("%s: %d certificates", label, len(got))
				}
			}
			f.authority.bridges = bridges
			for _, label := range []string{"full", "line-a"} {
				if got := get(label); !same(got, root, issuing, next.certificate, cross, back) {
					t.Errorf("%s: %d certificates during the rollover", label, len(got))
				}
			}
			for _, label := range []string{"active", "path"} {
				if got := get(label); !same(got, root, issuing) {
					t.Errorf("%s: %d certificates during the rollover", label, len(got))
				}
			}
			f.authority.bridges = nil
		}
	})
	t.Run("18 sorted, but for whoever takes the path as it stands", func(t *testing.T) {
		if got := get("path"); !got[0].Equal(issuing) || !got[1].Equal(root) {
			t.Errorf("%v first", got[0].Subject)
		}
		// One of the two orders is not that of a DER SET.
		der, err := base64.StdEncoding.DecodeString(string(f.raw(t, rawRequest{method: "GET", path: "/.well-known/est/active/cacerts"}).body))
		if err != nil {
			t.Fatal(err)
		}
		want, err := cms.CertsOnly([]*x509.Certificate{issuing, root})
		if err != nil || !slices.Equal(der, want) {
			t.Errorf("not DER, %v", err)
		}
	})
	t.Run("23 intermediates between root and issuing CA, in their order", func(t *testing.T) {
		middle := newCA(t, "Middle CA", f.authority.root)
		last := newCA(t, "Last CA", middle)
		f.authority.issuing, f.authority.root.certificate = last, root
		f.authority.extra = nil
		f.authority.between = middle.certificate
		if got := get("path"); len(got) != 3 || !got[0].Equal(last.certificate) || !got[1].Equal(middle.certificate) || !got[2].Equal(root) {
			t.Errorf("%d certificates", len(got))
		}
		if got := get("full"); !same(got, root, middle.certificate, last.certificate) {
			t.Errorf("%d certificates", len(got))
		}
	})
}
