package dpsreg

import (
	"context"
	"slices"
	"strings"

	"mintmark/dpsreg/dps"
	"mintmark/internal/reconcile"
)

// The kinds of what a target consists of, as plans name them.
const (
	kindCA    = "ca"
	kindGroup = "group"
)

// absent is how plans say that there is nothing.
const absent = "absent"

// A resource is one thing at DPS that has a desired state.
type resource struct {
	kind, subject string
	// read brings what has been observed of it up to date.
	read func(context.Context, *observed) error
	// examine compares what has been observed with what is wanted. What to do is nil
	// when nothing is to be done, or nothing can be. It makes no call to Azure.
	examine func(context.Context, *observed) (reconcile.Change, doing, error)
	// effect makes of what has been observed what it will be after the change.
	effect func(*observed)
}

// doing makes one change. It is run right after the examination that returned it, and
// followed by another reading, so that it may leave work for the next one and need not
// know whether a call whose answer was lost took effect.
type doing func(context.Context) error

// observed is what a DPS instance has.
type observed struct {
	certificates []uploaded
	groups       []dps.Group
	// planning says that the resources behind the one that is examined have not been
	// brought to what they should be yet, but will be.
	planning bool
}

func (o *observed) clone() *observed {
	return &observed{certificates: slices.Clone(o.certificates), groups: slices.Clone(o.groups), planning: o.planning}
}

// observe reads the lists of a DPS instance.
func (r *Registrar) observe(ctx context.Context, s *session) (*observed, error) {
	certificates, err := s.listCertificates(ctx)
	if err != nil {
		return nil, err
	}
	for i := range certificates {
		r.recognise(&certificates[i])
	}
	groups, err := s.listGroups(ctx)
	if err != nil {
		return nil, err
	}
	return &observed{certificates: certificates, groups: groups}, nil
}

// named is the uploaded certificate of that name; nil if there is none. The resource
// manager does not look at case.
func (o *observed) named(name string) *uploaded {
	i := slices.IndexFunc(o.certificates, func(u uploaded) bool { return strings.EqualFold(u.name, name) })
	if i < 0 {
		return nil
	}
	return &o.certificates[i]
}

// put replaces what has been observed under a name; nil if it is gone.
func (o *observed) put(name string, u *uploaded) {
	o.certificates = slices.DeleteFunc(o.certificates, func(have uploaded) bool { return strings.EqualFold(have.name, name) })
	if u != nil {
		o.certificates = append(o.certificates, *u)
	}
}

// group is the one of that id; nil if there is none.
func (o *observed) group(id string) *dps.Group {
	i := slices.IndexFunc(o.groups, func(g dps.Group) bool { return strings.EqualFold(g.ID, id) })
	if i < 0 {
		return nil
	}
	return &o.groups[i]
}

func (o *observed) putGroup(id string, g *dps.Group) {
	o.groups = slices.DeleteFunc(o.groups, func(have dps.Group) bool { return strings.EqualFold(have.ID, id) })
	if g != nil {
		o.groups = append(o.groups, *g)
	}
}

// anchors are the SHA-256 of the certificates in a group's slots, primary first; a slot
// whose certificate is not known has its reference in angle brackets, so that it equals
// nothing.
func (o *observed) anchors(g dps.Group) []string {
	x := g.Attestation.X509
	if x == nil {
		return nil
	}
	var list []string
	if s := x.Signing; s != nil {
		for _, c := range []*dps.Certificate{s.Primary, s.Secondary} {
			if c != nil && c.Info != nil {
				list = append(list, fold(c.Info.SHA256))
			}
		}
	}
	if r := x.References; r != nil {
		for _, name := range []string{r.Primary, r.Secondary} {
			if name == "" {
				continue
			}
			if u := o.named(name); u != nil && u.certificate != nil {
				list = append(list, SHA256(u.certificate))
			} else {
				list = append(list, "<"+name+">")
			}
		}
	}
	return list
}

// fold makes thumbprints comparable: services and people write them in either case.
func fold(thumbprint string) string { return strings.ToLower(strings.TrimSpace(thumbprint)) }
