package dpsreg

import (
	"crypto/x509"
	"slices"
	"strings"

	"mintmark/dpsreg/dps"
)

// change says what would become of a group, for those who approve it: what lets devices
// in or keeps them out comes first. Empty if it is as it should be. have and want are the
// SHA-256 of its anchors, primary first.
func (r *Registrar) change(g Group, there dps.Group, have, want []string) string {
	var list []string
	switch disabled := strings.EqualFold(there.Status, dps.Disabled); {
	case g.Disabled && !disabled:
		list = append(list, "disables it: its devices can no longer register")
	case !g.Disabled && disabled:
		list = append(list, "enables it, which is disabled at DPS: its devices can register again")
	}
	lost, gained := without(have, want), without(want, have)
	for _, h := range lost {
		text := "loses anchor " + r.nameOfAnchor(h)
		if !r.standsBelow(h, want) {
			text += ": it lets in no device below that any more"
		}
		list = append(list, text)
	}
	for _, h := range gained {
		list = append(list, "gains anchor "+r.nameOfAnchor(h))
	}
	if len(lost)+len(gained) == 0 && !slices.Equal(have, want) {
		list = append(list, "its anchors change places")
	}
	var fields []string
	if x := there.Attestation.X509; x != nil && g.Reference != (x.References != nil) {
		fields = append(fields, "form of the anchors")
	}
	for _, d := range g.Shape.settings(g.Tags, g.Desired).differences(settingsOfGroup(there)) {
		fields = append(fields, d.field)
	}
	if len(fields) > 0 {
		list = append(list, "puts right: "+strings.Join(fields, ", "))
	}
	return strings.Join(list, "; ")
}

// standsBelow reports whether a CA of ours stands below one of these anchors.
func (r *Registrar) standsBelow(sha256 string, anchors []string) bool {
	a, ours := r.ours(sha256)
	return ours && slices.ContainsFunc(a.path(), func(c *x509.Certificate) bool { return slices.Contains(anchors, SHA256(c)) })
}

// without is list but for what is in other, too.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}
