package server

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mintmark/ca"
	"mintmark/dpsreg"
	"mintmark/dpsreg/dpssim"
	"mintmark/internal/config"
	"mintmark/internal/ledger"
	"mintmark/issuer"
	"mintmark/issuer/est"
)

// TestAzureLife: from an empty subscription to devices that are let in, held, released
// and renewed.
func TestAzureLife(t *testing.T) {
	p := newPlant(t, "")
	p.apply(t)
	if plan, err := p.azure.Plan(t.Context(), "plant"); err != nil || plan.Pending() != 0 {
		t.Fatalf("after apply: %+v, %v", plan, err)
	}
	status, err := p.azure.Status(t.Context(), "plant", true)
	if err != nil || len(status.CAs) != 1 || !status.CAs[0].Verified || len(status.Groups) != 1 || !status.Groups[0].There || strings.Join(status.Groups[0].Labels, "") != "line" {
		t.Errorf("status %+v, %v", status, err)
	}

	// A device of the group is let in by its chain; nothing is made for it.
	grouped := newDevice(t, "press-1")
	first := p.enroll(t, "line", grouped)
	if r := p.register(t, grouped, first); r.Status != "assigned" || r.State.AssignedHub != plantHub || r.State.DeviceID != "press-1" {
		t.Errorf("the device of the group: %+v", r)
	}
	if _, ok := p.pins(t, "press-1"); ok {
		t.Error("a device of the group has an enrollment of its own")
	}

	// A pinned one has an enrollment with its certificate.
	own := newDevice(t, "robot-1")
	old := p.enroll(t, "pinned", own)
	eventually(t, "the pinned device has its enrollment", func() bool {
		e, ok := p.pins(t, "robot-1")
		return ok && e.slots() == [2]string{thumbprint(old), ""} && e.Twin.Tags["device"] == "robot-1"
	})
	if r := p.register(t, own, old); r.Status != "assigned" {
		t.Errorf("the pinned device: %+v", r)
	}

	// A hold shuts out both, at DPS and at the hub, and a release lets them in again.
	for _, id := range []string{"press-1", "robot-1"} {
		p.change(t, id, ledger.Held)
		eventually(t, id+" is shut out", func() bool {
			e, ok := p.pins(t, id)
			return ok && e.Status == "disabled" && p.hubStatus(t, id) == "disabled"
		})
	}
	if r := p.register(t, grouped, first); r.HTTP != http.StatusUnauthorized || r.ErrorCode != 401002 {
		t.Errorf("a held device of the group: %+v", r)
	}
	if r := p.register(t, own, old); r.HTTP != http.StatusUnauthorized || r.ErrorCode != 401002 {
		t.Errorf("a held device with an enrollment: %+v", r)
	}
	p.change(t, "press-1", ledger.Expected)
	p.change(t, "robot-1", ledger.Expected)
	eventually(t, "both are let in again", func() bool {
		_, blocked := p.pins(t, "press-1")
		e, ok := p.pins(t, "robot-1")
		return !blocked && ok && e.Status == "enabled" && p.hubStatus(t, "press-1") == "enabled" && p.hubStatus(t, "robot-1") == "enabled"
	})
	if r := p.register(t, grouped, first); r.Status != "assigned" {
		t.Errorf("a released device of the group: %+v", r)
	}

	// A device whose last certificate is revoked is shut out as well.
	if _, err := p.ra.Revoke(t.Context(), ledger.Selector{Device: "press-1"}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revoked device is shut out", func() bool {
		e, ok := p.pins(t, "press-1")
		return ok && e.Status == "disabled"
	})
}

// change holds or releases a device as the administrative API does.
func (p *plant) change(t *testing.T, device string, to ledger.DeviceState) {
	t.Helper()
	outbox := clouds{p.Server}
	if _, err := p.ledger.HoldDevice(t.Context(), device, to, "test", "", p.ra.Now(), outbox.ForDevice(device)...); err != nil {
		t.Fatal(err)
	}
	outbox.Wake()
}

