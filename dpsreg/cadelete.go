package dpsreg

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"mintmark/internal/reconcile"
)

// caDeletion takes a CA out of DPS, under whatever name it is there. It is refused
// while a device or a group needs it.
func (r *Registrar) caDeletion(s *session, ca CA, a Authority) resource {
	name := ca.NameAtDPS(a.Certificate)
	return resource{
		kind: kindCA, subject: caSubject(ca, name),
		read: func(ctx context.Context, o *observed) error {
			// A group that came to be meanwhile would lose its devices.
			fresh, err := r.observe(ctx, s)
			if err == nil {
				*o = *fresh
			}
			return err
		},
		examine: func(ctx context.Context, o *observed) (reconcile.Change, doing, error) {
			change := reconcile.Change{Kind: kindCA, Subject: caSubject(ca, name), Action: reconcile.None, After: absent}
			copies := o.copies(a)
			if len(copies) == 0 {
				return change, nil, nil
			}
			have := copies[0]
			change.Action, change.Destructive = reconcile.Delete, true
			change.Before = fmt.Sprintf("certificate %q, SHA-256 %s", have.name, SHA256(a.Certificate))
			why, err := r.keeps(ctx, s, a, o)
			if err != nil {
				return change, nil, err
			}
			if why != "" {
				change.Action, change.After = reconcile.Refuse, why
				return change, nil, nil
			}
			return change, func(ctx context.Context) error {
				if _, err := s.certificates.Delete(ctx, s.target.ResourceGroup, have.etag, s.target.Service, have.name, nil); err != nil {
					return fmt.Errorf("deleting certificate %q: %w", have.name, err)
				}
				return nil
			}, nil
		},
		effect: func(o *observed) {
			o.certificates = slices.DeleteFunc(o.certificates, func(u uploaded) bool { return u.is(a.Certificate) })
		},
	}
}

// keeps says what still needs a CA at DPS; empty if nothing does.
func (r *Registrar) keeps(ctx context.Context, s *session, a Authority, o *observed) (string, error) {
	var why []string
	if !slices.Contains(s.target.Released, a.Name) {
		text, err := r.below.keeps(ctx, SHA256(a.Certificate))
		if err != nil {
			return "", err
		}
		if text != "" {
			why = append(why, text)
		}
	}
	for _, g := range o.groups {
		for _, anchor := range o.anchors(g) {
			if r.needs(anchor, a, o) {
				text := fmt.Sprintf("group %q stands on it", g.ID)
				if !s.target.hasGroup(g.ID) {
					text += ", which is not one of the target's"
				}
				why = append(why, text)
				break
			}
		}
	}
	return strings.Join(why, "; "), nil
}

// needs reports whether a group with that anchor would lose what verifies it: the CA
// itself, or the only verified CA above it.
func (r *Registrar) needs(anchor string, a Authority, o *observed) bool {
	if anchor == SHA256(a.Certificate) {
		return true
	}
	of, ours := r.ours(anchor)
	if !ours || !of.stands(a.Certificate) {
		return false
	}
	without := o.clone()
	without.certificates = slices.DeleteFunc(without.certificates, func(u uploaded) bool { return u.is(a.Certificate) })
	return !without.verifies(of)
}

// verifies reports whether the authority, or one above it, is verified at DPS: its
// devices are let in only if they present a verified certificate.
// https://learn.microsoft.com/azure/iot-dps/concepts-x509-attestation
func (o *observed) verifies(a Authority) bool {
	for _, c := range a.path() {
		if slices.ContainsFunc(o.certificates, func(u uploaded) bool { return u.verified && u.is(c) }) {
			return true
		}
	}
	return false
}
