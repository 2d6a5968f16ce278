package issuer

import (
	"context"
	"maps"
	"slices"
	"sync"

	"mintmark/internal/ledger"
)

// revokedAtOnce is how many certificates RevokeAll revokes in one transaction, while which
// issuance waits: 0.3 to 1 ms each.
const revokedAtOnce = 100

// RevokedAll is what RevokeAll has done.
type RevokedAll struct {
	Serials []ledger.Serial // in the order of serial numbers
	Issuers []string        // whose CRLs are due
}

// Revoke revokes what selector names in one transaction, and enqueues what must be told.
func (ra *RA) Revoke(ctx context.Context, selector ledger.Selector, reason ledger.Reason, actor string) ([]ledger.Serial, error) {
	return ra.revokeNoting(ctx, selector, reason, actor, func(string) {})
}

// revokeNoting calls note, perhaps after it has returned an error, with the issuer of each
// certificate that it revokes.
func (ra *RA) revokeNoting(ctx context.Context, selector ledger.Selector, reason ledger.Reason, actor string, note func(issuer string)) ([]ledger.Serial, error) {
	serials, err := ra.Ledger.Revoke(ctx, selector, reason, actor, ra.Now(), func(c ledger.Certificate) []ledger.Task {
		note(c.Issuer)
		if ra.Tasks == nil {
			return nil
		}
		return ra.Tasks(c)
	})
	if err != nil {
		return nil, err
	}
	ra.mu.Lock()
	for _, c := range ra.known.certificates() {
		if s := SerialOf(c.SerialNumber); slices.Contains(serials, s) {
			ra.revoked[s] = true
			if condemns(reason) {
				ra.condemned[caIdentity(c)] = true
			}
		}
	}
	ra.mu.Unlock()
	if len(serials) > 0 {
		ra.log.Info("revoked", "serials", serials, "reason", reason, "actor", actor)
	}
	// Also if there was nothing to do: the answer to an earlier attempt may have been lost.
	if ra.Recorded != nil {
		ra.Recorded()
	}
	if ra.Revoked != nil {
		ra.Revoked()
	}
	return serials, nil
}

// RevokeAll revokes whatever selector names, a hundred in one transaction, so that
// issuance goes on in between. *ledger.TooManyError, and nothing is revoked, if there are
// more than selector.Most, unless that is zero; what is issued while it works is not
// revoked beyond that number. With any other error, what it returns was revoked before.
// The selector's Limit and After must be unset.
func (ra *RA) RevokeAll(ctx context.Context, selector ledger.Selector, reason ledger.Reason, actor string) (RevokedAll, error) {
	var mu sync.Mutex // a transaction may outlast the wait for it
	issuers := make(map[string]bool)
	var done RevokedAll
	left := selector.Most
	for {
		selector.Limit = revokedAtOnce
		if left > 0 {
			selector.Limit = min(left, revokedAtOnce)
		}
		serials, err := ra.revokeNoting(ctx, selector, reason, actor, func(issuer string) {
			mu.Lock()
			defer mu.Unlock()
			issuers[issuer] = true
		})
		done.Serials = append(done.Serials, serials...)
		mu.Lock()
		done.Issuers = slices.Sorted(maps.Keys(issuers))
		mu.Unlock()
		if err != nil || selector.Serial != "" || len(serials) < selector.Limit {
			return done, err
		}
		if left > 0 {
			if left -= len(serials); left == 0 {
				return done, nil
			}
		}
		// They were counted once, and of those that are counted the first are done.
		selector.Most, selector.After = 0, serials[len(serials)-1]
	}
}
