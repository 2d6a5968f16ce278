package issuer

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// newBackdate is how far the notBefore of a new CA precedes its making, for devices whose
// clocks are slow.
const newBackdate = time.Hour

// successor is the CA that a rotation makes: as the old one, but for what the
// specification says. Its end counts from when the rotation was planned, so that it is the one
// that officers have signed.
func (ra *RA) successor(spec rotation.Spec, old *ca.Authority, planned time.Time) (AuthoritySpec, error) {
	own := old.Certificate()
	s := AuthoritySpec{KeyURI: spec.KeyURI, Spec: ca.Spec{
		Name: spec.New, RawSubject: own.RawSubject, Backdate: newBackdate,
		Permitted: ca.NameConstraints{DNS: own.PermittedDNSDomains, IP: own.PermittedIPRanges, Email: own.PermittedEmailAddresses, URI: own.PermittedURIDomains},
		Excluded:  ca.NameConstraints{DNS: own.ExcludedDNSDomains, IP: own.ExcludedIPRanges, Email: own.ExcludedEmailAddresses, URI: own.ExcludedURIDomains},
	}}
	var err error
	if s.Key, err = successorKey(spec.Key, old); err != nil {
		return s, err
	}
	if room, limited := pathLen(own); limited {
		if spec.Kind == ledger.RotateRoot {
			room = max(room, ra.roomFor(old))
		}
		s.PathLen = &room
	}
	if spec.CommonName != "" {
		s.Subject, s.RawSubject = renamed(own.Subject, spec.CommonName), nil
	}
	s.NotAfter = planned.Add(own.NotAfter.Sub(own.NotBefore))
	if least := own.NotAfter.Add(day); s.NotAfter.Before(least) {
		s.NotAfter = least // the old one is hardly a day old
	}
	if spec.ValidityDays > 0 {
		s.NotAfter = planned.Add(time.Duration(spec.ValidityDays) * day)
	}
	chain := old.Chain()
	if len(chain) == 0 {
		return s, nil
	}
	parent := ra.holderOf(chain[0].Raw)
	if parent == nil {
		return s, against("rotation-parent", "the CA %q above %q is not known here: import it, without a key if that is elsewhere", chain[0].Subject, old.Name())
	}
	s.Issuer = parent.Name()
	if end := parent.Certificate().NotAfter; s.NotAfter.After(end) {
		s.NotAfter = end
	}
	return s, nil
}

// roomFor is the path length that another root needs over what is below a root, and the
// certificate of that root by it. The latter has the same subject and issuer where the roots have one
// name, and does not count then (RFC 5280, Section 6.1.4 (l)); but there are verifiers that count it,
// crypto/x509 among them.
func (ra *RA) roomFor(root *ca.Authority) int { return ra.below(root) + 1 }

// successorKey is the kind of the new CA's key: p256 and P-256 are the same.
func successorKey(name string, old *ca.Authority) (ca.Algorithm, error) {
	if name == "" {
		return ca.AlgorithmOf(old.Certificate().PublicKey)
	}
	text := strings.ToUpper(strings.ReplaceAll(name, "-", ""))
	for _, prefix := range []string{"RSA", "P"} {
		if digits, ok := strings.CutPrefix(text, prefix); ok {
			text = prefix + "-" + digits
			break
		}
	}
	return ca.ParseAlgorithm(text)
}

// renamed is a name with another common name, its other attributes in their order.
func renamed(name pkix.Name, commonName string) pkix.Name {
	attributes := slices.Clone(name.Names)
	i := slices.IndexFunc(attributes, func(a pkix.AttributeTypeAndValue) bool { return a.Type.Equal(oidCommonName) })
	if i < 0 {
		attributes = append(attributes, pkix.AttributeTypeAndValue{Type: oidCommonName})
		i = len(attributes) - 1
	}
	attributes[i].Value = commonName
	return pkix.Name{ExtraNames: attributes}
}

// holderOf finds the authority that goes by a certificate; nil if there is none.
func (ra *RA) holderOf(der []byte) *ca.Authority {
	for _, a := range ra.Authorities() {
		if bytes.Equal(a.Certificate().Raw, der) {
			return a
		}
	}
	return nil
}

// fits says why an authority that exists cannot be the new CA of a rotation, one line each.
func (ra *RA) fits(spec rotation.Spec, old, new *ca.Authority) (wrong []string) {
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	from, to := old.Certificate(), new.Certificate()
	if bytes.Equal(from.RawSubjectPublicKeyInfo, to.RawSubjectPublicKeyInfo) {
		bad("%q and %q are the same key: a rotation leads to another one", old.Name(), new.Name())
	}
	if err := ra.inForce(new); err != nil {
		bad("%v", err)
	}
	switch oldChain, newChain := old.Chain(), new.Chain(); {
	case spec.Kind == ledger.RotateRoot && len(newChain) > 0:
		bad("%q is no root but a CA under %q", new.Name(), new.Root().Subject)
	case spec.Kind == ledger.RotateRoot && !to.NotAfter.After(from.NotAfter):
		// RFC 7030, Section 4.1.3.
		bad("root %q ends on %s, not after %q (%s), and devices take the one that lasts longest for the new one: make a root that lasts longer", new.Name(), dateOf(to.NotAfter), old.Name(), dateOf(from.NotAfter))
	case spec.Kind == ledger.RotateIssuing && (len(oldChain) == 0 || len(newChain) == 0 || !oldChain[0].Equal(newChain[0])):
		bad("%q and %q are not directly under the same CA: the rotation of an issuing CA keeps what is above it", old.Name(), new.Name())
	case spec.Kind == ledger.RotateIssuing && to.NotAfter.Before(from.NotAfter):
		bad("%q ends on %s, before %q (%s)", new.Name(), dateOf(to.NotAfter), old.Name(), dateOf(from.NotAfter))
	}
	if room, limited := pathLen(to); spec.Kind == ledger.RotateRoot && limited && room < ra.roomFor(old) {
		bad("root %q allows a path length of %d, and needs %d for what is below %q and the certificate of that one by it: make a root with more room", new.Name(), room, ra.roomFor(old), old.Name())
	}
	if spec.Kind == ledger.RotateIssuing && !ra.keyHere(new.Name()) {
		bad("the key of %q is elsewhere, and an issuing CA signs here", new.Name())
	}
	return wrong
}

