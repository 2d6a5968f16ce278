package adminhttp

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"

	"mintmark/admin"
	"mintmark/awsreg"
	"mintmark/internal/reconcile"
)

// targets lists the AWS targets; none is not null on the wire.
func (h *handler) targets() []string {
	if h.AWS == nil {
		return []string{}
	}
	return append([]string{}, h.AWS.Targets()...)
}

func (h *handler) listAWS(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, admin.AWSTargets{Targets: h.targets()})
}

// target is the AWS target that the path names.
func (h *handler) target(r *http.Request) (string, error) {
	name := r.PathValue("name")
	if !slices.Contains(h.targets(), name) {
		return "", fail(http.StatusNotFound, "aws-target", "there is no AWS target %q: mintmark.yaml defines them under aws.targets", name)
	}
	return name, nil
}

func (h *handler) planAWS(w http.ResponseWriter, r *http.Request) error {
	name, err := h.target(r)
	if err != nil {
		return err
	}
	plan, err := h.AWS.Plan(r.Context(), name)
	if err != nil {
		return fromAWS(err)
	}
	return writeJSON(w, http.StatusOK, wirePlan(plan))
}

func (h *handler) statusAWS(w http.ResponseWriter, r *http.Request) error {
	name, err := h.target(r)
	if err != nil {
		return err
	}
	status, err := h.AWS.Status(r.Context(), name)
	if err != nil {
		return fromAWS(err)
	}
	return writeJSON(w, http.StatusOK, wireStatus(status))
}

func (h *handler) iamPolicy(w http.ResponseWriter, r *http.Request) error {
	name, err := h.target(r)
	if err != nil {
		return err
	}
	document, err := h.AWS.IAMPolicy(name)
	if err != nil {
		return fromAWS(err)
	}
	return writeJSON(w, http.StatusOK, admin.IAMPolicy{Policy: json.RawMessage(document)})
}

// applyAWS streams: once the first line is out, an error is the last line.
func (h *handler) applyAWS(w http.ResponseWriter, r *http.Request) error {
	name, err := h.target(r)
	if err != nil {
		return err
	}
	var in admin.AWSApply
	if err := decode(r, &in); err != nil {
		return err
	}
	if in.Hash != "" {
		plan, err := h.AWS.Plan(r.Context(), name)
		if err != nil {
			return fromAWS(err)
		}
		if now := wirePlan(plan).Hash; now != in.Hash {
			return fail(http.StatusConflict, "plan-changed", "the plan is not the one that was read (its hash is %s now): read it again", now)
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	stream := &ndjson{encoder: json.NewEncoder(w), flush: http.NewResponseController(w)}
	done, err := h.AWS.Apply(r.Context(), name, func(c reconcile.Change) {
		change := wireChange(c)
		stream.send(admin.AWSProgress{Change: &change})
	})
	if err != nil {
		refusal := fromAWS(err)
		stream.send(admin.AWSProgress{Error: &admin.Error{Rule: refusal.rule, Text: refusal.text, RequestID: w.Header().Get("X-Request-Id")}})
		return refusal
	}
	plan := wirePlan(done)
	stream.send(admin.AWSProgress{Done: &plan})
	return stream.err
}

// ndjson writes one JSON value a line, each at once.
type ndjson struct {
	encoder *json.Encoder
	flush   *http.ResponseController
	err     error
}

func (s *ndjson) send(line admin.AWSProgress) {
	if s.err != nil {
		return
	}
	if s.err = s.encoder.Encode(line); s.err == nil {
		s.err = s.flush.Flush()
	}
}

// fromAWS is an error of awsreg, whose texts are written for the administrator.
func fromAWS(err error) *failure {
	return &failure{status: http.StatusBadGateway, rule: "aws", text: err.Error(), err: err}
}

func wireChange(c reconcile.Change) admin.Change {
	return admin.Change{Kind: c.Kind, Subject: c.Subject, Action: string(c.Action), Before: c.Before, After: c.After}
}

func wirePlan(p reconcile.Plan) admin.Plan {
	sum := p.Hash()
	out := admin.Plan{
		Target: p.Target, Hash: hex.EncodeToString(sum[:]), Pending: p.Pending(), Refused: len(p.Refused()),
		Changes: make([]admin.Change, 0, len(p.Changes)),
	}
	for _, c := range p.Changes {
		out.Changes = append(out.Changes, wireChange(c))
	}
	return out
}

func wireStatus(s awsreg.Status) admin.AWSStatus {
	out := admin.AWSStatus{Target: s.Target, AccountID: s.AccountID, Region: s.Region, CAs: []admin.AWSCA{}, Plan: wirePlan(s.Plan)}
	for _, c := range s.CAs {
		one := admin.AWSCA{
			Issuer: c.Issuer, CertificateID: c.CertificateID, Use: c.Use, NotAfter: c.NotAfter.UTC(), Registered: c.Registered,
			State: c.State, Mode: c.Mode, AutoRegistration: c.AutoRegistration, Findings: []admin.AWSFinding{},
		}
		for _, f := range c.Findings {
			one.Findings = append(one.Findings, admin.AWSFinding{Severity: string(f.Severity), Rule: f.Rule, Subject: f.Subject, AWS: f.AWS, Text: f.Text})
		}
		out.CAs = append(out.CAs, one)
	}
	if m := s.Manifest; m != nil {
		out.Manifest = &admin.AWSManifest{Table: m.Table, PushedAt: utc(m.PushedAt), Server: m.Server, MaxAgeSeconds: int64(m.MaxAge.Seconds()), Fresh: m.Fresh}
	}
	return out
}
