package adminhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"unicode/utf16"
	"unicode/utf8"

	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

// plan is the request that will be carried out once it is approved. Its body is
// what the operation has understood, encoded again: no field that it ignored,
// nothing said twice.
type plan struct {
	Method string          `json:"method"`
	Path   string          `json:"path"`
	Body   json.RawMessage `json:"body,omitempty"`
}

// runKey is the context key of the approval that is being carried out. Only
// carryOut sets it.
type runKey struct{}

// run is an approval that is being carried out, and how that ended.
type run struct {
	approval ledger.Approval
	found    bool
	err      error
}

// aloneKey is the context key of the note of what one person does alone that takes two
// where there are two. serve sets it, and logs what twoPersons notes in it.
type aloneKey struct{}

// alone is what is done without a second person; nothing if it is empty.
type alone struct {
	operation access.Operation
	words     string
}

// logAlone says so once the operation has ended: of one that failed it is not known here
// how far it went.
func (h *handler) logAlone(a *alone, actor string, err error) {
	switch {
	case a.operation == "":
	case err == nil:
		h.Logger.Warn("done without a second officer: fewer than two have a key", "operation", a.operation, "words", a.words, "actor", actor)
	default:
		h.Logger.Info("tried without a second officer, and failed", "operation", a.operation, "words", a.words, "actor", actor, "error", err)
	}
}

// twoPersons says whether an operation may go on that the table of package
// access marks for two persons. It is called after the request was checked and
// before anything is changed or any key opened, with a sentence that says what
// will be done with all that matters, and with the decoded request (nil for one
// without a body).
//
// The operation goes on if this very request was approved, or if there are not
// two officers who could be asked. Otherwise it is recorded as a proposal, which
// twoPersons answers: the caller returns at once.
//
//	if proceed, err := h.twoPersons(w, r, access.OrderRaise, words, in); !proceed {
//		return err
//	}
//
// The words are made anew when the approval is carried out, and must be the same:
// they must not depend on the time of day, and should hold what may have changed
// meanwhile (a count of certificates, the old quantity). actor and requester then
// name the proposer and who approved.
func (h *handler) twoPersons(w http.ResponseWriter, r *http.Request, op access.Operation, words string, in any) (proceed bool, err error) {
	who := caller(r)
	if !who.Can(op) {
		return false, denied(who, op)
	}
	if running, ok := r.Context().Value(runKey{}).(*run); ok {
		return running.covers(op, words)
	}
	required, err := h.gate.Required(r.Context(), op)
	if err != nil {
		return false, err
	}
	if !required {
		if note, ok := r.Context().Value(aloneKey{}).(*alone); ok {
			*note = alone{op, words}
		}
		return true, nil
	}
	content, err := planOf(r, in)
	if err != nil {
		return false, err
	}
	a, err := h.gate.Propose(r.Context(), op, words, content, who)
	if err != nil {
		return false, err
	}
	h.Logger.Info("proposed", "approval", a.ID, "operation", op, "words", words, "actor", who.Name)
	return false, writeJSON(w, http.StatusAccepted, h.wireApproval(a, false))
}

// covers holds what is about to be done against what was approved.
func (r *run) covers(op access.Operation, words string) (bool, error) {
	if r.approval.Operation != string(op) {
		return false, fail(http.StatusConflict, access.RulePlan, "proposal %s is for %s, and this is %s", r.approval.ID, r.approval.Operation, op)
	}
	if r.approval.Words != words {
		return false, fail(http.StatusConflict, "approval-stale", "what would be done now is not what was approved: %s. Propose it again", words)
	}
	return true, nil
}

// planOf is the canonical form of a request: JSON on one line, in ASCII, its
// fields in a fixed order.
func planOf(r *http.Request, in any) ([]byte, error) {
	if r.URL.RawQuery != "" {
		return nil, fail(http.StatusBadRequest, "query", "an operation that needs two persons takes no parameters in its URL")
	}
	p := plan{Method: r.Method, Path: r.URL.EscapedPath()}
	if in != nil {
		body, err := canonical(in)
		if err != nil {
			return nil, err
		}
		p.Body = body
	}
	return canonical(p)
}

func canonical(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding a plan: %w", err)
	}
	text := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		case r > '~': // outside of strings JSON is ASCII
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			out = append(out, byte(r))
		}
		text = text[size:]
	}
	return out, nil
}

// carryOut does what was approved: the stored request goes to the operation
// that proposed it, as the proposer's and with the mark of the approval.
func (h *handler) carryOut(ctx context.Context, a ledger.Approval, proposer access.Principal) (json.RawMessage, error) {
	var p plan
	if err := json.Unmarshal(a.Plan, &p); err != nil {
		return nil, fail(http.StatusConflict, access.RulePlan, "the plan of proposal %s cannot be read: %v", a.ID, err)
	}
	r, err := http.NewRequestWithContext(ctx, p.Method, "http://mintmark"+p.Path, bytes.NewReader(p.Body))
	if err != nil {
		return nil, fail(http.StatusConflict, access.RulePlan, "the plan of proposal %s is no request: %v", a.ID, err)
	}
	r.Header.Set("Content-Type", "application/json")
	running := &run{approval: a}
	who := access.Principal{Name: proposer.Name + ", approved by " + a.DecidedBy, Roles: proposer.Roles}
	ctx = context.WithValue(context.WithValue(ctx, actorKey{}, who), runKey{}, running)
	answer := &held{header: make(http.Header)}
	h.approved.ServeHTTP(answer, r.WithContext(ctx))
	if !running.found {
		return nil, fail(http.StatusConflict, access.RulePlan, "the plan of proposal %s (%s %s) is none that this server knows: propose it again", a.ID, p.Method, p.Path)
	}
	if running.err != nil {
		return nil, running.err
	}
	return bytes.TrimSpace(answer.body.Bytes()), nil
}

// approvedRoute is a route as carryOut reaches it.
func approvedRoute(route route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		running := r.Context().Value(runKey{}).(*run)
		running.found = true
		if who := caller(r); !admits(who, route.operation) {
			running.err = denied(who, route.operation)
			return
		}
		running.err = route.fn(w, r)
	}
}

// held keeps an answer until the approval is recorded as done.
type held struct {
	header http.Header
	body   bytes.Buffer
}

func (h *held) Header() http.Header         { return h.header }
func (h *held) WriteHeader(int)             {}
func (h *held) Write(b []byte) (int, error) { return h.body.Write(b) }

// denied is the answer to a principal whose roles do not allow an operation.
func denied(who access.Principal, op access.Operation) error {
	return fail(http.StatusForbidden, "role", "%q may not do %s: see mintmark officer list and docs/roles.md for who may", who.Name, op)
}
