package ca

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"sync/atomic"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// A token is fresh, then recorded, then spent; never back.
const (
	fresh int32 = iota
	recorded
	spent
)

// keyholder signs what was prepared: an Authority, or a root for itself.
type keyholder interface {
	sign(ctx context.Context, message []byte) ([]byte, error)
	verify(message, signature []byte) error
}

// Prepared is a certificate that was built and linted and may be signed once.
// Only Prepare and PrepareRoot make one, so nothing is signed without them.
type Prepared struct {
	issuer    keyholder
	algorithm []byte // DER AlgorithmIdentifier of the signature
	tbs       []byte
	cert      *x509.Certificate
	state     atomic.Int32
}

// TBS returns the DER of the TBSCertificate, exactly as it will be signed. It
// must not be modified.
func (p *Prepared) TBS() []byte { return p.tbs }

// Certificate returns the to-be-signed certificate in parsed form, for reading
// its names and dates. It has neither a signature nor Raw, so that it cannot
// be handed out for the certificate. It must not be modified.
func (p *Prepared) Certificate() *x509.Certificate { return p.cert }

// Recorded says that the caller has made the intent to issue durable (step 6).
func (p *Prepared) Recorded() { p.state.CompareAndSwap(fresh, recorded) }

// Issue signs the prepared certificate (step 7), compares what was signed with
// what was prepared and verifies the signature (step 8). It can be called once,
// after Recorded: ErrNotRecorded before that, ErrSpent from the second call
// on, even if the first failed.
func (p *Prepared) Issue(ctx context.Context) (*x509.Certificate, error) {
	if !p.state.CompareAndSwap(recorded, spent) {
		if p.state.Load() == fresh {
			return nil, ErrNotRecorded
		}
		return nil, ErrSpent
	}
	// cert holds its own copy of the bytes, the one that was linted.
	if !bytes.Equal(p.tbs, p.cert.RawTBSCertificate) {
		return nil, errors.New("the prepared certificate was modified after lint")
	}
	return again(func() (*x509.Certificate, error) { return p.sign(ctx) })
}

// sign makes and checks one signature.
func (p *Prepared) sign(ctx context.Context) (*x509.Certificate, error) {
	// Step 7.
	signature, err := p.issuer.sign(ctx, p.tbs)
	if err != nil {
		return nil, err
	}
	der, err := assemble(p.tbs, p.algorithm, signature)
	if err != nil {
		return nil, err
	}
	// Step 8, on the certificate as its readers will see it.
	cert, err := p.signed(der)
	if err != nil {
		return nil, err
	}
	if err := p.issuer.verify(cert.RawTBSCertificate, cert.Signature); err != nil {
		return nil, err
	}
	return cert, nil
}

// signed reads a certificate that must be the prepared one but for its signature. What is
// inside the TBSCertificate is not parsed again: these bytes were, when it was prepared.
func (p *Prepared) signed(der []byte) (*x509.Certificate, error) {
	input := cryptobyte.String(der)
	var whole, tbs, algorithm cryptobyte.String
	var signature asn1.BitString
	if !input.ReadASN1(&whole, cbasn1.SEQUENCE) || !input.Empty() ||
		!whole.ReadASN1Element(&tbs, cbasn1.SEQUENCE) || !whole.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) ||
		!whole.ReadASN1BitString(&signature) || !whole.Empty() || signature.BitLength != 8*len(signature.Bytes) {
		return nil, errors.New("parsing the signed certificate: malformed")
	}
	if !bytes.Equal(tbs, p.tbs) || !bytes.Equal(algorithm, p.algorithm) {
		return nil, errors.New("the signed certificate is not the prepared one")
	}
	cert := *p.cert
	cert.Raw, cert.RawTBSCertificate, cert.Signature = der, tbs, signature.Bytes
	return &cert, nil
}
