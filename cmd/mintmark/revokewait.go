package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"mintmark/admin"
)

const (
	// revokedEvery is how often the state of a revocation is asked for at first; it doubles
	// up to revokedSeldom.
	revokedEvery  = 500 * time.Millisecond
	revokedSeldom = 5 * time.Second
)

// awaitRevoked waits until certificates are revoked everywhere, says which places have been
// told each time that changes, and fails if that takes longer than the timeout. Of more
// certificates than a page only those that are named are looked at.
func (a *app) awaitRevoked(ctx context.Context, client *admin.Client, serials []string, count int, timeout time.Duration) error {
	if count > len(serials) {
		a.say("waiting for the first %d of them", len(serials))
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	left := slices.Clone(serials)
	last := ""
	for pause := revokedEvery; ; pause = min(2*pause, revokedSeldom) {
		waits, why := make(map[string]int), make(map[string]string)
		var next []string
		for _, serial := range left {
			c, err := client.Certificate(ctx, serial)
			if err != nil {
				if ctx.Err() != nil {
					return lateRevoked(last, timeout, ctx)
				}
				return fmt.Errorf("looking whether certificate %s is revoked everywhere: %w", serial, err)
			}
			if c.Revocation == nil || c.Revocation.Complete {
				continue
			}
			next = append(next, serial)
			for place, cause := range notRevokedAt(*c.Revocation) {
				if waits[place]++; cause != "" {
					why[place] = cause
				}
			}
		}
		if left = next; len(left) == 0 {
			a.say("revoked everywhere")
			return nil
		}
		var words []string
		for _, place := range slices.Sorted(maps.Keys(waits)) {
			text := fmt.Sprintf("%s (%d)", place, waits[place])
			if why[place] != "" {
				text += ": " + printable(why[place])
			}
			words = append(words, text)
		}
		if now := strings.Join(words, ", "); now != last {
			a.say("not yet at %s", now)
			if last == "" && !a.serverRuns() {
				a.say("no server runs on %s: unless another one shares its ledger, the next one that is started sees to it", a.dir)
			}
			last = now
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return lateRevoked(last, timeout, ctx)
		}
	}
}

func lateRevoked(last string, timeout time.Duration, ctx context.Context) error {
	if context.Cause(ctx) != context.DeadlineExceeded {
		return context.Cause(ctx)
	}
	return fmt.Errorf("revoked, and after %v not yet at %s; it is tried again until it is: mintmark cert show says how far it is", timeout, last)
}

// notRevokedAt lists the places that a revocation has not come to, with why if that is known.
func notRevokedAt(r admin.RevokedWhere) map[string]string {
	list := make(map[string]string)
	if r.CRL.State != admin.CRLListed {
		list["CRL "+r.CRL.Issuer] = ""
		if r.CRL.State == admin.CRLElsewhere {
			list["CRL "+r.CRL.Issuer] = "its key is elsewhere, and the next CRL from there must list it"
		}
	}
	told := slices.Concat(r.Places, r.Targets)
	if r.OCSP != nil {
		told = append(told, *r.OCSP)
	}
	for _, t := range told {
		if t.State != admin.ToldDone {
			list[t.Name] = t.Error
		}
	}
	return list
}

// revocationFields show where a revocation has been seen to.
func revocationFields(t *table, r admin.RevokedWhere) {
	words := r.CRL.State
	if r.CRL.PublishedAt != nil {
		words = fmt.Sprintf("%s; the latest is number %d of %s", words, r.CRL.Number, dateOf(r.CRL.PublishedAt))
	}
	name := "crl " + r.CRL.Issuer
	if r.CRL.Shard > 0 {
		name = fmt.Sprintf("crl %s/%d", r.CRL.Issuer, r.CRL.Shard)
	}
	t.field(name, words)
	for _, one := range r.Places {
		t.field("crl at "+one.Name, toldWords(one))
	}
	if r.OCSP != nil {
		t.field("ocsp", toldWords(*r.OCSP))
	}
	for _, one := range r.Targets {
		t.field("at "+one.Name, toldWords(one))
	}
	everywhere := map[bool]string{true: "yes", false: "not yet"}
	t.field("revoked everywhere", everywhere[r.Complete])
}

// toldWords says how it stands with one place.
func toldWords(one admin.Told) string {
	words := one.State
	if one.Since != nil {
		words += " since " + dateOf(one.Since)
	}
	if one.Attempts > 0 {
		words += fmt.Sprintf(", %s", times(one.Attempts))
	}
	if one.Attempts > 0 && one.Next != nil {
		words += ", again " + dateOf(one.Next)
	}
	if one.Error != "" {
		words += ": " + one.Error
	}
	return words
}

func times(n int) string {
	if n == 1 {
		return "tried once"
	}
	return fmt.Sprintf("tried %d times", n)
}
