// Package est is Enrollment over Secure Transport (RFC 7030, as updated by RFC
// 8951) on the wire: a handler for the server and a client. Nothing outside
// this package knows EST, and nothing in it decides who gets which certificate:
// it authenticates the requester, which is step 1 of the issuance cycle, and
// hands the rest to the issuer.
//
// Much of what the handler writes has a shape that no RFC demands: header names
// in one exact case, base64 on one line, a body in one write. Each such point
// serves a client that is in the field and fails without it; docs/clients.md
// says which. Do not tidy them.
package est

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"time"

	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// Authority is what the handler asks of the issuer. It is safe for concurrent
// use.
type Authority interface {
	// Enroll runs the issuance cycle. A *issuer.Refusal is the requester's
	// fault or a temporary state; any other error is internal.
	Enroll(ctx context.Context, r issuer.Request) (issuer.Answer, error)

	// Holder authenticates a TLS client certificate as one of our own: under
	// one of our issuing CAs, its exact bytes in the ledger, not revoked, a
	// device's, the claim of a work order or a registration authority's, as its
	// purpose says. It does not fail because the certificate has expired or is not
	// valid yet; the handler decides that by the record.
	//
	// It returns issuer.ErrForeign for a certificate that is not under any of
	// our CAs and *issuer.Refusal for one of ours that does not authenticate.
	// The rule certificate-unknown says that a CA of ours signed a certificate
	// which the ledger does not know, and that the alarm has been raised.
	Holder(ctx context.Context, certificate *x509.Certificate) (ledger.Certificate, error)

	// OrderCredential authenticates by the secret of a work order at a label.
	// *issuer.Refusal of kind Unauthenticated if there is no such order (it
	// then wraps ledger.ErrNotFound), if the secret is wrong or, right, that of an
	// order that was killed (it then wraps *ledger.OrderError); other refusals only
	// for the right secret.
	OrderCredential(ctx context.Context, label, user, secret string) (ledger.Order, error)

	// ClaimOrder returns the work order of a claim certificate that Holder has
	// authenticated, or *issuer.Refusal if the label does not take it.
	ClaimOrder(ctx context.Context, label string, claim ledger.Certificate) (ledger.Order, error)

	// Refused puts a refusal on record that Enroll has not recorded itself. It
	// does not block.
	Refused(r ledger.Refused)

	// DeviceSecret authenticates by the one-time secret of a device, which is the
	// user. *issuer.Refusal of kind Unauthenticated if there is no such device (it
	// then wraps ledger.ErrNotFound) or the secret is wrong. A secret that is used or
	// expired authenticates: what it may still get, the ledger decides.
	DeviceSecret(ctx context.Context, device, secret string) (ledger.DeviceSecret, error)

	// Queued returns the label under which the same request, by key and subject,
	// waits for an approval or has got one; ok is false if none does or the request
	// cannot be read.
	Queued(ctx context.Context, csr []byte) (label string, ok bool, err error)

	// Wants describes the requests that a profile takes, for csrattrs.
	Wants(profile string) issuer.Wants

	// GenerateKey makes the key pair of a request for serverkeygen: of the type of
	// like if the profile takes that, otherwise of another that it takes.
	// *issuer.Refusal if it cannot, or if Enroll would refuse the request whatever
	// the key is; then it has recorded that.
	GenerateKey(ctx context.Context, r issuer.Request, like crypto.PublicKey) (crypto.Signer, error)

	// Withdrawn reports whether an issuing CA, or one above it, is revoked.
	Withdrawn(issuerName string) bool

	// Bridges returns what cacerts holds beyond Anchors while a rollover of the
	// issuing CA's root runs (RFC 7030, Section 4.1.3), or nil.
	Bridges(issuerName string) []*x509.Certificate

	// Anchors returns the trust anchor and every intermediate certificate that
	// a device of that issuing CA needs (RFC 7030, Section 4.1.3), root first;
	// none if there is no such issuing CA yet.
	Anchors(issuerName string) []*x509.Certificate
}

// Config is what NewHandler needs.
type Config struct {
	Authority Authority    // must be set
	Labels    []Label      // at least one
	Realm     string       // shown with the password prompt; "mintmark" if empty
	Logger    *slog.Logger // must be set
	Now       func() time.Time
	// Signer returns the certificate and key that sign the private keys of
	// serverkeygen: those of the TLS server. Must be set if a label has Keygen.
	Signer func() (*tls.Certificate, error)
	// Paths says which of two CAs is given out while one is replaced; nil if none ever is.
	Paths Paths
	// Seen is told of each exchange that succeeded with a client that has presented a
	// certificate, after its answer was sent. It must not block. Nil for nobody.
	Seen func(Seen)
	// Stations are the addresses behind which a whole line may stand: limits per
	// address do not hold for them, nor the lock after wrong passwords.
	Stations []netip.Prefix
}

// operations are the EST operations of RFC 7030, Section 3.2.2.
var operations = []string{"cacerts", "simpleenroll", "simplereenroll", "fullcmc", "serverkeygen", "csrattrs"}

var (
	validLabel = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	validRealm = regexp.MustCompile(`^[ !#-\[\]-~]{1,64}$`) // printable ASCII without quote and backslash
)

// Handler serves EST. It is safe for concurrent use.
type Handler struct {
	authority Authority
	labels    map[string]*label
	challenge string
	logger    *slog.Logger
	now       func() time.Time
	attempts  *attempts
	limits    limits
	queues    bool // a request may have to wait for a person
	signer    func() (*tls.Certificate, error)
	paths     Paths
	seen      func(Seen)
	metrics   metrics
	mux       *http.ServeMux
}

// NewHandler returns a handler for the paths of all labels. It expects to see
// whole paths, from the root of the server.
func NewHandler(c Config) (*Handler, error) {
	if c.Authority == nil || c.Logger == nil {
		return nil, errors.New("est: authority and logger must be set")
	}
	if len(c.Labels) == 0 {
		return nil, errors.New("est: no labels")
	}
	if c.Realm == "" {
		c.Realm = "mintmark"
	}
	if !validRealm.MatchString(c.Realm) {
		return nil, fmt.Errorf("est: realm %q must be at most 64 printable ASCII characters without quotes and backslashes", c.Realm)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	h := &Handler{
		authority: c.Authority,
		labels:    make(map[string]*label, len(c.Labels)),
		// Without a charset parameter, which some clients do not expect.
		challenge: fmt.Sprintf("Basic realm=%q", c.Realm),
		logger:    c.Logger,
		now:       c.Now,
		attempts:  newAttempts(),
		limits:    newLimits(c.Stations),
		signer:    c.Signer,
		paths:     c.Paths,
		seen:      c.Seen,
		metrics:   newMetrics(),
	}
	for _, config := range c.Labels {
		l, err := newLabel(config)
		if err != nil {
			return nil, fmt.Errorf("est: label %q: %w", config.Name, err)
		}
		if h.labels[l.Name] != nil {
			return nil, fmt.Errorf("est: label %q: configured twice", l.Name)
		}
		if l.Keygen != nil && c.Signer == nil {
			return nil, fmt.Errorf("est: label %q: keygen needs a signer, to sign the keys that it hands out", l.Name)
		}
		h.labels[l.Name] = l
		h.queues = h.queues || l.queues()
	}
	h.mux = h.routes()
	return h, nil
}
