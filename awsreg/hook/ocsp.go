package hook

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"
)

// maxOCSP bounds an answer, in bytes.
const maxOCSP = 64 << 10

// ask has the responder say that a certificate is good: RFC 6960. Everything else
// refuses, an unknown certificate too.
func (c *Callback) ask(ctx context.Context, own, issuer *x509.Certificate, ownID string, now time.Time) error {
	err := c.askOCSP(ctx, own, issuer, ownID, now)
	var refused *Refusal
	if err != nil && !errors.As(err, &refused) {
		err = fmt.Errorf("asking OCSP responder %s: %w", c.OCSP, err)
	}
	return err
}

func (c *Callback) askOCSP(ctx context.Context, own, issuer *x509.Certificate, ownID string, now time.Time) error {
	request, err := ocsp.CreateRequest(own, issuer, nil)
	if err != nil {
		return err
	}
	body, err := c.fetch(ctx, http.MethodPost, c.OCSP, "application/ocsp-request", request, maxOCSP)
	if err != nil {
		return err
	}
	answer, err := parseOCSP(body, own, issuer, now)
	if err != nil {
		return err
	}
	switch answer.Status {
	case ocsp.Good:
		return nil
	case ocsp.Revoked:
		return refusal(IsRevoked, ownID, "OCSP responder %s says that it is revoked since %s", c.OCSP, answer.RevokedAt.Format(time.RFC3339))
	}
	return refusal(Unverified, ownID, "OCSP responder %s does not know it", c.OCSP)
}

// maxOCSPAge bounds the age of an answer that does not say when there is a newer
// one (RFC 6960, Section 4.2.2.1: there always is).
const maxOCSPAge = 5 * time.Minute

// parseOCSP reads an answer about a certificate, whose signature is the issuer's or
// that of a responder that the issuer has authorised (RFC 6960, Section 4.2.2.2),
// and which is in force.
func parseOCSP(body []byte, own, issuer *x509.Certificate, now time.Time) (*ocsp.Response, error) {
	// It checks the signatures, and that the answer is about the serial number.
	answer, err := ocsp.ParseResponseForCert(body, own, issuer)
	if err != nil {
		return nil, err
	}
	// What it leaves out: a certificate of the issuer's that is not for this, a
	// device's for instance, is no responder's.
	if r := answer.Certificate; r != nil && !r.Equal(issuer) {
		switch {
		case !slices.Contains(r.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
			return nil, errors.New("the answer is signed with a certificate that is none of a responder")
		case now.Before(r.NotBefore) || now.After(r.NotAfter):
			return nil, errors.New("the certificate of the responder is not valid now")
		}
	}
	next := answer.NextUpdate
	if next.IsZero() {
		next = answer.ThisUpdate.Add(maxOCSPAge)
	}
	if err := inForce(answer.ThisUpdate, next, now); err != nil {
		return nil, fmt.Errorf("the answer cannot be used: %w", err)
	}
	return answer, nil
}
