package est

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pkcs10"
	"mintmark/issuer"
)

// The whole way of a request that waits, over the real registration authority:
// each time on another connection, so with another tls-unique and other bytes.
func TestApprovalOverTheWire(t *testing.T) {
	f := newLedgerFixture(t, map[string]string{"device": "device"}, time.Now(), []Label{
		{Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted, Passwords: []Password{{"other", [32]byte{1}}}},
		{Name: "wait", Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted, Passwords: goodPasswords(), Approval: true, Retry: 40 * time.Second, ProofOfPossession: ProofRequired},
	})
	ask := func(path, device string, key crypto.Signer) message {
		r := rawRequest{method: http.MethodPost, path: path, header: []string{typePKCS10, basic(goodUser, goodSecret)},
			edit: func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }}
		conn := f.dial(t, r)
		unique, _, _ := bindingsOf(t, conn.ConnectionState())
		der, err := pkcs10.Create(&x509.CertificateRequest{Subject: named(device)}, pkcs10.Attributes{Linked: true, ChallengePassword: unique}, key)
		if err != nil {
			t.Fatal(err)
		}
		r.body = base64.StdEncoding.EncodeToString(der)
		return over(t, conn, r)
	}
	waiting := func() ledger.Enrollment {
		list, err := f.ledger.Enrollments(t.Context(), ledger.EnrollmentQuery{State: ledger.EnrollmentPending, Now: f.clock.now()})
		if err != nil || len(list) != 1 {
			t.Fatalf("%d wait, %v", len(list), err)
		}
		return list[0]
	}
	decide := func(id string, approve bool) {
		now := f.clock.now()
		if _, err := f.ledger.DecideEnrollment(t.Context(), id, approve, "test", "", now, now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	const wait, dropped, front = "/.well-known/est/wait/simpleenroll", "/.well-known/est/simpleenroll", "/wait/.well-known/est/simpleenroll"

	t.Run("41 42 97 waits, and gets its certificate by whatever path", func(t *testing.T) {
		key := newKey(t)
		for _, path := range []string{wait, dropped, front} {
			accepted(t, ask(path, "press-1", key), 40, 51)
		}
		e := waiting()
		if e.Label != "wait" || e.Device != "press-1" || e.Requester.Name != goodUser {
			t.Errorf("%+v", e)
		}
		decide(e.ID, true)
		certificate := ask(dropped, "press-1", key).certificates(t)[0]
		if record, err := f.ledger.Certificate(t.Context(), ledger.Serial(serial(certificate))); err != nil || record.Label != "wait" {
			t.Errorf("record at %q, %v", record.Label, err)
		}
		again := ask(wait, "press-1", key).certificates(t)[0]
		if !again.Equal(certificate) {
			t.Error("the same request got another certificate")
		}
	})
	t.Run("42 another key or name is another request", func(t *testing.T) {
		key := newKey(t)
		accepted(t, ask(wait, "press-2", key), 40, 51)
		e := waiting()
		decide(e.ID, true)
		accepted(t, ask(wait, "press-3", newKey(t)), 40, 51)
		decide(waiting().ID, false)
		ask(wait, "press-2", key).certificates(t)
	})
	t.Run("43 rejected turns 403", func(t *testing.T) {
		key := newKey(t)
		accepted(t, ask(wait, "press-4", key), 40, 51)
		decide(waiting().ID, false)
		for _, path := range []string{wait, dropped} {
			refused(t, ask(path, "press-4", key), 403, "approval-rejected")
		}
	})
	t.Run("42 the rules of its label hold on every path", func(t *testing.T) {
		key := newKey(t)
		accepted(t, ask(wait, "press-5", key), 40, 51)
		// Without the link to the connection that the label demands.
		r := rawRequest{method: http.MethodPost, path: dropped, header: []string{typePKCS10, basic(goodUser, goodSecret)},
			body: base64.StdEncoding.EncodeToString(newCSR(t, key, "press-5"))}
		refused(t, f.raw(t, r), 400, ruleProofMissing)
		r.header[1] = basic("other", "wrong")
		challenged(t, f.raw(t, r))
	})
}
