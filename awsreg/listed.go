package awsreg

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Listed are the certificates that AWS lists under one CA of the target, by their
// SHA-256, each with whether it is ACTIVE; of a CA in mode NONE, all of the account. A CA
// that is not registered has none. It takes a call for 250 of them, and 60 bytes of
// memory for each.
func (r *Registrar) Listed(ctx context.Context, t Target, ca string) (map[[sha256.Size]byte]bool, error) {
	s, err := r.session(ctx, t, false)
	if err != nil {
		return nil, err
	}
	one, is := t.ca(ca)
	if !is {
		return nil, fmt.Errorf("AWS target %q has no CA %q", t.Name, ca)
	}
	var l listing
	if one.Mode == ModeNone {
		l = make(listing)
		err = s.listAll(ctx, l.add)
	} else {
		var id string
		if id, err = r.issuerID(ctx, ca); err == nil {
			l, err = s.listByCA(ctx, id)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("AWS target %q: %w", t.Name, err)
	}
	active := make(map[[sha256.Size]byte]bool, len(l))
	for id, status := range l {
		active[id] = status == statusActive
	}
	return active, nil
}

// Room is how many more CAs with that subject, in DER, the account takes in the region.
func (r *Registrar) Room(ctx context.Context, t Target, subject []byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Deadline)
	defer cancel()
	s, err := r.session(ctx, t, false)
	if err != nil {
		return 0, err
	}
	list, err := s.listCAs(ctx)
	if err != nil {
		return 0, fmt.Errorf("AWS target %q: %w", t.Name, err)
	}
	room := sameSubject
	if len(list) < sameSubject {
		return sameSubject - len(list), nil // whatever their subjects are
	}
	for _, ca := range list[:min(len(list), maxDescribed)] {
		c, _, err := s.describeAny(ctx, aws.ToString(ca.CertificateId))
		if err != nil {
			return 0, fmt.Errorf("AWS target %q: %w", t.Name, err)
		}
		if c != nil && bytes.Equal(c.RawSubject, subject) {
			room--
		}
	}
	return room, nil
}
