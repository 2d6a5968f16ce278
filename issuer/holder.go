package issuer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// Holder authenticates a TLS client certificate as one of our own: its exact
// bytes are in the ledger, it is a device's, the claim of a work order or a
// registration authority's, and it is not revoked. The record's purpose says
// which, and what that may do is the caller's rule (ClaimOrder finds a claim's
// order). A gateway's CA certificate never authenticates: its key signs, and the
// gateway has an identity of its own. Holder does not look at the validity
// period: what an expired certificate may still do is the label's rule. ErrForeign if the certificate does not name one of our
// authorities as its issuer; other refusals are *Refusal.
//
// A certificate that one of our keys signed but that the ledger does not know
// is an alarm: the key may be in other hands.
func (ra *RA) Holder(ctx context.Context, certificate *x509.Certificate) (ledger.Certificate, error) {
	issuers := ra.named(certificate.RawIssuer)
	if len(issuers) == 0 || certificate.SerialNumber.Sign() <= 0 {
		return ledger.Certificate{}, ErrForeign // we number from one
	}
	serial := SerialOf(certificate.SerialNumber)
	record, err := ra.Ledger.Certificate(ctx, serial)
	switch {
	case errors.Is(err, ledger.ErrNotFound), err == nil && !bytes.Equal(record.DER, certificate.Raw):
		for _, a := range issuers {
			if certificate.CheckSignatureFrom(a.Certificate()) == nil {
				ra.metrics.alarms.WithLabelValues("certificate-unknown").Inc()
				sum := sha256.Sum256(certificate.Raw)
				ra.log.Error("ALARM: a certificate under our authority that the ledger does not know: its key may be compromised",
					"issuer", a.Name(), "serial", serial, "subject", NameText(certificate.Subject, certificate.RawSubject),
					"sha256", hex.EncodeToString(sum[:]))
				return ledger.Certificate{}, refuse(Forbidden, "certificate-unknown", "the client certificate %s is not in the records of this server", serial)
			}
		}
		return ledger.Certificate{}, ErrForeign
	case err != nil:
		return ledger.Certificate{}, fmt.Errorf("looking up certificate %s: %w", serial, err)
	}
	switch {
	case record.State == ledger.Revoked:
		return ledger.Certificate{}, refuse(Forbidden, "certificate-revoked", "the client certificate %s is revoked", serial)
	case record.State != ledger.Valid:
		return ledger.Certificate{}, refuse(Forbidden, "certificate-void", "the client certificate %s was never issued", serial)
	case record.Purpose != ledger.ForDevice && record.Purpose != ledger.ForClaim && record.Purpose != ledger.ForRA:
		return ledger.Certificate{}, refuse(Forbidden, "certificate-purpose", "the client certificate %s is for the purpose %s and cannot enroll devices", serial, record.Purpose)
	}
	return record, nil
}

// named returns the authorities with a subject of these bytes.
func (ra *RA) named(subject []byte) []*ca.Authority {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	var list []*ca.Authority
	for _, a := range ra.known.authorities {
		if bytes.Equal(a.Certificate().RawSubject, subject) {
			list = append(list, a)
		}
	}
	return list
}
