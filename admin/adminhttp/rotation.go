package adminhttp

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"mintmark/admin"
	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

func (h *handler) rotationRoutes() []route {
	return []route{
		{"GET /v1/rotations", access.RotationRead, h.listRotations},
		{"POST /v1/rotations", access.RotationPlan, h.planRotation},
		{"GET /v1/rotations/{id}", access.RotationRead, h.showRotation},
		{"GET /v1/rotations/{id}/journal", access.RotationRead, h.rotationJournal},
		{"POST /v1/rotations/{id}/sign", access.RotationSign, h.signRotation},
		{"POST /v1/rotations/{id}/run", access.RotationRun, h.runRotation},
		{"POST /v1/rotations/{id}/bring", access.RotationBring, h.bringRotation},
		{"POST /v1/rotations/{id}/pause", access.RotationRollback, h.pauseRotation},
		{"POST /v1/rotations/{id}/resume", access.RotationRollback, h.resumeRotation},
		{"POST /v1/rotations/{id}/rollback", access.RotationRollback, h.rollBackRotation},
	}
}

func (h *handler) listRotations(w http.ResponseWriter, r *http.Request) error {
	if q := query(r); q.err != nil {
		return q.err
	}
	records, err := h.Ledger.Rotations(r.Context())
	if err != nil {
		return err
	}
	out := admin.Rotations{Rotations: make([]admin.Rotation, 0, len(records))}
	for _, record := range records {
		out.Rotations = append(out.Rotations, wireRotation(record))
	}
	return writeJSON(w, http.StatusOK, out)
}

// planRotation records a plan and changes nothing else: what it says is done after
// officers have signed it.
func (h *handler) planRotation(w http.ResponseWriter, r *http.Request) error {
	var in admin.RotationSpec
	if err := decode(r, &in); err != nil {
		return err
	}
	spec, err := h.rotationSpec(in)
	if err != nil {
		return err
	}
	record, _, err := h.Rotations.Plan(r.Context(), spec, actor(r))
	if err != nil {
		return rotationFailure(err)
	}
	h.Logger.Info("a rotation was planned", "rotation", record.ID, "kind", record.Kind, "old", record.Old, "new", record.New,
		"emergency", record.Emergency, "hash", rotation.PlanHash(record), "actor", actor(r))
	return h.answerRotation(w, r, http.StatusCreated, record.ID)
}

func (h *handler) showRotation(w http.ResponseWriter, r *http.Request) error {
	if q := query(r); q.err != nil {
		return q.err
	}
	record, err := h.rotation(r)
	if err != nil {
		return err
	}
	return h.answerRotation(w, r, http.StatusOK, record.ID)
}

func (h *handler) rotationJournal(w http.ResponseWriter, r *http.Request) error {
	q := query(r, "after", "limit")
	limit, after := q.limit(), int64(0)
	if text := q.text("after"); text != "" {
		var err error
		if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 0 {
			q.refuse("after %q is not the number of an entry", text)
		}
	}
	if q.err != nil {
		return q.err
	}
	record, err := h.rotation(r)
	if err != nil {
		return err
	}
	entries, err := h.Ledger.RotationJournal(r.Context(), record.ID, after, limit)
	if err != nil {
		return err
	}
	out := admin.RotationJournal{Entries: make([]admin.RotationEntry, 0, len(entries))}
	for _, e := range entries {
		out.Entries = append(out.Entries, wireEntry(e))
	}
	if len(entries) == limit {
		out.Next = entries[limit-1].Number
	}
	return writeJSON(w, http.StatusOK, out)
}

// signRotation takes the caller's own signature, and no other's: who is signed for is who
// the socket or the certificate says.
func (h *handler) signRotation(w http.ResponseWriter, r *http.Request) error {
	var in admin.RotationSign
	if err := decode(r, &in); err != nil {
		return err
	}
	record, err := h.rotation(r)
	if err != nil {
		return err
	}
	gate := rotation.State(shorten(in.Gate))
	if _, err := h.Rotations.Sign(r.Context(), record.ID, gate, actor(r), in.Signature); err != nil {
		return rotationFailure(err)
	}
	h.Logger.Info("a gate of a rotation was signed", "rotation", record.ID, "gate", gate, "hash", rotation.PlanHash(record), "actor", actor(r))
	return h.answerRotation(w, r, http.StatusOK, record.ID)
}

