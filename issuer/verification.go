package issuer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"regexp"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// verification is the profile of certificates that prove to a cloud that we
// hold a CA's key: they name a code, live minutes, belong to no device and
// authenticate nowhere.
var verification = &Profile{
	Name:     "verification",
	Purpose:  ledger.ForVerification,
	keys:     []ca.Algorithm{ca.P256},
	subject:  []subjectRule{{attribute: "commonName", oid: attributes[6].oid, max: 64, pattern: regexp.MustCompile(`\A[0-9A-Za-z]{1,64}\z`)}},
	validity: 10 * time.Minute,
	backdate: 5 * time.Minute,
}

// carried is verification for a proof that goes by hand from a CA without a network
// to where the network is.
var carried = func() *Profile {
	p := *verification
	p.Name, p.validity = "verification-carried", 2*day
	return &p
}()

// Verification issues a verification certificate: CN = code, a throw-away key
// that is forgotten at once, signed directly by the named authority (AWS IoT
// developer guide, register-CA-cert). It returns PEM.
func (ra *RA) Verification(ctx context.Context, authority, code string) ([]byte, error) {
	return verificationPEM(ra.verify(ctx, verification, authority, code))
}

// CarriedVerification is Verification with a certificate that lives for two days.
func (ra *RA) CarriedVerification(ctx context.Context, authority, code string) ([]byte, error) {
	return verificationPEM(ra.verify(ctx, carried, authority, code))
}

func verificationPEM(c *x509.Certificate, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), nil
}

func (ra *RA) verify(ctx context.Context, profile *Profile, authority, code string) (*x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a throw-away key: %w", err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: code}}, key)
	if err != nil {
		return nil, fmt.Errorf("making a certification request: %w", err)
	}
	answer, err := ra.Enroll(ctx, Request{
		Profile: profile.Name, Issuer: authority, CSR: csr,
		Requester: ledger.Requester{Kind: "server", Name: ra.Server}, Authorize: Trusted, Operation: "verification",
	})
	if err != nil {
		return nil, err
	}
	return answer.Certificate, nil
}
