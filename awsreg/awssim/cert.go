package awssim

import (
	"bytes"
	"crypto/x509"
	"strings"
	"time"
)

// Certificate statuses (API reference, CertificateDescription).
const (
	statusActive   = "ACTIVE"
	statusInactive = "INACTIVE"
	statusRevoked  = "REVOKED"
	statusPending  = "PENDING_ACTIVATION"
)

// certificate is a registered device certificate.
type certificate struct {
	seq        int64
	id         string
	cert       *x509.Certificate
	status     string
	mode       string
	caID       string // empty when registered without a CA
	policies   []string
	created    time.Time
	modified   time.Time
	version    int
	generation string
	jitp       bool               // a JITP run is under way
	claim      *provisioningClaim // set for a temporary claim, which is in no list
}

func (w *world) certARN(id string) string { return w.arn("iot", "cert/"+id) }

func (w *world) findCert(id string) (*certificate, error) {
	if cert, ok := w.certs[id]; ok {
		return cert, nil
	}
	return nil, notFound("Certificate %s does not exist", id)
}

// certByARN finds the certificate that a principal or a policy target names.
func (w *world) certByARN(arn string) (*certificate, error) {
	id, ok := strings.CutPrefix(arn, w.certARN(""))
	if !ok {
		if strings.HasPrefix(arn, "arn:") && !strings.Contains(arn, ":cert/") {
			return nil, noOperation("principals and targets other than certificates: " + clip(arn, 128))
		}
		return nil, invalid("%q is not the ARN of a certificate of this account and Region", clip(arn, 200))
	}
	return w.findCert(id)
}

