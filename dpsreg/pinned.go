package dpsreg

import (
	"fmt"
	"strings"

	"mintmark/dpsreg/dps"
	"mintmark/internal/ledger"
	"mintmark/internal/pattern"
)

// hubDeviceID matches what IoT Hub takes as a device id.
// https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-identity-registry#device-identity-properties
var hubDeviceID = pattern.New(`^[A-Za-z0-9\-.%_*?!(),:=@$']{1,128}$`)

// pin makes the individual enrollment of a pinned device, or brings one of ours to what
// it should be. One that somebody has disabled at Azure stays disabled: only what was
// disabled by a block is enabled again.
func (d standing) pin(w want, there dps.Enrollment, m mark) (step, error) {
	e := w.Enrollment
	v := values{d.device, w.Certificates[0]}
	id, err := v.text(e.DeviceID)
	if err == nil && id != "" && !hubDeviceID.MatchString(id) {
		err = fmt.Errorf("%q is no device id that IoT Hub takes", id)
	}
	if err != nil {
		return step{}, fmt.Errorf("device id of enrollment %q: %w", e.Name, err)
	}
	tags, err := v.object(e.Tags)
	if err != nil {
		return step{}, fmt.Errorf("tags of enrollment %q: %w", e.Name, err)
	}
	desired, err := v.object(e.Desired)
	if err != nil {
		return step{}, fmt.Errorf("desired properties of enrollment %q: %w", e.Name, err)
	}
	want := e.settings(tags, desired)
	next := there
	var changes []string
	if m.kind == "" {
		next.RegistrationID, next.Status = w.RegistrationID, dps.Enabled
	} else {
		changes = want.drift(settingsOf(there))
	}
	if id != "" && id != there.DeviceID {
		next.DeviceID = id
		changes = append(changes, fmt.Sprintf("device id %q instead of %q", there.DeviceID, id))
	}
	if m.kind == markBlocked {
		next.Status = dps.Enabled
		changes = append(changes, "enabled")
	}
	want.put(&next)
	mine := d.mark(markPinned, w.RegistrationID)
	mine.evicted = w.evicted(m, there)
	if next.Information, err = marked(there.Information, mine); err != nil {
		return step{}, foreign(there, err.Error())
	}
	swapped, moved := pinSlots(w, &next, there)
	if moved && !swapped {
		changes = append(changes, "certificates")
	}
	s := step{do: update, enrollment: next, what: strings.Join(changes, ", ")}
	switch {
	case m.kind == "":
		s.do, s.what = create, "made"
	case len(changes) > 0:
	case swapped:
		s.promoted, s.what = true, "promoted"
	default:
		s = step{}
	}
	switch {
	case m.kind == markPinned && disabled(there):
		s.note = "somebody disabled it at Azure: enable it there if the device should be let in"
	case mine.evicted != "":
		s.note = fmt.Sprintf("certificate %s is in force and was the primary one, and lets the device in no more, because the one that it had superseded was renewed once more: if two devices share that key, hold this one; revoke what it does not have", mine.evicted)
	}
	return s, nil
}

// evicted is the serial number of a certificate in force that is, or was, the primary one and
// gets no slot; empty for none. It happens when a superseded certificate that is still in
// force renews: with a stolen key, or in a device that was restored from a backup. A device
// that asks again because the answer was lost renews the primary one, and evicts nothing.
func (w want) evicted(m mark, there dps.Enrollment) string {
	primary, _, _ := inSlots(there)
	for _, c := range w.LeftOut {
		if thumbprint(c) == primary || string(c.Serial) == m.evicted {
			return string(c.Serial)
		}
	}
	return ""
}

// pinSlots puts the certificates that let the device in into an enrollment. moved is true if
// there were others, or in other places; swapped if they only changed places.
func pinSlots(w want, next *dps.Enrollment, there dps.Enrollment) (swapped, moved bool) {
	primary, secondary := slots(w.Certificates, there.Registration)
	next.Attestation = dps.Attestation{Type: "x509", X509: &dps.X509{Client: wireSlots(primary, secondary)}}
	print := func(c *ledger.Certificate) string {
		if c == nil {
			return ""
		}
		return thumbprint(*c)
	}
	first, second, ok := inSlots(there)
	wantFirst, wantSecond := print(primary), print(secondary)
	moved = !ok || first != wantFirst || second != wantSecond
	return ok && moved && first == wantSecond && second == wantFirst, moved
}

// pinForeign reports whether a device is let in by an enrollment that is another's, which
// is never changed.
func pinForeign(w want, there dps.Enrollment) error {
	first, second, ok := inSlots(there)
	switch {
	case disabled(there):
		return foreign(there, "is disabled, so that the device is not let in: delete it, and mintmark makes its own")
	case !ok:
		return foreign(there, "lets in by other means than the device's certificate: delete it, and mintmark makes its own")
	}
	for _, c := range w.Certificates {
		if print := thumbprint(c); print != first && print != second {
			return foreign(there, fmt.Sprintf("does not have certificate %s of the device: delete it, and mintmark makes its own", c.Serial))
		}
	}
	return nil
}

// settingsOf are the settings of an enrollment that is there.
func settingsOf(e dps.Enrollment) settings {
	return settings{e.Capabilities, e.Reprovision, e.Allocation, e.Hubs, e.Twin, e.CustomAllocation}
}

// put writes settings into an enrollment. Hubs that are not wanted in particular stay as
// they are.
func (want settings) put(e *dps.Enrollment) {
	e.Capabilities, e.Reprovision, e.Allocation = want.Capabilities, want.Reprovision, want.Allocation
	e.Twin, e.CustomAllocation = want.Twin, want.Custom
	if len(want.Hubs) > 0 {
		e.Hubs = want.Hubs
	}
}
