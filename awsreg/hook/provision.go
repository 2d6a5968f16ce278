package hook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// settling is for how long the first certificate of a device cannot be replaced:
// AWS is still putting it in service, and whoever comes a moment later with another
// one is a rival and not a second attempt.
const settling = 10 * time.Second

// Provisioner is the pre-provisioning hook of the templates by which devices come
// with a claim certificate. It keeps nothing between calls and may be used
// concurrently, in any number of processes.
type Provisioner struct {
	IoT      Certificates
	Dynamo   Dynamo
	Table    string           // of the manifest; must be set
	Rotation string           // table of what rotates; empty for none
	MaxAge   time.Duration    // as in Activator
	Limit    time.Duration    // for one decision; Within if zero
	Now      func() time.Time // time.Now if nil
	Logger   *slog.Logger     // discarded if nil
}

// Handle decides whether a device is made of a certificate. Refusals are answers
// and no errors; an error, which AWS takes for a refusal, says that there was no
// decision. It returns before Limit is over.
//
// The same certificate for the same device gets the same answer again, without a
// further unit of the order's quantity. Another certificate for the device takes
// the place of the first only if that has never been in service: AWS has it
// PENDING_ACTIVATION, or not any more; or, under another order and for a unit of
// that, if mintmark has revoked it. It is set REVOKED before the second is let in, so
// that of all of a device's certificates one at most is ever in service.
func (p *Provisioner) Handle(ctx context.Context, here Place, e HookEvent) (HookAnswer, error) {
	ctx, cancel := within(ctx, p.Limit)
	defer cancel()
	log := logger(p.Logger).With("certificate", e.CertificateID, "claim", e.ClaimCertificateID, "template", cut(e.TemplateARN), "device", cut(e.Parameters[SerialNumber]))
	if err := e.validate(); err != nil {
		return HookAnswer{}, fmt.Errorf("provisioning event: %w", err)
	}
	taken, err := p.decide(ctx, log, here, e)
	if err != nil {
		return denied(ctx, log, err)
	}
	log.Info("device admitted", "order", taken.Order)
	return allowed(taken.Device, taken.At), nil
}