func registerCertificate(c *call) (any, error) {
	var in struct {
		CertificatePem   string `json:"certificatePem"`
		CACertificatePem string `json:"caCertificatePem"`
		Status           string `json:"status"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	setActive, err := c.flag("setAsActive")
	if err != nil {
		return nil, err
	}
	if in.Status == "" && setActive {
		in.Status = statusActive
	}
	cert, status, err := c.w.newCertificate(in.CertificatePem, in.Status)
	if err != nil {
		return nil, err
	}
	ca, err := c.w.signerOf(cert, in.CACertificatePem)
	if err != nil {
		return nil, err
	}
	// An INACTIVE CA takes no new device certificates (AWS IoT developer guide,
	// manage-your-CA-certs). The code of the refusal follows its name.
	if !ca.active {
		return nil, iotError("CertificateStateException", "The CA certificate %s is INACTIVE", ca.id)
	}
	return c.w.addCertificate(cert, status, ca.mode, ca.id)
}

func registerCertificateWithoutCA(c *call) (any, error) {
	var in struct {
		CertificatePem string `json:"certificatePem"`
		Status         string `json:"status"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	cert, status, err := c.w.newCertificate(in.CertificatePem, in.Status)
	if err != nil {
		return nil, err
	}
	// The mode is SNI_ONLY (API reference, CertificateDescription, certificateMode).
	return c.w.addCertificate(cert, status, modeSNIOnly, "")
}

// newCertificate checks a device certificate that is to be registered.
func (w *world) newCertificate(text, status string) (*x509.Certificate, string, error) {
	cert, err := parseCertificate("certificatePem", text)
	if err != nil {
		return nil, "", err
	}
	switch status {
	case "":
		status = statusInactive
	case statusActive, statusInactive, statusRevoked:
	case statusPending:
		// Measured on the real service by the authors of ministack.
		return nil, "", iotError("CertificateStateException", "Not allowed to register certificate with PENDING_ACTIVATION status")
	default:
		return nil, "", invalid("status must be ACTIVE, INACTIVE or REVOKED, not %q", status)
	}
	if err := checkKeyAndSignature("certificate", cert); err != nil {
		return nil, "", err
	}
	if err := checkValidity("certificate", cert, w.now()); err != nil {
		return nil, "", err
	}
	return cert, status, nil
}

// signerOf finds the registered CA that signed cert. With more than one CA of
// that subject the caller must name it (API reference, RegisterCertificate).
func (w *world) signerOf(cert *x509.Certificate, caPEM string) (*caCertificate, error) {
	if caPEM != "" {
		given, err := parseCertificate("caCertificatePem", caPEM)
		if err != nil {
			return nil, err
		}
		ca, ok := w.cas[certificateID(given)]
		if !ok {
			return nil, invalidCert("The CA certificate is not registered")
		}
		if !signedBy(cert, ca.cert) {
			return nil, invalidCert("The certificate is not signed by the CA certificate")
		}
		return ca, nil
	}
	var match []*caCertificate
	for _, ca := range w.cas {
		if bytes.Equal(ca.cert.RawSubject, cert.RawIssuer) {
			match = append(match, ca)
		}
	}
	switch {
	case len(match) > 1:
		return nil, iotError("CertificateConflictException", "More than one registered CA certificate has this subject; give caCertificatePem")
	case len(match) == 0 || !signedBy(cert, match[0].cert):
		return nil, invalidCert("The certificate is not signed by a registered CA certificate")
	}
	return match[0], nil
}

func (w *world) addCertificate(cert *x509.Certificate, status, mode, caID string) (any, error) {
	id := certificateID(cert)
	if _, ok := w.certs[id]; ok {
		return nil, alreadyExists(id, w.certARN(id), "The certificate is already registered")
	}
	if err := room(w.certs, "certificates"); err != nil {
		return nil, err
	}
	now := w.now()
	w.certs[id] = &certificate{
		seq: w.next(), id: id, cert: cert, status: status, mode: mode, caID: caID,
		created: now, modified: now, version: 1, generation: randomID(),
	}
	return map[string]string{"certificateArn": w.certARN(id), "certificateId": id}, nil
}

func describeCertificate(c *call) (any, error) {
	cert, err := c.w.findCert(c.path["certificateId"])
	if err != nil {
		return nil, err
	}
	d := map[string]any{
		"certificateArn": c.w.certARN(cert.id), "certificateId": cert.id, "status": cert.status,
		"certificatePem": pemOf(cert.cert), "ownedBy": c.w.account.ID, "creationDate": epoch(cert.created),
		"lastModifiedDate": epoch(cert.modified), "customerVersion": cert.version, "generationId": cert.generation,
		"validity": validityOf(cert.cert), "certificateMode": cert.mode,
	}
	if cert.caID != "" {
		d["caCertificateId"] = cert.caID
	}
	return map[string]any{"certificateDescription": d}, nil
}

func listCertificates(c *call) (any, error) {
	return c.listCerts(func(*certificate) bool { return true })
}

// listCertificatesByCA models no ResourceNotFoundException: an unknown CA has no
// certificates.
func listCertificatesByCA(c *call) (any, error) {
	return c.listCerts(func(cert *certificate) bool { return cert.caID == c.path["caCertificateId"] })
}

func (c *call) listCerts(keep func(*certificate) bool) (any, error) {
	ascending, err := c.flag("isAscendingOrder")
	if err != nil {
		return nil, err
	}
	page, marker, err := paginateIf(c, c.w.certsInOrder(), keep, func(x *certificate) int64 { return x.seq }, "pageSize", "marker", ascending)
	if err != nil {
		return nil, err
	}
	out := []map[string]any{}
	for _, cert := range page {
		out = append(out, map[string]any{
			"certificateArn": c.w.certARN(cert.id), "certificateId": cert.id, "status": cert.status,
			"certificateMode": cert.mode, "creationDate": epoch(cert.created),
		})
	}
	return withMarker(map[string]any{"certificates": out}, "nextMarker", marker), nil
}

// updateCertificate changes the status. PENDING_* cannot be set and REVOKED is
// final (API reference, UpdateCertificate; AWS IoT developer guide,
// activate-or-deactivate-device-cert).
func updateCertificate(c *call) (any, error) {
	cert, err := c.w.findCert(c.path["certificateId"])
	if err != nil {
		return nil, err
	}
	status := c.query.Get("newStatus")
	switch status {
	case statusActive, statusInactive, statusRevoked:
	case "":
		return nil, invalid("newStatus must be given")
	default:
		return nil, invalid("The status %s cannot be set; use ACTIVE, INACTIVE or REVOKED", status)
	}
	if cert.status == statusRevoked && status != statusRevoked {
		return nil, iotError("CertificateStateException", "The certificate is REVOKED, which is final")
	}
	if cert.status != status {
		c.w.setStatus(cert, status)
		if status != statusActive {
			conns := c.w.sessionsOf(cert.id)
			c.then(func() { c.w.disconnect(conns, "the certificate was set to "+status) })
		}
	}
	return nil, nil
}

func (w *world) setStatus(cert *certificate, status string) {
	cert.status = status
	cert.modified = w.now()
	cert.version++
}

// deleteCertificate applies the rules of the API reference, DeleteCertificate: not
// while ACTIVE, and not while a policy or a thing is attached. forceDelete lifts
// the rule for policies, not the one for things.
func deleteCertificate(c *call) (any, error) {
	cert, err := c.w.findCert(c.path["certificateId"])
	if err != nil {
		return nil, err
	}
	force, err := c.flag("forceDelete")
	if err != nil {
		return nil, err
	}
	if cert.status == statusActive {
		return nil, iotError("CertificateStateException", "The certificate must be INACTIVE before it is deleted")
	}
	if len(c.w.thingsOf(cert.id)) > 0 {
		return nil, iotError("DeleteConflictException", "Things must be detached before deletion (arn: %s)", c.w.certARN(cert.id))
	}
	if len(cert.policies) > 0 && !force {
		return nil, iotError("DeleteConflictException", "Certificate policies must be detached before deletion (arn: %s)", c.w.certARN(cert.id))
	}
	delete(c.w.certs, cert.id)
	conns := c.w.sessionsOf(cert.id)
	c.then(func() { c.w.disconnect(conns, "the certificate was deleted") })
	return nil, nil
}