// TestAzureRenewal: the renewed certificate of a pinned device stays here while Azure
// cannot take it, and the same request gets it afterwards. A device of a group does not
// wait for Azure.
func TestAzureRenewal(t *testing.T) {
	p := newPlant(t, "")
	p.apply(t)
	grouped, own := newDevice(t, "press-1"), newDevice(t, "robot-1")
	inGroup, old := p.enroll(t, "line", grouped), p.enroll(t, "pinned", own)
	eventually(t, "the pinned device has its enrollment", func() bool { _, ok := p.pins(t, "robot-1"); return ok })
	if r := p.register(t, own, old); r.Status != "assigned" {
		t.Fatalf("the pinned device: %+v", r)
	}

	p.sim.Inject(dpssim.Fault{Operation: "enrollments.*", Status: 503})
	next := newDevice(t, "robot-1")
	_, err := p.renew(t, "pinned", next, old)
	var refused *est.StatusError
	if !errors.As(err, &refused) || refused.Code != http.StatusServiceUnavailable {
		t.Fatalf("a renewal that Azure does not take: %v", err)
	}
	if e, _ := p.pins(t, "robot-1"); e.slots() != [2]string{thumbprint(old), ""} {
		t.Errorf("slots %v", e.slots())
	}
	if _, err := p.renew(t, "line", newDevice(t, "press-1"), inGroup); err != nil {
		t.Errorf("the renewal of a device of the group: %v", err)
	}

	p.sim.ClearFaults()
	renewed, err := p.renew(t, "pinned", next, old)
	if err != nil {
		t.Fatalf("the same request, when Azure is there again: %v", err)
	}
	if e, _ := p.pins(t, "robot-1"); e.slots() != [2]string{thumbprint(old), thumbprint(renewed)} {
		t.Errorf("slots %v, want the old one and then %s", e.slots(), thumbprint(renewed))
	}
	page, err := p.ledger.Certificates(t.Context(), ledger.Query{Device: "robot-1", Limit: 10})
	if err != nil || len(page.Certificates) != 2 {
		t.Errorf("the ledger has %d certificates of the device, %v", len(page.Certificates), err)
	}
	if r := p.register(t, next, renewed); r.Status != "assigned" {
		t.Errorf("with the new certificate: %+v", r)
	}
	// It has registered: the new one takes the first place.
	drift, err := p.azure.Reconcile(t.Context(), "plant")
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := p.pins(t, "robot-1"); e.slots() != [2]string{thumbprint(renewed), thumbprint(old)} || fmt.Sprint(drift.Promoted) != "[robot-1]" {
		t.Errorf("slots %v after %+v", e.slots(), drift)
	}
}

// TestAzureDrift: what somebody changes at DPS is put right, told in the metrics and
// kept for commands after a restart.
func TestAzureDrift(t *testing.T) {
	p := newPlant(t, "")
	p.apply(t)
	own := newDevice(t, "robot-1")
	c := p.enroll(t, "pinned", own)
	eventually(t, "the pinned device has its enrollment", func() bool { _, ok := p.pins(t, "robot-1"); return ok })
	if _, ok, err := p.azure.Drift("plant"); ok || err != nil {
		t.Errorf("a comparison before the first: %v, %v", ok, err)
	}
	if text := scrapeOf(t, newAzureCollector(p.azure)); !strings.Contains(text, `azure_drift_devices kind="repaired",target="plant" 0`) || !strings.Contains(text, `azure_drift_timestamp_seconds target="plant" 0`) {
		t.Errorf("metrics before the first comparison:\n%s", text)
	}
	p.remove(t, "robot-1")
	if _, ok := p.pins(t, "robot-1"); ok {
		t.Fatal("the enrollment was not deleted")
	}
	drift, err := p.azure.Reconcile(t.Context(), "plant")
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := p.pins(t, "robot-1"); !ok || e.slots() != [2]string{thumbprint(c), ""} || len(drift.Repaired) != 1 || drift.Repaired[0].Device != "robot-1" || drift.Devices < 1 {
		t.Errorf("%+v, and the enrollment is %+v", drift, e)
	}
	kept, ok, err := newFound(p.dir, "azure", azureTally).last("plant")
	if err != nil || !ok || len(kept.Repaired) != 1 || kept.At.IsZero() {
		t.Errorf("kept %+v, %v, %v", kept, ok, err)
	}
	if text := scrapeOf(t, newAzureCollector(p.azure)); !strings.Contains(text, `azure_drift_devices kind="repaired",target="plant" 1`) || strings.Contains(text, `timestamp_seconds target="plant" 0`) {
		t.Errorf("metrics after the comparison:\n%s", text)
	}
	p.azure.by["plant"].comparing.Lock()
	if _, err := p.azure.Reconcile(t.Context(), "plant"); !errors.Is(err, ledger.ErrBusy) {
		t.Errorf("two comparisons at the same time: %v", err)
	}
	p.azure.by["plant"].comparing.Unlock()
	if _, err := p.azure.Reconcile(t.Context(), "no-such"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a target that is not there: %v", err)
	}
}

