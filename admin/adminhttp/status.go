package adminhttp

import (
	"net/http"

	"mintmark/admin"
	"mintmark/internal/access"
)

func (h *handler) status(w http.ResponseWriter, r *http.Request) error {
	records, err := h.Ledger.Authorities(r.Context())
	if err != nil {
		return err
	}
	backlog, err := h.Ledger.Backlog(r.Context())
	if err != nil {
		return err
	}
	unlisted, err := h.Ledger.RevocationsSince(r.Context())
	if err != nil {
		return err
	}
	people, err := h.Ledger.Principals(r.Context())
	if err != nil {
		return err
	}
	enrollments, err := h.waiting(r.Context())
	if err != nil {
		return err
	}
	s := admin.Status{
		Version: h.Version, Server: h.RA.Server, Time: h.RA.Now().UTC(), Actor: actor(r),
		Ledger: "ok", Unprotected: access.Unprotected(people), Authorities: len(records), Waiting: len(h.RA.Waiting()),
		Profiles:   h.profiles(),
		AWSTargets: h.targets(), Backlog: backlog, UnlistedRevocations: unlisted,
		PendingEnrollments: enrollments,
	}
	if err := h.Ledger.Health(); err != nil {
		s.Ledger = err.Error()
	}
	return writeJSON(w, http.StatusOK, s)
}
