package issuer

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"

	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// mostBrought bounds the certificates of one Bring.
const mostBrought = 256

// Bring examines everything before it records anything.
func (p rotations) Bring(ctx context.Context, r ledger.Rotation, spec rotation.Spec, certificates []*x509.Certificate, actor string) ([]string, error) {
	if len(certificates) > mostBrought {
		return nil, against("rotation-bring", "%d certificates are more than a rotation takes (%d)", len(certificates), mostBrought)
	}
	old, err := p.ra.Authority(r.Old)
	if err != nil {
		return nil, err
	}
	b := &bringing{rotations: p, r: r, spec: spec, old: old, actor: actor}
	if new, err := p.ra.Authority(r.New); err == nil {
		if wrong := p.ra.signedFor(r, spec, old, new); len(wrong) > 0 {
			return nil, &rotation.Refused{Rule: "rotation-new", Texts: wrong}
		}
		b.new = new
	}
	// What is signed by the new root can be judged only when that is known.
	var rest []*x509.Certificate
	for _, c := range certificates {
		if !slices.ContainsFunc(rest, c.Equal) {
			rest = append(rest, c) // chains hold some of them again
		}
	}
	if b.new == nil {
		if rest, err = b.newCA(ctx, rest); err != nil {
			return nil, err
		}
	}
	for _, c := range rest {
		if err := b.other(ctx, c); err != nil {
			return nil, err
		}
	}
	if len(b.record) == 0 && len(b.words) == 0 {
		return nil, against("rotation-bring", "there is no certificate in what was brought")
	}
	for _, record := range b.record {
		if err := record(); err != nil {
			return nil, err
		}
	}
	return b.words, p.ra.Refresh(ctx)
}

// bringing is one Bring: what was understood, and what is done once all of it was.
type bringing struct {
	rotations
	r        ledger.Rotation
	spec     rotation.Spec
	old, new *ca.Authority
	actor    string
	record   []func() error
	words    []string
}

func (b *bringing) say(format string, args ...any) {
	b.words = append(b.words, fmt.Sprintf(format, args...))
}

// newCA finds the new CA among certificates, and returns the others.
func (b *bringing) newCA(ctx context.Context, certificates []*x509.Certificate) ([]*x509.Certificate, error) {
	if b.r.Kind == ledger.RotateIssuing {
		return b.newIssuing(ctx, certificates)
	}
	i := slices.IndexFunc(certificates, func(c *x509.Certificate) bool {
		return b.ra.holderOf(c.Raw) == nil && c.CheckSignatureFrom(c) == nil
	})
	if i < 0 {
		return nil, against("rotation-bring", "the new root is not among the certificates, and what it signs cannot be judged without it")
	}
	if !b.spec.Elsewhere {
		return nil, against("rotation-bring", "the plan that officers have signed makes the new root here, and takes none that was made elsewhere: plan the rotation with --elsewhere, or import the root before it is planned")
	}
	root := certificates[i]
	new, worth, err := b.ra.ExamineImport(ctx, b.r.New, []*x509.Certificate{root})
	if err != nil {
		return nil, err
	}
	if worth != "" {
		return nil, against("rotation-bring", "the new root: %s", worth)
	}
	if wrong := append(b.ra.fits(b.spec, b.old, new), b.ra.signedFor(b.r, b.spec, b.old, new)...); len(wrong) > 0 {
		return nil, &rotation.Refused{Rule: "rotation-bring", Texts: wrong}
	}
	b.new = new
	b.say("the new root %s: %s, until %s, SHA-256 %s", b.r.New, root.Subject, dateOf(root.NotAfter), fingerprint(root))
	b.record = append(b.record, func() error {
		_, err := b.ra.ImportAuthority(ctx, b.r.New, []*x509.Certificate{root}, "")
		return err
	})
	return slices.Delete(certificates, i, i+1), nil
}

// newIssuing finds the certificate of an issuing CA that waits for it.
func (b *bringing) newIssuing(ctx context.Context, certificates []*x509.Certificate) ([]*x509.Certificate, error) {
	b.ra.mu.RLock()
	waiting, ok := b.ra.known.waiting[b.r.New]
	b.ra.mu.RUnlock()
	if !ok {
		return nil, against("rotation-bring", "%q waits for no certificate: mintmark rotate run makes its key first", b.r.New)
	}
	signer, err := b.ra.Keys.Signer(ctx, waiting.KeyURI, nil)
	if err != nil {
		return nil, fmt.Errorf("opening the key of %q: %w", b.r.New, err)
	}
	key, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding the key of %q: %w", b.r.New, err)
	}
	var own []*x509.Certificate
	for _, c := range certificates {
		if bytes.Equal(c.RawSubjectPublicKeyInfo, key) && !slices.ContainsFunc(own, c.Equal) {
			own = append(own, c)
		}
	}
	chain := b.old.Chain()
	if len(own) != 1 {
		return nil, against("rotation-bring", "of the certificates %d are of the key of %q, and one must be", len(own), b.r.New)
	}
	path := append(own, chain...)
	new, _, err := b.ra.ExamineImport(ctx, b.r.New, path)
	if err != nil {
		return nil, err
	}
	if own[0].NotAfter.Before(b.old.Certificate().NotAfter) && !b.spec.Emergency {
		return nil, against("rotation-bring", "%q ends on %s, before %q (%s)", b.r.New, dateOf(own[0].NotAfter), b.r.Old, dateOf(b.old.Certificate().NotAfter))
	}
	b.new = new
	b.say("the new issuing CA %s: %s, until %s, SHA-256 %s", b.r.New, own[0].Subject, dateOf(own[0].NotAfter), fingerprint(own[0]))
	b.record = append(b.record, func() error {
		if _, err := b.ra.ImportAuthority(ctx, b.r.New, path, ""); err != nil {
			return err
		}
		return b.ra.RecordAuthority(ctx, b.r.New, b.actor)
	})
	return slices.DeleteFunc(certificates, own[0].Equal), nil
}

// other takes a certificate that is not the new CA's own.
func (b *bringing) other(ctx context.Context, c *x509.Certificate) error {
	if c.Equal(b.new.Certificate()) || b.ra.holderOf(c.Raw) != nil {
		return nil // part of a chain
	}
	if b.r.Kind == ledger.RotateRoot {
		for _, x := range b.ra.crossings(b.r, b.old, b.new) {
			if !bytes.Equal(c.RawSubjectPublicKeyInfo, x.of.Certificate().RawSubjectPublicKeyInfo) || c.CheckSignatureFrom(x.by.Certificate()) != nil {
				continue
			}
			if err := b.ra.examineBridge(ctx, x.what, x.by, x.of, c); err != nil {
				return err
			}
			b.say("%s, until %s, SHA-256 %s", x.what, dateOf(c.NotAfter), fingerprint(c))
			b.record = append(b.record, func() error { return b.ra.recordCA(ctx, x.by, c, b.actor) })
			return nil
		}
		if b.r.Emergency && bytes.Equal(c.RawSubjectPublicKeyInfo, b.old.Certificate().RawSubjectPublicKeyInfo) {
			return against("rotation-bring", "certificate %q by %q is one of the key of %q, which is in wrong hands: nothing may vouch for it", c.Subject, c.Issuer, b.r.Old)
		}
		if b.r.Emergency && c.CheckSignatureFrom(b.old.Certificate()) == nil {
			return against("rotation-bring", "certificate %q was signed by the key of %q, which is in wrong hands and certifies nothing new", c.Subject, b.r.Old)
		}
	}
	return against("rotation-bring", "certificate %q by %q has no place in this rotation", c.Subject, c.Issuer)
}
