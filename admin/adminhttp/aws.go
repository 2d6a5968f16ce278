package adminhttp

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"

	"mintmark/admin"
	"mintmark/awsreg"
	"mintmark/internal/reconcile"
)

// awsTargets lists the AWS targets; none is not null on the wire.
func (h *handler) awsTargets() []string {
	if h.AWS == nil {
		return []string{}
	}
	return append([]string{}, h.AWS.Targets()...)
}

func (h *handler) listAWS(w http.ResponseWriter, _ *http.Request) error {
	out := admin.AWSTargets{Targets: h.awsTargets(), Places: []admin.AWSPlace{}}
	for _, name := range out.Targets {
		account, region := h.AWS.Place(name)
		place := admin.AWSPlace{Target: name, AccountID: account, Region: region, Labels: []string{}}
		for _, label := range slices.Sorted(maps.Keys(h.Labels)) {
			if h.Labels[label].Target == name {
				place.Labels = append(place.Labels, label)
			}
		}
		out.Places = append(out.Places, place)
	}
	return writeJSON(w, http.StatusOK, out)
}

// awsTarget is the AWS target that the path names.
func (h *handler) awsTarget(r *http.Request) (string, error) {
	name := r.PathValue("name")
	if !slices.Contains(h.awsTargets(), name) {
		return "", fail(http.StatusNotFound, "aws-target", "there is no AWS target %q: mintmark.yaml defines them under aws.targets", name)
	}
	return name, nil
}

func (h *handler) planAWS(w http.ResponseWriter, r *http.Request) error {
	name, err := h.awsTarget(r)
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
	name, err := h.awsTarget(r)
	if err != nil {
		return err
	}
	q := query(r, "count")
	count := q.oneOf("count", "true", "false") == "true"
	if q.err != nil {
		return q.err
	}
	status, err := h.AWS.Status(r.Context(), name, count)
	if err != nil {
		return fromAWS(err)
	}
	return writeJSON(w, http.StatusOK, wireStatus(status))
}

func (h *handler) doctorAWS(w http.ResponseWriter, r *http.Request) error {
	name, err := h.awsTarget(r)
	if err != nil {
		return err
	}
	list, err := h.AWS.Doctor(r.Context(), name)
	if err != nil {
		return fromAWS(err)
	}
	return writeJSON(w, http.StatusOK, admin.AWSFindings{Findings: wireFindings(list)})
}

func (h *handler) iamPolicy(w http.ResponseWriter, r *http.Request) error {
	name, err := h.awsTarget(r)
	if err != nil {
		return err
	}
	document, err := h.AWS.IAMPolicy(name)
	if err != nil {
		return fromAWS(err)
	}
	return writeJSON(w, http.StatusOK, admin.IAMPolicy{Policy: json.RawMessage(document)})
}

// fromAWS is an error of awsreg, whose texts are written for the administrator.
func fromAWS(err error) *failure {
	if errors.Is(err, reconcile.ErrChanged) {
		return &failure{status: http.StatusConflict, rule: "plan-changed", text: err.Error(), err: err}
	}
	return &failure{status: http.StatusBadGateway, rule: "aws", text: err.Error(), err: err}
}

func wireChange(c reconcile.Change) admin.Change {
	return admin.Change{Kind: c.Kind, Subject: c.Subject, Action: string(c.Action), Before: c.Before, After: c.After, Destructive: c.Destructive}
}

func wirePlan(p reconcile.Plan) admin.Plan {
	sum := p.Hash()
	out := admin.Plan{
		Target: p.Target, Hash: hex.EncodeToString(sum[:]), Pending: p.Pending(), Refused: len(p.Refused()),
		Destructive: p.Destructive(), Changes: make([]admin.Change, 0, len(p.Changes)),
	}
	for _, c := range p.Changes {
		out.Changes = append(out.Changes, wireChange(c))
	}
	return out
}

func wireStatus(s awsreg.Status) admin.AWSStatus {
	out := admin.AWSStatus{
		Target: s.Target, AccountID: s.AccountID, Region: s.Region, Endpoint: s.Endpoint, CAs: []admin.AWSCA{},
		Unconfigured: []admin.AWSUnconfigured{}, Resources: []admin.AWSResource{}, Plan: wirePlan(s.Plan),
	}
	for _, u := range s.Unconfigured {
		out.Unconfigured = append(out.Unconfigured, admin.AWSUnconfigured(u))
	}
	for _, one := range s.Resources {
		out.Resources = append(out.Resources, admin.AWSResource(one))
	}
	for _, c := range s.CAs {
		one := admin.AWSCA{
			Issuer: c.Issuer, CertificateID: c.CertificateID, Use: c.Use, NotAfter: c.NotAfter.UTC(), Registered: c.Registered,
			State: c.State, Mode: c.Mode, AutoRegistration: c.AutoRegistration, Certificates: c.Certificates, Wanted: c.Wanted, Findings: wireFindings(c.Findings),
		}
		out.CAs = append(out.CAs, one)
	}
	if m := s.Manifest; m != nil {
		out.Manifest = &admin.AWSManifest{Table: m.Table, PushedAt: utc(m.PushedAt), Server: m.Server, MaxAgeSeconds: int64(m.MaxAge.Seconds()), Fresh: m.Fresh}
	}
	return out
}

func wireFindings(list []awsreg.Finding) []admin.AWSFinding {
	out := make([]admin.AWSFinding, 0, len(list))
	for _, f := range list {
		out = append(out, admin.AWSFinding{Severity: string(f.Severity), Rule: f.Rule, Subject: f.Subject, AWS: f.AWS, Text: f.Text})
	}
	return out
}
