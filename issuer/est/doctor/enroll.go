package doctor

import (
	"bytes"
	"context"
	"crypto/x509"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var enrollPoints = []Point{
	{35, Must, "RFC 7030, 4.2.1", "simpleenroll takes application/pkcs10, in any case and with parameters, and nothing else", "enrolls with the type in other spellings, and with text/plain, which must get a 415", mediaTypes},
	{36, Must, "RFC 7030, 3.4, 4.2.1", "the signature of the request is verified", "enrolls with a signature over something else", requestSignature},
	{37, Must, "RFC 7030, 4.2.3", "an issued certificate comes with 200 and application/pkcs7-mime; smime-type=certs-only", "looks at status and Content-Type", issuedType},
	{38, Must, "RFC 7030, 4.2.3", "the answer holds the issued certificate and no other", "takes the SignedData apart", issuedOnly},
	{39, Must, "RFC 7030, 4.2", "the certificate is for the key of the request", "compares the keys", issuedKey},
	{40, Must, "RFC 7030, 4.2.3; RFC 8951, 4.1", "errors are 4xx or 5xx, in plain text that says why", "posts something that is no request", errorText},
	{41, Must, "RFC 7030, 4.2.3", "a 202 has Retry-After", "looks at the 202 of a label with approval", retryAfter},
	{42, Must, "RFC 7030, 4.2.3", "the same request, repeated later, gets the certificate", "repeats a request over other connections until it is approved", pendingIssued},
	{43, Derived, "RFC 7030, 4.2.3", "Retry-After is in digits, and a rejected request gets a 4xx", "looks at the 202, and repeats a request that is rejected", pendingRejected},
	{44, Should, "RFC 7030, 4.2.1; RFC 6402, 2.8", "ChangeSubjectName is honoured for a maker's certificate, or refused in words", "enrolls with that attribute, and looks whether the names are those that it asks for", changeNames},
}

func mediaTypes(ctx context.Context, p *probe) Result {
	s, err := p.again(ctx)
	if err != nil {
		return unasked(err)
	}
	for _, value := range []string{"application/pkcs10", "Application/PKCS10", "application/pkcs10; charset=utf-8", "application/pkcs10 ;x=y"} {
		s.header = []string{"Content-Type: " + value}
		a, err := p.submit(ctx, s)
		if err != nil {
			return fail("%s: %v", value, err)
		}
		if !accepted(a.status) {
			return fail("%s: %v", value, a)
		}
	}
	s.header = []string{"Content-Type: text/plain"}
	a, err := p.submit(ctx, s)
	if err != nil {
		return fail("text/plain: %v", err)
	}
	if a.status != http.StatusUnsupportedMediaType {
		return fail("text/plain: %v", a)
	}
	return pass("other spellings taken, text/plain: %v", a)
}

func requestSignature(ctx context.Context, p *probe) Result {
	s, err := p.again(ctx)
	if err != nil {
		return unasked(err)
	}
	s.csr.broken = true
	a, err := p.submit(ctx, s)
	if err != nil {
		return fail("%v", err)
	}
	if a.status < 400 || a.status >= 500 {
		return fail("a broken signature: %v", a)
	}
	return pass("%v", a)
}

func issuedType(ctx context.Context, p *probe) Result {
	e, err := p.first(ctx)
	if err != nil {
		return unasked(err)
	}
	return certsOnlyType(e.answer.get("Content-Type"))
}

func certsOnlyType(value string) Result {
	kind, parameters, _ := strings.Cut(value, ";")
	smime := ""
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, v, _ := strings.Cut(parameter, "=")
		if strings.EqualFold(strings.TrimSpace(name), "smime-type") {
			smime = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	if !strings.EqualFold(strings.TrimSpace(kind), "application/pkcs7-mime") || !strings.EqualFold(smime, "certs-only") {
		return fail("Content-Type %q", value)
	}
	return pass("Content-Type %q", value)
}

func issuedOnly(ctx context.Context, p *probe) Result {
	e, err := p.first(ctx)
	if err != nil {
		return unasked(err)
	}
	if err := checkCertsOnly(e.answer.body); err != nil {
		return fail("%v", err)
	}
	if len(e.list) != 1 {
		return fail("%d certificates", len(e.list))
	}
	return pass("one certificate")
}

// holdsKey reports whether a certificate is for a public key.
func holdsKey(c *x509.Certificate, public any) bool {
	spki, err := x509.MarshalPKIXPublicKey(public)
	return err == nil && bytes.Equal(spki, c.RawSubjectPublicKeyInfo)
}

func issuedKey(ctx context.Context, p *probe) Result {
	e, err := p.first(ctx)
	if err != nil {
		return unasked(err)
	}
	if !holdsKey(e.certificate, e.key.Public()) {
		return fail("the certificate of %q holds another key", e.certificate.Subject)
	}
	return pass("the key is that of the request")
}

func errorText(ctx context.Context, p *probe) Result {
	cred := p.enroller()
	if cred == nil {
		return na("needs something to authenticate with: a password, or a certificate")
	}
	a, err := p.do(ctx, p.post("simpleenroll", cred, encode([]byte("certification request"))))
	if err != nil {
		return fail("%v", err)
	}
	switch {
	case a.status < 400:
		return fail("what is no request got %v", a)
	case a.status == http.StatusUnauthorized:
		return fail("the credentials that were given do not authenticate: %v", a)
	case a.media() != "" && a.media() != "text/plain":
		return fail("the error is of type %q", a.get("Content-Type"))
	case excerpt(a.body) == "":
		return fail("%d without a word", a.status)
	}
	return pass("%v", a)
}

// digits reads a Retry-After in seconds.
func digits(a *answer) (int, bool) {
	n, err := strconv.Atoi(a.get("Retry-After"))
	return n, err == nil && n >= 0
}

// pending is the 202 of the first enrollment.
func (p *probe) pending(ctx context.Context) (*answer, error) {
	e, err := p.opening(ctx)
	if err != nil {
		return nil, err
	}
	if e.answer.status != http.StatusAccepted {
		return nil, errNotAsked("requests do not wait for an approval here")
	}
	return e.answer, nil
}

func retryAfter(ctx context.Context, p *probe) Result {
	a, err := p.pending(ctx)
	if err != nil {
		return unasked(err)
	}
	value := a.get("Retry-After")
	_, seconds := digits(a)
	if _, err := http.ParseTime(value); err != nil && !seconds {
		return fail("202 with Retry-After %q", value)
	}
	return pass("Retry-After: %s", value)
}

func pendingIssued(ctx context.Context, p *probe) Result {
	e, err := p.opening(ctx)
	if err != nil {
		return unasked(err)
	}
	d, err := p.decision(ctx)
	if err != nil {
		return unasked(err)
	}
	if d.approved.status != http.StatusOK {
		return fail("repeated for %v after the request for %q was to be approved: %v", p.Wait.Round(time.Second), e.name, d.approved)
	}
	list, err := certificates(d.approved.body)
	if err != nil {
		return fail("%v", err)
	}
	if !holdsKey(list[0], e.key.Public()) {
		return fail("the certificate is for another key")
	}
	return pass("issued to the repeated request")
}

func pendingRejected(ctx context.Context, p *probe) Result {
	a, err := p.pending(ctx)
	if err != nil {
		return unasked(err)
	}
	if _, ok := digits(a); !ok {
		return fail("Retry-After is %q", a.get("Retry-After"))
	}
	d, err := p.decision(ctx)
	if err != nil {
		return pass("Retry-After: %s; what becomes of a rejected request was not asked: %v", a.get("Retry-After"), err)
	}
	if d.rejected.status < 400 || d.rejected.status >= 500 {
		return fail("repeated for %v after the request was to be rejected: %v", p.Wait.Round(time.Second), d.rejected)
	}
	return pass("Retry-After: %s; rejected: %v", a.get("Retry-After"), d.rejected)
}

// changeOf is the attribute ChangeSubjectName for another commonName: RFC 6402,
// Section 2.8.
func changeOf(subject, names []byte) []byte {
	var parts [][]byte
	if subject != nil {
		parts = append(parts, subject)
	}
	if names != nil {
		parts = append(parts, names)
	}
	return attribute(oidChangeSubjectName, tlv(tagSequence, parts...))
}

// changed judges the answer to a request with ChangeSubjectName: honoured, or
// refused in words; to pass over it gives the device a name that it did not mean.
func changed(a *answer, want string) Result {
	if a.status >= 400 && a.status < 500 {
		if excerpt(a.body) == "" {
			return fail("%d without a word", a.status)
		}
		return pass("refused: %v", a)
	}
	if a.status == http.StatusAccepted {
		return pass("waits for an approval")
	}
	if a.status != http.StatusOK {
		return fail("%v", a)
	}
	list, err := certificates(a.body)
	if err != nil {
		return fail("%v", err)
	}
	if list[0].Subject.CommonName != want {
		return fail("the certificate is for %q, and ChangeSubjectName asked for %q", list[0].Subject.CommonName, want)
	}
	return pass("honoured")
}

func changeNames(ctx context.Context, p *probe) Result {
	if p.Maker == nil {
		return na("needs a maker's certificate")
	}
	if !p.Enroll {
		return na("needs certificates to be issued (--enroll)")
	}
	key, err := p.newKey(ctx)
	if err != nil {
		return fail("%v", err)
	}
	cred, name := byCertificate(p.Maker, "the maker's certificate"), "changed-"+p.run
	if p.Both && p.HasPassword {
		cred.basic, cred.user, cred.password = true, p.User, p.Password
	}
	s := submission{op: "simpleenroll", cred: cred, csr: csr{key: key, subject: leafOf(p.Maker).RawSubject}}
	s.csr.more = [][]byte{changeOf(commonName(name), nil)}
	a, err := p.submit(ctx, s)
	if err != nil {
		return fail("%v", err)
	}
	return changed(a, name)
}
