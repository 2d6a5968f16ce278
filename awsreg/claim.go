package awsreg

import (
	"context"
	"errors"

	"mintmark/internal/ledger"
)

// Claim is a claim certificate as AWS has it.
type Claim struct {
	CertificateID string
	Order         string
	Status        string // AWS's word
	Template      string
	Policy        string // the claim policy, attached
	// PEM is the certificate where AWS issued it; empty for one of ours.
	PEM string
}

// ClaimFromAWS has AWS issue a claim certificate for a request whose key never
// leaves its owner, and binds it to the work order. It is INACTIVE until policy
// and claim# item are there. The order's label must be one of the target's fleets.
func (r *Registrar) ClaimFromAWS(ctx context.Context, t Target, order ledger.Order, csr []byte) (Claim, error) {
	return Claim{}, errors.ErrUnsupported
}

// Claims lists the claim certificates of a work order that the account knows, of
// whichever issuer, and how many devices the hook has admitted under the order.
func (r *Registrar) Claims(ctx context.Context, t Target, order string) (claims []Claim, used int, err error) {
	return nil, 0, errors.ErrUnsupported
}
