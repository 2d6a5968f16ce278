package doctor

import (
	"context"
	"crypto"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

var keygenPoints = []Point{
	{57, Should, "RFC 7030, 6", "serverkeygen is off unless it is meant to be on", "looks whether it is offered although nobody said that it should (--keygen)", keygenOff},
	{58, Must, "RFC 7030, 4.4", "serverkeygen needs authentication", "posts a good request with neither certificate nor password", keygenAuthenticated},
	{59, Must, "RFC 7030, 4.4.1", "key and signature of the request are not looked at", "asks with a signature that does not verify", keygenIgnoresSignature},
	{60, Must, "RFC 7030, 4.4.2", "the answer is 200 and multipart/mixed of two parts", "takes the answer apart", keygenParts},
	{61, Must, "RFC 7030, 4.4.2", "a key that is not encrypted is application/pkcs8: base64 of a PrivateKeyInfo", "takes the part apart", keygenPlain},
	{62, Must, "RFC 7030, 4.4.2", "the certificate comes as from simpleenroll", "looks at type and content of the part", keygenCertificate},
	{63, Must, "RFC 7030, 4.4.1, 4.4.2", "a key that is asked for encrypted comes as SignedData inside EnvelopedData", "asks with AsymmetricDecryptKeyIdentifier and, where a key is shared, with DecryptKeyIdentifier; decrypts and verifies", keygenEncrypted},
	{64, Must, "RFC 7030, 4.4.2", "the recipient fits the key, and the algorithms are among the SMIMECapabilities", "walks through the EnvelopedData", keygenAlgorithms},
	{65, Must, "RFC 7030, 4.4.1", "an unknown key to encrypt for, or none of the algorithms, is an error and never a plain key", "asks for encryption with an unknown identifier, and without SMIMECapabilities", keygenNeverPlain},
	{66, Should, "RFC 7030, 4.4.2", "the content is encrypted as strongly as the recipient's key", "compares the cipher in the EnvelopedData with the key", keygenStrength},
	{67, Must, "RFC 7030, 4.4.2", "the private key is that of the certificate", "compares them", keygenMatches},
	{68, Derived, "RFC 7030, 6", "a private key is sent once", "repeats the request, which must not bring the same key", keygenOnce},
}

// keygenOffered reports whether serverkeygen is there.
func (p *probe) keygenOffered(ctx context.Context) (bool, error) {
	a, err := p.offer.get(func() (*answer, error) { return p.do(ctx, p.post("serverkeygen", nil, nil)) })
	if err != nil {
		return false, err
	}
	there, ok := offered(a.status)
	if !ok {
		return false, fmt.Errorf("serverkeygen without content and credentials: %v", a)
	}
	return there, nil
}

func keygenOff(ctx context.Context, p *probe) Result {
	there, err := p.keygenOffered(ctx)
	switch {
	case err != nil:
		return fail("%v", err)
	case there && p.Keygen:
		return na("serverkeygen is meant to be offered")
	case there:
		return fail("serverkeygen is offered (--keygen if it is meant to be)")
	}
	return pass("not offered")
}

// generator prepares requests for serverkeygen: errNotAsked if there is no way.
func (p *probe) generator(ctx context.Context) (*credential, error) {
	there, err := p.keygenOffered(ctx)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, errNotAsked("the server offers no serverkeygen")
	}
	return p.mayEnroll()
}

func keygenAuthenticated(ctx context.Context, p *probe) Result {
	if _, err := p.generator(ctx); err != nil {
		return unasked(err)
	}
	key, err := p.newKey(ctx)
	if err != nil {
		return fail("%v", err)
	}
	a, err := p.submit(ctx, submission{op: "serverkeygen", csr: csr{key: key, subject: commonName(p.name())}})
	if err != nil {
		return fail("%v", err)
	}
	if a.status != http.StatusUnauthorized && a.status != http.StatusForbidden {
		return fail("without credentials: %v", a)
	}
	return pass("%v", a)
}

