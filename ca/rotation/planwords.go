package rotation

import (
	"fmt"
	"strings"
	"time"

	"mintmark/internal/ledger"
)

// gateWords says what must hold before a state is entered, for the plan.
func gateWords(to State, spec Spec) string {
	g, root := spec.Gates, spec.Kind == ledger.RotateRoot
	var parts []string
	say := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	floor := func(of State, least time.Duration) {
		if least > 0 {
			say("%s has lasted at least %s", of, span(least))
		}
	}
	share := func(value int, what string) {
		if spec.Emergency {
			say("the devices that %s are shown, not waited for", what)
			return
		}
		say("%s %% of the devices %s; those that an officer has waived count", hundredths(value), what)
	}
	switch to {
	case Canaried:
		if root {
			floor(Distributing, g.Distribute)
			share(g.Trusting, "have the new anchors")
		} else {
			say("nothing is measured: both CAs stand under the same root, and there are no anchors to distribute")
		}
	case Switched:
		floor(Canaried, g.Watch)
		if root {
			share(g.Trusting, "have the new anchors")
		} else {
			say("nothing but time is measured: who signs has looked at the devices of the canary")
		}
	case Draining:
		say("every path is verified again, and the new CA is there")
	case TrustRemoved:
		floor(Draining, g.Drain)
		share(g.Moved, "have moved")
		if !root && !spec.Emergency {
			say("no device that is not waived holds a certificate in force by %s", spec.Old)
		}
		say("%s", cloudWords(spec))
	case Retired:
		say("%s", cloudWords(spec))
	case Archived:
		say("the last certificate that %s has signed is revoked or over", spec.Old)
	}
	if to.Signed() {
		say("%d officers have signed", g.Officers)
	}
	return strings.Join(parts, "; ")
}

func cloudWords(spec Spec) string {
	if spec.Emergency {
		return fmt.Sprintf("what still comes in by %s is shown, by each cloud's own list", spec.Old)
	}
	return fmt.Sprintf("by each cloud's own list, no device that is not waived comes in by %s only", spec.Old)
}

// ownChanges says what is done here on the way into a state, beside what the registration
// authority lists.
func ownChanges(to State, spec Spec, devices int) []PlanChange {
	var changes []PlanChange
	say := func(where, format string, args ...any) {
		changes = append(changes, PlanChange{Where: where, What: fmt.Sprintf(format, args...)})
	}
	root := spec.Kind == ledger.RotateRoot
	switch to {
	case PathsVerified:
		say("mintmark", "verify every path that is or will be shown, for trust in the old, both and the new")
	case Distributing:
		if root {
			say("mintmark", "write both roots to root.pem of the state directory")
		}
	case Canaried:
		say("mintmark", "%s serves %s", spec.New, canaryWords(spec.Canary))
	case Switched:
		say("mintmark", "%s serves all", spec.New)
		switch {
		case root && spec.Emergency:
			say("people", "officers and stations need %s as --server-ca and --ca before this: the server shows no path to %s from here on", spec.New, spec.Old)
		case root:
			say("people", "officers and stations need %s as --server-ca and --ca before %s: root.pem of the state directory has both", spec.New, TrustRemoved)
		}
	case Draining:
		say("mintmark", "%s signs CRLs and OCSP answers only", spec.Old)
	case TrustRemoved:
		if root {
			say("est", "give out %s no more, nor what leads from one to the other", spec.Old)
			say("mintmark", "write %s alone to root.pem of the state directory", spec.New)
		}
		if spec.Emergency {
			say("mintmark", "revoke the certificate of %s for keyCompromise, where another signed it", spec.Old)
		}
		if spec.Emergency && !root {
			say("mintmark", "revoke everything that %s has signed and that is in force: of %s each that has not moved by then has to enroll anew", spec.Old, a(devices, "device", "devices"))
		}
	case Archived:
		say("people", "nothing is done here: when its last CRL is signed, destroy the key of %s where it is (in a ceremony with the step destroy, or by the token's own tools), or leave it in its safe", spec.Old)
	}
	return changes
}
