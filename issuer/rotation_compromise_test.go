package issuer_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/internal/reconcile"
	"mintmark/issuer"
)

// smallFactory is a root with room for one CA below, and an issuing CA.
func smallFactory(t testing.TB, ra *issuer.RA) *issuer.RA {
	t.Helper()
	one := 1
	create(t, ra, rootSpec("root", "Offline", 20, &one))
	create(t, ra, issuingUnder("root", "issuing"))
	return ra
}

// TestStolenRootVouchesForNothing: in and after the emergency of a root, who trusts the new one
// takes nothing that a thief has signed with the old key, whatever of ours he shows beside it.
func TestStolenRootVouchesForNothing(t *testing.T) {
	store := newKeys(t).(*keys)
	l := newLedger(t)
	ra := smallFactory(t, newRA(t, l, func(c *issuer.Config) { c.Keys = store }))
	stolen := store.made["softkms:path=keys/root.pem"]
	spec := rootsSpec
	spec.Emergency = true
	x := rotate(t, ra, spec)
	x.to(t, rotation.KeyGenerated)
	old, new := authority(t, ra, "root").Certificate(), authority(t, ra, "root-b").Certificate()
	sign := func(template, parent *x509.Certificate, public crypto.PublicKey, by crypto.Signer) *x509.Certificate {
		t.Helper()
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(9000*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
		if err != nil {
			t.Fatal(err)
		}
		return parseDER(t, der)
	}
	subKey, leafKey := pkitest.NewKey(t), pkitest.NewKey(t)
	sub := sign(&x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "rogue"}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign}, old, subKey.Public(), stolen)
	leaf := sign(&x509.Certificate{SerialNumber: big.NewInt(8), Subject: pkix.Name{CommonName: "est.example"}, DNSNames: []string{"est.example"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, sub, leafKey.Public(), subKey)
	takes := func(anchor *x509.Certificate) bool {
		t.Helper()
		o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), DNSName: "est.example"}
		o.Roots.AddCert(anchor)
		o.Intermediates.AddCert(sub)
		// Everything that was ever issued to a CA here is public.
		page, err := l.Certificates(t.Context(), ledger.Query{Purpose: ledger.ForCA, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Certificates {
			o.Intermediates.AddCert(parseDER(t, c.DER))
		}
		_, err = leaf.Verify(o)
		return err == nil
	}
	if !takes(old) {
		t.Fatal("the thief's server is no good to anybody: this test shows nothing")
	}
	server := func(root string) {
		t.Helper()
		if path := ra.ServerPath("issuing"); len(path) != 2 || !path[0].Equal(authority(t, ra, root).Certificate()) {
			t.Errorf("%s: the server's path is not the one under %s", x.r.State, root)
		}
	}
	for _, state := range rotation.States[3:] {
		x.to(t, state)
		if takes(new) {
			t.Errorf("%s: who trusts the new root alone takes a server that the thief has made", state)
		}
		if n := len(ra.Bridges("issuing")); n != 0 {
			t.Errorf("%s: %d certificates lead from one root to the other", state, n)
		}
		switch {
		case state == rotation.TrustRemoved:
			if err := x.does.Revoke(t.Context(), x.r, ledger.KeyCompromise, "test"); err != nil {
				t.Fatal(err)
			}
			fallthrough
		case state.From(rotation.Switched):
			server("root-b")
		default:
			server("root")
		}
	}
	mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
}

// TestEmergencyToBridgedRoot: a new root that has certified the old key, in a rotation that was
// taken back, is no way out of an emergency.
func TestEmergencyToBridgedRoot(t *testing.T) {
	ra := smallFactory(t, newRA(t, newLedger(t), nil))
	x := rotate(t, ra, rootsSpec)
	x.to(t, rotation.Certified)
	x.back(t, false)
	spec := rootsSpec
	spec.Emergency = true
	found, err := ra.Rotations().Examine(t.Context(), spec)
	if err != nil || !strings.Contains(strings.Join(found.Refused, "\n"), "takes what that key signs: rotate to a new root") {
		t.Errorf("refused: %q, %v", found.Refused, err)
	}
	y := *x
	y.r.ID, y.r.Version, y.r.Emergency, y.spec = "again", 0, true, spec
	y.put(t, rotation.KeyGenerated, ledger.IssueOld)
	_, err = y.does.Certify(t.Context(), y.r, y.spec)
	against(t, err, "rotation-paths", "takes what that key signs")
}

// TestBringNotPlanned: where officers have signed that the new root is made here, a root of a
// stranger does not take its place, by the name or by what is brought.
func TestBringNotPlanned(t *testing.T) {
	ra := smallFactory(t, newRA(t, newLedger(t), nil))
	two := 2
	x := rotate(t, ra, rootsSpec)
	x.to(t, rotation.Approved)
	evil := newOffline(t, "evil", "Offline", 90, &two)
	now := func(c *x509.Certificate) { c.NotBefore = time.Now() }
	brought := []*x509.Certificate{evil.Certificate(), evil.bridge(t, authority(t, ra, "issuing").Certificate(), now), evil.bridge(t, authority(t, ra, "root").Certificate(), now)}
	_, err := x.does.Bring(t.Context(), x.r, x.spec, brought, "mallory")
	against(t, err, "rotation-bring", "makes the new root here")

	if _, err := ra.ImportAuthority(t.Context(), "root-b", brought[:1], ""); err != nil {
		t.Fatal(err)
	}
	against(t, x.does.Make(t.Context(), x.r, x.spec), "rotation-new", "it ends on")
	_, err = x.does.Bring(t.Context(), x.r, x.spec, brought[1:], "mallory")
	against(t, err, "rotation-new", "it ends on")
}

// TestMakeHoldsFingerprint: a new CA that was there when the rotation was planned is the one that
// officers have signed for, and no other of its name.
func TestMakeHoldsFingerprint(t *testing.T) {
	for _, spec := range []rotation.Spec{rootsSpec, issuingSpec} {
		t.Run(string(spec.Kind), func(t *testing.T) {
			ra := smallFactory(t, newRA(t, newLedger(t), nil))
			two := 2
			made := rootSpec(spec.New, "Offline", 30, &two)
			if spec.Kind == ledger.RotateIssuing {
				made = issuingUnder("root", spec.New)
			}
			create(t, ra, made)
			found, err := ra.Rotations().Examine(t.Context(), spec)
			sum := sha256.Sum256(authority(t, ra, spec.New).Certificate().Raw)
			if want := hex.EncodeToString(sum[:]); err != nil || found.NewSHA256 != want || !slices.ContainsFunc(found.Changes, func(c reconcile.Change) bool { return c.Kind == "authority" && strings.Contains(c.After, want) }) {
				t.Fatalf("found %+v, %v", found, err)
			}
			x := rotate(t, ra, spec)
			if err := x.does.Make(t.Context(), x.r, x.spec); err != nil {
				t.Error(err)
			}
			x.spec.NewSHA256 = strings.Repeat("ab", 32)
			against(t, x.does.Make(t.Context(), x.r, x.spec), "rotation-new", "that of the plan is abab")
		})
	}
}

// TestLateCA: from when a rotation is planned nothing is put below the root that it takes away,
// and what is there all the same is certified by nobody.
func TestLateCA(t *testing.T) {
	l := newLedger(t)
	store := newKeys(t)
	ra := smallFactory(t, newRA(t, l, func(c *issuer.Config) { c.Keys = store }))
	x := rotate(t, ra, rootsSpec)
	_, err := ra.CreateAuthority(t.Context(), issuingUnder("root", "late"), admin)
	refusedBy(t, err, "rotation-root", "take the rotation back")
	if _, err := ra.Authority("late"); err == nil {
		t.Fatal("it was made")
	}
	x.put(t, rotation.RolledBack, ledger.IssueOld)
	create(t, ra, issuingUnder("root", "late"))
	y := *x
	y.r.ID, y.r.Version = "again", 0 // by the plan of before
	y.put(t, rotation.Approved, ledger.IssueOld)
	if err := y.does.Make(t.Context(), y.r, y.spec); err != nil {
		t.Fatal(err)
	}
	_, err = y.does.Certify(t.Context(), y.r, y.spec)
	against(t, err, "rotation-paths", `"late" is below "root", and was not when the rotation was planned`)
}

// TestEmergencyRevokesBelow: with an issuing CA whose key was stolen goes everything that it has
// signed, with a task for each; its OCSP responder stays, to say so.
func TestEmergencyRevokesBelow(t *testing.T) {
	told := map[ledger.Serial]bool{}
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
		c.Tasks = func(c ledger.Certificate) []ledger.Task {
			told[c.Serial] = c.State == ledger.Revoked
			return nil
		}
	}))
	device := mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
	answers, _, err := ra.Responder(t.Context(), "issuing", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	spec := issuingSpec
	spec.Emergency = true
	found, err := ra.Rotations().Examine(t.Context(), spec)
	if err != nil || !slices.ContainsFunc(found.Changes, func(c reconcile.Change) bool {
		return c.Kind == "revocation" && strings.HasPrefix(c.Before, "in force: 1 certificates of devices")
	}) {
		t.Errorf("the plan does not say what is revoked: %+v, %v", found.Changes, err)
	}
	x := rotate(t, ra, spec)
	x.to(t, rotation.Switched)
	moved := mustEnroll(t, ra, pkitest.NewKey(t), "device-2")
	x.to(t, rotation.TrustRemoved)
	for range 2 {
		if err := x.does.Revoke(t.Context(), x.r, ledger.KeyCompromise, "test"); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		serial ledger.Serial
		state  ledger.State
		reason ledger.Reason
	}{
		{device.Serial, ledger.Revoked, ledger.Superseded},
		{issuer.SerialOf(authority(t, ra, "issuing").Certificate().SerialNumber), ledger.Revoked, ledger.KeyCompromise},
		{issuer.SerialOf(answers.SerialNumber), ledger.Valid, ledger.Unspecified},
		{moved.Serial, ledger.Valid, ledger.Unspecified},
		{issuer.SerialOf(authority(t, ra, "issuing-b").Certificate().SerialNumber), ledger.Valid, ledger.Unspecified},
	} {
		record, err := l.Certificate(t.Context(), c.serial)
		if err != nil || record.State != c.state || record.Reason != c.reason {
			t.Errorf("%s: %s, reason %s, %v", record.Subject, record.State, record.Reason, err)
		}
	}
	if !told[device.Serial] {
		t.Error("the clouds are not told")
	}
}

