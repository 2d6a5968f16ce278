package sqldb

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"mintmark/internal/ledger"
)

const (
	sqlPropose = `INSERT INTO approvals (id, operation, words, plan, proposer, at, expires_at, state, decided_by, decided_at, signature, run_by, run_at, outcome)
	VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', '', 0, NULL, '', 0, '') ON CONFLICT (id) DO NOTHING`
	sqlMoveApproval = `UPDATE approvals SET state = $3, expires_at = $4, decided_by = $5, decided_at = $6, signature = $7, run_by = $8, run_at = $9, outcome = $10
	WHERE id = $1 AND state = $2`
	approvalColumns = `SELECT id, operation, words, plan, proposer, at, expires_at, state, decided_by, decided_at, signature, run_by, run_at, outcome FROM approvals`
	sqlApproval     = approvalColumns + ` WHERE id = $1`
)

// Propose implements ledger.Principals. The approval is pending, whatever the
// record says.
func (s *Store) Propose(ctx context.Context, approval ledger.Approval) error {
	if approval.ID == "" || approval.Operation == "" || approval.Proposer == "" || approval.At.IsZero() {
		return errors.New("recording proposal: its name, operation, proposer or time is missing")
	}
	if err := errors.Join(checkNames(approval.ID, approval.Operation, approval.Proposer), checkText(approval.Words, math.MaxInt)); err != nil {
		return fmt.Errorf("recording proposal: %w", err) // a signature will be over the words
	}
	// Nobody has decided anything yet.
	proposed := ledger.Approval{
		ID: approval.ID, Operation: approval.Operation, Words: approval.Words, Plan: approval.Plan,
		Proposer: approval.Proposer, At: approval.At, ExpiresAt: approval.ExpiresAt, State: ledger.Pending,
	}
	o := &op{items: 1}
	o.run = func(t *tx) error {
		n, err := t.exec(sqlPropose, proposed.ID, proposed.Operation, proposed.Words, proposed.Plan, proposed.Proposer, micros(proposed.At), micros(proposed.ExpiresAt))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("there is one of that name: %w", ledger.ErrTaken)
		}
		t.record(ledger.Event{Kind: ledger.EventApproval, At: proposed.At, Approval: &proposed})
		return nil
	}
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("recording proposal %q: %w", approval.ID, err)
	}
	return nil
}

// Approval implements ledger.Principals.
func (s *Store) Approval(ctx context.Context, id string) (ledger.Approval, error) {
	a, err := scanApproval(s.readers.QueryRowContext(ctx, sqlApproval, id))
	if err != nil {
		return ledger.Approval{}, reading(fmt.Sprintf("approval %q", id), err)
	}
	return a, nil
}

// Approvals implements ledger.Principals.
func (s *Store) Approvals(ctx context.Context, state ledger.ApprovalState, limit int) ([]ledger.Approval, error) {
	var c conditions
	if state != "" {
		c.and("state =", string(state))
	}
	return list(ctx, s, "listing approvals", scanApproval, approvalColumns+c.text()+` ORDER BY at DESC, id DESC`+c.limit(limit), c.args)
}

// MoveApproval implements ledger.Principals. What was proposed cannot change:
// a signature is over it. ErrNotFound for an unknown approval.
func (s *Store) MoveApproval(ctx context.Context, from ledger.ApprovalState, next ledger.Approval, now time.Time) error {
	switch next.State {
	case ledger.Pending, ledger.Approved, ledger.Rejected, ledger.Running, ledger.Done:
	default:
		return fmt.Errorf("changing approval %q: there is no state %q", next.ID, next.State)
	}
	if err := checkNames(next.DecidedBy, next.RunBy); err != nil {
		return fmt.Errorf("changing approval %q: %w", next.ID, err)
	}
	o := &op{items: 1, locks: []string{"approval:" + next.ID}}
	o.run = func(t *tx) error {
		var stored ledger.Approval
		err := t.query(sqlApproval, func(rows *sql.Rows) (err error) {
			stored, err = scanApproval(rows)
			return err
		}, next.ID)
		switch {
		case err != nil:
			return err
		case stored.ID == "":
			return ledger.ErrNotFound
		case stored.State != from:
			return fmt.Errorf("it is %s: %w", stored.State, ledger.ErrMoved)
		case stored.Operation != next.Operation || stored.Proposer != next.Proposer || !bytes.Equal(stored.Plan, next.Plan):
			return errors.New("what was proposed cannot change")
		}
		n, err := t.exec(sqlMoveApproval, next.ID, string(from), string(next.State), micros(next.ExpiresAt), next.DecidedBy, micros(next.DecidedAt), next.Signature,
			next.RunBy, micros(next.RunAt), clean(next.Outcome))
		if err != nil {
			return err
		}
		if n == 0 {
			return ledger.ErrMoved
		}
		moved := next
		moved.Words, moved.At = stored.Words, stored.At
		t.record(ledger.Event{Kind: ledger.EventApproval, At: now, Approval: &moved})
		return nil
	}
	if err := s.write(ctx, o); err != nil {
		return fmt.Errorf("changing approval %q: %w", next.ID, err)
	}
	return nil
}

func scanApproval(r row) (ledger.Approval, error) {
	var a ledger.Approval
	var at, expires, decided, run int64
	err := r.Scan(&a.ID, &a.Operation, &a.Words, &a.Plan, &a.Proposer, &at, &expires, &a.State, &a.DecidedBy, &decided, &a.Signature, &a.RunBy, &run, &a.Outcome)
	a.At, a.ExpiresAt, a.DecidedAt, a.RunAt = fromMicros(at), fromMicros(expires), fromMicros(decided), fromMicros(run)
	return a, err
}
