package kit

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// maxPEM bounds each input; roots and chains are a few kilobytes.
const maxPEM = 256 << 10

// certificates reads PEM that holds certificates and nothing secret.
func certificates(what string, data []byte) ([]*x509.Certificate, error) {
	if len(data) > maxPEM {
		return nil, fmt.Errorf("%s is %d bytes long, more than %d", what, len(data), maxPEM)
	}
	if bytes.Contains(data, []byte("PRIVATE KEY")) {
		return nil, fmt.Errorf("%s holds a private key, which belongs into no kit", what)
	}
	var list []*x509.Certificate
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return list, nil
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s holds a %s", what, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parsing %s: %w", what, err)
		}
		list = append(list, cert)
	}
}

// path reads the device's certificate and the chain, and checks that they belong
// together and are valid.
func (k Kit) path() (device *x509.Certificate, chain []*x509.Certificate, err error) {
	own, err := certificates("the device's certificate", k.Certificate)
	if err != nil {
		return nil, nil, err
	}
	if len(own) != 1 {
		return nil, nil, fmt.Errorf("the device's certificate is %d certificates, not one", len(own))
	}
	device = own[0]
	if chain, err = certificates("the chain", k.Chain); err != nil {
		return nil, nil, err
	}
	below := device
	for _, above := range chain {
		if err := below.CheckSignatureFrom(above); err != nil {
			return nil, nil, fmt.Errorf("the chain does not belong to the certificate: %q is not signed by %q: %w", below.Subject, above.Subject, err)
		}
		below = above
	}
	switch {
	case device.IsCA:
		return nil, nil, errors.New("the device's certificate is a CA's")
	case k.Now.After(device.NotAfter):
		return nil, nil, fmt.Errorf("the device's certificate expired at %s", device.NotAfter.UTC().Format(time.RFC3339))
	}
	return device, chain, nil
}

// encode writes certificates without what stood around them.
func encode(list ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, cert := range list {
		// bytes.Buffer does not fail, and there are no headers to refuse.
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	}
	return b.Bytes()
}
