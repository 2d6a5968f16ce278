package dpsreg

import (
	"mintmark/dpsreg/dps"
)

// DPS knows no revocation. What keeps one device out is an individual enrollment that is
// disabled: it is found before any group, by the registration id alone.
// https://learn.microsoft.com/azure/iot-dps/how-to-revoke-device-access-portal

// makeBlocked makes the disabled enrollment of a device that has none. It must have a
// certificate; which one does not matter, because it lets nobody in.
func (d standing) makeBlocked(w want) (step, error) {
	e := dps.Enrollment{RegistrationID: w.RegistrationID, Status: dps.Disabled}
	var second = w.Certificates[1:]
	s := &dps.Slots{Primary: wireCertificate(&w.Certificates[0])}
	if len(second) > 0 {
		s.Secondary = wireCertificate(&second[0])
	}
	e.Attestation = dps.Attestation{Type: "x509", X509: &dps.X509{Client: s}}
	var err error
	if e.Information, err = marked(nil, d.mark(markBlocked, w.RegistrationID)); err != nil {
		return step{}, err
	}
	return step{do: create, enrollment: e, what: "disabled (" + w.Reason + ")"}, nil
}

// block disables an enrollment of ours, and changes nothing else of it. One that
// somebody else has disabled is left to them: it keeps the device out, and must still do
// so after a release.
func (d standing) block(w want, there dps.Enrollment) (step, error) {
	if disabled(there) {
		return step{}, nil
	}
	next := there
	next.Status = dps.Disabled
	var err error
	if next.Information, err = marked(there.Information, d.mark(markBlocked, w.RegistrationID)); err != nil {
		return step{}, err
	}
	return step{do: update, enrollment: next, what: "disabled (" + w.Reason + ")"}, nil
}

// unblock enables an enrollment of ours whose device is not blocked any more, but has no
// certificate in force either.
func (d standing) unblock(w want, there dps.Enrollment, m mark) (step, error) {
	if m.kind != markBlocked {
		return step{}, nil
	}
	next := there
	next.Status = dps.Enabled
	var err error
	if next.Information, err = marked(there.Information, d.mark(markPinned, w.RegistrationID)); err != nil {
		return step{}, err
	}
	return step{do: update, enrollment: next, what: "enabled"}, nil
}

// blockForeign is about a blocked device with an individual enrollment that is
// another's. Such a one is never changed, with this exception: a revocation must reach
// the cloud. Where the enrollment lets in one of the device's own certificates, it is
// disabled and nothing else, and says so beside whatever its optionalDeviceInformation
// said before, so that a release undoes exactly that (giveBack). Where it stands for other
// certificates, or for a key or TPM, it keeps the device out as it is: DPS asks no group once there is
// an individual enrollment. Where it stands for a whole CA, disabling it might
// shut out others, and it is an error until a person has seen to it.
func (d standing) blockForeign(w want, there dps.Enrollment) (step, error) {
	x := there.Attestation.X509
	if disabled(there) || x == nil {
		return step{}, nil
	}
	first, second, ok := inSlots(there)
	switch {
	case !ok:
		return step{}, foreign(there, "lets in by CA certificates: disable it at Azure, because the device is "+w.Reason)
	case first == "" && second == "":
		return step{}, foreign(there, "does not show its certificates: disable it at Azure, because the device is "+w.Reason)
	case !has(d.certificates, first) && !has(d.certificates, second):
		return step{}, nil
	}
	s := step{do: update, enrollment: there, what: "disabled (" + w.Reason + "), not being mintmark's"}
	s.enrollment.Status = dps.Disabled
	information, err := marked(there.Information, d.mark(markDisabled, w.RegistrationID))
	if err != nil {
		// Disabled all the same, and for a person to enable again.
		s.note = "it was disabled, and a release will not enable it: " + err.Error()
		return s, nil
	}
	s.enrollment.Information = information
	return s, nil
}

// giveBack enables another's enrollment that we have disabled, and takes our mark out.
func giveBack(there dps.Enrollment) (step, error) {
	s := step{do: update, enrollment: there, what: "enabled, not being mintmark's", again: true}
	s.enrollment.Status = dps.Enabled
	var err error
	s.enrollment.Information, err = marked(there.Information, mark{})
	return s, err
}
