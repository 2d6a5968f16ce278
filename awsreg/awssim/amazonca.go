package awssim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// maxCSR is the longest certificateSigningRequest (API reference,
// CreateCertificateFromCsr).
const maxCSR = 4096

// amazonExpiry is when every certificate that AWS IoT issues expires (AWS IoT
// developer guide, device-certs-create).
var amazonExpiry = time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)

// amazonSubject is the subject of certificates whose key AWS IoT makes.
var amazonSubject = pkix.Name{CommonName: "AWS IoT Certificate"}

// amazonCA stands in for the Amazon CA that signs what AWS IoT issues. Each account
// and region has one of its own; at AWS it is a shared one.
type amazonCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// amazon returns the world's Amazon CA and makes it on first use. The caller holds
// w.mu.
func (w *world) amazon() (*amazonCA, error) {
	if w.fleet.ca != nil {
		return w.fleet.ca, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of the simulated Amazon CA: %w", err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject: pkix.Name{Organization: []string{"Amazon.com Inc."}, OrganizationalUnit: []string{"Amazon Web Services"},
			CommonName: "Simulated Amazon CA of account " + w.account.ID},
		NotBefore: w.now().Add(-time.Hour), NotAfter: amazonExpiry,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the simulated Amazon CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	w.fleet.ca = &amazonCA{cert: cert, key: key}
	return w.fleet.ca, nil
}

// issue signs a certificate for a public key. subject is DER.
func (a *amazonCA) issue(now, notAfter time.Time, subject []byte, public any) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, RawSubject: subject, NotBefore: now.Add(-2 * time.Minute), NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("signing with the simulated Amazon CA: %w", err)
	}
	return x509.ParseCertificate(der)
}

// keyPair is a key that AWS made, as the API writes it. The private key is kept
// nowhere in the simulator.
type keyPair struct {
	PublicKey  string
	PrivateKey string
}

// newKeyPair makes the 2048-bit RSA key of CreateKeysAndCertificate and
// CreateProvisioningClaim (API reference). It takes up to a second, so w.mu should
// not be held.
func newKeyPair() (keyPair, *rsa.PublicKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return keyPair{}, nil, fmt.Errorf("making a key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return keyPair{}, nil, err
	}
	return keyPair{
		PublicKey:  string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		PrivateKey: string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
	}, &key.PublicKey, nil
}

// parseRequest reads exactly one PEM certification request and checks its signature
// and its key: RSA from 2048 bits, or NIST P-256, P-384 or P-521 (API reference,
// CreateCertificateFromCsr).
func parseRequest(text string) (*x509.CertificateRequest, error) {
	if text == "" || len(text) > maxCSR {
		return nil, invalid("certificateSigningRequest must have 1 to %d characters, not %d", maxCSR, len(text))
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(bytes.TrimSpace(rest)) != 0 {
		return nil, invalid("certificateSigningRequest is not one PEM certification request")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, invalid("certificateSigningRequest cannot be parsed: %v", err)
	}
	if err := checkKeyAndSignature("certification request", &x509.Certificate{SignatureAlgorithm: csr.SignatureAlgorithm, PublicKey: csr.PublicKey}); err != nil {
		return nil, invalid("%s", err.(*apiError).message)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, invalid("The signature of the certification request is not valid")
	}
	return csr, nil
}

// issueFor issues an Amazon certificate for a certification request. It keeps the
// request's subject; which parts of it AWS keeps is not documented. The caller holds
// w.mu.
func (w *world) issueFor(csr *x509.CertificateRequest) (*x509.Certificate, error) {
	ca, err := w.amazon()
	if err != nil {
		return nil, err
	}
	subject := csr.RawSubject
	if len(subject) == 0 || bytes.Equal(subject, emptyName) {
		if subject, err = asn1.Marshal(amazonSubject.ToRDNSequence()); err != nil {
			return nil, err
		}
	}
	return ca.issue(w.now(), amazonExpiry, subject, csr.PublicKey)
}

// emptyName is the DER of a name without attributes.
var emptyName = []byte{0x30, 0x00}

// issueKeys issues an Amazon certificate for a key that AWS made. The caller holds
// w.mu.
func (w *world) issueKeys(public *rsa.PublicKey, notAfter time.Time) (*x509.Certificate, error) {
	ca, err := w.amazon()
	if err != nil {
		return nil, err
	}
	subject, err := asn1.Marshal(amazonSubject.ToRDNSequence())
	if err != nil {
		return nil, err
	}
	return ca.issue(w.now(), notAfter, subject, public)
}
