package issuer_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// approved is a request at a label that wants every enrollment approved.
func approved(t testing.TB, key crypto.Signer, device string) issuer.Request {
	r := under(issuer.Trusted)
	r.Approval, r.Operation, r.CSR = true, "est simpleenroll", csr(t, key, device)
	return r
}

// TestApproval: nothing is issued before a person agrees, and the same key and
// subject get it whatever else changes.
func TestApproval(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	key := pkitest.NewKey(t)
	r := approved(t, key, "press-1")
	_, err := ra.Enroll(t.Context(), r)
	refusal := wantRefused(t, err, issuer.Pending, "approval-pending")
	if !refusal.Recorded {
		t.Error("what waits asks to be recorded as refused")
	}
	waiting := enrollments(t, l)
	if len(waiting) != 1 || waiting[0].Cause != "label" || waiting[0].Subject != "CN=press-1" || waiting[0].Profile != "device" || waiting[0].Purpose != ledger.ForDevice ||
		waiting[0].ExpiresAt.Sub(waiting[0].At) != 7*24*time.Hour || string(waiting[0].CSR) != string(r.CSR) {
		t.Fatalf("waiting: %+v", waiting)
	}
	if !strings.Contains(refusal.Text, waiting[0].ID) {
		t.Errorf("%q does not say how to ask for it", refusal.Text)
	}
	// From another address, as another requester, signed anew.
	r.CSR, r.Requester.Name = csr(t, key, "press-1"), "line-2"
	_, err = ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Pending, "approval-pending")
	if n := len(enrollments(t, l)); n != 1 || count(t, l)[ledger.Valid] != 0 {
		t.Fatalf("%d entries, %v", n, count(t, l))
	}
	decide(t, l, waiting[0].ID, true)
	answer, err := ra.Enroll(t.Context(), r)
	if err != nil || answer.Prior {
		t.Fatalf("approved: %v", err)
	}
	if entry, err := l.Enrollment(t.Context(), waiting[0].ID); err != nil || entry.State != ledger.EnrollmentIssued || entry.Serial != answer.Serial {
		t.Errorf("the approval: %+v, %v", entry, err)
	}
	if got := counters(t, ra); got["enrollments_queued_total label"] != 1 || got["alarms_total clone"] != 0 {
		t.Errorf("counters %v", got)
	}
	if list := refusals(t, ra, ledger.RefusalQuery{}); len(list) != 0 {
		t.Errorf("on record as refused: %+v", list)
	}
}

// TestApprovalIsSpent: one approval is one certificate. Inside the repeat window
// a repeated request gets it again; after it, it waits anew.
func TestApprovalIsSpent(t *testing.T) {
	now := time.Now()
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
		c.Now = func() time.Time { return now }
		c.EpochTTL = 100 * time.Hour
	}))
	r := approved(t, pkitest.NewKey(t), "press-1")
	_, err := ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Pending, "approval-pending")
	decideAt(t, l, enrollments(t, l)[0].ID, true, now)
	first, err := ra.Enroll(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(59 * time.Minute)
	if again, err := ra.Enroll(t.Context(), r); err != nil || !again.Prior || again.Serial != first.Serial {
		t.Errorf("repeated: %s, want %s, %v", again.Serial, first.Serial, err)
	}
	now = now.Add(2 * time.Minute)
	for range 2 {
		_, err = ra.Enroll(t.Context(), r)
		wantRefused(t, err, issuer.Pending, "approval-pending")
	}
	list := enrollments(t, l)
	if len(list) != 2 || list[1].State != ledger.EnrollmentPending || count(t, l)[ledger.Valid] != 1 {
		t.Fatalf("%+v, %v", list, count(t, l))
	}
	decideAt(t, l, list[1].ID, true, now)
	second, err := ra.Enroll(t.Context(), r)
	if err != nil || second.Serial == first.Serial {
		t.Errorf("the second approval: %v", err)
	}
	// A revoked certificate answers nobody, and its approval is spent.
	if _, err := ra.Revoke(t.Context(), ledger.Selector{Serial: second.Serial}, ledger.Superseded, "test"); err != nil {
		t.Fatal(err)
	}
	_, err = ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Pending, "approval-pending")
}

