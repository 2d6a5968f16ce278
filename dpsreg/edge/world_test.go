package edge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// device is the one whose configuration is written.
const device = "press-0042"

// authority is a certificate with its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (a *authority) pem() []byte { return encode(a.cert) }

func (a *authority) keyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// issue makes a certificate; by nil signs itself. Changes apply to its template.
func issue(t testing.TB, name string, by *authority, changes ...func(*x509.Certificate)) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
	}
	for _, change := range changes {
		change(template)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func isCA(c *x509.Certificate) {
	c.IsCA = true
	c.KeyUsage = x509.KeyUsageCertSign
}

func clientAuth(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }

// world is a small hierarchy with the device's certificates.
type world struct{ root, issuing, leaf, bootstrap, gateways *authority }

func newWorld(t testing.TB) world {
	t.Helper()
	root := issue(t, "Root", nil, isCA)
	issuing := issue(t, "Issuing", root, isCA)
	return world{
		root: root, issuing: issuing,
		leaf:      issue(t, device, issuing, clientAuth),
		bootstrap: issue(t, device, issue(t, "Maker", nil, isCA), clientAuth),
		gateways:  issue(t, "Gateway Root", nil, isCA),
	}
}

// chain is the device's certificate as DPS wants it.
func (w world) chain() []byte { return encode(w.leaf.cert, w.issuing.cert, w.root.cert) }

// configurations of the three identities.

func (w world) file() Config {
	return Config{RegistrationID: device, IDScope: "0ne00000A0B", Identity: ByFile, Chain: w.chain()}
}

func (w world) est() Config {
	return Config{RegistrationID: device, IDScope: "0ne00000A0B", Identity: ByEST, Enroll: Enroll{
		URL: "https://ca.example.org:8443/.well-known/est/edge", Trust: w.root.pem(), Bootstrap: w.bootstrap.pem(),
	}}
}

func (w world) pkcs11() Config {
	c := w.file()
	c.Identity = ByPKCS11
	c.Token = Token{Library: "/usr/lib/softhsm/libsofthsm2.so", Label: "Key pairs", Object: "device id"}
	return c
}

const edgeCALabel = "https://ca.example.org:8443/.well-known/est/edge-ca"
