package doctor

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"
)

var authPoints = []Point{
	{26, Must, "RFC 7030, 4.2, 4.4", "the client is authenticated before enrollment, re-enrollment and serverkeygen", "posts a good request with neither certificate nor password", authenticated},
	{27, Must, "RFC 7030, 3.2.3; RFC 9110, 15.5.2", "a 401 carries WWW-Authenticate", "looks at the 401 for a request without credentials", challenge},
	{28, Must, "RFC 7030, 3.2.3", "no support for HTTP authentication is assumed of clients", "is a rule about the server's policy", policy("a policy that does not show: whether devices get along without HTTP authentication is for the operator to decide")},
	{29, Derived, "RFC 7030, 3.2.3", "an empty user name is taken where the policy says so", "enrolls with the password of the empty user", emptyUser},
	{30, Must, "RFC 7030, 3.3.2", "client certificates are validated: path, dates, revocation", "renews with a forgery under the name of the server's CA and, where they are given, with an expired and a revoked certificate", validated},
	{31, Must, "RFC 7030, 3.3.2", "a maker's certificate cannot renew as if it were the server's own", "asks simplereenroll with the maker's certificate", makerRenewal},
	{32, Must, "RFC 7030, 3.7", "the certificate of one device gets no other device's name", "enrolls and re-enrolls another name with a device's certificate", otherName},
	{33, Should, "RFC 7030, 3.7", "a client with id-kp-cmcRA acts as registration authority", "enrolls a new name with that certificate", representative},
	{34, Derived, "RFC 9110, 11.6.1", "a wrong password and an unknown user get the same 401", "compares both answers; it does not try until it is locked out", samePasswordAnswer},
	{87, Interop, "measured: libest", "the field is spelled WWW-Authenticate", "looks at the bytes of a 401", challengeSpelling},
	{88, Interop, "measured: libest, BouncyCastle", "the first challenge is Basic", "looks at the order of challenges", basicFirst},
	{89, Interop, "measured: BouncyCastle", "a 401 and a 202 have no body and say so", "looks for Content-Length: 0", emptyBodies},
}

// policy is the check of a point that does not show on the wire.
func policy(why string) func(context.Context, *probe) Result {
	return func(context.Context, *probe) Result { return na("%s", why) }
}

func authenticated(ctx context.Context, p *probe) Result {
	if !p.Enroll {
		return na("needs certificates to be issued (--enroll): a faulty server would issue one")
	}
	key, err := p.newKey(ctx)
	if err != nil {
		return fail("%v", err)
	}
	var seen []string
	for _, op := range []string{"simpleenroll", "simplereenroll", "serverkeygen"} {
		a, err := p.submit(ctx, submission{op: op, csr: csr{key: key, subject: commonName(p.name())}})
		if err != nil {
			return fail("%s: %v", op, err)
		}
		switch a.status {
		case http.StatusUnauthorized, http.StatusForbidden:
		case http.StatusNotFound, http.StatusNotImplemented:
			if op != "serverkeygen" {
				return fail("%s: %v", op, a)
			}
		default:
			return fail("%s without credentials: %v", op, a)
		}
		seen = append(seen, fmt.Sprintf("%s %d", op, a.status))
	}
	return pass("%s", strings.Join(seen, ", "))
}

func emptyUser(ctx context.Context, p *probe) Result {
	if !p.HasPassword || p.User != "" {
		return na("needs the password of the empty user")
	}
	e, err := p.opening(ctx)
	if err != nil {
		return unasked(err)
	}
	if !accepted(e.answer.status) {
		return fail("simpleenroll answered %v", e.answer)
	}
	return pass("%v", e.answer)
}

// renews submits the renewal of a certificate, with its key and its names.
func (p *probe) renews(ctx context.Context, certificate *tls.Certificate, change func(*submission)) (*answer, error) {
	key, ok := certificate.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", certificate.PrivateKey)
	}
	s := submission{op: "simplereenroll", cred: &credential{certificate: certificate, kind: "a certificate"}, csr: renewalOf(leafOf(certificate), key)}
	if change != nil {
		change(&s)
	}
	return p.submit(ctx, s)
}

