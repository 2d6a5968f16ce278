package issuer_test

import (
	"testing"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestSecondKeyPolicy: what a request says of another key for its device.
func TestSecondKeyPolicy(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
	for _, policy := range []issuer.SecondKey{"", issuer.RefuseSecondKey, "unheard-of"} {
		r := under(issuer.Trusted)
		r.SecondKey, r.CSR = policy, csr(t, pkitest.NewKey(t), "device-1")
		before := counters(t, ra)["alarms_total clone"]
		_, err := ra.Enroll(t.Context(), r)
		wantRefused(t, err, issuer.Conflict, "clone")
		if after := counters(t, ra)["alarms_total clone"]; after != before+1 {
			t.Errorf("%q: %v alarms", policy, after-before)
		}
	}
	r := under(issuer.Trusted)
	r.SecondKey, r.CSR = issuer.AllowSecondKey, csr(t, pkitest.NewKey(t), "device-1")
	if _, err := ra.Enroll(t.Context(), r); err != nil {
		t.Errorf("allowed: %v", err)
	}
	if n := counters(t, ra)["alarms_total clone"]; n != 3 {
		t.Errorf("%v alarms after one that is allowed", n)
	}
}

// TestSecondKeyIsHeld goes from the alarm to the certificate.
func TestSecondKeyIsHeld(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	first := mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
	key := pkitest.NewKey(t)
	r := under(issuer.Trusted)
	r.SecondKey = issuer.HoldSecondKey
	for range 3 { // the same key and subject, signed anew each time
		r.CSR = csr(t, key, "device-1")
		_, err := ra.Enroll(t.Context(), r)
		wantRefused(t, err, issuer.Pending, "approval-pending")
	}
	if got := counters(t, ra); got["alarms_total clone"] != 1 || got["enrollments_queued_total second-key"] != 1 {
		t.Errorf("one request, repeated: %v", got)
	}
	waiting := enrollments(t, l)
	if len(waiting) != 1 || waiting[0].Cause != "second-key" || waiting[0].Other != first.Serial || waiting[0].Device != "device-1" ||
		waiting[0].Key != spki(t, key) || waiting[0].Label != "line" || waiting[0].Requester.Name != "line-1" {
		t.Fatalf("waiting: %+v", waiting)
	}
	decide(t, l, waiting[0].ID, true)
	answer, err := ra.Enroll(t.Context(), r)
	if err != nil || answer.Prior {
		t.Fatalf("approved: %v", err)
	}
	if again, err := ra.Enroll(t.Context(), r); err != nil || again.Serial != answer.Serial || !again.Prior {
		t.Errorf("repeated: %s, want %s, %v", again.Serial, answer.Serial, err)
	}
	// A third key is another request.
	r.CSR = csr(t, pkitest.NewKey(t), "device-1")
	_, err = ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Pending, "approval-pending")
	if list := refusals(t, ra, ledger.RefusalQuery{}); len(list) != 0 {
		t.Errorf("what waits is on record as refused: %+v", list)
	}
	if n := counters(t, ra)["alarms_total clone"]; n != 2 {
		t.Errorf("%v alarms for two requests", n)
	}
}

// TestAlarmedOnce: who goes on with what was cut off raises the same alarm once, and it stays
// among the refusals each time.
func TestAlarmedOnce(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	shared := pkitest.NewKey(t)
	mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
	mustEnroll(t, ra, shared, "device-2")
	for _, tt := range []struct {
		rule string
		csr  []byte
	}{
		{"clone", csr(t, pkitest.NewKey(t), "device-1")},
		{"key-shared", csr(t, shared, "device-3")},
	} {
		alarm := "alarms_total " + tt.rule
		r := under(issuer.Trusted)
		r.CSR = tt.csr
		for i, step := range []struct {
			operation string
			again     bool
			alarms    float64
		}{
			{"batch 1", true, 1}, {"batch 1", true, 1}, {"batch 2", true, 2}, {"batch 2", false, 3}, {"batch 1", true, 3},
		} {
			r.Operation, r.Again = step.operation, step.again
			_, err := ra.Enroll(t.Context(), r)
			wantRefused(t, err, issuer.Conflict, tt.rule)
			if n := len(refusals(t, ra, ledger.RefusalQuery{Rule: tt.rule})); n != i+1 {
				t.Errorf("%s: step %d: %d refusals on record", tt.rule, i, n)
			}
			if n := counters(t, ra)[alarm]; n != step.alarms {
				t.Errorf("%s: step %d: %v alarms, want %v", tt.rule, i, n, step.alarms)
			}
		}
		// Another key is another finding.
		if tt.rule == "clone" {
			r.CSR = csr(t, pkitest.NewKey(t), "device-1")
			_, err := ra.Enroll(t.Context(), r)
			wantRefused(t, err, issuer.Conflict, "clone")
			if n := counters(t, ra)[alarm]; n != 4 {
				t.Errorf("a third key: %v alarms", n)
			}
		}
	}
}

// TestOtherPurposeIsNoSecondKey: the key of a gateway's CA is not that of its
// identity.
func TestOtherPurposeIsNoSecondKey(t *testing.T) {
	l := newLedger(t)
	ra := withEdgeCA(t, newRA(t, l, withEdge(t)))
	r := issuer.Request{Profile: "edge", Gateway: "edge-ca", Issuer: "edge", Authorize: issuer.Trusted, Requester: password, CSR: csr(t, pkitest.NewKey(t), "dev-1")}
	if _, err := ra.Enroll(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	r.CSR = signed(t, pkitest.NewKey(t), named("aziot-edge CA dev-1"), edgeCA)
	if _, err := ra.Enroll(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	r.CSR = signed(t, pkitest.NewKey(t), named("aziot-edge CA dev-1"), edgeCA)
	_, err := ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Conflict, "clone")
}
