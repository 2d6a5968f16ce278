package server

import (
	"context"
	"errors"

	"mintmark/admin/adminhttp"
	"mintmark/awsreg"
	"mintmark/internal/ledger"
)

// Connection says where and as what a device connects with a certificate:
// registered under one of the target's CAs, or by one of its fleets.
func (t *awsTargets) Connection(ctx context.Context, name string, device ledger.Device, certificate ledger.Certificate) (adminhttp.Connection, error) {
	target, err := t.find(name)
	if err != nil {
		return adminhttp.Connection{}, err
	}
	var label string // of the work order that the device is listed under
	if device.Order != "" {
		order, err := t.s.ledger.Order(ctx, device.Order)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return adminhttp.Connection{}, err
		}
		label = order.Label
	}
	thing, mode, ok := thingOf(target, device.ID, label, certificate.Issuer)
	if !ok {
		return adminhttp.Connection{}, adminhttp.ErrNotHere
	}
	endpoint, err := t.registrar.DataEndpoint(ctx, target)
	if err != nil {
		return adminhttp.Connection{}, err
	}
	return adminhttp.Connection{Thing: thing, Endpoint: endpoint, Region: target.Region, Mode: mode}, nil
}

// thingOf is what a device is called at a target, and how the CA of its
// certificate is registered there. What AWS has from its certificate provider is
// under no registered CA, and has no mode that we know.
func thingOf(target awsreg.Target, device, label, issuer string) (thing, mode string, ok bool) {
	for _, a := range target.CAs {
		switch {
		case a.Issuer != issuer:
		case a.Use == awsreg.UseJITP:
			return device, a.Mode, true // the attribute of the subject, as it stands there
		case a.Mode == awsreg.ModeNone:
			return awsreg.ThingName(device), awsreg.ModeSNIOnly, true
		default:
			return awsreg.ThingName(device), a.Mode, true
		}
	}
	for _, f := range target.Fleets {
		if target.Provider != nil && label == target.Label(f) {
			return f.ThingPrefix + device, "", true
		}
	}
	return "", "", false
}
