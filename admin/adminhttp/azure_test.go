package adminhttp_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/dpsreg"
	"mintmark/internal/reconcile"
)

func TestAzureBulk(t *testing.T) {
	w := open(t, func(config *adminhttp.Config) { config.Azure = &azure{} })
	list, err := w.client.AzureBulk(t.Context(), "plant", admin.AzureBulk{Profile: "device", Order: "WO-1", Devices: []string{"pump-1", "pump-2"}})
	if err != nil || len(list) != 2 || string(list[1]) != `{"registrationId":"pump-2","tag":"WO-1"}` {
		t.Errorf("%s, %v", list, err)
	}
	if list, err = w.client.AzureBulk(t.Context(), "plant", admin.AzureBulk{Profile: "device"}); err != nil || len(list) != 0 {
		t.Errorf("of nobody: %s, %v", list, err)
	}
	_, err = w.client.AzureBulk(t.Context(), "plant", admin.AzureBulk{Profile: "server"})
	refused(t, err, http.StatusConflict, "azure-bulk")
	_, err = w.client.AzureBulk(t.Context(), "nowhere", admin.AzureBulk{Profile: "device"})
	refused(t, err, http.StatusNotFound, "azure-target")
	_, err = w.client.AzureBulk(t.Context(), "plant", admin.AzureBulk{Profile: "device", Devices: make([]string, admin.MaxBatchItems+1)})
	refused(t, err, http.StatusBadRequest, "azure-bulk")
}

func TestAzure(t *testing.T) {
	c := &azure{fail: errors.New("Azure throttles")}
	w := open(t, func(config *adminhttp.Config) { config.Azure = c })
	dialled, err := admin.Dial(w.listen(t))
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()

	places, err := dialled.AzurePlaces(t.Context())
	if err != nil || len(places) != 2 || places[0].IDScope != "0ne00AB12CD" || places[0].Labels[0] != "line" {
		t.Errorf("places %+v, %v", places, err)
	}
	plan, err := w.client.AzurePlan(t.Context(), "plant")
	if err != nil {
		t.Fatal(err)
	}
	if plan.Pending != 2 || len(plan.Hash) != 64 || plan.Changes[1].Before != "a" {
		t.Errorf("plan %+v", plan)
	}
	_, err = w.client.AzureApply(t.Context(), "plant", admin.Apply{Hash: plan.Hash[1:] + "0"}, nil)
	refused(t, err, http.StatusConflict, "plan-changed")
	if c.done != 0 {
		t.Fatal("a plan that nobody read was carried out")
	}

	// It fails in the middle: what was done is told, then why it ended; the next run
	// does the rest.
	var told []admin.Change
	note := func(c admin.Change) { told = append(told, c) }
	_, err = w.client.AzureApply(t.Context(), "plant", admin.Apply{Hash: plan.Hash}, note)
	refused(t, err, http.StatusBadGateway, "azure")
	if len(told) != 1 || told[0].Subject != "root" {
		t.Errorf("told %v", told)
	}
	c.fail = nil
	done, err := dialled.AzureApply(t.Context(), "plant", admin.Apply{}, note)
	if err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || done.Pending != 1 || done.Changes[0].Kind != "group" {
		t.Errorf("told %v, done %+v", told, done)
	}

	planned := func(c *azure) int { return c.planned }
	before := c.count(planned)
	status, err := w.client.AzureStatus(t.Context(), "plant", false)
	if err != nil || status.CAs[0].Live != nil || status.CAs[0].Superseded != nil || status.Groups[0].Superseded != nil || status.Groups[0].Assigned != nil || status.Groups[0].Live != nil || !status.CAs[0].Verified || status.CertificateSlots != 2 {
		t.Errorf("status %+v, %v", status, err)
	}
	status, err = w.client.AzureStatus(t.Context(), "plant", true)
	if err != nil || *status.CAs[0].Live != 0 || *status.CAs[0].Superseded != 0 || status.Groups[0].Superseded["root"] != 3 || *status.Groups[0].Assigned != 7 || status.Groups[0].Live["root"] != 3 {
		t.Errorf("status with counts %+v, %v", status, err)
	}
	// Its plan is from the same moment as the rest.
	if c.count(planned) != before || status.Plan.Hash == "" || status.Plan.Target != "plant" {
		t.Errorf("%d plans were made, and the status has %+v", c.count(planned)-before, status.Plan)
	}
	if retiring, err := w.client.AzureStatus(t.Context(), "plant-r", false); err != nil || retiring.Plan.Pending != 1 || !retiring.Plan.Destructive {
		t.Errorf("status %+v, %v", retiring, err)
	}
	if status.Unknown == nil || status.Groups[0].Orders == nil {
		t.Errorf("a list of nothing is null: %+v", status)
	}
	_, err = w.client.AzurePlan(t.Context(), "no-such")
	refused(t, err, http.StatusNotFound, "azure-target")
}

