package awsreg

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/internal/ledger"
)

// registerDevice registers a device's certificate before the device ever connects:
// thing, certificate, their connection, groups, and last of all the policy, without
// which an ACTIVE certificate lets nobody in. Every step does nothing when it was
// done before.
//
// A certificate that is registered already keeps its status: somebody may have
// taken it out of service at AWS, and a task that comes again must not put it back.
func (r *Registrar) registerDevice(ctx context.Context, s *session, ca CA, p push) error {
	if p.Certificate == "" {
		return fmt.Errorf("registering certificate %s: the task is from before CA %q was used for registration, and has no certificate", p.CertificateID, ca.Issuer)
	}
	standing, err := r.standing(ctx, p)
	if err != nil || standing == gone {
		return err
	}
	if standing == revoked {
		return r.revoke(ctx, s, p)
	}
	if err := s.createThing(ctx, p.Thing, ca.Register.ThingType); err != nil {
		return err
	}
	if err := r.registerCertificate(ctx, s, ca, p); err != nil {
		return explain(fmt.Sprintf("registering certificate %s", p.CertificateID), err)
	}
	arn := s.target.arn("iot", "cert/"+p.CertificateID)
	err = retry(ctx, func() error {
		_, err := s.iot.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: aws.String(p.Thing), Principal: aws.String(arn)})
		return err
	})
	if err != nil {
		return explain(fmt.Sprintf("attaching certificate %s to thing %q", p.CertificateID, p.Thing), err)
	}
	for _, group := range ca.Register.Groups {
		err := retry(ctx, func() error {
			_, err := s.iot.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingName: aws.String(p.Thing), ThingGroupName: aws.String(group)})
			return err
		})
		if err != nil {
			return explain(fmt.Sprintf("adding thing %q to group %q", p.Thing, group), err)
		}
	}
	// A hold or revocation that is recorded after this reading is told after it, and
	// finds the certificate registered.
	if standing, err = r.standing(ctx, p); err != nil {
		return err
	}
	switch standing {
	case revoked:
		return r.revoke(ctx, s, p)
	case held:
		if err := s.deactivate(ctx, p.CertificateID); err != nil {
			return err
		}
	}
	return s.attachPolicy(ctx, ca.Register.Policy, arn)
}

// standing is how the ledger sees a device's certificate.
type standing int

const (
	inForce standing = iota
	held
	revoked
	gone // expired: AWS takes it no more
)

// standing reads the ledger, which must know the certificate.
func (r *Registrar) standing(ctx context.Context, p push) (standing, error) {
	if err := r.needRecords(); err != nil {
		return 0, err
	}
	c, err := r.cfg.Records.Certificate(ctx, ledger.Serial(p.Serial))
	if err != nil {
		return 0, fmt.Errorf("looking up certificate %s: %w", p.Serial, err)
	}
	if CertificateID(c.DER) != p.CertificateID {
		return 0, fmt.Errorf("certificate %s: the task's certificate is not the recorded one", p.Serial)
	}
	if c.State == ledger.Revoked {
		return revoked, nil
	}
	if c.State != ledger.Valid || !r.cfg.Now().Before(c.NotAfter) {
		return gone, nil
	}
	out, err := r.outOfService(ctx, c.Device)
	if err != nil {
		return 0, err
	}
	if out {
		return held, nil
	}
	return inForce, nil
}

// outOfService reports whether a device is held or retired.
func (r *Registrar) outOfService(ctx context.Context, device string) (bool, error) {
	d, err := r.cfg.Records.Device(ctx, device)
	if errors.Is(err, ledger.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking up device %q: %w", device, err)
	}
	return d.State == ledger.Held || d.State == ledger.Retired, nil
}

// createThing makes a thing, or finds it. AWS answers success for the same thing
// with the same settings and ResourceAlreadyExists for other ones, such as
// attributes that somebody added; only another type is not what was wanted.
// https://docs.aws.amazon.com/iot/latest/apireference/API_CreateThing.html
func (s *session) createThing(ctx context.Context, name, thingType string) error {
	in := &iot.CreateThingInput{ThingName: aws.String(name)}
	if thingType != "" {
		in.ThingTypeName = aws.String(thingType)
	}
	doing := fmt.Sprintf("creating thing %q", name)
	err := retry(ctx, func() error {
		_, err := s.iot.CreateThing(ctx, in)
		return err
	})
	if code(err) != codeExists || thingType == "" {
		if code(err) == codeExists {
			return nil
		}
		return explain(doing, err)
	}
	var have string
	err = retry(ctx, func() error {
		out, err := s.iot.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: aws.String(name)})
		if err == nil {
			have = aws.ToString(out.ThingTypeName)
		}
		return err
	})
	if err != nil {
		return explain(doing, err)
	}
	if have != thingType {
		return fmt.Errorf("%s: it is there with type %q, not %q: change it at AWS, or the configuration", doing, have, thingType)
	}
	return nil
}

// registerCertificate registers a certificate as ACTIVE, under its CA or, in mode
// NONE, without one.
// https://docs.aws.amazon.com/iot/latest/apireference/API_RegisterCertificate.html
func (r *Registrar) registerCertificate(ctx context.Context, s *session, ca CA, p push) error {
	if ca.Mode == ModeNone {
		return s.registered(p.CertificateID, retry(ctx, func() error {
			out, err := s.iot.RegisterCertificateWithoutCA(ctx, &iot.RegisterCertificateWithoutCAInput{
				CertificatePem: aws.String(p.Certificate), Status: types.CertificateStatusActive,
			})
			if err != nil {
				return err
			}
			return sameID(p.CertificateID, out.CertificateId)
		}))
	}
	issuer, err := r.issuer(ctx, ca.Issuer)
	if err != nil {
		return err
	}
	return s.registered(p.CertificateID, retry(ctx, func() error {
		out, err := s.iot.RegisterCertificate(ctx, &iot.RegisterCertificateInput{
			CertificatePem: aws.String(p.Certificate), CaCertificatePem: aws.String(certificatePEM(issuer.Certificate.Raw)),
			Status: types.CertificateStatusActive,
		})
		if err != nil {
			return err
		}
		return sameID(p.CertificateID, out.CertificateId)
	}))
}

// sameID: everything here finds certificates by their hash.
func sameID(want string, got *string) error {
	if aws.ToString(got) != want {
		return fmt.Errorf("AWS calls the certificate %q, which is not its SHA-256, %s; mintmark cannot work with such ids", aws.ToString(got), want)
	}
	return nil
}
