// Package adminhttp serves mintmark's administrative API: the handlers behind
// the client of package admin. docs/admin-api.md is its reference.
//
// It decides nothing about certificates: every handler decodes, makes one call
// on the registration authority, the ledger or the clouds, and encodes. Who may
// call is decided by Config.Actor, and everything is denied to whom it does not
// name.
package adminhttp

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"mintmark/admin"
	"mintmark/ca/revocation"
	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// Config is what New needs.
type Config struct {
	// RA and Ledger must be set.
	RA     *issuer.RA
	Ledger ledger.Ledger
	// AWS and Azure are nil if there is no target.
	AWS   AWS
	Azure Azure
	// Rotations moves rotations. Must be set.
	Rotations *rotation.Machine
	// Tokens lists the PKCS#11 tokens that keys are in; nil for none.
	Tokens func() []Token
	// Outbox says whom to tell of what changes; nil for nobody.
	Outbox Outbox
	// PublishCRL signs those CRLs of the named authority that do not show a revocation, or
	// that there are not yet. It is called after an authority was made and after a
	// revocation. Must be set.
	PublishCRL func(ctx context.Context, authority string) error
	// SignCRL signs the next CRL of a shard of the named authority now; of all of them if
	// shard is negative. Must be set.
	SignCRL func(ctx context.Context, authority string, shard int) error
	// CRLPlaces says how it stands with the places of CRLs; nil if there are none.
	CRLPlaces func() []revocation.PlaceState
	// OCSPSeen says when the responder last saw what is revoked; nil without one.
	OCSPSeen func() time.Time
	// Outstanding lists what was revoked or held and is not everywhere yet; nil where nothing
	// follows that.
	Outstanding func(ctx context.Context) ([]admin.Outstanding, error)
	// Revoking lists so many certificates that are revoked and not everywhere yet, and reports
	// whether there are more; nil where nothing follows that.
	Revoking func(ctx context.Context, most int) (list []ledger.Certificate, more bool, err error)
	// Replaced says where the configuration names CAs that rotations have replaced; nil for
	// nowhere. It must not block.
	Replaced func() []string
	// Actor finds the principal that makes a request, or says no; an error is
	// internal. Must be set.
	Actor func(*http.Request) (p access.Principal, ok bool, err error)
	// OfficerIssuer and OfficerProfile issue the TLS certificates of principals;
	// both empty if there are none.
	OfficerIssuer, OfficerProfile string
	// ApprovalTTL is how long a proposal may wait until it is carried out; 72 h
	// if zero.
	ApprovalTTL time.Duration
	// RevokeLimit is how many certificates one person may revoke at once; 10 if
	// zero.
	RevokeLimit int
	// Labels are the EST labels by name, and the labels of fleets at AWS, for the
	// checks of a work order and for what a registration authority may.
	Labels map[string]Label
	// ClaimIssuer and ClaimProfile issue the claim certificates of work orders;
	// empty if orders have secrets only.
	ClaimIssuer  string
	ClaimProfile string
	// Spool is the directory for device lists while they are imported; it is
	// made if it is not there. Empty for the system's.
	Spool string
	// Version is shown in the status.
	Version string
	// Logger must be set.
	Logger *slog.Logger
}

// route is one route of the API: what it is called and what it does. The
// operation decides who may; what depends on the request (a revocation of many,
// a raised quantity) asks again inside, and what needs two persons calls
// twoPersons before it does anything.
type route struct {
	pattern   string
	operation access.Operation
	fn        operation
}

// New returns the handler of the API.
func New(c Config) http.Handler {
	if c.ApprovalTTL == 0 {
		c.ApprovalTTL = 72 * time.Hour
	}
	if c.RevokeLimit == 0 {
		c.RevokeLimit = 10
	}
	if c.Outbox == nil {
		c.Outbox = silence{}
	}
	h := &handler{Config: c, approved: http.NewServeMux()}
	h.gate = &access.Gate{Store: c.Ledger, Now: c.RA.Now, TTL: c.ApprovalTTL}
	mux := http.NewServeMux()
	for _, r := range h.routes() {
		mux.Handle(r.pattern, h.serve(r.operation, r.fn))
		h.approved.Handle(r.pattern, approvedRoute(r))
	}
	return mux
}

// routes are all of the API.
func (h *handler) routes() []route {
	return slices.Concat(
		h.hierarchyRoutes(),
		h.certificateRoutes(),
		h.batchRoutes(),
		h.inventoryRoutes(),
		h.secretRoutes(),
		h.enrollmentRoutes(),
		h.rolloverRoutes(),
		h.rotationRoutes(),
		h.anchorRoutes(),
		h.renewalRoutes(),
		h.orderRoutes(),
		h.principalRoutes(),
		h.approvalRoutes(),
		h.cloudRoutes(),
		h.azureRoutes(),
		h.hsmRoutes(),
	)
}

func (h *handler) hierarchyRoutes() []route {
	return []route{
		{"GET /v1/status", access.StatusRead, h.status},
		{"GET /v1/authorities", access.AuthorityRead, h.listAuthorities},
		{"POST /v1/authorities", access.AuthorityCreate, h.createAuthority},
		{"GET /v1/authorities/{name}", access.AuthorityRead, h.showAuthority},
		{"POST /v1/authorities/{name}/csr", access.AuthorityCreate, h.requestAuthority},
		{"PUT /v1/authorities/{name}/certificate", access.AuthorityCreate, h.importAuthority},
		{"GET /v1/authorities/{name}/crl", access.AuthorityRead, h.showCRL},
		{"POST /v1/authorities/{name}/crl", access.CRLPublish, h.publishCRL},
		{"PUT /v1/authorities/{name}/crl", access.CRLPublish, h.importCRL},
	}
}

func (h *handler) certificateRoutes() []route {
	return []route{
		{"GET /v1/certificates", access.CertificateRead, h.listCertificates},
		{"POST /v1/certificates", access.CertificateIssue, h.issue},
		{"GET /v1/certificates/{serial}", access.CertificateRead, h.showCertificate},
		{"POST /v1/revocations", access.CertificateRevoke, h.revoke},
	}
}

// handler serves the API.
type handler struct {
	Config
	gate     *access.Gate
	approved *http.ServeMux // the same operations for what was approved

	importing sync.Mutex // held by the device list that is imported
}

// operation is one operation of the API. What it returns is answered by serve.
type operation func(w http.ResponseWriter, r *http.Request) error

// utc is a time on the wire, or nothing for the zero time.
func utc(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
