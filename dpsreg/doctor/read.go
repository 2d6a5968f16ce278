package doctor

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

const (
	// MaxFile bounds a file, in bytes.
	MaxFile = 1 << 20
	// maxCertificates bounds a chain: TLS takes no longer ones either.
	maxCertificates = 100
	// maxRSA bounds an RSA key, in bits: TLS of Go takes no longer ones.
	maxRSA = 8192
)

// ErrPrivateKey is the error of ReadChain for a file with a private key in it.
var ErrPrivateKey = errors.New("there is a private key in it: only certificates are wanted, and a key should never leave its device; take it out, and if the file has been anywhere else, make a new one")

// ReadChain reads the certificates of a file, in the order in which they come: PEM, or
// DER, one after the other. It refuses private keys, and whatever is neither.
func ReadChain(data []byte) ([]*x509.Certificate, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("it is larger than %d bytes", MaxFile)
	}
	if bytes.Contains(data, []byte("PRIVATE KEY-----")) {
		return nil, ErrPrivateKey // also one that cannot be read
	}
	if !bytes.Contains(data, []byte("-----BEGIN ")) {
		return readDER(data)
	}
	begins := bytes.Count(data, []byte("-----BEGIN "))
	var chain []*x509.Certificate
	blocks := 0
	for rest := data; ; blocks++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case block.Type == "PKCS7" || block.Type == "CMS":
			return nil, fmt.Errorf("it is a PKCS #7 file: openssl pkcs7 -print_certs makes PEM of it")
		case strings.HasSuffix(block.Type, "CERTIFICATE REQUEST"):
			return nil, fmt.Errorf("there is a certification request in it, and DPS is shown certificates")
		case block.Type != "CERTIFICATE" && block.Type != "X509 CERTIFICATE":
			continue
		case len(chain) == maxCertificates:
			return nil, fmt.Errorf("it has more than %d certificates", maxCertificates)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err == nil {
			err = checkKey(c)
		}
		if err != nil {
			return nil, fmt.Errorf("reading certificate %d: %w", len(chain)+1, err)
		}
		chain = append(chain, c)
	}
	switch {
	case blocks < begins:
		return nil, fmt.Errorf("a part of it cannot be read: %d begin as PEM, and %d are", begins, blocks)
	case len(chain) == 0:
		return nil, errors.New("it holds no certificate")
	}
	return chain, nil
}

func readDER(data []byte) ([]*x509.Certificate, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("it is empty")
	}
	chain, err := x509.ParseCertificates(data)
	switch {
	case err == nil && len(chain) > maxCertificates:
		return nil, fmt.Errorf("it has more than %d certificates", maxCertificates)
	case err == nil && len(chain) > 0:
		for i, c := range chain {
			if err := checkKey(c); err != nil {
				return nil, fmt.Errorf("reading certificate %d: %w", i+1, err)
			}
		}
		return chain, nil
	case isKey(data):
		return nil, ErrPrivateKey
	}
	return nil, errors.New("it holds no certificate, in PEM or DER")
}

// checkKey refuses RSA keys with which a signature would take minutes to verify.
func checkKey(c *x509.Certificate) error {
	if key, ok := c.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSA {
		return fmt.Errorf("its key has %d bits; more than %d are not looked at", key.N.BitLen(), maxRSA)
	}
	return nil
}

func isKey(der []byte) bool {
	_, pkcs8 := x509.ParsePKCS8PrivateKey(der)
	_, ec := x509.ParseECPrivateKey(der)
	_, pkcs1 := x509.ParsePKCS1PrivateKey(der)
	return pkcs8 == nil || ec == nil || pkcs1 == nil
}
