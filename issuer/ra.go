package issuer

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// KeyStore makes and opens CA keys by their URI. Safe for concurrent use.
type KeyStore interface {
	// Create makes a key, never over an existing one, and returns the URI by
	// which Signer finds it again.
	Create(ctx context.Context, uri, algorithm string) (string, crypto.Signer, error)
	// Signer opens the key that uri names, in hardware the one with the public key want,
	// wherever it is now; nil takes what is there under the URI.
	Signer(ctx context.Context, uri string, want crypto.PublicKey) (crypto.Signer, error)
}

// Config is what New needs. Fields without a default must be set.
type Config struct {
	Ledger ledger.Ledger
	Keys   KeyStore
	// Server is this server's name in epochs and leases.
	Server string
	// EpochTTL is how long an epoch lasts without being extended; 30 s if zero.
	EpochTTL time.Duration
	Profiles map[string]*Profile
	Logger   *slog.Logger
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Serial makes serial numbers; NewSerial if nil.
	Serial func(now time.Time) *big.Int
	// MaxInFlight bounds the requests inside the cycle; 1024 if zero. What is
	// beyond it is refused with Unavailable.
	MaxInFlight int
	// Tasks says what is to be told to the outside of a certificate that was
	// issued or revoked; nil for nothing. It runs inside the cycle: no I/O.
	Tasks func(ledger.Certificate) []ledger.Task
	// Handover is what a certificate waits for that replaces one of its device.
	Handover Handover
	// PublicURL is the base of the CRL and CA-issuer URLs in CA certificates,
	// without a trailing slash; empty leaves them out.
	PublicURL string
	// FormerURLs are what PublicURL was when certificates in force were issued.
	FormerURLs []string
	// Shards is into how many the CRLs of an authority are divided, by its name; at most
	// MaxShards. Needs PublicURL.
	Shards map[string]int
	// Recorded is called after tasks have been enqueued, to wake their
	// workers; may be nil.
	Recorded func()
	// MostPending is how many requests may wait for an approval; 10,000 if zero.
	// What is beyond it is refused with Unavailable.
	MostPending int
	// ApprovalTTL is how long a request waits for an approval; 7 days if zero.
	ApprovalTTL time.Duration
	// KeepRefusals is how many refusals the ledger keeps; 100,000 if zero.
	KeepRefusals int
	// Revoked is called after a revocation, to wake who signs CRLs; may be nil.
	Revoked func()
	// Step is called after each numbered step of the cycle; nil except in
	// tests, which crash or fail there.
	Step func(step int)
}

// RA is the registration authority over one ledger. Its methods may be called
// concurrently.
type RA struct {
	Config
	log       *slog.Logger
	metrics   *metrics
	inFlight  chan struct{}
	handovers places              // of certificates that wait for Handover
	refusals  chan ledger.Refused // to be written by KeepRefusals

	generators generators

	queued    atomic.Bool // whether any enrollment waits or has waited: see lookQueued
	making    sync.Mutex  // one authority is made at a time
	mu        sync.RWMutex
	epoch     ledger.Epoch
	known     hierarchy              // its maps are never changed: see add
	version   int                    // of known, raised by what this server makes
	revoked   map[ledger.Serial]bool // CA certificates
	condemned map[[32]byte]bool      // CAs, by identity, of which one of several certificates is revoked
	abandoned map[ledger.Serial]bool // intents to void as soon as the ledger writes again
}

