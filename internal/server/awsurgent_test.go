package server

import (
	"crypto/x509/pkix"
	"net/http"
	"strings"
	"testing"

	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// TestRevocationOvertakes: while AWS takes no registrations, and those that wait
// keep their worker busy, a revocation and a hold get through.
func TestRevocationOvertakes(t *testing.T) {
	s, things := rehearsal(t)
	one, two := enrollTold(t, s, things, "one"), enrollTold(t, s, things, "two")
	fault := `{"operation":"RegisterCertificate","every":1,"code":"ThrottlingException","status":400}`
	answer, err := http.Post(s.config.AWS.Targets[0].Endpoint+"/_sim/faults", "application/json", strings.NewReader(fault))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode >= 300 {
		t.Fatalf("injecting a fault: %s", answer.Status)
	}
	if _, err := s.ra.Enroll(t.Context(), issuer.Request{
		Authorize: issuer.Trusted, Profile: "device", Issuer: "told", Requester: ledger.Requester{Kind: "password", Name: "line"},
		CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "stuck"}),
	}); err != nil {
		t.Fatal(err)
	}
	waits := func() bool {
		backlog, err := s.ledger.Backlog(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return backlog[awsreg.TaskKind(s.aws.list[0])] == 1
	}
	if !waits() {
		t.Fatal("the registration does not wait")
	}
	if _, err := s.ra.Revoke(t.Context(), ledger.Selector{Serial: one.Serial}, ledger.Superseded, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ledger.HoldDevice(t.Context(), "two", ledger.Held, "test", "", s.ra.Now(), s.aws.ForDevice("two")...); err != nil {
		t.Fatal(err)
	}
	s.aws.Wake()
	awaitStatus(t, things, one, iottypes.CertificateStatusRevoked)
	awaitStatus(t, things, two, iottypes.CertificateStatusInactive)
	if !waits() {
		t.Error("the registration did not wait all the time")
	}
}
