package dpsreg

import (
	"context"
	"errors"

	"mintmark/dpsreg/dps"
	"mintmark/dpsreg/hub"
)

// session is the clients of one target.
type session struct {
	target       Target
	certificates certificateAPI
	dps          *dps.Client
	hubs         map[string]*hub.Client // by host name
}

// certificateAPI is the part of armdeviceprovisioningservices that is used.
type certificateAPI interface{}

// session returns the clients of a target. It makes no call.
func (r *Registrar) session(ctx context.Context, t Target) (*session, error) {
	return nil, errors.New("not built yet")
}