// scrapeOf writes the metrics of a collector, a line each.
func scrapeOf(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, family := range families {
		for _, m := range family.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+`="`+l.GetValue()+`"`)
			}
			b.WriteString(family.GetName() + " " + strings.Join(labels, ",") + " " + number(m.GetGauge().GetValue()) + "\n")
		}
	}
	return b.String()
}

// TestAzureComesLater: a device that was shut out before its group was there does not
// get in by it.
func TestAzureComesLater(t *testing.T) {
	p := newPlant(t, "")
	d := newDevice(t, "press-1")
	c := p.enroll(t, "line", d)
	if _, err := p.ra.Revoke(t.Context(), ledger.Selector{Device: "press-1"}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revoked device is shut out", func() bool {
		e, ok := p.pins(t, "press-1")
		return ok && e.Status == "disabled"
	})
	p.remove(t, "press-1")
	p.apply(t)
	eventually(t, "what was recorded before is told again", func() bool { _, ok := p.pins(t, "press-1"); return ok })
	if r := p.register(t, d, c); r.HTTP != http.StatusUnauthorized {
		t.Errorf("the revoked device: %+v", r)
	}
}

// TestAzureAway: a server starts and issues while Azure does not answer and while its
// credentials are not there, and tells it what it has missed.
func TestAzureAway(t *testing.T) {
	p := &plant{sim: startAzure(t)}
	dir := newState(t)
	secret := dir + "/azure-secret"
	p.configure(t, dir, p.sim.Addr(), "")
	editConfig(t, dir, p.sim.Config().StateDir+"/client-secret", secret)
	findings, err := CheckConfig(t.Context(), dir)
	if err != nil || !strings.Contains(strings.Join(findings, "\n"), "identity.secret_file: "+secret+" does not exist") {
		t.Errorf("config check: %v, %v", findings, err)
	}
	p.local = serveLocal(t, dir, nil)
	if _, err := p.azure.Plan(t.Context(), "plant"); err == nil || !strings.Contains(err.Error(), secret) {
		t.Errorf("a plan without credentials: %v", err)
	}
	d := newDevice(t, "robot-1")
	c := p.enroll(t, "pinned", d)
	kind := dpsreg.TaskKind(p.azure.list[0])
	backlog, err := p.ledger.Backlog(t.Context())
	if err != nil || backlog[kind] != 1 {
		t.Errorf("backlog %v, %v", backlog, err)
	}
	page, err := p.ledger.Certificates(t.Context(), ledger.Query{Device: "robot-1", Limit: 1})
	if err != nil || len(page.Certificates) != 1 {
		t.Fatalf("the ledger has %+v, %v", page, err)
	}
	if err := p.azure.handover(t.Context(), "plant", page.Certificates[0]); err == nil || strings.Count(err.Error(), `DPS target "plant": `) != 1 {
		t.Errorf("a handover does not name its target, or not once: %v", err)
	}
	if err := os.WriteFile(secret, []byte(p.sim.Config().ClientSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	p.apply(t) // which wakes what waits for it
	eventually(t, "the device has its enrollment", func() bool {
		e, ok := p.pins(t, "robot-1")
		return ok && e.slots() == [2]string{thumbprint(c), ""}
	})
	if drift, err := p.azure.Reconcile(t.Context(), "plant"); err != nil || len(drift.Left) != 0 {
		t.Errorf("%+v, %v", drift, err)
	}
}

// TestAzureBundle: the CA proves its key for a machine that has the network, and for
// CAs of the target only.
func TestAzureBundle(t *testing.T) {
	p := newPlant(t, "")
	bundle, err := p.azure.Bundle(t.Context(), "plant")
	if err != nil || len(bundle.Authorities) == 0 || bundle.Target.Service != "plant-dps" {
		t.Fatalf("%+v, %v", bundle, err)
	}
	root, err := p.ra.Authority("root")
	if err != nil {
		t.Fatal(err)
	}
	ask := dpsreg.ProofRequest{Version: 1, Target: "plant", Proofs: []dpsreg.Proof{{
		Name: "root-1", Authority: "root", SHA256: dpsreg.SHA256(root.Certificate()), Code: "0123456789ABCDEF0123456789ABCDEF",
	}}}
	for i, test := range []struct {
		change func(*dpsreg.ProofRequest)
		want   string
	}{
		{func(r *dpsreg.ProofRequest) { r.Proofs[0].Authority = "issuing" }, "is no CA of DPS target"},
		{func(r *dpsreg.ProofRequest) { r.Proofs[0].SHA256 = strings.Repeat("00", 32) }, "that CA's certificate is"},
	} {
		wrong := dpsreg.ProofRequest{Version: 1, Target: "plant", Proofs: []dpsreg.Proof{ask.Proofs[0]}}
		test.change(&wrong)
		if _, err := p.azure.Prove(t.Context(), "plant", wrong); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%d: %v", i, err)
		}
	}
	answer, err := p.azure.Prove(t.Context(), "plant", ask)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(answer.Proofs[0].Certificate))
	if block == nil {
		t.Fatalf("no proof: %+v", answer)
	}
	proof, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := proof.CheckSignatureFrom(root.Certificate()); err != nil || proof.Subject.CommonName != ask.Proofs[0].Code || proof.IsCA {
		t.Errorf("the proof is of %v, CA %v, signed by the CA: %v", proof.Subject, proof.IsCA, err)
	}
	if left := time.Until(proof.NotAfter); left < 47*time.Hour || left > 49*time.Hour { // it is carried by hand
		t.Errorf("the proof is good for %v", left)
	}
}

