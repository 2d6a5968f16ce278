package issuer

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

// Request asks for one certificate. Whoever makes it has authenticated the
// requester: step 1 of the issuance cycle.
type Request struct {
	Profile   string // name of the profile, chosen by the label or the operator
	Issuer    string // name of the issuing CA
	Label     string // EST label, empty for none
	CSR       []byte // DER of the PKCS #10 certification request
	Requester ledger.Requester

	// Authorize is the rule that decides whether the requester may have the
	// certificate; the zero value refuses.
	Authorize Rule
	// Order is the work order whose credential authenticated the requester, or
	// that an operator charges; empty for none.
	Order string
	// Operation is what the requester called, as in "est simpleenroll", for the
	// record of a refusal.
	Operation string

	// Device is the identifier that the requester proved to be. The request
	// must name exactly it. Empty when the requester vouches for any device
	// that the profile allows, as a password or an operator does.
	Device string

	// Renews is the certificate that a re-enrollment renews. Subject and
	// subject alternative names of the request must equal its own, as values
	// (RFC 7030, Section 4.2.2). Nil for an enrollment.
	Renews *x509.Certificate

	// Holds is the certificate of the same profile by which the requester
	// enrolls, without saying that it renews. The request may leave out names
	// that it has, but bring no others: a device that chose its alternative
	// names would choose another's. Nil for every other requester.
	Holds *x509.Certificate

	// Represents is set for a registration authority that renews in the place of
	// the device: the certificate that is renewed is the device's newest one in
	// force under this profile, and names are held against it as with Renews.
	Represents bool

	// ChangeNames lets the request ask, by the attribute ChangeSubjectName, for
	// other names than those it is held against (RFC 7030, Section 4.2.2). The
	// device stays the same, and the profile's rules hold for the new names. Without it
	// such a request is refused.
	ChangeNames bool

	// Gateway is the profile that takes the place of Profile when the request
	// asks for a CA certificate; empty refuses such requests.
	Gateway string

	// Generated is the public key that the server has made for the device (RFC
	// 7030, Section 4.4): key and signature of CSR do not count then.
	Generated crypto.PublicKey

	// Secret is the SHA-256 of the one-time secret that authenticated the
	// device; zero for none.
	Secret [32]byte

	// Approval wants a person to approve the request; see Pending.
	Approval bool
	// SecondKey says what becomes of a bootstrap credential's request for
	// another key of an enrolled device.
	SecondKey SecondKey
	// Webhook is asked when Authorize is ByWebhook, and must then be set.
	Webhook Webhook

	// Unproven takes the place of CSR where an operator vouches for a key that nobody has
	// proved to hold; nil for every other request.
	Unproven *Unproven
	// Again lets an earlier certificate in force answer for the same key, device and
	// profile however old it is, also one of a CA that a rotation has replaced since: who
	// goes on with what was cut off gets nothing twice. The alarm that such a request is
	// worth is raised once for each Operation.
	Again bool

	naming *naming // of claim, officer and manifest certificates, nil for all others
}

// Unproven is a name and a key. That the key belongs to the name is the word of whoever
// sends it; a key that the ledger has under another device is refused all the same.
type Unproven struct {
	Name string // commonName
	Key  []byte // SubjectPublicKeyInfo in DER
}

// check refuses a request that contradicts itself: whoever made it has not
// authenticated what it says.
func (r *Request) check() error {
	switch {
	case r.Requester.Kind == "":
		return refuse(Unauthenticated, "requester", "the requester is not authenticated")
	case r.Requester.Kind == "secret" && r.Secret == [32]byte{}, r.Secret != [32]byte{} && r.Device == "":
		return refuse(Unauthenticated, "requester", "a one-time secret enrolls the device that it was made for, and no other")
	case r.Unproven != nil && (r.Requester.Kind != "admin" || r.Generated != nil || len(r.CSR) > 0 || r.naming != nil || r.Authorize != Trusted && r.Authorize != ByOrder):
		return refuse(Unauthenticated, "requester", "a key without proof of possession is taken from an operator, in place of a certification request")
	}
	return nil
}

// waits reports whether the request may wait for somebody else: others must
// not wait for it in the group commit.
func (r *Request) waits() bool { return r.Approval || r.Authorize == ByWebhook }

// Answer is an issued certificate.
type Answer struct {
	Serial      ledger.Serial
	Certificate *x509.Certificate
	// Chain leads from the issuing CA to, but without, the trust anchor.
	Chain []*x509.Certificate
	// Device is the one of the inventory that the certificate is for; empty for none.
	Device string
	// Prior is true when an earlier certificate answers a repeated request.
	Prior bool
}

// Kind sorts refusals by what the requester can do about them.
type Kind int

const (
	Malformed       Kind = iota // the request itself is wrong: change it
	Unauthenticated             // the requester is not known
	Forbidden                   // known, but not allowed this
	Conflict                    // contradicts what is recorded
	Unavailable                 // the same request may succeed later
	Pending                     // a person decides: the same request, repeated after RetryAfter, gets the certificate or a refusal
)

// Refusal is the answer to a request that a rule refuses. Its text is for the
// requester and holds nothing internal.
type Refusal struct {
	Kind Kind
	// Rule names the rule, from a closed set: it is a metrics label.
	Rule string
	// Text says what the rule found and what to do.
	Text string
	// RetryAfter is set with Unavailable, and may be with Pending.
	RetryAfter time.Duration
	// Subject, Device and Key (SHA-256 of the SubjectPublicKeyInfo) are what the
	// request says, for log and record; empty if it could not be read.
	Subject string
	Device  string
	Key     [32]byte
	// Recorded is true when the registration authority has put it among the
	// refusals already, or has seen that it is none: a request that waits.
	Recorded bool
	// Err is the cause for the log, never for the requester; may be nil.
	Err error
}

func (r *Refusal) Error() string {
	if r.Err != nil {
		return fmt.Sprintf("refused by rule %s: %s: %v", r.Rule, r.Text, r.Err)
	}
	return fmt.Sprintf("refused by rule %s: %s", r.Rule, r.Text)
}

func (r *Refusal) Unwrap() error { return r.Err }

func refuse(kind Kind, rule, format string, args ...any) *Refusal {
	return &Refusal{Kind: kind, Rule: rule, Text: fmt.Sprintf(format, args...)}
}