// New loads the authorities and joins a new epoch: intents that an earlier run
// of this server left open are void from here on. It opens no key.
func New(ctx context.Context, config Config) (*RA, error) {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Serial == nil {
		config.Serial = NewSerial
	}
	if config.EpochTTL == 0 {
		config.EpochTTL = 30 * time.Second
	}
	if config.MaxInFlight == 0 {
		config.MaxInFlight = 1024
	}
	if config.MostPending == 0 {
		config.MostPending = 10_000
	}
	if config.ApprovalTTL == 0 {
		config.ApprovalTTL = 7 * day
	}
	if config.KeepRefusals == 0 {
		config.KeepRefusals = 100_000
	}
	ra := &RA{
		Config:     config,
		log:        config.Logger,
		metrics:    newMetrics(),
		inFlight:   make(chan struct{}, config.MaxInFlight),
		refusals:   make(chan ledger.Refused, maxWaiting),
		generators: newGenerators(),
		revoked:    make(map[ledger.Serial]bool),
		condemned:  make(map[[32]byte]bool),
		abandoned:  make(map[ledger.Serial]bool),
	}
	ra.Profiles = maps.Clone(config.Profiles)
	if ra.Profiles == nil {
		ra.Profiles = make(map[string]*Profile)
	}
	for _, own := range []*Profile{verification, carried, responder, manifest} {
		ra.Profiles[own.Name] = own
	}
	if err := ra.Refresh(ctx); err != nil {
		return nil, err
	}
	if err := ra.lookQueued(ctx); err != nil {
		return nil, err
	}
	if err := ra.join(ctx); err != nil {
		return nil, err
	}
	return ra, nil
}

// add puts an authority to work that this server has recorded.
func (ra *RA) add(record ledger.Authority) error {
	var authority *ca.Authority
	if len(record.Certificate) > 0 {
		var err error
		if authority, err = ra.open(record); err != nil {
			return err
		}
	}
	ra.mu.Lock()
	defer ra.mu.Unlock()
	ra.version++
	// Refresh reads the old maps without the lock.
	next := ra.known
	next.authorities, next.records, next.order, next.waiting = maps.Clone(next.authorities), maps.Clone(next.records), slices.Clone(next.order), maps.Clone(next.waiting)
	if authority == nil {
		next.waiting[record.Name] = record
		ra.known = next
		return nil
	}
	if _, known := next.authorities[record.Name]; !known {
		next.order = append(next.order, record.Name)
	}
	next.authorities[record.Name], next.records[record.Name] = authority, record
	delete(next.waiting, record.Name)
	next.settle()
	ra.known = next
	return nil
}

// Authority returns the authority of that name, or ErrNoAuthority.
func (ra *RA) Authority(name string) (*ca.Authority, error) {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	a, ok := ra.known.authorities[name]
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrNoAuthority, name)
	}
	return a, nil
}

// Authorities returns all authorities in the order of their creation.
func (ra *RA) Authorities() []*ca.Authority {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	list := make([]*ca.Authority, len(ra.known.order))
	for i, name := range ra.known.order {
		list[i] = ra.known.authorities[name]
	}
	return list
}

// Anchors returns what a device of an issuing CA needs to verify its chain,
// root first (RFC 7030, Section 4.1.3); nil for an unknown authority. It is the path of
// that authority as it is recorded: PathFor is what a device is shown.
func (ra *RA) Anchors(name string) []*x509.Certificate {
	a, err := ra.Authority(name)
	if err != nil {
		return nil
	}
	return rootFirst(a)
}

// Usable says why a profile cannot be issued by an authority for the length of
// its validity from now on, or nil. An authority too short-lived for a profile
// refuses it long before it expires itself. What has replaced the authority counts in
// its place, once it serves for all.
func (ra *RA) Usable(profile, authority string) error {
	p, ok := ra.Profiles[profile]
	if !ok {
		return fmt.Errorf("%w: %q", ErrNoProfile, profile)
	}
	authority = ra.Serving(authority, "", "")
	a, err := ra.Authority(authority)
	if err != nil {
		return err
	}
	now, end := ra.Now(), a.Certificate().NotAfter
	if err := ra.inForce(a); err != nil {
		return err
	}
	// A claim ends with its order.
	if !p.outlive && p.Purpose != ledger.ForClaim && now.Add(p.validity).After(end) {
		return fmt.Errorf("issuing CA %q expires on %s, before a certificate of profile %q issued now would (validity %v)", authority, end.Format(time.DateOnly), profile, p.validity)
	}
	if p.Purpose == ledger.ForGateway {
		if err := a.Room(); err != nil {
			return fmt.Errorf("issuing CA %q cannot certify gateways: %w", authority, err)
		}
	}
	return nil
}

