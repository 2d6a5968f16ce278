package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
)

// MaxBundle bounds the certificates of one import, in bytes of PEM.
const MaxBundle = 64 << 20

// MediaPEM is the media type of a file of certificates (RFC 8555, Section 9.1).
const MediaPEM = "application/pem-certificate-chain"

// CertificateImport says what the certificates of an import are.
type CertificateImport struct {
	// Profile is what they are recorded under, and whose rule for the
	// identifier of a device they must keep.
	Profile string
	// Device is the subject attribute that identifies the device: commonName
	// or serialNumber. That of the profile if empty.
	Device string
}

// CertificatesImported says what was recorded.
type CertificatesImported struct {
	Certificates int `json:"certificates"` // in the file
	New          int `json:"new"`          // not recorded before
}

// ImportCertificates records certificates that were issued before mintmark, in
// PEM: all of them or none.
func (c *Client) ImportCertificates(ctx context.Context, content []byte, i CertificateImport) (CertificatesImported, error) {
	if len(content) > MaxBundle {
		return CertificatesImported{}, fmt.Errorf("the file measures %d bytes; %d are allowed: split it", len(content), MaxBundle)
	}
	v := url.Values{"profile": {i.Profile}}
	if i.Device != "" {
		v.Set("device", i.Device)
	}
	answer, err := c.upload(ctx, "/v1/certificates/import", v, MediaPEM, bytes.NewReader(content))
	if err != nil {
		return CertificatesImported{}, err
	}
	defer answer.Body.Close()
	var out CertificatesImported
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("decoding the server's answer: %w", err)
	}
	return out, nil
}
