package dpsreg

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"mintmark/dpsreg/hub"
)

// reasonPrefix begins the status reason of every identity that we have disabled; only
// those are enabled again.
const reasonPrefix = "mintmark: "

// place is where a device's identity may be.
type place struct {
	host   string
	client *hub.Client
	id     string
}

// places are where a device's identity may be, among the configured hubs: where its
// registration says. What becomes of a registration when an
// individual enrollment is made for a device that came in by a group, or deleted, is
// not documented: without one, every configured hub is asked for the id that
// the device gets. The thumbprint decides in the end.
func (ds *Devices) places(ctx context.Context, s *session, device string, w settled) ([]place, error) {
	if len(s.target.Hubs) == 0 {
		return nil, nil
	}
	state, err := s.dps.Registration(ctx, w.RegistrationID)
	if err != nil && !missing(err) {
		return nil, fmt.Errorf("reading registration %q: %w", w.RegistrationID, err)
	}
	var all []place
	if err == nil && state.AssignedHub != "" && state.DeviceID != "" {
		for _, h := range s.target.Hubs {
			if strings.EqualFold(h.Host, state.AssignedHub) {
				all = append(all, place{h.Host, s.hubs[h.Host], state.DeviceID})
			}
		}
		if len(all) == 0 {
			ds.logger(s, device).Info("the device is at a hub that is not configured", "hub", state.AssignedHub)
		}
		return all, nil
	}
	for _, h := range s.target.Hubs {
		all = append(all, place{h.Host, s.hubs[h.Host], or(w.deviceID, w.RegistrationID)})
	}
	return all, nil
}

// stop disables the identities of a blocked device, whatever became of its enrollment. A
// hub lets a device in by the thumbprint that its identity had at the last registration,
// and asks DPS nothing.
func (ds *Devices) stop(ctx context.Context, s *session, d standing, o *outcome) error {
	var errs []error
	for _, w := range d.wants {
		at := settled{want: w}
		for _, now := range o.now {
			if now.RegistrationID == w.RegistrationID {
				at = now
			}
		}
		if at.Kind != wantBlocked {
			continue
		}
		device := d.device.ID
		err := untilCalm(ctx, func() (bool, error) { return false, ds.atHubs(ctx, s, device, at, o) })
		if err != nil {
			errs = append(errs, fmt.Errorf("device %q: %w", device, err))
		}
	}
	return errors.Join(errs...)
}

// atHubs enables or disables a device's identities, as the ledger has the device then.
// As in settleOne, an identity is read before the ledger, and the ledger once more after
// the change.
func (ds *Devices) atHubs(ctx context.Context, s *session, device string, w settled, o *outcome) error {
	places, err := ds.places(ctx, s, device, w)
	if err != nil {
		return err
	}
	for _, p := range places {
		identity, err := p.client.Device(ctx, p.id)
		if missing(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading identity %q at %s: %w", p.id, p.host, err)
		}
		d, err := ds.standing(ctx, s.target, device)
		if err != nil {
			return err
		}
		status, reason := d.statusOf(identity, w.RegistrationID)
		if status == "" {
			if d.blocked() && identity.Status != hub.Disabled {
				ds.logger(s, device).Info("the identity at the hub is left alone: it has no certificate of the device", "hub", p.host, "identity", p.id)
			}
			continue
		}
		_, err = p.client.SetStatus(ctx, identity, status, reason)
		if changed(err) || missing(err) {
			return &racedError{err}
		}
		if err != nil {
			return fmt.Errorf("identity %q at %s: %w", p.id, p.host, err)
		}
		o.did, o.more = append(o.did, status+" at "+p.host), true
		ds.logger(s, device).Info("identity at the hub changed", "hub", p.host, "identity", p.id, "status", status)
		now, err := ds.standing(ctx, s.target, device)
		if err != nil {
			return err
		}
		if now.blocked() != d.blocked() {
			return &racedError{errors.New("the device is held or released at the same time")}
		}
	}
	return nil
}

// statusOf is what becomes of an identity; empty if it stays as it is. That of a blocked
// device is disabled, and that of another is enabled if it was we who disabled it; both
// only if it has a certificate of the device.
func (d standing) statusOf(identity hub.Device, registrationID string) (status, reason string) {
	if !d.owns(identity.Primary) && !d.owns(identity.Secondary) {
		return "", ""
	}
	off := identity.Status == hub.Disabled
	switch w, _ := d.want(registrationID); {
	case w.Kind == wantBlocked && !off:
		return hub.Disabled, reasonPrefix + w.Reason
	case w.Kind != wantBlocked && off && strings.HasPrefix(identity.StatusReason, reasonPrefix):
		return hub.Enabled, ""
	}
	return "", ""
}

// owns reports whether a thumbprint, SHA-1 or SHA-256 in hexadecimal, is that of any
// certificate of the device.
func (d standing) owns(print string) bool {
	if print == "" {
		return false
	}
	for _, c := range d.certificates {
		sum := sha1.Sum(c.DER)
		if strings.EqualFold(print, thumbprint(c)) || strings.EqualFold(print, hex.EncodeToString(sum[:])) {
			return true
		}
	}
	return false
}
