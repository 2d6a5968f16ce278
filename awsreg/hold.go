package awsreg

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// rereadings is how often what a task is about may change while it is told.
const rereadings = 5

// tellDevice takes a device's certificates out of service at AWS, or back into it,
// as the ledger has the device now.
func (r *Registrar) tellDevice(ctx context.Context, s *session, device string) error {
	if err := r.needRecords(); err != nil {
		return err
	}
	out, err := r.outOfService(ctx, device)
	for range rereadings {
		if err != nil {
			return err
		}
		tell := r.release
		if out {
			tell = r.hold
		}
		if err := tell(ctx, s, device); err != nil {
			return err
		}
		was := out
		// Another delivery about the same device may have run in between, told
		// something newer, and been overwritten by this one.
		if out, err = r.outOfService(ctx, device); err == nil && out == was {
			return nil
		}
	}
	return fmt.Errorf("device %q: it is held and released faster than AWS can be told", device)
}

// hold marks a device as held, so that the functions give it nothing more, and
// then sets its ACTIVE certificates INACTIVE, whoever issued them. It fails as long
// as AWS is putting one in service, and then must come again.
//
// A certificate that AWS does not know yet stays unknown. Under JITP, which asks no
// function, its device would come in; Reconcile then takes it out of service.
func (r *Registrar) hold(ctx context.Context, s *session, device string) error {
	if s.target.decides() {
		var marks []hook.Item
		for _, thing := range s.target.thingsOf(device) {
			marks = append(marks, hook.HeldItem(thing, device))
		}
		if err := s.putItems(ctx, s.target.Manifest.table(), marks...); err != nil {
			return err
		}
	}
	_, ids, err := r.certificatesOf(ctx, s, device)
	if err != nil {
		return outstanding(err)
	}
	admitted, err := s.admitted(ctx, device)
	if err != nil {
		return outstanding(err)
	}
	for id := range admitted {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	var failed []error
	for _, id := range ids {
		at, is := admitted[id]
		if !is {
			err = s.deactivate(ctx, id)
		} else {
			err = s.deactivateSettled(ctx, id, r.cfg.Now().Sub(at))
		}
		failed = append(failed, ignoreNotFound(err))
	}
	return outstanding(errors.Join(failed...))
}

// release sets the INACTIVE certificates of a device ACTIVE that are valid in the
// ledger or, where AWS issued them, are the device's according to the functions;
// never one that a newer one has replaced, or that was swept with its CA. What the
// functions do not have as held was not taken out of service by a hold. The marks
// say that the release has begun and go last, so that Reconcile finds by them what
// was cut off.
func (r *Registrar) release(ctx context.Context, s *session, device string) error {
	things := s.target.thingsOf(device)
	if held, err := s.beginRelease(ctx, device, things); err != nil || !held {
		return err
	}
	recorded, ids, err := r.certificatesOf(ctx, s, device)
	if err != nil {
		return err
	}
	current, rotates, err := s.current(ctx, things)
	if err != nil {
		return err
	}
	taken, err := s.taken(ctx, device)
	if err != nil {
		return err
	}
	for _, id := range ids {
		c, ours := recorded[id]
		switch {
		case ours && (c.State != ledger.Valid || !r.cfg.Now().Before(c.NotAfter)):
			continue
		case ours && s.target.sweptWith(c.Issuer):
			continue
		case rotates && !slices.Contains(current, id):
			continue
		case !ours && !rotates && id != taken:
			continue
		}
		d, err := s.describe(ctx, id)
		if errors.Is(err, errUnknown) {
			continue
		}
		if err != nil {
			return err
		}
		if d.Status != types.CertificateStatusInactive {
			continue
		}
		if _, err := s.setStatus(ctx, id, types.CertificateStatusActive); err != nil {
			return err
		}
	}
	if !s.target.decides() {
		return nil
	}
	var marks []hook.Item
	for _, thing := range things {
		marks = append(marks, hook.Key(hook.HeldKey(thing)))
	}
	return s.deleteItems(ctx, s.target.Manifest.table(), marks...)
}

// certificatesOf lists the certificates that may speak for a device at AWS: those
// of the ledger, and those attached to its things, which AWS may have issued.
func (r *Registrar) certificatesOf(ctx context.Context, s *session, device string) (recorded map[string]ledger.Certificate, ids []string, err error) {
	recorded = make(map[string]ledger.Certificate)
	err = r.eachCertificate(ctx, ledger.Query{Device: device, Purpose: ledger.ForDevice}, func(c ledger.Certificate) error {
		if len(c.DER) == 0 {
			return nil
		}
		id := CertificateID(c.DER)
		if recorded[id] = c; c.State == ledger.Valid && r.cfg.Now().Before(c.NotAfter) {
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, thing := range s.target.thingsOf(device) {
		attached, err := s.attached(ctx, thing)
		if err != nil {
			return nil, nil, err
		}
		for _, id := range attached {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return recorded, ids, nil
}

// attached lists the certificates that are attached to a thing; none if there is
// no such thing.
func (s *session) attached(ctx context.Context, thing string) ([]string, error) {
	var ids []string
	in := &iot.ListThingPrincipalsInput{ThingName: aws.String(thing)}
	for {
		var out *iot.ListThingPrincipalsOutput
		err := retry(ctx, func() (err error) {
			out, err = s.iot.ListThingPrincipals(ctx, in)
			return err
		})
		if code(err) == codeNotFound {
			return nil, nil
		}
		if err != nil {
			return nil, explain(fmt.Sprintf("listing the certificates of thing %q", thing), err)
		}
		for _, arn := range out.Principals {
			if id := certificateOfARN(arn); id != "" {
				ids = append(ids, id)
			}
		}
		if in.NextToken = out.NextToken; aws.ToString(out.NextToken) == "" {
			return ids, nil
		}
	}
}

// current lists the certificates that the rotation table has for the things, and
// whether it has any of the things.
func (s *session) current(ctx context.Context, things []string) (ids []string, rotates bool, err error) {
	items, err := s.rotations(ctx, things)
	for _, d := range items {
		if ids = append(ids, d.Current); d.Next != "" {
			ids = append(ids, d.Next)
		}
	}
	return ids, len(items) > 0, err
}

// taken is the certificate with which a device came by fleet provisioning; empty
// for none.
func (s *session) taken(ctx context.Context, device string) (string, error) {
	if !s.target.decides() {
		return "", nil
	}
	items, err := s.getItems(ctx, s.target.Manifest.table(), hook.TakenKey(device))
	if err != nil || len(items) == 0 {
		return "", err
	}
	t, err := hook.DecodeTaken(items[hook.TakenKey(device)])
	if err != nil || !t.Void.IsZero() {
		return "", err
	}
	return t.CertificateID, nil
}
