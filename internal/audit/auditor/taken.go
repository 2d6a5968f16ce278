package auditor

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"mintmark/internal/ledger"
)

// entry is what is known of an enrollment that waits for a person, or has
// waited.
type entry struct {
	recorded bool
	request  [32]byte // what must stay as it is
	key      [32]byte
	profile  string
	device   string
	purpose  ledger.Purpose
	state    ledger.EnrollmentState
	approved bool // at any time
	expires  time.Time
	taken    int // intents and certificates
	first    place
	late     []lateTaker
}

// lateTaker is an intent that was read before what it takes.
type lateTaker struct {
	place
	intent ledger.Intent // without what is to be signed
}

// decisions says from which states an enrollment comes to one. Approved ones wait
// again when the device has got another key meanwhile.
var decisions = map[ledger.EnrollmentState][]ledger.EnrollmentState{
	ledger.EnrollmentPending:  {"", ledger.EnrollmentApproved},
	ledger.EnrollmentApproved: {ledger.EnrollmentPending, ledger.EnrollmentApproved, ledger.EnrollmentRejected},
	ledger.EnrollmentRejected: {ledger.EnrollmentPending, ledger.EnrollmentApproved, ledger.EnrollmentRejected},
}

func (v *verification) entry(id string) *entry {
	e := v.enrollments[id]
	if e == nil {
		e = &entry{}
		v.enrollments[id] = e
	}
	return e
}

// enrollment checks one step of an enrollment. With several logs a step may be
// read before the one that it follows.
func (v *verification) enrollment(at place, r *ledger.Enrollment) {
	e := v.entry(r.ID)
	from, known := decisions[r.State]
	alone := len(v.Logs) == 1
	switch {
	case !known || alone && !slices.Contains(from, e.state):
		v.find(at.file, at.line, "enrollment %s is %s after it was %q", r.ID, r.State, e.state)
	case alone && e.taken > 0:
		v.find(at.file, at.line, "enrollment %s became %s after it was used for a certificate", r.ID, r.State)
	case r.State != ledger.EnrollmentPending && r.DecidedBy == "":
		v.find(at.file, at.line, "enrollment %s was %s by nobody", r.ID, r.State)
	}
	request := hash([]byte(fmt.Sprintf("%x %q %q %q %q %q %x", r.Key, r.Subject, r.Label, r.Profile, r.Purpose, r.Device, r.CSR)))
	if e.recorded && e.request != request {
		v.find(at.file, at.line, "enrollment %s is not of the request that it was recorded for any more", r.ID)
	}
	e.recorded, e.request = true, request
	e.key, e.profile, e.device, e.purpose = r.Key, r.Profile, r.Device, r.Purpose
	e.state, e.expires = r.State, r.ExpiresAt
	e.approved = e.approved || r.State == ledger.EnrollmentApproved
	late := e.late
	e.late = nil
	for _, l := range late {
		v.fits(l.place, e, &l.intent)
	}
}

// takesEnrollment checks an intent that takes an approval.
func (v *verification) takesEnrollment(at place, i *ledger.Intent) {
	e := v.entry(i.Enrollment)
	if e.taken++; e.taken == 1 {
		e.first = at
	}
	if !e.recorded {
		if v.waiting++; v.waiting <= maxLater {
			late := *i
			late.TBS = nil
			e.late = append(e.late, lateTaker{at, late})
		}
		return
	}
	if len(v.Logs) == 1 {
		switch {
		case e.taken > 1:
			v.find(at.file, at.line, "intent %s takes enrollment %s, which was used", i.Serial, i.Enrollment)
			return
		case e.state != ledger.EnrollmentApproved:
			v.find(at.file, at.line, "intent %s takes enrollment %s, which is %s", i.Serial, i.Enrollment, e.state)
			return
		case !i.At.Before(e.expires):
			v.find(at.file, at.line, "intent %s takes enrollment %s after it was over", i.Serial, i.Enrollment)
			return
		}
	}
	v.fits(at, e, i)
}

// fits checks that an intent is for what was approved.
func (v *verification) fits(at place, e *entry, i *ledger.Intent) {
	if e.key != i.Key || e.profile != i.Profile || e.device != i.Device || e.purpose != "" && e.purpose != i.Purpose {
		v.find(at.file, at.line, "intent %s is not for what enrollment %s is about", i.Serial, i.Enrollment)
	}
}

// oneTime is what is known of a device's one-time secret.
type oneTime struct {
	// given is how often the device has got it: the same secret again is no other,
	// unless it had another one or none in between.
	given   int
	taken   int
	expires int64 // microseconds since 1970
	first   place
}

// secretOf is the short form of a device's secret, keyed like mark.
func secretOf(device string, hash [32]byte) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	h.Write(hash[:])
	h.WriteString(device)
	return h.Sum64()
}

