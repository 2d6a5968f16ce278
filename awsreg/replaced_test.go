package awsreg_test

import (
	"fmt"
	"testing"
	"time"

	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// A next certificate that another has replaced goes out of service with the
// current one, once the newest has connected.
func TestNextReplaced(t *testing.T) {
	w, target := fleetWorld(t)
	at := time.Now().Add(-10 * time.Hour)
	var issued []ledger.Certificate
	for i := range hook.MaxReplaced + 4 {
		c := w.issueLater("press", "dev-1", at.Add(time.Duration(i)*time.Minute))
		w.tell(target, c)
		issued = append(issued, c)
	}
	item, err := hook.DecodeRotating(w.item(rotationTable, "dev-1"))
	w.ok(err)
	newest := issued[len(issued)-1]
	if item.Current != idOf(issued[0]) || item.Next != idOf(newest) || len(item.Replaced) != hook.MaxReplaced || item.Replaced[hook.MaxReplaced-1] != idOf(issued[len(issued)-2]) {
		t.Fatalf("item %+v", item)
	}
	// The item has room for so many; what fell out is out of service.
	w.want("fell out", inactive, issued[1:3]...)
	w.want("kept in mind", active, issued[3:]...)

	p := &hook.Presence{IoT: w.iot(first), Dynamo: w.dynamo(), Table: manifestTable, Rotation: rotationTable}
	w.ok(p.Handle(t.Context(), hook.PresenceEvent{ClientID: "dev-1", EventType: "connected", PrincipalIdentifier: idOf(newest)}))
	w.want("replaced", inactive, issued[:len(issued)-1]...)
	w.want("in use", active, newest)
}

// What an item has lost nevertheless is found at night.
func TestReconcileReplaced(t *testing.T) {
	w, target := fleetWorld(t)
	at := time.Now().Add(-10 * time.Hour)
	old, current, next := w.issueLater("press", "dev-1", at), w.issueLater("press", "dev-1", at.Add(time.Minute)), w.issueLater("press", "dev-1", at.Add(time.Hour))
	w.tell(target, old, current)
	waits := w.issueLater("press", "dev-1", at.Add(-time.Minute))
	w.tell(target, waits)
	w.put(rotationTable, hook.Rotating{
		Thing: "dev-1", Device: "dev-1", Current: idOf(current), IssuedAt: current.NotBefore, Replaced: []string{idOf(waits)},
	}.Item())
	var many []ledger.Certificate // on further pages of the table
	for i := range 120 {
		many = append(many, w.issue("press", fmt.Sprintf("many-%d", i)))
	}
	w.tell(target, many...)
	w.tell(target, next)
	drift := w.reconcile(target, false)
	if len(drift.Repaired) != 1 || drift.Repaired[0].CertificateID != idOf(old) || len(drift.Left) != 0 {
		t.Errorf("repaired %+v, left %+v", drift.Repaired, drift.Left)
	}
	w.want("older than the current one", inactive, old)
	w.want("in use, next, or waiting for its end", active, current, next, waits)
}
