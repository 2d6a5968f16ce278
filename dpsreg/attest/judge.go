package attest

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
)

// Judge decides. It may be called concurrently.
//
// The steps are those of
// https://learn.microsoft.com/azure/iot-dps/concepts-x509-attestation: the individual
// enrollment of the registration id decides if there is one, else the group of the
// nearest issuer, and so on up to the root, whether enabled or not. A group wants a
// verified certificate in the chain that the device presents, and its own certificate
// must be that one or below it.
func Judge(s Service, p Presented) Verdict {
	if len(p.Chain) == 0 {
		return refuse("no-certificate", "the device presents no certificate")
	}
	if err := CheckRegistrationID(p.RegistrationID); err != nil {
		return refuse("registration-id", "%v", err)
	}
	lower := strings.ToLower(p.RegistrationID)
	if !caseInsensitive(p.APIVersion) && lower != p.RegistrationID {
		return refuse("registration-id-case", "the registration id %q has capitals, which API version %s does not take: issue names in lower case only", cut(p.RegistrationID), p.APIVersion)
	}
	if name := p.Chain[0].Subject.CommonName; len(name) != len(lower) || strings.ToLower(name) != lower { // the length: other letters than a to z become these
		return refuse("common-name", "the registration id is %q, and the common name of the device's certificate %q: they must be the same", cut(p.RegistrationID), cut(name))
	}
	if s.Individual != nil {
		if i := s.Individual(lower); i != nil {
			return judgeIndividual(*i, p)
		}
	}
	return judgeGroup(s, p)
}

// judgeIndividual decides by an individual enrollment. Only the device's certificate
// counts: it need not be issued by a CA that DPS knows.
func judgeIndividual(i Individual, p Presented) Verdict {
	var v Verdict
	switch rule, why := checkTime(p.Chain, 0, p.Now); {
	case i.Disabled:
		v = refuse("disabled", "the individual enrollment %q is disabled, and it is asked before any group", cut(i.RegistrationID))
	case !slices.Contains(i.Certificates, sha256.Sum256(p.Chain[0].Raw)):
		v = refuse("individual-certificate", "the individual enrollment %q has another certificate than the device: write the device's into one of its two slots before the device uses it", cut(i.RegistrationID))
	case rule != "":
		v = refuse(rule, "%s", why)
	default:
		v = accept(notes(p.Chain, 1))
	}
	v.Individual, v.Path = i.RegistrationID, 1
	return v
}

// judgeGroup decides by the enrollment groups.
func judgeGroup(s Service, p Presented) Verdict {
	verified := func(c *x509.Certificate) bool {
		return slices.ContainsFunc(s.Verified, func(ca CA) bool { return ca.Verified && ca.Certificate != nil && ca.Certificate.Equal(c) })
	}
	n := pathLength(p.Chain)
	path := p.Chain[:n]
	if !slices.ContainsFunc(path, verified) {
		rule, why := broken(p.Chain, n-1, verified)
		if waits := waiting(s, path); waits != "" && (rule == "verified" || rule == "unverified") {
			why = waits
		}
		return refuse(rule, "%s", why)
	}
	group, anchor, noted := choose(s.Groups, path)
	switch {
	case group == nil && len(s.Groups) == 0:
		return refuse("no-enrollment", "the device has no individual enrollment, and there is no enrollment group")
	case group == nil:
		return refuse("group", "no certificate above the device's in the chain is that of an enrollment group: make a group for one of them, or send the chain up to the group's")
	}
	decide := func(v Verdict) Verdict {
		v.Group, v.Anchor = group.ID, anchor
		return v
	}
	if group.Disabled {
		return decide(refuse("disabled", "the enrollment group %q is disabled, and it decides: it stands on %s, the first one up the chain that a group has", cut(group.ID), label(p.Chain, anchor)))
	}
	above := slices.IndexFunc(path[anchor:], verified)
	if above < 0 {
		return decide(refuse("anchor-verified", "the enrollment group %q stands on %s, which is above the verified one: verify it or one above it, and send the chain up to there", cut(group.ID), label(p.Chain, anchor)))
	}
	root := anchor + above
	decide = func(v Verdict) Verdict {
		v.Group, v.Anchor, v.Root, v.Path = group.ID, anchor, root, root+1
		return v
	}
	if rule, why := checkPath(p.Chain, root+1, p.Now); rule != "" {
		return decide(refuse(rule, "%s", why))
	}
	return decide(accept(append(noted, notes(p.Chain, root+1)...)))
}

// waiting says that a certificate of a path is at DPS and waits for its proof of
// possession; empty if none does.
func waiting(s Service, path []*x509.Certificate) string {
	for i, c := range path {
		for _, ca := range s.Verified {
			if !ca.Verified && ca.Certificate != nil && ca.Certificate.Equal(c) {
				return fmt.Sprintf("%s is at DPS as %q, but not verified: prove the possession of its key", label(path, i), cut(ca.Name))
			}
		}
	}
	return ""
}

// choose finds the group that decides about a path: of the nearest issuer that a group
// has. A disabled one comes before an enabled one on the same certificate; of two that
// are enabled, the one whose id comes first.
func choose(groups []Group, path []*x509.Certificate) (chosen *Group, anchor int, noted []Note) {
	for i := 1; i < len(path); i++ {
		var here []Group
		for _, g := range groups {
			if slices.ContainsFunc(g.Anchors, func(a *x509.Certificate) bool { return a != nil && a.Equal(path[i]) }) {
				here = append(here, g)
			}
		}
		slices.SortFunc(here, func(a, b Group) int {
			if a.Disabled != b.Disabled {
				if a.Disabled {
					return -1
				}
				return 1
			}
			return cmp.Compare(a.ID, b.ID)
		})
		switch {
		case len(here) == 0:
		case chosen == nil:
			chosen, anchor = &here[0], i
			if len(here) > 1 && !chosen.Disabled {
				noted = append(noted, Note{"two-groups", fmt.Sprintf("%s is the certificate of the groups %q and %q: have it in one only", label(path, i), cut(here[0].ID), cut(here[1].ID))})
			}
		case here[0].Disabled && !chosen.Disabled:
			return chosen, anchor, append(noted, Note{"disabled-above", fmt.Sprintf("the group %q of %s is disabled, above the group %q that decides: disable both, or none", cut(here[0].ID), label(path, i), cut(chosen.ID))})
		}
	}
	return chosen, anchor, noted
}

// refuse is the verdict of a rule that refuses.
func refuse(rule, format string, args ...any) Verdict {
	r := RuleOf(rule)
	return Verdict{Rule: rule, Code: r.Code, Message: r.Message, Unknown: r.Unknown, Why: fmt.Sprintf(format, args...)}
}

// accept is the verdict if nothing refuses.
func accept(noted []Note) Verdict {
	v := Verdict{Accepted: true, Notes: noted}
	var unknown []string
	for _, n := range noted {
		unknown = append(unknown, n.Rule+": "+RuleOf(n.Rule).Unknown)
	}
	v.Unknown = strings.Join(unknown, "; ")
	return v
}
