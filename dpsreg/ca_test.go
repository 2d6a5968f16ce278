package dpsreg_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	arms "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/deviceprovisioningservices/armdeviceprovisioningservices"

	"mintmark/dpsreg"
	"mintmark/internal/pkitest"
	"mintmark/internal/reconcile"
)

func pemBytes(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// arm is an operator's own client of the resource manager.
func (w *world) arm() *arms.DpsCertificateClient {
	w.t.Helper()
	cfg := w.sim.Config()
	options := azcore.ClientOptions{Transport: w.http()}
	credential, err := azidentity.NewClientSecretCredential(cfg.TenantID, cfg.ClientID, cfg.ClientSecret, &azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	w.ok(err)
	client, err := arms.NewDpsCertificateClient(cfg.SubscriptionID, credential, &arm.ClientOptions{ClientOptions: options, DisableRPRegistration: true})
	w.ok(err)
	return client
}

// nameAtDPS is the default name of a CA's certificate.
func (w *world) nameAtDPS(authority string) string {
	w.t.Helper()
	return authority + "-" + dpsreg.SHA256(w.authority(authority).Certificate)[:8]
}

// upload uploads a CA as another does.
func (w *world) upload(name string, c *x509.Certificate, verified bool) {
	w.t.Helper()
	cfg := w.sim.Config()
	_, err := w.arm().CreateOrUpdate(w.t.Context(), cfg.ResourceGroup, cfg.Service, name, arms.CertificateResponse{
		Properties: &arms.CertificateProperties{Certificate: c.Raw, IsVerified: &verified},
	}, nil)
	w.ok(err)
}

// registrarWith is a fresh process with another configuration.
func (w *world) registrarWith(change func(*dpsreg.Config)) *dpsreg.Registrar {
	w.t.Helper()
	w.configure = append(w.configure, change)
	defer func() { w.configure = w.configure[:len(w.configure)-1] }()
	return w.registrar()
}

// A CA is uploaded, unverified, and then verified by proof of possession.
func TestCA(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.target()
	target.CAs = []dpsreg.CA{{Authority: "root"}}
	w.applied(target)
	want := []string{"certificates.createOrUpdate", "certificates.generateVerificationCode", "certificates.verify"}
	if calls := changing(w.sim.Calls()); !slices.Equal(calls, want) {
		t.Errorf("calls %v", calls)
	}
	c, err := w.arm().Get(t.Context(), w.nameAtDPS("root"), target.ResourceGroup, target.Service, nil)
	w.ok(err)
	if !*c.Properties.IsVerified {
		t.Error("not verified")
	}
}

// Never sent as verified, but where the configuration says so.
func TestSelfAttested(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.target()
	target.CAs = []dpsreg.CA{{Authority: "root", SelfAttested: true}}
	plan := w.applied(target)
	if !strings.Contains(rendered(plan), "without a proof (self_attested)") || w.verifications != 0 {
		t.Errorf("%d proofs, plan:\n%s", w.verifications, rendered(plan))
	}
	if calls := changing(w.sim.Calls()); !slices.Equal(calls, []string{"certificates.createOrUpdate"}) {
		t.Errorf("calls %v", calls)
	}
	w.upload("line", w.authority("line").Certificate, false) // there, and not verified
	target.CAs = append(target.CAs, dpsreg.CA{Authority: "line", SelfAttested: true})
	w.applied(target)
}

// What is there already: our certificate under another name is used, another one under
// our name is never replaced.
func TestCAThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.upload("someone-elses-name", w.authority("root").Certificate, true)
	w.upload("half-done", w.authority("lone").Certificate, false)
	w.upload("taken", w.authority("root2").Certificate, true)
	target := w.target()
	target.CAs = []dpsreg.CA{{Authority: "root"}, {Authority: "lone"}}
	target.Groups = []dpsreg.Group{{ID: "all", Anchors: []string{"root"}, Reference: true}}
	plan := w.applied(target)
	if got := todo(plan); !slices.Equal(got, []string{"update ca lone", "create group all"}) {
		t.Errorf("planned %q", got)
	}
	if !strings.Contains(plan.Changes[0].After, `under the name "someone-elses-name"`) || !strings.Contains(plan.Changes[1].After, `"half-done"`) {
		t.Errorf("the plan does not tell the names: %+v", plan.Changes)
	}
	g, err := w.dps().Group(t.Context(), "all")
	w.ok(err)
	if g.Attestation.X509.References.Primary != "someone-elses-name" {
		t.Errorf("the group refers to %+v", g.Attestation.X509.References)
	}
	status, err := w.registrar().Status(t.Context(), target, false)
	w.ok(err)
	if status.CAs[0].Name != "someone-elses-name" || !status.CAs[0].Verified || status.CertificateSlots != 3 ||
		!slices.Equal(status.Unknown, []string{`certificate taken (our CA "root2", which the target does not name)`}) {
		t.Errorf("status %+v", status)
	}
	target.CAs[1].Name = "taken"
	w.ok(deleteCertificate(w, "half-done"))
	w.refuses(target, "there is another certificate under this name", dpsreg.SHA256(w.authority("root2").Certificate), "new name")
}

func deleteCertificate(w *world, name string) error {
	cfg := w.sim.Config()
	c, err := w.arm().Get(w.t.Context(), name, cfg.ResourceGroup, cfg.Service, nil)
	if err == nil {
		_, err = w.arm().Delete(w.t.Context(), cfg.ResourceGroup, *c.Etag, cfg.Service, name, nil)
	}
	return err
}

// The proof is checked before it is sent: DPS would only say that it does not like it.
func TestProofIsChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.target()
	target.CAs = []dpsreg.CA{{Authority: "root"}}
	make := func(by, code string, from, to time.Duration) []byte {
		a := w.authority(by)
		return pemBytes(sign(t, &x509.Certificate{
			Subject: pkix.Name{CommonName: code}, NotBefore: w.now().Add(from), NotAfter: w.now().Add(to),
		}, a.Certificate, pkitest.NewKey(t).Public(), a.key))
	}
	for words, proof := range map[string]func(code string) []byte{
		"not signed by the key":  func(code string) []byte { return make("lone", code, -time.Hour, time.Hour) },
		"common name":            func(code string) []byte { return make("root", code+"0", -time.Hour, time.Hour) },
		"expired at":             func(code string) []byte { return make("root", code, -2*time.Hour, -time.Hour) },
		"valid from":             func(code string) []byte { return make("root", code, time.Hour, 2*time.Hour) },
		"not one certificate":    func(string) []byte { return []byte("nothing") },
		"not one certificate in": func(code string) []byte { p := make("root", code, -time.Hour, time.Hour); return append(p, p...) },
		"parsing the proof":      func(string) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}) },
	} {
		r := w.registrarWith(func(c *dpsreg.Config) {
			c.Verification = func(_ context.Context, _, code string) ([]byte, error) { return proof(code), nil }
		})
		if _, err := r.Apply(t.Context(), target, reconcile.Agreed{}, nil); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q, got %v", words, err)
		}
	}
	if slices.Contains(w.sim.Calls(), "certificates.verify") {
		t.Error("a proof that is none was sent")
	}
	w.apply(target)
}

