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
			say("nothing: both CAs stand under the same root, and there are no anchors to distribute")
		}
	case Switched:
		floor(Canaried, g.Watch)
		if root {
			share(g.Trusting, "have the new anchors")
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
func ownChanges(to State, spec Spec) []PlanChange {
	var changes []PlanChange
	say := func(where, format string, args ...any) {
		changes = append(changes, PlanChange{Where: where, What: fmt.Sprintf(format, args...)})
	}
	root := spec.Kind == ledger.RotateRoot
	switch to {
	case PathsVerified:
		say("mintmark", "verify every path that is or will be shown, for trust in the old, both and the new")
	case Canaried:
		say("mintmark", "%s serves %s", spec.New, canaryWords(spec.Canary))
	case Switched:
		say("mintmark", "%s serves all", spec.New)
	case Draining:
		say("mintmark", "%s signs CRLs and OCSP answers only", spec.Old)
	case TrustRemoved:
		if root {
			say("est", "give out %s no more, nor what leads from one to the other", spec.Old)
		}
		if spec.Emergency {
			say("mintmark", "revoke the certificate of %s for keyCompromise, where another signed it", spec.Old)
		}
	case Archived:
		say("mintmark", "nothing: a person destroys the key of %s or puts it away", spec.Old)
	}
	return changes
}
