package hook

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// Certificates is the part of AWS IoT Core that says and sets a certificate's
// status. *iot.Client implements it.
type Certificates interface {
	DescribeCertificate(context.Context, *iot.DescribeCertificateInput, ...func(*iot.Options)) (*iot.DescribeCertificateOutput, error)
	UpdateCertificate(context.Context, *iot.UpdateCertificateInput, ...func(*iot.Options)) (*iot.UpdateCertificateOutput, error)
}

// gone is the status of a certificate that AWS does not have: never issued,
// deleted, or, an hour after its token was given out, never used.
const gone types.CertificateStatus = ""

// statusOf is AWS's status of a certificate, or gone.
func statusOf(ctx context.Context, api Certificates, certificateID string) (types.CertificateStatus, error) {
	out, err := api.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: aws.String(certificateID)})
	var absent *types.ResourceNotFoundException
	switch {
	case errors.As(err, &absent):
		return gone, nil
	case err != nil:
		return gone, fmt.Errorf("describing certificate %s: %w", certificateID, err)
	case out.CertificateDescription == nil || out.CertificateDescription.Status == gone:
		return gone, fmt.Errorf("describing certificate %s: AWS answered without a status", certificateID)
	}
	return out.CertificateDescription.Status, nil
}

// withdraw sets a certificate REVOKED or INACTIVE and reads it back. Afterwards
// nobody connects with it: it is gone, REVOKED, or what was asked for.
func withdraw(ctx context.Context, api Certificates, certificateID string, status types.CertificateStatus) error {
	_, err := api.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: aws.String(certificateID), NewStatus: status})
	// A certificate that is revoked or gone cannot be updated; whether that is why,
	// reading it back says.
	is, back := statusOf(ctx, api, certificateID)
	switch {
	case back != nil && err != nil:
		return fmt.Errorf("setting certificate %s %s: %w", certificateID, status, err)
	case back != nil:
		return fmt.Errorf("setting certificate %s %s: reading it back: %w", certificateID, status, back)
	case is == gone || is == types.CertificateStatusRevoked || is == status:
		return nil
	case err != nil:
		return fmt.Errorf("setting certificate %s %s: %w", certificateID, status, err)
	}
	return fmt.Errorf("setting certificate %s %s: it is %s", certificateID, status, is)
}
