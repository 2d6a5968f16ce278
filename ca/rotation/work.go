package rotation

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mintmark/internal/ledger"
	"mintmark/internal/reconcile"
)

// work is one piece of a move. It may be done again, whatever came of it before.
type work struct {
	step string
	// mark changes the record with the entry that announces the work: what others do by
	// the record is then a part of it. nil for nothing.
	mark func(*ledger.Rotation)
	// do does it and reads back what came of it. What it changes in the record is written
	// with the entry that says it is done.
	do func(ctx context.Context, r *ledger.Rotation) (string, error)
	// apart: if it fails, those behind it which are apart too are done all the same.
	apart bool
	// beside: it is done at the same time as those next to it which are that too. What it
	// changes in the record is not written.
	beside bool
}

// works lists what leads into a state, in order. The clouds come first where something is
// shut, and after what they must know of where something is opened.
func (m *mover) works(to State) []work {
	root := m.r.Kind == ledger.RotateRoot
	switch to {
	case KeyGenerated:
		return []work{{step: "make", do: m.makeNew}}
	case Certified:
		return []work{{step: "certify", do: m.certify}}
	case PathsVerified:
		return []work{{step: "verify", do: m.verifyPaths}}
	case Distributing:
		if !root {
			return nil
		}
		works := []work{{step: "distribute", do: m.distribute}}
		if m.r.Kept {
			works = append(works, work{step: "notes", do: m.takeNotes})
		}
		return works
	case Canaried:
		return []work{m.serve(ledger.IssueCanary)}
	case Switched:
		works := []work{m.serve(ledger.IssueNew)}
		if root {
			works = append(works, work{step: "adopt", do: m.adopt})
		}
		return append(works, work{step: "read back", do: m.pathsAgain})
	case Draining:
		return append([]work{{step: "read back", do: m.readBack}}, m.stage(to)...)
	case TrustRemoved:
		works := m.stage(to)
		if root {
			works = append(works, work{step: "end bridges", do: m.endBridges})
		}
		if m.r.Emergency {
			works = append(works, work{step: revokeStep, do: m.revoke})
		}
		return works
	}
	return m.stage(to)
}

// revokeStep is what cannot be taken back.
const revokeStep = "revoke"

// stage takes every cloud target to where it is in a state, if it is not there now. What an
// earlier rotation has left there may be gone: somebody took it away, or letting it go was cut
// off. It is looked for before anybody is served by it.
func (m *mover) stage(to State) []work {
	next := m.r
	next.State = string(to)
	stage := StageOf(next)
	if stage == StageOf(m.r) && !(m.r.Kept && to == CloudActiveBoth) {
		return nil
	}
	works := m.advance(stage)
	if to == Approved {
		// An emergency shuts out whoever has the stolen key, and every minute that a target
		// hangs would be theirs. What makes something is done at one target after the other:
		// two of them may be in one account.
		for i := range works {
			works[i].beside = true
		}
	}
	return works
}

// advance takes every cloud target to a stage, each for itself.
func (m *mover) advance(stage Stage) []work {
	var works []work
	for _, cloud := range m.concerned(m.r) {
		works = append(works, work{step: cloud.Name() + " " + string(stage), apart: true, do: func(ctx context.Context, r *ledger.Rotation) (string, error) {
			changed, err := cloud.Advance(ctx, *r, stage)
			if err != nil {
				return "", err
			}
			left, err := cloud.Plan(ctx, *r, stage)
			if err != nil {
				return "", fmt.Errorf("reading back: %w", err)
			}
			if left.Pending() > 0 || len(left.Refused()) > 0 {
				return "", fmt.Errorf("it is not as it should be afterwards: %s", summary(left))
			}
			return summary(changed) + "; read back", nil
		}})
	}
	back := State(m.r.State).Over() || RollingBack(m.r)
	for _, s := range m.strays() {
		works = append(works, work{step: s.target + " " + string(stage), apart: true, do: func(context.Context, *ledger.Rotation) (string, error) {
			if back { // which nothing may hold up for good: not a target that was given up, either
				return fmt.Sprintf("left as it is: %s. What it has of %s stays there", s.text, m.r.New), nil
			}
			return "", errors.New(s.text)
		}})
	}
	return works
}

// summary is a plan of a cloud on one line.
func summary(p reconcile.Plan) string {
	var parts []string
	for _, c := range p.Changes {
		if c.Mutates() || c.Action == reconcile.Refuse {
			parts = append(parts, describe(c))
		}
	}
	if len(parts) == 0 {
		return "nothing to change"
	}
	return strings.Join(parts, ", ")
}

func describe(c reconcile.Change) string {
	action := c.Action
	if action == reconcile.None {
		action = "keep"
	}
	text := fmt.Sprintf("%s %s %s", action, c.Kind, c.Subject)
	if c.Action == reconcile.Refuse && c.After != "" {
		text += " (" + c.After + ")"
	}
	return text
}

func (m *mover) makeNew(ctx context.Context, r *ledger.Rotation) (string, error) {
	if err := m.world.Authorities.Make(ctx, *r, m.plan.Spec); err != nil {
		return "", err
	}
	return m.signsNew(ctx, r)
}

// signsNew has the key of the new CA sign. That of a root may be elsewhere.
func (m *mover) signsNew(ctx context.Context, r *ledger.Rotation) (string, error) {
	err := m.world.Authorities.SignsNow(ctx, r.New)
	switch {
	case errors.Is(err, ErrElsewhere) && r.Kind == ledger.RotateRoot:
		return fmt.Sprintf("%s is there, its key is elsewhere", r.New), nil
	case err != nil:
		return "", fmt.Errorf("%s does not sign: %w", r.New, err)
	}
	return fmt.Sprintf("%s is there, and its key signs", r.New), nil
}

