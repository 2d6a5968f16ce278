package issuer

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"mintmark/internal/ledger"
)

// DeviceSecret authenticates by the one-time secret of a device. An unknown
// device and a wrong secret get the same refusal, of kind Unauthenticated, in
// the same way. A secret that is used or expired still authenticates: the
// request may be the repetition of the one that it was used for, which the
// ledger decides. Errors that are not *Refusal are internal.
func (ra *RA) DeviceSecret(ctx context.Context, device, secret string) (ledger.DeviceSecret, error) {
	sum := sha256.Sum256([]byte(secret))
	if len(device) > 256 || !utf8.ValidString(device) || strings.ContainsRune(device, 0) {
		device = "" // not every database takes such a text, and none has it
	}
	record, err := ra.Ledger.DeviceSecret(ctx, device)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return ledger.DeviceSecret{}, fmt.Errorf("looking up the one-time secret of a device: %w", err)
	}
	// A device without a secret is compared, too: with zeros, which no secret
	// hashes to.
	if subtle.ConstantTimeCompare(sum[:], record.SHA256[:]) != 1 {
		refusal := refuse(Unauthenticated, "credential", "unknown device or wrong secret")
		refusal.Err = err
		return ledger.DeviceSecret{}, refusal
	}
	return record, nil
}