func (v *verification) oneTime(secret uint64) *oneTime {
	s := v.secrets[secret]
	if s == nil {
		s = &oneTime{}
		v.secrets[secret] = s
	}
	return s
}

// recorded takes over secrets of devices, and that some were dropped.
func (v *verification) recorded(all []ledger.DeviceSecret) {
	for _, d := range all {
		device := maphash.String(seed, d.Device)
		if d.SHA256 == [32]byte{} {
			delete(v.current, device)
			continue
		}
		secret := secretOf(d.Device, d.SHA256)
		s := v.oneTime(secret)
		// What another log says in between is not known.
		if len(v.Logs) > 1 || v.current[device] != secret {
			s.given++
		}
		s.expires = d.ExpiresAt.UnixMicro()
		v.current[device] = secret
	}
}

// takesSecret checks an intent that takes a one-time secret.
func (v *verification) takesSecret(at place, o *openIntent, i *ledger.Intent) {
	o.secret = secretOf(i.Device, i.Secret)
	s := v.oneTime(o.secret)
	if s.taken++; s.taken == 1 {
		s.first = at
	}
	if len(v.Logs) > 1 || s.given == 0 {
		return // at the end it is seen whether another log has it
	}
	switch {
	case s.taken > s.given:
		v.find(at.file, at.line, "intent %s takes the one-time secret of device %q, which was used", i.Serial, i.Device)
	case v.current[maphash.String(seed, i.Device)] != o.secret:
		v.find(at.file, at.line, "intent %s takes a one-time secret of device %q that was replaced or dropped", i.Serial, i.Device)
	case i.At.UnixMicro() >= s.expires:
		v.find(at.file, at.line, "intent %s takes the one-time secret of device %q after it had expired", i.Serial, i.Device)
	}
}

// giveBack is what a void intent does with what it has taken.
func (v *verification) giveBack(o *openIntent) {
	if o.order != "" {
		v.orders[o.order].taken--
	}
	if o.enrollment != "" {
		v.enrollments[o.enrollment].taken--
	}
	if o.secret != 0 {
		v.secrets[o.secret].taken--
	}
}

// settleTaken judges what was taken, once all logs have been read.
func (v *verification) settleTaken() {
	for id, e := range v.enrollments {
		switch {
		case e.taken > 0 && !e.recorded:
			v.find(e.first.file, e.first.line, "enrollment %s was used for a certificate, and none of the given logs has recorded it", id)
		case e.taken > 0 && !e.approved && len(v.Logs) > 1:
			v.find(e.first.file, e.first.line, "enrollment %s was used for a certificate and never approved", id)
		case e.taken > 1 && len(v.Logs) > 1:
			v.find(e.first.file, e.first.line, "enrollment %s was used for %d certificates and intents", id, e.taken)
		}
	}
	for _, s := range v.secrets {
		switch {
		case s.taken > 0 && s.given == 0:
			v.find(s.first.file, s.first.line, "a one-time secret was used that none of the given logs has recorded")
		case len(v.Logs) > 1 && s.taken > s.given:
			v.find(s.first.file, s.first.line, "a one-time secret was used for %d certificates and intents", s.taken)
		}
	}
}

// lateRollover is a rollover whose roots other logs may have.
type lateRollover struct {
	place
	ledger.Rollover
}

// settleRollovers checks that what leads from one root to another does.
func (v *verification) settleRollovers() {
	for _, r := range v.rollovers {
		if text := v.bridge(r.OldWithNew, r.Old, r.New); text != "" {
			v.find(r.file, r.line, "rollover from %q to %q: %s", r.Old, r.New, text)
		}
		if len(r.NewWithOld) == 0 {
			continue
		}
		if text := v.bridge(r.NewWithOld, r.New, r.Old); text != "" {
			v.find(r.file, r.line, "rollover from %q to %q: %s", r.Old, r.New, text)
		}
	}
}

// bridge says what is wrong with a certificate for one root's key by another
// root, empty for nothing.
func (v *verification) bridge(der []byte, of, by string) string {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Sprintf("the certificate of %q by %q cannot be read: %v", of, by, err)
	}
	subject, above := v.authorities[of], v.authorities[by]
	if subject == nil || above == nil {
		return "none of the given logs has recorded both"
	}
	same := func(a *x509.Certificate) bool {
		return bytes.Equal(a.RawSubjectPublicKeyInfo, c.RawSubjectPublicKeyInfo) && bytes.Equal(a.RawSubject, c.RawSubject)
	}
	for _, a := range subject.certificates {
		if !same(a) {
			continue
		}
		for _, b := range above.certificates {
			if signedBy(c, b) == nil {
				return ""
			}
		}
		return fmt.Sprintf("the certificate of %q is not by %q", of, by)
	}
	return fmt.Sprintf("the certificate by %q is not of the key and name of %q", by, of)
}
