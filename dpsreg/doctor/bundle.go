package doctor

import (
	"crypto/x509"
	"fmt"

	"mintmark/dpsreg"
	"mintmark/dpsreg/attest"
)

// ReadBundle reads what mintmark azure bundle export writes: the CAs and groups that
// DPS has once the bundle is applied. Individual enrollments are not in a bundle.
func ReadBundle(data []byte) ([]attest.CA, []attest.Group, error) {
	b, err := dpsreg.ParseBundle(data)
	if err != nil {
		return nil, nil, err
	}
	authorities := make(map[string]*x509.Certificate)
	for _, a := range b.Authorities {
		chain, err := ReadChain([]byte(a.Certificate))
		if err == nil && len(chain) != 1 {
			err = fmt.Errorf("it has %d certificates in place of one", len(chain))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("reading the bundle: CA %s: %w", quote(a.Name), err)
		}
		authorities[a.Name] = chain[0]
	}
	var cas []attest.CA
	for _, ca := range b.Target.CAs {
		if ca.State == dpsreg.StateDeleted {
			continue
		}
		c := authorities[ca.Authority]
		cas = append(cas, attest.CA{Name: ca.NameAtDPS(c), Certificate: c, Verified: true})
	}
	var groups []attest.Group
	for _, g := range b.Target.Groups {
		if g.State == dpsreg.StateDeleted {
			continue
		}
		group := attest.Group{ID: g.ID, Disabled: g.Disabled}
		for _, name := range g.Anchors {
			group.Anchors = append(group.Anchors, authorities[name])
		}
		groups = append(groups, group)
	}
	return cas, groups, nil
}
