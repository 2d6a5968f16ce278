// Package awsreg brings AWS IoT Core to the state that the configuration
// describes: which issuing CAs are registered in which account and region, how
// devices under them are let in, and what AWS is told of each certificate.
//
// It is a reconciler. Plan reads and says what Apply would do; Apply does it,
// reading each thing again immediately before it is changed, so that a run that
// died anywhere is finished by the next one and a second run changes nothing.
// Preflight predicts AWS's refusals without a call.
//
// Devices come in by just-in-time registration (JITR: a Lambda of mintmark
// decides, package hook) or by just-in-time provisioning (JITP: AWS runs a
// template). The template belongs to the registration of the CA, so an issuing
// CA is for one way and never for both.
package awsreg

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mintmark/internal/ledger"
)

// Issuer is what awsreg must know of one issuing CA.
type Issuer struct {
	Name        string
	Certificate *x509.Certificate
	// Subject lists the subject attributes that every end-entity certificate of
	// this issuer carries, by AWS's names (CommonName, SerialNumber, Country,
	// Organization, OrganizationalUnit, StateName, DistinguishedNameQualifier).
	// With several profiles it is what they have in common.
	Subject []string
}

// Config is what a Registrar is made of.
type Config struct {
	// Issuer finds an issuing CA by name. Must be set.
	Issuer func(ctx context.Context, name string) (Issuer, error)
	// Verification issues a certificate that proves possession of the issuer's
	// key: its subject's common name is the registration code, its key pair is
	// thrown away, it is signed by the issuer itself and lives for minutes. It
	// returns PEM. Must be set for Apply.
	Verification func(ctx context.Context, issuer, registrationCode string) ([]byte, error)
	// Records is where Deliver and Reconcile look up what a task or a certificate
	// is about. Must be set for both.
	Records Records
	// Revoke revokes in the ledger what was revoked at AWS; must be set for
	// Reconcile to adopt revocations.
	Revoke func(ctx context.Context, serials []ledger.Serial) error
	// Server names this server in the manifest's head. Must be set for Beat.
	Server string
	// Credentials replace the SDK's default chain (environment, shared
	// configuration, instance role) when set.
	Credentials aws.CredentialsProvider
	// Deadline bounds one Deliver, and of Plan, Apply and Status the work on one
	// resource or one page of certificates, retries included. Five minutes if zero.
	Deadline time.Duration
	// HTTPClient replaces the SDK's own when set.
	HTTPClient aws.HTTPClient
	// Now is time.Now if nil.
	Now func() time.Time
	// Logger is discarded if nil.
	Logger *slog.Logger
}

// Records is the part of the ledger that awsreg reads; see ledger.Ledger.
type Records interface {
	Order(ctx context.Context, id string) (ledger.Order, error)
	Orders(ctx context.Context, query ledger.OrderQuery) ([]ledger.Order, error)
	Device(ctx context.Context, id string) (ledger.Device, error)
	Devices(ctx context.Context, query ledger.DeviceQuery) ([]ledger.Device, error)
	Certificate(ctx context.Context, serial ledger.Serial) (ledger.Certificate, error)
	Certificates(ctx context.Context, query ledger.Query) (ledger.Page, error)
}

// Registrar talks to every configured account and region. It may be used
// concurrently; the rate limit of a target holds across all its calls.
type Registrar struct {
	cfg Config

	mu       sync.Mutex
	sessions map[sessionKey]*session
}

// New checks the configuration and returns a registrar. It makes no call.
func New(cfg Config) (*Registrar, error) {
	if cfg.Issuer == nil {
		return nil, errors.New("awsreg: Config.Issuer is not set")
	}
	if cfg.Deadline <= 0 {
		cfg.Deadline = 5 * time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Registrar{cfg: cfg, sessions: make(map[sessionKey]*session)}, nil
}

// issuer finds the issuing CA and its certificate.
func (r *Registrar) issuer(ctx context.Context, name string) (Issuer, error) {
	i, err := r.cfg.Issuer(ctx, name)
	if err != nil {
		return Issuer{}, fmt.Errorf("looking up issuer %q: %w", name, err)
	}
	if i.Certificate == nil {
		return Issuer{}, fmt.Errorf("issuer %q has no certificate yet", name)
	}
	return i, nil
}
