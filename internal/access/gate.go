package access

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"mintmark/internal/ledger"
)

const (
	// maxPending bounds what one person has waiting for a second officer: they
	// must be able to read it, and nobody may keep the others from proposing.
	maxPending = 100
	maxWords   = 8 << 10
	// maxSignature is more than an RSA key of 8192 bits makes.
	maxSignature = 2048
)

// Store is the part of the ledger that keeps people and what they agree on.
type Store interface {
	Principals(ctx context.Context) ([]ledger.Principal, error)
	Propose(ctx context.Context, approval ledger.Approval) error
	Approval(ctx context.Context, id string) (ledger.Approval, error)
	Approvals(ctx context.Context, state ledger.ApprovalState, limit int) ([]ledger.Approval, error)
	MoveApproval(ctx context.Context, from ledger.ApprovalState, next ledger.Approval, now time.Time) error
}

// Gate is what an operation of two persons passes: proposed by one, signed by
// another, carried out once. Who people are is read from the ledger each time,
// so that someone who is removed stops at once. Safe for concurrent use, also by
// several servers on one ledger.
type Gate struct {
	Store Store
	Now   func() time.Time
	// TTL is how long a proposal may wait until it is carried out.
	TTL time.Duration
}

// Denial says which rule stopped an approval. Its text is for the caller.
type Denial struct {
	Rule string
	Text string
}

func (d *Denial) Error() string { return d.Rule + ": " + d.Text }

func deny(rule, format string, args ...any) error {
	return &Denial{Rule: rule, Text: fmt.Sprintf(format, args...)}
}

// The rules of a Denial.
const (
	RuleOwn       = "approval-own"       // the proposer cannot be the second person
	RuleRole      = "approval-role"      // who decides, proposes or carries out may not
	RuleKey       = "approval-key"       // who approves has no key on record
	RuleSignature = "approval-signature" // it is not over the statement, or not by the recorded key
	RuleState     = "approval-state"     // decided or carried out before
	RuleExpired   = "approval-expired"
	RulePlan      = "approval-plan"  // not something that a person could have read
	RuleLimit     = "approval-limit" // too many of one person wait
)

// Required reports whether an operation needs a second officer: the table says
// so, and there are two whom it can be asked of.
func (g *Gate) Required(ctx context.Context, op Operation) (bool, error) {
	rule, ok := RuleOf(op)
	if !ok {
		return false, fmt.Errorf("unknown operation %q", op)
	}
	if !rule.TwoPersons {
		return false, nil
	}
	people, err := g.Store.Principals(ctx)
	if err != nil {
		return false, fmt.Errorf("reading who the officers are: %w", err)
	}
	return len(Signers(people)) >= quorum, nil
}

// Propose records what is to be done: words for people, and the plan that will
// be carried out as it stands. What the same person has proposed before and
// still waits is returned again.
func (g *Gate) Propose(ctx context.Context, op Operation, words string, plan []byte, proposer Principal) (ledger.Approval, error) {
	if !proposer.Can(op) {
		return ledger.Approval{}, deny(RuleRole, "%q may not do %s", proposer.Name, op)
	}
	// Whole seconds: the statement must be the same after it was stored.
	now := g.Now().UTC().Truncate(time.Second)
	a := ledger.Approval{
		ID: strings.ToLower(rand.Text()[:10]), Operation: string(op), Words: words, Plan: plan, Proposer: proposer.Name,
		At: now, ExpiresAt: now.Add(g.TTL).Truncate(time.Second), State: ledger.Pending,
	}
	if err := readable(a); err != nil {
		return ledger.Approval{}, err
	}
	pending, err := g.Store.Approvals(ctx, ledger.Pending, 1000)
	if err != nil {
		return ledger.Approval{}, fmt.Errorf("reading what waits for approval: %w", err)
	}
	waiting := 0
	for _, other := range pending {
		if g.expired(other) || other.Proposer != a.Proposer {
			continue
		}
		waiting++
		if other.Operation == a.Operation && other.Words == a.Words && bytes.Equal(other.Plan, a.Plan) {
			return other, nil
		}
	}
	if waiting >= maxPending {
		return ledger.Approval{}, deny(RuleLimit, "%d proposals of %q wait for a decision already: have some approved or rejected first", waiting, a.Proposer)
	}
	if err := g.Store.Propose(ctx, a); err != nil {
		return ledger.Approval{}, fmt.Errorf("recording a proposal: %w", err)
	}
	return a, nil
}