// TestStolenRootTakenBack: an emergency is taken back after devices got the new root. Who trusts
// either root alone takes this server, and nothing leads who trusts the new one alone to what the
// thief makes.
func TestStolenRootTakenBack(t *testing.T) {
	l := newLedger(t)
	three := 3
	ra := newRA(t, l, nil)
	create(t, ra, rootSpec("root", "Root", 20, &three))
	create(t, ra, issuingUnder("root", "issuing"))
	spec := rootsSpec
	spec.Emergency = true
	x := rotate(t, ra, spec)
	x.to(t, rotation.Switched)
	x.r.Kept, x.r.Paused = true, "being rolled back: a false alarm"
	x.put(t, rotation.Switched, ledger.IssueOld)
	for range 2 {
		if err := x.does.Adopt(t.Context(), x.r); err != nil {
			t.Fatal(err)
		}
		if err := x.does.Distribute(t.Context(), x.r); err != nil {
			t.Fatal(err)
		}
	}
	if err := ra.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	leaf := mustEnroll(t, ra, pkitest.NewKey(t), "device-1").Certificate
	look := func(what string) {
		t.Helper()
		path := ra.ServerPath("issuing")
		o := x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, Intermediates: x509.NewCertPool()}
		for _, c := range append(slices.Clone(path[1:]), ra.Bridges("issuing")...) {
			o.Intermediates.AddCert(c)
		}
		for _, name := range []string{"root", "root-b"} {
			o.Roots = x509.NewCertPool()
			o.Roots.AddCert(authority(t, ra, name).Certificate())
			if _, err := leaf.Verify(o); err != nil {
				t.Errorf("%s: who trusts %s alone: %v", what, name, err)
			}
		}
		if !path[0].Equal(authority(t, ra, "root-b").Certificate()) {
			t.Errorf("%s: the server shows the path under %s", what, path[0].Subject)
		}
		old, next := authority(t, ra, "root").Certificate(), authority(t, ra, "root-b").Certificate()
		page, err := l.Certificates(t.Context(), ledger.Query{Purpose: ledger.ForCA, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Certificates {
			one := parseDER(t, c.DER)
			if bytes.Equal(one.RawSubjectPublicKeyInfo, old.RawSubjectPublicKeyInfo) && one.CheckSignatureFrom(next) == nil {
				t.Errorf("%s: the new root has certified the old key", what)
			}
		}
	}
	look("being taken back")
	x.r.Paused = ""
	x.put(t, rotation.RolledBack, ledger.IssueOld)
	look("taken back")
	again := newRA(t, l, func(c *issuer.Config) { c.Keys = ra.Keys })
	if !again.ServerPath("issuing")[0].Equal(authority(t, ra, "root-b").Certificate()) {
		t.Error("after a restart the server shows another path")
	}
	// Let go, the old path is shown again.
	x.r.Kept = false
	x.put(t, rotation.RolledBack, ledger.IssueOld)
	if !ra.ServerPath("issuing")[0].Equal(authority(t, ra, "root").Certificate()) || len(ra.Bridges("issuing")) != 0 {
		t.Error("what was let go is still given out")
	}
}
