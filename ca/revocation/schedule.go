package revocation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

const (
	// patience is how long the CRLs of the others wait for one. It goes on beside them.
	patience = 2 * time.Second
	// hung is when the signature of a CRL has failed, whether it comes back or not.
	hung = time.Minute
)

// errSigning says that the CRL of an authority is being signed still.
var errSigning = errors.New("the signature of a CRL that was begun before has not come back")

// PublishDue signs each CRL that there is not yet, whose period is over, that does not
// show a revocation, or of which a place holds a later one. One authority's failure does
// not stop the others, and a key that hangs delays the return by seconds at most; the
// errors are returned.
func (p *Publisher) PublishDue(ctx context.Context, fence ledger.Fence) error {
	pending, err := p.Ledger.RevocationsSince(ctx)
	if err != nil {
		return fmt.Errorf("counting unpublished revocations: %w", err)
	}
	has, err := p.stored(ctx)
	if err != nil {
		return err
	}
	var errs []error
	var begun []*run
	for _, authority := range p.Authorities() {
		// Nobody asks for the CRL of an authority that has expired, and it could
		// not be valid for any time.
		if !p.Now().Before(authority.Certificate().NotAfter) {
			p.nextUpdate.DeleteLabelValues(authority.Name())
			continue
		}
		p.observe(authority.Name(), has)
		p.failures.WithLabelValues(authority.Name()) // there from the start
		if errors.Is(authority.Ready(), ca.ErrNoSigner) {
			continue // its CRLs come from where its key is
		}
		due, err := p.due(ctx, authority, has, pending)
		if err != nil {
			errs = append(errs, p.failed(authority, err))
		}
		if len(due) > 0 {
			r, err := p.begin(ctx, fence, authority, due)
			if err != nil {
				errs = append(errs, err)
			}
			if r != nil {
				begun = append(begun, r)
			}
		}
	}
	for _, r := range begun {
		errs = append(errs, p.await(r))
	}
	return errors.Join(errs...)
}

// observe shows when the first of an authority's CRLs runs out, also of one whose key is
// elsewhere.
func (p *Publisher) observe(authority string, has stored) {
	var first time.Time
	for name, crl := range has {
		if name.Issuer == authority && crl.Number > 0 && (first.IsZero() || crl.NextUpdate.Before(first)) {
			first = crl.NextUpdate
		}
	}
	if !first.IsZero() {
		p.nextUpdate.WithLabelValues(authority).Set(float64(first.Unix()))
	}
}

// failed logs and counts what kept CRLs of an authority from being published.
func (p *Publisher) failed(authority *ca.Authority, err error) error {
	p.failures.WithLabelValues(authority.Name()).Inc()
	p.Logger.Error("publishing a CRL", "issuer", authority.Name(), "error", err)
	return err
}

// run is the CRLs of one authority being signed, one after the other.
type run struct {
	authority *ca.Authority
	began     time.Time
	progress  atomic.Int64 // CRLs done
	result    chan error
}

// begin signs what is due of an authority beside the caller. It returns nil if its last
// CRL is being signed still.
func (p *Publisher) begin(ctx context.Context, fence ledger.Fence, authority *ca.Authority, due []int) (*run, error) {
	t := p.turn(authority.Name())
	select {
	case <-t.free:
	default:
		if since := p.Now().Sub(time.Unix(0, t.began.Load())); since >= hung {
			return nil, p.failed(authority, fmt.Errorf("signing a CRL of %s: %w for %v", authority.Name(), errSigning, since.Round(time.Second)))
		}
		return nil, nil // it may come yet
	}
	t.began.Store(p.Now().UnixNano())
	r := &run{authority: authority, began: time.Now(), result: make(chan error, 1)}
	go func() {
		defer func() { t.free <- struct{}{} }()
		// The work of a lease ends when all others are done. The fence keeps what comes
		// later from being stored where the lease was lost.
		r.result <- p.signAll(context.WithoutCancel(ctx), fence, r, t, due)
	}()
	return r, nil
}

