package issuer

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

// maxReason bounds what a webhook can tell the requester, in bytes.
const maxReason = 200

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
	Subject   string   // RFC 4514
	Names     []string // subject alternative names with their kind: DNS:a.example; IP:, URI:, email:
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

// ask puts the question of a webhook about what would be signed. It returns
// whether a person has to decide, and refuses when there is no verdict.
func (ra *RA) ask(ctx context.Context, r *Request, intent ledger.Intent, certificate *x509.Certificate) (hold bool, err error) {
	noVerdict := func(err error) error {
		return unavailable("webhook", "the service that authorises enrollments cannot be asked at the moment", err)
	}
	if r.Webhook == nil {
		return false, noVerdict(errors.New("there is none"))
	}
	verdict, err := r.Webhook.Ask(ctx, Question{
		ID: rand.Text(), At: intent.At, Server: ra.Server, Operation: r.Operation, Label: r.Label, Profile: intent.Profile,
		Device: intent.Device, Subject: intent.Subject, Names: alternativeNames(certificate), Key: intent.Key,
		Requester: r.Requester, CSR: r.CSR,
	})
	if err != nil {
		return false, noVerdict(err)
	}
	switch verdict.Decision {
	case Allow:
		return false, nil
	case Hold:
		return true, nil
	case Deny:
		text := "the service that authorises enrollments denies this one"
		if reason := clip(verdict.Reason, maxReason); reason != "" {
			text += ": " + reason
		}
		return false, &Refusal{Kind: Forbidden, Rule: "webhook-denied", Text: text}
	}
	return false, noVerdict(fmt.Errorf("its decision %q is none of allow, deny, hold", clip(string(verdict.Decision), maxReason)))
}

// alternativeNames lists the subject alternative names of a certificate with
// their kinds.
func alternativeNames(c *x509.Certificate) (names []string) {
	for _, name := range c.DNSNames {
		names = append(names, "DNS:"+name)
	}
	for _, ip := range c.IPAddresses {
		names = append(names, "IP:"+ip.String())
	}
	for _, u := range c.URIs {
		names = append(names, "URI:"+u.String())
	}
	for _, address := range c.EmailAddresses {
		names = append(names, "email:"+address)
	}
	return names
}
