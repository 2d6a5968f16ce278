// Package server is the composition root: it builds everything that serve, a
// command without a server, and the tests run, out of one configuration.
//
// Nothing imports it but the commands. It holds no rules of its own: which
// certificate is issued to whom is package issuer's, what is on the wire is
// issuer/est's and admin/adminhttp's.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"mintmark/admin/adminhttp"
	"mintmark/ca/revocation"
	"mintmark/ca/revocation/ocsp"
	"mintmark/internal/access"
	"mintmark/internal/audit"
	"mintmark/internal/config"
	"mintmark/internal/flock"
	"mintmark/internal/keystore"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/issuer"
	"mintmark/issuer/inventory"
)

// Socket is the name of the admin API's socket in the state directory.
const Socket = "admin.sock"

// Version is the version of this build.
const Version = "0.1.0"

// Options are what the command line adds to the configuration.
type Options struct {
	// Listen, ListenHTTP and ListenMetrics replace the configured addresses
	// where set. If Listen asks for port 0, so do the others unless set.
	Listen, ListenHTTP, ListenMetrics string
	// Logger must be set.
	Logger *slog.Logger
	// Out gets the lines that say where Serve listens; must be set for Serve.
	Out io.Writer
	// Principals are the first ones of a ledger that knows nobody yet; the owner
	// of the state directory if there are none.
	Principals []ledger.Principal
	// Step is issuer.Config.Step: for tests that stop inside the cycle.
	Step func(int)
	// Now is the clock; time.Now if nil. For drills, in which years pass.
	Now func() time.Time
	// Inside is given, by Serve, what it serves; nil for nobody. For drills, whose
	// devices are too many for a connection each.
	Inside func(Inside)
}

// Server is an opened state directory.
type Server struct {
	config    *config.Config
	options   Options
	log       *slog.Logger
	lock      *os.File
	issuance  *audit.Log
	ledger    ledger.Ledger
	readAhead func(context.Context) (int64, error) // of the ledger, into the page cache
	keys      *keystore.Store
	ra        *issuer.RA
	crls      *revocation.Publisher
	ocsp      *ocsp.Responder // nil without ocsp.enabled
	aws       *awsTargets
	azure     *azureTargets
	following following
	followers atomic.Pointer[followers] // nil while no device is served
	shutting  shutting
	overdue   overdue
	registry  *prometheus.Registry
	poke      poke   // wakes the CRL job
	unkeep    func() // stops keeping the epoch, and waits
}

// Open takes the lock of the state directory and opens ledger, key store and
// registration authority, whose epoch it keeps until Close. It listens nowhere,
// starts no job and opens no CA key. ErrBusy if another process has the directory.
func Open(ctx context.Context, c *config.Config, o Options) (*Server, error) {
	s := &Server{config: c, options: o, log: o.Logger, registry: prometheus.NewRegistry(), poke: make(poke, 1)}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) (err error) {
	if err := CheckFIPS(s.config); err != nil {
		return err
	}
	if s.lock, err = lock(s.config.Dir); err != nil {
		return err
	}
	profiles, err := profiles(s.config)
	if err != nil {
		return err
	}
	metrics := newLedgerMetrics()
	s.issuance, err = audit.Open(filepath.Join(s.config.Dir, "log"), audit.Config{Server: s.config.Server})
	if err != nil {
		return fmt.Errorf("opening the issuance log: %w", err)
	}
	database := s.database()
	database.ObserveCommit = metrics.observe
	store, err := sqldb.Open(ctx, database)
	if err != nil {
		return fmt.Errorf("opening the ledger: %w", err)
	}
	s.readAhead = store.Warm
	s.ledger = store // not before: a nil *sqldb.Store is not a nil Ledger
	s.keys, err = keystore.Open(keystore.Config{
		Dir: s.config.Dir, Passphrase: s.passphrase(), Tokens: tokensOf(s.config), TPMDevice: s.config.Keys.TPM.Device, State: hsmState(s.config), Logger: s.log,
	})
	if err != nil {
		return fmt.Errorf("opening the key store: %w", err)
	}
	s.ra, err = issuer.New(ctx, issuer.Config{
		Ledger: s.ledger, Keys: s.keys, Server: s.config.Server, Profiles: profiles, Logger: s.log,
		Now: s.options.Now, PublicURL: s.config.PublicURL, FormerURLs: s.config.CRL.FormerURLs, Shards: s.config.CRL.Shards, Tasks: s.tasks, Recorded: s.wakeClouds, Handover: s.handover(), Revoked: s.revoked, Step: s.options.Step,
		KeepRefusals: s.config.Refusals.Keep, ApprovalTTL: s.config.Approval.TTL, MostPending: s.config.Approval.Most,
	})
	if err != nil {
		return err
	}
	s.ocsp = newOCSP(s)
	if err := s.firstPrincipals(ctx); err != nil {
		return err
	}
	if _, err := inventory.DropStale(ctx, s.ledger, s.config.Server); err != nil {
		return fmt.Errorf("dropping device lists that were cut off: %w", err)
	}
	// Also without Serve: what a command does may take longer than an epoch,
	// and may be refused.
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	var kept sync.WaitGroup
	kept.Go(func() { s.ra.Keep(keeping) })
	kept.Go(func() { s.ra.KeepRefusals(keeping) })
	s.unkeep = func() { stop(); kept.Wait() }
	if err := s.checkShards(); err != nil {
		return err
	}
	if s.crls, err = s.newPublisher(ctx); err != nil {
		return err
	}
	if s.aws, err = newAWSTargets(s); err != nil {
		return err
	}
	if s.azure, err = newAzureTargets(s); err != nil {
		return err
	}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.register(metrics.collectors()...)
	s.register(s.ra.Metrics()...)
	s.register(s.crls.Metrics()...)
	if s.ocsp != nil {
		s.register(s.ocsp.Metrics()...)
	}
	for _, t := range s.tokens() {
		s.register(t.Metrics()...)
	}
	s.register(newStateCollector(s), newAWSCollector(s.aws), newAzureCollector(s.azure), newRotationCollector(s), newShuttingCollector(s), newOverdueCollector(s))
	return nil
}

