package dpsreg

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pattern"
)

// wantKind is what a device should have at DPS under one registration id.
type wantKind int

const (
	// wantNothing: nothing of its own: its chain leads to a group, or nowhere.
	wantNothing wantKind = iota
	// wantBlocked: a disabled individual enrollment, which DPS asks before any group, and
	// no live identity at a configured hub.
	wantBlocked
	// wantPinned: an individual enrollment with the certificates that it is let in by.
	wantPinned
	// wantKept: as wantPinned, but every certificate has expired. What is there stays, because
	// the device will be back with a new certificate; nothing is made.
	wantKept
)

func (k wantKind) String() string {
	return [...]string{"nothing", "blocked", "pinned", "kept"}[k]
}

// want is what a device should have at DPS under one registration id.
type want struct {
	// RegistrationID is the certificates' common name in lower case; empty for a
	// device that should be pinned and whose common name is none that DPS takes.
	RegistrationID string
	Kind           wantKind
	// Reason says why it is blocked: held, retired or revoked.
	Reason string
	// Certificates are at most two, the newest first. wantPinned: those that let the device
	// in. wantBlocked: those that a disabled enrollment is made with, which lets in none.
	Certificates []ledger.Certificate
	// LeftOut are in force and newer than the second of Certificates, which asked for the
	// first one all the same. wantPinned only.
	LeftOut []ledger.Certificate
	// Enrollment is the one of Target.Enrollments that matches; nil unless wantPinned
	// or wantKept.
	Enrollment *Enrollment
}

// registrationID matches what DPS takes as a registration id, in lower case. A device
// whose certificate has another common name cannot register.
// https://learn.microsoft.com/azure/iot-dps/concepts-service#registration-id
var registrationID = pattern.New(`^[a-z0-9._:-]{0,127}[a-z0-9-]$`)

// named is a certificate with the registration id that it is good for, empty for none.
type named struct {
	ledger.Certificate
	id string
}

// wanted says what a device should have at a target, for each registration id that its
// certificates ever had. It is computed from all that the ledger says of the device and
// from nothing else, so that it does not matter how often and in which order changes are
// told. Certificates are all of the device's; the zero Device stands for one that the
// ledger does not know.
//
// A device is blocked while it is held or retired, and when it has no certificate in
// force and its newest one is revoked, or any revoked one has not expired: DPS would
// still take that. While one is in force a revoked one blocks nothing, expired ones alone
// block nothing, and a new one ends it. CA certificates of gateways do not count. DPS takes a
// device by its registration id before it looks at certificates, so that a block holds for
// all of them.
func wanted(t Target, d ledger.Device, certificates []ledger.Certificate, now time.Time) ([]want, error) {
	all, err := newestFirst(certificates)
	if err != nil {
		return nil, err
	}
	reason := blockedBy(d, all, now)
	byID := make(map[string][]named)
	for _, c := range all {
		byID[c.id] = append(byID[c.id], c)
	}
	wants := make([]want, 0, len(byID))
	for id, list := range byID {
		w := t.want(id, list, reason, now)
		// A device that cannot register need not be kept out; one that should be able to
		// is worth an error.
		if id != "" || w.Kind == wantPinned {
			wants = append(wants, w)
		}
	}
	slices.SortFunc(wants, func(a, b want) int { return strings.Compare(a.RegistrationID, b.RegistrationID) })
	return wants, nil
}

// newestFirst keeps what is a certificate of the device itself.
func newestFirst(certificates []ledger.Certificate) ([]named, error) {
	var all []named
	for _, c := range certificates {
		if c.Purpose != ledger.ForDevice || len(c.DER) == 0 || c.State != ledger.Valid && c.State != ledger.Revoked {
			continue
		}
		parsed, err := x509.ParseCertificate(c.DER)
		if err != nil {
			return nil, fmt.Errorf("parsing certificate %s of the ledger: %w", c.Serial, err)
		}
		n := named{Certificate: c}
		if id := strings.ToLower(parsed.Subject.CommonName); registrationID.MatchString(id) {
			n.id = id
		}
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b named) int {
		return cmp.Or(b.IssuedAt.Compare(a.IssuedAt), b.NotBefore.Compare(a.NotBefore), cmp.Compare(b.Serial, a.Serial))
	})
	return all, nil
}

// blockedBy says why a device is blocked; empty if it is not.
func blockedBy(d ledger.Device, newestFirst []named, now time.Time) string {
	switch {
	case d.State == ledger.Held:
		return "held"
	case d.State == ledger.Retired:
		return "retired"
	case slices.ContainsFunc(newestFirst, func(c named) bool { return c.InForce(now) }):
		return ""
	}
	for i, c := range newestFirst {
		if c.State == ledger.Revoked && (i == 0 || !now.After(c.NotAfter)) {
			return "revoked"
		}
	}
	return ""
}

func (t Target) want(id string, list []named, reason string, now time.Time) want {
	w := want{RegistrationID: id}
	if reason != "" {
		w.Kind, w.Reason = wantBlocked, reason
		w.Certificates = newestForBlock(list, now)
		return w
	}
	var inForce []ledger.Certificate
	for _, c := range list {
		e := t.enrollment(c.Certificate)
		if e == nil {
			continue
		}
		if w.Enrollment == nil {
			w.Kind, w.Enrollment = wantKept, e
		}
		if c.InForce(now) {
			inForce = append(inForce, c.Certificate)
		}
	}
	if len(inForce) > 0 {
		w.Kind, w.Enrollment = wantPinned, t.enrollment(inForce[0])
		w.Certificates = letIn(inForce)
		second := w.Certificates[len(w.Certificates)-1].Serial
		w.LeftOut = inForce[min(1, len(inForce)-1):slices.IndexFunc(inForce, func(c ledger.Certificate) bool { return c.Serial == second })]
	}
	return w
}

// newestForBlock picks what a disabled enrollment is made with: certificates that
// have not expired, because it is not known whether DPS takes others.
func newestForBlock(list []named, now time.Time) []ledger.Certificate {
	var all []ledger.Certificate
	for _, c := range list {
		all = append(all, c.Certificate)
	}
	slices.SortStableFunc(all, func(a, b ledger.Certificate) int {
		return cmp.Compare(oneIf(now.After(a.NotAfter)), oneIf(now.After(b.NotAfter)))
	})
	return all[:min(2, len(all))]
}

func oneIf(b bool) int {
	if b {
		return 1
	}
	return 0
}

// enrollment is the first of the target's that the certificate's device gets; nil for
// none.
func (t Target) enrollment(c ledger.Certificate) *Enrollment {
	matches := func(list []string, value string) bool { return len(list) == 0 || slices.Contains(list, value) }
	for i := range t.Enrollments {
		e := &t.Enrollments[i]
		if matches(e.Profiles, c.Profile) && matches(e.Labels, c.Label) && matches(e.Orders, c.Order) {
			return e
		}
	}
	return nil
}

// Enrolled reports whether devices of such a certificate have an individual
// enrollment at the target. No I/O.
func (t Target) Enrolled(c ledger.Certificate) bool {
	return c.Purpose == ledger.ForDevice && c.Device != "" && t.enrollment(c) != nil
}

// thumbprint is the SHA-256 of a certificate as DPS writes it, in lower case.
func thumbprint(c ledger.Certificate) string {
	sum := sha256.Sum256(c.DER)
	return hex.EncodeToString(sum[:])
}
