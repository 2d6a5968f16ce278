package dpsreg

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
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

// errAssigning: the device may have an identity in a moment that it does not have yet.
var errAssigning = fmt.Errorf("the service is assigning the device to a hub: %w", errNotYet)

// places are where a device's identity may be, among the configured hubs: where its
// registration says. What becomes of a registration when an
// individual enrollment is made for a device that came in by a group, or deleted, is
// not documented: without one, every configured hub is asked for the ids that
// the device may have got. The thumbprint decides in the end. With errAssigning there may
// be more of them later.
func (ds *Devices) places(ctx context.Context, s *session, d standing, w settled) ([]place, error) {
	if len(s.target.Hubs) == 0 {
		return nil, nil
	}
	state, err := s.dps.Registration(ctx, w.RegistrationID)
	if err != nil && !missing(err) {
		return nil, fmt.Errorf("reading registration %q: %w", w.RegistrationID, err)
	}
	var pending error
	if err == nil && strings.EqualFold(state.Status, "assigning") {
		pending = errAssigning
	}
	var all []place
	if err == nil && state.AssignedHub != "" && state.DeviceID != "" {
		for _, h := range s.target.Hubs {
			if strings.EqualFold(h.Host, state.AssignedHub) {
				all = append(all, place{h.Host, s.hubs[h.Host], state.DeviceID})
			}
		}
		if len(all) == 0 {
			ds.logger(s, d.device.ID).Info("the device is at a hub that is not configured", "hub", state.AssignedHub)
		}
		return all, pending
	}
	for _, h := range s.target.Hubs {
		for _, id := range d.idsAtHub(s.target, w) {
			all = append(all, place{h.Host, s.hubs[h.Host], id})
		}
	}
	return all, pending
}

// idsAtHub are the ids that a device may have at a hub: what its enrollment says, what those of
// the target would say, which may have been deleted, and the registration id.
func (d standing) idsAtHub(t Target, w settled) []string {
	ids := []string{w.RegistrationID}
	add := func(id string) {
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	add(w.deviceID)
	all, err := newestFirst(d.certificates)
	if err != nil {
		return ids // wanted has read them before
	}
	for _, c := range all {
		if e := t.enrollment(c.Certificate); e != nil && c.id == w.RegistrationID {
			// What the device has nothing for was never made.
			if id, err := (values{d.device, c.Certificate}).text(e.DeviceID); err == nil {
				add(id)
			}
		}
	}
	return ids
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
		err := untilCalm(ctx, func() (bool, error) { return false, ds.atHubs(ctx, s, d, at, o) })
		if err != nil {
			errs = append(errs, fmt.Errorf("device %q: %w", d.device.ID, err))
		}
	}
	return errors.Join(errs...)
}

// atHubs enables or disables a device's identities, as the ledger has the device then.
// As in settleOne, an identity is read before the ledger, and the ledger once more after
// the change. A hub that cannot be asked does not keep the others from being told.
func (ds *Devices) atHubs(ctx context.Context, s *session, before standing, w settled, o *outcome) error {
	places, err := ds.places(ctx, s, before, w)
	var errs []error
	switch {
	case errors.Is(err, errAssigning):
		if w.Kind == wantBlocked {
			errs = append(errs, err)
		}
	case err != nil:
		return err
	}
	for _, p := range places {
		errs = append(errs, ds.atHub(ctx, s, before.device.ID, p, w, o))
	}
	return errors.Join(errs...)
}

// atHub is atHubs at one place.
func (ds *Devices) atHub(ctx context.Context, s *session, device string, p place, w settled, o *outcome) error {
	identity, err := p.client.Device(ctx, p.id)
	if missing(err) {
		return nil
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
		return nil
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
