package adminhttp

import (
	"context"
	"fmt"
	"net/http"

	"mintmark/admin"
	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

// minute is how texts for people say a time, as the command line does.
const minute = "2006-01-02 15:04 UTC"

func (h *handler) status(w http.ResponseWriter, r *http.Request) error {
	records, err := h.Ledger.Authorities(r.Context())
	if err != nil {
		return err
	}
	backlog, err := h.Ledger.Backlog(r.Context())
	if err != nil {
		return err
	}
	changes, err := h.Ledger.RevocationsSince(r.Context())
	if err != nil {
		return err
	}
	unlisted := make(map[string]int)
	for name, n := range changes {
		unlisted[name.Issuer] += n
	}
	elsewhere, err := h.RA.CRLsElsewhere(r.Context())
	if err != nil {
		return err
	}
	var crls []string
	for _, one := range elsewhere {
		// The ledger counts by the CRLs that were signed here.
		if delete(unlisted, one.Authority); one.Unlisted > 0 {
			unlisted[one.Authority] = one.Unlisted
		}
		if one.Finding != "" {
			crls = append(crls, one.Finding)
		}
	}
	people, err := h.Ledger.Principals(r.Context())
	if err != nil {
		return err
	}
	enrollments, causes, err := h.undecided(r.Context())
	if err != nil {
		return err
	}
	s := admin.Status{
		Version: h.Version, Server: h.RA.Server, Time: h.RA.Now().UTC(), Actor: actor(r),
		Ledger: "ok", Unprotected: access.Unprotected(people), Authorities: len(records), Waiting: len(h.RA.Waiting()),
		Profiles:   h.profiles(),
		AWSTargets: h.awsTargets(), AzureTargets: h.azureTargets(), Backlog: backlog, UnlistedRevocations: unlisted, CRLs: crls, CRLPlaces: h.crlPlaces(),
		PendingEnrollments: enrollments, PendingCauses: causes,
	}
	if err := h.Ledger.Health(); err != nil {
		s.Ledger = err.Error()
	}
	for _, name := range s.AWSTargets {
		drift, _, err := h.AWS.Drift(name)
		switch {
		case err != nil:
			s.AWSDrift = append(s.AWSDrift, fmt.Sprintf("AWS target %q: %v", name, err))
		case drift.Unknown > 0:
			s.AWSDrift = append(s.AWSDrift, fmt.Sprintf("AWS target %q has %d certificates under our CAs that were never issued here: the key of a CA may be in other hands (mintmark aws drift)", name, drift.Unknown))
		case len(drift.Left) > 0:
			s.AWSDrift = append(s.AWSDrift, fmt.Sprintf("AWS target %q and the ledger differ about %d certificates: mintmark aws drift shows them", name, len(drift.Left)))
		}
	}
	for _, name := range s.AzureTargets {
		drift, _, err := h.Azure.Drift(name)
		switch {
		case err != nil:
			s.AzureDrift = append(s.AzureDrift, fmt.Sprintf("DPS target %q: %v", name, err))
		case len(drift.Left) > 0:
			s.AzureDrift = append(s.AzureDrift, fmt.Sprintf("DPS target %q and the ledger differ about %d devices: mintmark azure drift shows them", name, len(drift.Left)))
		}
	}
	if h.Outstanding != nil {
		if s.Outstanding, err = h.Outstanding(r.Context()); err != nil {
			return err
		}
	}
	h.rotating(caller(r), &s)
	s.Tokens = h.tokenWords()
	return writeJSON(w, http.StatusOK, s)
}

// rotating says which rotations run, and what of the configuration they have left behind, to
// who may see rotations.
func (h *handler) rotating(who access.Principal, s *admin.Status) {
	if !who.Can(access.RotationRead) {
		return
	}
	for _, r := range h.RA.KnownRotations() {
		if !rotation.State(r.State).Over() {
			s.Rotations = append(s.Rotations, admin.RunningRotation{ID: r.ID, Old: r.Old, New: r.New, Emergency: r.Emergency, State: r.State, Since: r.Since.UTC(), Paused: r.Paused})
		}
	}
	if h.Replaced != nil {
		s.Replaced = h.Replaced()
	}
}

// undecided counts the requests that wait for a person, up to a page of them, and
// by cause.
func (h *handler) undecided(ctx context.Context) (int, map[string]int, error) {
	list, err := h.Ledger.Enrollments(ctx, ledger.EnrollmentQuery{State: ledger.EnrollmentPending, Now: h.RA.Now(), Limit: admin.MaxPage})
	causes := make(map[string]int)
	for _, e := range list {
		causes[e.Cause]++
	}
	return len(list), causes, err
}
