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