// bringRotation takes what was made elsewhere. Two persons sign which certificates they are:
// the plan cannot name what is made after it was signed.
func (h *handler) bringRotation(w http.ResponseWriter, r *http.Request) error {
	var in admin.RotationBring
	if err := decode(r, &in); err != nil {
		return err
	}
	record, err := h.rotation(r)
	if err != nil {
		return err
	}
	certificates, err := broughtCertificates(in.Certificates)
	if err != nil {
		return err
	}
	if err := h.Rotations.MayBring(r.Context(), record.ID, certificates); err != nil {
		return rotationFailure(err)
	}
	if proceed, err := h.twoPersons(w, r, access.RotationBring, bringWords(record, certificates), in); !proceed {
		return err
	}
	words, err := h.Rotations.Bring(r.Context(), record.ID, certificates, actor(r))
	if err != nil {
		return rotationFailure(err)
	}
	h.Logger.Info("a ceremony has brought certificates of a rotation", "rotation", record.ID, "brought", words, "actor", actor(r))
	return writeJSON(w, http.StatusOK, admin.RotationBrought{Brought: append([]string{}, words...)})
}

// bringWords name every certificate once, in the order in which they come.
func bringWords(record ledger.Rotation, certificates []*x509.Certificate) string {
	var each []string
	for _, c := range certificates {
		text := fmt.Sprintf("subject %q, issuer %q, valid until %s, certificate SHA-256 %x", c.Subject.String(), c.Issuer.String(), c.NotAfter.UTC().Format(time.RFC3339), sha256.Sum256(c.Raw))
		if !slices.Contains(each, text) {
			each = append(each, text)
		}
	}
	return fmt.Sprintf("bring what was made elsewhere for rotation %s from %q to %q, %d in number: %s", record.ID, record.Old, record.New, len(each), strings.Join(each, "; "))
}

func (h *handler) pauseRotation(w http.ResponseWriter, r *http.Request) error {
	reason, err := rotationReason(r)
	if err != nil {
		return err
	}
	return h.setPaused(w, r, reason)
}

func (h *handler) resumeRotation(w http.ResponseWriter, r *http.Request) error {
	if err := decode(r, &struct{}{}); err != nil {
		return err
	}
	return h.setPaused(w, r, "")
}

func (h *handler) setPaused(w http.ResponseWriter, r *http.Request, reason string) error {
	record, err := h.rotation(r)
	if err != nil {
		return err
	}
	if record, err = h.Rotations.Pause(r.Context(), record.ID, reason, actor(r)); err != nil {
		return rotationFailure(err)
	}
	h.Logger.Info("a rotation was paused or resumed", "rotation", record.ID, "paused", record.Paused, "actor", actor(r))
	return writeJSON(w, http.StatusOK, wireRotation(record))
}

// rotation finds the one that the path names.
func (h *handler) rotation(r *http.Request) (ledger.Rotation, error) {
	return h.rotationByID(r.Context(), r.PathValue("id"))
}

func (h *handler) rotationByID(ctx context.Context, id string) (ledger.Rotation, error) {
	records, err := h.Ledger.Rotations(ctx)
	if err != nil {
		return ledger.Rotation{}, err
	}
	for _, record := range records {
		if record.ID == id {
			return record, nil
		}
	}
	return ledger.Rotation{}, fail(http.StatusNotFound, "rotation", "there is no rotation %q: mintmark rotate list shows them", shorten(id))
}

