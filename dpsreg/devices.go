package dpsreg

import (
	"context"
	"errors"

	"mintmark/internal/ledger"
)

// Records is the part of the ledger that dpsreg reads; see ledger.Ledger.
type Records interface {
	// Order returns ledger.ErrNotFound for one that is not there.
	Order(ctx context.Context, id string) (ledger.Order, error)
	Orders(ctx context.Context, query ledger.OrderQuery) ([]ledger.Order, error)
	Device(ctx context.Context, id string) (ledger.Device, error)
	Devices(ctx context.Context, query ledger.DeviceQuery) ([]ledger.Device, error)
	Certificates(ctx context.Context, query ledger.Query) (ledger.Page, error)
}

// Devices tells DPS instances and hubs of single devices, as the ledger has them. It may
// be used concurrently.
type Devices struct {
	conn        *Connections
	authorities func() []Authority
	records     Records
}

// NewDevices returns what tells of the devices in records. Authorities are as in
// Config. It makes no call.
func NewDevices(c *Connections, authorities func() []Authority, records Records) (*Devices, error) {
	switch {
	case authorities == nil:
		return nil, errors.New("dpsreg: there are no authorities to tell groups by")
	case records == nil:
		return nil, errors.New("dpsreg: there are no records of devices")
	}
	return &Devices{c, authorities, records}, nil
}