// signedFor says where a new CA is not the one of the plan that officers have signed: its
// certificate where it was there, or what would have been made.
func (ra *RA) signedFor(r ledger.Rotation, spec rotation.Spec, old, new *ca.Authority) []string {
	switch {
	case spec.NewSHA256 == "" && r.Kind == ledger.RotateRoot:
		return ra.asSucceeding(r, spec, old, new.Certificate())
	case spec.NewSHA256 != "" && fingerprint(new.Certificate()) != spec.NewSHA256:
		return []string{fmt.Sprintf("the certificate of %q has the SHA-256 %s, and that of the plan is %s", new.Name(), fingerprint(new.Certificate()), spec.NewSHA256)}
	}
	return nil
}

// slackOfRoot is by how much the validity of a root that was made elsewhere may differ from
// what was planned: the clocks of rooms without a network are set by hand.
const slackOfRoot = 3 * day

// asSucceeding says where a new root is not what was planned: the one that would have been made
// here.
func (ra *RA) asSucceeding(r ledger.Rotation, spec rotation.Spec, old *ca.Authority, root *x509.Certificate) (wrong []string) {
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf("the new root: "+format, args...)) }
	next, err := ra.successor(spec, old, r.At)
	if err != nil {
		return []string{err.Error()}
	}
	want, err := next.Template(big.NewInt(1), r.At)
	if err != nil {
		return []string{err.Error()}
	}
	if kind, err := ca.AlgorithmOf(root.PublicKey); err != nil || kind != next.Key {
		bad("its key is %s, and %s was planned", kind, next.Key)
	}
	name := old.Certificate().Subject
	if spec.CommonName != "" {
		name = renamed(name, spec.CommonName)
		name.Names = name.ExtraNames
	}
	if !sameAttributes(root.Subject, name) {
		bad("its subject is %q, which is not the one that was planned", root.Subject)
	}
	if d := root.NotAfter.Sub(want.NotAfter); d < -slackOfRoot || d > slackOfRoot {
		bad("it ends on %s, and %s was planned", dateOf(root.NotAfter), dateOf(want.NotAfter))
	}
	if root.NotBefore.Before(want.NotBefore.Add(-slackOfRoot)) {
		bad("it is valid since %s, before the rotation was planned", dateOf(root.NotBefore))
	}
	have, limited := pathLen(root)
	if room, wanted := pathLen(want); limited != wanted || have != room {
		bad("its path length is %s, and %s was planned", lengthOf(have, limited), lengthOf(room, wanted))
	}
	if root.KeyUsage != want.KeyUsage || extensionValue(root, oidExtKeyUsage) != nil {
		bad("its key usages are not those of a CA that signs certificates and CRLs, and nothing else")
	}
	if !sameNameConstraints(root, want) {
		bad("its name constraints are not those of %q", old.Name())
	}
	return wrong
}

func lengthOf(room int, limited bool) string {
	if !limited {
		return "not limited"
	}
	return strconv.Itoa(room)
}

// Make makes the new CA, or finds it.
func (p rotations) Make(ctx context.Context, r ledger.Rotation, spec rotation.Spec) error {
	old, err := p.ra.Authority(r.Old)
	if err != nil {
		return err
	}
	switch new, err := p.ra.Authority(r.New); {
	case err == nil:
		if wrong := append(p.ra.fits(spec, old, new), p.ra.signedFor(r, spec, old, new)...); len(wrong) > 0 {
			return &rotation.Refused{Rule: "rotation-new", Texts: wrong}
		}
		return nil
	case !errors.Is(err, ErrNoAuthority):
		return err
	}
	next, err := p.ra.successor(spec, old, r.At)
	if err != nil {
		return err
	}
	switch {
	case r.Kind == ledger.RotateRoot && spec.Elsewhere:
		return p.waitForRoot(ctx, r, spec, old, next)
	case r.Kind == ledger.RotateIssuing && !p.ra.keyHere(next.Issuer):
		request, err := p.ra.requestAuthority(ctx, next, true)
		if err != nil {
			return err
		}
		return p.waitForIssuing(ctx, r, spec, next, request)
	}
	_, err = p.ra.createAuthority(ctx, next, requesterOf(r), true)
	return err
}
