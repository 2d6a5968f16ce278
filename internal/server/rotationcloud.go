package server

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/internal/reconcile"
)

// Kinds of the changes of a plan that is made of names alone.
const (
	changeCA    = "ca"
	changeGroup = "group"
)

// drifted is the error of a target that is not as its present stage wants it. Nothing of
// a rotation is done to it: what somebody else has begun there must be known first.
func drifted(cloud, target string, changes []reconcile.Change) error {
	return fmt.Errorf("%s target %q is not as it should be before the next step: %s: bring it in order first: mintmark %s plan %s",
		map[string]string{"aws": "AWS", "azure": "DPS"}[cloud], target, driftWords(changes), cloud, target)
}

// driftWords are changes that nobody has planned.
func driftWords(changes []reconcile.Change) string {
	var list []string
	for _, c := range changes {
		list = append(list, fmt.Sprintf("%s %s is %q and should be %q", c.Kind, c.Subject, cmp.Or(c.Before, "absent"), cmp.Or(c.After, "absent")))
	}
	const most = 5
	if more := len(list) - most; more > 0 {
		list = append(list[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, "; ")
}

// asked is the stage at which a rotation begins at a cloud. For its plan the cloud is asked
// whether there is room and whether the target is in order.
func asked(r ledger.Rotation) rotation.Stage {
	if r.Emergency {
		return rotation.StageCutOff
	}
	return rotation.StageRegistered
}

// foundOut says in a plan what a target differs in from what it should be before the rotation
// begins. An emergency does not wait for that to be looked into: shutting the old CA out brings
// the rest in order with it.
func foundOut(r ledger.Rotation, cloud, target string, changes []reconcile.Change) reconcile.Change {
	if r.Emergency {
		return reconcile.Change{Kind: "target", Subject: target, Action: reconcile.Update, Before: driftWords(changes),
			After: "as it should be: what differs is brought in order together with this"}
	}
	return reconcile.Change{Kind: "target", Subject: target, Action: reconcile.Refuse, After: drifted(cloud, target, changes).Error()}
}

// heldUp is the error of a target that has drifted before a stage, or nil. In an emergency the
// old CA is shut out all the same, and the words say what else is changed by that.
func (s *Server) heldUp(r ledger.Rotation, stage rotation.Stage, cloud, target string, drift []reconcile.Change) error {
	switch {
	case len(drift) == 0:
		return nil
	case r.Emergency && stage == rotation.StageCutOff:
		s.log.Warn("an emergency shuts a CA out of a target that was not as it should be, and brings that in order with it", "rotation", r.ID, "target", cloud+"/"+target, "differed", driftWords(drift))
		return nil
	}
	return drifted(cloud, target, drift)
}

// driftBefore are the changes that stand in the way of a rotation: what differs outside of
// it, and of the old CA what is as none of the plans wants it, which are those of the stages
// that a run may have left it at. What is about the new CA only may be half made. next is the
// plan of the stage to come.
func driftBefore(next reconcile.Plan, left []reconcile.Plan, about func(reconcile.Change) (old, new bool)) []reconcile.Change {
	var list []reconcile.Change
	for _, c := range next.Changes {
		if old, fresh := about(c); c.Action != reconcile.None && !old && !fresh {
			list = append(list, c)
		}
	}
	for _, c := range left[0].Changes {
		if old, _ := about(c); !old || c.Action == reconcile.None {
			continue
		}
		differs := func(p reconcile.Plan) bool {
			return slices.ContainsFunc(p.Changes, func(n reconcile.Change) bool {
				return n.Kind == c.Kind && n.Subject == c.Subject && n.Action != reconcile.None
			})
		}
		if differs(next) && !slices.ContainsFunc(left, func(p reconcile.Plan) bool { return !differs(p) }) {
			list = append(list, c)
		}
	}
	return list
}

// leftAt are the stages at which a run may have left the targets of a rotation before it is
// taken to another: the one that its state says; and, as a rollback may follow a run that was
// cut off, the one after it.
func leftAt(r ledger.Rotation) []rotation.Stage {
	list := []rotation.Stage{rotation.StageOf(r)}
	if !rotation.RollingBack(r) {
		return list
	}
	for stage, before := range stageBefore {
		if before == list[0] {
			list = append(list, stage)
		}
	}
	return list
}

// unread is the error of a change that the cloud accepted and that does not show.
func unread(name string, stage rotation.Stage, plan reconcile.Plan) error {
	for _, c := range plan.Changes {
		if c.Action == reconcile.None {
			continue
		}
		return fmt.Errorf("%s was taken to stage %q, and reading it back shows that %s %s is %q and should be %q", name, stage, c.Kind, c.Subject, cmp.Or(c.Before, "absent"), c.After)
	}
	return nil
}

// stageBefore are the stages, each with the one that it follows.
var stageBefore = map[rotation.Stage]rotation.Stage{
	rotation.StageCutOff:      rotation.StageBefore,
	rotation.StageRegistered:  rotation.StageBefore,
	rotation.StageBoth:        rotation.StageRegistered,
	rotation.StageOldQuiet:    rotation.StageBoth,
	rotation.StageOldInactive: rotation.StageOldQuiet,
	rotation.StageOldRemoved:  rotation.StageOldInactive,
}

// byNames reports whether a plan is made of names: of a rotation that is being planned, whose
// new CA need not be there.
func byNames(r ledger.Rotation) bool {
	if r.State != string(rotation.Planned) {
		return false
	}
	plan, err := rotation.ParsePlan(r.Plan)
	return err != nil || len(plan.Steps) == 0
}

// followed is what the ledger says of the devices of a rotation.
type followed struct {
	moved, waived map[string]bool
}

// followersOf reads who has moved, and who was waived.
func (s *Server) followersOf(ctx context.Context, r ledger.Rotation) (followed, error) {
	f := followed{make(map[string]bool), make(map[string]bool)}
	query, err := rotation.AnchorQuery(r, s.ra.Now())
	if err != nil {
		return f, err
	}
	for class, into := range map[ledger.AnchorClass]map[string]bool{ledger.AnchorMoved: f.moved, ledger.AnchorWaived: f.waived} {
		query.Class, query.After, query.Limit = class, "", 1000
		for {
			devices, next, err := s.ledger.Anchors(ctx, query)
			if err != nil {
				return f, fmt.Errorf("reading which devices are %s: %w", class, err)
			}
			for _, d := range devices {
				into[d.Device] = true
			}
			if query.After = next; next == "" {
				break
			}
		}
	}
	return f, nil
}

// eachIssued calls do with every certificate that an authority has issued and the ledger
// has the bytes of.
func (s *Server) eachIssued(ctx context.Context, issuer string, do func(ledger.Certificate)) error {
	for query := (ledger.Query{Issuer: issuer, Limit: 1000}); ; {
		page, err := s.ledger.Certificates(ctx, query)
		if err != nil {
			return fmt.Errorf("listing the certificates of %q: %w", issuer, err)
		}
		for _, c := range page.Certificates {
			if len(c.DER) > 0 {
				do(c)
			}
		}
		if query.After = page.Next; page.Next == "" {
			return nil
		}
	}
}

// ofDevices reports whether a certificate is one that devices connect with.
func ofDevices(c ledger.Certificate) bool {
	return c.Purpose == ledger.ForDevice || c.Purpose == ledger.ForGateway
}
