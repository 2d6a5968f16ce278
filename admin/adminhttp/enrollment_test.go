package adminhttp_test

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// queued records a request that waits, as the issuer does.
func (w *world) queued(t testing.TB, device string) ledger.Enrollment {
	t.Helper()
	key := pkitest.NewKey(t)
	csr := pkitest.CSR(t, key, pkix.Name{CommonName: device})
	parsed, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	now := w.ra.Now()
	e, err := w.ra.Ledger.QueueEnrollment(t.Context(), ledger.Enrollment{
		Key: sha256.Sum256(parsed.RawSubjectPublicKeyInfo), Subject: parsed.Subject.String(), Label: "line", Profile: "device", Purpose: ledger.ForDevice,
		Device: device, Cause: "label", CSR: csr, State: ledger.EnrollmentPending, At: now, ExpiresAt: now.Add(24 * time.Hour),
		Requester: ledger.Requester{Kind: "password", Name: "factory", Address: netip.MustParseAddr("192.0.2.7")},
	}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (w *world) enrollments(t *testing.T, q admin.EnrollmentQuery) (ids string) {
	t.Helper()
	var list []string
	for {
		page, err := w.client.Enrollments(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Enrollments {
			if e.CSR != "" {
				t.Error("the list holds the requests")
			}
			list = append(list, e.Device)
		}
		if page.Next == "" {
			return strings.Join(list, " ")
		}
		q.After = page.Next
	}
}

func TestEnrollments(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	var all []ledger.Enrollment
	for _, device := range []string{"press-1", "press-2", "press-3", "press-4"} {
		all = append(all, w.queued(t, device))
	}
	if got := w.enrollments(t, admin.EnrollmentQuery{State: admin.EnrollmentPending, Limit: 3}); got != "press-1 press-2 press-3 press-4" {
		t.Errorf("pending are %q", got)
	}
	one, err := w.client.Enrollment(t.Context(), all[0].ID)
	if err != nil || one.State != admin.EnrollmentPending || one.Cause != "label" || one.KeyType != "P-256" || one.CSR == "" ||
		one.Requester != (admin.Requester{Kind: "password", Name: "factory", Address: "192.0.2.7"}) || !strings.Contains(one.Next, "enroll approve "+one.ID) {
		t.Errorf("the first is %+v, %v", one, err)
	}
	if s, err := w.client.Status(t.Context()); err != nil || s.PendingEnrollments != 4 {
		t.Errorf("the status counts %d, %v", s.PendingEnrollments, err)
	}

	approved, err := w.client.ApproveEnrollment(t.Context(), all[0].ID, admin.Decision{Note: "seen on line 2", ForSeconds: 3600})
	if err != nil || approved.State != admin.EnrollmentApproved || approved.Note != "seen on line 2" || approved.DecidedBy != "local:tester" ||
		approved.ExpiresAt.Sub(*approved.DecidedAt).Round(time.Minute) != time.Hour || !strings.Contains(approved.Next, "one certificate") {
		t.Errorf("approved: %+v, %v", approved, err)
	}
	rejected, err := w.client.RejectEnrollment(t.Context(), all[1].ID, admin.Decision{})
	if err != nil || rejected.State != admin.EnrollmentRejected || rejected.ExpiresAt.Sub(*rejected.DecidedAt).Round(time.Minute) != 7*24*time.Hour {
		t.Errorf("rejected: %+v, %v", rejected, err)
	}
	// Either can still become the other.
	if e, err := w.client.ApproveEnrollment(t.Context(), all[1].ID, admin.Decision{}); err != nil || e.State != admin.EnrollmentApproved {
		t.Errorf("a rejected one: %+v, %v", e, err)
	}
	if e, err := w.client.RejectEnrollment(t.Context(), all[0].ID, admin.Decision{}); err != nil || e.State != admin.EnrollmentRejected {
		t.Errorf("an approved one: %+v, %v", e, err)
	}
	for state, want := range map[string]string{"pending": "press-3 press-4", "approved": "press-2", "rejected": "press-1", "issued": "", "expired": "", "": "press-1 press-2 press-3 press-4"} {
		if got := w.enrollments(t, admin.EnrollmentQuery{State: state}); got != want {
			t.Errorf("%s are %q, want %q", state, got, want)
		}
	}
	if got := w.enrollments(t, admin.EnrollmentQuery{Device: "press-3", Label: "line"}); got != "press-3" {
		t.Errorf("of press-3 there are %q", got)
	}

	// What is over is decided no more, and says so.
	w.ahead.Store(int64(25 * time.Hour))
	if got := w.enrollments(t, admin.EnrollmentQuery{State: admin.EnrollmentExpired, Limit: 1}); got != "press-3 press-4" {
		t.Errorf("expired are %q", got)
	}
	if got := w.enrollments(t, admin.EnrollmentQuery{State: admin.EnrollmentPending}); got != "" {
		t.Errorf("pending are %q", got)
	}
	_, err = w.client.ApproveEnrollment(t.Context(), all[2].ID, admin.Decision{})
	refused(t, err, http.StatusConflict, "enrollment-expired")
}

func TestEnrollmentRefused(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	e := w.queued(t, "press-1")
	for rule, in := range map[string]admin.Decision{
		"note":              {Note: "two\nlines"},
		"enrollment-length": {ForSeconds: 91 * 24 * 3600},
	} {
		_, err := w.client.ApproveEnrollment(t.Context(), e.ID, in)
		refused(t, err, http.StatusBadRequest, rule)
	}
	_, err := w.client.RejectEnrollment(t.Context(), e.ID, admin.Decision{ForSeconds: -1})
	refused(t, err, http.StatusBadRequest, "enrollment-length")
	_, err = w.client.RejectEnrollment(t.Context(), e.ID, admin.Decision{Note: strings.Repeat("x", 501)})
	refused(t, err, http.StatusBadRequest, "note")
	_, err = w.client.Enrollment(t.Context(), "nope")
	refused(t, err, http.StatusNotFound, "not-found")
	_, err = w.client.ApproveEnrollment(t.Context(), "nope", admin.Decision{})
	refused(t, err, http.StatusNotFound, "not-found")
	_, err = w.client.Enrollments(t.Context(), admin.EnrollmentQuery{State: "lost"})
	refused(t, err, http.StatusBadRequest, "query")
	if got, err := w.client.Enrollment(t.Context(), e.ID); err != nil || got.State != admin.EnrollmentPending {
		t.Errorf("it is %+v, %v", got, err)
	}
}

// TestEnrollmentOther says which certificate a second key comes beside, and
// which names are asked for.
func TestEnrollmentOther(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	issued := w.issue(t, "press-1")
	key := pkitest.NewKey(t)
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "press-1"}, DNSNames: []string{"press-1.example"}, IPAddresses: []net.IP{{192, 0, 2, 1}}}
	csr, err := x509.CreateCertificateRequest(nil, template, key)
	if err != nil {
		t.Fatal(err)
	}
	now := w.ra.Now()
	e, err := w.ra.Ledger.QueueEnrollment(t.Context(), ledger.Enrollment{
		Key: sha256.Sum256(spki(t, key.Public())), Subject: "CN=press-1", Profile: "device", Purpose: ledger.ForDevice, Device: "press-1", Cause: "second-key", CSR: csr,
		State: ledger.EnrollmentPending, At: now, ExpiresAt: now.Add(time.Hour), Requester: ledger.Requester{Kind: "password"},
	}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.client.Enrollment(t.Context(), e.ID)
	if err != nil || got.Other != issued.Certificate.Serial || strings.Join(got.Names, " ") != "DNS:press-1.example IP:192.0.2.1" {
		t.Errorf("it is %+v, %v", got, err)
	}
	if got, err = w.client.ApproveEnrollment(t.Context(), e.ID, admin.Decision{}); err != nil || !strings.Contains(got.Next, "certificate "+issued.Certificate.Serial+" stays in force") {
		t.Errorf("approved: %+v, %v", got, err)
	}
}
