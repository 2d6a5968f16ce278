package awsreg_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// TestHoldUnknown: a device that came under an order without a list, with a
// certificate of AWS, is no device of the ledger; it can be held all the same.
func TestHoldUnknown(t *testing.T) {
	w, target := fleetWorld(t)
	api, thing := w.iot(first), target.Fleets[0].ThingPrefix+"SN-77"
	keys := must(api.CreateKeysAndCertificate(t.Context(), &iot.CreateKeysAndCertificateInput{SetAsActive: true}))(t)
	must(api.CreateThing(t.Context(), &iot.CreateThingInput{ThingName: aws.String(thing)}))(t)
	must(api.AttachThingPrincipal(t.Context(), &iot.AttachThingPrincipalInput{ThingName: aws.String(thing), Principal: keys.CertificateArn}))(t)
	_, err := w.ledger().HoldUnknown(t.Context(), "SN-77", ledger.Held, "test", "stolen", time.Now())
	w.ok(err)
	w.deliver(target, awsreg.TasksForDevice([]awsreg.Target{target}, "SN-77"))
	if status := w.certificateStatus(*keys.CertificateId); status != types.CertificateStatusInactive {
		t.Errorf("the certificate is %s", status)
	}
	if w.item(manifestTable, hook.HeldKey(thing)) == nil {
		t.Error("the functions are not told")
	}
}
