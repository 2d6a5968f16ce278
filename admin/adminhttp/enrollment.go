package adminhttp

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"mintmark/admin"
	"mintmark/ca"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

// maxDecision bounds how long a decision lasts: a person has looked at this
// request, not at the device for ever.
const maxDecision = 90 * 24 * time.Hour

func (h *handler) enrollmentRoutes() []route {
	return []route{
		{"GET /v1/enrollments", access.EnrollmentRead, h.listEnrollments},
		{"GET /v1/enrollments/{id}", access.EnrollmentRead, h.showEnrollment},
		{"POST /v1/enrollments/{id}/approve", access.EnrollmentDecide, h.decideEnrollment(true)},
		{"POST /v1/enrollments/{id}/reject", access.EnrollmentDecide, h.decideEnrollment(false)},
	}
}

func (h *handler) listEnrollments(w http.ResponseWriter, r *http.Request) error {
	p := query(r, "state", "device", "label", "after", "limit")
	state := p.oneOf("state", admin.EnrollmentPending, admin.EnrollmentApproved, admin.EnrollmentRejected, admin.EnrollmentIssued, admin.EnrollmentExpired)
	q := ledger.EnrollmentQuery{Device: p.text("device"), Label: p.text("label"), After: p.text("after"), Limit: p.limit()}
	if p.err != nil {
		return p.err
	}
	if state != admin.EnrollmentExpired {
		q.State = ledger.EnrollmentState(state)
	}
	if state == admin.EnrollmentPending || state == admin.EnrollmentApproved || state == admin.EnrollmentRejected {
		q.Now = h.RA.Now()
	}
	list, err := h.Ledger.Enrollments(r.Context(), q)
	if err != nil {
		return err
	}
	out := admin.Enrollments{Enrollments: make([]admin.Enrollment, 0, len(list))}
	for _, e := range list {
		if one := h.wireEnrollment(e); state == "" || one.State == state {
			out.Enrollments = append(out.Enrollments, one)
		}
	}
	if len(list) == q.Limit {
		out.Next = list[q.Limit-1].ID
	}
	return writeJSON(w, http.StatusOK, out)
}

func (h *handler) showEnrollment(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if !isText(id) {
		return unknownEnrollment(id)
	}
	e, err := h.Ledger.Enrollment(r.Context(), id)
	if errors.Is(err, ledger.ErrNotFound) {
		return unknownEnrollment(id)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, h.fullEnrollment(e))
}

// decideEnrollment approves or rejects.
func (h *handler) decideEnrollment(approve bool) operation {
	return func(w http.ResponseWriter, r *http.Request) error {
		var in admin.Decision
		if err := decode(r, &in); err != nil {
			return err
		}
		length := time.Duration(in.ForSeconds) * time.Second
		switch {
		case len(in.Note) > maxNote:
			return fail(http.StatusBadRequest, "note", "the note has %d bytes; %d are allowed", len(in.Note), maxNote)
		case !isText(in.Note) || strings.ContainsFunc(in.Note, unicode.IsControl):
			return fail(http.StatusBadRequest, "note", "the note must be one line of text")
		case in.ForSeconds == 0:
			length = h.RA.ApprovalTTL
		case in.ForSeconds < 60 || in.ForSeconds > int64(maxDecision/time.Second):
			return fail(http.StatusBadRequest, "enrollment-length", "a decision lasts from a minute to %d days, and not %d seconds", maxDecision/(24*time.Hour), in.ForSeconds)
		}
		id := r.PathValue("id")
		if !isText(id) {
			return unknownEnrollment(id)
		}
		now := h.RA.Now()
		e, err := h.Ledger.DecideEnrollment(r.Context(), id, approve, actor(r), in.Note, now, now.Add(length))
		if err != nil {
			return fromEnrollment(err, id)
		}
		out := h.fullEnrollment(e)
		h.Logger.Info("enrollment "+string(e.State), "enrollment", e.ID, "device", e.Device, "label", e.Label, "cause", e.Cause,
			"certificate_subject", out.CertificateSubject, "names", out.Names,
			"key", hexOf(e.Key[:]), "other", e.Other, "expires", e.ExpiresAt, "note", e.Note, "actor", e.DecidedBy)
		return writeJSON(w, http.StatusOK, out)
	}
}

