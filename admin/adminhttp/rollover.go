package adminhttp

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"mintmark/admin"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

func (h *handler) rolloverRoutes() []route {
	return []route{
		{"GET /v1/rollovers", access.AuthorityRead, h.listRollovers},
		{"POST /v1/rollovers", access.AuthorityRollover, h.beginRollover},
		{"POST /v1/rollovers/end", access.AuthorityRollover, h.endRollover},
	}
}

func (h *handler) listRollovers(w http.ResponseWriter, r *http.Request) error {
	records, err := h.RA.Rollovers(r.Context())
	if err != nil {
		return err
	}
	out := admin.Rollovers{Rollovers: make([]admin.Rollover, 0, len(records))}
	for _, record := range records {
		one, err := h.wireRollover(r.Context(), record)
		if err != nil {
			return err
		}
		out.Rollovers = append(out.Rollovers, one)
	}
	return writeJSON(w, http.StatusOK, out)
}

func (h *handler) beginRollover(w http.ResponseWriter, r *http.Request) error {
	var in admin.RolloverSpec
	if err := decode(r, &in); err != nil {
		return err
	}
	made, err := bridgeFiles(in)
	if err != nil {
		return err
	}
	plan, err := h.RA.PlanRolloverWith(r.Context(), in.Old, in.New, in.Compromised, made)
	if err != nil {
		return err
	}
	if proceed, err := h.twoPersons(w, r, access.AuthorityRollover, rolloverWords(plan, made), in); !proceed {
		return err
	}
	record, err := h.RA.BeginRolloverWith(r.Context(), in.Old, in.New, in.Compromised, made, h.requester(r))
	if err != nil {
		return administrator(err)
	}
	return h.answerRollover(w, r, http.StatusCreated, record)
}

// bridgeFiles reads the certificates that a rollover brings.
func bridgeFiles(in admin.RolloverSpec) (made issuer.BridgeFiles, err error) {
	for _, one := range []struct {
		field, text string
		into        **x509.Certificate
	}{{"old_with_new", in.OldWithNew, &made.OldWithNew}, {"new_with_old", in.NewWithOld, &made.NewWithOld}} {
		if one.text == "" {
			continue
		}
		list, err := parseBundle(one.text)
		if err != nil {
			return made, err
		}
		if len(list) != 1 {
			return made, fail(http.StatusBadRequest, "rollover-certificate", "%s holds %d certificates: it is the one of a root's key by the other root", one.field, len(list))
		}
		*one.into = list[0]
	}
	return made, nil
}

func (h *handler) endRollover(w http.ResponseWriter, r *http.Request) error {
	var in admin.RolloverEnd
	if err := decode(r, &in); err != nil {
		return err
	}
	running, err := h.RA.RunningRollover(r.Context(), in.Old, in.New)
	if err != nil {
		return err
	}
	words := fmt.Sprintf("end the rollover from root CA %q to root CA %q, which began on %s: devices are no longer given what leads from one to the other",
		in.Old, in.New, running.At.UTC().Format(time.RFC3339))
	if proceed, err := h.twoPersons(w, r, access.AuthorityRollover, words, in); !proceed {
		return err
	}
	record, err := h.RA.EndRollover(r.Context(), in.Old, in.New, h.requester(r))
	if err != nil {
		return administrator(err)
	}
	return h.answerRollover(w, r, http.StatusOK, record)
}

func (h *handler) answerRollover(w http.ResponseWriter, r *http.Request, status int, record ledger.Rollover) error {
	// It is recorded: its caller's hanging up changes nothing.
	out, err := h.wireRollover(context.WithoutCancel(r.Context()), record)
	if err != nil {
		return err
	}
	return writeJSON(w, status, out)
}

// wireRollover puts a record on the wire.
func (h *handler) wireRollover(ctx context.Context, record ledger.Rollover) (admin.Rollover, error) {
	out := admin.Rollover{
		Old: record.Old, New: record.New, Running: record.EndedAt.IsZero(), Compromised: len(record.NewWithOld) == 0,
		At: record.At.UTC(), Actor: record.Actor, EndedAt: utc(record.EndedAt), EndedBy: record.EndedBy,
	}
	var err error
	if out.OldWithNew, err = h.wireBridge(ctx, record.OldWithNew); err == nil && !out.Compromised {
		out.NewWithOld, err = h.wireBridge(ctx, record.NewWithOld)
	}
	return out, err
}

func (h *handler) wireBridge(ctx context.Context, der []byte) (*admin.Bridge, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing a certificate of a rollover: %w", err)
	}
	serial := issuer.SerialOf(c.SerialNumber)
	record, err := h.Ledger.Certificate(ctx, serial)
	if err != nil {
		return nil, fmt.Errorf("looking up certificate %s of a rollover: %w", serial, err)
	}
	return &admin.Bridge{Serial: string(serial), State: string(record.State), NotAfter: c.NotAfter.UTC(), PEM: encodePEM("CERTIFICATE", der)}, nil
}

// rolloversOf lists the rollovers that run and concern the root of an authority.
func (h *handler) rolloversOf(ctx context.Context, name string) ([]admin.Rollover, error) {
	a, err := h.RA.Authority(name)
	if errors.Is(err, issuer.ErrNoAuthority) {
		return nil, nil // made on another server, and not known here yet
	}
	if err != nil {
		return nil, err
	}
	records, err := h.RA.Rollovers(ctx)
	if err != nil {
		return nil, err
	}
	var list []admin.Rollover
	for _, record := range records {
		if !record.EndedAt.IsZero() || !h.isRootOf(record.Old, a.Root()) && !h.isRootOf(record.New, a.Root()) {
			continue
		}
		one, err := h.wireRollover(ctx, record)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

func (h *handler) isRootOf(name string, root *x509.Certificate) bool {
	a, err := h.RA.Authority(name)
	return err == nil && a.Certificate().Equal(root)
}
