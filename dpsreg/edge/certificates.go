package edge

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"time"
)

// maxPEM bounds each input; chains and trust anchors are a few kilobytes.
const maxPEM = 256 << 10

// certificates reads PEM that holds certificates and nothing secret.
func certificates(what string, data []byte) ([]*x509.Certificate, error) {
	if len(data) > maxPEM {
		return nil, fmt.Errorf("%s: %d bytes are more than %d", what, len(data), maxPEM)
	}
	if bytes.Contains(data, []byte("PRIVATE KEY")) {
		return nil, fmt.Errorf("%s: there is a private key in the file, which belongs to the device: place.sh takes it", what)
	}
	var list []*x509.Certificate
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s: there is a %s in the file", what, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: parsing certificate %d: %w", what, len(list)+1, err)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: there is no certificate in PEM", what)
	}
	return list, nil
}

// encode writes certificates without what stood around them.
func encode(list ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range list {
		// bytes.Buffer does not fail, and there are no headers to refuse.
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.Bytes()
}

func (c *Config) checkCertificates() error {
	if len(c.Chain) > 0 {
		if err := c.checkChain(); err != nil {
			return err
		}
	}
	for _, one := range []struct {
		what string
		data []byte
	}{{"the bootstrap certificate", c.Enroll.Bootstrap}, {"the EST identity", c.Enroll.Certificate}} {
		if len(one.data) == 0 {
			continue
		}
		list, err := certificates(one.what, one.data)
		if err != nil {
			return err
		}
		if err := c.checkEndEntity(one.what, list); err != nil {
			return err
		}
	}
	for _, one := range []struct {
		what string
		data []byte
	}{{"the trust anchors of the EST server", c.Enroll.Trust}, {"the trust bundle", c.TrustBundle}} {
		if len(one.data) == 0 {
			continue
		}
		list, err := certificates(one.what, one.data)
		if err != nil {
			return err
		}
		for _, anchor := range list {
			if !anchor.IsCA {
				return fmt.Errorf("%s: %q is no CA", one.what, anchor.Subject)
			}
			if c.Now.After(anchor.NotAfter) {
				return fmt.Errorf("%s: %q expired at %s", one.what, anchor.Subject, anchor.NotAfter.UTC().Format(time.RFC3339))
			}
		}
	}
	return nil
}

// checkChain holds the device's certificate against what DPS wants of it.
// https://learn.microsoft.com/azure/iot-dps/concepts-x509-attestation
func (c *Config) checkChain() error {
	const what = "the device's certificate"
	list, err := certificates(what, c.Chain)
	if err != nil {
		return err
	}
	if err := c.checkEndEntity(what, list); err != nil {
		return err
	}
	switch name := list[0].Subject.CommonName; {
	case name != c.RegistrationID:
		return fmt.Errorf("%s is %q, and the registration id %q: DPS takes a device only where they are the same", what, name, c.RegistrationID)
	case len(list) == 1 && !c.Individual:
		return fmt.Errorf("%s comes without its CAs, and an enrollment group needs the chain up to a verified CA: add them to the file, or say that the device has an individual enrollment", what)
	}
	return nil
}

// checkEndEntity checks the order of a chain and what its first certificate is.
func (c *Config) checkEndEntity(what string, list []*x509.Certificate) error {
	device := list[0]
	if device.IsCA {
		return fmt.Errorf("%s: the first one in the file, %q, is a CA's", what, device.Subject)
	}
	if len(device.ExtKeyUsage) > 0 && !slices.Contains(device.ExtKeyUsage, x509.ExtKeyUsageClientAuth) && !slices.Contains(device.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return fmt.Errorf("%s: its extended key usage has no clientAuth", what)
	}
	for i, above := range list[1:] {
		if err := list[i].CheckSignatureFrom(above); err != nil {
			return fmt.Errorf("%s: the chain is out of order: %q is not signed by %q, which follows it: %w", what, list[i].Subject, above.Subject, err)
		}
	}
	for _, one := range list {
		if c.Now.After(one.NotAfter) {
			return fmt.Errorf("%s: %q expired at %s", what, one.Subject, one.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	return nil
}
