package issuer

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"regexp"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// oidDocumentSigning is id-kp-documentSigning (RFC 9336, Section 3.1).
var oidDocumentSigning = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 36}

// manifest is the profile of the certificate by which one manifest of a batch is
// verified: it lives as long as its CA, because manifests are looked at years later, and its
// key for one signature, so that nothing else is ever signed with it. It belongs to no
// device and authenticates nowhere.
var manifest = &Profile{
	Name:     "manifest",
	Purpose:  ledger.ForManifest,
	keys:     []ca.Algorithm{ca.P256},
	subject:  []subjectRule{{attribute: "commonName", oid: attributes[6].oid, max: 64, pattern: regexp.MustCompile(`\AManifest [0-9a-f]{32}\z`)}},
	validity: maxValidity, // the CA ends before
	backdate: time.Hour,
	more:     []asn1.ObjectIdentifier{oidDocumentSigning},
}

// ManifestSigner makes a P-256 key and has the named authority certify it for the signature
// over the manifest of a batch, whose 32 hexadecimal digits it names. The answer's chain
// leads to the root, without it. Whoever calls has checked the manifest, signs it once
// and forgets the key. Errors are Enroll's. It may be called concurrently.
func (ra *RA) ManifestSigner(ctx context.Context, authority, batch string, requester ledger.Requester) (Answer, crypto.Signer, error) {
	a, err := ra.Authority(authority)
	if err != nil {
		return Answer{}, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Answer{}, nil, fmt.Errorf("making the key of a manifest: %w", err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return Answer{}, nil, fmt.Errorf("making a certification request: %w", err)
	}
	answer, err := ra.Enroll(ctx, Request{
		Profile: manifest.Name, Issuer: authority, CSR: csr,
		Requester: requester, Authorize: Trusted, Operation: "batch " + batch,
		naming: &naming{commonName: "Manifest " + batch, until: a.Certificate().NotAfter},
	})
	return answer, key, err
}
