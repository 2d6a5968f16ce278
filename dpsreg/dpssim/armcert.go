package dpssim

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"mintmark/internal/pattern"
)

// maxCertificates is how many CAs a service takes
// (https://learn.microsoft.com/azure/iot-dps/about-iot-dps#quotas-and-limits).
const maxCertificates = 25

// certificateName is what the specification takes: up to 256 characters.
var certificateName = pattern.New(`^[A-Za-z0-9\-._]{1,256}$`)

// invalidEtag is the documented text (https://github.com/Azure/azure-cli/issues/13098)
// with its number (https://github.com/crossplane-contrib/provider-upjet-azure/issues/299).
func (s *Sim) invalidEtag() answer {
	return s.armError(http.StatusPreconditionFailed, 412001, "Invalid ETag supplied.")
}

// badCertificate is a refusal whose text and number at Azure are unknown.
func (s *Sim) badCertificate(format string, args ...any) answer {
	text := fmt.Sprintf(format, args...)
	s.note("certificate.refused", text, "vendorText", "unknown")
	return s.armError(http.StatusBadRequest, 0, text)
}

func (s *Sim) noCertificate(name string) answer {
	return s.armError(http.StatusNotFound, 0, fmt.Sprintf("There is no certificate %q.", clip(name, 256)))
}

// sameEtag compares If-Match with an etag, which the resource manager's clients send as it
// stands in the body; quoted, as RFC 9110 section 13.1.1 wants it, is taken too.
func sameEtag(ifMatch, etag string) bool {
	return ifMatch == "*" || ifMatch == etag || ifMatch == `"`+etag+`"`
}

func (s *Sim) listCertificates(*armCall) answer {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	list := []any{}
	for _, c := range s.sortedCertificates() {
		list = append(list, s.certificateJSON(c))
	}
	return ok(map[string]any{"value": list})
}

// sortedCertificates lists them by name. The caller holds s.store.mu.
func (s *Sim) sortedCertificates() []*caCertificate {
	var list []*caCertificate
	for _, c := range s.store.certificates {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *caCertificate) int { return strings.Compare(a.name, b.name) })
	return list
}

// getCertificate ignores If-Match: the specification has it as optional, and does not
// say what it is good for.
func (s *Sim) getCertificate(call *armCall) answer {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	c := s.store.certificateNamed(call.name)
	if c == nil {
		return s.noCertificate(call.name)
	}
	return ok(s.certificateJSON(c))
}

