package sqldb_test

import (
	"context"
	"fmt"

	"mintmark/internal/ledger"
)

// rotation begins a rotation if none runs, and moves the one that does.
func (x *random) rotation(ctx context.Context) error {
	all, err := x.s.Rotations(ctx)
	if err != nil {
		return err
	}
	var r ledger.Rotation
	over := x.r.IntN(5) == 0
	if len(all) > 0 && x.running {
		r = all[len(all)-1]
	} else {
		r = ledger.Rotation{ID: x.name("r"), Kind: ledger.RotateIssuing, Old: "line-a", New: "line-b", Plan: []byte(x.name("plan")), At: x.now}
		over = false
	}
	r.Version++
	r.State, r.Since, r.Paused, r.Kept = fmt.Sprint("STATE-", r.Version), x.now, x.text(), x.r.IntN(2) == 0
	r.Issue = []ledger.Issue{"", ledger.IssueOld, ledger.IssueCanary, ledger.IssueNew}[x.r.IntN(4)]
	r.Canary = ledger.Canary{Percent: x.r.IntN(100)}
	if x.r.IntN(2) == 0 {
		r.Canary.Labels = []string{"line"}
		r.Twins = append(r.Twins, ledger.Twin{Authority: "line-a", DER: []byte{0x30, byte(x.n)}})
		r.Signatures = append(r.Signatures, ledger.GateSignature{Gate: "APPROVED", Officer: "anna", Signature: []byte{1}, At: x.now})
	}
	err = x.s.PutRotation(ctx, r, ledger.RotationEntry{At: x.now, Actor: "anna", State: r.State, Step: "x", Event: "done", Text: x.text()}, over)
	if err == nil {
		x.running = !over
		x.rotations = append(x.rotations, r.ID)
	}
	return err
}

// note notes what some devices have, now and then what is known already.
func (x *random) note(ctx context.Context) error {
	id, err := pick(x.r, x.rotations)
	if err != nil {
		return err
	}
	var notes []ledger.AnchorNote
	for range 1 + x.r.IntN(80) {
		device, err := pick(x.r, x.devices)
		if err != nil {
			return err
		}
		n := ledger.AnchorNote{Device: device}
		switch x.r.IntN(3) {
		case 0:
			n.Trusts, n.How = x.now, "fetched"
		case 1:
			n.Chains = x.now
		default:
			n.Waived, n.WaivedBy, n.Why = x.now, "anna", x.text()
		}
		notes = append(notes, n)
	}
	return x.s.NoteAnchors(ctx, id, notes)
}
