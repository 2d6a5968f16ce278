package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// RotationPlan is what officers sign: everything that a rotation will do, and what must
// hold before. Its lengths of time are in nanoseconds.
type RotationPlan struct {
	Version int                `json:"version"`
	ID      string             `json:"id"`
	Spec    RotationPlanSpec   `json:"spec"`
	Made    time.Time          `json:"made"`
	Steps   []RotationPlanStep `json:"steps"`
	Warned  []string           `json:"warned,omitempty"`
	// Affected are the issuing CAs whose devices have to move, and Devices is how many
	// there were when the plan was made.
	Affected []string `json:"affected"`
	Devices  int      `json:"devices"`
	// Targets are the cloud targets that are taken along. Plans of earlier versions have
	// them in their steps only.
	Targets []RotationPlanTarget `json:"targets,omitempty"`
}

// RotationPlanTarget is a cloud target with what it had of a rotation when that was planned, by the
// configuration.
type RotationPlanTarget struct {
	Name string   `json:"name"` // aws/NAME, azure/NAME
	Has  []string `json:"has,omitempty"`
}

// RotationPlanSpec is what was asked for, with the defaults filled in.
type RotationPlanSpec struct {
	Kind         string `json:"kind"`
	Old          string `json:"old"`
	New          string `json:"new"`
	Emergency    bool   `json:"emergency,omitempty"`
	KeyURI       string `json:"key_uri,omitempty"`
	Key          string `json:"key,omitempty"`
	CommonName   string `json:"common_name,omitempty"`
	ValidityDays int    `json:"validity_days,omitempty"`
	Elsewhere    bool   `json:"elsewhere,omitempty"`
	// NewSHA256 is the SHA-256 of the new CA's certificate, if that was there when it was
	// planned.
	NewSHA256 string `json:"new_sha256,omitempty"`
	Canary    struct {
		Labels  []string `json:"labels,omitempty"`
		Percent int      `json:"percent,omitempty"`
	} `json:"canary"`
	Gates struct {
		Officers   int           `json:"officers"`
		Trusting   int           `json:"trusting"`
		Moved      int           `json:"moved"`
		Distribute time.Duration `json:"distribute"`
		Watch      time.Duration `json:"watch"`
		Drain      time.Duration `json:"drain"`
		Silent     time.Duration `json:"silent"`
	} `json:"gates"`
}

// RotationPlanStep is one move, into a state.
type RotationPlanStep struct {
	State   string               `json:"state"`
	Sign    bool                 `json:"sign,omitempty"` // officers sign for it
	Gate    string               `json:"gate,omitempty"`
	Changes []RotationPlanChange `json:"changes,omitempty"`
}

// RotationPlanChange is one thing that is done.
type RotationPlanChange struct {
	Where  string `json:"where"` // mintmark, est, aws/NAME, azure/NAME; people for what they do
	What   string `json:"what"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// ReadPlan returns the plan of a rotation. It fails if the text is not the one whose hash
// the rotation has, or is of another version than this program knows.
func (s RotationStatus) ReadPlan() (RotationPlan, error) {
	var plan RotationPlan
	sum := sha256.Sum256([]byte(s.Plan))
	if hex.EncodeToString(sum[:]) != s.Rotation.Hash {
		return plan, fmt.Errorf("the plan of rotation %s is not the one of its hash %s", s.Rotation.ID, s.Rotation.Hash)
	}
	if err := json.Unmarshal([]byte(s.Plan), &plan); err != nil {
		return plan, fmt.Errorf("reading the plan of rotation %s: %w", s.Rotation.ID, err)
	}
	if plan.Version != 1 {
		return plan, fmt.Errorf("the plan of rotation %s has version %d: this program reads version 1", s.Rotation.ID, plan.Version)
	}
	if plan.ID != s.Rotation.ID {
		return plan, fmt.Errorf("the plan is one of rotation %q, and not of %q", plan.ID, s.Rotation.ID)
	}
	return plan, nil
}
