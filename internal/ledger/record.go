package ledger

import (
	"fmt"
	"net/netip"
	"time"
)

// Serial is a certificate's serial number: hexadecimal, lower case, no
// separators, an even number of digits.
type Serial string

// Purpose says why something was signed. Only devices are inventory.
type Purpose string

const (
	ForDevice       Purpose = "device"
	ForServer       Purpose = "server"
	ForVerification Purpose = "verification"
	ForResponder    Purpose = "responder"
	ForOfficer      Purpose = "officer"
	ForCA           Purpose = "ca"
	ForClaim        Purpose = "claim"   // bootstrap credential of a work order
	ForGateway      Purpose = "gateway" // CA certificate of an IoT Edge gateway, which is a device
	ForRA           Purpose = "ra"      // registration authority: enrolls devices in their place
	// ForManifest is for the one signature over the manifest of a batch; its key is gone.
	ForManifest Purpose = "manifest"
)

// State is where a serial number stands. Open and Void serials have no
// certificate that could have left.
type State string

const (
	Open    State = "open"
	Valid   State = "valid"
	Revoked State = "revoked"
	Voided  State = "void"
)

// Requester is who asked, as authenticated in step 1.
type Requester struct {
	// Kind is how it was authenticated: password, secret (the one-time secret of
	// a device), certificate (of our own), maker (a maker CA's certificate), order
	// (the secret of a work order), claim (its certificate), ra (the certificate of
	// a registration authority), admin, server, or cas.
	Kind string
	// Name is the credential's user, the certificate's serial, the order, or
	// the principal: never a secret.
	Name string
	// Address is the peer's, without port; zero for local callers.
	Address netip.Addr
}

// Bootstrap reports whether the requester is only introducing a device and is
// not the device itself under a certificate of ours.
func (r Requester) Bootstrap() bool { return r.Kind != "certificate" }

// Epoch is one server's turn at issuing: its intents are void once it lapses.
type Epoch struct {
	Server string
	Number int64
}

// Intent is what will be signed: step 6 of the issuance cycle.
type Intent struct {
	Epoch     Epoch
	Serial    Serial
	Issuer    string // name of the authority that signs
	Profile   string
	Label     string // EST label, empty for none
	Purpose   Purpose
	Device    string // device identifier, set when Purpose is ForDevice or ForGateway
	Order     string // work order that pays for it, or whose claim it is; empty for none
	Listed    bool   // the inventory must have the device, under Order if that is set
	Subject   string // RFC 4514 text, for people and searches
	Requester Requester
	Key       [32]byte // SHA-256 of the SubjectPublicKeyInfo
	TBS       []byte   // DER of the TBSCertificate
	NotBefore time.Time
	NotAfter  time.Time
	At        time.Time
	// Shard of the issuer's CRLs that lists it if it is revoked; zero for the full CRL.
	Shard int

	// Repeat is the window in which the same key and device under the same
	// profile and issuer get the earlier certificate again; zero for never. A
	// certificate that is not newer than the requester's own does not answer:
	// a renewal never goes back.
	Repeat time.Duration
	// Issuers are other authorities whose certificates answer a repeated request as
	// those of Issuer do; not in the log.
	Issuers []string
	// SecondKey allows another key for a device that has one in force.
	SecondKey bool
	// Enrollment is the approval that it takes; empty for none.
	Enrollment string
	// Secret is the one-time secret of the device that it takes; zero for none.
	Secret [32]byte
}

// Issued is what was signed: step 9.
type Issued struct {
	Serial Serial
	DER    []byte
	Tasks  []Task
	At     time.Time
}

// Certificate is everything that is known of a serial number.
type Certificate struct {
	Serial    Serial
	Issuer    string
	Profile   string
	Label     string
	Purpose   Purpose
	Device    string
	Order     string
	Subject   string
	Requester Requester
	Key       [32]byte
	NotBefore time.Time
	NotAfter  time.Time
	State     State
	DER       []byte // nil while Open and when Voided
	IntentAt  time.Time
	IssuedAt  time.Time // zero unless Valid or Revoked
	RevokedAt time.Time // zero unless Revoked or Voided
	Reason    Reason
	RevokedBy string
	Shard     int // of the issuer's CRLs; zero for the full one
}

// InForce reports whether the certificate is valid, neither expired nor early.
func (c Certificate) InForce(now time.Time) bool {
	return c.State == Valid && !now.Before(c.NotBefore) && !now.After(c.NotAfter)
}

// Query selects certificates; zero fields do not restrict. What is found is in the order of
// serial numbers, or ByEnd.
type Query struct {
	Device        string
	Profile       string
	Issuer        string
	Requester     string
	Order         string
	Purpose       Purpose
	State         State
	Key           [32]byte
	ExpiresBefore time.Time
	ExpiresAfter  time.Time // at that time or later
	After         Serial    // keyset: only what follows this one, which must be recorded if the order is ByEnd
	Limit         int       // at most 1000; 0 means 100
}

