package server

import (
	"testing"

	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/internal/ledger"
)

// TestRevocationOvertakes: while a registration hangs, for longer than this test
// waits for anything, a revocation and a hold get through.
func TestRevocationOvertakes(t *testing.T) {
	s, things := rehearsal(t)
	one, two := enrollTold(t, s, things, "one"), enrollTold(t, s, things, "two")
	inject(t, s, `{"operation":"RegisterCertificate","every":1,"latency":"1m","code":"ServiceUnavailableException","status":503}`)
	enroll(t, s, "stuck")
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
