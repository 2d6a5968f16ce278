// Package doctor says, offline, whether the Azure Device Provisioning Service will take
// a device's chain, in Microsoft's words where they are known, and what to do if not.
// The decision is that of package attest, which the simulator answers by, too; what the
// doctor adds is everything that DPS takes and that is a mistake all the same.
package doctor

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"mintmark/dpsreg/attest"
)

// Options are what a chain does not say of itself.
type Options struct {
	// RegistrationID is what the device names; if empty, its common name.
	RegistrationID string
	// APIVersion is that of the device API which the device uses; empty for the newest.
	APIVersion string
	// Verified are the CAs that are uploaded and verified, and Groups the groups. If
	// neither is given, nor Individual, the doctor supposes that the last certificate
	// of the chain is verified and stands in a group; if only Verified is given, that
	// a group stands on each of them.
	Verified []attest.CA
	Groups   []attest.Group
	// Individual is the device's individual enrollment; nil for none.
	Individual *Individual
	Now        time.Time     // must be set
	Soon       time.Duration // how long before its expiry a certificate is worth a word; 30 days if zero

	supposedVerified bool // nothing was given, and the last certificate counts as verified
}

// supposedGroup is the id of a group that nobody gave. No group can have it.
const supposedGroup = "(supposed)"

// Individual is an individual enrollment with the certificates of its slots.
type Individual struct {
	Certificates []*x509.Certificate
	Disabled     bool
}

// Prediction is what DPS will do.
type Prediction string

const (
	Accepted Prediction = "accepted"
	Refused  Prediction = "refused"
	// Unknown: something in the chain decides of which Microsoft documents nothing.
	Unknown Prediction = "unknown"
)

// Severity sorts findings by what follows from them.
type Severity string

const (
	// SeverityRefused: DPS is documented to refuse it.
	SeverityRefused Severity = "refused"
	// SeverityUnknown: it is not documented whether DPS refuses it.
	SeverityUnknown Severity = "unknown"
	// SeverityWarning: DPS takes it, and there is a mistake or soon will be.
	SeverityWarning Severity = "warning"
	// SeverityOK: it was looked at, and is as it should be.
	SeverityOK Severity = "ok"
)

// Finding is one thing that was looked at.
type Finding struct {
	Severity Severity `json:"severity"`
	Rule     string   `json:"rule"`              // of attest.Rules or Warnings
	Code     int      `json:"code,omitempty"`    // DPS's, of a refusal
	Message  string   `json:"message,omitempty"` // DPS's, if it is known
	Text     string   `json:"text"`              // what is so, and what to do
	Unknown  string   `json:"unknown,omitempty"` // what is not documented
}

// Report is the result.
type Report struct {
	Prediction     Prediction `json:"prediction"`
	RegistrationID string     `json:"registration_id"`
	Individual     string     `json:"individual,omitempty"` // the enrollment that decides
	Group          string     `json:"group,omitempty"`      // or the group
	Rule           string     `json:"rule,omitempty"`       // that refuses
	Code           int        `json:"code,omitempty"`       // DPS's
	Message        string     `json:"message,omitempty"`    // DPS's, if it is known
	Chain          []Member   `json:"chain"`                // as it was given
	Order          []int      `json:"order,omitempty"`      // of the certificates, from 1, if it should be another
	Findings       []Finding  `json:"findings"`             // those that refuse first
}

// Member is a certificate of the chain.
type Member struct {
	Number   int       `json:"number"` // from 1
	Subject  string    `json:"subject"`
	Key      string    `json:"key"`
	NotAfter time.Time `json:"not_after"`
	SHA256   string    `json:"sha256"`
	Role     string    `json:"role,omitempty"` // device, verified, group, in words
}

// ErrNoTime is the error of Check if Options.Now is not set.
var ErrNoTime = errors.New("doctor: Options.Now is not set")