func TestApprovalRejected(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	r := approved(t, pkitest.NewKey(t), "press-1")
	_, err := ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Pending, "approval-pending")
	id := enrollments(t, l)[0].ID
	decide(t, l, id, false)
	_, err = ra.Enroll(t.Context(), r)
	refusal := wantRefused(t, err, issuer.Forbidden, "approval-rejected")
	if strings.Contains(refusal.Error(), "operators") {
		t.Errorf("the note has left: %v", refusal)
	}
	if list := refusals(t, ra, ledger.RefusalQuery{Rule: "approval-rejected"}); len(list) != 1 {
		t.Errorf("%d records of it", len(list))
	}
	// A label without approval holds nothing against it.
	r.Approval = false
	if _, err := ra.Enroll(t.Context(), r); err != nil {
		t.Error(err)
	}
}

// TestApprovalIsForOneRequest: key and subject find an approval; what else is
// asked for must be what was approved.
func TestApprovalIsForOneRequest(t *testing.T) {
	l := newLedger(t)
	ra := withEdgeCA(t, withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
		withEdge(t)(c)
		c.Profiles["named"] = profile(t, "named", issuer.ProfileConfig{Preset: "device", SAN: issuer.SANConfig{DNS: `[a-z]+`}})
	})))
	key := pkitest.Key(t, "RSA-2048")
	request := func(dns ...string) issuer.Request {
		r := approved(t, key, "press-1")
		r.Profile, r.CSR = "named", signed(t, key, named("press-1"), func(r *x509.CertificateRequest) { r.DNSNames = dns })
		return r
	}
	_, err := ra.Enroll(t.Context(), request("a", "b"))
	wantRefused(t, err, issuer.Pending, "approval-pending")
	id := enrollments(t, l)[0].ID
	other := func() {
		t.Helper()
		_, err = ra.Enroll(t.Context(), request("a", "c"))
		wantRefused(t, err, issuer.Conflict, "approval-other")
		r := request("a", "b")
		r.Profile = "device"
		_, err = ra.Enroll(t.Context(), r)
		wantRefused(t, err, issuer.Conflict, "approval-other")
	}
	other()
	decide(t, l, id, true)
	other()
	if n := count(t, l)[ledger.Valid]; n != 0 {
		t.Fatalf("%d certificates for what nobody approved", n)
	}
	if _, err := ra.Enroll(t.Context(), request("b", "a")); err != nil {
		t.Errorf("in another order: %v", err)
	}

	// Least of all a CA certificate for an approved identity.
	r := issuer.Request{Profile: "edge-est", Gateway: "edge-ca", Issuer: "edge", Label: "edge", Authorize: issuer.Trusted, Requester: password, Approval: true}
	r.CSR = signed(t, key, named("aziot-edge CA dev-1"), nil)
	_, err = ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Pending, "approval-pending")
	decide(t, l, enrollments(t, l)[1].ID, true)
	r.CSR = signed(t, key, named("aziot-edge CA dev-1"), edgeCA)
	_, err = ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Conflict, "approval-other")
}

// TestApprovalBounds: how many may wait, and for how long.
func TestApprovalBounds(t *testing.T) {
	now := time.Now()
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
		c.Now = func() time.Time { return now }
		c.EpochTTL, c.MostPending, c.ApprovalTTL = 1000*time.Hour, 2, time.Hour
	}))
	requests := []issuer.Request{approved(t, pkitest.NewKey(t), "press-1"), approved(t, pkitest.NewKey(t), "press-2"), approved(t, pkitest.NewKey(t), "press-3")}
	for _, r := range requests[:2] {
		_, err := ra.Enroll(t.Context(), r)
		wantRefused(t, err, issuer.Pending, "approval-pending")
	}
	_, err := ra.Enroll(t.Context(), requests[2])
	wantRefused(t, err, issuer.Unavailable, "approval-queue")
	_, err = ra.Enroll(t.Context(), requests[0])
	wantRefused(t, err, issuer.Pending, "approval-pending")
	now = now.Add(2 * time.Hour)
	_, err = ra.Enroll(t.Context(), requests[2])
	wantRefused(t, err, issuer.Pending, "approval-pending")
}

