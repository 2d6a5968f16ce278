package hook

import (
	"encoding/json"
	"errors"
	"fmt"
)

// SerialNumber and CertDate are the parameters of a provisioning template that a
// device and its hook give.
const (
	SerialNumber = "SerialNumber" // the device's identifier, from the device
	CertDate     = "CertDate"     // YYYYMMDD (UTC), from the hook
)

// certificateIDParameter is given by AWS to every template.
const certificateIDParameter = "AWS::IoT::Certificate::Id"

// Bounds of what a device may send along, in entries and bytes.
// https://docs.aws.amazon.com/iot/latest/apireference/API_RegisterThing.html
const (
	maxParameters = 50
	maxName       = 2048
	maxValue      = 4096
)

// HookEvent is what AWS IoT Core sends to a pre-provisioning hook.
// https://docs.aws.amazon.com/iot/latest/developerguide/pre-provisioning-hook.html
type HookEvent struct {
	ClaimCertificateID string            `json:"claimCertificateId"` // that the connection authenticated with
	CertificateID      string            `json:"certificateId"`      // that is to be put in service
	CertificatePEM     string            `json:"certificatePem"`
	TemplateARN        string            `json:"templateArn"`
	ClientID           string            `json:"clientId"`
	Parameters         map[string]string `json:"parameters"` // from the device
}

// HookAnswer is what a pre-provisioning hook answers. Anything but true, an error
// and no answer within 5 seconds deny.
type HookAnswer struct {
	AllowProvisioning bool `json:"allowProvisioning"`
	// ParameterOverrides replace what the device gave.
	ParameterOverrides map[string]string `json:"parameterOverrides,omitempty"`
}

// ParseHookEvent reads an event and checks every field that is acted upon. Fields
// that AWS adds are ignored.
func ParseHookEvent(data []byte) (HookEvent, error) {
	if len(data) > 4*maxEvent {
		return HookEvent{}, fmt.Errorf("provisioning event is %d bytes long, more than %d", len(data), 4*maxEvent)
	}
	var e HookEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return HookEvent{}, fmt.Errorf("parsing provisioning event: %w", err)
	}
	if err := e.validate(); err != nil {
		return HookEvent{}, fmt.Errorf("provisioning event: %w", err)
	}
	return e, nil
}

func (e HookEvent) validate() error {
	switch {
	case !ValidID(e.ClaimCertificateID):
		return fmt.Errorf("claimCertificateId %q is not 64 hexadecimal digits", cut(e.ClaimCertificateID))
	case !ValidID(e.CertificateID):
		return fmt.Errorf("certificateId %q is not 64 hexadecimal digits", cut(e.CertificateID))
	case e.ClaimCertificateID == e.CertificateID:
		return errors.New("certificateId is that of the certificate that asks")
	case e.CertificatePEM == "":
		return errors.New("certificatePem is missing")
	case len(e.CertificatePEM) > maxEvent:
		return fmt.Errorf("certificatePem is %d bytes long, more than %d", len(e.CertificatePEM), maxEvent)
	case e.TemplateARN == "":
		return errors.New("templateArn is missing")
	case e.Parameters == nil:
		return errors.New("parameters are missing")
	case len(e.Parameters) > maxParameters:
		return fmt.Errorf("%d parameters, more than %d", len(e.Parameters), maxParameters)
	}
	for name, value := range e.Parameters {
		switch {
		case name == "" || len(name) > maxName || len(value) > maxValue:
			return fmt.Errorf("parameter %q has %d bytes and a value of %d: allowed are 1 to %d and %d", cut(name), len(name), len(value), maxName, maxValue)
		case len(name) >= 5 && name[:5] == "AWS::" && !(name == certificateIDParameter && value == e.CertificateID):
			// AWS's own: a device that gives them wants to pass for something.
			return fmt.Errorf("parameter %q is not a device's to give", cut(name))
		}
	}
	return nil
}
