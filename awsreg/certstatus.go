package awsreg

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// errUnknown: the account has no such certificate.
var errUnknown = errors.New("AWS does not know the certificate")

// ignoreNotFound is for what is done already where there is no certificate.
func ignoreNotFound(err error) error {
	if errors.Is(err, errUnknown) {
		return nil
	}
	return err
}

// describe reads a certificate; errUnknown if the account does not have it.
func (s *session) describe(ctx context.Context, id string) (*types.CertificateDescription, error) {
	var d *types.CertificateDescription
	err := retry(ctx, func() error {
		out, err := s.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: aws.String(id)})
		if err == nil && out.CertificateDescription == nil {
			return errors.New("AWS answered without a description")
		}
		if err == nil {
			d = out.CertificateDescription
		}
		return err
	})
	if code(err) == codeNotFound {
		return nil, fmt.Errorf("certificate %s: %w", id, errUnknown)
	}
	return d, explain(fmt.Sprintf("describing certificate %s", id), err)
}

// setStatus brings a certificate to a status, reads it back until AWS shows it,
// and returns what AWS shows then. REVOKED is final, so that one which is REVOKED
// stays so and is no error here; errUnknown if the account does not have it.
// https://docs.aws.amazon.com/iot/latest/apireference/API_UpdateCertificate.html
func (s *session) setStatus(ctx context.Context, id string, want types.CertificateStatus) (types.CertificateStatus, error) {
	doing := fmt.Sprintf("setting certificate %s %s", id, want)
	have := types.CertificateStatus("")
	shown := 0
	err := retry(ctx, func() error {
		_, err := s.iot.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: aws.String(id), NewStatus: want})
		if c := code(err); err != nil && c != codeState {
			return err
		}
		refused := err
		out, err := s.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: aws.String(id)})
		if err != nil {
			return err
		}
		if out.CertificateDescription == nil {
			return errors.New("AWS answered without a description")
		}
		have = out.CertificateDescription.Status
		switch {
		case have == want || have == types.CertificateStatusRevoked:
			return nil
		case refused != nil:
			return refused
		}
		if shown++; shown >= settling {
			return fmt.Errorf("AWS accepts the change and goes on to show %s", have)
		}
		return errNotYet
	})
	if code(err) == codeNotFound {
		return "", fmt.Errorf("certificate %s: %w", id, errUnknown)
	}
	return have, explain(doing, err)
}

// deactivate sets an ACTIVE certificate INACTIVE; any other status is left.
// errUnknown if the account does not have it.
func (s *session) deactivate(ctx context.Context, id string) error {
	d, err := s.describe(ctx, id)
	if err != nil || d.Status != types.CertificateStatusActive {
		return err
	}
	_, err = s.setStatus(ctx, id, types.CertificateStatusInactive)
	return err
}

// registered takes the answer to a registration: a certificate that is there
// already, under the id that it must have, is as good as a new one.
func (s *session) registered(id string, err error) error {
	var already *types.ResourceAlreadyExistsException
	if !errors.As(err, &already) {
		return err
	}
	if got := aws.ToString(already.ResourceId); got != "" && got != id {
		return fmt.Errorf("AWS has the certificate as %s, which is not its SHA-256, %s; mintmark cannot work with such ids: %w", got, id, err)
	}
	return nil
}

func (s *session) attachPolicy(ctx context.Context, policy, target string) error {
	err := retry(ctx, func() error {
		_, err := s.iot.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String(policy), Target: aws.String(target)})
		return err
	})
	return explain(fmt.Sprintf("attaching policy %q", policy), err)
}

// certificateOfARN is the id in the ARN of a certificate; empty for the ARN of
// something else.
func certificateOfARN(arn string) string {
	if _, id, ok := strings.Cut(arn, ":cert/"); ok {
		return id
	}
	return ""
}
