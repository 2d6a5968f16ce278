// Package attest decides what the Azure Device Provisioning Service decides about a
// device that presents a certificate chain. It is pure: the simulator answers by it
// and azure doctor predicts with it, so that they cannot disagree. Rules has each
// rule with its source; the refusals on record are in attesttest.
//
// What Microsoft does not document is not guessed. Where it is unknown whether DPS
// refuses, Judge refuses what RFC 5280 forbids and lets pass what is mere advice, and
// Verdict.Unknown says so in both cases.
package attest

import (
	"crypto/x509"
	"time"
)

// Service is what the decision depends on.
type Service struct {
	Verified []CA // uploaded CAs
	Groups   []Group
	// Individual looks up the individual enrollment of a registration id, which it
	// gets in lower case: registration ids are case-insensitive. It returns nil for
	// none, and may itself be nil if there are no individual enrollments at all.
	Individual func(registrationID string) *Individual
}

// CA is an uploaded CA certificate.
type CA struct {
	Name        string
	Certificate *x509.Certificate
	Verified    bool
}

// Group is an enrollment group. Anchors are the certificates of its slots; for CA
// references, those that they name.
type Group struct {
	ID       string
	Anchors  []*x509.Certificate
	Disabled bool
}

// Individual is an individual enrollment, with the SHA-256 of the certificates of its
// slots.
type Individual struct {
	RegistrationID string
	Certificates   [][32]byte
	Disabled       bool
}

// Presented is what a device sends.
type Presented struct {
	RegistrationID string
	// Chain is as it comes in TLS: the device's certificate first.
	Chain []*x509.Certificate
	Now   time.Time
	// APIVersion is what the device names; empty for the newest.
	APIVersion string
}

// Verdict is the decision.
type Verdict struct {
	Accepted bool
	// Group or Individual is the enrollment that decided; both empty if none did.
	Group      string
	Individual string
	// Rule names the rule that refuses, of Rules; empty if none does.
	Rule string
	// Code and Message are the vendor's, as in 401002 and "CA certificate not found.".
	// Message is empty where the vendor's text is not known.
	Code    int
	Message string
	// Unknown says what about the decision is not documented; empty for nothing.
	Unknown string
	// Why says in our words what is wrong and what to do.
	Why string
	// Notes are what was seen that Microsoft documents nothing about and that did not
	// decide. Each is part of Unknown, too.
	Notes []Note
	// Path is how much of Presented.Chain the decision stands on: its first
	// certificates, up to the verified one. 1 for an individual enrollment, 0 if the
	// decision fell before.
	Path int
	// Anchor and Root are the indices in Presented.Chain of the group's certificate
	// and of the verified one that it is or rolls up to; 0 if the decision fell before.
	Anchor, Root int
}

// Note is something of which it is unknown what DPS makes of it.
type Note struct {
	Rule string // of Rules
	Why  string
}