// Approve takes the signature of a second officer over the statement.
func (g *Gate) Approve(ctx context.Context, id, decider string, signature []byte) (ledger.Approval, error) {
	a, err := g.Store.Approval(ctx, id)
	if err != nil {
		return ledger.Approval{}, err
	}
	if a.State != ledger.Pending {
		return ledger.Approval{}, moved(a)
	}
	if g.expired(a) {
		return ledger.Approval{}, late(a)
	}
	people, err := g.Store.Principals(ctx)
	if err != nil {
		return ledger.Approval{}, fmt.Errorf("reading who the officers are: %w", err)
	}
	a.DecidedBy, a.Signature = decider, signature
	if err := second(people, a); err != nil {
		return ledger.Approval{}, err
	}
	a.State, a.DecidedAt = ledger.Approved, g.Now().UTC()
	return a, g.move(ctx, ledger.Pending, a)
}

// Reject ends a proposal that waits or was approved and not carried out.
func (g *Gate) Reject(ctx context.Context, id string, decider Principal) (ledger.Approval, error) {
	if !decider.Can(ApprovalDecide) {
		return ledger.Approval{}, deny(RuleRole, "%q may not decide about proposals", decider.Name)
	}
	a, err := g.Store.Approval(ctx, id)
	if err != nil {
		return ledger.Approval{}, err
	}
	from := a.State
	if from != ledger.Pending && from != ledger.Approved {
		return ledger.Approval{}, moved(a)
	}
	a.State, a.DecidedBy, a.DecidedAt, a.Signature = ledger.Rejected, decider.Name, g.Now().UTC(), nil
	return a, g.move(ctx, from, a)
}

// Take begins to carry out what was approved; of two who try, one succeeds. The
// signature is checked again, with the key that is recorded now: the approval of
// someone who was removed, or a plan that was changed meanwhile, is worth nothing.
// It returns the approval and the proposer, who must still be allowed the
// operation. Finish must follow.
func (g *Gate) Take(ctx context.Context, id string, runner Principal) (ledger.Approval, Principal, error) {
	none := func(err error) (ledger.Approval, Principal, error) { return ledger.Approval{}, Principal{}, err }
	a, err := g.Store.Approval(ctx, id)
	if err != nil {
		return none(err)
	}
	op := Operation(a.Operation)
	if !runner.Can(op) {
		return none(deny(RuleRole, "%q may not do %s, approved or not", runner.Name, op))
	}
	if a.State == ledger.Pending && !g.expired(a) {
		return none(deny(RuleState, "proposal %s is not approved: another officer signs it with mintmark approval sign %s", a.ID, a.ID))
	}
	if a.State != ledger.Approved && a.State != ledger.Pending {
		return none(moved(a))
	}
	if g.expired(a) {
		return none(late(a))
	}
	people, err := g.Store.Principals(ctx)
	if err != nil {
		return none(fmt.Errorf("reading who the officers are: %w", err))
	}
	if err := second(people, a); err != nil {
		return none(err)
	}
	proposer, ok := ByName(people, a.Proposer)
	if !ok || !Of(proposer).Can(op) {
		return none(deny(RuleRole, "%q, who proposed it, may not do %s any more", a.Proposer, op))
	}
	a.State, a.RunBy, a.RunAt, a.Outcome = ledger.Running, runner.Name, g.Now().UTC(), ""
	return a, Of(proposer), g.move(ctx, ledger.Approved, a)
}

// Finish ends what Take began: done, or back to approved with the words of what
// went wrong, to be tried again until it expires.
func (g *Gate) Finish(ctx context.Context, a ledger.Approval, outcome string) (ledger.Approval, error) {
	a.State, a.Outcome = ledger.Done, outcome
	if outcome != "" {
		a.State = ledger.Approved
	}
	return a, g.move(ctx, ledger.Running, a)
}

