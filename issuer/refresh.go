package issuer

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// hierarchy is what the ledger says of the authorities.
type hierarchy struct {
	authorities map[string]*ca.Authority
	records     map[string]ledger.Authority // what they were made from
	order       []string                    // names of authorities in the order of creation
	waiting     map[string]ledger.Authority
	rollovers   []rollover // that run
	rotations   []ledger.Rotation
	cutOffs     map[string][]string // of rotations, by id; see rotation.CutOffs
	standIns    []standIn           // by which CAs stand under the roots of rotations

	// What settle has computed of the above. The name of an authority leads to its path,
	// the root first, and that of a root to its path under it.
	redirects []ledger.Rotation // of issuing CAs, that send somebody to the new one
	paths     map[string][]*x509.Certificate
	under     map[string]map[string][]*x509.Certificate
}

// certificates are those of the CAs that it has to do with, some more than once: of the
// authorities, of what is between them and their roots, of running rollovers, and those by
// which CAs stand under another root.
func (h hierarchy) certificates() []*x509.Certificate {
	var all []*x509.Certificate
	for _, a := range h.authorities {
		all = append(append(all, a.Chain()...), a.Certificate())
	}
	for _, r := range h.rollovers {
		all = append(all, r.certificates()...)
	}
	for _, s := range h.standIns {
		all = append(all, s.certificate)
	}
	return all
}

// Refresh takes over what other servers have recorded: authorities that are
// new, were replaced or are gone, and revoked CA certificates. An authority
// whose record cannot be used keeps its old state and is an error; the others
// are taken over all the same. Keep calls it every few seconds.
func (ra *RA) Refresh(ctx context.Context) error {
	ra.mu.RLock()
	before, version := ra.known, ra.version
	ra.mu.RUnlock()
	records, err := ra.Ledger.Authorities(ctx)
	if err != nil {
		return fmt.Errorf("loading authorities: %w", err)
	}
	next, errs := ra.build(records, before)
	if rollovers, err := ra.Rollovers(ctx); err != nil {
		return errors.Join(errs, err)
	} else if next.rollovers, err = runningRollovers(rollovers); err != nil {
		errs = errors.Join(errs, err)
	}
	if next.rotations, err = ra.Ledger.Rotations(ctx); err != nil {
		return errors.Join(errs, fmt.Errorf("loading rotations: %w", err))
	}
	if next.cutOffs, err = ra.cutOffsOf(ctx, next.rotations); err != nil {
		return errors.Join(errs, err)
	}
	left, err := ra.backBridges(ctx, next, before.rollovers)
	next.rollovers, errs = append(next.rollovers, left...), errors.Join(errs, err)
	next.standIns, err = ra.standInsOf(ctx, next.rotations, before.standIns)
	errs = errors.Join(errs, err)
	next.settle()
	revoked, err := ra.revokedAmong(ctx, next)
	errs = errors.Join(errs, err)
	condemned, err := ra.condemnedAmong(ctx, next)
	errs = errors.Join(errs, err)

	ra.mu.Lock()
	defer ra.mu.Unlock()
	for _, serial := range revoked {
		ra.revoked[serial] = true
	}
	for _, id := range condemned {
		ra.condemned[id] = true
	}
	// What was read is older than an authority that this server has made
	// meanwhile: the next time will do.
	if ra.version == version {
		ra.known = next
	}
	return errs
}

// build makes the hierarchy of the records; what has not changed is taken from
// before.
func (ra *RA) build(records []ledger.Authority, before hierarchy) (next hierarchy, errs error) {
	next = hierarchy{authorities: make(map[string]*ca.Authority, len(records)), records: make(map[string]ledger.Authority, len(records)), waiting: make(map[string]ledger.Authority)}
	for _, record := range records {
		if len(record.Certificate) == 0 {
			next.waiting[record.Name] = record
			continue
		}
		authority := before.authorities[record.Name]
		if authority == nil || !sameAuthority(before.records[record.Name], record) {
			made, err := ra.open(record)
			if err != nil {
				errs = errors.Join(errs, err)
				if authority == nil {
					continue
				}
				made, record = authority, before.records[record.Name]
			}
			authority = made
		}
		next.authorities[record.Name], next.records[record.Name] = authority, record
		next.order = append(next.order, record.Name)
	}
	return next, errs
}

func sameAuthority(a, b ledger.Authority) bool {
	return a.KeyURI == b.KeyURI && bytes.Equal(a.Certificate, b.Certificate) && slices.EqualFunc(a.Chain, b.Chain, bytes.Equal)
}

// open makes an authority of its record. Its key is opened at the first
// signature.
func (ra *RA) open(record ledger.Authority) (*ca.Authority, error) {
	config := ca.Config{Name: record.Name}
	var err error
	if config.Certificate, err = x509.ParseCertificate(record.Certificate); err != nil {
		return nil, fmt.Errorf("authority %q: parsing its certificate: %w", record.Name, err)
	}
	for _, der := range record.Chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("authority %q: parsing its chain: %w", record.Name, err)
		}
		config.Chain = append(config.Chain, c)
	}
	if record.KeyURI != "" {
		config.Signer = func(ctx context.Context) (crypto.Signer, error) {
			return ra.Keys.Signer(ctx, record.KeyURI, config.Certificate.PublicKey)
		}
	}
	authority, err := ca.New(config)
	if err != nil {
		return nil, fmt.Errorf("authority %q: %w", record.Name, err)
	}
	return authority, nil
}

// revokedAmong returns the revoked serials among the CA certificates of a
// hierarchy. Each is one look-up by its serial; those that the ledger does not
// know were issued elsewhere.
func (ra *RA) revokedAmong(ctx context.Context, h hierarchy) (revoked []ledger.Serial, err error) {
	seen := make(map[ledger.Serial]bool)
	for _, c := range h.certificates() {
		serial := SerialOf(c.SerialNumber)
		if serial == "" || seen[serial] {
			continue
		}
		seen[serial] = true
		record, err := ra.Ledger.Certificate(ctx, serial)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
		case err != nil:
			return revoked, fmt.Errorf("looking up CA certificate %s: %w", serial, err)
		case record.Purpose == ledger.ForCA && record.State == ledger.Revoked:
			revoked = append(revoked, serial)
		}
	}
	return revoked, nil
}
