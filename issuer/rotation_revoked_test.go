package issuer_test

import (
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// revoke revokes one certificate.
func revoke(t testing.TB, ra *issuer.RA, c *x509.Certificate, reason ledger.Reason) {
	t.Helper()
	if _, err := ra.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(c.SerialNumber)}, reason, "test"); err != nil {
		t.Fatal(err)
	}
}

// TestRevokedWhileRootTurns: a CA that is revoked before, or at any time in, a rotation of its
// root is not put back in force by it, and does not stand in its way, forth or back.
func TestRevokedWhileRootTurns(t *testing.T) {
	for name, c := range map[string]struct {
		at   rotation.State // in which it is revoked
		twin bool           // whether it had a certificate under the new root then
	}{
		"before": {rotation.Planned, false}, "before the certificates": {rotation.KeyGenerated, false},
		"with certificates": {rotation.Distributing, true}, "after the switch": {rotation.Switched, true},
	} {
		t.Run(name, func(t *testing.T) {
			l, store := newLedger(t), newKeys(t)
			ra := smallFactory(t, newRA(t, l, func(c *issuer.Config) { c.Keys = store }))
			create(t, ra, issuingUnder("root", "stolen"))
			condemn := func() { revoke(t, ra, authority(t, ra, "stolen").Certificate(), ledger.KeyCompromise) }
			if c.at == rotation.Planned {
				condemn()
				found, err := ra.Rotations().Examine(t.Context(), rootsSpec)
				if err != nil || len(found.Affected) != 1 || !strings.Contains(strings.Join(found.Warned, "\n"), `"stolen" is revoked`) {
					t.Errorf("found %+v, %v", found, err)
				}
			}
			x := rotate(t, ra, rootsSpec)
			if c.at != rotation.Planned {
				x.to(t, c.at)
				condemn()
			}
			x.to(t, rotation.Certified)
			twins := 0
			for _, twin := range x.r.Twins {
				if twin.Authority == "stolen" {
					twins++
				}
			}
			if (twins == 1) != c.twin {
				t.Errorf("%d certificates under the new root", twins)
			}
			x.to(t, rotation.Switched)
			// What a restarted server makes of it.
			again := newRA(t, l, func(c *issuer.Config) { c.Keys, c.Server = store, "again" })
			for _, one := range []*issuer.RA{ra, again} {
				if !one.Withdrawn("stolen") || one.Withdrawn("issuing") {
					t.Errorf("withdrawn: %v, and what nobody has revoked: %v", one.Withdrawn("stolen"), one.Withdrawn("issuing"))
				}
				_, err := one.Enroll(t.Context(), issuer.Request{Profile: "device", Issuer: "stolen", CSR: pkitest.CSR(t, pkitest.NewKey(t), pkixName("device-9")), Authorize: issuer.Trusted, Requester: password})
				refusedBy(t, err, "issuer-revoked", "stolen")
			}
			mustEnroll(t, again, pkitest.NewKey(t), "device-1")
			x.r.Issue = ledger.IssueOld
			if _, err := x.does.VerifyPaths(t.Context(), x.r); err != nil {
				t.Error(err)
			}
			x.back(t, true)
			if !ra.Withdrawn("stolen") || ra.Withdrawn("issuing") {
				t.Error("taken back, they are not as they were")
			}
			if a := authority(t, ra, "issuing"); !a.Root().Equal(authority(t, ra, "root").Certificate()) {
				t.Error("it does not stand under the old root again")
			}
		})
	}
}

