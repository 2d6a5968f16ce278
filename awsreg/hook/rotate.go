package hook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// Rotator is the pre-provisioning hook of the templates by which a device gets its
// next certificate, under the one that it has. It keeps nothing between calls and
// may be used concurrently, in any number of processes.
//
// Which device asks, the certificate of the connection says and nothing else: what
// the device calls itself can only agree.
type Rotator struct {
	IoT      Certificates
	Dynamo   Dynamo
	Table    string           // of the manifest; must be set
	Rotation string           // table of what rotates; must be set
	MaxAge   time.Duration    // as in Activator
	Limit    time.Duration    // for one decision; Within if zero
	Now      func() time.Time // time.Now if nil
	Logger   *slog.Logger     // discarded if nil
}

// Handle decides whether a certificate becomes the next one of the device that
// asks. Answers and errors are as in Provisioner. The certificate in force is never
// touched: it goes out of service when the next one has connected (Presence).
func (r *Rotator) Handle(ctx context.Context, here Place, e HookEvent) (HookAnswer, error) {
	ctx, cancel := within(ctx, r.Limit)
	defer cancel()
	log := logger(r.Logger).With("certificate", e.CertificateID, "current", e.ClaimCertificateID, "template", cut(e.TemplateARN))
	if err := e.validate(); err != nil {
		return HookAnswer{}, fmt.Errorf("provisioning event: %w", err)
	}
	d, err := r.decide(ctx, log, here, e)
	if err != nil {
		return denied(ctx, log, err)
	}
	log.Info("next certificate admitted", "device", d.Device, "thing", d.Thing)
	return allowed(d.Device, d.NextAt), nil
}

func (r *Rotator) decide(ctx context.Context, log *slog.Logger, here Place, e HookEvent) (Rotating, error) {
	table, now := Table{Client: r.Dynamo, Name: r.Table}, clock(r.Now).UTC().Truncate(time.Second)
	name, err := here.template(e.TemplateARN)
	if err != nil {
		return Rotating{}, refusal(WrongTemplate, e.CertificateID, "%v", err)
	}
	template, err := table.template(ctx, name)
	switch {
	case errors.Is(err, ErrUnknown):
		return Rotating{}, refusal(WrongTemplate, e.CertificateID, "template %q is none of mintmark's", name)
	case err != nil:
		return Rotating{}, err
	case !template.Rotation:
		return Rotating{}, refusal(WrongTemplate, e.CertificateID, "template %q is not for rotation; function provision decides for it", name)
	}
	device, err := deviceOf(ctx, table, template, e.ClaimCertificateID)
	if err != nil {
		return Rotating{}, err
	}
	if says, given := e.Parameters[SerialNumber]; given && says != device {
		return Rotating{}, refusal(WrongDevice, e.CertificateID, "certificate %s is of device %q and asks for %q: a device rotates itself and no other", e.ClaimCertificateID, device, cut(says))
	}
	thing, err := template.thingOf(device, e.CertificateID)
	if err != nil {
		return Rotating{}, err
	}
	if err := issuedTo(ctx, table, device, e.CertificateID); err != nil {
		return Rotating{}, err
	}
	head, err := freshHead(ctx, table, e.CertificateID, r.MaxAge, now)
	if err != nil {
		return Rotating{}, err
	}
	if err := unheld(ctx, table, thing, device, e.CertificateID); err != nil {
		return Rotating{}, err
	}
	if err := unrevoked(ctx, table, e.ClaimCertificateID); err != nil {
		return Rotating{}, err
	}
	for {
		d, err := Table{Client: r.Dynamo, Name: r.Rotation}.due(ctx, thing, device, e, head, now)
		if err != nil {
			return Rotating{}, err
		}
		if d.Next != e.CertificateID {
			err = r.retire(ctx, log, d, now, e)
		} else if _, err = table.admitted(ctx, d.Next); err == nil {
			return d, nil // asked again
		} else if errors.Is(err, ErrUnknown) {
			err = nil // issued by us, and the server was faster
		}
		if err != nil {
			return Rotating{}, err
		}
		d, err = r.advance(ctx, d, e, template, now)
		if !errors.Is(err, ErrTaken) {
			return d, err
		}
	}
}

// deviceOf is the device whose certificate asks, by what was written when that was
// admitted, or, of one that mintmark issued by another way, by its entry.
func deviceOf(ctx context.Context, t Table, template Template, certificateID string) (string, error) {
	admitted, err := t.admitted(ctx, certificateID)
	if err == nil {
		if admitted.Template != template.Fleet {
			return "", refusal(WrongTemplate, certificateID, "its device came by template %q, and template %q is for those of %q", cut(admitted.Template), template.Name, template.Fleet)
		}
		return admitted.Device, nil
	}
	if !errors.Is(err, ErrUnknown) {
		return "", err
	}
	entry, err := t.Entry(ctx, certificateID)
	switch {
	case errors.Is(err, ErrUnknown):
		return "", refusal(NotInManifest, certificateID, "it is no certificate of a device")
	case err != nil:
		return "", err
	case entry.State == Revoked:
		return "", refusal(IsRevoked, certificateID, "mintmark has revoked it")
	}
	return entry.Device, nil
}

