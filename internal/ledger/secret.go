package ledger

import (
	"context"
	"fmt"
	"time"
)

// DeviceSecret is the one-time secret of a device, which gets it one
// certificate.
type DeviceSecret struct {
	Device    string
	SHA256    [32]byte
	At        time.Time
	Actor     string
	ExpiresAt time.Time
	// Serial is the certificate, or the intent, that it was used for; empty
	// while it was not.
	Serial Serial
}

// SecretError refuses an intent for the state of its one-time secret.
type SecretError struct {
	Device string
	// Why is unknown (there is another secret by now, or none), used or expired.
	Why string
}

func (e *SecretError) Error() string {
	return fmt.Sprintf("one-time secret of %q: %s", e.Device, e.Why)
}

// Secrets is the part that keeps the one-time secrets of devices.
//
// An intent with Intent.Secret takes the secret of its device in the transaction
// of Begin; a void intent gives it back. *PriorError costs none: a repeated
// request gets its certificate again. While the intent that took it is open, another one
// gets ErrInFlight. Secrets that have expired 90 days ago are forgotten.
type Secrets interface {
	// PutSecrets records at most 1000 secrets, all or none. A device's secret
	// replaces its earlier one; the same one again only changes when it expires,
	// and stays used: whoever imports a list twice revives nothing.
	PutSecrets(ctx context.Context, secrets []DeviceSecret) error

	// DeviceSecret returns ErrNotFound for a device without one.
	DeviceSecret(ctx context.Context, device string) (DeviceSecret, error)

	// DropSecret forgets the secret of a device. ErrNotFound if it has none.
	DropSecret(ctx context.Context, device, actor string, now time.Time) error
}
