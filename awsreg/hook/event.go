package hook

import (
	"encoding/json"
	"errors"
	"fmt"
)

// PendingActivation is the only status that the events of just-in-time
// registration carry.
const PendingActivation = "PENDING_ACTIVATION"

// maxEvent bounds what is parsed; the events are about 400 bytes long.
const maxEvent = 64 << 10

// Event is what AWS IoT Core publishes to
// $aws/events/certificates/registered/<caCertificateId> when a device whose CA
// is registered for auto-registration connects, and again on every connect until
// its certificate is active.
// https://docs.aws.amazon.com/iot/latest/developerguide/auto-register-device-cert.html
type Event struct {
	CertificateID     string `json:"certificateId"`
	CACertificateID   string `json:"caCertificateId"`
	CertificateStatus string `json:"certificateStatus"`
	AccountID         string `json:"awsAccountId,omitempty"`
	SourceIP          string `json:"sourceIp,omitempty"`
}

// ParseEvent reads an event and checks the fields that are acted upon. Fields
// that AWS adds are ignored: the timestamps are documented as numbers and arrive
// as null, and nothing depends on them.
func ParseEvent(data []byte) (Event, error) {
	if len(data) > maxEvent {
		return Event{}, fmt.Errorf("registration event is %d bytes long, more than %d", len(data), maxEvent)
	}
	var e Event
	if err := json.Unmarshal(data, &e); err != nil {
		return Event{}, fmt.Errorf("parsing registration event: %w", err)
	}
	if err := e.validate(); err != nil {
		return Event{}, fmt.Errorf("registration event: %w", err)
	}
	return e, nil
}

func (e Event) validate() error {
	switch {
	case !ValidID(e.CertificateID):
		return fmt.Errorf("certificateId %q is not 64 hexadecimal digits", cut(e.CertificateID))
	case !ValidID(e.CACertificateID):
		return fmt.Errorf("caCertificateId %q is not 64 hexadecimal digits", cut(e.CACertificateID))
	case e.CertificateStatus == "":
		return errors.New("certificateStatus is missing")
	case e.CertificateStatus != PendingActivation:
		return fmt.Errorf("certificateStatus is %q, not %s", cut(e.CertificateStatus), PendingActivation)
	}
	return nil
}

// cut keeps what a stranger sent from filling the log.
func cut(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
