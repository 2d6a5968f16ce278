package awsreg_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot"

	"mintmark/awsreg"
	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// A fleet that has left the configuration, or has another name there: its orders
// are shut at AWS, whatever they are here, and stay under the kill switch.
func TestFleetGone(t *testing.T) {
	for name, change := range map[string]func(*awsreg.Target){
		"one of two": func(t *awsreg.Target) { t.Fleets = slices.Clone(t.Fleets)[1:] },
		"the last":   func(t *awsreg.Target) { t.Fleets = nil },
		"renamed": func(t *awsreg.Target) {
			t.Fleets = slices.Clone(t.Fleets)
			t.Fleets[0].Template = "pumps-2"
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, target := fleetWorld(t)
			target.Fleets = slices.Clone(target.Fleets)
			target.Fleets[0].ClaimPolicy = "of-my-own"
			w.apply(target)
			open, killed := w.order("wo-open"), w.order("wo-killed")
			claim, killedClaim, single := w.issueClaim(open.ID), w.issueClaim(killed.ID), w.issueClaim(open.ID)
			w.tellOrder(target, open.ID)
			w.tellOrder(target, killed.ID)
			w.tell(target, claim, killedClaim, single)
			theirs, err := w.registrar(first).ClaimFromAWS(t.Context(), target, killed, request(t, "station"))
			w.ok(err)

			without := target
			change(&without)
			w.changeOrder(killed.ID, ledger.OrderKilled)
			w.tellOrder(without, killed.ID)
			w.ok(w.revoke(t.Context(), []ledger.Serial{single.Serial}))
			w.tell(without, single)
			state := func(order string) string { return textOf(w.item(manifestTable, hook.OrderKey(order)), "state") }
			if got := state(killed.ID); got != "killed" {
				t.Errorf("the killed order is %s at AWS", got)
			}
			w.want("of the killed order", revoked, killedClaim)
			if got := w.statusOf(theirs.CertificateID); got != inactive {
				t.Errorf("AWS's claim of the killed order is %s", got)
			}
			w.want("revoked by itself", revoked, single)
			if w.item(manifestTable, "revoked#"+idOf(single)) == nil {
				t.Error("no mark of the revocation")
			}

			w.tellAll(without)
			if got := state(open.ID); got != "closed" {
				t.Errorf("an order without a fleet is %s at AWS", got)
			}
			w.want("of an order without a fleet", inactive, claim)
			w.tell(without, claim)
			w.want("told again", inactive, claim)
			if drift := w.reconcile(without, false); len(drift.Repaired) != 0 {
				t.Errorf("drift %+v", drift)
			}
			w.setStatus(idOf(claim), active)
			if drift := w.reconcile(without, false); len(drift.Repaired) != 1 {
				t.Errorf("a claim of no fleet that was put back: %+v", drift)
			}
			w.want("put back", inactive, claim)

			// Once the fleet is back, so is what was taken out of service for its absence.
			w.tellAll(target)
			w.want("with its fleet again", active, claim)
			if got := state(open.ID); got != "open" {
				t.Errorf("with its fleet again the order is %s", got)
			}
		})
	}
}

// A target without any function has no table any more: its claims are shut all the
// same.
func TestLastFunctionGone(t *testing.T) {
	w, target := fleetWorld(t)
	w.order("wo-1")
	w.order("wo-2")
	claim, single := w.issueClaim("wo-1"), w.issueClaim("wo-2")
	w.tell(target, claim, single)
	target.Fleets, target.Rotation, target.JITR, target.CAs = nil, nil, nil, target.CAs[2:3]
	calls := len(w.sim.Calls())
	w.changeOrder("wo-1", ledger.OrderKilled)
	w.tellOrder(target, "wo-1")
	w.want("killed", revoked, claim)
	w.ok(w.revoke(t.Context(), []ledger.Serial{single.Serial}))
	w.tell(target, single)
	w.want("revoked", revoked, single)
	w.tellAll(target)
	for _, call := range w.since(calls) {
		if strings.HasPrefix(call, "dynamodb:") {
			t.Errorf("%s without a table", call)
		}
	}
}

// What somebody did with a claim at AWS is not undone; what was cut off is ended.
func TestClaimTakenOutAtAWS(t *testing.T) {
	w, target := fleetWorld(t)
	w.order("wo-1")
	w.tellOrder(target, "wo-1")
	claim, cut := w.issueClaim("wo-1"), w.issueClaim("wo-1")
	w.tell(target, claim)
	w.setStatus(idOf(claim), inactive)
	w.tellAll(target)
	w.want("told again", inactive, claim)
	drift := w.reconcile(target, false)
	w.want("reconciled", inactive, claim)
	if len(drift.Left) != 1 || drift.Left[0].CertificateID != idOf(claim) || !strings.Contains(drift.Left[0].Text, "somebody took") {
		t.Errorf("left %+v", drift.Left)
	}
	if len(drift.Repaired) != 0 {
		t.Errorf("repaired %+v", drift.Repaired)
	}
	w.want("cut off", active, cut)

	// Deleted there, it is registered anew.
	w.setStatus(idOf(cut), inactive)
	id := idOf(cut)
	if _, err := w.iot(first).DeleteCertificate(t.Context(), &iot.DeleteCertificateInput{CertificateId: &id, ForceDelete: true}); err != nil {
		t.Fatal(err)
	}
	w.tell(target, cut)
	w.want("registered anew", active, cut)
}

// An older ledger, restored from a backup, does not open what a newer one has
// killed, and does not release what that held.
func TestRestoredLedger(t *testing.T) {
	w, target := fleetWorld(t)
	order := w.order("wo-1")
	claim := w.issueClaim("wo-1")
	w.tellOrder(target, "wo-1")
	w.tell(target, claim)
	theirs, err := w.registrar(first).ClaimFromAWS(t.Context(), target, order, request(t, "s"))
	w.ok(err)
	w.put(manifestTable, hook.Order{ID: "wo-1", State: "killed", Template: "pumps", Quantity: 10, NotBefore: order.NotBefore, NotAfter: order.NotAfter}.Item())
	late := w.issueClaim("wo-1")
	device := w.issue("press", "SN-1")
	w.tell(target, device)
	w.put(manifestTable, hook.HeldItem("SN-1", "SN-1"))
	w.setStatus(idOf(device), inactive)

	w.tellAll(target)
	if got := textOf(w.item(manifestTable, "order#wo-1"), "state"); got != "killed" {
		t.Errorf("the order is %s again", got)
	}
	if got := w.statusOf(theirs.CertificateID); got != inactive {
		t.Errorf("AWS's claim is %s", got)
	}
	w.want("of a killed order", revoked, claim)
	if got := w.statusOf(idOf(late)); got == active {
		t.Errorf("a later claim is %s", got)
	}
	drift := w.reconcile(target, false)
	w.want("held by a newer ledger", inactive, device)
	if w.item(manifestTable, "held#SN-1") == nil {
		t.Error("the mark of the hold is gone")
	}
	texts := make([]string, len(drift.Left))
	for i, d := range drift.Left {
		texts[i] = d.Text
	}
	if all := strings.Join(texts, "\n"); !strings.Contains(all, `work order "wo-1" is killed at AWS`) || !strings.Contains(all, "held at AWS") {
		t.Errorf("left:\n%s", all)
	}

	// Whoever wants it so says so.
	w.holdDevice("SN-1", ledger.Held)
	w.holdDevice("SN-1", ledger.Expected)
	w.tellDevice(target, "SN-1")
	w.want("held and released", active, device)
}
