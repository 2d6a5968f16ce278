package ocsp

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// Ledger is the part of the ledger that answers come from; see ledger.Certificates
// and ledger.Revocations. Safe for concurrent use.
type Ledger interface {
	Certificate(ctx context.Context, serial ledger.Serial) (ledger.Certificate, error)
	ChangedSince(ctx context.Context, position string, limit int) (serials []ledger.Serial, next string, err error)
}

// Config is what New needs; every field must be set but Outage and Unlimited.
type Config struct {
	Ledger Ledger
	// Authority returns the authority of a name, or an error if there is none.
	Authority func(name string) (*ca.Authority, error)
	// Issue has an authority certify a responder, whose key it makes.
	Issue func(ctx context.Context, authority string) (*x509.Certificate, crypto.Signer, error)
	// Lifetime is from thisUpdate to nextUpdate of an answer; shorter if the
	// responder's certificate ends before.
	Lifetime time.Duration
	// Outage is how long answers that are kept are given out while the ledger cannot
	// be read, and nobody here can know whether they are right still.
	Outage time.Duration
	// Most is how many answers are kept.
	Most int
	// Unlimited are networks behind whose addresses many ask; no limit per address holds
	// for them.
	Unlimited []netip.Prefix
	Now       func() time.Time
	Logger    *slog.Logger
}

const (
	// patience is how long somebody waits for an answer that is not kept.
	patience = 5 * time.Second
	// signingBound bounds the making of one, for those who wait and for the cache.
	signingBound = 10 * time.Second
)

// Responder answers for every authority whose key is here. Its methods may be
// called concurrently. It keeps answers only while Run runs.
type Responder struct {
	Config
	cache   *cache
	metrics *metrics
	wake    chan struct{}
	quota   *quota
	waiting chan struct{} // bounds who waits for a signature
	lookups chan struct{} // bounds who waits for the ledger
	signers chan struct{} // bounds the signatures that are made at a time
	seen    atomic.Int64  // when changes were last listed, in Unix nanoseconds; 0 for never
	quiet   atomic.Int64  // until when failures are not logged again, in Unix nanoseconds

	mu      sync.Mutex
	offices map[string]*office
	names   map[string]*issuerName
}

// New returns a responder that has no certificate yet: it asks for one when it is
// first asked.
func New(config Config) *Responder {
	r := &Responder{
		Config: config, cache: newCache(config.Most), wake: make(chan struct{}, 1),
		quota: newQuota(config.Unlimited), waiting: make(chan struct{}, maxWaiting),
		lookups: make(chan struct{}, lookupsAtOnce()), signers: make(chan struct{}, signersAtOnce()),
		offices: make(map[string]*office), names: make(map[string]*issuerName),
	}
	r.metrics = newMetrics(r)
	return r
}

// reply is what is given to whoever asks.
type reply struct {
	head, tail []byte
	kept       *kept // nil for what is signed for this request only
	outcome    outcome
}

func (s responseStatus) reply(o outcome) reply { return reply{head: s.failure(), outcome: o} }

// answer answers a request that came from an address for the authority of that name.
func (r *Responder) answer(ctx context.Context, from netip.Addr, name string, der []byte) reply {
	request, err := parseRequest(der)
	if err != nil {
		return malformedRequest.reply(outcomeMalformed)
	}
	a, err := r.Authority(name)
	if err != nil || !r.answersFor(a, request.asked) {
		// RFC 5019, Section 2.2.3: not for this responder to say.
		return unauthorized.reply(outcomeUnauthorized)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if request.nonce == nil && len(request.asked) == 1 {
		k, err := r.presigned(ctx, from, a, request.asked[0])
		if err != nil {
			return r.failed(name, err)
		}
		return reply{head: k.head, tail: k.signer.tail, kept: k, outcome: outcomes[k.status]}
	}
	if err := r.admit(from); err != nil {
		return r.failed(name, err)
	}
	defer r.leave()
	s, err := r.sign(ctx, a, request.asked, request.nonce)
	if err != nil {
		return r.failed(name, err)
	}
	o := outcomeSeveral
	if len(s.about) == 1 {
		o = outcomes[s.about[0].status]
	}
	return reply{head: s.head, tail: s.by.tail, outcome: o}
}

// answersFor reports whether all certificates that are asked about are the
// authority's, whose key is here and which is in force: one that has ended could
// certify no responder.
func (r *Responder) answersFor(a *ca.Authority, asked []certID) bool {
	if errors.Is(a.Ready(), ca.ErrNoSigner) || !r.Now().Before(a.Certificate().NotAfter) {
		return false
	}
	name, err := r.issuerName(a)
	return err == nil && !slices.ContainsFunc(asked, func(id certID) bool { return !name.is(id) })
}

func (r *Responder) issuerName(a *ca.Authority) (*issuerName, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.names[a.Name()]; n != nil && &n.certificate[0] == &a.Certificate().Raw[0] {
		return n, nil
	}
	n, err := newIssuerName(a)
	if err == nil {
		r.names[a.Name()] = n
	}
	return n, err
}

// admit lets in who asks for a signature from an address; leave must follow.
func (r *Responder) admit(from netip.Addr) error {
	if !r.quota.sign(r.Now(), from) {
		return errLimited
	}
	return r.enter()
}

// enter takes one of the places of those who wait for a signature; leave must follow.
func (r *Responder) enter() error {
	select {
	case r.waiting <- struct{}{}:
		return nil
	default:
		return errBusy
	}
}

func (r *Responder) leave() { <-r.waiting }

// presigned returns the kept answer about a certificate, or has one signed.
func (r *Responder) presigned(ctx context.Context, from netip.Addr, a *ca.Authority, id certID) (*kept, error) {
	now := r.Now()
	q := question{a.Name(), string(id.raw)}
	if r.watched(now) {
		if k := r.cache.get(q, now); k != nil {
			return k, nil
		}
	}
	s, err := r.keep(ctx, a, q, id, func() error { return r.admit(from) })
	if err != nil {
		return nil, err
	}
	select {
	case <-s.done:
		return s.answer, s.err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for an answer: %w", ctx.Err())
	}
}

// keep has an answer signed and kept, beside whoever waits for it. Who asks first must be
// let in by admit; what others are waiting for costs nothing.
func (r *Responder) keep(ctx context.Context, a *ca.Authority, q question, id certID, admit func() error) (*signing, error) {
	s, first, err := r.cache.begin(q, id.serial, admit)
	if err != nil || !first {
		return s, err
	}
	id.raw = []byte(q.id) // and not a part of somebody's request
	go func() {
		defer r.leave()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), signingBound)
		defer cancel()
		answer, err := r.sign(ctx, a, []certID{id}, nil)
		if err != nil {
			r.cache.end(s, nil, err)
			return
		}
		sum := sha256.Sum256(answer.head)
		r.cache.end(s, &kept{
			issuer: a.Name(), id: id, status: answer.about[0].status, head: answer.head, signer: answer.by,
			from: answer.from, until: answer.until, asked: answer.from,
			etag: `"` + hex.EncodeToString(sum[:12]) + `"`, modified: answer.from.UTC().Format(http.TimeFormat),
		}, nil)
	}()
	return s, nil
}

