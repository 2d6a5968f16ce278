package server

import (
	"crypto/x509"
	"net/url"
	"slices"
	"testing"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// TestRevokedByReplacedCA: what a CA has issued that another has replaced is revoked on the
// CRL of the CA that has issued it, in every state until it is archived.
func TestRevokedByReplacedCA(t *testing.T) {
	server := serveLocal(t, newState(t), nil)
	states := []rotation.State{rotation.Switched, rotation.Draining, rotation.TrustRemoved, rotation.Retired}
	var certificates []*x509.Certificate
	for _, state := range states {
		certificates = append(certificates, issue(t, server.Server, "device", "press-"+string(state)).Leaf)
	}
	w := turn(t, server.Server, ledger.RotateIssuing)
	list := func(name string) *x509.RevocationList {
		_, body := get(t, "http://"+server.http+"/crl/"+name+".crl")
		crl, err := x509.ParseRevocationList([]byte(body))
		if err != nil {
			return new(x509.RevocationList) // not yet
		}
		by, err := server.ra.Authority(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := crl.CheckSignatureFrom(by.Certificate()); err != nil {
			t.Fatalf("the CRL of %s: %v", name, err)
		}
		return crl
	}
	on := func(crl *x509.RevocationList, c *x509.Certificate) bool {
		return slices.ContainsFunc(crl.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(c.SerialNumber) == 0 })
	}
	for i, state := range states {
		w.to(t, state)
		c := certificates[i]
		if _, err := server.ra.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(c.SerialNumber)}, ledger.KeyCompromise, "test"); err != nil {
			t.Fatal(err)
		}
		eventually(t, string(state)+": it is on the CRL of the CA that has issued it", func() bool { return on(list("issuing"), c) })
		if on(list("issuing2"), c) {
			t.Errorf("%s: it is on the CRL of the CA that has not", state)
		}
		if point, err := url.Parse(c.CRLDistributionPoints[0]); err != nil || point.Path != "/crl/issuing.crl" {
			t.Errorf("%s: the certificate names %v, %v", state, c.CRLDistributionPoints, err)
		}
	}
}

// TestIssuerURLsOfTwins: who follows the addresses of issuers (RFC 5280, Section 4.2.2.1) from a
// device's certificate comes to a root by which it verifies, in every state of a rotation of that
// root, and after it was taken back.
func TestIssuerURLsOfTwins(t *testing.T) {
	server := serveLocal(t, newState(t), nil)
	leaf := issue(t, server.Server, "device", "press-1").Leaf
	w := turn(t, server.Server, ledger.RotateRoot)
	follow := func(state, root string) {
		t.Helper()
		at := leaf
		for range 3 {
			if len(at.IssuingCertificateURL) == 0 {
				break
			}
			where, err := url.Parse(at.IssuingCertificateURL[0])
			if err != nil {
				t.Fatal(err)
			}
			_, body := get(t, "http://"+server.http+where.Path)
			above, err := x509.ParseCertificate([]byte(body))
			if err != nil {
				t.Fatalf("%s: %s: %v", state, where.Path, err)
			}
			if err := at.CheckSignatureFrom(above); err != nil {
				t.Errorf("%s: what %s leads to has not signed %s: %v", state, where.Path, at.Subject, err)
			}
			at = above
		}
		a, err := server.ra.Authority(root)
		if err != nil {
			t.Fatal(err)
		}
		if !at.Equal(a.Certificate()) {
			t.Errorf("%s: it leads to %s (%x), not to %s", state, at.Subject, at.SubjectKeyId, root)
		}
	}
	follow("before", "root")
	for _, state := range []rotation.State{rotation.Distributing, rotation.Switched, rotation.Draining} {
		w.to(t, state)
		want := "root"
		if state.From(rotation.Switched) {
			want = "root2"
		}
		follow(string(state), want)
	}
	fresh := issue(t, server.Server, "device", "press-2").Leaf
	if !slices.Equal(fresh.IssuingCertificateURL, leaf.IssuingCertificateURL) {
		t.Errorf("a new certificate names %v", fresh.IssuingCertificateURL)
	}
	w.r.Issue, w.r.Kept = ledger.IssueOld, true
	w.put(t)
	if err := server.ra.Rotations().Adopt(t.Context(), w.r); err != nil {
		t.Fatal(err)
	}
	w.enter(t, rotation.RolledBack)
	follow("taken back", "root")
}
