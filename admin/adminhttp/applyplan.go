package adminhttp

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"mintmark/admin"
	"mintmark/internal/access"
	"mintmark/internal/reconcile"
)

// planned is a target of a cloud, as far as its plan is read and carried out.
type planned struct {
	kind, name string // "AWS target", "line-a"
	plan       func(ctx context.Context) (reconcile.Plan, error)
	apply      func(ctx context.Context, agreed reconcile.Agreed, progress func(reconcile.Change)) (reconcile.Plan, error)
	failed     func(error) *failure // makes an answer of an error of these two
}

// applyPlan carries out a plan. What takes something out of service needs two
// persons, who agree on the hash of the plan. The plan is made again when it is
// carried out, and whatever of it was not agreed to here is not done. It streams:
// once the first line is out, an error is the last line.
func (h *handler) applyPlan(w http.ResponseWriter, r *http.Request, t planned) error {
	var in admin.Apply
	if err := decode(r, &in); err != nil {
		return err
	}
	plan, err := t.plan(r.Context())
	if err != nil {
		return t.failed(err)
	}
	sum := plan.Hash()
	now := hex.EncodeToString(sum[:])
	if in.Hash != "" && now != in.Hash {
		return fail(http.StatusConflict, "plan-changed", "the plan is not the one that was read (its hash is %s now): read it again", now)
	}
	if err := plan.Refusals(t.kind); err != nil {
		return fail(http.StatusConflict, "plan-refused", "%v", err)
	}
	agreed := reconcile.Agreed{Destructive: plan.Destructive()}
	if in.Hash != "" || agreed.Destructive {
		agreed.Hash = sum
	}
	if agreed.Destructive {
		in.Hash = now // what is signed names the plan
		words := retireWords(fmt.Sprintf("%s %q", t.kind, t.name), plan, now)
		if proceed, err := h.twoPersons(w, r, access.CloudRetire, words, in); !proceed {
			return err
		}
	}
	if _, approved := r.Context().Value(runKey{}).(*run); approved {
		// Its answer is recorded, and nobody reads along.
		done, err := t.apply(r.Context(), agreed, func(reconcile.Change) {})
		if err != nil {
			return t.failed(err)
		}
		return writeJSON(w, http.StatusOK, wirePlan(done))
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	stream := &ndjson{encoder: json.NewEncoder(w), flush: http.NewResponseController(w)}
	done, err := t.apply(r.Context(), agreed, func(c reconcile.Change) {
		change := wireChange(c)
		stream.send(admin.Progress{Change: &change})
	})
	if err != nil {
		refusal := t.failed(err)
		stream.send(admin.Progress{Error: &admin.Error{Rule: refusal.rule, Text: refusal.text, RequestID: w.Header().Get("X-Request-Id")}})
		return refusal
	}
	last := wirePlan(done)
	stream.send(admin.Progress{Done: &last})
	return stream.err
}

// maxWords bounds how many changes the words of a proposal list; the hash covers
// the rest.
const maxWords = 20

// retireWords say what a plan takes out of service, or back into it. The target is as in AWS target
// "line-a".
func retireWords(target string, plan reconcile.Plan, hash string) string {
	var list []string
	others, more := 0, 0
	for _, c := range plan.Changes {
		switch {
		case !c.Mutates():
		case !c.Destructive:
			others++
		case len(list) == maxWords:
			more++
		default:
			words := fmt.Sprintf("%s %s %q", c.Action, c.Kind, c.Subject)
			if c.Before != "" || c.After != "" {
				words += fmt.Sprintf(" (from %q to %q)", c.Before, c.After)
			}
			list = append(list, words)
		}
	}
	text := fmt.Sprintf("change what is in service at %s: %s", target, strings.Join(list, "; "))
	if more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	if others > 0 {
		text += fmt.Sprintf("; with %d other changes", others)
	}
	return text + "; plan " + hash
}

// ndjson writes one JSON value a line, each at once.
type ndjson struct {
	encoder *json.Encoder
	flush   *http.ResponseController
	err     error
}

func (s *ndjson) send(line any) {
	if s.err != nil {
		return
	}
	if s.err = s.encoder.Encode(line); s.err == nil {
		s.err = s.flush.Flush()
	}
}
