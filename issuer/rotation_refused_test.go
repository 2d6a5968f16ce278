package issuer_test

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestExamineRefused: each rotation that could not come to its end is refused before it begins,
// and what an officer should know is said.
func TestExamineRefused(t *testing.T) {
	ra := newRA(t, newLedger(t), nil)
	one := 1
	create(t, ra, rootSpec("root", "Root", 20, &one))
	create(t, ra, issuingUnder("root", "issuing"))
	create(t, ra, rootSpec("free", "Root", 20, nil))
	create(t, ra, issuingUnder("free", "elsewhere"))
	create(t, ra, issuingUnder("root", "beside"))
	create(t, ra, rootSpec("short", "Root", 10, nil))
	create(t, ra, rootSpec("full", "Root", 30, &one))
	gone := create(t, ra, rootSpec("gone", "Root", 40, nil))
	if _, err := ra.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(gone.Certificate().SerialNumber)}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	create(t, ra, rootSpec("next", "Root", 40, nil))
	create(t, ra, rootSpec("later", "Root", 50, nil))
	if _, err := ra.BeginRollover(t.Context(), "next", "later", false, admin); err != nil {
		t.Fatal(err)
	}
	const root, issuing = ledger.RotateRoot, ledger.RotateIssuing
	for _, c := range []struct {
		name    string
		spec    rotation.Spec
		refused string
	}{
		{"unknown", rotation.Spec{Kind: root, Old: "nobody", New: "x"}, `no CA "nobody"`},
		{"a root as an issuing CA", rotation.Spec{Kind: issuing, Old: "root", New: "x"}, "is a root"},
		{"an issuing CA as a root", rotation.Spec{Kind: root, Old: "issuing", New: "x"}, "is no root"},
		{"revoked", rotation.Spec{Kind: root, Old: "gone", New: "x"}, "is revoked"},
		{"to a revoked one", rotation.Spec{Kind: root, Old: "root", New: "gone"}, "is revoked"},
		{"to an issuing CA", rotation.Spec{Kind: root, Old: "root", New: "issuing"}, "is no root"},
		{"to one that ends before", rotation.Spec{Kind: root, Old: "root", New: "short"}, "lasts longer"},
		{"to one without room", rotation.Spec{Kind: root, Old: "root", New: "full"}, "more room"},
		{"to itself", rotation.Spec{Kind: root, Old: "root", New: "root"}, "same key"},
		{"in a rollover", rotation.Spec{Kind: root, Old: "next", New: "x"}, "rollover"},
		{"into a rollover", rotation.Spec{Kind: root, Old: "root", New: "later"}, "rollover"},
		{"too short", rotation.Spec{Kind: root, Old: "root", New: "x", ValidityDays: 30}, "longer validity"},
		{"key", rotation.Spec{Kind: root, Old: "root", New: "x", Key: "rsa1024"}, "key algorithm"},
		{"another name", rotation.Spec{Kind: root, Old: "root", New: "x", CommonName: "Other"}, "leave out the common name"},
		{"under another root", rotation.Spec{Kind: issuing, Old: "issuing", New: "elsewhere"}, "directly under the same CA"},
		{"too short an issuing CA", rotation.Spec{Kind: issuing, Old: "issuing", New: "x", ValidityDays: 30}, "longer validity"},

		{"root", rotation.Spec{Kind: root, Old: "root", New: "x"}, ""},
		{"root of another kind", rotation.Spec{Kind: root, Old: "root", New: "x", Key: "rsa3072"}, ""},
		{"another name with room", rotation.Spec{Kind: root, Old: "free", New: "x", CommonName: "Other"}, ""},
		{"another name in an emergency", rotation.Spec{Kind: root, Old: "root", New: "x", CommonName: "Other", Emergency: true}, ""},
		{"revoked, in an emergency", rotation.Spec{Kind: root, Old: "gone", New: "x", Emergency: true}, ""},
		{"issuing", rotation.Spec{Kind: issuing, Old: "issuing", New: "x"}, ""},
		{"one that is there", rotation.Spec{Kind: issuing, Old: "issuing", New: "beside"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := ra.Rotations().Examine(t.Context(), c.spec)
			if err != nil {
				t.Fatal(err)
			}
			if text := strings.Join(found.Refused, "\n"); (c.refused == "") != (text == "") || !strings.Contains(text, c.refused) {
				t.Errorf("refused: %q, want %q", text, c.refused)
			}
			if c.refused == "" && len(found.Changes) < 2 {
				t.Errorf("only %d changes", len(found.Changes))
			}
		})
	}
	found, err := ra.Rotations().Examine(t.Context(), rotation.Spec{Kind: root, Old: "root", New: "x"})
	if err != nil || !slices.Equal(found.Affected, []string{"issuing", "beside"}) || !strings.Contains(strings.Join(found.Warned, ""), "crypto/x509") {
		t.Errorf("found %+v, %v", found, err)
	}
	// What was replaced is not replaced again, and does not come back.
	x := rotate(t, ra, rotation.Spec{Kind: issuing, Old: "issuing", New: "beside"})
	x.to(t, rotation.Retired)
	for _, spec := range []rotation.Spec{{Kind: issuing, Old: "issuing", New: "y"}, {Kind: issuing, Old: "beside", New: "issuing"}} {
		found, err := ra.Rotations().Examine(t.Context(), spec)
		if err != nil || !strings.Contains(strings.Join(found.Refused, "\n"), "was replaced by") {
			t.Errorf("%s to %s: %q, %v", spec.Old, spec.New, found.Refused, err)
		}
	}
}

