package drill

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"mintmark/internal/ledger"
	"mintmark/issuer"
	"time"
)

// shown is what the EST server shows, and what it would have, had nothing been replaced.
type shown struct {
	id            string
	chain, before []*x509.Certificate
	old           *store // what everybody trusted before
}

func (p *plant) shown() *shown {
	p.t.Helper()
	c, err := p.inside.Certificate(&tls.ClientHelloInfo{ServerName: "localhost"})
	if err != nil {
		p.t.Fatal(err)
	}
	s := new(shown)
	for _, der := range c.Certificate {
		one, err := x509.ParseCertificate(der)
		if err != nil {
			p.t.Fatal(err)
		}
		s.chain = append(s.chain, one)
	}
	s.id = p.stores.of(s.chain).id
	s.before, s.old = append([]*x509.Certificate{s.chain[0]}, p.before...), p.old
	return s
}

// remember keeps how the server's chain looks before anything is replaced.
func (p *plant) remember() {
	p.t.Helper()
	s := p.shown()
	p.before = s.chain[1:]
	anchors := p.inside.RA.Anchors("issuing")
	p.old = p.stores.of(anchors[:1])
}

// verifies is whether a device accepts the EST server. Those that trust the same and go by
// the same clock are of one opinion.
func (p *plant) verifies(d *device, s *shown, now time.Time) error {
	return p.opinion(d.store, s.id, s.chain, d.says(now))
}

func (p *plant) opinion(trusts *store, id string, chain []*x509.Certificate, at time.Time) error {
	key := fmt.Sprintf("%s %s %d", trusts.id, id, at.Unix()/60)
	if have, ok := p.verdict.Load(key); ok {
		err, _ := have.(error)
		return err
	}
	err := trusts.accepts(chain, at)
	if err == nil {
		p.verdict.Store(key, true)
	} else {
		p.verdict.Store(key, err)
	}
	return err
}

// admits is whether the device's cloud lets it in with the chain that it presents.
func (p *plant) admits(d *device) error {
	if d.cloud == "plant" {
		return p.dps.Admit(d.name, "2021-06-01", d.chain())
	}
	return p.aws.Connect(p.hosts[d.cloud], d.name, d.chain())
}

// Outcomes of one device in one state.
const (
	fine      = "ok"
	wrongTime = "wrong time" // its clock refuses what the server would show without a rotation, too
	waived    = "waived"     // in the warehouse, and on record as to be given a bundle
	replaced  = "replaced"   // another device does its work
	cutOff    = "CUT OFF"
)

// judge says how a device stands now, and why it is cut off.
func (p *plant) judge(d *device, s *shown, now time.Time) (outcome, why string) {
	if d.replacedBy != "" {
		return replaced, ""
	}
	if d.class.stock && !d.unpacked && p.waived[d.name] && p.revoked(d) {
		return waived, "" // it is made again
	}
	if err := p.verifies(d, s, now); err != nil {
		if p.opinion(s.old, "before "+s.id, s.before, d.says(now)) != nil {
			outcome = wrongTime
		} else if d.class.stock && !d.unpacked && p.waived[d.name] {
			return waived, ""
		} else {
			return cutOff, fmt.Sprintf("the EST server is refused: %v", err)
		}
	}
	if d.known {
		if err := p.admits(d); err != nil {
			return cutOff, fmt.Sprintf("the cloud refuses it: %v", err)
		}
	} else if d.cloud == "plant" && !d.class.stock {
		if err := p.admits(d); err != nil && outcome == "" {
			return cutOff, fmt.Sprintf("the cloud refuses it: %v", err)
		}
	}
	if outcome == "" {
		outcome = fine
	}
	return outcome, ""
}

// revoked reports whether the ledger says so of a device's certificate.
func (p *plant) revoked(d *device) bool {
	c, err := p.inside.Ledger.Certificate(p.t.Context(), issuer.SerialOf(d.leaf.SerialNumber))
	return err == nil && c.State == ledger.Revoked
}
