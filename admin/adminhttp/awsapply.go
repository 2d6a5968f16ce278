package adminhttp

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"mintmark/admin"
	"mintmark/awsreg"
	"mintmark/internal/access"
	"mintmark/internal/reconcile"
)

// applyAWS carries out a plan. What takes something out of service needs two
// persons, who agree on the hash of the plan. The plan is made again when it is
// carried out, and whatever of it was not agreed to here is not done. It streams:
// once the first line is out, an error is the last line.
func (h *handler) applyAWS(w http.ResponseWriter, r *http.Request) error {
	name, err := h.target(r)
	if err != nil {
		return err
	}
	var in admin.AWSApply
	if err := decode(r, &in); err != nil {
		return err
	}
	plan, err := h.AWS.Plan(r.Context(), name)
	if err != nil {
		return fromAWS(err)
	}
	sum := plan.Hash()
	now := hex.EncodeToString(sum[:])
	if in.Hash != "" && now != in.Hash {
		return fail(http.StatusConflict, "plan-changed", "the plan is not the one that was read (its hash is %s now): read it again", now)
	}
	if err := awsreg.Refusals(plan); err != nil {
		return fail(http.StatusConflict, "plan-refused", "%v", err)
	}
	agreed := awsreg.Agreed{Destructive: plan.Destructive()}
	if in.Hash != "" || agreed.Destructive {
		agreed.Hash = sum
	}
	if agreed.Destructive {
		in.Hash = now // what is signed names the plan
		if proceed, err := h.twoPersons(w, r, access.CloudRetire, retireWords(name, plan, now), in); !proceed {
			return err
		}
	}
	if _, approved := r.Context().Value(runKey{}).(*run); approved {
		// Its answer is recorded, and nobody reads along.
		done, err := h.AWS.Apply(r.Context(), name, agreed, func(reconcile.Change) {})
		if err != nil {
			return fromAWS(err)
		}
		return writeJSON(w, http.StatusOK, wirePlan(done))
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	stream := &ndjson{encoder: json.NewEncoder(w), flush: http.NewResponseController(w)}
	done, err := h.AWS.Apply(r.Context(), name, agreed, func(c reconcile.Change) {
		change := wireChange(c)
		stream.send(admin.AWSProgress{Change: &change})
	})
	if err != nil {
		refusal := fromAWS(err)
		stream.send(admin.AWSProgress{Error: &admin.Error{Rule: refusal.rule, Text: refusal.text, RequestID: w.Header().Get("X-Request-Id")}})
		return refusal
	}
	last := wirePlan(done)
	stream.send(admin.AWSProgress{Done: &last})
	return stream.err
}

// maxWords bounds how many changes the words of a proposal list; the hash covers
// the rest.
const maxWords = 20

// retireWords say what a plan takes out of service.
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
	text := fmt.Sprintf("take out of service at AWS target %q: %s", target, strings.Join(list, "; "))
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