// TestAzureStrangers: nothing is applied while a group stands on, or above, a CA whose
// certificates are not those of devices, and the server starts.
func TestAzureStrangers(t *testing.T) {
	zero := 0
	for _, test := range []struct{ name, anchor, configure, want string }{
		{"claims", "root", "orders: {issuer: apart, profile: claim}\nlabels:\n", "claim certificates"},
		{"officers", "root", "access: {issuer: apart, profile: officer}\nlabels:\n", "officers"},
		{"devices only", "issuing", "orders: {issuer: apart, profile: claim}\nlabels:\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &plant{sim: startAzure(t)}
			dir := newState(t)
			p.configure(t, dir, p.sim.Addr(), "")
			editConfig(t, dir, "anchors: [root]", "anchors: ["+test.anchor+"]")
			editConfig(t, dir, "labels:\n", test.configure)
			editConfig(t, dir, "profiles:\n", "profiles:\n  claim: {preset: claim}\n  officer: {preset: officer}\n")
			p.local = serveLocal(t, dir, nil)
			if _, err := p.ra.CreateAuthority(t.Context(), issuer.AuthoritySpec{
				Spec: ca.Spec{Name: "apart", Subject: pkix.Name{CommonName: "apart"}, Validity: 5 * 365 * 24 * time.Hour, PathLen: &zero}, Key: ca.P256, Issuer: "root",
			}, ledger.Requester{Kind: "admin", Name: "test"}); err != nil {
				t.Fatal(err)
			}
			_, err := p.azure.Plan(t.Context(), "plant")
			if test.want == "" {
				if err != nil {
					t.Errorf("beside the group: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), `group "line-a"`) || !strings.Contains(err.Error(), `"apart"`) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("below the group's anchor: %v", err)
			}
		})
	}
}

func TestStrangers(t *testing.T) {
	c := &config.Config{Labels: []config.Label{{Name: "line", Issuer: "issuing"}, {Name: "edge", Issuer: "gateways", Gateway: "edge-ca"}}}
	c.Orders.Issuer, c.Access.Issuer = "claims", "officers"
	got := (&azureTargets{s: &Server{config: c, ra: new(issuer.RA)}}).strangers()
	if len(got) != 3 || !strings.Contains(got["gateways"], "gateways") || !strings.Contains(got["claims"], "claim") || !strings.Contains(got["officers"], "officers") {
		t.Errorf("strangers %q", got)
	}
	if got := (&azureTargets{s: &Server{config: new(config.Config), ra: new(issuer.RA)}}).strangers(); len(got) != 0 {
		t.Errorf("strangers of nothing %q", got)
	}
}

// TestAzureNeeds: a target that names an authority which is not there stops a server
// before it listens, and config check finds it.
func TestAzureNeeds(t *testing.T) {
	p := &plant{sim: startAzure(t)}
	dir := newState(t)
	p.configure(t, dir, "127.0.0.1:1", "")
	editConfig(t, dir, "          anchors: [root]", "          anchors: [next]")
	s := openLocal(t, dir, nil)
	defer s.Close()
	if err := s.azure.check(); err == nil || !strings.Contains(err.Error(), "azure.targets[0].groups[0].anchors[0]") {
		t.Errorf("the start: %v", err)
	}
	if _, err := CheckAuthorities(dir, s.certificates(), time.Now()); err == nil || !strings.Contains(err.Error(), `azure.targets[0].groups[0].anchors[0]: there is no authority "next"`) {
		t.Errorf("config check: %v", err)
	}
}
