package adminhttp_test

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/internal/ledger"
	"mintmark/internal/pkcs10"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
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

// TestDeviceEnrollments: what waits for a device is shown with it, also to whoever
// asks for a device that has nothing else.
func TestDeviceEnrollments(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	w.issue(t, "press-1")
	e, approved := w.queued(t, "press-1"), w.queued(t, "press-1")
	if _, err := w.client.ApproveEnrollment(t.Context(), approved.ID, admin.Decision{}); err != nil {
		t.Fatal(err)
	}
	rejected := w.queued(t, "press-1")
	if _, err := w.client.RejectEnrollment(t.Context(), rejected.ID, admin.Decision{}); err != nil {
		t.Fatal(err)
	}
	w.queued(t, "press-2")
	d, err := w.client.Device(t.Context(), "press-1")
	if err != nil || len(d.Enrollments) != 2 || d.Enrollments[0].ID != e.ID || d.Enrollments[1].State != admin.EnrollmentApproved || d.Enrollments[0].CSR != "" {
		t.Errorf("shown with it: %+v, %v", d.Enrollments, err)
	}
	_, err = w.client.Device(t.Context(), "press-2")
	refused(t, err, http.StatusNotFound, "not-found")
	if !strings.Contains(err.Error(), "enroll list --device") {
		t.Errorf("a device that only waits: %v", err)
	}
	if next := d.Enrollments[1].Next; !strings.HasSuffix(next, " UTC") && !strings.Contains(next, " UTC;") {
		t.Errorf("the time in %q is not as elsewhere", next)
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
	if s, err := w.client.Status(t.Context()); err != nil || s.PendingEnrollments != 4 || s.PendingCauses["label"] != 4 || len(s.PendingCauses) != 1 {
		t.Errorf("the status counts %d, %v, %v", s.PendingEnrollments, s.PendingCauses, err)
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

// TestEnrollmentOther says which certificate a second key comes beside.
func TestEnrollmentOther(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	issued := w.issue(t, "press-1")
	key := pkitest.NewKey(t)
	csr := pkitest.CSR(t, key, pkix.Name{CommonName: "press-1"})
	now := w.ra.Now()
	e, err := w.ra.Ledger.QueueEnrollment(t.Context(), ledger.Enrollment{
		Key: sha256.Sum256(spki(t, key.Public())), Subject: "CN=press-1", Profile: "device", Purpose: ledger.ForDevice, Device: "press-1", Cause: "second-key", CSR: csr,
		State: ledger.EnrollmentPending, At: now, ExpiresAt: now.Add(time.Hour), Requester: ledger.Requester{Kind: "password"},
	}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.client.Enrollment(t.Context(), e.ID)
	if err != nil || got.Other != issued.Certificate.Serial {
		t.Errorf("it is %+v, %v", got, err)
	}
	if got, err = w.client.ApproveEnrollment(t.Context(), e.ID, admin.Decision{}); err != nil || !strings.Contains(got.Next, "certificate "+issued.Certificate.Serial+" stays in force") {
		t.Errorf("approved: %+v, %v", got, err)
	}
}

// TestEnrollmentShowsWhatWouldBeSigned: the profile takes some of the names, and
// ChangeSubjectName asks for others than those by which the request is found.
func TestEnrollmentShowsWhatWouldBeSigned(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	named, err := issuer.NewProfile("named", issuer.ProfileConfig{Preset: "device", SAN: issuer.SANConfig{DNS: `.+\.example`},
		Subject: map[string]issuer.Attribute{"commonName": {Pattern: `.+`}, "organizationalUnit": {Pattern: `.+`, Optional: true}}}, "")
	if err != nil {
		t.Fatal(err)
	}
	w.ra.Profiles["named"] = named
	key := pkitest.NewKey(t)
	other, err := asn1.Marshal(pkix.Name{CommonName: "press-99", OrganizationalUnit: []string{"safety controllers"}}.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		profile string
		change  *pkcs10.ChangeSubject
		subject string
		names   string
	}{
		{"named", nil, "CN=press-1,OU=harmless", "DNS:a.example"},
		{"named", &pkcs10.ChangeSubject{Subject: other}, "CN=press-99,OU=safety controllers", "DNS:a.example"},
		{"device", nil, "CN=press-1", ""},
		{"gone", nil, "", ""},
	} {
		template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "press-1", OrganizationalUnit: []string{"harmless"}},
			DNSNames: []string{"a.example"}, IPAddresses: []net.IP{{192, 0, 2, 1}}}
		csr, err := pkcs10.Create(template, pkcs10.Attributes{ChangeSubject: test.change}, key)
		if err != nil {
			t.Fatal(err)
		}
		now := w.ra.Now()
		e, err := w.ra.Ledger.QueueEnrollment(t.Context(), ledger.Enrollment{
			Key: sha256.Sum256(csr), Subject: "OU=harmless,CN=press-1", Profile: test.profile, Purpose: ledger.ForDevice, Device: "press-1", Cause: "label", CSR: csr,
			State: ledger.EnrollmentPending, At: now, ExpiresAt: now.Add(time.Hour), Requester: ledger.Requester{Kind: "password"},
		}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		page, err := w.client.Enrollments(t.Context(), admin.EnrollmentQuery{})
		if err != nil {
			t.Fatal(err)
		}
		listed := page.Enrollments[len(page.Enrollments)-1]
		shown, err := w.client.Enrollment(t.Context(), e.ID)
		if err != nil {
			t.Fatal(err)
		}
		for where, got := range map[string]admin.Enrollment{"listed": listed, "shown": shown} {
			if got.ID != e.ID || got.CertificateSubject != test.subject || strings.Join(got.Names, " ") != test.names || got.Subject != "OU=harmless,CN=press-1" {
				t.Errorf("%s %+v: %+v", where, test, got)
			}
			if got.State != admin.EnrollmentPending || strings.Contains(got.Next, "no certificate") != (test.subject == "") {
				t.Errorf("%s %+v: next %q", where, test, got.Next)
			}
		}
		approved, err := w.client.ApproveEnrollment(t.Context(), e.ID, admin.Decision{})
		if err != nil || approved.CertificateSubject != test.subject {
			t.Errorf("approved: %+v, %v", approved, err)
		}
	}
}
