package dpssim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Files of the state directory.
const (
	rootFile    = "root.pem"
	rootKeyFile = "root.key"
)

// trustAnchor signs the server certificates, in the place of DigiCert Global Root G2 and
// the others that Azure uses.
type trustAnchor struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// trustAnchorOf is the one that an earlier run left in the state directory, as long as it
// is valid, and otherwise a new one.
func trustAnchorOf(cfg Config) (*trustAnchor, error) {
	if cfg.StateDir != "" {
		t, err := readTrustAnchor(filepath.Join(cfg.StateDir, rootFile), filepath.Join(cfg.StateDir, rootKeyFile))
		if err != nil || t != nil && cfg.Now().Before(t.cert.NotAfter) {
			return t, err
		}
	}
	return newTrustAnchor(cfg.Now())
}

func newTrustAnchor(now time.Time) (*trustAnchor, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"mintmark Azure simulator"}, CommonName: "Simulated Azure Root CA"},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &trustAnchor{cert, key}, err
}

// newSerial is a serial number that no other certificate has, also of another run: TLS
// clients refuse two of one issuer.
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	return n.Add(n, big.NewInt(1)), nil
}

// readTrustAnchor reads what writeStateDir wrote; nil if one of the files is not there.
func readTrustAnchor(certFile, keyFile string) (*trustAnchor, error) {
	var content [2][]byte
	for i, name := range []string{certFile, keyFile} {
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		content[i] = b
	}
	pair, err := tls.X509KeyPair(content[0], content[1])
	if err != nil {
		return nil, fmt.Errorf("%s and %s are not the simulator's trust anchor and its key (without them it makes new ones): %w", certFile, keyFile, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("%s is not the simulator's trust anchor", certFile)
	}
	return &trustAnchor{pair.Leaf, key}, nil
}

func (t *trustAnchor) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: t.cert.Raw})
}

func (t *trustAnchor) keyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(t.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
