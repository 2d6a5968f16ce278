package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"mintmark/admin"
	"mintmark/awsreg"
	"mintmark/dpsreg"
	"mintmark/internal/ledger"
)

const (
	// shutEvery is how often a server looks for what was revoked or held and is not
	// everywhere yet.
	shutEvery = 30 * time.Second
	// shutLate is after how long of that a person is told.
	shutLate = 5 * time.Minute
	// shutMost bounds how many waiting tasks of a target are looked at one by one; all
	// beyond are counted as what is looked for.
	shutMost = 1000
)

// shutting remembers since when something waits that shuts a device out, or lets it in
// again: neither the outbox nor the count of a CRL's revocations says so.
type shutting struct {
	mu    sync.Mutex
	tasks map[int64]shut // by number of the task
	crls  map[ledger.CRLName]crlDue
	late  map[string]bool // places of which a person was told
}

// shut is what a task is about.
type shut struct {
	counts bool // it tells of a revocation, a hold or a release
	since  time.Time
}

type crlDue struct {
	number int64 // of the CRL that does not show it
	since  time.Time
}

// outstanding lists what was revoked, held or released and is not everywhere yet, by
// place: crl/AUTHORITY, aws/TARGET, azure/TARGET. A CA whose key is elsewhere is left out,
// because nobody here can sign its CRL.
func (s *Server) outstanding(ctx context.Context) ([]admin.Outstanding, error) {
	s.shutting.mu.Lock()
	defer s.shutting.mu.Unlock()
	list, err := s.outstandingCRLs(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for revocations that are on no CRL yet: %w", err)
	}
	backlog, err := s.ledger.Backlog(ctx)
	if err != nil {
		return nil, err
	}
	found := make(map[int64]shut)
	add := func(kind string, about func(context.Context, ledger.Task) (shut, error)) error {
		tasks, err := s.ledger.Due(ctx, kind, s.ra.Now().AddDate(100, 0, 0), shutMost)
		if err != nil {
			return fmt.Errorf("looking for what %s is still to be told: %w", kind, err)
		}
		one := admin.Outstanding{Where: strings.TrimSuffix(kind, "/urgent")}
		for _, task := range tasks {
			known, ok := s.shutting.tasks[task.ID]
			if !ok {
				if known, err = about(ctx, task); err != nil {
					return err
				}
			}
			if found[task.ID] = known; !known.counts {
				continue
			}
			if one.Count++; one.Count == 1 || known.since.Before(one.Since) {
				one.Since = known.since.UTC()
			}
		}
		if beyond := backlog[kind] - shutMost; len(tasks) == shutMost && beyond > 0 {
			if one.Count += beyond; one.Since.IsZero() {
				one.Since = s.ra.Now().UTC() // their age is not known, and those before them shut nobody out
			}
		}
		if one.Count > 0 {
			list = append(list, one)
		}
		return nil
	}
	for _, t := range s.aws.list {
		if err := add(awsreg.UrgentKind(t), s.aboutAWS); err != nil {
			return nil, err
		}
	}
	for _, t := range s.azure.list {
		if err := add(dpsreg.UrgentKind(t), s.aboutAzure); err != nil {
			return nil, err
		}
	}
	s.shutting.tasks = found
	return list, nil
}

