package revocation

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// errKey says that the key of an authority cannot be asked.
var errKey = errors.New("the key is not ready")

// publish signs and stores the next CRL of one shard, for who has the turn of the
// authority.
func (p *Publisher) publish(ctx context.Context, fence ledger.Fence, authority *ca.Authority, shard int) error {
	name := nameText(authority.Name(), shard)
	// Before a number is taken: an authority whose key is elsewhere, or away, would
	// take one every minute.
	err := authority.Open(ctx)
	if err == nil {
		err = authority.Ready()
	}
	if err != nil {
		return fmt.Errorf("signing CRL %s: %w: %w", name, errKey, err)
	}
	signed, prepared, err := p.prepare(ctx, fence, authority, shard)
	if err != nil {
		return err
	}
	if signed.DER, err = prepared.Issue(ctx); err != nil {
		return fmt.Errorf("signing CRL %d of %s: %w", signed.Number, name, err)
	}
	size := len(signed.DER)
	if err := p.Ledger.PutCRL(ctx, fence, signed); err != nil {
		return fmt.Errorf("storing CRL %d of %s: %w", signed.Number, name, err)
	}
	if head, err := ca.ReadCRLHead(signed.DER); err == nil {
		p.scopes.put(ledger.CRLName{Issuer: signed.Issuer, Shard: shard}, signed.Number, head.Scope)
	}
	if has, err := p.stored(ctx); err == nil {
		p.observe(authority.Name(), has)
	}
	p.Logger.Info("published a CRL", "issuer", authority.Name(), "shard", shard, "number", signed.Number, "bytes", size, "next_update", signed.NextUpdate)
	for _, place := range p.places {
		place.poke()
	}
	return nil
}

// prepare takes the next number and encodes what is revoked.
func (p *Publisher) prepare(ctx context.Context, fence ledger.Fence, authority *ca.Authority, shard int) (ledger.CRL, *ca.PreparedCRL, error) {
	fail := func(err error) (ledger.CRL, *ca.PreparedCRL, error) { return ledger.CRL{}, nil, err }
	select {
	case p.encoding <- struct{}{}:
		defer func() { <-p.encoding }()
	case <-ctx.Done():
		return fail(fmt.Errorf("waiting to encode a CRL of %s: %w", authority.Name(), ctx.Err()))
	}
	name := ledger.CRLName{Issuer: authority.Name(), Shard: shard}
	has, err := p.stored(ctx)
	if err != nil {
		return fail(err)
	}
	now := p.Now().Truncate(time.Second)
	work, err := p.Ledger.NextCRL(ctx, fence, name.Issuer, shard, now, p.Period)
	if err != nil {
		return fail(fmt.Errorf("taking the next CRL number of %s: %w", nameText(name.Issuer, shard), err))
	}
	// RFC 5280, Section 5.2.3: what was given out before the ledger was restored counts.
	number := max(work.Number, p.seen(name)+1)
	crl := ca.CRL{Number: big.NewInt(number), ThisUpdate: now, NextUpdate: now.Add(p.Lifetime), Scope: p.scope(name, p.shards(name.Issuer, has))}
	// A CRL that outlives its authority could not be verified to its end.
	if end := authority.Certificate().NotAfter; crl.NextUpdate.After(end) {
		crl.NextUpdate = end
	}
	if crl.Entries, err = entries(work.Entries, now); err != nil {
		return fail(err)
	}
	prepared, err := authority.PrepareCRL(crl)
	if err != nil {
		return fail(fmt.Errorf("preparing CRL %d of %s: %w", number, nameText(name.Issuer, shard), err))
	}
	return ledger.CRL{Issuer: name.Issuer, Shard: shard, Number: number, ThisUpdate: crl.ThisUpdate, NextUpdate: crl.NextUpdate}, prepared, nil
}

// entries are those of a CRL of that time.
func entries(list []ledger.CRLEntry, now time.Time) ([]x509.RevocationListEntry, error) {
	all := make([]x509.RevocationListEntry, 0, len(list))
	numbers := make([]big.Int, len(list))
	var octets []byte
	for i, entry := range list {
		var err error
		if octets, err = hex.AppendDecode(octets[:0], []byte(entry.Serial)); err != nil {
			return nil, fmt.Errorf("the ledger holds the serial number %q, which is not hexadecimal", entry.Serial)
		}
		serial := numbers[i].SetBytes(octets)
		// A revocation of this very moment, or one from before the clock was set
		// back, must not keep the CRL from being signed.
		at := entry.At.Truncate(time.Second)
		if at.After(now) {
			at = now
		}
		all = append(all, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: at.UTC(), ReasonCode: int(entry.Reason)})
	}
	return all, nil
}