// signAll signs CRLs of an authority. What was revoked in the meantime goes in between.
func (p *Publisher) signAll(ctx context.Context, fence ledger.Fence, r *run, t *turn, due []int) error {
	var errs []error
	for between := false; len(due) > 0; between = !between {
		if between {
			due = p.revokedFirst(ctx, r.authority.Name(), due)
		}
		shard := due[0]
		due = due[1:]
		t.began.Store(p.Now().UnixNano())
		attempt, cancel := context.WithTimeout(ctx, hung)
		err := p.publish(attempt, fence, r.authority, shard)
		late := attempt.Err() != nil
		cancel()
		r.progress.Add(1)
		if err == nil {
			continue
		}
		if errors.Is(err, ca.ErrNoSigner) {
			break
		}
		errs = append(errs, p.failed(r.authority, err))
		// What the next one would meet, too.
		if late || errors.Is(err, errKey) || errors.Is(err, ledger.ErrLapsed) {
			break
		}
	}
	return errors.Join(errs...)
}

// revokedFirst puts a shard in front that does not show a revocation.
func (p *Publisher) revokedFirst(ctx context.Context, authority string, due []int) []int {
	pending, err := p.Ledger.RevocationsSince(ctx)
	if err != nil {
		return due // the next schedule sees it
	}
	for name, n := range pending {
		if name.Issuer == authority && n > 0 {
			rest := slices.DeleteFunc(slices.Clone(due), func(shard int) bool { return shard == name.Shard })
			return append([]int{name.Shard}, rest...)
		}
	}
	return due
}

// await waits for a run as long as it gets on.
func (p *Publisher) await(r *run) error {
	timer := time.NewTimer(patience - time.Since(r.began))
	defer timer.Stop()
	for done := int64(0); ; {
		select {
		case err := <-r.result:
			return err
		case <-timer.C:
			if now := r.progress.Load(); now > done {
				done = now
				timer.Reset(patience)
				continue
			}
			p.Logger.Warn("signing a CRL takes long: those of other authorities go first", "issuer", r.authority.Name())
			return nil
		}
	}
}

// turn says whose it is to sign the CRLs of an authority.
type turn struct {
	free  chan struct{} // holds a token while nobody signs
	began atomic.Int64  // when the last one did, in Unix nanoseconds
}

func (p *Publisher) turn(name string) *turn {
	fresh := &turn{free: make(chan struct{}, 1)}
	fresh.free <- struct{}{}
	t, _ := p.signing.LoadOrStore(name, fresh)
	return t.(*turn)
}

// Publish signs and stores the next CRL of an authority for each of the shards, or all of
// them if none is named. ca.ErrNoSigner if its key is elsewhere; ledger.ErrNotFound for a
// shard that it does not have.
func (p *Publisher) Publish(ctx context.Context, fence ledger.Fence, authority *ca.Authority, shards ...int) error {
	return p.publishThese(ctx, fence, authority, func() ([]int, error) {
		has, err := p.stored(ctx)
		if err != nil {
			return nil, err
		}
		all := p.shards(authority.Name(), has)
		if len(shards) == 0 {
			return all, nil
		}
		for _, shard := range shards {
			if !slices.Contains(all, shard) {
				return nil, fmt.Errorf("CRL %s: %w", nameText(authority.Name(), shard), ledger.ErrNotFound)
			}
		}
		return shards, nil
	})
}

// PublishPending is Publish for the CRLs of an authority that are due.
func (p *Publisher) PublishPending(ctx context.Context, fence ledger.Fence, authority *ca.Authority) error {
	return p.publishThese(ctx, fence, authority, func() ([]int, error) {
		pending, err := p.Ledger.RevocationsSince(ctx)
		if err != nil {
			return nil, fmt.Errorf("counting unpublished revocations: %w", err)
		}
		has, err := p.stored(ctx)
		if err != nil {
			return nil, err
		}
		return p.due(ctx, authority, has, pending)
	})
}

// publishThese waits for the turn, asks which, and signs them.
func (p *Publisher) publishThese(ctx context.Context, fence ledger.Fence, authority *ca.Authority, which func() ([]int, error)) error {
	if err := authority.Ready(); errors.Is(err, ca.ErrNoSigner) {
		return fmt.Errorf("signing a CRL of %s: %w", authority.Name(), err)
	}
	t := p.turn(authority.Name())
	select {
	case <-t.free:
		defer func() { t.free <- struct{}{} }()
	case <-ctx.Done():
		return fmt.Errorf("signing a CRL of %s: %w: %w", authority.Name(), errSigning, ctx.Err())
	}
	shards, err := which()
	if err != nil {
		return err
	}
	for _, shard := range shards {
		t.began.Store(p.Now().UnixNano())
		if err := p.publish(ctx, fence, authority, shard); err != nil {
			return err
		}
	}
	return nil
}
