package rotation

import (
	"fmt"
	"regexp"
	"time"
	"unicode"

	"mintmark/internal/ledger"
)

// Spec is what an officer asks for.
type Spec struct {
	Kind      ledger.RotationKind `json:"kind"`
	Old       string              `json:"old"`
	New       string              `json:"new"`
	Emergency bool                `json:"emergency,omitempty"`
	// How the new CA is made, if it is not there yet: empty fields are as the old one's.
	KeyURI       string `json:"key_uri,omitempty"`
	Key          string `json:"key,omitempty"` // p256, p384, rsa2048, ...
	CommonName   string `json:"common_name,omitempty"`
	ValidityDays int    `json:"validity_days,omitempty"`
	// Elsewhere: the key of the new root is made in a ceremony.
	Elsewhere bool `json:"elsewhere,omitempty"`
	// NewSHA256 is the SHA-256 of the certificate of the new CA, in lower-case hexadecimal,
	// where that was there when the rotation was planned: Plan fills it in, nobody asks for
	// it, and no other CA of the same name will do.
	NewSHA256 string `json:"new_sha256,omitempty"`

	Canary ledger.Canary `json:"canary"`
	Gates  Gates         `json:"gates"`
}

// Gates are the conditions of the moves that are measured, and how long the states before
// them last at least. Of an emergency the floors are zero and the shares are shown, not
// asked for.
type Gates struct {
	// Officers is how many must sign for each gate that asks for it; 2 if zero, and not less.
	Officers int `json:"officers"`
	// Trusting is the share of devices, in hundredths of a percent, that must have the new
	// anchors before the switch; 9950 if zero. Waived devices count as having them.
	Trusting int `json:"trusting"`
	// Moved is the same of devices that chain to the new CA, before trust in the old one is
	// taken away; 10000 if zero.
	Moved int `json:"moved"`
	// Distribute, Watch and Drain are the least times in DISTRIBUTING, CANARY and DRAINING.
	Distribute time.Duration `json:"distribute"`
	Watch      time.Duration `json:"watch"`
	Drain      time.Duration `json:"drain"`
	// Silent is after how long without a sign a device counts as silent; 30 days if zero.
	Silent time.Duration `json:"silent"`
}

const (
	day  = 24 * time.Hour
	year = 365 * day

	wholeShare = 10000 // hundredths of a percent

	leastOfficers = 2
	mostOfficers  = 20
	mostFloor     = 10 * year
	mostLabels    = 1000
	mostDays      = 100 * 365
	mostText      = 1024
)

// withDefaults fills in what was left out. Nothing waits in an emergency.
func (s Spec) withDefaults() Spec {
	g := &s.Gates
	if g.Officers == 0 {
		g.Officers = leastOfficers
	}
	if g.Trusting == 0 {
		g.Trusting = 9950
	}
	if g.Moved == 0 {
		g.Moved = wholeShare
	}
	if g.Silent == 0 {
		g.Silent = 30 * day
	}
	if s.Emergency {
		g.Distribute, g.Watch, g.Drain = 0, 0, 0
	}
	return s
}

// authorityName is what an authority may be called, as the registration authority has it.
var authorityName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// check says everything that is wrong with a specification whose defaults are filled in.
func (s Spec) check() []string {
	var texts []string
	bad := func(format string, args ...any) { texts = append(texts, fmt.Sprintf(format, args...)) }

	if s.Kind != ledger.RotateRoot && s.Kind != ledger.RotateIssuing {
		bad("kind %q is neither %q nor %q", s.Kind, ledger.RotateRoot, ledger.RotateIssuing)
	}
	for _, name := range []string{s.Old, s.New} {
		if !authorityName.MatchString(name) {
			bad("%q cannot be the name of an authority: use up to 32 lower-case letters, digits and hyphens", name)
		}
	}
	if s.Old == s.New {
		bad("the old and the new CA are both %q: a rotation leads to another one", s.Old)
	}
	for _, field := range [][2]string{{"key URI", s.KeyURI}, {"key", s.Key}, {"common name", s.CommonName}} {
		if len(field[1]) > mostText || !printable(field[1]) {
			bad("the %s has more than %d bytes or something in it that cannot be printed", field[0], mostText)
		}
	}
	if s.ValidityDays < 0 || s.ValidityDays > mostDays {
		bad("%d days of validity are not between 1 and %d", s.ValidityDays, mostDays)
	}
	if s.Elsewhere && s.Kind == ledger.RotateIssuing {
		bad("the key of an issuing CA must be here: it signs every day")
	}
	if s.Canary.Percent < 0 || s.Canary.Percent > 100 {
		bad("a canary of %d percent is not between 0 and 100", s.Canary.Percent)
	}
	if len(s.Canary.Labels) > mostLabels {
		bad("%d labels of the canary are more than %d", len(s.Canary.Labels), mostLabels)
	}
	for _, label := range s.Canary.Labels {
		if label == "" || len(label) > 64 || !printable(label) {
			bad("%q cannot be an EST label", label)
		}
	}
	return append(texts, s.Gates.check()...)
}

func (g Gates) check() []string {
	var texts []string
	bad := func(format string, args ...any) { texts = append(texts, fmt.Sprintf(format, args...)) }

	if g.Officers < leastOfficers || g.Officers > mostOfficers {
		bad("signatures of %d officers are not between %d and %d", g.Officers, leastOfficers, mostOfficers)
	}
	for _, share := range []struct {
		name  string
		value int
	}{{"trusting", g.Trusting}, {"moved", g.Moved}} {
		if share.value < 0 || share.value > wholeShare {
			bad("the share %s of %s %% is not between 0 and 100 %%", share.name, hundredths(share.value))
		}
	}
	for _, floor := range []struct {
		name  string
		value time.Duration
	}{{"distribute", g.Distribute}, {"watch", g.Watch}, {"drain", g.Drain}, {"silent", g.Silent}} {
		if floor.value < 0 || floor.value > mostFloor {
			bad("%s of %s is not between zero and ten years", floor.name, floor.value)
		}
	}
	return texts
}

// printable reports whether a text can be shown on a terminal in one line.
func printable(text string) bool {
	for _, r := range text {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
