package hook

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// IoT is the part of AWS IoT Core that activating a certificate takes. *iot.Client
// implements it.
type IoT interface {
	DescribeCertificate(context.Context, *iot.DescribeCertificateInput, ...func(*iot.Options)) (*iot.DescribeCertificateOutput, error)
	CreateThing(context.Context, *iot.CreateThingInput, ...func(*iot.Options)) (*iot.CreateThingOutput, error)
	AttachPolicy(context.Context, *iot.AttachPolicyInput, ...func(*iot.Options)) (*iot.AttachPolicyOutput, error)
	AttachThingPrincipal(context.Context, *iot.AttachThingPrincipalInput, ...func(*iot.Options)) (*iot.AttachThingPrincipalOutput, error)
	UpdateCertificate(context.Context, *iot.UpdateCertificateInput, ...func(*iot.Options)) (*iot.UpdateCertificateOutput, error)
}

// Store is the manifest. Reads must see every write that was acknowledged before
// they began.
type Store interface {
	// Entry returns ErrUnknown for a certificate that was never pushed. Of a
	// revoked one only CertificateID and State can be relied upon.
	Entry(ctx context.Context, certificateID string) (Entry, error)
	// Held reports whether a device is held or retired, under the name of its thing
	// or under its own.
	Held(ctx context.Context, thing, device string) (bool, error)
	// Head returns ErrUnknown if nothing was ever pushed.
	Head(ctx context.Context) (Head, error)
	// Signer is the name of the authority whose registration a CA is, where the
	// authority has several; empty where nothing says so.
	Signer(ctx context.Context, caID string) (issuer string, err error)
}

// Activator activates certificates that arrived by just-in-time registration. It
// keeps nothing between calls and may be used concurrently.
type Activator struct {
	IoT    IoT
	Store  Store
	Policy string           // IoT policy that is attached to each certificate
	MaxAge time.Duration    // how old the manifest may be; DefaultMaxAge if zero. The head can only shorten it
	Now    func() time.Time // time.Now if nil
	Logger *slog.Logger     // discarded if nil
}

// Handle brings one certificate to the state that the manifest gives it: thing,
// policy, and last of all ACTIVE; or REVOKED. A certificate that is not proved to
// be expected keeps its status, and the error, a *Refusal where the manifest or
// the certificate is the reason, says why.
//
// Calls may repeat, run at the same time, and be cut off between any two steps:
// each step does nothing when it was done before, and the one that lets the
// device in comes last.
func (a *Activator) Handle(ctx context.Context, e Event) error {
	log := a.logger().With("certificate", e.CertificateID, "ca", e.CACertificateID, "address", e.SourceIP)
	if err := e.validate(); err != nil {
		return fmt.Errorf("registration event: %w", err)
	}
	if err := a.handle(ctx, log, e); err != nil {
		var refusal *Refusal
		if errors.As(err, &refusal) {
			log = log.With("reason", refusal.Reason)
		}
		log.Error("certificate not activated", "error", err)
		return err
	}
	return nil
}

func (a *Activator) handle(ctx context.Context, log *slog.Logger, e Event) error {
	out, err := a.IoT.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: aws.String(e.CertificateID)})
	if err != nil {
		return fmt.Errorf("describing certificate %s: %w", e.CertificateID, err)
	}
	if out.CertificateDescription == nil {
		return fmt.Errorf("describing certificate %s: AWS answered without a description", e.CertificateID)
	}
	d := out.CertificateDescription

	entry, err := a.Store.Entry(ctx, e.CertificateID)
	if errors.Is(err, ErrUnknown) {
		return refuse(NotInManifest, e, "the manifest does not know it (serial number %s): either it has not been pushed yet, or mintmark did not issue it; look with `mintmark cert show`, and treat a certificate under your CA that mintmark does not know as a sign of a compromised key", serialOf(d))
	}
	if err != nil {
		return fmt.Errorf("looking up certificate %s: %w", e.CertificateID, err)
	}
	if entry.State == Revoked {
		return a.revoke(ctx, log, e.CertificateID, d.Status)
	}

	switch d.Status {
	case types.CertificateStatusPendingActivation:
	case types.CertificateStatusActive:
		log.Info("certificate is active already")
		return nil
	default:
		// Somebody took it out of service at AWS. A late or repeated event must
		// not put it back.
		log.Warn("certificate left as it is", "status", d.Status)
		return nil
	}
	if err := a.check(ctx, e, d, entry); err != nil {
		return err
	}
	if err := a.released(ctx, e, entry); err != nil {
		return err
	}
	if err := a.activate(ctx, aws.ToString(d.CertificateArn), entry); err != nil {
		return err
	}
	// A hold that came in between found nothing ACTIVE that it could have taken
	// out of service. Whoever holds writes the mark first.
	if err := a.released(ctx, e, entry); err != nil {
		if undo := a.update(ctx, e.CertificateID, types.CertificateStatusInactive); undo != nil {
			return fmt.Errorf("%w; setting it INACTIVE again: %w", err, undo)
		}
		return err
	}
	log.Info("certificate activated", "device", entry.Device, "thing", entry.Thing, "serial", entry.Serial)
	return nil
}

