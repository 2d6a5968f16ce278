package hook

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// maxCSR bounds certification requests, in characters.
// https://docs.aws.amazon.com/iot/latest/apireference/API_CreateCertificateFromCsr.html
const maxCSR = 4096

// ProviderEvent is what AWS IoT Core sends to a certificate provider.
// https://docs.aws.amazon.com/iot/latest/developerguide/provisioning-cert-provider.html
type ProviderEvent struct {
	CertificateSigningRequest string `json:"certificateSigningRequest"` // PEM
	// PrincipalID is the certificate's id where a device asks; of other callers of
	// the operation it is something else.
	PrincipalID string `json:"principalId"`
	ClientID    string `json:"clientId"`
}

// ProviderAnswer is what a certificate provider answers.
type ProviderAnswer struct {
	CertificatePEM string `json:"certificatePem"`
}

// ParseProviderEvent reads an event and checks the fields that are acted upon.
func ParseProviderEvent(data []byte) (ProviderEvent, error) {
	if len(data) > maxEvent {
		return ProviderEvent{}, fmt.Errorf("certificate provider event is %d bytes long, more than %d", len(data), maxEvent)
	}
	var e ProviderEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return ProviderEvent{}, fmt.Errorf("parsing certificate provider event: %w", err)
	}
	if err := e.validate(); err != nil {
		return ProviderEvent{}, fmt.Errorf("certificate provider event: %w", err)
	}
	return e, nil
}

func (e ProviderEvent) validate() error {
	switch {
	case e.CertificateSigningRequest == "":
		return errors.New("certificateSigningRequest is missing")
	case len(e.CertificateSigningRequest) > maxCSR:
		return fmt.Errorf("certificateSigningRequest has %d characters, more than %d", len(e.CertificateSigningRequest), maxCSR)
	case e.PrincipalID == "":
		return errors.New("principalId is missing")
	}
	return nil
}

// request reads the certification request: one, signed by its key, that names a
// device.
func (e ProviderEvent) request() (*x509.CertificateRequest, error) {
	block, rest := pem.Decode([]byte(e.CertificateSigningRequest))
	if block == nil || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
		return nil, errors.New("certificateSigningRequest is no certification request in PEM")
	}
	if strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("certificateSigningRequest goes on behind its certification request")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parsing certification request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("checking the certification request's signature: %w", err)
	}
	if !ValidDevice(csr.Subject.CommonName) {
		return nil, fmt.Errorf("the certification request's common name %q is no identifier of a device", cut(csr.Subject.CommonName))
	}
	return csr, nil
}
