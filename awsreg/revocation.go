package awsreg

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// revoke makes a revoked certificate unusable at AWS. The broker reads neither
// CRLs nor OCSP, so that this status is what keeps the device out, and ends its
// connection within minutes.
// https://docs.aws.amazon.com/iot/latest/apireference/API_UpdateCertificate.html
//
// A certificate that AWS does not know is refused by the Lambda once the mark is
// in the manifest, and registerDevice reads the ledger. JITP has no such check and
// would let it in, so there it is registered, as revoked.
func (r *Registrar) revoke(ctx context.Context, s *session, p push) error {
	_, err := s.setStatus(ctx, p.CertificateID, types.CertificateStatusRevoked)
	if !errors.Is(err, errUnknown) {
		return err
	}
	if ca, is := s.target.ca(p.Issuer); !is || ca.Use != UseJITP || p.Certificate == "" {
		return nil
	}
	return retry(ctx, func() error { return r.registerRevoked(ctx, s, p) })
}

// registerRevoked registers a certificate so that it can never be provisioned.
// https://docs.aws.amazon.com/iot/latest/apireference/API_RegisterCertificate.html
func (r *Registrar) registerRevoked(ctx context.Context, s *session, p push) error {
	issuer, err := r.issuer(ctx, p.Issuer)
	if err != nil {
		return err
	}
	_, err = s.iot.RegisterCertificate(ctx, &iot.RegisterCertificateInput{
		CertificatePem:   aws.String(p.Certificate),
		CaCertificatePem: aws.String(certificatePEM(issuer.Certificate.Raw)),
		Status:           types.CertificateStatusRevoked,
	})
	switch code(err) {
	case codeExists: // by a call whose answer was lost, or it connected this very moment
		_, err := s.setStatus(ctx, p.CertificateID, types.CertificateStatusRevoked)
		return err
	case codeNotFound, "CertificateValidationException":
		// What has expired cannot come in. But a CA that is not registered yet would
		// let it in once it is.
		if now := r.cfg.Now(); now.After(p.NotAfter) || now.After(issuer.Certificate.NotAfter) {
			return nil
		}
		have, describeErr := describeCA(ctx, s.iot, CertificateID(issuer.Certificate.Raw), issuer)
		if describeErr == nil && have == nil {
			return fmt.Errorf("registering certificate %s as revoked: CA %q is not registered yet, `mintmark aws apply` registers it: %w", p.CertificateID, p.Issuer, err)
		}
		return describeErr
	}
	return explain(fmt.Sprintf("registering certificate %s as revoked", p.CertificateID), err)
}