// TestApprovalOfRefused: nobody is asked about what is refused in any case.
func TestApprovalOfRefused(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	mustEnroll(t, ra, pkitest.NewKey(t), "press-1")
	for _, test := range []struct {
		name   string
		change func(*issuer.Request)
		kind   issuer.Kind
		rule   string
	}{
		{"a clone", func(r *issuer.Request) { r.SecondKey = issuer.RefuseSecondKey }, issuer.Conflict, "clone"},
		{"no rule", func(r *issuer.Request) { r.Authorize = "" }, issuer.Forbidden, "authorize"},
		{"another device", func(r *issuer.Request) { r.Device = "press-2" }, issuer.Forbidden, "identity"},
		{"a name that no profile takes", func(r *issuer.Request) { r.CSR = csr(t, pkitest.NewKey(t), "*") }, issuer.Malformed, "subject"},
		{"a key of the server", func(r *issuer.Request) { r.Generated, r.SecondKey = pkitest.NewKey(t).Public(), issuer.AllowSecondKey }, issuer.Forbidden, "approval-keygen"},
	} {
		r := approved(t, pkitest.NewKey(t), "press-1")
		test.change(&r)
		_, err := ra.Enroll(t.Context(), r)
		wantRefused(t, err, test.kind, test.rule)
		if list := enrollments(t, l); len(list) != 0 {
			t.Errorf("%s: waits: %+v", test.name, list)
		}
	}
}

// TestApprovalBeforeTheOtherKey: an approval does not cover a key that the
// device has got meanwhile.
func TestApprovalBeforeTheOtherKey(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	r := approved(t, pkitest.NewKey(t), "press-1")
	r.SecondKey = issuer.HoldSecondKey
	_, err := ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Pending, "approval-pending")
	id := enrollments(t, l)[0].ID
	decide(t, l, id, true)
	other := mustEnroll(t, ra, pkitest.NewKey(t), "press-1")
	for range 2 {
		_, err = ra.Enroll(t.Context(), r)
		wantRefused(t, err, issuer.Pending, "approval-pending")
	}
	entry := enrollments(t, l)[0]
	if entry.ID != id || entry.State != ledger.EnrollmentPending || entry.Other != other.Serial || counters(t, ra)["alarms_total clone"] != 1 {
		t.Errorf("%+v, %v", entry, counters(t, ra))
	}
	decide(t, l, id, true)
	if _, err := ra.Enroll(t.Context(), r); err != nil {
		t.Errorf("approved in the knowledge of it: %v", err)
	}
}

// TestApprovalWhereSecondKeysAreAllowed: they wait like every request, and are
// no alarm.
func TestApprovalWhereSecondKeysAreAllowed(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	first := mustEnroll(t, ra, pkitest.NewKey(t), "press-1")
	r := approved(t, pkitest.NewKey(t), "press-1")
	r.SecondKey = issuer.AllowSecondKey
	_, err := ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Pending, "approval-pending")
	if list := enrollments(t, l); len(list) != 1 || list[0].Other != first.Serial {
		t.Errorf("waiting: %+v", list)
	}
	if n := counters(t, ra)["alarms_total clone"]; n != 0 {
		t.Errorf("%v alarms", n)
	}
}

// lookups counts what a request asks of the ledger beyond the cycle.
type lookups struct {
	ledger.Ledger
	n atomic.Int32
}