// inForce says why an authority must not certify anything, or nil. An expired
// one would not be stopped by its own notAfter under a profile that may outlive
// it, and one that is revoked, or below a revoked one, is in nobody's good
// faith.
func (ra *RA) inForce(a *ca.Authority) error {
	if end := a.Certificate().NotAfter; ra.Now().After(end) {
		return &Refusal{Kind: Unavailable, Rule: "issuer-lifetime", RetryAfter: time.Hour,
			Text: fmt.Sprintf("issuing CA %q expired on %s", a.Name(), end.Format(time.DateOnly))}
	}
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	if ra.withdrawn(a) {
		return &Refusal{Kind: Unavailable, Rule: "issuer-revoked", RetryAfter: time.Hour,
			Text: fmt.Sprintf("issuing CA %q is revoked or below a revoked CA: it must be replaced", a.Name())}
	}
	return nil
}

// join opens a new epoch and voids what lapsed.
func (ra *RA) join(ctx context.Context) error {
	epoch, err := ra.Ledger.Join(ctx, ra.Server, ra.Now(), ra.EpochTTL)
	if err != nil {
		return fmt.Errorf("joining an epoch: %w", err)
	}
	if err := ra.voidLapsed(ctx); err != nil {
		return err
	}
	ra.mu.Lock()
	ra.epoch = epoch
	ra.mu.Unlock()
	return nil
}

// Keep extends the epoch until ctx ends, voids the intents whose requests
// failed while the ledger could not write, and does what servers that share a
// ledger do for each other: see Refresh, and VoidLapsed of the ledger.
func (ra *RA) Keep(ctx context.Context) {
	// Every few seconds, because a ledger that cannot write shows itself here
	// when nobody enrolls.
	ticker := time.NewTicker(min(ra.EpochTTL/4, 3*time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			ra.tick(ctx)
		}
	}
}

func (ra *RA) tick(ctx context.Context) {
	err := ra.Ledger.Extend(ctx, ra.currentEpoch(), ra.Now(), ra.EpochTTL)
	if errors.Is(err, ledger.ErrLapsed) {
		ra.log.Error("epoch has lapsed; joining a new one", "server", ra.Server)
		err = ra.join(ctx)
	}
	if err != nil {
		ra.log.Error("keeping the epoch", "error", err)
		return
	}
	ra.voidAbandoned(ctx)
	// A server that was killed is not there to void its own.
	if err := ra.voidLapsed(ctx); err != nil {
		ra.log.Error("voiding what other servers left open", "error", err)
	}
	if err := errors.Join(ra.Refresh(ctx), ra.lookQueued(ctx)); err != nil {
		ra.log.Error("taking over what other servers have recorded", "error", err)
	}
}

func (ra *RA) voidLapsed(ctx context.Context) error {
	voided, err := ra.Ledger.VoidLapsed(ctx, ra.Now())
	if err != nil {
		return fmt.Errorf("voiding the intents of lapsed epochs: %w", err)
	}
	if voided > 0 {
		ra.log.Warn("voided intents that were left open", "count", voided, "server", ra.Server)
	}
	return nil
}

func (ra *RA) currentEpoch() ledger.Epoch {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	return ra.epoch
}

// abandon remembers an intent that failed after step 6 and voids it now or, if
// the ledger cannot write, as soon as it can.
func (ra *RA) abandon(ctx context.Context, serial ledger.Serial) {
	ra.mu.Lock()
	ra.abandoned[serial] = true
	ra.mu.Unlock()
	if ra.Ledger.Health() == nil {
		ra.voidAbandoned(ctx)
	}
}

func (ra *RA) voidAbandoned(ctx context.Context) {
	ra.mu.RLock()
	var serials []ledger.Serial
	for s := range ra.abandoned {
		serials = append(serials, s)
	}
	ra.mu.RUnlock()
	for _, s := range serials {
		// ErrIssued: valid after all, because only the answer of step 9 was
		// lost. That and what was never recorded need nothing more.
		if err := ra.Ledger.Void(ctx, s, ra.Now()); err != nil && !errors.Is(err, ledger.ErrIssued) && !errors.Is(err, ledger.ErrNotFound) {
			ra.log.Warn("voiding an intent", "serial", s, "error", err)
			continue
		}
		ra.mu.Lock()
		delete(ra.abandoned, s)
		ra.mu.Unlock()
	}
}