// renewalOf is a request with the subject and the names of a certificate.
func renewalOf(c *x509.Certificate, key crypto.Signer) csr {
	request := csr{key: key, subject: c.RawSubject}
	for _, e := range c.Extensions {
		if e.Id.String() == oidSubjectAltName {
			request.names = e.Value
		}
	}
	return request
}

// forge makes a certificate that only says it is by the issuer of another.
func forge(model *x509.Certificate) (*tls.Certificate, error) {
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: new(big.Int).Add(model.SerialNumber, big.NewInt(1)), RawSubject: model.RawSubject, Subject: pkix.Name{},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), AuthorityKeyId: model.AuthorityKeyId,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{RawSubject: model.RawIssuer}, key.Public(), ca)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

func validated(ctx context.Context, p *probe) Result {
	device, err := p.device(ctx)
	if err != nil {
		return unasked(err)
	}
	forgery, err := forge(leafOf(device))
	if err != nil {
		return fail("%v", err)
	}
	var seen []string
	for _, c := range []struct {
		name        string
		certificate *tls.Certificate
	}{{"forged", forgery}, {"revoked", p.Revoked}, {"expired", p.Expired}} {
		if c.certificate == nil {
			continue
		}
		a, err := p.renews(ctx, c.certificate, nil)
		switch {
		case err != nil:
			// A TLS alert refuses, too; point 55 asks for words.
			seen = append(seen, c.name+": refused in TLS")
		case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
			seen = append(seen, fmt.Sprintf("%s: %d", c.name, a.status))
		default:
			return fail("simplereenroll with the %s certificate: %v", c.name, a)
		}
	}
	return pass("%s", strings.Join(seen, ", "))
}

func makerRenewal(ctx context.Context, p *probe) Result {
	if p.Maker == nil {
		return na("needs a maker's certificate")
	}
	if !p.Enroll {
		return na("needs certificates to be issued (--enroll): a faulty server would issue one")
	}
	a, err := p.renews(ctx, p.Maker, nil)
	if err != nil {
		return fail("%v", err)
	}
	if a.status != http.StatusForbidden && a.status != http.StatusUnauthorized {
		return fail("simplereenroll with the maker's certificate: %v", a)
	}
	return pass("%v", a)
}

func otherName(ctx context.Context, p *probe) Result {
	device, err := p.device(ctx)
	if err != nil {
		return unasked(err)
	}
	// A key of its own: that of the device may be refused for being the device's.
	key, err := p.newKey(ctx)
	if err != nil {
		return fail("%v", err)
	}
	for _, op := range []string{"simpleenroll", "simplereenroll"} {
		a, err := p.renews(ctx, device, func(s *submission) {
			s.op, s.csr.key, s.csr.subject, s.csr.names = op, key, commonName("other-"+p.run), nil
		})
		if err != nil {
			return fail("%s: %v", op, err)
		}
		if a.status < 400 || a.status >= 500 {
			return fail("%s of another name: %v", op, a)
		}
	}
	return pass("refused by both operations")
}

func representative(ctx context.Context, p *probe) Result {
	if p.RA == nil {
		return na("needs the certificate of a registration authority")
	}
	if !p.Enroll {
		return na("needs certificates to be issued (--enroll)")
	}
	leaf := leafOf(p.RA)
	if !slices.ContainsFunc(leaf.UnknownExtKeyUsage, func(id asn1.ObjectIdentifier) bool { return oidText(id) == oidCMCRA }) {
		return na("the certificate that was given is none of a registration authority: it lacks id-kp-cmcRA")
	}
	e, err := p.fresh(ctx, p.registrar())
	if err != nil {
		return fail("%v", err)
	}
	a, err := p.submit(ctx, e.submission)
	if err != nil {
		return fail("%v", err)
	}
	if !accepted(a.status) {
		return fail("simpleenroll for another device: %v", a)
	}
	return pass("%v", a)
}
