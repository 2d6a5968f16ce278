package adminhttp

import (
	"context"
	"encoding/json"
	"net/http"

	"mintmark/admin"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// runRotation moves a rotation. It streams the journal: once the first line is out, an
// error is the last line. A caller that hangs up stops it after the step that is under
// way, and the next run goes on from there.
func (h *handler) runRotation(w http.ResponseWriter, r *http.Request) error {
	var in admin.RotationRun
	if err := decode(r, &in); err != nil {
		return err
	}
	to := rotation.State(shorten(in.To))
	return h.moveRotation(w, r, func(ctx context.Context, id string, progress rotation.Progress) (rotation.Result, error) {
		return h.Rotations.Run(ctx, id, to, actor(r), progress)
	})
}

// rollBackRotation takes back what a rotation has done, in the same way.
func (h *handler) rollBackRotation(w http.ResponseWriter, r *http.Request) error {
	reason, err := rotationReason(r)
	if err != nil {
		return err
	}
	return h.moveRotation(w, r, func(ctx context.Context, id string, progress rotation.Progress) (rotation.Result, error) {
		return h.Rotations.Rollback(ctx, id, reason, actor(r), progress)
	})
}

func (h *handler) moveRotation(w http.ResponseWriter, r *http.Request, move func(context.Context, string, rotation.Progress) (rotation.Result, error)) error {
	before, err := h.rotation(r)
	if err != nil {
		return err
	}
	var stream *ndjson
	begin := func() {
		if stream == nil {
			w.Header().Set("Content-Type", "application/x-ndjson")
			stream = &ndjson{encoder: json.NewEncoder(w), flush: http.NewResponseController(w)}
		}
	}
	result, err := move(r.Context(), before.ID, func(e ledger.RotationEntry) {
		begin()
		entry := wireEntry(e)
		stream.send(admin.RotationProgress{Entry: &entry})
	})
	if err != nil {
		err = rotationFailure(err)
		if stream != nil {
			_, told := describe(err)
			told.RequestID = w.Header().Get("X-Request-Id")
			stream.send(admin.RotationProgress{Error: &told})
		}
		return err
	}
	begin()
	h.Logger.Info("a rotation was moved", "rotation", before.ID, "from", before.State, "state", result.Rotation.State,
		"blocked", result.Blocked, "actor", actor(r))
	done := admin.RotationDone{RotationStatus: wireRotationStatus(result), Moved: result.Rotation.State != before.State}
	if err := h.tell(r.Context(), result.Rotation, &done.RotationStatus); err != nil {
		h.Logger.Warn("reading the last lines of a rotation", "rotation", before.ID, "error", err)
	}
	stream.send(admin.RotationProgress{Done: &done})
	return stream.err
}