func (m *mover) certify(ctx context.Context, r *ledger.Rotation) (string, error) {
	twins, err := m.world.Authorities.Certify(ctx, *r, m.plan.Spec)
	if err != nil {
		return "", err
	}
	slices.SortFunc(twins, func(a, b ledger.Twin) int { return strings.Compare(a.Authority, b.Authority) })
	var names []string
	for i, twin := range twins {
		certificate, err := x509.ParseCertificate(twin.DER)
		switch {
		case err != nil:
			return "", fmt.Errorf("reading the certificate of %s under %s: %w", twin.Authority, r.New, err)
		case !certificate.IsCA || i > 0 && twins[i-1].Authority == twin.Authority || bytes.Equal(certificate.RawSubject, certificate.RawIssuer) && certificate.CheckSignatureFrom(certificate) == nil:
			return "", fmt.Errorf("the certificate of %s is not the one of a CA under %s", twin.Authority, r.New)
		}
		names = append(names, twin.Authority)
	}
	r.Twins = twins
	if r.Kind == ledger.RotateIssuing {
		return fmt.Sprintf("%s stands under the root of %s", r.New, r.Old), nil
	}
	if r.Emergency {
		return fmt.Sprintf("under both %s and %s: %s", r.Old, r.New, strings.Join(names, ", ")), nil
	}
	return fmt.Sprintf("what leads between %s and %s is there; under both: %s", r.Old, r.New, strings.Join(names, ", ")), nil
}

func (m *mover) verifyPaths(ctx context.Context, r *ledger.Rotation) (string, error) {
	lines, err := m.world.Authorities.VerifyPaths(ctx, *r)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s as they should be: %s", a(len(lines), "path", "paths"), strings.Join(lines, "; ")), nil
}

func (m *mover) distribute(ctx context.Context, r *ledger.Rotation) (string, error) {
	if err := m.world.Authorities.Distribute(ctx, *r); err != nil {
		return "", err
	}
	if err := m.refresh(ctx); err != nil {
		return "", err
	}
	if r.Emergency && RollingBack(*r) {
		return fmt.Sprintf("EST gives out %s beside %s, and what leads to %s where the key of %s is here", r.New, r.Old, r.New, r.Old), nil
	}
	if r.Emergency {
		return fmt.Sprintf("EST gives out %s beside %s, and nothing leads from one to the other", r.New, r.Old), nil
	}
	return fmt.Sprintf("EST gives out %s beside %s, and what leads from one to the other", r.New, r.Old), nil
}

// serve has the record say which of the two serves, and the servers go by it.
func (m *mover) serve(issue ledger.Issue) work {
	return work{step: "serve " + string(issue), mark: func(r *ledger.Rotation) { r.Issue = issue },
		do: func(ctx context.Context, r *ledger.Rotation) (string, error) {
			if err := m.refresh(ctx); err != nil {
				return "", err
			}
			switch issue {
			case ledger.IssueNew:
				return fmt.Sprintf("%s serves all", r.New), nil
			case ledger.IssueCanary:
				return fmt.Sprintf("%s serves %s", r.New, canaryWords(r.Canary)), nil
			}
			return fmt.Sprintf("%s serves all", r.Old), nil
		}}
}

// canaryWords says for whom the new CA serves first.
func canaryWords(c ledger.Canary) string {
	var parts []string
	if len(c.Labels) > 0 {
		parts = append(parts, "the labels "+strings.Join(c.Labels, ", "))
	}
	if c.Percent > 0 {
		parts = append(parts, fmt.Sprintf("%d %% of the devices", c.Percent))
	}
	if len(parts) == 0 {
		return "nobody yet"
	}
	return strings.Join(parts, " and ")
}

func (m *mover) adopt(ctx context.Context, r *ledger.Rotation) (string, error) {
	if err := m.world.Authorities.Adopt(ctx, *r); err != nil {
		return "", err
	}
	if err := m.refresh(ctx); err != nil {
		return "", err
	}
	if r.Issue == ledger.IssueNew {
		return fmt.Sprintf("the CAs below go by their certificates under %s", r.New), nil
	}
	return fmt.Sprintf("the CAs below go by their certificates under %s again", r.Old), nil
}

func (m *mover) readBack(ctx context.Context, r *ledger.Rotation) (string, error) {
	signs, err := m.signsNew(ctx, r)
	if err != nil {
		return "", err
	}
	paths, err := m.pathsAgain(ctx, r)
	return signs + "; " + paths, err
}

// pathsAgain is verifyPaths where the list stands in the journal already.
func (m *mover) pathsAgain(ctx context.Context, r *ledger.Rotation) (string, error) {
	lines, err := m.world.Authorities.VerifyPaths(ctx, *r)
	if err != nil {
		return "", err
	}
	return a(len(lines), "path", "paths") + " as they should be", nil
}

func (m *mover) endBridges(ctx context.Context, r *ledger.Rotation) (string, error) {
	if err := m.world.Authorities.EndBridges(ctx, *r); err != nil {
		return "", err
	}
	if err := m.refresh(ctx); err != nil {
		return "", err
	}
	if r.Issue == ledger.IssueNew {
		return fmt.Sprintf("%s is given out no more", r.Old), nil
	}
	return fmt.Sprintf("%s is given out no more", r.New), nil
}

func (m *mover) revoke(ctx context.Context, r *ledger.Rotation) (string, error) {
	if err := m.world.Authorities.Revoke(ctx, *r, ledger.KeyCompromise, m.actor); err != nil {
		return "", err
	}
	text := fmt.Sprintf("the certificate of %s is revoked where another signed it", r.Old)
	if r.Kind == ledger.RotateIssuing {
		text += ", and what it has signed"
	}
	return text, nil
}
