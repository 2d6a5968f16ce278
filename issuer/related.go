package issuer

import (
	"slices"

	"mintmark/internal/ledger"
)

// Related returns the named authority and those that rotations of issuing CAs have put in
// its place, or it in theirs: what holds of the certificates of one holds of those of the
// others, whichever of them the configuration names. One that was only planned is not
// among them. Nil for no name. It may be called concurrently, and does no I/O.
func (ra *RA) Related(name string) []string {
	if name == "" {
		return nil
	}
	list := []string{name}
	rotations := ra.KnownRotations()
	for i := 0; i < len(list); i++ {
		for j := range rotations {
			r := &rotations[j]
			if r.Kind != ledger.RotateIssuing || !hasIssued(r) {
				continue
			}
			for _, pair := range [][2]string{{r.Old, r.New}, {r.New, r.Old}} {
				if pair[0] == list[i] && !slices.Contains(list, pair[1]) {
					list = append(list, pair[1])
				}
			}
		}
	}
	return list
}

// hasIssued reports whether the new CA of a rotation may have issued in the place of the
// old one: it does, or the rotation was taken back and has left it.
func hasIssued(r *ledger.Rotation) bool {
	return r.Issue == ledger.IssueCanary || r.Issue == ledger.IssueNew || r.Kept
}
