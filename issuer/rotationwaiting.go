package issuer

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// waitForRoot says by *rotation.Waiting that the new root, and everything that its key
// signs, is made in a ceremony; so is what the old key signs, if that is elsewhere, too.
func (p rotations) waitForRoot(ctx context.Context, r ledger.Rotation, spec rotation.Spec, old *ca.Authority, next AuthoritySpec) error {
	c := p.ra.newCeremony(r, spec)
	c.taken[r.New] = true
	name := old.Certificate().Subject
	if spec.CommonName != "" {
		name = next.Subject
	}
	subject, err := ceremonySubject(name)
	if err != nil {
		return err
	}
	oldHere := p.ra.keyHere(r.Old)
	c.authority(old, !oldHere && !r.Emergency)
	children := p.ra.children(old.Certificate(), nil)
	for _, a := range children {
		c.authority(a, false)
	}
	fmt.Fprintf(&c.steps, "  - name: %s\n    root:\n      key: %s # change it to where the key is to be\n", quoted(r.New), quoted(next.keyURI()))
	c.ca(next, subject)
	fmt.Fprintf(&c.steps, "      outputs: {certificate: %s}\n", quoted(r.New+".new.pem"))
	made := side{name: r.New, from: c.from, until: next.NotAfter}
	if next.PathLen != nil {
		made.room, made.limited = *next.PathLen, true
	}
	// The ceremony encodes the name itself. Where that makes other bytes of the same name, each
	// counts for the other's path length.
	if spec.CommonName == "" && sameEncoding(name, old.Certificate().RawSubject) {
		made.rawSubject = old.Certificate().RawSubject
	}
	if !r.Emergency {
		if err := c.cross("old-with-new", made, sideOf(old), p.ra.below(old)); err != nil {
			return err
		}
	}
	for _, a := range children {
		if err := c.cross("twin-of-"+a.Name(), made, sideOf(a), p.ra.below(a)); err != nil {
			return err
		}
	}
	if !oldHere && !r.Emergency {
		if err := c.cross("new-with-old", sideOf(old), made, p.ra.below(old)); err != nil {
			return err
		}
	}
	c.firstCRL(r.New)
	return c.waiting(ctx, fmt.Sprintf("The new root %s is made where its key is to be.", r.New))
}

// waitForCrossings is the same of certificates between CAs that exist.
func (p rotations) waitForCrossings(ctx context.Context, r ledger.Rotation, spec rotation.Spec, missing []crossing) error {
	c := p.ra.newCeremony(r, spec)
	var what []string
	for _, m := range missing {
		c.authority(m.by, true)
		c.authority(m.of, false)
		what = append(what, m.what)
	}
	for _, m := range missing {
		base := "old-with-new"
		switch {
		case m.twin:
			base = "twin-of-" + m.of.Name()
		case m.by.Name() == r.Old:
			base = "new-with-old"
		}
		if err := c.cross(base, sideOf(m.by), sideOf(m.of), p.ra.below(m.of)); err != nil {
			return err
		}
	}
	return c.waiting(ctx, "Signed where the keys are: "+strings.Join(what, ", ")+".")
}

// waitForIssuing is the same of the certificate of a new issuing CA, whose key is here.
func (p rotations) waitForIssuing(ctx context.Context, r ledger.Rotation, spec rotation.Spec, next AuthoritySpec, request []byte) error {
	parent, err := p.ra.Authority(next.Issuer)
	if err != nil {
		return err
	}
	csr, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return fmt.Errorf("parsing the request of %q: %w", next.Name, err)
	}
	subject, err := ceremonySubject(csr.Subject)
	if err != nil {
		return err
	}
	c := p.ra.newCeremony(r, spec)
	c.authority(parent, true)
	if start := parent.Certificate().NotBefore; start.After(c.from) {
		c.from = start
	}
	name := c.name(r.New)
	file := c.input(r.New+".csr", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request}))
	fmt.Fprintf(&c.steps, "  - name: %s\n    issuing:\n      by: %s\n      request: %s\n", quoted(name), quoted(parent.Name()), file)
	c.ca(next, subject)
	c.urls(parent.Name())
	fmt.Fprintf(&c.steps, "      outputs: {certificate: %s, chain: %s}\n", quoted(r.New+".new.pem"), quoted(r.New+"-chain.pem"))
	return c.waiting(ctx, fmt.Sprintf("The certificate of the new issuing CA %s is signed where the key of %s is.", r.New, parent.Name()))
}
