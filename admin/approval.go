package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// The states of an approval on the wire: those of the ledger, and expired for
// what was not decided or carried out in time.
const (
	ApprovalPending  = "pending"
	ApprovalApproved = "approved"
	ApprovalRejected = "rejected"
	ApprovalRunning  = "running"
	ApprovalDone     = "done"
	ApprovalExpired  = "expired"
)

// Approval is something that two people must agree on.
type Approval struct {
	ID        string `json:"id"`
	State     string `json:"state"`
	Operation string `json:"operation"`
	// Words say what will be done, for people.
	Words      string     `json:"words"`
	Proposer   string     `json:"proposer"`
	ProposedAt time.Time  `json:"proposed_at"`
	ExpiresAt  time.Time  `json:"expires_at"`
	DecidedBy  string     `json:"decided_by,omitempty"`
	DecidedAt  *time.Time `json:"decided_at,omitempty"`
	RunBy      string     `json:"run_by,omitempty"`
	RunAt      *time.Time `json:"run_at,omitempty"`
	// Outcome is why the last run failed.
	Outcome string `json:"outcome,omitempty"`
	// Next says what to do now.
	Next string `json:"next,omitempty"`
	// The rest is left out of lists. Plan is the request that will be carried
	// out, Statement the bytes to sign.
	Plan      json.RawMessage `json:"plan,omitempty"`
	Statement string          `json:"statement,omitempty"`
	Signature []byte          `json:"signature,omitempty"`
}

// Approvals is a list of them, the newest first.
type Approvals struct {
	Approvals []Approval `json:"approvals"`
}

// Signature is a second officer's, made over the statement of an approval.
type Signature struct {
	// Signature is in DER for ECDSA, as openssl writes it.
	Signature []byte `json:"signature"`
}

// ApprovalRun is what became of an approval that was carried out.
type ApprovalRun struct {
	Approval Approval `json:"approval"`
	// Answer is that of the operation, as it would have answered directly.
	Answer json.RawMessage `json:"answer,omitempty"`
}

// Proposed is the error of an operation that was not done but proposed: it
// needs a second officer.
type Proposed struct{ Approval Approval }

func (p *Proposed) Error() string {
	a := p.Approval
	return fmt.Sprintf("nothing was done yet, this needs a second officer. Proposed as %s: %s\n%s", a.ID, a.Words, a.Next)
}

// Approvals lists what was proposed; an empty state lists all.
func (c *Client) Approvals(ctx context.Context, state string) ([]Approval, error) {
	query := make(url.Values)
	if state != "" {
		query.Set("state", state)
	}
	list, err := call[Approvals](ctx, c, http.MethodGet, "/v1/approvals", query, nil)
	return list.Approvals, err
}

// Approval returns one with its plan and its statement.
func (c *Client) Approval(ctx context.Context, id string) (Approval, error) {
	return call[Approval](ctx, c, http.MethodGet, approvalPath(id), nil, nil)
}

// Approve gives the caller's signature.
func (c *Client) Approve(ctx context.Context, id string, signature []byte) (Approval, error) {
	return call[Approval](ctx, c, http.MethodPost, approvalPath(id)+"/approve", nil, Signature{signature})
}

// Reject ends a proposal.
func (c *Client) Reject(ctx context.Context, id string) (Approval, error) {
	return call[Approval](ctx, c, http.MethodPost, approvalPath(id)+"/reject", nil, struct{}{})
}

// RunApproval carries out what was approved.
func (c *Client) RunApproval(ctx context.Context, id string) (ApprovalRun, error) {
	return call[ApprovalRun](ctx, c, http.MethodPost, approvalPath(id)+"/run", nil, struct{}{})
}

func approvalPath(id string) string { return "/v1/approvals/" + url.PathEscape(id) }
