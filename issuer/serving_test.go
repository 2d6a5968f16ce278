package issuer_test

import (
	"crypto/x509/pkix"
	"fmt"
	"sync"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

var issuingSpec = rotation.Spec{Kind: ledger.RotateIssuing, Old: "issuing", New: "issuing-b", CommonName: "Test Issuing B"}

// TestIssuingRotation: what names the old CA is served by the new one, for whom the state
// says; what the old one has signed stays good, and renews.
func TestIssuingRotation(t *testing.T) {
	l := newLedger(t)
	now := &clock{time.Now()}
	made := newKeys(t)
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) { c.Now, c.Keys = now.Now, made }))
	second := newRA(t, l, func(c *issuer.Config) { c.Now, c.Keys, c.Server = now.Now, made, "second" })
	key := pkitest.NewKey(t)
	first := mustEnroll(t, ra, key, "device-1")

	spec := issuingSpec
	spec.Canary = ledger.Canary{Labels: []string{"pilot"}, Percent: 30}
	x := rotate(t, ra, spec)
	serves := func(label, device, want string) {
		t.Helper()
		for _, one := range []*issuer.RA{ra, second} {
			if err := one.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := one.Serving("issuing", label, device); got != want {
				t.Errorf("%s: %q at %q is served by %q, want %q", x.r.State, device, label, got, want)
			}
		}
	}
	for _, state := range []rotation.State{rotation.Planned, rotation.KeyGenerated, rotation.Certified, rotation.PathsVerified, rotation.Distributing} {
		if state != rotation.Planned {
			x.to(t, state)
		}
		serves("pilot", "device-1", "issuing")
		if r, ok := ra.RotationOf("issuing"); !ok || r.ID != x.r.ID || r.State != string(state) {
			t.Errorf("%s: the rotation of issuing is %+v", state, r)
		}
	}

	x.to(t, rotation.Canaried)
	serves("pilot", "device-1", "issuing-b")
	serves("pilot", "", "issuing-b")
	serves("", "", "issuing")
	chosen := 0
	for i := range 1000 {
		name := fmt.Sprintf("device-%d", i)
		served := ra.Serving("issuing", "line", name)
		if served != second.Serving("issuing", "line", name) || served != ra.Serving("issuing", "line", name) {
			t.Fatalf("%s is not served by the same CA each time", name)
		}
		if served == "issuing-b" {
			chosen++
		}
	}
	if chosen < 200 || chosen > 400 {
		t.Errorf("%d of 1000 devices are in a canary of 30 %%", chosen)
	}

	x.to(t, rotation.Switched)
	serves("", "", "issuing-b")
	if got := ra.Serving("issuing-b", "", ""); got != "issuing-b" {
		t.Errorf("the new one is served by %q", got)
	}
	// The repeat window would answer with the certificate of the old CA.
	again := mustEnroll(t, ra, key, "device-1")
	issuingB, err := ra.Authority("issuing-b")
	if err != nil {
		t.Fatal(err)
	}
	if again.Prior || again.Certificate.CheckSignatureFrom(issuingB.Certificate()) != nil || len(again.Chain) != 1 || !again.Chain[0].Equal(issuingB.Certificate()) {
		t.Errorf("a repeat after the switch is answered with a certificate by %q, chain of %d", again.Certificate.Issuer, len(again.Chain))
	}
	if repeat := mustEnroll(t, ra, key, "device-1"); !repeat.Prior || repeat.Serial != again.Serial {
		t.Error("a repeat under the new CA is not answered with the certificate of before")
	}
	record, err := l.Certificate(t.Context(), again.Serial)
	if err != nil || record.Issuer != "issuing-b" {
		t.Errorf("recorded under %q, %v", record.Issuer, err)
	}

	// A certificate of the old CA is of ours, and renews under the new one.
	held, err := ra.Holder(t.Context(), first.Certificate)
	if err != nil || held.Issuer != "issuing" {
		t.Fatalf("the holder of the old certificate: %+v, %v", held, err)
	}
	now.now = now.now.Add(30 * 24 * time.Hour)
	ra.Tick(t.Context())
	renewed, err := ra.Enroll(t.Context(), issuer.Request{
		Authorize: issuer.ByOrder, Profile: "device", Issuer: "issuing", Label: "line", Device: "device-1", Renews: first.Certificate,
		Requester: ledger.Requester{Kind: "certificate", Name: string(first.Serial)}, CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "device-1"}),
	})
	if err != nil || renewed.Certificate.CheckSignatureFrom(issuingB.Certificate()) != nil {
		t.Fatalf("renewed by %v, %v", renewed.Certificate, err)
	}

	// A proof for a cloud is one of the CA that it names.
	if pem, err := ra.Verification(t.Context(), "issuing", "code"); err != nil || parse(t, pem).Issuer.CommonName != "Test Issuing" {
		t.Errorf("the proof of the old CA: %v", err)
	}
	if err := ra.Usable("device", "issuing"); err != nil {
		t.Error(err)
	}
	// What has been replaced may be revoked; the label is served all the same.
	if err := x.does.Revoke(t.Context(), x.r, ledger.Superseded, "test"); err != nil {
		t.Fatal(err)
	}
	if err := x.does.Revoke(t.Context(), x.r, ledger.Superseded, "test"); err != nil {
		t.Errorf("revoked again: %v", err)
	}
	if !ra.Withdrawn("issuing") || ra.Usable("device", "issuing") != nil {
		t.Error("the old CA is revoked, and the label is not served by the new one")
	}
	mustEnroll(t, ra, pkitest.NewKey(t), "device-2")
}