// answerRotation answers with a rotation as it stands. What its next gate measures comes
// from outside: if that fails, the rotation is shown all the same, with the reason.
func (h *handler) answerRotation(w http.ResponseWriter, r *http.Request, status int, id string) error {
	result, err := h.Rotations.Status(r.Context(), id)
	if err != nil {
		failure := rotationFailure(err)
		record, found := h.rotationByID(r.Context(), id)
		if found != nil {
			return failure
		}
		_, told := describe(failure)
		h.Logger.Warn("measuring the gate of a rotation", "rotation", id, "error", err)
		result = rotation.Result{Rotation: record, Next: rotation.State(record.State).Next(), Blocked: []string{"the next gate could not be measured: " + told.Text}}
	}
	out := wireRotationStatus(result)
	if err := h.tell(r.Context(), result.Rotation, &out); err != nil {
		return err
	}
	return writeJSON(w, status, out)
}

// lastEntries is how many lines of a journal are read for what has failed: one state has
// fewer, unless it was tried many times.
const lastEntries = 200

// tell adds what the last lines of the journal say: how a rotation has ended, or which steps
// have failed and were not done since.
func (h *handler) tell(ctx context.Context, record ledger.Rotation, out *admin.RotationStatus) error {
	// One line comes with each version, and both count from 1.
	entries, err := h.Ledger.RotationJournal(ctx, record.ID, max(0, record.Version-lastEntries), lastEntries)
	if err != nil || len(entries) == 0 {
		return err
	}
	if rotation.State(record.State).Over() {
		out.End = entries[len(entries)-1].Text
		return nil
	}
	failed := make(map[string]ledger.RotationEntry)
	for _, e := range entries {
		switch {
		case e.Step == "enter" || e.Step == "rollback":
			clear(failed)
		case e.Event == "failed":
			failed[e.Step] = e
		case e.Event == "done":
			delete(failed, e.Step)
		}
	}
	for _, step := range slices.Sorted(maps.Keys(failed)) {
		e := failed[step]
		out.Failed = append(out.Failed, fmt.Sprintf("%s, on the way to %s, on %s: %s", step, e.State, e.At.UTC().Format("2006-01-02 15:04 UTC"), e.Text))
	}
	return nil
}

// rotationReason reads why a rotation is stopped.
func rotationReason(r *http.Request) (string, error) {
	var in admin.RotationReason
	if err := decode(r, &in); err != nil {
		return "", err
	}
	if in.Reason == "" { // which would resume it
		return "", fail(http.StatusBadRequest, "rotation-spec", "say why in reason: it is in the journal, and who goes on must know")
	}
	return in.Reason, nil
}

// broughtCertificates reads what a ceremony has made.
func broughtCertificates(text string) ([]*x509.Certificate, error) {
	const rule = "rotation-certificates"
	var list []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fail(http.StatusBadRequest, rule, "certificates holds a %q: only certificates belong there", shorten(block.Type))
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fail(http.StatusBadRequest, rule, "certificate %d cannot be parsed: %v", len(list)+1, err)
		}
		list = append(list, certificate)
	}
	if len(list) == 0 {
		return nil, fail(http.StatusBadRequest, rule, "certificates holds no certificate in PEM")
	}
	return list, nil
}

// refusedRotations are the statuses of what package rotation refuses; 409 for the others.
var refusedRotations = map[string]int{
	"rotation-spec":      http.StatusBadRequest,
	"rotation-signature": http.StatusForbidden,
	"rotation-signer":    http.StatusForbidden,
}

// rotationFailure makes an answer of an error of a rotation. What a key, a cloud or a
// check of paths says is for the person who runs it, and holds no secrets.
func rotationFailure(err error) error {
	var refused *rotation.Refused
	var waiting *rotation.Waiting
	switch {
	case errors.As(err, &refused):
		status := refusedRotations[refused.Rule]
		if status == 0 {
			status = http.StatusConflict
		}
		f := fail(status, refused.Rule, "%s", refused)
		f.err = err
		return f
	case errors.As(err, &waiting):
		return fail(http.StatusConflict, "rotation-waiting", "%s", waiting.What)
	case errors.Is(err, ledger.ErrStale):
		return fail(http.StatusConflict, "rotation-stale", "another has moved this rotation meanwhile: see mintmark rotate status, and try again")
	case errors.Is(err, ledger.ErrTaken):
		return fail(http.StatusConflict, "rotation-overlap", "another rotation is not over: only one may run at a time")
	}
	return administrator(err)
}