func (c *lookups) FindEnrollment(ctx context.Context, key [32]byte, subject string, now time.Time) (ledger.Enrollment, error) {
	c.n.Add(1)
	return c.Ledger.FindEnrollment(ctx, key, subject, now)
}

func (c *lookups) QueueEnrollment(ctx context.Context, e ledger.Enrollment, most int) (ledger.Enrollment, error) {
	c.n.Add(1)
	return c.Ledger.QueueEnrollment(ctx, e, most)
}

func (c *lookups) Certificates(ctx context.Context, query ledger.Query) (ledger.Page, error) {
	c.n.Add(1)
	return c.Ledger.Certificates(ctx, query)
}

func (c *lookups) Certificate(ctx context.Context, serial ledger.Serial) (ledger.Certificate, error) {
	c.n.Add(1)
	return c.Ledger.Certificate(ctx, serial)
}

func (c *lookups) DeviceSecret(ctx context.Context, device string) (ledger.DeviceSecret, error) {
	c.n.Add(1)
	return c.Ledger.DeviceSecret(ctx, device)
}

// TestNoLookups: a request that nobody has to approve goes straight to step 6,
// and so does one whose second key would be held.
func TestNoLookups(t *testing.T) {
	l := &lookups{Ledger: newLedger(t)}
	ra := withHierarchy(t, newRA(t, l, nil))
	sum := oneTime(t, l, "press-2", "correct", time.Now().Add(time.Hour))
	l.n.Store(0)
	for _, r := range []issuer.Request{under(issuer.Trusted), bySecret("press-2", sum, nil)} {
		r.SecondKey, r.CSR = issuer.HoldSecondKey, csr(t, pkitest.NewKey(t), "press-2")
		if r.Device == "" {
			r.CSR = csr(t, pkitest.NewKey(t), "press-1")
		}
		if _, err := ra.Enroll(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	if n := l.n.Load(); n != 0 {
		t.Errorf("%d lookups", n)
	}
}

// TestApprovalTakenOnce lets many ask at once for what was approved once.
func TestApprovalTakenOnce(t *testing.T) {
	l := newLedger(t)
	ra := withHierarchy(t, newRA(t, l, nil))
	key := pkitest.NewKey(t)
	r := approved(t, key, "press-1")
	_, err := ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Pending, "approval-pending")
	decide(t, l, enrollments(t, l)[0].ID, true)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			_, err := ra.Enroll(t.Context(), r)
			var refusal *issuer.Refusal
			if err != nil && (!errors.As(err, &refusal) || refusal.Kind != issuer.Unavailable) {
				t.Errorf("at once: %v", err)
			}
		})
	}
	wg.Wait()
	if states := count(t, l); states[ledger.Valid] != 1 || len(states) != 1 {
		t.Errorf("the ledger holds %v", states)
	}
	if n := len(enrollments(t, l)); n != 1 {
		t.Errorf("%d entries", n)
	}
}

// TestApprovalGivenBack: what was approved and could not be signed is still
// approved.
func TestApprovalGivenBack(t *testing.T) {
	l := newLedger(t)
	broken := false
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
		c.Step = func(step int) {
			if broken && step == 6 {
				panic("the process dies here")
			}
		}
	}))
	r := approved(t, pkitest.NewKey(t), "press-1")
	_, err := ra.Enroll(t.Context(), r)
	wantRefused(t, err, issuer.Pending, "approval-pending")
	decide(t, l, enrollments(t, l)[0].ID, true)
	broken = true
	func() {
		defer func() { recover() }()
		ra.Enroll(t.Context(), r)
		t.Error("it did not panic")
	}()
	broken = false
	if entry := enrollments(t, l)[0]; entry.State != ledger.EnrollmentApproved || entry.Serial != "" {
		t.Errorf("the approval: %+v", entry)
	}
	if _, err := ra.Enroll(t.Context(), r); err != nil {
		t.Error(err)
	}
}