// TestServingFollows: rotations one after the other are followed, those that were taken
// back are not.
func TestServingFollows(t *testing.T) {
	ra := withHierarchy(t, newRA(t, newLedger(t), nil))
	x := rotate(t, ra, issuingSpec)
	x.to(t, rotation.Retired)
	next := rotate(t, ra, rotation.Spec{Kind: ledger.RotateIssuing, Old: "issuing-b", New: "issuing-c"})
	if r, ok := ra.RotationOf("issuing"); !ok || r.ID != next.r.ID {
		t.Errorf("the rotation of issuing is %q", r.ID)
	}
	next.to(t, rotation.Canaried)
	next.back(t, false)
	if got := ra.Serving("issuing", "", ""); got != "issuing-b" {
		t.Errorf("after one was taken back, issuing is served by %q", got)
	}
	last := rotate(t, ra, rotation.Spec{Kind: ledger.RotateIssuing, Old: "issuing-b", New: "issuing-d"})
	last.to(t, rotation.Archived)
	for _, name := range []string{"issuing", "issuing-b", "issuing-d"} {
		if got := ra.Serving(name, "", ""); got != "issuing-d" {
			t.Errorf("%s is served by %q", name, got)
		}
	}
	for _, name := range []string{"issuing-c", "nobody"} {
		if got := ra.Serving(name, "", ""); got != name {
			t.Errorf("%s is served by %q", name, got)
		}
	}
	if path := ra.PathFor("issuing", "", ""); len(path) != 2 || path[1].Subject.CommonName != "Test Issuing B" {
		t.Errorf("the path shown to devices of issuing has %d certificates", len(path)) // issuing-d has the subject of issuing-b
	}
	if len(ra.KnownRotations()) != 3 {
		t.Errorf("%d rotations are known", len(ra.KnownRotations()))
	}
}

// TestCanaryIsDrawnAnew: not the same devices are the first in every rotation.
func TestCanaryIsDrawnAnew(t *testing.T) {
	both, one := 0, 0
	for i := range 1000 {
		device := fmt.Sprintf("device-%d", i)
		first, second := issuer.Lot("rotation-1", device) < 30, issuer.Lot("rotation-2", device) < 30
		if first && second {
			both++
		}
		if first {
			one++
		}
	}
	// Of 300, 90 are expected; all would be if the rotation did not count.
	if both < 45 || both > 150 || one < 240 || one > 360 {
		t.Errorf("%d of %d are chosen by both", both, one)
	}
}

// TestServingCosts: without a rotation, nothing is allocated for the question.
func TestServingCosts(t *testing.T) {
	ra := withHierarchy(t, newRA(t, newLedger(t), nil))
	if n := testing.AllocsPerRun(100, func() {
		ra.Serving("issuing", "line", "device-1")
		ra.PathFor("issuing", "line", "device-1")
		ra.RotationOf("issuing")
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if ra.PathFor("nobody", "", "") != nil || ra.PathUnder("issuing", "nobody") != nil {
		t.Error("there is a path of nobody")
	}
}

// TestServingWhileRefreshed is for the race detector.
func TestServingWhileRefreshed(t *testing.T) {
	ra := withHierarchy(t, newRA(t, newLedger(t), nil))
	x := rotate(t, ra, rotation.Spec{Kind: ledger.RotateRoot, Old: "root", New: "root-b"})
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if path := ra.PathFor(ra.Serving("issuing", "l", "d"), "l", "d"); len(path) != 2 {
					t.Errorf("a path of %d certificates", len(path))
					return
				}
				ra.RotationOf("issuing")
				ra.Bridges("issuing")
				ra.PathUnder("issuing", "root-b")
			}
		})
	}
	x.to(t, rotation.TrustRemoved)
	close(done)
	readers.Wait()
}
