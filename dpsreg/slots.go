package dpsreg

import (
	"slices"
	"strings"

	"mintmark/dpsreg/dps"
	"mintmark/internal/ledger"
)

// letIn picks the certificates that an individual enrollment lets in, of those in
// force, newest first: the newest, which the device has or is about to get, and the one
// by which it asked for that, which it holds until then. Where nobody asked by a
// certificate in force, the next newest takes its place.
func letIn(inForce []ledger.Certificate) []ledger.Certificate {
	if len(inForce) < 2 {
		return inForce
	}
	newest, second := inForce[0], inForce[1]
	if !newest.Requester.Bootstrap() {
		if i := slices.IndexFunc(inForce[1:], func(c ledger.Certificate) bool {
			return string(c.Serial) == newest.Requester.Name
		}); i >= 0 {
			second = inForce[1+i]
		}
	}
	return []ledger.Certificate{newest, second}
}

// slots orders certificates, newest first, into primary and secondary. The older one
// stays primary until the device has registered after the newer one was issued. DPS
// does not say by which certificate a device registered: it may have been the old one
// once more, which does no harm, because both are let in from either slot.
func slots(newestFirst []ledger.Certificate, state *dps.RegistrationState) (primary, secondary *ledger.Certificate) {
	switch len(newestFirst) {
	case 0:
		return nil, nil
	case 1:
		return &newestFirst[0], nil
	}
	newer, older := &newestFirst[0], &newestFirst[1]
	// An enrollment that nobody has used has a state, too: unassigned.
	if state != nil && strings.EqualFold(state.Status, "assigned") && state.Updated != nil && state.Updated.After(newer.IssuedAt) {
		return newer, older
	}
	return older, newer
}

// wireSlots are the slots as they are sent.
func wireSlots(primary, secondary *ledger.Certificate) *dps.Slots {
	return &dps.Slots{Primary: wireCertificate(primary), Secondary: wireCertificate(secondary)}
}

func wireCertificate(c *ledger.Certificate) *dps.Certificate {
	if c == nil {
		return nil
	}
	return &dps.Certificate{Certificate: pemOf(c.DER)}
}

// inSlots are the SHA-256 thumbprints of the certificates that an individual enrollment
// has, in lower case, empty for an empty slot. ok is false for one that attests by
// something else.
func inSlots(e dps.Enrollment) (primary, secondary string, ok bool) {
	x := e.Attestation.X509
	if x == nil || x.Client == nil {
		return "", "", false
	}
	return thumbprintOf(x.Client.Primary), thumbprintOf(x.Client.Secondary), true
}

func thumbprintOf(c *dps.Certificate) string {
	if c == nil || c.Info == nil {
		return ""
	}
	return strings.ToLower(c.Info.SHA256)
}