// second checks that DecidedBy is another officer, whose recorded key made the
// signature over the statement.
func second(people []ledger.Principal, a ledger.Approval) error {
	officer, ok := ByName(people, a.DecidedBy)
	if !ok || !Of(officer).Can(ApprovalDecide) {
		return deny(RuleRole, "%q is not a security officer in force and cannot approve", a.DecidedBy)
	}
	if a.DecidedBy == a.Proposer {
		return deny(RuleOwn, "%q has proposed it: the second signature must be someone else's", a.Proposer)
	}
	key, err := ParseKey(officer.Key)
	if err != nil {
		return deny(RuleKey, "no key is on record for %q (%v): mintmark officer change --key records one", officer.Name, err)
	}
	// Of whoever proposed it, removed or not: another name for the same key is
	// the same person.
	for _, p := range people {
		if p.Name == a.Proposer && bytes.Equal(p.Key, officer.Key) {
			return deny(RuleOwn, "%q has the key of %q, who has proposed it: the second signature must be someone else's", officer.Name, a.Proposer)
		}
	}
	if err := readable(a); err != nil {
		return err
	}
	if len(a.Signature) > maxSignature {
		return deny(RuleSignature, "a signature of %d bytes is longer than any: send it as it was made, in DER", len(a.Signature))
	}
	if err := Verify(key, Statement(a), a.Signature); err != nil {
		return deny(RuleSignature, "%v: sign the bytes that mintmark approval show %s --statement writes, with the key recorded for %q", err, a.ID, officer.Name)
	}
	return nil
}

// readable refuses a plan that is not plain ASCII on one line: what a terminal
// shows of it must be all of it.
func readable(a ledger.Approval) error {
	for _, b := range a.Plan {
		if b < ' ' || b > '~' {
			return deny(RulePlan, "the plan of proposal %s holds characters that cannot be shown: it is not as the server wrote it", a.ID)
		}
	}
	if len(a.Words) > maxWords {
		return deny(RulePlan, "it takes %d bytes to say what will be done, more than anybody reads: do it in parts", len(a.Words))
	}
	if len(a.Plan) == 0 || a.Words == "" {
		return deny(RulePlan, "proposal %s does not say what will be done", a.ID)
	}
	return nil
}

func (g *Gate) expired(a ledger.Approval) bool { return Expired(a, g.Now()) }

// Expired reports whether an approval has waited too long to be decided or
// carried out.
func Expired(a ledger.Approval, now time.Time) bool {
	return (a.State == ledger.Pending || a.State == ledger.Approved) && !now.Before(a.ExpiresAt)
}

func (g *Gate) move(ctx context.Context, from ledger.ApprovalState, next ledger.Approval) error {
	err := g.Store.MoveApproval(ctx, from, next, g.Now())
	if errors.Is(err, ledger.ErrMoved) {
		return deny(RuleState, "proposal %s was decided or carried out by someone else at this moment: mintmark approval show %s", next.ID, next.ID)
	}
	if err != nil {
		return fmt.Errorf("recording that proposal %s is %s: %w", next.ID, next.State, err)
	}
	return nil
}

func moved(a ledger.Approval) error {
	switch a.State {
	case ledger.Running:
		return deny(RuleState, "proposal %s is being carried out by %q since %s, or was cut off while it was: see what it has done, and propose the rest again", a.ID, a.RunBy, a.RunAt.UTC().Format(time.RFC3339))
	case ledger.Done:
		return deny(RuleState, "proposal %s was carried out by %q: it works once", a.ID, a.RunBy)
	default:
		return deny(RuleState, "proposal %s is %s by %q already", a.ID, a.State, a.DecidedBy)
	}
}

func late(a ledger.Approval) error {
	return deny(RuleExpired, "proposal %s has expired (%s): propose it again", a.ID, a.ExpiresAt.UTC().Format(time.RFC3339))
}
