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
	"time"

	"mintmark/awsreg"
	"mintmark/internal/ledger"
	"mintmark/internal/reconcile"
	"mintmark/issuer"
)

// AWS keeps AWS accounts in step. Targets are called by their configured name,
// which is one that Targets lists.
type AWS interface {
	Targets() []string
	Plan(ctx context.Context, target string) (reconcile.Plan, error)
	// Apply calls progress for each resource as soon as it is as desired and
	// returns what was done, also when it fails.
	Apply(ctx context.Context, target string, progress func(reconcile.Change)) (reconcile.Plan, error)
	Status(ctx context.Context, target string) (awsreg.Status, error)
	// IAMPolicy is the JSON of what the server's credentials must be allowed.
	IAMPolicy(target string) (string, error)
}

// Config is what New needs.
type Config struct {
	// RA and Ledger must be set.
	RA     *issuer.RA
	Ledger ledger.Ledger
	// AWS is nil if there is no target.
	AWS AWS
	// PublishCRL signs the next CRL of the named authority now. It is called
	// after an authority was made and after a revocation. Must be set.
	PublishCRL func(ctx context.Context, authority string) error
	// Actor names the principal that makes a request, or says no. Must be set.
	Actor func(*http.Request) (name string, ok bool)
	// Version is shown in the status.
	Version string
	// Logger must be set.
	Logger *slog.Logger
}

// New returns the handler of the API.
func New(c Config) http.Handler {
	h := &handler{Config: c}
	mux := http.NewServeMux()
	for pattern, fn := range map[string]operation{
		"GET /v1/status": h.status,

		"GET /v1/authorities":                    h.listAuthorities,
		"POST /v1/authorities":                   h.createAuthority,
		"GET /v1/authorities/{name}":             h.showAuthority,
		"POST /v1/authorities/{name}/csr":        h.requestAuthority,
		"PUT /v1/authorities/{name}/certificate": h.importAuthority,
		"GET /v1/authorities/{name}/crl":         h.showCRL,
		"POST /v1/authorities/{name}/crl":        h.publishCRL,

		"GET /v1/certificates":          h.listCertificates,
		"POST /v1/certificates":         h.issue,
		"GET /v1/certificates/{serial}": h.showCertificate,
		"POST /v1/revocations":          h.revoke,

		"GET /v1/devices":      h.listDevices,
		"GET /v1/devices/{id}": h.showDevice,

		"GET /v1/aws/targets":                   h.listAWS,
		"GET /v1/aws/targets/{name}/plan":       h.planAWS,
		"GET /v1/aws/targets/{name}/status":     h.statusAWS,
		"GET /v1/aws/targets/{name}/iam-policy": h.iamPolicy,
		"POST /v1/aws/targets/{name}/apply":     h.applyAWS,
	} {
		mux.Handle(pattern, h.serve(fn))
	}
	return mux
}

// handler serves the API.
type handler struct{ Config }

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