func keygenIgnoresSignature(ctx context.Context, p *probe) Result {
	cred, err := p.generator(ctx)
	if err != nil {
		return unasked(err)
	}
	g, err := p.anyKey(ctx)
	if err != nil {
		return unasked(err)
	}
	a, err := p.generate(ctx, cred, func(s *submission) {
		s.csr.broken = true
		if g.to != nil {
			s.cred = g.to.cred
			s.csr.more = [][]byte{g.to.identifier, capabilities(capable)}
			if g.to.cred.device != "" {
				s.csr.subject = commonName(g.to.cred.device)
			}
		}
	})
	if err != nil {
		return fail("%v", err)
	}
	if a.status != http.StatusOK {
		return fail("a signature that does not verify: %v", a)
	}
	return pass("%v", a)
}

func keygenParts(ctx context.Context, p *probe) Result {
	g, err := p.anyKey(ctx)
	if err != nil {
		return unasked(err)
	}
	if len(g.parts) != 2 {
		return fail("%d parts", len(g.parts))
	}
	return pass("%s and %s", g.parts[0].media(), g.parts[1].media())
}

func keygenPlain(ctx context.Context, p *probe) Result {
	g, err := p.anyKey(ctx)
	if err != nil {
		return unasked(err)
	}
	if g.to != nil {
		return na("the server hands out no key that is not encrypted")
	}
	if _, err := g.plainKey(); err != nil {
		return fail("%v", err)
	}
	return pass("application/pkcs8")
}

func keygenCertificate(ctx context.Context, p *probe) Result {
	g, err := p.anyKey(ctx)
	if err != nil {
		return unasked(err)
	}
	part, err := g.certificatePart()
	if err != nil {
		return fail("%v", err)
	}
	if r := certsOnlyType(part.contentType); r.Status != Pass {
		return r
	}
	if err := checkCertsOnly(part.body); err != nil {
		return fail("%v", err)
	}
	list, err := certificates(part.body)
	if err != nil {
		return fail("%v", err)
	}
	if len(list) != 1 {
		return fail("%d certificates", len(list))
	}
	return pass("one certificate, as %s", part.contentType)
}

func keygenEncrypted(ctx context.Context, p *probe) Result {
	list, err := p.encrypted(ctx)
	if err != nil {
		return unasked(err)
	}
	var seen []string
	for _, g := range list {
		if _, err := g.privateKey(); err != nil {
			return fail("for %s: %v", g.to.name, err)
		}
		seen = append(seen, g.to.name)
	}
	return pass("decrypted and verified: %s", strings.Join(seen, ", "))
}

func keygenAlgorithms(ctx context.Context, p *probe) Result {
	list, err := p.encrypted(ctx)
	if err != nil {
		return unasked(err)
	}
	var seen []string
	for _, g := range list {
		e, err := g.envelope()
		if err != nil {
			return fail("for %s: %v", g.to.name, err)
		}
		if want := e.kindFor(g.to.key); e.kind != want {
			return fail("for %s: the recipient is %s, not %s", g.to.name, e.kind, want)
		}
		for _, algorithm := range []string{e.cipher, e.keyAlgorithm, e.wrap} {
			if algorithm != "" && !slices.Contains(capable, algorithm) {
				return fail("for %s: algorithm %s is not among the SMIMECapabilities", g.to.name, algorithm)
			}
		}
		seen = append(seen, e.kind)
	}
	return pass("%s", strings.Join(seen, ", "))
}