// enrollmentTexts say what a decision ran into, by ledger.EnrollmentError.Why.
var enrollmentTexts = map[string]string{
	"issued":  "request %q has got its certificate: to take that away, revoke it (mintmark enroll show tells its serial number)",
	"expired": "request %q is over: nobody decided, or the device did not come back, in time; its next request waits anew",
}

func fromEnrollment(err error, id string) error {
	var state *ledger.EnrollmentError
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return unknownEnrollment(id)
	case errors.As(err, &state) && state.Why == "unknown":
		return unknownEnrollment(id)
	case errors.As(err, &state) && enrollmentTexts[state.Why] != "":
		return &failure{status: http.StatusConflict, rule: "enrollment-" + state.Why, text: fmt.Sprintf(enrollmentTexts[state.Why], id), err: err}
	}
	return err
}

func unknownEnrollment(id string) error {
	return fail(http.StatusNotFound, "not-found", "no request waits under %q: mintmark enroll list shows those that do", shorten(id))
}

// wireEnrollment puts a record on the wire, without the request itself.
func (h *handler) wireEnrollment(e ledger.Enrollment) admin.Enrollment {
	out := admin.Enrollment{
		ID: e.ID, State: string(e.State), Label: e.Label, Profile: e.Profile, Device: e.Device, Cause: e.Cause, Subject: e.Subject,
		Key: hexOf(e.Key[:]), Other: string(e.Other), Requester: wireRequester(e.Requester),
		At: e.At.UTC(), ExpiresAt: e.ExpiresAt.UTC(), DecidedAt: utc(e.DecidedAt), DecidedBy: e.DecidedBy, Note: e.Note, Serial: string(e.Serial),
	}
	var nothing error
	if e.State != ledger.EnrollmentIssued {
		out.CertificateSubject, out.Names, nothing = h.RA.WouldSign(e)
	}
	if e.State != ledger.EnrollmentIssued && !h.RA.Now().Before(e.ExpiresAt) {
		out.State = admin.EnrollmentExpired
	}
	switch out.State {
	case admin.EnrollmentPending, admin.EnrollmentApproved:
		if nothing != nil {
			out.Next = "it gets no certificate, whatever is decided: " + nothing.Error()
			return out
		}
	}
	switch out.State {
	case admin.EnrollmentPending:
		out.Next = "mintmark enroll approve " + e.ID + ", or reject"
	case admin.EnrollmentApproved:
		out.Next = "the device gets one certificate when it asks again, until " + e.ExpiresAt.UTC().Format(minute)
		if e.Other != "" {
			out.Next += "; certificate " + out.Other + " stays in force under its other key: revoke it (mintmark cert revoke) if that key is not the device's any more"
		}
	case admin.EnrollmentRejected:
		out.Next = "the device is refused when it asks again; after " + e.ExpiresAt.UTC().Format(minute) + " its request would wait anew"
	}
	return out
}

// fullEnrollment adds the request itself.
func (h *handler) fullEnrollment(e ledger.Enrollment) admin.Enrollment {
	out := h.wireEnrollment(e)
	if len(e.CSR) == 0 {
		return out
	}
	out.CSR = encodePEM("CERTIFICATE REQUEST", e.CSR)
	csr, err := x509.ParseCertificateRequest(e.CSR)
	if err != nil {
		return out // it was read once; whoever decides still sees the bytes
	}
	if algorithm, err := ca.AlgorithmOf(csr.PublicKey); err == nil {
		out.KeyType = string(algorithm)
	}
	return out
}

func wireRequester(r ledger.Requester) admin.Requester {
	out := admin.Requester{Kind: r.Kind, Name: r.Name}
	if r.Address.IsValid() {
		out.Address = r.Address.String()
	}
	return out
}
