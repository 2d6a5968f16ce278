package issuer_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// rootSpec is a root that lasts some years.
func rootSpec(name, subject string, years int, pathLen *int) issuer.AuthoritySpec {
	return issuer.AuthoritySpec{Key: ca.P256, Spec: ca.Spec{
		Name: name, Subject: pkix.Name{CommonName: subject}, Validity: time.Duration(years) * 365 * 24 * time.Hour, Backdate: time.Hour, PathLen: pathLen,
	}}
}

func create(t testing.TB, ra *issuer.RA, spec issuer.AuthoritySpec) *ca.Authority {
	t.Helper()
	a, err := ra.CreateAuthority(t.Context(), spec, admin)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// issuingUnder is an issuing CA under a root.
func issuingUnder(root, name string) issuer.AuthoritySpec {
	zero := 0
	spec := rootSpec(name, "Issuing "+name, 10, &zero)
	spec.Issuer = root
	return spec
}

// twoRoots makes two roots with an issuing CA each.
func twoRoots(t testing.TB, ra *issuer.RA, oldSubject, newSubject string, pathLen *int) *issuer.RA {
	t.Helper()
	create(t, ra, rootSpec("root", oldSubject, 20, pathLen))
	create(t, ra, issuingUnder("root", "issuing"))
	create(t, ra, rootSpec("root2", newSubject, 30, pathLen))
	create(t, ra, issuingUnder("root2", "issuing2"))
	return ra
}

func rollOver(t testing.TB, ra *issuer.RA, compromised bool) ledger.Rollover {
	t.Helper()
	r, err := ra.BeginRollover(t.Context(), "root", "root2", compromised, admin)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parseDER(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func pemFile(t testing.TB, name string, certificates ...*x509.Certificate) string {
	t.Helper()
	var text []byte
	for _, c := range certificates {
		text = append(text, pkitest.PEM("CERTIFICATE", c.Raw)...)
	}
	return pkitest.WriteFile(t, name, text)
}

// TestRolloverVerifies has openssl judge: a device that knows one root only
// takes what is under the other with the certificate that leads there, and not
// without. The roots have one subject and path length 1, as init makes them, or
// two subjects and room for the step between them.
func TestRolloverVerifies(t *testing.T) {
	one := 1
	for name, c := range map[string]struct {
		newSubject string
		pathLen    *int
	}{"one subject": {"Test Root", &one}, "two subjects": {"Test Root 2", nil}} {
		t.Run(name, func(t *testing.T) {
			ra := twoRoots(t, newRA(t, newLedger(t), nil), "Test Root", c.newSubject, c.pathLen)
			r := rollOver(t, ra, false)
			oldWithNew, newWithOld := parseDER(t, r.OldWithNew), parseDER(t, r.NewWithOld)
			for _, way := range []struct {
				anchor, issuing string
				bridge          *x509.Certificate
			}{{"root", "issuing2", newWithOld}, {"root2", "issuing", oldWithNew}} {
				answer, err := ra.Enroll(t.Context(), issuer.Request{
					Authorize: issuer.Trusted, Profile: "device", Issuer: way.issuing, Requester: password,
					CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "device-" + way.issuing}),
				})
				if err != nil {
					t.Fatal(err)
				}
				anchor, err := ra.Authority(way.anchor)
				if err != nil {
					t.Fatal(err)
				}
				leaf, trust := pemFile(t, "leaf.pem", answer.Certificate), pemFile(t, "anchor.pem", anchor.Certificate())
				chain := pemFile(t, "chain.pem", answer.Chain...)
				crossed := pemFile(t, "crossed.pem", append(answer.Chain, way.bridge)...)
				pkitest.OpenSSL(t, "verify", "-x509_strict", "-no-CApath", "-CAfile", trust, "-untrusted", crossed, leaf)
				pkitest.OpenSSLFails(t, "verify", "-x509_strict", "-no-CApath", "-CAfile", trust, "-untrusted", chain, leaf)
				if way.bridge.NotAfter.After(anchor.Certificate().NotAfter) || way.bridge.NotBefore.Before(anchor.Certificate().NotBefore) {
					t.Errorf("the certificate by %s is not within its validity", way.anchor)
				}
			}
			// Both went through the cycle like everything that is signed.
			for _, c := range []*x509.Certificate{oldWithNew, newWithOld} {
				record, err := ra.Ledger.Certificate(t.Context(), issuer.SerialOf(c.SerialNumber))
				if err != nil || record.State != ledger.Valid || record.Purpose != ledger.ForCA || !slices.Equal(record.DER, c.Raw) || record.Requester.Name != admin.Name {
					t.Errorf("recorded is %+v, %v", record, err)
				}
			}
		})
	}
}

func TestBridges(t *testing.T) {
	l := newLedger(t)
	made := newKeys(t)
	ra := twoRoots(t, newRA(t, l, func(c *issuer.Config) { c.Keys = made }), "Root", "Root", nil)
	create(t, ra, rootSpec("other", "Other", 20, nil))
	if list := ra.Bridges("issuing"); list != nil {
		t.Errorf("without a rollover there are %d", len(list))
	}
	// Another server on the ledger hears of it.
	second := newRA(t, l, func(c *issuer.Config) { c.Server, c.Keys = "second", made })
	r := rollOver(t, ra, false)
	anchor := func(name string) []byte {
		a, err := ra.Authority(name)
		if err != nil {
			t.Fatal(err)
		}
		return a.Certificate().Raw
	}
	expect := func(ra *issuer.RA, name string, want ...[]byte) {
		t.Helper()
		var got [][]byte
		for _, c := range ra.Bridges(name) {
			got = append(got, c.Raw)
		}
		if !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s has %d, want %d", name, len(got), len(want))
		}
	}
	four := [][]byte{anchor("root"), anchor("root2"), r.OldWithNew, r.NewWithOld}
	for _, name := range []string{"issuing", "issuing2", "root", "root2"} {
		expect(ra, name, four...)
	}
	expect(ra, "other")
	expect(ra, "nobody")
	expect(second, "issuing")
	if err := second.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(second, "issuing", four...)

	// A second rollover of the same root adds what is new, once.
	create(t, ra, rootSpec("root3", "Root", 40, nil))
	r3, err := ra.BeginRollover(t.Context(), "root", "root3", false, admin)
	if err != nil {
		t.Fatal(err)
	}
	expect(ra, "issuing", append(four[:4:4], anchor("root3"), r3.OldWithNew, r3.NewWithOld)...)
	expect(ra, "issuing2", four...)
	if _, err := ra.EndRollover(t.Context(), "root", "root3", admin); err != nil {
		t.Fatal(err)
	}

	// What is revoked is given to nobody, here and elsewhere.
	serial := issuer.SerialOf(parseDER(t, r.NewWithOld).SerialNumber)
	if _, err := ra.Revoke(t.Context(), ledger.Selector{Serial: serial}, ledger.Superseded, "test"); err != nil {
		t.Fatal(err)
	}
	expect(ra, "issuing", four[:3]...)
	if err := second.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(second, "issuing2", four[:3]...)
	expect(newRA(t, l, func(c *issuer.Config) { c.Server, c.Keys = "third", made }), "issuing", four[:3]...)

	ended, err := ra.EndRollover(t.Context(), "root", "root2", admin)
	if err != nil || ended.EndedAt.IsZero() || ended.EndedBy != admin.Name {
		t.Errorf("ended: %+v, %v", ended, err)
	}
	expect(ra, "issuing")
	if err := second.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(second, "issuing")

	// It can begin again, with certificates of its own.
	again := rollOver(t, second, false)
	if slices.Equal(again.OldWithNew, r.OldWithNew) || slices.Equal(again.NewWithOld, r.NewWithOld) {
		t.Error("it began again with the certificates of before")
	}
	list, err := ra.Rollovers(t.Context())
	if err != nil || len(list) != 2 {
		t.Errorf("there are %d rollovers, %v", len(list), err)
	}
}

