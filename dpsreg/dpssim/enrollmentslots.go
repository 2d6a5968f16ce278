package dpssim

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"strings"

	"mintmark/dpsreg/dps"
)

// parseCertificate reads the certificate of a slot: PEM with one certificate, or base64
// of DER.
func parseCertificate(text string) (*x509.Certificate, error) {
	var der []byte
	if strings.Contains(text, "-----BEGIN") {
		block, rest := pem.Decode([]byte(text))
		switch {
		case block == nil || block.Type != "CERTIFICATE":
			return nil, invalid("the certificate is no PEM certificate")
		case strings.Contains(string(rest), "-----BEGIN"):
			return nil, invalid("a slot takes one certificate, not a chain and no key")
		}
		der = block.Bytes
	} else {
		var err error
		if der, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err != nil {
			return nil, invalid("the certificate is neither PEM nor base64")
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, invalid("the certificate cannot be read: %v", err)
	}
	return cert, nil
}

// fill reads both slots of attestation x and leaves Info in their place. old are the
// certificates that the slots hold; a slot that comes with Info only keeps the one that
// it names. What Azure does with the Info of the other slot is unknown, so that it is
// refused like any other that is not in the slot.
func (e *enrollment) fill(k kind, x *dps.X509, old *enrollment) error {
	slots := slotsOf(x)
	if slots == nil {
		return nil
	}
	var oldPrimary, oldSecondary *x509.Certificate
	if old != nil {
		oldPrimary, oldSecondary = old.primary, old.secondary
	}
	var err error
	if e.primary, err = fillSlot(k, slots.Primary, oldPrimary); err != nil {
		return err
	}
	if e.secondary, err = fillSlot(k, slots.Secondary, oldSecondary); err != nil {
		return err
	}
	return nil
}

func fillSlot(k kind, slot *dps.Certificate, old *x509.Certificate) (*x509.Certificate, error) {
	if slot == nil {
		return nil, nil
	}
	var cert *x509.Certificate
	switch {
	case slot.Certificate != "":
		var err error
		if cert, err = parseCertificate(slot.Certificate); err != nil {
			return nil, err
		}
		if k == kindGroup && (!cert.BasicConstraintsValid || !cert.IsCA) {
			return nil, invalid("certificate %q of a group is not that of a CA", clip(cert.Subject.String(), 128))
		}
	case slot.Info == nil:
		return nil, invalid("a slot has neither certificate nor info")
	case old == nil || !strings.EqualFold(slot.Info.SHA256, sha256Thumbprint(old)):
		return nil, invalid("info without a certificate keeps what is in the slot, and thumbprint %q is not in it", clip(slot.Info.SHA256, 64))
	default:
		cert = old
	}
	slot.Certificate, slot.Info = "", infoOf(cert)
	return cert, nil
}

// infoOf is what the service says of a certificate. The layout of names is that of the
// vendor's reference ("CN=ROOT, OU=Azure IoT, O=MSFT, C=US"), and of .NET; upper case of
// thumbprints and serial numbers is how .NET prints them and not documented here.
func infoOf(c *x509.Certificate) *dps.Info {
	return &dps.Info{
		Subject: distinguishedName(c.RawSubject), SHA1: sha1Thumbprint(c), SHA256: sha256Thumbprint(c),
		Issuer: distinguishedName(c.RawIssuer), NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
		Serial: strings.ToUpper(hex.EncodeToString(c.SerialNumber.Bytes())), Version: c.Version,
	}
}

func sha1Thumbprint(c *x509.Certificate) string {
	sum := sha1.Sum(c.Raw)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

func sha256Thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}