// TestAzureRetires: a plan that takes something out of service is agreed to by two
// persons, by its hash.
func TestAzureRetires(t *testing.T) {
	p := populate(t)
	answer := p.ask(t, "olga", "POST", wire{path: "/v1/azure/targets/plant-r/apply", body: admin.Apply{}})
	var a admin.Approval
	decodeInto(t, answer.Body.Bytes(), &a)
	plan, err := p.azure.Plan(t.Context(), "plant-r")
	if err != nil {
		t.Fatal(err)
	}
	sum := plan.Hash()
	if answer.Code != http.StatusAccepted || a.Operation != "cloud.retire" || !strings.Contains(a.Words, `at DPS target "plant-r": delete group "line-old"`) || !strings.Contains(a.Words, hex.EncodeToString(sum[:])) {
		t.Fatalf("answered %d %s", answer.Code, answer.Body)
	}
	if p.azure.retired != 0 {
		t.Fatal("it was done all the same")
	}
	decodeInto(t, p.ask(t, "adam", "GET", wire{path: "/v1/approvals/" + a.ID}).Body.Bytes(), &a)
	if status := p.sign(t, p.signers["bob"], "bob", a, a.Statement); status != http.StatusOK {
		t.Fatalf("signing was answered %d", status)
	}
	if answer := p.ask(t, "olga", "POST", wire{path: "/v1/approvals/" + a.ID + "/run", body: none}); answer.Code != http.StatusOK {
		t.Fatalf("carrying it out: %d %s", answer.Code, answer.Body)
	}
	if p.azure.retired != 1 || p.azure.agreed != (reconcile.Agreed{Hash: sum, Destructive: true}) {
		t.Errorf("done %d times, agreed to %+v", p.azure.retired, p.azure.agreed)
	}
}

func TestAzureDrift(t *testing.T) {
	c := new(azure)
	w := open(t, func(config *adminhttp.Config) { config.Azure = c })
	drift, err := w.client.AzureDrift(t.Context(), "plant")
	if err != nil || drift.At != nil || drift.Target != "plant" || drift.Left == nil || drift.Unknown == nil {
		t.Errorf("before the first: %+v, %v", drift, err)
	}
	drift, err = w.client.AzureReconcile(t.Context(), "plant")
	if err != nil || drift.At == nil || drift.Left[0].Device != "press-1" || drift.UnknownCount != 1 || drift.Devices != 3 {
		t.Errorf("compared: %+v, %v", drift, err)
	}
	if again, err := w.client.AzureDrift(t.Context(), "plant"); err != nil || again.Left[0] != drift.Left[0] {
		t.Errorf("afterwards: %+v, %v", again, err)
	}
	status, err := w.client.Status(t.Context())
	if err != nil || len(status.AzureTargets) != 2 || len(status.AzureDrift) == 0 || !strings.Contains(status.AzureDrift[0], `DPS target "plant" and the ledger differ about 1 devices`) {
		t.Errorf("status %+v, %v", status, err)
	}
	_, err = w.client.AzureReconcile(t.Context(), "plant-r")
	refused(t, err, http.StatusConflict, "comparing")
}

func TestAzureBundle(t *testing.T) {
	c := new(azure)
	w := open(t, func(config *adminhttp.Config) { config.Azure = c })
	bundle, err := w.client.AzureBundle(t.Context(), "plant")
	if err != nil {
		t.Fatal(err)
	}
	var got dpsreg.Bundle
	if err := json.Unmarshal(bundle, &got); err != nil || got.Version != 1 || got.Authorities[0].Name != "root" {
		t.Errorf("bundle %s, %v", bundle, err)
	}
	_, err = w.client.AzureBundle(t.Context(), "plant-r")
	refused(t, err, http.StatusConflict, "azure-bundle")

	ask := proofRequest("plant", "0123ABCD")
	answer, err := w.client.AzureProve(t.Context(), "plant", ask)
	if err != nil || answer.Proofs[0].Certificate != "proof of 0123ABCD" || answer.Proofs[0].Authority != "root" {
		t.Errorf("proofs %+v, %v", answer, err)
	}
	_, err = w.client.AzureProve(t.Context(), "plant-r", ask)
	refused(t, err, http.StatusBadRequest, "azure-proof")
	_, err = w.client.AzureProve(t.Context(), "plant", proofRequest("plant", "a/b"))
	refused(t, err, http.StatusBadRequest, "azure-proof")
	if n := len(c.proved); n != 1 {
		t.Errorf("%d proofs were made", n)
	}
}

func proofRequest(target, code string) admin.AzureProofs {
	return admin.AzureProofs{Version: 1, Target: target, Proofs: []admin.AzureProof{{Name: "root-01", Authority: "root", SHA256: strings.Repeat("0a", 32), Code: code}}}
}

func TestNoAzure(t *testing.T) {
	w := open(t, nil)
	if places, err := w.client.AzurePlaces(t.Context()); err != nil || places == nil || len(places) != 0 {
		t.Errorf("places %v, %v", places, err)
	}
	_, err := w.client.AzurePlan(t.Context(), "plant")
	refused(t, err, http.StatusNotFound, "azure-target")
}