// putCertificate creates, where If-Match is ignored, or updates, where it is required.
func (s *Sim) putCertificate(call *armCall) answer {
	if !certificateName.MatchString(call.name) {
		return s.badCertificate("The name of a certificate has 1 to 256 letters, digits and characters of -._")
	}
	cert, verified, err := parseUpload(call.body)
	if err != nil {
		return s.badCertificate("%v", err)
	}
	now := s.now()
	switch {
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return s.badCertificate("The certificate is not that of a CA.")
	case now.After(cert.NotAfter):
		return s.badCertificate("The certificate has expired.")
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	c := s.store.certificateNamed(call.name)
	switch {
	case c == nil && len(s.store.certificates) >= maxCertificates:
		return s.badCertificate("The service has %d certificates, the most that it takes.", maxCertificates)
	case c == nil:
		c = &caCertificate{name: call.name, created: now}
		s.store.certificates[strings.ToLower(call.name)] = c
	case call.ifMatch == "":
		s.note("certificate.refused", "If-Match is required to update a certificate", "vendorText", "unknown", "name", call.name)
		return s.invalidEtag()
	case !sameEtag(call.ifMatch, c.etag):
		return s.invalidEtag()
	case !c.certificate.Equal(cert):
		c.verified = false // a proof is of one key
	}
	c.certificate, c.verified, c.code, c.updated = cert, c.verified || verified, "", now
	c.etag = s.store.nextEtag()
	s.note("certificate.uploaded", "a CA certificate was uploaded", "name", c.name, "subject", cert.Subject.String(), "verified", fmt.Sprint(c.verified))
	return ok(s.certificateJSON(c))
}

// generateCode gives a new code, and the certificate a new etag. As in the example of
// the specification the answer has no etag: who goes on must read it first.
func (s *Sim) generateCode(call *armCall) answer {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	c := s.store.certificateNamed(call.name)
	switch {
	case c == nil:
		return s.noCertificate(call.name)
	case call.ifMatch == "" || !sameEtag(call.ifMatch, c.etag):
		return s.invalidEtag()
	}
	// 24 bytes in upper-case hexadecimal, as a code in
	// https://github.com/aws/aws-iot-device-sdk-python/issues/180 has.
	var b [24]byte
	rand.Read(b[:])
	c.code = strings.ToUpper(hex.EncodeToString(b[:]))
	c.updated = s.now()
	c.etag = s.store.nextEtag()
	out := s.certificateJSON(c)
	delete(out, "etag")
	out["properties"].(map[string]any)["verificationCode"] = c.code
	return ok(out)
}

// verifyCertificate takes the proof of possession: a certificate with the code as its
// common name, signed by the CA
// (https://learn.microsoft.com/azure/iot-dps/how-to-verify-certificates).
func (s *Sim) verifyCertificate(call *armCall) answer {
	proof, err := parseProof(call.body)
	if err != nil {
		return s.badCertificate("%v", err)
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	c := s.store.certificateNamed(call.name)
	now := s.now()
	switch {
	case c == nil:
		return s.noCertificate(call.name)
	case call.ifMatch == "" || !sameEtag(call.ifMatch, c.etag):
		return s.invalidEtag()
	case c.code == "":
		return s.badCertificate("No verification code was generated for this certificate.")
	case proof.Subject.CommonName != c.code:
		return s.badCertificate("The common name of the verification certificate is not the verification code.")
	case !bytes.Equal(proof.RawIssuer, c.certificate.RawSubject) || proof.CheckSignatureFrom(c.certificate) != nil:
		return s.badCertificate("The verification certificate is not signed by the certificate that is to be verified.")
	case now.Before(proof.NotBefore) || now.After(proof.NotAfter):
		return s.badCertificate("The verification certificate has expired or is not valid yet.")
	case now.After(c.certificate.NotAfter):
		return s.badCertificate("The certificate that is to be verified has expired.")
	}
	c.verified, c.code, c.updated = true, "", now
	c.etag = s.store.nextEtag()
	s.note("certificate.verified", "a CA certificate was verified by proof of possession", "name", c.name)
	return ok(s.certificateJSON(c))
}

// deleteCertificate answers 204 where there is nothing, as the specification has it. What
// Azure does with a certificate that a group names is unknown; here it goes, and the group's
// reference leads nowhere.
func (s *Sim) deleteCertificate(call *armCall) answer {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	c := s.store.certificateNamed(call.name)
	switch {
	case c == nil:
		return answer{status: http.StatusNoContent}
	case call.ifMatch == "" || !sameEtag(call.ifMatch, c.etag):
		return s.invalidEtag()
	}
	delete(s.store.certificates, strings.ToLower(call.name))
	s.note("certificate.deleted", "a CA certificate was deleted", "name", c.name)
	return answer{status: http.StatusOK}
}

// certificateJSON is CertificateResponse. The caller holds s.store.mu.
func (s *Sim) certificateJSON(c *caCertificate) map[string]any {
	sum := sha1.Sum(c.certificate.Raw)
	return map[string]any{
		"id":   s.serviceID() + "/certificates/" + c.name,
		"name": c.name, "type": "Microsoft.Devices/ProvisioningServices/Certificates", "etag": c.etag,
		"properties": map[string]any{
			"subject": distinguishedName(c.certificate.RawSubject), "thumbprint": strings.ToUpper(hex.EncodeToString(sum[:])),
			"expiry": rfc1123(c.certificate.NotAfter), "created": rfc1123(c.created), "updated": rfc1123(c.updated),
			"isVerified": c.verified, "certificate": base64.StdEncoding.EncodeToString(c.certificate.Raw),
		},
	}
}

func rfc1123(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

// parseUpload reads the body of a PUT. Members that it does not know are left alone, as
// clients send back what they read.
func parseUpload(body []byte) (*x509.Certificate, bool, error) {
	var in struct {
		Properties *struct {
			Certificate string `json:"certificate"`
			IsVerified  bool   `json:"isVerified"`
		} `json:"properties"`
	}
	if err := decodeOne(body, &in); err != nil {
		return nil, false, err
	}
	if in.Properties == nil || in.Properties.Certificate == "" {
		return nil, false, errors.New("properties.certificate is missing")
	}
	cert, err := parseARMCertificate(in.Properties.Certificate)
	return cert, in.Properties.IsVerified, err
}

// parseProof reads the body of verify.
func parseProof(body []byte) (*x509.Certificate, error) {
	var in struct {
		Certificate string `json:"certificate"`
	}
	if err := decodeOne(body, &in); err != nil {
		return nil, err
	}
	if in.Certificate == "" {
		return nil, errors.New("certificate is missing")
	}
	return parseARMCertificate(in.Certificate)
}

// decodeOne reads exactly one JSON value.
func decodeOne(body []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(v); err != nil {
		return errors.New("the request body is not JSON of the wanted shape")
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("there is more behind the JSON value of the request body")
	}
	return nil
}

// parseARMCertificate reads "base-64 representation of X509 certificate .cer file or
// just .pem file content" (specification, CertificateProperties): base64 of DER or of
// PEM, or PEM. More than one certificate is refused; what Azure does with them is unknown.
func parseARMCertificate(text string) (*x509.Certificate, error) {
	data := []byte(text)
	if !strings.Contains(text, "-----BEGIN") {
		var err error
		if data, err = base64.StdEncoding.DecodeString(strings.TrimSpace(text)); err != nil {
			return nil, errors.New("the certificate is neither base64 nor PEM")
		}
	}
	if bytes.Contains(data, []byte("-----BEGIN")) {
		block, rest := pem.Decode(data)
		if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
			return nil, errors.New("the certificate is not exactly one PEM certificate")
		}
		data = block.Bytes
	}
	cert, err := x509.ParseCertificate(data)
	if err != nil {
		return nil, errors.New("the certificate cannot be parsed")
	}
	return cert, nil
}
