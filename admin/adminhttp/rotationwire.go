package adminhttp

import (
	"fmt"
	"slices"
	"time"

	"mintmark/admin"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

func wireRotation(r ledger.Rotation) admin.Rotation {
	serving := string(r.Issue)
	if serving == "" {
		serving = string(ledger.IssueOld)
	}
	out := admin.Rotation{
		ID: r.ID, Kind: string(r.Kind), Old: r.Old, New: r.New, Emergency: r.Emergency, State: r.State, Since: r.Since.UTC(),
		Over: rotation.State(r.State).Over(), Paused: r.Paused, RollingBack: rotation.RollingBack(r), Serving: serving, Kept: r.Kept,
		Hash: rotation.PlanHash(r), Signatures: make([]admin.RotationSignature, 0, len(r.Signatures)), At: r.At.UTC(), Actor: r.Actor,
	}
	for _, s := range r.Signatures {
		out.Signatures = append(out.Signatures, admin.RotationSignature{Gate: s.Gate, Officer: s.Officer, At: s.At.UTC()})
	}
	return out
}

func wireEntry(e ledger.RotationEntry) admin.RotationEntry {
	return admin.RotationEntry{Number: e.Number, At: e.At.UTC().Truncate(time.Microsecond), Actor: e.Actor, State: e.State, Step: e.Step, Event: e.Event, Text: e.Text}
}

func wireRotationStatus(result rotation.Result) admin.RotationStatus {
	out := admin.RotationStatus{
		Rotation: wireRotation(result.Rotation), Plan: string(result.Rotation.Plan), Gate: wireGate(result),
		Blocked: append([]string{}, result.Blocked...), Measured: append([]string{}, result.Measured...),
	}
	if len(result.Counts) > 0 {
		out.Counts = make(map[string]int, len(result.Counts))
		for class, n := range result.Counts {
			out.Counts[string(class)] = n
		}
	}
	if waiting := result.Waiting; waiting != nil {
		out.Waiting = &admin.RotationWaiting{What: waiting.What, Name: waiting.Name, Ceremony: string(waiting.Ceremony), Inputs: waiting.Inputs}
	}
	if back := result.Back; back != nil {
		out.Rollback = &admin.RotationGate{State: string(rotation.RolledBack), Officers: back.Officers, Signed: back.Signed,
			Asks:      fmt.Sprintf("%d officers have signed: it lets in again what %s has signed, whose key is in wrong hands", back.Officers, result.Rotation.Old),
			Statement: string(rotation.Statement(result.Rotation, rotation.RolledBack))}
	}
	out.Next = nextOf(out)
	return out
}

// wireGate is the way into the next state; nil if there is none.
func wireGate(result rotation.Result) *admin.RotationGate {
	next := result.Next
	if next == "" {
		return nil
	}
	gate := &admin.RotationGate{State: string(next)}
	plan, err := rotation.ParsePlan(result.Rotation.Plan)
	if err != nil {
		return gate // the machine has said so
	}
	if i := slices.IndexFunc(plan.Steps, func(s rotation.PlanStep) bool { return s.State == next }); i >= 0 {
		gate.Asks = plan.Steps[i].Gate
	}
	if next.Signed() {
		gate.Officers, gate.Signed = plan.Spec.Gates.Officers, result.Signed
		gate.Statement = string(rotation.Statement(result.Rotation, next))
	}
	return gate
}

// nextOf says what to type.
func nextOf(s admin.RotationStatus) []string {
	id := s.Rotation.ID
	switch {
	case s.Gate == nil:
		return nil
	case s.Rotation.Paused != "" && !s.Rotation.RollingBack:
		return []string{"mintmark rotate resume " + id}
	case s.Waiting != nil && s.Waiting.Ceremony != "":
		return []string{fmt.Sprintf("mintmark rotate run %s --ceremony-out %s", id, s.Waiting.Name), fmt.Sprintf("mintmark rotate bring %s FILE...", id)}
	}
	var next []string
	// One line is lacking for the signatures themselves. Before the rest is there nobody signs,
	// but in an emergency.
	if s.Gate.Officers > len(s.Gate.Signed) && (len(s.Blocked) < 2 || s.Rotation.Emergency) {
		next = append(next, fmt.Sprintf("mintmark rotate approve %s --key THEIR.key", id))
	}
	return append(next, "mintmark rotate run "+id)
}
