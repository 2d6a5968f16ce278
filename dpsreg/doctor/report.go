package doctor

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"mintmark/dpsreg/attest"
)

// members describes the certificates of a chain.
func members(chain []*x509.Certificate, order []int, v attest.Verdict, o Options) []Member {
	list := make([]Member, len(chain))
	for i, c := range chain {
		var roles []string
		if i == order[0] {
			roles = append(roles, "device")
		}
		for _, g := range o.Groups {
			if given(g.ID) != "" && slices.ContainsFunc(g.Anchors, c.Equal) {
				roles = append(roles, "group "+clip(g.ID, 18))
			}
		}
		if slices.ContainsFunc(o.Verified, func(ca attest.CA) bool { return ca.Verified && ca.Certificate.Equal(c) }) {
			role := "verified"
			if o.supposedVerified {
				role = "supposed to be verified"
			}
			roles = append(roles, role)
		}
		list[i] = Member{i + 1, c.Subject.CommonName, attest.KeyKind(c), c.NotAfter.UTC(), fingerprint(c), strings.Join(roles, ", ")}
	}
	return list
}

// sortFindings puts first what refuses, and of the same severity what was found first.
func sortFindings(list []Finding) {
	rank := map[Severity]int{SeverityRefused: 0, SeverityUnknown: 1, SeverityWarning: 2, SeverityOK: 3}
	slices.SortStableFunc(list, func(a, b Finding) int { return cmp.Compare(rank[a.Severity], rank[b.Severity]) })
}

// confirm adds what was looked at and is as it should be.
func (r *Report) confirm(chain []*x509.Certificate, v attest.Verdict, o Options) {
	ok := func(rule, format string, args ...any) {
		r.Findings = append(r.Findings, Finding{Severity: SeverityOK, Rule: rule, Text: fmt.Sprintf(format, args...)})
	}
	device := chain[0]
	if attest.CheckRegistrationID(o.RegistrationID) == nil && strings.EqualFold(device.Subject.CommonName, o.RegistrationID) {
		ok("registration-id", "%s is a legal registration id and the device's common name", quote(o.RegistrationID))
	}
	if r.Order == nil && len(chain) > 1 && v.Individual == "" && v.Rule != "signature" && v.Rule != "order" && v.Rule != "verified" {
		ok("order", "each certificate is followed by its issuer")
	}
	if v.Root > 0 && !o.supposedVerified {
		ok("verified", "certificate %d (%s) is verified, and is sent", v.Root+1, quote(chain[v.Root].Subject.CommonName))
	}
	switch {
	case v.Individual != "" && v.Rule != "individual-certificate" && v.Rule != "disabled":
		ok("individual-certificate", "the individual enrollment decides, before any group, and has the device's certificate")
	case given(v.Group) != "" && v.Rule != "disabled" && v.Rule != "anchor-verified":
		ok("group", "the group %s decides: it stands on certificate %d (%s), the nearest above the device's that a group has%s", quote(v.Group), v.Anchor+1, quote(chain[v.Anchor].Subject.CommonName), further(chain, v, o))
	}
	if slices.Contains(device.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		ok("client-auth", "the device's certificate has clientAuth")
	}
	if v.Path > 0 && v.Rule != "expired" && v.Rule != "not-yet-valid" {
		first := slices.MinFunc(chain[:v.Path], func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		ok("expired", "all are valid; the first one to expire is %s, on %s", quote(first.Subject.CommonName), first.NotAfter.UTC().Format(time.DateOnly))
	}
}

// further names the groups that stand on certificates above the one that decides.
func further(chain []*x509.Certificate, v attest.Verdict, o Options) string {
	var names []string
	for _, g := range o.Groups {
		if g.ID != v.Group && slices.ContainsFunc(chain[v.Anchor+1:], func(c *x509.Certificate) bool { return slices.ContainsFunc(g.Anchors, c.Equal) }) {
			names = append(names, quote(g.ID))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; not asked, since further up: " + strings.Join(names, ", ")
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// quote shows a foreign name: short, and without what could move a cursor.
func quote(s string) string { return strconv.Quote(cut(s)) }

func cut(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "..."
	}
	return s
}

func days(d time.Duration) string {
	switch n := int(d.Hours() / 24); n {
	case 0:
		return "less than a day"
	case 1:
		return "1 day"
	default:
		return strconv.Itoa(n) + " days"
	}
}