// denied turns a refusal into an answer, and anything else into an error.
func denied(ctx context.Context, log *slog.Logger, err error) (HookAnswer, error) {
	var refused *Refusal
	if errors.As(err, &refused) {
		log.Warn("provisioning refused", "reason", refused.Reason, "error", err)
		return HookAnswer{}, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	log.Error("provisioning not decided", "error", err)
	return HookAnswer{}, err
}

func allowed(device string, at time.Time) HookAnswer {
	return HookAnswer{AllowProvisioning: true, ParameterOverrides: map[string]string{
		SerialNumber: device,
		CertDate:     at.UTC().Format("20060102"),
	}}
}

func (p *Provisioner) decide(ctx context.Context, log *slog.Logger, here Place, e HookEvent) (Taken, error) {
	table, now := Table{Client: p.Dynamo, Name: p.Table}, clock(p.Now).UTC().Truncate(time.Second)
	name, err := here.template(e.TemplateARN)
	if err != nil {
		return Taken{}, refusal(WrongTemplate, e.CertificateID, "%v", err)
	}
	template, err := table.template(ctx, name)
	switch {
	case errors.Is(err, ErrUnknown):
		return Taken{}, refusal(WrongTemplate, e.CertificateID, "template %q is none of mintmark's", name)
	case err != nil:
		return Taken{}, err
	case template.Rotation:
		return Taken{}, refusal(WrongTemplate, e.CertificateID, "template %q is for rotation, which function rotate decides", name)
	}
	device := e.Parameters[SerialNumber]
	thing, err := template.thingOf(device, e.CertificateID)
	if err != nil {
		return Taken{}, err
	}
	order, err := orderOf(ctx, table, e.ClaimCertificateID, now)
	if err != nil {
		return Taken{}, err
	}
	if order.Template != template.Name {
		return Taken{}, refusal(WrongTemplate, e.CertificateID, "work order %q is for template %q", order.ID, cut(order.Template))
	}
	if err := admits(ctx, table, order, device, e.CertificateID); err != nil {
		return Taken{}, err
	}
	if err := issuedTo(ctx, table, device, e.CertificateID); err != nil {
		return Taken{}, err
	}
	if err := unheld(ctx, table, thing, device, e.CertificateID); err != nil {
		return Taken{}, err
	}
	if _, err := freshHead(ctx, table, e.CertificateID, p.MaxAge, now); err != nil {
		return Taken{}, err
	}
	if err := unrevoked(ctx, table, e.ClaimCertificateID); err != nil {
		return Taken{}, err
	}
	return p.take(ctx, log, admission{
		Taken: Taken{Device: device, CertificateID: e.CertificateID, Order: order.ID, Claim: e.ClaimCertificateID, At: now},
		thing: thing, template: template, order: order,
	})
}

// issuedTo refuses a certificate of ours that was issued to another device, or that
// is revoked. AWS's own, which the manifest does not know, names nobody.
func issuedTo(ctx context.Context, t Table, device, certificateID string) error {
	entry, err := t.Entry(ctx, certificateID)
	switch {
	case errors.Is(err, ErrUnknown):
		return nil
	case err != nil:
		return err
	case entry.State == Revoked:
		return refusal(IsRevoked, certificateID, "mintmark has revoked it")
	case entry.Device != device:
		return refusal(WrongDevice, certificateID, "it was issued to device %q, and asks for %q", entry.Device, cut(device))
	}
	return nil
}

// admission is what is to be written for a device.
type admission struct {
	Taken
	thing    string
	template Template
	order    Order
}

// take admits the device once. Whoever loses a race looks again.
func (p *Provisioner) take(ctx context.Context, log *slog.Logger, a admission) (Taken, error) {
	for {
		had, err := Table{Client: p.Dynamo, Name: p.Table}.taken(ctx, a.Device)
		switch {
		case errors.Is(err, ErrUnknown):
			err = p.first(ctx, a)
		case err != nil:
			return Taken{}, err
		case had.CertificateID == a.CertificateID:
			return again(had, a)
		default:
			err = p.replace(ctx, log, had, a)
		}
		if err == nil {
			return a.Taken, nil
		}
		if !errors.Is(err, ErrTaken) {
			return Taken{}, err
		}
	}
}

// again answers what was answered before.
func again(had Taken, a admission) (Taken, error) {
	switch {
	case had.Order != a.Order:
		return Taken{}, refusal(InUse, a.CertificateID, "it was admitted under work order %q, and asks under %q", cut(had.Order), a.Order)
	case !had.Void.IsZero():
		return Taken{}, refusal(InUse, a.CertificateID, "another certificate of device %q is taking its place", a.Device)
	}
	return had, nil
}

// replace lets a certificate take the place of one that makes way.
func (p *Provisioner) replace(ctx context.Context, log *slog.Logger, had Taken, a admission) error {
	if age := a.At.Sub(had.At); age < settling {
		return had.refuses(Busy, a.CertificateID, "it was admitted %s ago and is being put in service; ask again in %s", age, settling)
	}
	seat, err := p.succession().seat(ctx, had, a.Taken, a.thing)
	if err != nil {
		return err
	}
	status, err := p.succession().makesWay(ctx, had, a.Taken)
	if err != nil {
		return err
	}
	switch status {
	case gone, types.CertificateStatusRevoked:
	case types.CertificateStatusPendingActivation:
		if had, err = p.void(ctx, had, a.At); err != nil {
			return err
		}
		fallthrough
	default: // revoked by mintmark, which AWS does not know yet
		if err := withdraw(ctx, p.IoT, had.CertificateID, types.CertificateStatusRevoked); err != nil {
			return err
		}
	}
	log.Warn("a certificate is replaced", "replaced", had.CertificateID, "was", status, "order", had.Order)
	return p.second(ctx, had, a, seat)
}

func (p *Provisioner) succession() succession {
	return succession{p.IoT, Table{Client: p.Dynamo, Name: p.Table}, Table{Client: p.Dynamo, Name: p.Rotation}}
}
