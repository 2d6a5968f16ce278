package adminhttp

import (
	"context"
	"encoding/json"
	"net/http"

	"mintmark/admin"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

// maxApprovals bounds the list of approvals.
const maxApprovals = 1000

func (h *handler) approvalRoutes() []route {
	return []route{
		{"GET /v1/approvals", access.ApprovalRead, h.listApprovals},
		{"GET /v1/approvals/{id}", access.ApprovalRead, h.showApproval},
		{"POST /v1/approvals/{id}/approve", access.ApprovalDecide, h.approve},
		{"POST /v1/approvals/{id}/reject", access.ApprovalDecide, h.reject},
		// Who may carry something out is whoever may do it: access.Gate asks.
		{"POST /v1/approvals/{id}/run", access.ApprovalRead, h.runApproval},
	}
}

func (h *handler) listApprovals(w http.ResponseWriter, r *http.Request) error {
	q := query(r, "state")
	state := q.oneOf("state", admin.ApprovalPending, admin.ApprovalApproved, admin.ApprovalRejected,
		admin.ApprovalRunning, admin.ApprovalDone, admin.ApprovalExpired)
	if q.err != nil {
		return q.err
	}
	stored := ledger.ApprovalState(state)
	if state == admin.ApprovalExpired {
		stored = ""
	}
	records, err := h.Ledger.Approvals(r.Context(), stored, maxApprovals)
	if err != nil {
		return err
	}
	list := admin.Approvals{Approvals: []admin.Approval{}}
	for _, record := range records {
		if a := h.wireApproval(record, false); state == "" || a.State == state {
			list.Approvals = append(list.Approvals, a)
		}
	}
	return writeJSON(w, http.StatusOK, list)
}

func (h *handler) showApproval(w http.ResponseWriter, r *http.Request) error {
	record, err := h.Ledger.Approval(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, h.wireApproval(record, true))
}

func (h *handler) approve(w http.ResponseWriter, r *http.Request) error {
	var in admin.Signature
	if err := decode(r, &in); err != nil {
		return err
	}
	a, err := h.gate.Approve(r.Context(), r.PathValue("id"), actor(r), in.Signature)
	if err != nil {
		return err
	}
	h.Logger.Info("approved", "approval", a.ID, "operation", a.Operation, "words", a.Words, "proposer", a.Proposer, "actor", a.DecidedBy)
	return writeJSON(w, http.StatusOK, h.wireApproval(a, true))
}

func (h *handler) reject(w http.ResponseWriter, r *http.Request) error {
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	a, err := h.gate.Reject(r.Context(), r.PathValue("id"), caller(r))
	if err != nil {
		return err
	}
	h.Logger.Info("rejected", "approval", a.ID, "operation", a.Operation, "words", a.Words, "proposer", a.Proposer, "actor", a.DecidedBy)
	return writeJSON(w, http.StatusOK, h.wireApproval(a, true))
}

// runApproval carries out the stored plan, once, as it was signed.
func (h *handler) runApproval(w http.ResponseWriter, r *http.Request) error {
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	ctx := context.WithoutCancel(r.Context()) // what has begun is brought to its end
	a, proposer, err := h.gate.Take(ctx, r.PathValue("id"), caller(r))
	if err != nil {
		return err
	}
	answer, failed := h.carryOut(ctx, a, proposer)
	outcome := ""
	if failed != nil {
		_, told := describe(failed)
		outcome = told.Rule + ": " + told.Text
	}
	finished, err := h.gate.Finish(ctx, a, outcome)
	if err != nil {
		h.Logger.Error("an approval stays behind as running", "approval", a.ID, "error", err)
	} else {
		a = finished
	}
	h.Logger.Info("carried out", "approval", a.ID, "operation", a.Operation, "words", a.Words, "proposer", a.Proposer,
		"approved_by", a.DecidedBy, "actor", a.RunBy, "outcome", outcome)
	if failed != nil {
		return failed
	}
	return writeJSON(w, http.StatusOK, admin.ApprovalRun{Approval: h.wireApproval(a, false), Answer: answer})
}

// wireApproval puts a record on the wire.
func (h *handler) wireApproval(a ledger.Approval, full bool) admin.Approval {
	out := admin.Approval{
		ID: a.ID, State: string(a.State), Operation: a.Operation, Words: a.Words, Proposer: a.Proposer,
		ProposedAt: a.At.UTC(), ExpiresAt: a.ExpiresAt.UTC(), DecidedBy: a.DecidedBy, DecidedAt: utc(a.DecidedAt),
		RunBy: a.RunBy, RunAt: utc(a.RunAt), Outcome: a.Outcome,
	}
	switch {
	case access.Expired(a, h.RA.Now()):
		out.State = admin.ApprovalExpired
	case a.State == ledger.Pending:
		out.Next = "another officer: mintmark approval sign " + a.ID + " --key THEIR.key\nafterwards:      mintmark approval run " + a.ID
	case a.State == ledger.Approved:
		out.Next = "mintmark approval run " + a.ID
	}
	if full {
		out.Statement, out.Signature = string(access.Statement(a)), a.Signature
		if json.Valid(a.Plan) {
			out.Plan = a.Plan
		}
	}
	return out
}
