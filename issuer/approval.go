package issuer

import (
	"context"
	"crypto"
	"crypto/x509"

	"mintmark/internal/ledger"
)

// Queued returns the EST label under which the same request, by key and
// subject, waits for an approval or has got one; ok is false if none does. A
// client may have lost the label since: strongSwan drops the path after a 202.
func (ra *RA) Queued(ctx context.Context, csr []byte) (label string, ok bool, err error) {
	return "", false, nil
}

// DeviceSecret authenticates by the one-time secret of a device. An unknown
// device and a wrong secret get the same refusal, of kind Unauthenticated, in the same way. A
// secret that is used or expired still authenticates: the request may be the repetition of
// the one that it was used for, which the ledger decides. Errors that are not *Refusal are internal.
func (ra *RA) DeviceSecret(ctx context.Context, device, secret string) (ledger.DeviceSecret, error) {
	return ledger.DeviceSecret{}, refuse(Unauthenticated, "credential", "unknown device or wrong secret")
}

// Bridges returns the certificates that lead from one root to another while a
// rollover of the root of that issuing CA runs: OldWithOld, NewWithNew,
// OldWithNew and NewWithOld (RFC 7030, Section 4.1.3); nil while none runs.
func (ra *RA) Bridges(name string) []*x509.Certificate { return nil }

// GenerateKey makes a key pair for a device (RFC 7030, Section 4.4): of the type
// of like if the profile allows it, and of the profile's first type otherwise. It is nowhere
// stored.
func (ra *RA) GenerateKey(ctx context.Context, profile string, like crypto.PublicKey) (crypto.Signer, error) {
	return nil, refuse(Unavailable, "keygen", "not yet")
}

// Wants describes the requests that a profile takes.
func (ra *RA) Wants(profile string) Wants {
	if p := ra.Profiles[profile]; p != nil {
		return p.Wants()
	}
	return Wants{}
}
