package claim

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
)

// Bounds of what AWS sends.
const (
	maxToken        = 8192
	maxAnswerText   = 1024 // characters of an error's code and message, each
	maxCertificates = 10   // in one PEM text
	maxConfig       = 1000 // members of a device configuration
)

// created is the answer of CreateCertificateFromCsr.
type created struct {
	id    string
	token string
	pem   []byte
	leaf  *x509.Certificate
}

// registered is the answer of RegisterThing.
type registered struct {
	thing  string
	config map[string]string
}

// parseCreated reads the answer for a certification request. A certificate for
// another key is an error: the device could never use it.
func parseCreated(payload []byte, csr *x509.CertificateRequest) (*created, error) {
	var in struct {
		ID    string `json:"certificateId"`
		PEM   string `json:"certificatePem"`
		Token string `json:"certificateOwnershipToken"`
	}
	if err := decode(payload, &in); err != nil {
		return nil, err
	}
	switch {
	case !hexID.MatchString(in.ID):
		return nil, fmt.Errorf("certificateId %.80q is not 64 hexadecimal digits", in.ID)
	case in.Token == "" || len(in.Token) > maxToken:
		return nil, fmt.Errorf("certificateOwnershipToken has %d characters, want 1 to %d", len(in.Token), maxToken)
	}
	leaf, err := firstCertificate([]byte(in.PEM))
	if err != nil {
		return nil, fmt.Errorf("certificatePem: %w", err)
	}
	if !bytes.Equal(leaf.RawSubjectPublicKeyInfo, csr.RawSubjectPublicKeyInfo) {
		return nil, errors.New("the certificate is for another public key than the certification request")
	}
	return &created{id: in.ID, token: in.Token, pem: []byte(in.PEM), leaf: leaf}, nil
}

// firstCertificate parses every certificate of a PEM text and returns the first.
func firstCertificate(text []byte) (*x509.Certificate, error) {
	var first *x509.Certificate
	for n := 0; ; n++ {
		block, rest := pem.Decode(text)
		if block == nil {
			if len(bytes.TrimSpace(text)) > 0 || first == nil {
				return nil, errors.New("it is not a PEM certificate")
			}
			return first, nil
		}
		if block.Type != "CERTIFICATE" || n == maxCertificates {
			return nil, fmt.Errorf("it holds something else than 1 to %d certificates", maxCertificates)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if first == nil {
			first = cert
		}
		text = rest
	}
}

// parseRegistered reads the answer of RegisterThing.
func parseRegistered(payload []byte) (*registered, error) {
	var in struct {
		Thing  string                     `json:"thingName"`
		Config map[string]json.RawMessage `json:"deviceConfiguration"`
	}
	if err := decode(payload, &in); err != nil {
		return nil, err
	}
	if in.Thing != "" && !thingName.MatchString(in.Thing) {
		return nil, fmt.Errorf("thingName %.160q is not a name of a thing", in.Thing)
	}
	if len(in.Config) > maxConfig {
		return nil, fmt.Errorf("deviceConfiguration has %d members, at most %d", len(in.Config), maxConfig)
	}
	out := &registered{thing: in.Thing, config: map[string]string{}}
	for k, raw := range in.Config {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			s = string(raw)
		}
		out.config[k] = s
	}
	return out, nil
}

// parseRejection reads a refusal. One that cannot be read is still a refusal.
func parseRejection(operation string, payload []byte) error {
	var in struct {
		StatusCode int    `json:"statusCode"`
		Code       string `json:"errorCode"`
		Message    string `json:"errorMessage"`
	}
	if err := decode(payload, &in); err != nil {
		return &Rejection{Operation: operation, Message: fmt.Sprintf("the refusal cannot be read: %v", err)}
	}
	return &Rejection{operation, in.StatusCode, clip(in.Code), clip(in.Message)}
}

// decode reads one JSON object. Members that are not known are ignored, as AWS may
// add some.
func decode(payload []byte, v any) error {
	trimmed := bytes.TrimSpace(payload)
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return errors.New("the answer is not a JSON object")
	}
	if err := json.Unmarshal(trimmed, v); err != nil {
		return fmt.Errorf("parsing the answer: %w", err)
	}
	return nil
}

// clip bounds a text of AWS for errors and logs.
func clip(s string) string {
	if len(s) > maxAnswerText {
		return s[:maxAnswerText] + "..."
	}
	return s
}
