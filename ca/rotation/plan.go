package rotation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"mintmark/internal/ledger"
)

// ErrElsewhere says that the key of an authority is not here.
var ErrElsewhere = errors.New("the key is elsewhere")

// Plan is what officers sign: everything that will be done, and what must hold before.
type Plan struct {
	Version int        `json:"version"` // 1
	ID      string     `json:"id"`
	Spec    Spec       `json:"spec"`
	Made    time.Time  `json:"made"`
	Steps   []PlanStep `json:"steps"`
	Warned  []string   `json:"warned,omitempty"`
	// Affected are the issuing CAs whose devices have to move.
	Affected []string `json:"affected"`
	Devices  int      `json:"devices"` // that have to move, when it was made
	// Targets are the cloud targets that are taken along. Plans of earlier versions have
	// them in their steps only.
	Targets []PlanTarget `json:"targets,omitempty"`
}

// PlanTarget is a cloud target with what it had of a rotation when that was planned, by the
// configuration; see Cloud.Has.
type PlanTarget struct {
	Name string   `json:"name"` // aws/NAME, azure/NAME
	Has  []string `json:"has,omitempty"`
}

// Takes reports whether a plan takes along that part of a cloud target. Of a plan of an earlier
// version only the target is known.
func (p Plan) Takes(target, part string) bool {
	return slices.ContainsFunc(p.targets(), func(t PlanTarget) bool {
		return t.Name == target && (len(t.Has) == 0 || slices.Contains(t.Has, part))
	})
}

// targets are Targets, also of plans of earlier versions.
func (p Plan) targets() []PlanTarget {
	if len(p.Targets) > 0 {
		return p.Targets
	}
	var list []PlanTarget
	for _, step := range p.Steps {
		for _, c := range step.Changes {
			cloud, _, is := strings.Cut(c.Where, "/")
			if is && (cloud == "aws" || cloud == "azure") && !slices.ContainsFunc(list, func(t PlanTarget) bool { return t.Name == c.Where }) {
				list = append(list, PlanTarget{Name: c.Where})
			}
		}
	}
	return list
}

// PlanStep is one move.
type PlanStep struct {
	State   State        `json:"state"`
	Sign    bool         `json:"sign,omitempty"` // officers sign for it
	Gate    string       `json:"gate,omitempty"` // what must hold, in words
	Changes []PlanChange `json:"changes,omitempty"`
}

// PlanChange is one thing that is done.
type PlanChange struct {
	Where  string `json:"where"` // mintmark, est, aws/NAME, azure/NAME; people for what they do
	What   string `json:"what"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

const (
	planVersion = 1
	mostPlan    = ledger.MostPlan // bytes
)

// encode writes a plan in its one form: JSON on one line, fields in the order of the types,
// times in UTC.
func (p Plan) encode() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(p); err != nil {
		return nil, fmt.Errorf("encoding a plan: %w", err)
	}
	if b.Len() > mostPlan {
		return nil, refused("rotation-spec", "the plan has %d bytes, and at most %d may be signed: it names every CA and every change at every cloud, so that CAs and targets that are not used any more make it shorter once they are gone", b.Len(), mostPlan)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// ParsePlan reads a plan. It takes nothing but the form in which plans are written, so that
// two texts with different hashes are never the same plan.
func ParsePlan(data []byte) (Plan, error) {
	if len(data) > mostPlan {
		return Plan{}, fmt.Errorf("a plan of %d bytes is longer than %d", len(data), mostPlan)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var p Plan
	if err := decoder.Decode(&p); err != nil {
		return Plan{}, fmt.Errorf("parsing a plan: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return Plan{}, errors.New("parsing a plan: there is something behind it")
	}
	if p.Version != planVersion {
		return Plan{}, fmt.Errorf("a plan of version %d is not known", p.Version)
	}
	again, err := p.encode()
	if err != nil {
		return Plan{}, err
	}
	if !bytes.Equal(again, data) || p.Made.Location() != time.UTC {
		return Plan{}, errors.New("the plan is not written as plans are")
	}
	return p, nil
}

// PlanHash is the SHA-256, in hexadecimal, of the plan that officers sign.
func PlanHash(r ledger.Rotation) string {
	sum := sha256.Sum256(r.Plan)
	return hex.EncodeToString(sum[:])
}

// planOf reads the plan of a record, and holds the record against it: what was signed is
// the plan, and what is done goes by the record.
func planOf(r ledger.Rotation) (Plan, error) {
	p, err := ParsePlan(r.Plan)
	if err != nil {
		return Plan{}, fmt.Errorf("rotation %s: %w", r.ID, err)
	}
	s := p.Spec
	if p.ID != r.ID || s.Kind != r.Kind || s.Old != r.Old || s.New != r.New || s.Emergency != r.Emergency || !sameCanary(s.Canary, r.Canary) {
		return Plan{}, fmt.Errorf("rotation %s is not what its plan says: nothing is done", r.ID)
	}
	return p, nil
}

func sameCanary(a, b ledger.Canary) bool {
	return a.Percent == b.Percent && slices.Equal(a.Labels, b.Labels)
}
