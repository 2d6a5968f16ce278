package issuer

import (
	"context"
	"time"

	"mintmark/internal/ledger"
)

// ByWebhook: a service of the operator's says yes or no; see Webhook.
const ByWebhook Rule = "webhook"

// Webhook asks a service whether a requester may have a certificate: step 3 of
// the issuance cycle. It is safe for concurrent use.
type Webhook interface {
	// Ask returns within its own deadline, which is short. An error means that the
	// service could not be asked or did not answer with a verdict: the request is
	// refused.
	Ask(ctx context.Context, q Question) (Verdict, error)
}

// Question is what a webhook is told of a request.
type Question struct {
	ID        string // of this question
	At        time.Time
	Server    string
	Operation string
	Label     string
	Profile   string
	Device    string
	Subject   string // RFC 4514
	Names     []string
	Key       [32]byte // SHA-256 of the SubjectPublicKeyInfo
	Requester ledger.Requester
	CSR       []byte
}

// Verdict is the answer of a webhook.
type Verdict struct {
	Decision Decision
	// Reason is for the log and, when it denies, for the requester; at most 200 bytes.
	Reason string
}

// Decision is what a webhook has decided.
type Decision string

const (
	Allow Decision = "allow"
	Deny  Decision = "deny"
	Hold  Decision = "hold" // a person decides
)
