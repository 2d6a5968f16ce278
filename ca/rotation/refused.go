package rotation

import (
	"fmt"
	"strings"
)

// Refused says why something about a rotation cannot be done. Its text is for the person
// who asked.
type Refused struct {
	Rule  string // one of Rules
	Texts []string
}

func (r *Refused) Error() string { return strings.Join(r.Texts, "; ") }

// Rules are all that Refused names, in alphabetical order.
var Rules = []string{
	"rotation-authorities", // what the registration authority has against it
	"rotation-bring",       // what a ceremony brought is not what was asked for
	"rotation-busy",        // another caller moves it at this moment
	"rotation-ceremony",    // a ceremony file cannot say it
	"rotation-cloud",       // a cloud target could not follow
	"rotation-early",       // signed for a gate that lacks something else than signatures
	"rotation-gate",        // signed for a gate that is not next
	"rotation-kept",        // devices have something of the new CA that a rollback has left
	"rotation-key",         // the old key does not sign
	"rotation-new",         // the CA of the new name is none that could replace the old one
	"rotation-officers",    // fewer officers with a key than must sign
	"rotation-overlap",     // another rotation runs
	"rotation-parent",      // the CA above is not known here
	"rotation-paths",       // what leads between the roots, or a twin, is missing or revoked
	"rotation-revoke",      // the old CA's certificate is its issuer's to revoke
	"rotation-rollback",    // it is being taken back
	"rotation-signature",   // not over this statement by this officer's key
	"rotation-signed",      // the officer, or the key, has signed already
	"rotation-signer",      // not an officer in force with a key
	"rotation-spec",        // what is asked for makes no sense
	"rotation-state",       // not in this state
	"rotation-unsigned",    // too few officers have signed for taking an emergency back
}

func refused(rule, format string, args ...any) *Refused {
	return &Refused{Rule: rule, Texts: []string{fmt.Sprintf(format, args...)}}
}