// ByEnd reports whether a query goes by the end of certificates alone, whatever their state
// among what was issued. Then they come in the order in which they end, and those that end
// together in that of serial numbers: to find the few that end soon among millions in the order
// of serial numbers, all would have to be read.
func (q Query) ByEnd() bool {
	return !(q.ExpiresBefore.IsZero() && q.ExpiresAfter.IsZero()) && q.Device == "" && q.Key == [32]byte{} && q.Requester == "" && q.Order == "" && q.Profile == "" && q.Issuer == "" &&
		(q.Purpose == "" || q.Purpose == ForDevice) && (q.State == "" || q.State == Valid)
}

// Page is one answer to a Query. Next is empty on the last page.
type Page struct {
	Certificates []Certificate
	Next         Serial
}

// Selector names certificates to revoke; exactly one of the first six fields
// is set. Only Serial names the certificate of a CA.
type Selector struct {
	Serial    Serial
	Device    string   // all valid certificates of the device
	Order     string   // all valid certificates under the work order, its claims included
	Issuer    string   // all valid certificates that the authority has signed, but those of CAs and its own (OCSP)
	Key       [32]byte // all valid certificates of the public key, by the SHA-256 of its SubjectPublicKeyInfo
	Requester string   // all valid certificates that the requester of that name asked for
	// RequesterKind restricts Requester to one way in which requesters are authenticated
	// (Requester.Kind): a station and a work order may have the same name. Empty for any.
	RequesterKind string
	// Superseded leaves out, of what Issuer selects, whatever is no device's, and every
	// certificate of a device that has no newer one of the same purpose in force by another
	// issuer: what is revoked then cuts nobody off.
	Superseded bool
	Most       int // how many may be revoked at once; 0 for any number. Limit and After do not change what is counted.
	// Limit is how many are revoked in this call, in the order of serial numbers, which
	// is that of issuance to within seconds; 0 for all. Whoever revokes thousands does so
	// in calls of some hundreds, for issuance waits while one runs: each call names the last
	// serial number of the one before in After, until one returns none.
	Limit int
	After Serial
}

// Reason is a CRLReason of RFC 5280, Section 5.3.1.
type Reason int

const (
	Unspecified          Reason = 0
	KeyCompromise        Reason = 1
	AffiliationChanged   Reason = 3
	Superseded           Reason = 4
	CessationOfOperation Reason = 5
	PrivilegeWithdrawn   Reason = 9
)

var reasons = map[Reason]string{
	Unspecified:          "unspecified",
	KeyCompromise:        "keyCompromise",
	AffiliationChanged:   "affiliationChanged",
	Superseded:           "superseded",
	CessationOfOperation: "cessationOfOperation",
	PrivilegeWithdrawn:   "privilegeWithdrawn",
}

// String returns the name of RFC 5280.
func (r Reason) String() string {
	if name, ok := reasons[r]; ok {
		return name
	}
	return fmt.Sprintf("reason(%d)", int(r))
}

// ParseReason reads a name of RFC 5280.
func ParseReason(name string) (Reason, error) {
	for r, n := range reasons {
		if n == name {
			return r, nil
		}
	}
	return 0, fmt.Errorf("unknown revocation reason %q: use unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn", name)
}

// CRLEntry is one line of a CRL.
type CRLEntry struct {
	Serial Serial
	At     time.Time
	Reason Reason
}

// CRLName names one CRL of an authority: the full one (shard 0), or that of a shard.
type CRLName struct {
	Issuer string
	Shard  int
}

// CRLWork is what a CRL to be signed must hold.
type CRLWork struct {
	Number  int64
	Entries []CRLEntry
}

// CRL is a signed one.
type CRL struct {
	Issuer     string
	Shard      int
	Number     int64
	ThisUpdate time.Time
	NextUpdate time.Time
	DER        []byte
}

// Authority is a certification authority as stored; its key is elsewhere.
type Authority struct {
	Name        string
	Certificate []byte   // DER; empty while a CSR waits for its certificate
	Chain       [][]byte // DER of the issuers up to and including the root
	KeyURI      string   // go.step.sm/crypto/kms URI, without secrets; empty for a trust anchor kept elsewhere
	CreatedAt   time.Time
}

// Fence proves that its holder runs a job now.
type Fence struct {
	Job    string
	Holder string
	Token  int64
}

// Task is one thing to tell the outside.
type Task struct {
	ID       int64
	Kind     string // which worker takes it, for example "aws/line-a"
	Key      string // a task with the same kind and key replaces an undelivered older one; an empty key never does
	Payload  []byte
	Due      time.Time
	Attempts int
	LastErr  string
}