// Close releases everything, in the reverse order of opening.
func (s *Server) Close() error {
	var errs []error
	if s.unkeep != nil {
		s.unkeep()
	}
	if s.keys != nil {
		errs = append(errs, s.keys.Close())
	}
	if s.ledger != nil {
		errs = append(errs, s.ledger.Close())
	}
	if s.issuance != nil {
		errs = append(errs, s.issuance.Close())
	}
	if s.lock != nil {
		errs = append(errs, flock.Release(s.lock))
	}
	return errors.Join(errs...)
}

// Admin returns the administrative API for callers inside this process, who
// act as the principal of the user that runs it.
func (s *Server) Admin() http.Handler { return s.admin(s.self) }

func (s *Server) admin(actor func(*http.Request) (access.Principal, bool, error)) http.Handler {
	return adminhttp.New(adminhttp.Config{
		RA: s.ra, Ledger: s.ledger, AWS: s.aws, Azure: s.azure, Rotations: s.machine(), Tokens: s.adminTokens, Outbox: clouds{s}, PublishCRL: s.publishCRL, SignCRL: s.signCRL, CRLPlaces: s.crls.PlaceStates,
		OCSPSeen: s.ocspSeen(), Outstanding: s.outstanding, Revoking: s.revoking,
		Replaced: func() []string { return Replaced(s.config, s.ra.KnownRotations()) },
		Actor:    actor, Version: Version, Logger: s.log,
		OfficerIssuer: s.config.Access.Issuer, OfficerProfile: s.config.Access.Profile,
		ApprovalTTL: s.config.Access.ApprovalTTL, RevokeLimit: s.config.Access.RevokeLimit,
		Labels: s.orderLabels(), ClaimIssuer: s.config.Orders.Issuer, ClaimProfile: s.config.Orders.Profile,
		Spool: filepath.Join(s.config.Dir, "spool"),
	})
}

// register adds collectors under the product's prefix.
func (s *Server) register(list ...prometheus.Collector) {
	prometheus.WrapRegistererWithPrefix("mintmark_", s.registry).MustRegister(list...)
}

// passphrase finds what opens encrypted key files.
func (s *Server) passphrase() func() ([]byte, error) {
	if s.config.Keys.PassphraseFile != "" {
		return keystore.PassphraseFile(s.config.Path(s.config.Keys.PassphraseFile))
	}
	return keystore.PassphraseCredential()
}

// profiles validates the configured profiles.
func profiles(c *config.Config) (map[string]*issuer.Profile, error) {
	set := make(map[string]*issuer.Profile, len(c.Profiles))
	for name, p := range c.Profiles {
		profile, err := issuer.NewProfile(name, p, c.PublicURL)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(c.Dir, config.File), err)
		}
		set[name] = profile
	}
	return set, nil
}