// check refuses whatever is not exactly the certificate that the manifest
// expects, while it expects it.
func (a *Activator) check(ctx context.Context, e Event, d *types.CertificateDescription, entry Entry) error {
	block, _ := pem.Decode([]byte(aws.ToString(d.CertificatePem)))
	if block == nil || block.Type != "CERTIFICATE" {
		return refuse(WrongCertificate, e, "AWS returned no certificate in PEM")
	}
	// AWS does not document how it makes the id. The manifest's entry is found by
	// it, so the id is worth something only if it really is the hash.
	if sum := sha256.Sum256(block.Bytes); id(sum) != e.CertificateID {
		return refuse(WrongCertificate, e, "the certificate that AWS holds has the SHA-256 %s", id(sum))
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return refuse(WrongCertificate, e, "it does not parse: %v", err)
	}
	if serial := hexSerial(certificate); serial != entry.Serial {
		return refuse(WrongCertificate, e, "its serial number is %s, the manifest expects %s", serial, entry.Serial)
	}
	ca, other := aws.ToString(d.CaCertificateId), ""
	if ca == e.CACertificateID && ca != entry.CA {
		if other, err = a.Store.Signer(ctx, ca); err != nil {
			return fmt.Errorf("looking up whose CA %s is: %w", ca, err)
		}
	}
	if ca != e.CACertificateID || ca != entry.CA && (other == "" || other != entry.Issuer) {
		return refuse(WrongCA, e, "AWS registered it under CA %s, the event names %s, the manifest expects %s", ca, e.CACertificateID, entry.CA)
	}
	now := a.now()
	if !now.Before(entry.NotAfter) || now.After(certificate.NotAfter) {
		return refuse(Expired, e, "it expired at %s", entry.NotAfter.Format(time.RFC3339))
	}
	return a.fresh(ctx, e, now)
}

// fresh refuses everything while the manifest is too old: a revocation that has
// not been pushed would be missed.
func (a *Activator) fresh(ctx context.Context, e Event, now time.Time) error {
	_, err := freshHead(ctx, a.Store, e.CertificateID, a.MaxAge, now)
	return err
}

// released refuses a device that is held, or retired.
func (a *Activator) released(ctx context.Context, e Event, entry Entry) error {
	held, err := a.Store.Held(ctx, entry.Thing, entry.Device)
	if err != nil {
		return fmt.Errorf("looking whether device %q is held: %w", cut(entry.Device), err)
	}
	if held {
		return refuse(Held, e, "device %q is held: release it with mintmark device release", entry.Device)
	}
	return nil
}

// activate runs the steps that let the device in; the order is the point.
//
// A revocation at the same moment is safe: mintmark writes the mark first and
// sets the certificate REVOKED second. If the mark came too late for this call to
// see it, AWS knew the certificate already (the call began by describing it), so
// that REVOKED is set there too, before or after ACTIVE; and it is final.
func (a *Activator) activate(ctx context.Context, arn string, entry Entry) error {
	// CreateThing answers success for the same thing with the same settings and
	// ResourceAlreadyExists for other ones, such as attributes that somebody
	// added: either way the thing is there.
	_, err := a.IoT.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String(entry.Thing)})
	var exists *types.ResourceAlreadyExistsException
	if err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("creating thing %q: %w", entry.Thing, err)
	}
	if _, err := a.IoT.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String(a.Policy), Target: aws.String(arn)}); err != nil {
		return fmt.Errorf("attaching policy %q: %w", a.Policy, err)
	}
	if _, err := a.IoT.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: aws.String(entry.Thing), Principal: aws.String(arn)}); err != nil {
		return fmt.Errorf("attaching the certificate to thing %q: %w", entry.Thing, err)
	}
	if err := a.update(ctx, entry.CertificateID, types.CertificateStatusActive); err != nil {
		return fmt.Errorf("setting certificate %s ACTIVE: %w", entry.CertificateID, err)
	}
	return nil
}

// revoke sets a certificate REVOKED that the manifest says is revoked, whatever
// its status: mintmark's revocation is final and so is AWS's, and a certificate
// that stayed pending would raise this event on every connect for ever. It does
// not wait for a fresh head: nothing makes a revocation untrue.
func (a *Activator) revoke(ctx context.Context, log *slog.Logger, certificateID string, status types.CertificateStatus) error {
	if status == types.CertificateStatusRevoked {
		log.Info("certificate is revoked already")
		return nil
	}
	if err := a.update(ctx, certificateID, types.CertificateStatusRevoked); err != nil {
		return fmt.Errorf("setting certificate %s REVOKED: %w", certificateID, err)
	}
	log.Warn("certificate is revoked, set REVOKED", "was", status)
	return nil
}

func (a *Activator) update(ctx context.Context, certificateID string, status types.CertificateStatus) error {
	_, err := a.IoT.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: aws.String(certificateID), NewStatus: status})
	return err
}

func (a *Activator) now() time.Time { return clock(a.Now) }

func (a *Activator) logger() *slog.Logger { return logger(a.Logger) }

// serialOf is the serial number of the certificate that AWS holds, for the log:
// the factory finds certificates by it.
func serialOf(d *types.CertificateDescription) string {
	if block, _ := pem.Decode([]byte(aws.ToString(d.CertificatePem))); block != nil {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			return hexSerial(c)
		}
	}
	return "unreadable"
}

// hexSerial writes a serial number as mintmark does everywhere.
func hexSerial(c *x509.Certificate) string { return hex.EncodeToString(c.SerialNumber.Bytes()) }