// TestEmergencyThenRoot: the issuing CA of an emergency that is over stays revoked when its root is
// replaced.
func TestEmergencyThenRoot(t *testing.T) {
	ra := withHierarchy(t, newRA(t, newLedger(t), nil))
	spec := issuingSpec
	spec.Emergency = true
	x := rotate(t, ra, spec)
	x.to(t, rotation.TrustRemoved)
	if err := x.does.Revoke(t.Context(), x.r, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	x.to(t, rotation.Retired)
	y := rotate(t, ra, rootsSpec)
	y.to(t, rotation.Archived)
	if len(y.r.Twins) != 1 || y.r.Twins[0].Authority != "issuing-b" || !ra.Withdrawn("issuing") {
		t.Errorf("%d twins, withdrawn %v", len(y.r.Twins), ra.Withdrawn("issuing"))
	}
	// Nobody else vouches for it, either.
	create(t, ra, rootSpec("next", "Test Root", 60, nil))
	if err := ra.Vouch(authority(t, ra, "next"), authority(t, ra, "issuing")); err == nil || !strings.Contains(err.Error(), "is revoked, and no other certificate") {
		t.Errorf("certifying the key of a revoked CA: %v", err)
	}
}

// TestOneOfTwoCertificates: a CA that has a certificate under either root is revoked by each of the
// two, unless that one was only replaced; its emergency revokes both.
func TestOneOfTwoCertificates(t *testing.T) {
	for name, reason := range map[string]ledger.Reason{"compromised": ledger.KeyCompromise, "unspecified": ledger.Unspecified, "superseded": ledger.Superseded, "cessation": ledger.CessationOfOperation} {
		t.Run(name, func(t *testing.T) {
			l, store := newLedger(t), newKeys(t)
			ra := smallFactory(t, newRA(t, l, func(c *issuer.Config) { c.Keys = store }))
			first := authority(t, ra, "issuing").Certificate()
			x := rotate(t, ra, rootsSpec)
			x.to(t, rotation.Switched)
			revoke(t, ra, first, reason)
			want := reason != ledger.Superseded && reason != ledger.CessationOfOperation
			for _, one := range []*issuer.RA{ra, newRA(t, l, func(c *issuer.Config) { c.Keys, c.Server = store, "again" })} {
				if one.Withdrawn("issuing") != want {
					t.Errorf("revoked by the certificate that it does not go by, it is withdrawn: %v", !want)
				}
			}
		})
	}
	for _, kept := range []bool{false, true} {
		l := newLedger(t)
		ra := smallFactory(t, newRA(t, l, nil))
		x := rotate(t, ra, rootsSpec)
		if kept {
			x.to(t, rotation.Switched)
			x.back(t, true)
		} else {
			x.to(t, rotation.Retired)
		}
		spec := issuingSpec
		spec.Emergency = true
		y := rotate(t, ra, spec)
		y.to(t, rotation.TrustRemoved)
		if err := y.does.Revoke(t.Context(), y.r, ledger.KeyCompromise, "test"); err != nil {
			t.Fatal(err)
		}
		page, err := l.Certificates(t.Context(), ledger.Query{Key: sha256.Sum256(authority(t, ra, "issuing").Certificate().RawSubjectPublicKeyInfo), Purpose: ledger.ForCA, Limit: 10})
		if err != nil || len(page.Certificates) != 2 {
			t.Fatalf("%d certificates, %v", len(page.Certificates), err)
		}
		for _, c := range page.Certificates {
			if c.State != ledger.Revoked || c.Reason != ledger.KeyCompromise {
				t.Errorf("kept %v: the certificate of the stolen key by %s is %s", kept, c.Issuer, c.State)
			}
		}
	}
}

// TestExpiredWhileRootTurns: a CA that is over gets nothing new, and does not stand in the way.
func TestExpiredWhileRootTurns(t *testing.T) {
	now := &clock{time.Now()}
	ra := smallFactory(t, newRA(t, newLedger(t), func(c *issuer.Config) { c.Now = now.Now }))
	short := issuingUnder("root", "short")
	short.Validity = 100 * 24 * time.Hour
	create(t, ra, short)
	now.now = now.now.Add(200 * 24 * time.Hour)
	ra.Tick(t.Context())
	x := rotate(t, ra, rootsSpec)
	x.to(t, rotation.Switched)
	if len(x.r.Twins) != 1 || !authority(t, ra, "short").Root().Equal(authority(t, ra, "root").Certificate()) {
		t.Errorf("%d twins", len(x.r.Twins))
	}
	x.back(t, true)
}

// TestRolloverOfRotation: what a rotation has begun is ended by it, and by nobody else.
func TestRolloverOfRotation(t *testing.T) {
	ra := smallFactory(t, newRA(t, newLedger(t), nil))
	two := 2
	create(t, ra, rootSpec("root-b", "Offline", 30, &two))
	create(t, ra, rootSpec("root-c", "Offline", 40, &two))
	x := rotate(t, ra, rootsSpec)
	for _, new := range []string{"root-b", "root-c"} {
		_, err := ra.BeginRollover(t.Context(), "root", new, false, admin)
		refusedBy(t, err, "rollover-rotation", "mintmark rotate rollback")
	}
	x.to(t, rotation.Draining)
	_, err := ra.EndRollover(t.Context(), "root", "root-b", admin)
	refusedBy(t, err, "rollover-rotation", "in state DRAINING")
	if n := len(ra.Bridges("issuing")); n != 4 {
		t.Errorf("%d certificates lead between the roots", n)
	}
	x.back(t, true)
	_, err = ra.EndRollover(t.Context(), "root", "root-b", admin)
	refusedBy(t, err, "rollover-rotation", "devices that have something of")
	x.r.Kept = false
	x.put(t, rotation.RolledBack, ledger.IssueOld)
	if _, err := ra.EndRollover(t.Context(), "root", "root-b", admin); err != nil {
		t.Errorf("what is left of a rotation that nobody needs: %v", err)
	}
}

// TestVerifyPathsAccepted: a path that somebody takes who must not is found. Here the new root is
// another certificate of the old key.
func TestVerifyPathsAccepted(t *testing.T) {
	ra := smallFactory(t, newRA(t, newLedger(t), nil))
	old := authority(t, ra, "root").Certificate()
	same := computed(t, old, old, mustSigner(t, ra, "softkms:path=keys/root.pem"))
	if _, err := ra.ImportAuthority(t.Context(), "root-b", []*x509.Certificate{same}, ""); err != nil {
		t.Fatal(err)
	}
	r := ledger.Rotation{ID: "r", Kind: ledger.RotateRoot, Old: "root", New: "root-b", Emergency: true, State: string(rotation.Switched),
		Twins: []ledger.Twin{{Authority: "issuing", DER: authority(t, ra, "issuing").Certificate().Raw}}}
	lines, err := ra.Rotations().VerifyPaths(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), "ACCEPTED, which it must not be") || !strings.Contains(strings.Join(lines, "\n"), "shown with old path, to who trusts new: ACCEPTED") {
		t.Errorf("%q, %v", lines, err)
	}
}