// TestCompromised: no rollover begins after a compromise, and what an earlier version has begun
// gives out neither the old root as an anchor nor what it has signed.
func TestCompromised(t *testing.T) {
	ra := twoRoots(t, newRA(t, newLedger(t), nil), "Root", "Root", nil)
	_, err := ra.BeginRollover(t.Context(), "root", "root2", true, admin)
	refusedBy(t, err, "rollover-compromised", "mintmark rotate plan --old root --new root2 --emergency")
	if n := len(ra.Bridges("issuing")); n != 0 {
		t.Fatalf("%d certificates are given out", n)
	}
	r := rollOver(t, ra, false)
	if _, err := ra.EndRollover(t.Context(), "root", "root2", admin); err != nil {
		t.Fatal(err)
	}
	r.At, r.NewWithOld = ra.Now().Add(time.Second), nil
	if err := ra.Ledger.PutRollover(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := ra.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	root2, err := ra.Authority("root2")
	if err != nil {
		t.Fatal(err)
	}
	want := [][]byte{root2.Certificate().Raw, r.OldWithNew}
	var got [][]byte
	for _, c := range ra.Bridges("issuing") {
		got = append(got, c.Raw)
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("there are %d, want %d", len(got), len(want))
	}
}

// TestRolloverRefused: what is refused leaves nothing behind.
func TestRolloverRefused(t *testing.T) {
	one := 1
	ra := newRA(t, newLedger(t), nil)
	create(t, ra, rootSpec("root", "Root", 20, &one))
	create(t, ra, issuingUnder("root", "issuing"))
	create(t, ra, rootSpec("short", "Root", 10, nil))
	create(t, ra, rootSpec("renamed", "Another Root", 30, nil))
	create(t, ra, rootSpec("next", "Root", 30, &one))
	gone := create(t, ra, rootSpec("gone", "Root", 30, nil))
	if _, err := ra.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(gone.Certificate().SerialNumber)}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pkitest.OpenSSL(t, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", dir+"/away.key",
		"-out", dir+"/away.pem", "-subj", "/CN=Root", "-days", "20000", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
	if _, err := ra.ImportAuthority(t.Context(), "away", []*x509.Certificate{parse(t, pkitest.ReadFile(t, dir+"/away.pem"))}, ""); err != nil {
		t.Fatal(err)
	}
	certificates := func() int {
		page, err := ra.Ledger.Certificates(t.Context(), ledger.Query{Purpose: ledger.ForCA, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Certificates)
	}
	before := certificates()
	for _, c := range []struct{ old, new, rule, text string }{
		{"root", "root", "rollover-roots", "same key"},
		{"root", "issuing", "rollover-roots", "is no root"},
		{"root", "short", "rollover-roots", "lasts longer"},
		{"root", "renamed", "rollover-roots", "exactly the subject of the old one"},
		{"root", "gone", "issuer-revoked", "revoked"},
		{"root", "away", "rollover-roots", "elsewhere"},
	} {
		_, err := ra.BeginRollover(t.Context(), c.old, c.new, false, admin)
		var refusal *issuer.Refusal
		if !errors.As(err, &refusal) || refusal.Rule != c.rule || !strings.Contains(refusal.Text, c.text) {
			t.Errorf("from %s to %s: %v, want %s: %s", c.old, c.new, err, c.rule, c.text)
		}
	}
	if _, err := ra.BeginRollover(t.Context(), "root", "nobody", false, admin); !errors.Is(err, issuer.ErrNoAuthority) {
		t.Errorf("to a root that is not there: %v", err)
	}
	var refusal *issuer.Refusal
	if _, err := ra.EndRollover(t.Context(), "root", "next", admin); !errors.As(err, &refusal) || refusal.Rule != "rollover-none" {
		t.Errorf("ending what has not begun: %v", err)
	}
	if n := certificates(); n != before {
		t.Errorf("%d certificates were left behind", n-before)
	}
	if _, err := ra.BeginRollover(t.Context(), "root", "next", false, admin); err != nil {
		t.Fatal(err)
	}
	if _, err := ra.BeginRollover(t.Context(), "root", "next", false, admin); !errors.As(err, &refusal) || refusal.Rule != "rollover-runs" {
		t.Errorf("begun twice: %v", err)
	}
}
