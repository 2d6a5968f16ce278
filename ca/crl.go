package ca

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3/lint"
)

// CRL is the content of a certificate revocation list (RFC 5280, Section 5).
type CRL struct {
	// Number must grow with every CRL of the authority (Section 5.2.3).
	Number *big.Int

	ThisUpdate time.Time
	NextUpdate time.Time

	// Entries in the order in which they are to stand. A reason code of 0
	// (unspecified) is left out, as Section 5.3.1 wants it.
	Entries []x509.RevocationListEntry
	// Scope is which certificates it is about; nil for all of the authority.
	Scope *CRLScope
}

// SignCRL encodes, lints and signs a CRL and returns its DER. Like a
// certificate, it is linted under a dummy signature and signed afterwards.
func (a *Authority) SignCRL(ctx context.Context, crl CRL) ([]byte, error) {
	p, err := a.PrepareCRL(crl)
	if err != nil {
		return nil, err
	}
	return p.Issue(ctx)
}

// PreparedCRL is a CRL that was encoded and linted and may be signed.
type PreparedCRL struct {
	issuer    *Authority
	algorithm []byte // DER AlgorithmIdentifier of the signature
	tbs       []byte
}

// PrepareCRL encodes a CRL and lints it under a dummy signature. The key of the
// authority is not used.
func (a *Authority) PrepareCRL(crl CRL) (*PreparedCRL, error) {
	if err := checkCRL(crl); err != nil {
		return nil, err
	}
	c := &capture{public: a.cert.PublicKey}
	template := &x509.RevocationList{
		SignatureAlgorithm: a.sigAlg,
		Number:             crl.Number,
		ThisUpdate:         crl.ThisUpdate,
		NextUpdate:         crl.NextUpdate,
	}
	if crl.Scope != nil {
		scope, err := crl.Scope.extension()
		if err != nil {
			return nil, err
		}
		template.ExtraExtensions = append(template.ExtraExtensions, scope)
	}
	_, err := x509.CreateRevocationList(nil, template, a.cert, c)
	tbs, err := c.result(err)
	if err == nil {
		tbs, err = withEntries(tbs, crl.Entries)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding the CRL: %w", err)
	}
	algorithm, err := signatureAlgorithm(tbs)
	if err != nil {
		return nil, err
	}
	dummy, err := dummySignature(a.cert.PublicKey)
	if err != nil {
		return nil, err
	}
	der, err := assemble(tbs, algorithm, dummy)
	if err != nil {
		return nil, err
	}
	if err := lintCRL(der); err != nil {
		return nil, err
	}
	return &PreparedCRL{issuer: a, algorithm: algorithm, tbs: tbs}, nil
}

// TBS returns the DER of the TBSCertList, exactly as it will be signed. It must
// not be modified.
func (p *PreparedCRL) TBS() []byte { return p.tbs }

// Issue signs the CRL, compares what was signed with what was prepared, verifies
// the signature and returns the DER.
func (p *PreparedCRL) Issue(ctx context.Context) ([]byte, error) {
	return again(func() ([]byte, error) { return p.sign(ctx) })
}

func (p *PreparedCRL) sign(ctx context.Context) ([]byte, error) {
	signature, err := p.issuer.sign(ctx, p.tbs)
	if err != nil {
		return nil, err
	}
	der, err := assemble(p.tbs, p.algorithm, signature)
	if err != nil {
		return nil, err
	}
	signed, err := signedPart(der)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(signed, p.tbs) {
		return nil, errors.New("the signed CRL is not the linted one")
	}
	if err := p.issuer.verify(signed, signature); err != nil {
		return nil, err
	}
	return der, nil
}

// checkCRL refuses what crypto/x509 would encode without a word.
func checkCRL(crl CRL) error {
	switch {
	case crl.Number == nil:
		return refuse("CRL number", "is missing")
	case crl.Number.Sign() < 0:
		return refuse("CRL number", "is negative")
	case crl.ThisUpdate.IsZero() || crl.NextUpdate.IsZero():
		return refuse("CRL", "thisUpdate and nextUpdate are required")
	case !crl.NextUpdate.After(crl.ThisUpdate):
		return refuse("CRL", "nextUpdate %s is not after thisUpdate %s", crl.NextUpdate.UTC(), crl.ThisUpdate.UTC())
	}
	// In order, as the ledger has them, none can stand there twice.
	var seen map[string]struct{}
	var serial [21]byte
	for i := range crl.Entries {
		e := &crl.Entries[i]
		if e.SerialNumber == nil || e.SerialNumber.Sign() <= 0 || e.SerialNumber.BitLen() > 159 {
			return refuse("CRL entry", "serial number %x is not a positive number of at most 20 octets", e.SerialNumber)
		}
		if seen == nil && i > 0 && e.SerialNumber.Cmp(crl.Entries[i-1].SerialNumber) <= 0 {
			seen = make(map[string]struct{}, len(crl.Entries))
			for _, before := range crl.Entries[:i] {
				seen[string(before.SerialNumber.FillBytes(serial[:]))] = struct{}{}
			}
		}
		if seen != nil {
			key := string(e.SerialNumber.FillBytes(serial[:]))
			if _, ok := seen[key]; ok {
				return refuse("CRL entry", "serial number %x is listed twice", e.SerialNumber)
			}
			seen[key] = struct{}{}
		}
		// RFC 5280, Section 5.3.1: 7 is not used, 8 is for delta CRLs.
		if e.ReasonCode < 0 || e.ReasonCode > 10 || e.ReasonCode == 7 || e.ReasonCode == 8 {
			return refuse("CRL entry", "reason code %d of serial number %x is not one of a full CRL", e.ReasonCode, e.SerialNumber)
		}
		if e.RevocationTime.After(crl.ThisUpdate) {
			return refuse("CRL entry", "serial number %x is revoked at %s, after thisUpdate", e.SerialNumber, e.RevocationTime.UTC())
		}
	}
	return nil
}

// lintEmptyList decodes all entries once more to see whether there are none: half of what
// lint costs for a long list. Like those of certificates (see conditions), it runs where it
// can find something.
const lintEmptyList = "e_crl_empty_revoked_certificates"

// crlLints returns the lints of RFC sources for CRLs.
var crlLints = sync.OnceValue(func() []*lint.RevocationListLint {
	all := lint.GlobalRegistry().RevocationListLints().Lints()
	return slices.SortedFunc(slices.Values(all), func(a, b *lint.RevocationListLint) int { return strings.Compare(a.Name, b.Name) })
})

// lintCRL lints the DER of a CRL, whose signature is not looked at.
func lintCRL(der []byte) error {
	z, err := zx509.ParseRevocationList(der)
	if err != nil {
		return &LintError{[]Finding{{Lint: "parse", Result: lint.Fatal.String(), Detail: err.Error()}}}
	}
	var config lint.Configuration
	var findings []Finding
	for _, l := range crlLints() {
		if l.Name == lintEmptyList && len(z.RevokedCertificates) > 0 {
			continue
		}
		findings = appendFinding(findings, l.Name, l.Execute(z, config))
	}
	return lintResult(findings)
}