func (s *Server) outstandingCRLs(ctx context.Context) ([]admin.Outstanding, error) {
	pending, err := s.ledger.RevocationsSince(ctx)
	if err != nil || len(pending) == 0 {
		s.shutting.crls = nil
		return nil, err
	}
	stored, err := s.ledger.CRLs(ctx)
	if err != nil {
		return nil, err
	}
	records, err := s.ledger.Authorities(ctx)
	if err != nil {
		return nil, err
	}
	now := s.ra.Now().UTC()
	due := make(map[ledger.CRLName]crlDue)
	by := make(map[string]admin.Outstanding)
	for name, n := range pending {
		if n == 0 || !slices.ContainsFunc(records, func(a ledger.Authority) bool { return a.Name == name.Issuer && a.KeyURI != "" }) {
			continue
		}
		one := crlDue{since: now}
		if i := slices.IndexFunc(stored, func(c ledger.CRL) bool { return c.Issuer == name.Issuer && c.Shard == name.Shard }); i >= 0 {
			one.number = stored[i].Number
		}
		// A CRL that was signed since shows what waited then.
		if before, ok := s.shutting.crls[name]; ok && before.number == one.number {
			one.since = before.since
		}
		due[name] = one
		o := by[name.Issuer]
		o.Where = "crl/" + name.Issuer
		if o.Count == 0 || one.since.Before(o.Since) {
			o.Since = one.since
		}
		o.Count += n
		by[name.Issuer] = o
	}
	s.shutting.crls = due
	var list []admin.Outstanding
	for _, o := range by {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b admin.Outstanding) int { return cmp.Compare(a.Where, b.Where) })
	return list, nil
}

// aboutAWS says what an urgent task for AWS is about.
func (s *Server) aboutAWS(ctx context.Context, task ledger.Task) (shut, error) {
	if serial, ok := awsreg.Revokes(task); ok {
		c, err := s.ledger.Certificate(ctx, serial)
		return s.shutAt(c.RevokedAt), ignoreMissing(err)
	}
	if id, ok := awsreg.DeviceOf(task); ok {
		d, err := s.ledger.Device(ctx, id)
		return s.shutAt(d.ChangedAt), ignoreMissing(err)
	}
	return shut{}, nil // a work order
}

// aboutAzure says what an urgent task for Azure is about: the last of what happened to its
// device, if that was a revocation, a hold or a release.
func (s *Server) aboutAzure(ctx context.Context, task ledger.Task) (shut, error) {
	id, ok := dpsreg.DeviceOf(task)
	if !ok {
		return shut{}, nil
	}
	d, err := s.ledger.Device(ctx, id)
	if err != nil {
		return s.shutAt(time.Time{}), ignoreMissing(err)
	}
	at := d.ChangedAt
	page, err := s.ledger.Certificates(ctx, ledger.Query{Device: id, State: ledger.Revoked, Limit: shutMost})
	if err != nil {
		return shut{}, err
	}
	for _, c := range page.Certificates {
		if c.RevokedAt.After(at) {
			at = c.RevokedAt
		}
	}
	if at.IsZero() || at.Before(d.LastIssued) {
		return shut{}, nil // a new certificate
	}
	return s.shutAt(at), nil
}

// shutAt is something that counts since a time; since now if that is not known.
func (s *Server) shutAt(at time.Time) shut {
	if at.IsZero() {
		at = s.ra.Now()
	}
	return shut{true, at}
}

func ignoreMissing(err error) error {
	if errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	return err
}

// keepShutting says in the log what is not everywhere for longer than minutes, once until
// it is, until ctx ends.
func (s *Server) keepShutting(ctx context.Context) {
	tick := time.NewTicker(shutEvery)
	defer tick.Stop()
	for {
		if err := s.tellLate(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("looking for what is not revoked everywhere", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Server) tellLate(ctx context.Context) error {
	list, err := s.outstanding(ctx)
	if err != nil {
		return err
	}
	late := make(map[string]bool)
	s.shutting.mu.Lock()
	defer s.shutting.mu.Unlock()
	for _, o := range list {
		if s.ra.Now().Sub(o.Since) < shutLate {
			continue
		}
		if late[o.Where] = true; !s.shutting.late[o.Where] {
			s.log.Error("ALARM: what was revoked or held is not everywhere after minutes, and who should be shut out may get in", "where", o.Where, "count", o.Count, "since", o.Since)
		}
	}
	for where := range s.shutting.late {
		if !late[where] {
			s.log.Info("what was revoked or held is there by now", "where", where)
		}
	}
	s.shutting.late = late
	return nil
}