// TestBringRefused: what a ceremony brings is judged like a stranger's, and nothing is recorded of
// what has something wrong in it.
func TestBringRefused(t *testing.T) {
	l := newLedger(t)
	ra := newRA(t, l, nil)
	one, two := 1, 2
	create(t, ra, rootSpec("root", "Offline", 20, &one))
	create(t, ra, issuingUnder("root", "issuing"))
	spec := rootsSpec
	spec.Elsewhere, spec.ValidityDays = true, 30*365
	x := rotate(t, ra, spec)
	old, issuing := authority(t, ra, "root").Certificate(), authority(t, ra, "issuing").Certificate()
	good := newOffline(t, "new", "Offline", 30, &two)
	stranger := newOffline(t, "new", "Offline", 30, &two)
	twin := func(of *x509.Certificate, change func(*x509.Certificate)) *x509.Certificate {
		return good.bridge(t, of, func(c *x509.Certificate) {
			c.NotBefore = time.Now()
			if change != nil {
				change(c)
			}
		})
	}
	count := cas(t, l)
	for _, c := range []struct {
		name    string
		brought []*x509.Certificate
		text    string
	}{
		{"nothing", nil, "the new root is not among"},
		{"no root", []*x509.Certificate{twin(old, nil)}, "the new root is not among"},
		{"the old root", []*x509.Certificate{old}, "the new root is not among"},
		{"another end", []*x509.Certificate{newOffline(t, "new", "Offline", 90, &two).Certificate()}, "it ends on"},
		{"no path length", []*x509.Certificate{newOffline(t, "new", "Offline", 30, nil).Certificate()}, "its path length is not limited, and 2 was planned"},
		{"older than the plan", []*x509.Certificate{odd(t, "Offline", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(-400 * 24 * time.Hour) })}, "before the rotation was planned"},
		{"key usage", []*x509.Certificate{odd(t, "Offline", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageDigitalSignature })}, "key usages"},
		{"name constraints", []*x509.Certificate{odd(t, "Offline", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.org"} })}, "name constraints"},
		{"another subject", []*x509.Certificate{newOffline(t, "new", "Other", 30, &two).Certificate()}, "its subject is"},
		{"too short", []*x509.Certificate{newOffline(t, "new", "Offline", 10, &two).Certificate()}, "lasts longer"},
		{"no room", []*x509.Certificate{newOffline(t, "new", "Offline", 30, &one).Certificate()}, "more room"},
		{"by another root", []*x509.Certificate{good.Certificate(), stranger.bridge(t, old, nil)}, "no place"},
		{"a device's key", []*x509.Certificate{good.Certificate(), good.bridge(t, good.Certificate(), func(c *x509.Certificate) { c.Subject, c.RawSubject = pkix.Name{CommonName: "x"}, nil })}, "no place"},
		{"key identifier", []*x509.Certificate{good.Certificate(), twin(issuing, func(c *x509.Certificate) { c.SubjectKeyId = []byte{1, 2, 3, 4} })}, "subject key identifier"},
		{"subject", []*x509.Certificate{good.Certificate(), twin(issuing, func(c *x509.Certificate) { c.RawSubject, c.Subject = nil, pkix.Name{CommonName: "x"} })}, "its subject"},
		{"longer path", []*x509.Certificate{good.Certificate(), twin(issuing, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 1, false })}, "longer path"},
		{"extended key usage", []*x509.Certificate{good.Certificate(), twin(issuing, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })}, "extended key usages"},
		{"outlives", []*x509.Certificate{good.Certificate(), twin(issuing, func(c *x509.Certificate) { c.NotAfter = issuing.NotAfter.Add(time.Hour) })}, "not within"},
		{"too many", slices.Repeat([]*x509.Certificate{good.Certificate()}, 1000), "more than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			words, err := x.does.Bring(t.Context(), x.r, x.spec, c.brought, "alice")
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%q, %v, want %s", words, err, c.text)
			}
			if _, err := ra.Authority("root-b"); !errors.Is(err, issuer.ErrNoAuthority) || cas(t, l) != count {
				t.Error("something was recorded")
			}
		})
	}
	wrong := x.spec
	wrong.Key = "p384"
	_, err := x.does.Bring(t.Context(), x.r, wrong, []*x509.Certificate{good.Certificate()}, "alice")
	against(t, err, "rotation-bring", "P-384 was planned")
	if _, err := x.does.Bring(t.Context(), x.r, x.spec, []*x509.Certificate{good.Certificate(), twin(issuing, nil)}, "alice"); err != nil {
		t.Fatal(err)
	}
	// In an emergency nothing is taken that the old key has signed, nor anything that vouches for it.
	x.r.Emergency = true
	_, err = x.does.Bring(t.Context(), x.r, x.spec, []*x509.Certificate{twin(old, nil)}, "alice")
	against(t, err, "rotation-bring", "nothing may vouch for it")
	prepared := computed(t, good.Certificate(), old, mustSigner(t, ra, "softkms:path=keys/root.pem"))
	_, err = x.does.Bring(t.Context(), x.r, x.spec, []*x509.Certificate{prepared}, "alice")
	against(t, err, "rotation-bring", "wrong hands")
	// An issuing CA waits for nothing before its key is made.
	y := &rotating{ra: ra, does: ra.Rotations(), r: ledger.Rotation{Kind: ledger.RotateIssuing, Old: "issuing", New: "issuing-b"}}
	_, err = y.does.Bring(t.Context(), y.r, rotation.Spec{Kind: ledger.RotateIssuing, Old: "issuing", New: "issuing-b"}, []*x509.Certificate{issuing}, "alice")
	against(t, err, "rotation-bring", "waits for no certificate")
}

