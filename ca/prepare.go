package ca

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"net/url"
)

// Rules bounds one certificate. The zero value is the strictest.
type Rules struct {
	// OutliveIssuer lets notAfter pass the issuer's: IDevIDs of IEEE 802.1AR
	// (Section 8) have no expiry of their own.
	OutliveIssuer bool

	// CA says that a CA certificate is wanted. Without it a template with cA
	// or a key usage of a CA is refused, with it every other.
	CA bool

	// NoCRL says, of a CA certificate, that its CA signs no CRLs: keyUsage must
	// then lack cRLSign, which every other CA certificate must have.
	NoCRL bool
}

// Prepare builds the certificate that template describes for the key pub
// (step 4) and lints it under a dummy signature (step 5). The key of the
// authority is not used, and nothing is signed.
//
// The template gives serial number, subject, validity and extensions. The
// engine sets what is the engine's: issuer, signature algorithm, authority key
// identifier and subject key identifier. A CA template may bring its own
// subject key identifier, which a cross-certificate must (it repeats the one
// that certificates below already point at); any other must not differ from
// the one computed here.
//
// What is refused is an *OutlivesIssuerError, a *TemplateError or a
// *LintError.
func (a *Authority) Prepare(template *x509.Certificate, pub crypto.PublicKey, rules Rules) (*Prepared, error) {
	if template == nil {
		return nil, errors.New("preparing a certificate: no template")
	}
	if !rules.CA && samePublicKey(a.cert.PublicKey, pub) {
		return nil, refuse("public key", "is the key of the issuing CA itself")
	}
	if err := CheckKey(pub); err != nil {
		return nil, refuse("public key", "%v", err)
	}
	t := *template
	t.SignatureAlgorithm = a.sigAlg
	t.AuthorityKeyId = a.cert.SubjectKeyId
	p, err := prepare(&t, a.cert, pub, rules)
	if err != nil {
		return nil, err
	}
	p.issuer = a
	if err := a.checkLimits(p.cert, rules); err != nil {
		return nil, err
	}
	if err := p.lint(pub, &a.shapes); err != nil {
		return nil, err
	}
	return p, nil
}

// PrepareRoot does what Prepare does for a self-signed certificate of the key
// of signer. The template must be one of a CA.
func PrepareRoot(template *x509.Certificate, signer crypto.Signer) (*Prepared, error) {
	if template == nil || signer == nil {
		return nil, errors.New("preparing a root: a template and a signer are required")
	}
	pub := signer.Public()
	if err := CheckKey(pub); err != nil {
		return nil, refuse("public key", "%v", err)
	}
	kind, err := AlgorithmOf(pub)
	if err != nil {
		return nil, refuse("public key", "%v", err)
	}
	self := &selfSigner{signer: signer}
	self.sigAlg, self.hash = kind.signature()

	t := *template
	t.SignatureAlgorithm = self.sigAlg
	if len(t.SubjectKeyId) == 0 {
		if t.SubjectKeyId, err = keyID(pub); err != nil {
			return nil, err
		}
	}
	t.AuthorityKeyId = t.SubjectKeyId
	parent := t
	parent.PublicKey = pub
	p, err := prepare(&t, &parent, pub, Rules{CA: true})
	if err != nil {
		return nil, err
	}
	p.issuer = self
	if err := p.lint(pub, nil); err != nil {
		return nil, err
	}
	return p, nil
}

// prepare builds template, a copy of the caller's, and checks the result.
func prepare(template, parent *x509.Certificate, pub crypto.PublicKey, rules Rules) (*Prepared, error) {
	id, err := keyID(pub)
	if err != nil {
		return nil, err
	}
	if len(template.SubjectKeyId) == 0 {
		template.SubjectKeyId = id
	} else if !rules.CA && !bytes.Equal(template.SubjectKeyId, id) {
		return nil, refuse("subject key identifier", "%x is not %x, the one of the key", template.SubjectKeyId, id)
	}
	if err := checkTemplate(template); err != nil {
		return nil, err
	}
	tbs, err := buildTBS(template, parent, pub)
	if err != nil {
		return nil, refuse("template", "%v", err)
	}
	return encoded(tbs, template, parent, rules)
}

// encoded reads what was built as its readers will, and checks it.
func encoded(tbs []byte, template, parent *x509.Certificate, rules Rules) (*Prepared, error) {
	algorithm, err := signatureAlgorithm(tbs)
	if err != nil {
		return nil, err
	}
	dummy, err := dummySignature(parent.PublicKey)
	if err != nil {
		return nil, err
	}
	der, err := assemble(tbs, algorithm, dummy)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, refuse("template", "does not make a certificate: %v", err)
	}
	if err := checkBuilt(cert, template, parent, rules); err != nil {
		return nil, err
	}
	return &Prepared{algorithm: algorithm, tbs: tbs, cert: cert}, nil
}

