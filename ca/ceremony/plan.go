package ceremony

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"mintmark/ca"
)

// Plan is a ceremony whose inputs were read and whose steps were checked, as far as
// that goes without a private key.
type Plan struct {
	File *File
	// Inputs are the files that were read.
	Inputs []Item
	// Networks are the interfaces of this machine that are up.
	Networks []string
	// At is when the plan was made, by the clock of this machine.
	At time.Time
	// Warnings are for people to judge.
	Warnings []string

	cfg   Config
	given *material
	world *world // as it would be
	built []built
}

// built is what a step would make, as far as it is known before: nil for a key.
type built struct {
	certificate *ca.Prepared
	crl         *ca.PreparedCRL
}

// Prepare reads and checks everything and makes nothing: the dry run. Where a key does
// not exist yet, a key of the same kind stands in for it and is thrown away.
func Prepare(ctx context.Context, f *File, cfg Config) (*Plan, error) {
	if f == nil {
		return nil, errors.New("preparing a ceremony: no file")
	}
	read, done, err := inputsIn(cfg.Inputs)
	if err != nil {
		return nil, fmt.Errorf("opening the folder of the inputs: %w", err)
	}
	defer done()
	given, err := readMaterial(f, read)
	if err != nil {
		return nil, err
	}
	p := &Plan{File: f, Inputs: given.items(), At: cfg.now(), cfg: cfg, given: given}
	if err := p.oneKeyEach(); err != nil {
		return nil, err
	}
	if _, err := given.present(cfg.Officers); err != nil {
		return nil, err
	}
	if p.Networks, err = cfg.networks(); err != nil {
		return nil, err
	}
	if err := p.build(ctx); err != nil {
		return nil, err
	}
	p.warn()
	return p, nil
}

// oneKeyEach refuses officers who share a key.
func (p *Plan) oneKeyEach() error {
	seen := map[string]string{}
	for _, o := range p.File.Officers.People {
		hash := p.given.officers[o.Name].hash
		if other, ok := seen[hash]; ok {
			return fmt.Errorf("officers %q and %q have the same key: each has one of their own", other, o.Name)
		}
		seen[hash] = o.Name
	}
	return nil
}

// build goes through the steps as Run will, without the keys.
func (p *Plan) build(ctx context.Context) error {
	w := newWorld(p.File, p.given)
	p.world = w
	if err := w.authorities(nil); err != nil {
		return err
	}
	for i := range p.File.Steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := &p.File.Steps[i]
		b, err := p.buildStep(ctx, w, s)
		if err != nil {
			return fmt.Errorf("step %q: %w", s.Name, err)
		}
		p.built = append(p.built, b)
	}
	return nil
}

func (p *Plan) buildStep(ctx context.Context, w *world, s *Step) (b built, err error) {
	if by := w.issuers[s.by()]; by != nil && !by.Certificate().NotAfter.After(p.At) {
		return b, fmt.Errorf("the certificate of %q has ended on %s", s.by(), timeText(by.Certificate().NotAfter))
	}
	switch {
	case s.Root != nil:
		key, err := throwAway(ca.Algorithm(s.Root.Algorithm))
		if err != nil {
			return b, err
		}
		if b.certificate, err = w.root(s, newSerial(), key); err != nil {
			return b, err
		}
		b.certificate.Recorded() // of nothing: the key is gone in a moment
		cert, err := b.certificate.Issue(ctx)
		if err != nil {
			return b, err
		}
		if err := w.made(s, cert, nil); err != nil {
			return b, err
		}
	case s.CRL != nil:
		b.crl, err = w.crl(s)
	case s.Destroy != nil:
		return b, nil
	default:
		if b.certificate, err = w.certificate(s, newSerial()); err == nil {
			w.certs[s.Name] = b.certificate.Certificate()
		}
	}
	if err != nil {
		return b, err
	}
	if s.CRL != nil && !s.CRL.NextUpdate.After(p.At) {
		return b, fmt.Errorf("next_update %s is in the past", timeText(s.CRL.NextUpdate))
	}
	if c := b.certificate; c != nil && !c.Certificate().NotAfter.After(p.At) {
		return b, fmt.Errorf("until %s is in the past", timeText(c.Certificate().NotAfter))
	}
	return b, nil
}

// warn says what is allowed and yet worth a look.
func (p *Plan) warn() {
	warn := func(format string, args ...any) { p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...)) }
	if p.File.Officers.Threshold == 1 {
		warn("one officer alone may hold this ceremony")
	}
	if len(p.Networks) > 0 {
		if p.File.Network == "none" {
			warn("this machine has a network (%s): the ceremony will be refused on it", list(p.Networks))
		} else {
			warn("this machine has a network (%s), which the file allows", list(p.Networks))
		}
	}
	for _, t := range p.File.Tokens {
		if slices.Contains(t.Accept, acceptExtractable) {
			warn("token %q: keys that can leave the token are accepted (%s)", t.Name, acceptExtractable)
		}
	}
	for i := range p.File.Steps {
		s := &p.File.Steps[i]
		if c := p.built[i].certificate; c != nil && c.Certificate().NotBefore.After(p.At) {
			warn("step %q: the certificate begins on %s, later than this machine's clock says it is", s.Name, timeText(c.Certificate().NotBefore))
		}
		if s.CRL == nil {
			continue
		}
		if s.CRL.ThisUpdate.After(p.At) {
			warn("step %q: this_update is %s, later than this machine's clock says it is", s.Name, timeText(s.CRL.ThisUpdate))
		}
		if s.CRL.Previous == nil && s.CRL.Number > 1 {
			warn("step %q: number %d is not the first, and no previous CRL is given: nobody checks that its revocations are all here", s.Name, s.CRL.Number)
		}
	}
}

// newSerial makes a serial number of 136 random bits behind an octet that keeps it
// positive and its length the same (RFC 5280, Section 4.1.2.2).
func newSerial() *big.Int {
	b := make([]byte, 18)
	rand.Read(b)
	b[0] = b[0]&0x3f | 0x40
	return new(big.Int).SetBytes(b)
}

// throwAway makes a key in memory.
func throwAway(a ca.Algorithm) (crypto.Signer, error) {
	switch a {
	case ca.P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ca.P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case ca.P521:
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case ca.RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case ca.RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case ca.RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return nil, fmt.Errorf("unknown key algorithm %q", a)
}