// Check looks at a chain, which comes as the device sends it. It may be called
// concurrently, and fails only if it is given no certificate or no time.
func Check(chain []*x509.Certificate, o Options) (Report, error) {
	switch {
	case len(chain) == 0:
		return Report{}, errors.New("doctor: there is no certificate to check")
	case o.Now.IsZero():
		return Report{}, ErrNoTime
	}
	if o.Soon <= 0 {
		o.Soon = 30 * 24 * time.Hour
	}
	order := rightOrder(chain)
	if o.RegistrationID == "" {
		o.RegistrationID = chain[order[0]].Subject.CommonName
	}
	supposed := o.suppose(chain, order)
	presented := attest.Presented{RegistrationID: o.RegistrationID, Chain: chain, Now: o.Now, APIVersion: o.APIVersion}
	v := attest.Judge(o.service(), presented)
	r := Report{
		Prediction: predict(v), RegistrationID: o.RegistrationID, Individual: v.Individual, Group: given(v.Group),
		Rule: v.Rule, Code: v.Code, Message: v.Message,
	}
	r.add(v)
	if !inOrder(order) {
		r.Order = numbers(order)
		if r.sortable(v) {
			sorted := presented
			sorted.Chain = arrange(chain, order)
			r.afterwards(attest.Judge(o.service(), sorted))
		}
	}
	r.Chain = members(chain, order, v, o)
	r.warn(chain, order, v, o)
	if supposed != "" {
		r.Findings = append(r.Findings, Finding{Severity: SeverityWarning, Rule: "supposed", Text: supposed})
	}
	r.confirm(chain, v, o)
	sortFindings(r.Findings)
	return r, nil
}

// given is the id of a group, if it was given and not supposed.
func given(id string) string {
	if id == supposedGroup {
		return ""
	}
	return id
}

// service is what Judge wants.
func (o Options) service() attest.Service {
	s := attest.Service{Verified: o.Verified, Groups: o.Groups}
	if o.Individual != nil {
		i := attest.Individual{RegistrationID: o.RegistrationID, Disabled: o.Individual.Disabled}
		for _, c := range o.Individual.Certificates {
			i.Certificates = append(i.Certificates, sha256.Sum256(c.Raw))
		}
		s.Individual = func(id string) *attest.Individual {
			if id != strings.ToLower(o.RegistrationID) {
				return nil
			}
			return &i
		}
	}
	return s
}

// suppose fills in what is not said of DPS, and says so.
func (o *Options) suppose(chain []*x509.Certificate, order []int) string {
	switch {
	case o.Individual != nil || len(o.Groups) > 0:
		return ""
	case len(o.Verified) == 0:
		last := chain[order[len(order)-1]]
		o.supposedVerified = true
		o.Verified = []attest.CA{{Certificate: last, Verified: true}}
		o.Groups = []attest.Group{{ID: supposedGroup, Anchors: []*x509.Certificate{last}}}
		return fmt.Sprintf("nothing is said of what DPS has: it is supposed that %s is verified there and has a group. Give --verified, --group, --individual or --bundle", quote(last.Subject.CommonName))
	}
	for _, ca := range o.Verified {
		o.Groups = append(o.Groups, attest.Group{ID: supposedGroup, Anchors: []*x509.Certificate{ca.Certificate}})
	}
	return "no group is given: it is supposed that one stands on each verified certificate. Give --group or --bundle"
}

// predict makes a prediction of a verdict. What refuses for a reason of which Microsoft
// documents nothing is unknown, and so is what is taken with something of the kind in it.
func predict(v attest.Verdict) Prediction {
	switch {
	case !v.Accepted && attest.RuleOf(v.Rule).Standing == attest.Undocumented:
		return Unknown
	case !v.Accepted:
		return Refused
	case len(v.Notes) > 0:
		return Unknown
	}
	return Accepted
}

// add adds what a verdict says.
func (r *Report) add(v attest.Verdict) {
	if !v.Accepted {
		rule := attest.RuleOf(v.Rule)
		severity, text := SeverityRefused, v.Why
		if rule.Standing == attest.Undocumented {
			severity = SeverityUnknown
			text += ". Expect a refusal"
		}
		r.Findings = append(r.Findings, Finding{severity, v.Rule, v.Code, v.Message, text, v.Unknown})
	}
	for _, n := range v.Notes {
		r.Findings = append(r.Findings, Finding{Severity: SeverityUnknown, Rule: n.Rule, Text: n.Why, Unknown: attest.RuleOf(n.Rule).Unknown})
	}
}

// sortable reports whether what a verdict refuses may be a matter of order alone.
func (r *Report) sortable(v attest.Verdict) bool {
	return !v.Accepted && (v.Rule == "order" || v.Rule == "common-name" || v.Rule == "verified" || v.Rule == "unverified" || v.Rule == "group")
}

// afterwards adds what is still wrong once the chain is in order.
func (r *Report) afterwards(v attest.Verdict) {
	if v.Accepted {
		r.Findings = append(r.Findings, Finding{Severity: SeverityWarning, Rule: "sort", Text: "in the right order, nothing else refuses it"})
		return
	}
	v.Why = "in the right order: " + v.Why
	r.add(v)
}