// odd is a root of a ceremony that somebody has changed.
func odd(t testing.TB, subject string, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	two, key := 2, pkitest.NewKey(t)
	template, err := ca.Spec{Name: "new", Subject: pkix.Name{CommonName: subject}, Validity: 30 * 365 * 24 * time.Hour, PathLen: &two}.Template(issuer.NewSerial(time.Now()), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	change(template)
	prepared, err := ca.PrepareRoot(template, key)
	if err != nil {
		t.Fatal(err)
	}
	return issued(t, prepared)
}

// TestVerifyPathsFinds: what has gone from between the roots, or is revoked, is found.
func TestVerifyPathsFinds(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	x := rotate(t, ra, rootsSpec)
	x.to(t, rotation.PathsVerified)
	lines, err := x.does.VerifyPaths(t.Context(), x.r)
	if err != nil || len(lines) != 12 {
		t.Fatalf("%d lines, %v: %q", len(lines), err, lines)
	}
	for text, n := range map[string]int{": accepted": 10, ": refused, as it must be": 2, "count the bridge": 1} {
		if got := strings.Count(strings.Join(lines, "\n"), text); got != n {
			t.Errorf("%q stands %d times in %q", text, got, lines)
		}
	}
	// A twin by another key.
	other := *x
	other.r.Twins = []ledger.Twin{{Authority: "issuing", DER: computed(t, parseDER(t, x.r.Twins[0].DER), authority(t, ra, "root").Certificate(), mustSigner(t, ra, "softkms:path=keys/root.pem")).Raw}}
	if _, err := other.does.VerifyPaths(t.Context(), other.r); err == nil {
		t.Error("a twin by the old root is found good")
	}
	other.r.Twins = nil
	_, err = other.does.VerifyPaths(t.Context(), other.r)
	against(t, err, "rotation-paths", "no certificate for that under the new one")

	if err := x.does.Revoke(t.Context(), x.r, ledger.Superseded, "test"); err != nil {
		t.Fatal(err)
	}
	_, err = x.does.VerifyPaths(t.Context(), x.r)
	against(t, err, "rotation-paths", "the certificate of the old root by the new one")
	against(t, x.does.Distribute(t.Context(), x.r), "rotation-paths", "missing")

	// Of issuing CAs, each is tried with the path of the other.
	y := rotating{ra: ra, does: ra.Rotations(), r: ledger.Rotation{Kind: ledger.RotateIssuing, Old: "issuing", New: "issuing-b"}}
	create(t, ra, issuingUnder("root-b", "unused"))
	spec := issuingUnder("root-b", "issuing-b")
	create(t, ra, spec)
	if lines, err := y.does.VerifyPaths(t.Context(), y.r); err == nil || len(lines) == 0 {
		t.Errorf("CAs under two roots are found good: %q", lines)
	}
}

func mustSigner(t testing.TB, ra *issuer.RA, uri string) crypto.Signer {
	t.Helper()
	signer, err := ra.Keys.Signer(t.Context(), uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// TestEmergencyBelowStrangers: the certificate of a CA whose key is in wrong hands is revoked at the
// end of the rotation, by the CA above it. Where that is not known here, officers are told before
// anything is done, and what to do: at the end there would be no way on, nor back.
func TestEmergencyBelowStrangers(t *testing.T) {
	ra := newRA(t, newLedger(t), nil)
	zero := 0
	corporate := newOffline(t, "corporate", "Corporate Root", 20, nil)
	for _, name := range []string{"issuing", "issuing-2"} {
		csr, err := ra.RequestAuthority(t.Context(), issuer.AuthoritySpec{Spec: ca.Spec{Name: name, Subject: pkix.Name{CommonName: name}, PathLen: &zero}, Key: ca.P256})
		if err != nil {
			t.Fatal(err)
		}
		request, err := x509.ParseCertificateRequest(csr)
		if err != nil {
			t.Fatal(err)
		}
		certificate := corporate.issuing(t, name, request.PublicKey, nil)
		if _, err := ra.ImportAuthority(t.Context(), name, []*x509.Certificate{certificate, corporate.Certificate()}, ""); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(emergency bool) string {
		found, err := ra.Rotations().Examine(t.Context(), rotation.Spec{Kind: ledger.RotateIssuing, Old: "issuing", New: "issuing-2", Emergency: emergency})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(found.Refused, "\n")
	}
	if said := refused(true); !strings.Contains(said, `the CA "CN=Corporate Root" above "issuing" is not known here: import its certificate, without a key`) {
		t.Errorf("refused: %q", said)
	}
	if said := refused(false); strings.Contains(said, "Corporate Root") {
		t.Errorf("nothing is revoked without an emergency, and it is refused: %q", said)
	}
	r := ledger.Rotation{Kind: ledger.RotateIssuing, Old: "issuing", New: "issuing-2", Emergency: true}
	if err := ra.Rotations().Revoke(t.Context(), r, ledger.KeyCompromise, "alice"); err == nil || !strings.Contains(err.Error(), "import its certificate, without a key") {
		t.Errorf("revoked: %v", err)
	}
	corporate.imported(t, ra)
	if said := refused(true); said != "" {
		t.Errorf("refused: %q", said)
	}
	if err := ra.Rotations().Revoke(t.Context(), r, ledger.KeyCompromise, "alice"); err != nil {
		t.Error(err)
	}
}
