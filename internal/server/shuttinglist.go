package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"

	"mintmark/awsreg"
	"mintmark/dpsreg"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// revoking lists certificates that are revoked and not everywhere yet, in the order of serial
// numbers: those that a task for a cloud waits for, and those that are on no CRL whose key is here.
// more reports whether there are others than those: of each place so many are looked for.
func (s *Server) revoking(ctx context.Context, most int) (list []ledger.Certificate, more bool, err error) {
	found := make(map[ledger.Serial]ledger.Certificate)
	add := func(c ledger.Certificate, err error) error {
		if err == nil && c.State == ledger.Revoked {
			found[c.Serial] = c
		}
		return ignoreMissing(err)
	}
	waiting := func(kind string, each func(ledger.Task) error) error {
		tasks, err := s.ledger.Due(ctx, kind, s.ra.Now().AddDate(100, 0, 0), most+1)
		if err != nil {
			return fmt.Errorf("looking for what %s is still to be told: %w", kind, err)
		}
		more = more || len(tasks) > most
		for _, task := range tasks {
			if err := each(task); err != nil {
				return err
			}
		}
		return nil
	}
	for _, t := range s.aws.list {
		if err := waiting(awsreg.UrgentKind(t), func(task ledger.Task) error {
			serial, ok := awsreg.Revokes(task)
			if !ok {
				return nil
			}
			return add(s.ledger.Certificate(ctx, serial))
		}); err != nil {
			return nil, false, err
		}
	}
	for _, t := range s.azure.list {
		if err := waiting(dpsreg.UrgentKind(t), func(task ledger.Task) error {
			id, ok := dpsreg.DeviceOf(task)
			if !ok {
				return nil
			}
			page, err := s.ledger.Certificates(ctx, ledger.Query{Device: id, State: ledger.Revoked, ExpiresAfter: s.ra.Now(), Limit: shutMost})
			for _, c := range page.Certificates {
				found[c.Serial] = c
			}
			return err
		}); err != nil {
			return nil, false, err
		}
	}
	unlisted, others, err := s.unlisted(ctx, most)
	if err != nil {
		return nil, false, err
	}
	for _, c := range unlisted {
		found[c.Serial] = c
	}
	for _, serial := range slices.Sorted(maps.Keys(found)) {
		list = append(list, found[serial])
	}
	if len(list) > most {
		list, others = list[:most], true
	}
	return list, more || others, nil
}

// unlisted are the revoked certificates that are not on the latest CRL of their CA, where that is
// signed here.
func (s *Server) unlisted(ctx context.Context, most int) (list []ledger.Certificate, more bool, err error) {
	waiting, err := s.outstandingNames(ctx)
	if err != nil {
		return nil, false, err
	}
	for name, n := range waiting {
		have := make(map[ledger.Serial]bool)
		stored, err := s.ledger.LatestCRL(ctx, name.Issuer, name.Shard)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return nil, false, err
		}
		if err == nil {
			crl, err := x509.ParseRevocationList(stored.DER)
			if err != nil {
				return nil, false, fmt.Errorf("the stored CRL %d of %q: %w", stored.Number, name.Issuer, err)
			}
			for _, e := range crl.RevokedCertificateEntries {
				have[issuer.SerialOf(e.SerialNumber)] = true
			}
		}
		for query := (ledger.Query{Issuer: name.Issuer, State: ledger.Revoked, Limit: 1000}); n > 0; {
			page, err := s.ledger.Certificates(ctx, query)
			if err != nil {
				return nil, false, err
			}
			for _, c := range page.Certificates {
				if c.Shard != name.Shard || have[c.Serial] {
					continue
				}
				if n--; len(list) == most {
					return list, true, nil
				}
				list = append(list, c)
			}
			if query.After = page.Next; page.Next == "" {
				break
			}
		}
	}
	return list, false, nil
}

// outstandingNames counts the revocations of each CRL that is signed here and does not show them.
func (s *Server) outstandingNames(ctx context.Context) (map[ledger.CRLName]int, error) {
	pending, err := s.ledger.RevocationsSince(ctx)
	if err != nil || len(pending) == 0 {
		return nil, err
	}
	records, err := s.ledger.Authorities(ctx)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(pending, func(name ledger.CRLName, n int) bool {
		return n == 0 || !slices.ContainsFunc(records, func(a ledger.Authority) bool { return a.Name == name.Issuer && a.KeyURI != "" })
	})
	return pending, nil
}