// signed is an answer that was just signed.
type signed struct {
	head        []byte
	by          *delegate
	about       []single
	from, until time.Time
}

// sign looks up certificates and signs what the ledger says of them.
func (r *Responder) sign(ctx context.Context, a *ca.Authority, ids []certID, nonce []byte) (s signed, err error) {
	// Who signs comes first, because that may take seconds: between the look into the
	// ledger and the answer there must be none.
	if s.by, err = r.delegate(ctx, a); err != nil {
		return s, err
	}
	found, err := r.lookUp(ctx, a, ids)
	if err != nil {
		return s, err
	}
	if found.strange && !r.quota.stranger(found.at) {
		return s, errStranger
	}
	s.about = found.about
	s.from, s.until = found.at.Truncate(time.Second), found.at.Add(r.Lifetime).Truncate(time.Second)
	if end := s.by.certificate.NotAfter; s.until.After(end) {
		s.until = end
	}
	ctx, cancel := context.WithTimeoutCause(ctx, turn, errBusy)
	defer cancel()
	select {
	case r.signers <- struct{}{}:
		defer func() { <-r.signers }()
	case <-ctx.Done():
		return s, fmt.Errorf("waiting for a turn to sign: %w", context.Cause(ctx))
	}
	r.metrics.signatures.Inc()
	s.head, err = s.by.respond(s.about, nonce, s.from, s.until)
	return s, err
}

// found is what the ledger says of certificates.
type found struct {
	about   []single
	at      time.Time // before anything was read: thisUpdate is when it was right
	strange bool      // the ledger has none of them
}

// lookUp asks the ledger.
func (r *Responder) lookUp(ctx context.Context, a *ca.Authority, ids []certID) (found, error) {
	select {
	case r.lookups <- struct{}{}:
		defer func() { <-r.lookups }()
	case <-ctx.Done():
		return found{}, fmt.Errorf("waiting for a turn to ask the ledger: %w", ctx.Err())
	}
	f := found{at: r.Now(), strange: true}
	for _, id := range ids {
		var record ledger.Certificate
		if id.serial != "" {
			var err error
			if record, err = r.Ledger.Certificate(ctx, id.serial); err != nil && !errors.Is(err, ledger.ErrNotFound) {
				return f, fmt.Errorf("looking up certificate %s: %w", id.serial, err)
			}
		}
		f.strange = f.strange && record.Issuer != a.Name()
		f.about = append(f.about, singleOf(id, record, a.Name()))
	}
	return f, nil
}

// failed is the answer where the ledger or a key is away: it may be there soon.
func (r *Responder) failed(name string, err error) reply {
	switch {
	case errors.Is(err, errLimited):
		return tryLater.reply(outcomeLimited)
	case errors.Is(err, errStranger):
		// RFC 5019, Section 2.2.3: there is no record of it. That costs no signature, and
		// nobody can take it for "good".
		return unauthorized.reply(outcomeUnauthorized)
	}
	// One line a while: everybody who asks fails alike.
	now := r.Now()
	if until := r.quiet.Load(); now.UnixNano() >= until && r.quiet.CompareAndSwap(until, now.Add(10*time.Second).UnixNano()) {
		r.Logger.Error("answering by OCSP", "issuer", name, "error", err)
	}
	if errors.Is(err, context.Canceled) {
		return internalError.reply(outcomeInternal) // nobody waits for it any more
	}
	return tryLater.reply(outcomeTryLater)
}

// serialOf returns the ledger's form of a serial number.
func serialOf(n *big.Int) ledger.Serial { return ledger.Serial(hex.EncodeToString(n.Bytes())) }