// checkTemplate refuses what crypto/x509 would encode without a word.
func checkTemplate(t *x509.Certificate) error {
	// RFC 5280, Section 4.1.2.2: positive, at most 20 octets when encoded.
	switch {
	case t.SerialNumber == nil:
		return refuse("serial number", "is missing")
	case t.SerialNumber.Sign() <= 0:
		return refuse("serial number", "must be positive")
	case t.SerialNumber.BitLen() > 159:
		return refuse("serial number", "is longer than 20 octets")
	}
	switch {
	case t.NotBefore.IsZero():
		return refuse("validity", "notBefore is missing")
	case t.NotAfter.IsZero():
		return refuse("validity", "notAfter is missing")
	}
	for _, urls := range [][]string{t.CRLDistributionPoints, t.IssuingCertificateURL, t.OCSPServer} {
		for _, u := range urls {
			if err := checkURL(u); err != nil {
				return err
			}
		}
	}
	for _, ext := range t.ExtraExtensions {
		for _, own := range engineExtensions {
			if ext.Id.Equal(own.oid) {
				return refuse("extensions", "%s is set by the engine and cannot be given in encoded form", own.name)
			}
		}
	}
	return nil
}

// checkURL refuses a URL that no relying party could fetch: a URL in a
// certificate is an absolute URI in IA5String (RFC 5280, Section 4.2.1.6).
func checkURL(s string) error {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f {
			return refuse("URL", "%q has a character that a URL cannot have", s)
		}
	}
	u, err := url.Parse(s)
	if err != nil {
		return refuse("URL", "%q is not a URL", s)
	}
	switch u.Scheme {
	case "http", "https", "ldap", "ldaps":
		if u.Host != "" || u.Scheme == "ldap" {
			return nil
		}
	}
	return refuse("URL", "%q is not an absolute http or ldap URL", s)
}

// engineExtensions are those that a template states in fields, where they can
// be held against the rules and against the issuer.
var engineExtensions = []struct {
	oid  asn1.ObjectIdentifier
	name string
}{
	{oidSubjectKeyID, "subjectKeyIdentifier"},
	{oidAuthorityKeyID, "authorityKeyIdentifier"},
	{oidBasicConstraints, "basicConstraints"},
	{oidKeyUsage, "keyUsage"},
	{oidNameConstraints, "nameConstraints"},
}

// checkBuilt checks the certificate as its readers will parse it, so that no
// field of the template can say one thing and encode another.
func checkBuilt(cert, template, parent *x509.Certificate, rules Rules) error {
	if cert.SerialNumber.Cmp(template.SerialNumber) != 0 {
		return refuse("serial number", "is not encoded as given")
	}
	if !cert.NotAfter.After(cert.NotBefore) {
		return refuse("validity", "notAfter %s is not after notBefore %s", cert.NotAfter, cert.NotBefore)
	}
	if !bytes.Equal(cert.SubjectKeyId, template.SubjectKeyId) {
		return refuse("subject key identifier", "is not encoded as given")
	}
	if !bytes.Equal(cert.AuthorityKeyId, template.AuthorityKeyId) || len(cert.AuthorityKeyId) == 0 {
		return refuse("authority key identifier", "is not the issuer's")
	}
	if len(parent.RawSubject) > 0 && !bytes.Equal(cert.RawIssuer, parent.RawSubject) {
		return refuse("issuer", "is not the subject of the issuing certificate, byte for byte")
	}
	if rules.CA {
		check := checkIssuing
		if rules.NoCRL {
			check = checkCertifying
		}
		if err := check(cert); err != nil {
			return refuse("CA certificate", "%v", err)
		}
		if rules.NoCRL && cert.KeyUsage&x509.KeyUsageCRLSign != 0 {
			return refuse("keyUsage", "cRLSign is set in the certificate of a CA that signs no CRLs")
		}
		return nil
	}
	switch {
	case cert.IsCA:
		return refuse("basicConstraints", "cA is set in a certificate that is not to be one of a CA")
	case cert.KeyUsage&x509.KeyUsageCertSign != 0:
		return refuse("keyUsage", "keyCertSign is set in a certificate that is not to be one of a CA")
	case cert.KeyUsage&x509.KeyUsageCRLSign != 0:
		return refuse("keyUsage", "cRLSign is set in a certificate that is not to be one of a CA")
	}
	return nil
}

// lint runs step 5 and takes from the parsed certificate what could pass for
// a signed one. A self-signed one has no shapes to be known among.
func (p *Prepared) lint(pub crypto.PublicKey, known *knownShapes) error {
	defer func() { p.cert.Raw, p.cert.Signature = nil, nil }()
	if known == nil {
		return lintCertificate(p.cert, pub, true)
	}
	shape, ok := shapeOf(p.cert, pub)
	if ok && known.passed(shape) {
		return nil
	}
	err := lintCertificate(p.cert, pub, false)
	if ok {
		known.learn(shape, err == nil)
	}
	return err
}
