package awsreg_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/internal/ledger"
)

// A revocation from before its CA was registered is not forgotten: once the CA
// is there, JITP would let the device in.
func TestRevokedBeforeItsCAIsRegistered(t *testing.T) {
	w := newWorld(t)
	target := w.target()
	_, _, c := w.issuers["auto"].device(t, "valve-1")
	c.State = ledger.Revoked
	tasks := awsreg.TasksFor([]awsreg.Target{{
		Name: target.Name, AccountID: target.AccountID, Region: target.Region, CAs: target.CAs[1:],
	}}, c)
	target.JITR, target.CAs = nil, target.CAs[1:] // nothing else can fail
	if errs := w.registrar(first).Deliver(t.Context(), target, tasks); errs[0] == nil {
		t.Error("delivered to an account that does not have the CA")
	}
	w.apply(target)
	w.deliver(target, tasks)
	if status := w.certificateStatus(awsreg.CertificateID(c.DER)); status != types.CertificateStatusRevoked {
		t.Errorf("status %s", status)
	}
}
