package awsreg

import (
	"context"
	"errors"
	"io"

	"mintmark/internal/ledger"
)

// Bulk is the input of one StartThingRegistrationTask.
// https://docs.aws.amazon.com/iot/latest/developerguide/bulk-provisioning.html
type Bulk struct {
	Template string // provisioning template, JSON
	Things   int
}

// WriteBulk writes one line of JSON for each valid device certificate that the
// query finds under a CA of the target with UseRegister, as
// StartThingRegistrationTask reads it, and returns the template that goes with
// it. Whether the devices came in is for Reconcile to see.
func (r *Registrar) WriteBulk(ctx context.Context, t Target, query ledger.Query, w io.Writer) (Bulk, error) {
	return Bulk{}, errors.ErrUnsupported
}
