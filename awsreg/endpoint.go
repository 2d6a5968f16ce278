package awsreg

import (
	"context"
	"errors"
)

// DataEndpoint is the host name that devices of a target connect to (iot:Data-ATS).
// The simulator's has a port.
func (r *Registrar) DataEndpoint(ctx context.Context, t Target) (string, error) {
	return "", errors.ErrUnsupported
}
