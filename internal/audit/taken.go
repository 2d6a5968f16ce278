package audit

import (
	"net/netip"
	"time"

	"mintmark/internal/ledger"
)

// The contents of what intents take, and of rollovers: kinds of format 3.

type enrollmentContent struct {
	ID            string                 `json:"id"`
	Key           digest                 `json:"key"`
	Subject       string                 `json:"subject,omitempty"`
	Label         string                 `json:"label,omitempty"`
	Profile       string                 `json:"profile,omitempty"`
	Purpose       ledger.Purpose         `json:"purpose,omitempty"`
	Device        string                 `json:"device,omitempty"`
	Cause         string                 `json:"cause,omitempty"`
	Other         ledger.Serial          `json:"other,omitempty"`
	RequesterKind string                 `json:"requester_kind,omitempty"`
	Requester     string                 `json:"requester,omitempty"`
	Address       netip.Addr             `json:"address,omitzero"`
	CSR           []byte                 `json:"csr,omitempty"`
	State         ledger.EnrollmentState `json:"state"`
	At            time.Time              `json:"at"`
	ExpiresAt     time.Time              `json:"expires_at,omitzero"`
	DecidedAt     time.Time              `json:"decided_at,omitzero"`
	DecidedBy     string                 `json:"decided_by,omitempty"`
	Note          string                 `json:"note,omitempty"`
	Serial        ledger.Serial          `json:"serial,omitempty"`
}

func enrollmentToContent(e *ledger.Enrollment) *enrollmentContent {
	return &enrollmentContent{
		ID: e.ID, Key: e.Key, Subject: e.Subject, Label: e.Label, Profile: e.Profile, Purpose: e.Purpose, Device: e.Device,
		Cause: e.Cause, Other: e.Other, RequesterKind: e.Requester.Kind, Requester: e.Requester.Name, Address: e.Requester.Address,
		CSR: e.CSR, State: e.State, At: e.At.UTC(), ExpiresAt: e.ExpiresAt.UTC(), DecidedAt: e.DecidedAt.UTC(), DecidedBy: e.DecidedBy,
		Note: e.Note, Serial: e.Serial,
	}
}

func (c *enrollmentContent) enrollment() *ledger.Enrollment {
	return &ledger.Enrollment{
		ID: c.ID, Key: c.Key, Subject: c.Subject, Label: c.Label, Profile: c.Profile, Purpose: c.Purpose, Device: c.Device,
		Cause: c.Cause, Other: c.Other, Requester: ledger.Requester{Kind: c.RequesterKind, Name: c.Requester, Address: c.Address},
		CSR: c.CSR, State: c.State, At: c.At, ExpiresAt: c.ExpiresAt, DecidedAt: c.DecidedAt, DecidedBy: c.DecidedBy,
		Note: c.Note, Serial: c.Serial,
	}
}

type secretsContent struct {
	Secrets []secretContent `json:"secrets"`
}

type secretContent struct {
	Device    string        `json:"device"`
	SHA256    digest        `json:"sha256,omitzero"`
	At        time.Time     `json:"at"`
	Actor     string        `json:"actor,omitempty"`
	ExpiresAt time.Time     `json:"expires_at,omitzero"`
	Serial    ledger.Serial `json:"serial,omitempty"`
}

func secretsToContent(secrets []ledger.DeviceSecret) *secretsContent {
	content := &secretsContent{Secrets: make([]secretContent, len(secrets))}
	for i, s := range secrets {
		content.Secrets[i] = secretContent{
			Device: s.Device, SHA256: s.SHA256, At: s.At.UTC(), Actor: s.Actor, ExpiresAt: s.ExpiresAt.UTC(), Serial: s.Serial,
		}
	}
	return content
}

func (c *secretsContent) secrets() []ledger.DeviceSecret {
	all := make([]ledger.DeviceSecret, len(c.Secrets))
	for i, s := range c.Secrets {
		all[i] = ledger.DeviceSecret{
			Device: s.Device, SHA256: s.SHA256, At: s.At, Actor: s.Actor, ExpiresAt: s.ExpiresAt, Serial: s.Serial,
		}
	}
	return all
}

type rolloverContent struct {
	Old        string    `json:"old"`
	New        string    `json:"new"`
	OldWithNew []byte    `json:"old_with_new,omitempty"`
	NewWithOld []byte    `json:"new_with_old,omitempty"`
	At         time.Time `json:"at"`
	Actor      string    `json:"actor,omitempty"`
	EndedAt    time.Time `json:"ended_at,omitzero"`
	EndedBy    string    `json:"ended_by,omitempty"`
}
