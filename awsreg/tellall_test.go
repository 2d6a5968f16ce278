package awsreg_test

import (
	"strings"
	"testing"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// tellAll is a fresh process that tells everything.
func (w *world) tellAll(target awsreg.Target) int {
	w.t.Helper()
	n, err := w.registrar(first).TellAll(w.t.Context(), target)
	w.ok(err)
	return n
}

func TestTellAll(t *testing.T) {
	w, target := fleetWorld(t)
	// All of it was recorded before the target could be told.
	line, press, lone := w.issue("line", "line-1"), w.issue("press", "press-1"), w.issue("lone", "lone-1")
	gone, auto := w.issue("line", "line-2"), w.issue("auto", "auto-1")
	w.ok(w.revoke(t.Context(), []ledger.Serial{gone.Serial, auto.Serial}))
	held := w.issue("press", "press-2")
	w.order("wo-1", func(o *ledger.Order) { o.Listed = true })
	w.order("wo-2")
	w.list("import-1", "wo-1", "a-1", "a-2")
	claim, shut := w.issueClaim("wo-1"), w.issueClaim("wo-2")
	w.changeOrder("wo-2", ledger.OrderClosed)
	w.holdDevice("press-2", ledger.Held)
	w.holdDevice("a-2", ledger.Retired)

	told := w.tellAll(target)
	if told < 11 {
		t.Errorf("told %d", told)
	}
	w.want("registered", active, press, lone)
	w.want("a claim", active, claim)
	w.want("a claim of a closed order", "", shut)
	w.want("held", inactive, held)
	w.want("revoked for just-in-time provisioning", revoked, auto)
	for _, key := range []string{
		idOf(line), "revoked#" + idOf(gone), "template#pumps", "template#valves-next", "order#wo-1", "order#wo-2",
		"expected#a-1", "expected#a-2", "held#press-2", "held#a-2", "held#pump-a-2", hook.ClaimKey(idOf(claim)),
	} {
		if w.item(manifestTable, key) == nil {
			t.Errorf("no item %s", key)
		}
	}
	if textOf(w.item(rotationTable, "line-1"), "current") != idOf(line) {
		t.Error("line-1 does not rotate")
	}

	// Again: the same state, and no call for what AWS shows as it should be.
	before, calls := w.state(), len(w.sim.Calls())
	if again := w.tellAll(target); again != told {
		t.Errorf("told %d again, %d at first", again, told)
	}
	if w.state() != before {
		t.Error("telling all again changed something")
	}
	for _, call := range w.since(calls) {
		switch call {
		case "RegisterCertificate", "CreateThing", "AttachThingPrincipal":
			t.Errorf("%s for what is there", call)
		}
	}

	// A table that was lost comes back whole.
	items := func() int { return strings.Count(w.state(), `"pk": {`) }
	n := items()
	for _, key := range []string{idOf(line), "revoked#" + idOf(gone), "held#press-2", "order#wo-1", "expected#a-1", hook.ClaimKey(idOf(claim))} {
		w.drop(manifestTable, key)
	}
	w.drop(rotationTable, "line-1")
	if items() != n-7 {
		t.Fatalf("%d items, were %d", items(), n)
	}
	w.tellAll(target)
	if w.state() != before {
		t.Error("not all came back")
	}

	// What fails says so.
	w.sim.Inject(awssim.Fault{Operation: "ListCertificatesByCA", Code: "UnauthorizedException", Status: 401})
	if _, err := w.registrar(first).TellAll(t.Context(), target); err == nil || !strings.Contains(err.Error(), "line-a") {
		t.Errorf("error %v", err)
	}
}

// Without any function there is no table to be written.
func TestTellAllWithoutFunctions(t *testing.T) {
	w, target := fleetWorld(t)
	target.JITR, target.Rotation, target.Fleets = nil, nil, nil
	target.CAs = target.CAs[2:]
	press, held := w.issue("press", "press-1"), w.issue("press", "press-2")
	w.holdDevice("press-2", ledger.Held)
	w.tellAll(target)
	w.want("registered", active, press)
	w.want("held", inactive, held)
	w.holdDevice("press-2", ledger.Expected)
	w.tellDevice(target, "press-2")
	w.want("released", active, held)
	for _, call := range w.sim.Calls() {
		if strings.HasPrefix(call, "dynamodb:BatchWriteItem") {
			t.Fatal("wrote to a table")
		}
	}
}