func keygenNeverPlain(ctx context.Context, p *probe) Result {
	cred, err := p.generator(ctx)
	if err != nil {
		return unasked(err)
	}
	nobody := make([]byte, 20)
	rand.Read(nobody)
	cases := map[string][][]byte{
		"an unknown AsymmetricDecryptKeyIdentifier": {attribute(oidAsymmetricKeyID, tlv(tagOctets, nobody)), capabilities(capable)},
		"an unknown DecryptKeyIdentifier":           {attribute(oidDecryptKeyID, tlv(tagOctets, nobody)), capabilities(capable)},
	}
	for _, to := range p.recipients(cred) {
		name := to.name + " without SMIMECapabilities"
		cases[name] = [][]byte{to.identifier}
		a, err := p.generate(ctx, to.cred, func(s *submission) { s.csr.more = cases[name] })
		if r := neverPlain(name, a, err); r != nil {
			return *r
		}
		delete(cases, name)
	}
	for name, more := range cases {
		a, err := p.generate(ctx, cred, func(s *submission) { s.csr.more = more })
		if r := neverPlain(name, a, err); r != nil {
			return *r
		}
	}
	return pass("all refused")
}

func neverPlain(name string, a *answer, err error) *Result {
	var r Result
	switch {
	case err != nil:
		r = fail("%s: %v", name, err)
	case a.status < 400 || a.status >= 500:
		r = fail("%s: %v", name, a)
	default:
		return nil
	}
	return &r
}

func keygenStrength(ctx context.Context, p *probe) Result {
	list, err := p.encrypted(ctx)
	if err != nil {
		return unasked(err)
	}
	var seen []string
	for _, g := range list {
		e, err := g.envelope()
		if err != nil {
			return fail("for %s: %v", g.to.name, err)
		}
		have := map[string]int{oidAES128CBC: 128, oidAES192CBC: 192, oidAES256CBC: 256}[e.cipher]
		if have < strength(g.to.key) {
			return fail("%s is worth %d bits, and the cipher %s %d", g.to.name, strength(g.to.key), e.cipher, have)
		}
		seen = append(seen, fmt.Sprintf("AES-%d for %s", have, g.to.name))
	}
	return pass("%s", strings.Join(seen, ", "))
}

func keygenMatches(ctx context.Context, p *probe) Result {
	g, err := p.anyKey(ctx)
	if err != nil {
		return unasked(err)
	}
	key, err := g.privateKey()
	if err != nil {
		return fail("%v", err)
	}
	part, err := g.certificatePart()
	if err != nil {
		return fail("%v", err)
	}
	list, err := certificates(part.body)
	if err != nil {
		return fail("%v", err)
	}
	if !holdsKey(list[0], key.Public()) {
		return fail("the certificate of %q is for another key", list[0].Subject)
	}
	return pass("the key is that of %q", list[0].Subject)
}

func keygenOnce(ctx context.Context, p *probe) Result {
	g, err := p.anyKey(ctx)
	if err != nil {
		return unasked(err)
	}
	cred, err := p.generator(ctx)
	if err != nil {
		return unasked(err)
	}
	e, err := p.fresh(ctx, cred)
	if err != nil {
		return fail("%v", err)
	}
	s := e.submission
	s.op = "serverkeygen"
	if g.to != nil {
		s.cred, s.csr.more = g.to.cred, [][]byte{g.to.identifier, capabilities(capable)}
		if g.to.cred.device != "" {
			s.csr.subject = commonName(g.to.cred.device)
		}
	}
	var made []crypto.Signer
	for range 2 {
		a, err := p.submit(ctx, s)
		if err != nil {
			return fail("%v", err)
		}
		if a.status != http.StatusOK {
			return pass("the repeated request is refused: %v", a)
		}
		again := &generated{answer: a, to: g.to}
		if again.parts, err = splitParts(a); err != nil {
			return fail("%v", err)
		}
		key, err := again.privateKey()
		if err != nil {
			return fail("%v", err)
		}
		made = append(made, key)
	}
	if public, ok := made[0].Public().(interface{ Equal(crypto.PublicKey) bool }); ok && public.Equal(made[1].Public()) {
		return fail("the repeated request brought the same key: somebody keeps it")
	}
	return pass("the repeated request brought another key")
}