// due is for the rotation table: it refuses a certificate that is not the one in
// force of its device, or that is too young.
func (t Table) due(ctx context.Context, thing, device string, e HookEvent, head Head, now time.Time) (Rotating, error) {
	d, err := t.rotating(ctx, thing)
	switch {
	case errors.Is(err, ErrUnknown):
		return Rotating{}, refusal(NotCurrent, e.CertificateID, "thing %q does not rotate", thing)
	case err != nil:
		return Rotating{}, err
	case d.Current != e.ClaimCertificateID:
		return Rotating{}, refusal(NotCurrent, e.CertificateID, "thing %q is in service with certificate %s, and not with %s", thing, d.Current, e.ClaimCertificateID)
	case d.Device != device:
		return Rotating{}, refusal(NotCurrent, e.CertificateID, "thing %q is of device %q, and the certificate of %q", thing, cut(d.Device), device)
	case head.Period <= 0:
		return Rotating{}, refusal(NotDue, e.CertificateID, "the manifest's head has no period of rotation")
	case now.Before(d.IssuedAt.Add(head.Period)):
		return Rotating{}, refusal(NotDue, e.CertificateID, "certificate %s of thing %q is due at %s", d.Current, thing, d.IssuedAt.Add(head.Period).Format(time.RFC3339))
	}
	return d, nil
}

// makesRoom refuses unless another certificate can take the place of the next one:
// there is none yet, or nobody can have connected with it and nobody will. It returns
// AWS's status of the next one.
func (d Rotating) makesRoom(ctx context.Context, api Certificates, now time.Time, certificateID string) (iottypes.CertificateStatus, error) {
	if d.Next == "" {
		return gone, nil
	}
	refuse := func(reason Reason, format string, args ...any) error {
		return refusal(reason, certificateID, "thing %q has the next certificate %s: %s", d.Thing, d.Next, fmt.Sprintf(format, args...))
	}
	if age := now.Sub(d.NextAt); age < settling {
		return gone, refuse(Busy, "it was admitted %s ago and is being put in service; ask again in %s", age, settling)
	}
	status, err := statusOf(ctx, api, d.Next)
	if err != nil {
		return gone, err
	}
	switch status {
	case iottypes.CertificateStatusPendingActivation, gone, iottypes.CertificateStatusRevoked:
		return status, nil
	}
	return status, refuse(InUse, "it is %s; connect with it, or have it revoked if the device has lost it", status)
}

// retire makes room for a next certificate.
func (r *Rotator) retire(ctx context.Context, log *slog.Logger, d Rotating, now time.Time, e HookEvent) error {
	status, err := d.makesRoom(ctx, r.IoT, now, e.CertificateID)
	if err != nil || d.Next == "" {
		return err
	}
	if status == iottypes.CertificateStatusPendingActivation {
		if err := withdraw(ctx, r.IoT, d.Next, iottypes.CertificateStatusRevoked); err != nil {
			return err
		}
	}
	log.Warn("a next certificate that was never in service is replaced", "replaced", d.Next, "was", status, "thing", d.Thing)
	return nil
}

// advance writes which certificate is the next. It returns ErrTaken if somebody
// else has changed the device since it was read.
func (r *Rotator) advance(ctx context.Context, d Rotating, e HookEvent, template Template, now time.Time) (Rotating, error) {
	change := &types.Update{
		TableName: aws.String(r.Rotation), Key: Key(d.Thing),
		UpdateExpression:          aws.String("SET #next = :next, #nextAt = :at"),
		ConditionExpression:       aws.String("#current = :current AND attribute_not_exists(#next)"),
		ExpressionAttributeNames:  names("current", "next", "nextAt"),
		ExpressionAttributeValues: Item{":current": text(d.Current), ":next": text(e.CertificateID), ":at": number(now.Unix())},
	}
	steps := []step{{types.TransactWriteItem{Update: change}, ErrTaken}}
	switch d.Next {
	case "":
	case e.CertificateID:
		change.ConditionExpression = aws.String("#current = :current AND #next = :next")
	default:
		change.ConditionExpression = aws.String("#current = :current AND #next = :replaced")
		change.ExpressionAttributeValues[":replaced"] = text(d.Next)
		steps = append(steps, step{types.TransactWriteItem{Delete: &types.Delete{TableName: aws.String(r.Table), Key: Key(FleetKey(d.Next))}}, nil})
	}
	d.Next, d.NextAt = e.CertificateID, now
	admitted := Admitted{CertificateID: d.Next, Thing: d.Thing, Device: d.Device, Template: template.Fleet, At: now}
	return d, transact(ctx, r.Dynamo, append(steps,
		put(r.Table, admitted.Item(), isAbsent, nil, refusal(InUse, e.CertificateID, "it has been admitted before")),
		absent(r.Table, HeldKey(d.Thing), refusal(Held, e.CertificateID, "device %q was held at this moment", d.Device)),
		absent(r.Table, revokedMark+d.Current, refusal(IsRevoked, d.Current, "mintmark has revoked it at this moment")),
	))
}
