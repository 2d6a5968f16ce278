package server

import (
	"slices"
	"testing"
	"time"

	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
)

// soonCompared is how often these tests compare. A configuration may ask for no less than
// a minute.
const soonCompared = 200 * time.Millisecond

// TestAzureComparedByItself: a server that nobody asks finds what is spoiled at Azure, and
// repairs it.
func TestAzureComparedByItself(t *testing.T) {
	t.Parallel()
	p := newPlantWith(t, "", func(s *Server) { s.config.Azure.Reconcile = soonCompared })
	p.apply(t)
	c := p.enroll(t, "pinned", newDevice(t, "robot-1"))
	there := func() bool {
		e, ok := p.pins(t, "robot-1")
		return ok && e.slots() == [2]string{thumbprint(c), ""}
	}
	eventually(t, "the pinned device has its enrollment", there)
	eventually(t, "it was told everything", func() bool { return !p.azure.by["plant"].stale.Load() })
	p.remove(t, "robot-1")
	eventually(t, "the enrollment is there again", there)
	eventually(t, "the comparison is kept", func() bool {
		_, ok, err := p.azure.Drift("plant")
		return ok && err == nil
	})
}

// TestAWSComparedByItself: a server that nobody asks finds what somebody changes at AWS.
func TestAWSComparedByItself(t *testing.T) {
	s, things := rehearsalWith(t, "policy: told-device", "", func(s *Server) { s.config.AWS.Reconcile = soonCompared })
	setStatus(t, things, enrollTold(t, s, things, "one"), iottypes.CertificateStatusInactive)
	eventually(t, "the comparison reports the device", func() bool {
		drift, ok, err := s.aws.Drift("line")
		return err == nil && ok && slices.ContainsFunc(drift.Left, func(d awsreg.Difference) bool { return d.Device == "one" })
	})
}
