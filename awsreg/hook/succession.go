package hook

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// succession decides whether a device that was admitted with one certificate may
// come with another.
type succession struct {
	iot      Certificates
	manifest Table
	rotation Table // without a name: there is none
}

// makesWay refuses unless the certificate that a device was admitted with can give
// its place to another, and returns AWS's status of it. It can
//
//   - if it was never in service, or is gone at AWS
//   - if mintmark has revoked it and the device comes under another work order, which
//     is how people say that it shall come again.
//
// Whatever else is a device in service, or a copy of one. INACTIVE can be undone at
// AWS by whoever did it, and the device would have two.
func (s succession) makesWay(ctx context.Context, had, next Taken) (types.CertificateStatus, error) {
	status, err := statusOf(ctx, s.iot, had.CertificateID)
	if err != nil || status == gone || status == types.CertificateStatusPendingActivation {
		return status, err
	}
	marked, err := s.manifest.revoked(ctx, had.CertificateID)
	switch {
	case err != nil:
		return status, err
	case marked && had.Order != next.Order:
		return status, nil
	case !marked && status == types.CertificateStatusRevoked && !had.Void.IsZero():
		return status, nil // by a call that was cut off: it was never in service
	case marked || status == types.CertificateStatusRevoked:
		return status, had.refuses(InUse, next.CertificateID, "it is REVOKED: the device comes again under another work order if mintmark revoked it, and if it is deleted at AWS")
	}
	return status, had.refuses(InUse, next.CertificateID, "it is %s; somebody has copied the device or its claim, or it has lost its key: revoke the certificate, or delete it at AWS if AWS issued it, and put the device on another work order if it shall come again", status)
}

// seat finds whose place in the rotation table a certificate takes: its own,
// because the server has entered it, that of the certificate that is replaced, or
// that of ones that have never been in service, which the server enters as soon as
// mintmark has signed them. With anything else there a device is in service, and had
// perhaps rotated since it was admitted; under another work order it makes way once
// all of its certificates are revoked. Without an item the answer is empty. had is
// empty for a device that comes for the first time.
func (s succession) seat(ctx context.Context, had, next Taken, thing string) (Rotating, error) {
	if s.rotation.Name == "" {
		return Rotating{}, nil
	}
	r, err := s.rotation.rotating(ctx, thing)
	if errors.Is(err, ErrUnknown) {
		return Rotating{}, nil
	}
	if err != nil {
		return Rotating{}, err
	}
	again := had.CertificateID != "" && had.Order != next.Order
	for _, id := range append([]string{r.Current, r.Next}, r.Replaced...) {
		if id == "" || id == next.CertificateID || id == had.CertificateID {
			continue // about had, makesWay decides
		}
		out, err := s.out(ctx, id, again)
		if err != nil {
			return Rotating{}, err
		}
		if !out {
			return Rotating{}, refusal(InUse, next.CertificateID, "device %q is in service with certificate %s", next.Device, id)
		}
	}
	return r, nil
}

// out reports whether a certificate is not in service and never will be: it is gone,
// or was never admitted and will not be once the device has another, or, of a device
// that comes again, mintmark has revoked it and AWS says so, too.
func (s succession) out(ctx context.Context, certificateID string, again bool) (bool, error) {
	status, err := statusOf(ctx, s.iot, certificateID)
	switch {
	case err != nil:
		return false, err
	case status == gone || status == types.CertificateStatusPendingActivation:
		return true, nil
	case !again || status != types.CertificateStatusRevoked:
		return false, nil
	}
	return s.manifest.revoked(ctx, certificateID)
}

// refuses says why the certificate of a device does not make way for another.
func (t Taken) refuses(reason Reason, certificateID, format string, args ...any) error {
	return refusal(reason, certificateID, "device %q has certificate %s: %s", t.Device, t.CertificateID, fmt.Sprintf(format, args...))
}
