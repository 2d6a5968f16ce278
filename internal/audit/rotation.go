package audit

import (
	"time"

	"mintmark/internal/ledger"
)

// The contents of rotations: kinds of format 4.

type rotationContent struct {
	ID         string              `json:"id"`
	Kind       ledger.RotationKind `json:"kind"`
	Old        string              `json:"old"`
	New        string              `json:"new"`
	Emergency  bool                `json:"emergency,omitempty"`
	Plan       []byte              `json:"plan,omitempty"`
	State      string              `json:"state"`
	Since      time.Time           `json:"since,omitzero"`
	Paused     string              `json:"paused,omitempty"`
	Issue      ledger.Issue        `json:"issue,omitempty"`
	Labels     []string            `json:"canary_labels,omitempty"`
	Percent    int                 `json:"canary_percent,omitempty"`
	Twins      []twinContent       `json:"twins,omitempty"`
	Kept       bool                `json:"kept,omitempty"`
	Signatures []gateContent       `json:"signatures,omitempty"`
	At         time.Time           `json:"at,omitzero"`
	Actor      string              `json:"actor,omitempty"`
	Version    int64               `json:"version"`
	Over       bool                `json:"over,omitempty"`
	Entry      entryContent        `json:"entry"`
}

type twinContent struct {
	Authority string `json:"authority"`
	DER       []byte `json:"der,omitempty"`
}

type gateContent struct {
	Gate      string    `json:"gate"`
	Officer   string    `json:"officer"`
	Signature []byte    `json:"signature,omitempty"`
	At        time.Time `json:"at,omitzero"`
}

type entryContent struct {
	Number int64     `json:"number"`
	At     time.Time `json:"at,omitzero"`
	Actor  string    `json:"actor,omitempty"`
	State  string    `json:"state,omitempty"`
	Step   string    `json:"step,omitempty"`
	Event  string    `json:"event,omitempty"`
	Text   string    `json:"text,omitempty"`
}

func rotationToContent(c *ledger.RotationChange) *rotationContent {
	r := &c.Rotation
	content := &rotationContent{
		ID: r.ID, Kind: r.Kind, Old: r.Old, New: r.New, Emergency: r.Emergency, Plan: r.Plan, State: r.State, Since: r.Since.UTC(), Paused: r.Paused,
		Issue: r.Issue, Labels: r.Canary.Labels, Percent: r.Canary.Percent, Kept: r.Kept, At: r.At.UTC(), Actor: r.Actor, Version: r.Version, Over: c.Over,
		Entry: entryContent(c.Entry),
	}
	content.Entry.At = content.Entry.At.UTC()
	for _, t := range r.Twins {
		content.Twins = append(content.Twins, twinContent(t))
	}
	for _, s := range r.Signatures {
		s.At = s.At.UTC()
		content.Signatures = append(content.Signatures, gateContent(s))
	}
	return content
}

func (c *rotationContent) change() *ledger.RotationChange {
	change := &ledger.RotationChange{
		Rotation: ledger.Rotation{
			ID: c.ID, Kind: c.Kind, Old: c.Old, New: c.New, Emergency: c.Emergency, Plan: c.Plan, State: c.State, Since: c.Since, Paused: c.Paused,
			Issue: c.Issue, Canary: ledger.Canary{Labels: c.Labels, Percent: c.Percent}, Kept: c.Kept, At: c.At, Actor: c.Actor, Version: c.Version,
		},
		Entry: ledger.RotationEntry(c.Entry),
		Over:  c.Over,
	}
	for _, t := range c.Twins {
		change.Rotation.Twins = append(change.Rotation.Twins, ledger.Twin(t))
	}
	for _, s := range c.Signatures {
		change.Rotation.Signatures = append(change.Rotation.Signatures, ledger.GateSignature(s))
	}
	return change
}

type anchorsContent struct {
	Rotation string        `json:"rotation"`
	Notes    []noteContent `json:"notes"`
}

type noteContent struct {
	Device   string    `json:"device"`
	Trusts   time.Time `json:"trusts,omitzero"`
	How      string    `json:"how,omitempty"`
	Chains   time.Time `json:"chains,omitzero"`
	Waived   time.Time `json:"waived,omitzero"`
	WaivedBy string    `json:"waived_by,omitempty"`
	Why      string    `json:"why,omitempty"`
}

func anchorsToContent(a *ledger.AnchorNotes) *anchorsContent {
	content := &anchorsContent{Rotation: a.Rotation, Notes: make([]noteContent, len(a.Notes))}
	for i, n := range a.Notes {
		n.Trusts, n.Chains, n.Waived = n.Trusts.UTC(), n.Chains.UTC(), n.Waived.UTC()
		content.Notes[i] = noteContent(n)
	}
	return content
}

func (c *anchorsContent) anchors() *ledger.AnchorNotes {
	a := &ledger.AnchorNotes{Rotation: c.Rotation, Notes: make([]ledger.AnchorNote, len(c.Notes))}
	for i, n := range c.Notes {
		a.Notes[i] = ledger.AnchorNote(n)
	}
	return a
}

// sharded reports whether an event names a shard, which formats before 4 do not have.
func sharded(e *ledger.Event) bool {
	return e.CRL != nil && e.CRL.Shard != 0 || e.Imported != nil && e.Imported.Shard != 0
}