// A code that is none is never signed.
func TestCodeIsChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, code := range []string{"", "pump 1", "a.b", "../x", strings.Repeat("a", 65), "a\n"} {
		_, err := w.registrar().Prove(t.Context(), dpsreg.ProofRequest{Version: 1, Target: "factory", Proofs: []dpsreg.Proof{
			{Name: "root", Authority: "root", SHA256: dpsreg.SHA256(w.authority("root").Certificate), Code: code},
		}})
		if err == nil || !strings.Contains(err.Error(), "1 to 64 letters and digits") {
			t.Errorf("%q: %v", code, err)
		}
	}
	if w.verifications != 0 {
		t.Error("it was signed")
	}
}

// An expired CA is not uploaded; what DPS has of one is reported.
func TestExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newRoot("short", func(c *x509.Certificate) { c.NotAfter = w.now().AddDate(0, 6, 0) })
	target := w.target()
	target.CAs = []dpsreg.CA{{Authority: "short"}}
	w.issue("short", "late-1")
	if plan := w.plan(target); !strings.Contains(rendered(plan), "before certificates of devices below it do") {
		t.Errorf("no warning:\n%s", rendered(plan))
	}
	w.apply(target)
	status, err := w.registrar().Status(t.Context(), target, false)
	w.ok(err)
	if len(status.Warnings) != 1 || !strings.Contains(status.Warnings[0], "before certificates") {
		t.Errorf("warnings %q", status.Warnings)
	}
	w.advance(200 * 24 * time.Hour)
	status, err = w.registrar().Status(t.Context(), target, false)
	w.ok(err)
	if len(status.Warnings) != 1 || !strings.Contains(status.Warnings[0], "expired on") {
		t.Errorf("warnings %q", status.Warnings)
	}
	target.CAs[0].Name = "again"
	w.ok(deleteCertificate(w, w.nameAtDPS("short")))
	w.refuses(target, "it expired on")
}

// The limits of a DPS instance are met before anything is changed.
func TestBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.target()
	for i := range 23 {
		w.upload(fmt.Sprint("theirs-", i), w.newRoot(fmt.Sprint("r", i)).Certificate, true)
	}
	target.CAs = []dpsreg.CA{{Authority: "root"}}
	if plan := w.plan(target); !strings.Contains(rendered(plan), "takes place 24 of 25") {
		t.Errorf("no warning:\n%s", rendered(plan))
	}
	target.CAs = append(target.CAs, dpsreg.CA{Authority: "root2"}, dpsreg.CA{Authority: "lone"})
	w.refuses(target, "takes 25 certificates, and this would be number 26", "state: deleted")
	target.CAs = target.CAs[:2]
	w.apply(target)
	status, err := w.registrar().Status(t.Context(), target, false)
	w.ok(err)
	if status.CertificateSlots != 25 || len(status.Warnings) != 1 || !strings.Contains(status.Warnings[0], "25 of 25") {
		t.Errorf("%d places, warnings %q", status.CertificateSlots, status.Warnings)
	}

	for i := range 99 {
		w.foreignGroup(fmt.Sprint("theirs-", i), w.newRoot(fmt.Sprint("g", i)))
	}
	target.Groups = []dpsreg.Group{{ID: "one", Anchors: []string{"line"}}, {ID: "two", Anchors: []string{"auto"}}}
	w.refuses(target, "takes 100 X.509 groups, and this would be number 101")
	target.Groups = target.Groups[:1]
	w.apply(target)
}
