package doctor

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"net/http"
)

var linkingPoints = []Point{
	{45, Must, "RFC 7030, 3.5, 4.2", "a challengePassword that is there must be the tls-unique of this connection", "enrolls with that of another connection, which must be refused, and with the right one", linkVerified},
	{46, Must, "RFC 7030, 3.5", "where linking is demanded, a request without it is refused in words", "enrolls without a challengePassword", linkDemanded},
	{47, Must, "RFC 7030, 4.5.2", "where linking is demanded, csrattrs says so", "looks for the OID of challengePassword in csrattrs", linkAnnounced},
	{48, Derived, "RFC 9266, 2 and 3", "TLS 1.3 links by tls-exporter, and by nothing else", "enrolls over TLS 1.3 with the exporter's value, and with something of the size of a tls-unique", linkTLS13},
	{49, Derived, "RFC 7627, 1; RFC 5929, 3", "tls-unique does not link on a resumed session without extended master secret", "resumes a session of TLS 1.2 that has none, and enrolls with the tls-unique of that connection", linkResumed},
	{50, Must, "RFC 7030, 3.7", "a registration authority may bring a challengePassword that does not match, or is refused in words", "enrolls as registration authority with one of another connection", linkRepresentative},
}

// elsewhere is the tls-unique of a connection other than the one that it is used on.
func (p *probe) elsewhere(ctx context.Context) (string, error) {
	c, err := p.dial(ctx, nil, only(tls.VersionTLS12))
	if err != nil {
		return "", err
	}
	defer c.Close()
	return binding(c.ConnectionState())
}

// bound is a submission by somebody who must link it: RFC 7030, Section 3.7 lets a
// registration authority bring what links another connection.
func (p *probe) bound(ctx context.Context) (submission, error) {
	s, err := p.again(ctx)
	if err == nil && p.RA != nil && s.cred.certificate == p.RA {
		return s, errNotAsked("a registration authority may bring what links another connection, and there is nobody else to enroll")
	}
	return s, err
}

func linkVerified(ctx context.Context, p *probe) Result {
	s, err := p.bound(ctx)
	if err != nil {
		return unasked(err)
	}
	if s.csr.challenge, err = p.elsewhere(ctx); err != nil {
		return fail("%v", err)
	}
	s.edit = only(tls.VersionTLS12)
	a, err := p.submit(ctx, s)
	if err != nil {
		return fail("%v", err)
	}
	if a.status < 400 || a.status >= 500 {
		return fail("the tls-unique of another connection: %v", a)
	}
	right, err := p.linked(ctx, tls.VersionTLS12)
	if err != nil {
		return fail("%v", err)
	}
	if !accepted(right.status) {
		return fail("the tls-unique of this connection: %v", right)
	}
	return pass("another connection's: %v; its own: %d", a, right.status)
}

// linked enrolls the first device again, linked to a connection of one version.
func (p *probe) linked(ctx context.Context, version uint16) (*answer, error) {
	s, err := p.again(ctx)
	if err != nil {
		return nil, err
	}
	s.edit = only(version)
	before := p.linking
	p.linking = true
	defer func() { p.linking = before }()
	return p.submit(ctx, s)
}

// demanded reports whether the server demands linking, as far as is known.
func (p *probe) demanded(ctx context.Context) (bool, error) {
	if p.Linked {
		return true, nil
	}
	_, err := p.opening(ctx)
	return p.linking, err
}

const notDemanded = "linking is not demanded here, as far as can be seen (--linked if it is meant to be)"

func linkDemanded(ctx context.Context, p *probe) Result {
	s, err := p.again(ctx)
	if err != nil {
		return unasked(err)
	}
	if must, _ := p.demanded(ctx); !must {
		return na(notDemanded)
	}
	s.unlinked = true
	a, err := p.submit(ctx, s)
	if err != nil {
		return fail("%v", err)
	}
	if a.status < 400 || a.status >= 500 {
		return fail("without challengePassword: %v", a)
	}
	if excerpt(a.body) == "" {
		return fail("%d without a word", a.status)
	}
	return pass("%v", a)
}

func linkAnnounced(ctx context.Context, p *probe) Result {
	must, err := p.demanded(ctx)
	if !must {
		if err != nil {
			return unasked(err)
		}
		return na(notDemanded)
	}
	a, err := p.askCSRAttrs(ctx)
	if err != nil {
		return fail("%v", err)
	}
	if a.status != http.StatusOK {
		return fail("csrattrs answered %v", a)
	}
	list, err := parseAttributes(a.body)
	if err != nil {
		return fail("csrattrs: %v", err)
	}
	if !list.has(oidChallengePassword) {
		return fail("csrattrs does not hold challengePassword")
	}
	return pass("csrattrs holds challengePassword")
}

func linkTLS13(ctx context.Context, p *probe) Result {
	s, err := p.bound(ctx)
	if err != nil {
		return unasked(err)
	}
	right, err := p.linked(ctx, tls.VersionTLS13)
	if err != nil {
		return fail("%v", err)
	}
	if !accepted(right.status) {
		return fail("the exporter's value: %v", right)
	}
	value := make([]byte, 12) // as long as a tls-unique
	rand.Read(value)
	s.csr.challenge = base64.StdEncoding.EncodeToString(value)
	s.edit = only(tls.VersionTLS13)
	a, err := p.submit(ctx, s)
	if err != nil {
		return fail("%v", err)
	}
	if a.status < 400 || a.status >= 500 {
		return fail("something else than the exporter's value: %v", a)
	}
	if excerpt(a.body) == "" {
		return fail("%d without a word", a.status)
	}
	return pass("the exporter's value: %d; something else: %v", right.status, a)
}

func linkResumed(ctx context.Context, p *probe) Result {
	s, err := p.bound(ctx)
	if err != nil {
		return unasked(err)
	}
	a, err := p.submitResumed(ctx, s)
	if err != nil {
		return unasked(err)
	}
	if a.status < 400 || a.status >= 500 {
		return fail("tls-unique on a resumed session without extended master secret: %v", a)
	}
	return pass("%v", a)
}

func linkRepresentative(ctx context.Context, p *probe) Result {
	if p.RA == nil {
		return na("needs the certificate of a registration authority")
	}
	if !p.Enroll {
		return na("needs certificates to be issued (--enroll)")
	}
	e, err := p.fresh(ctx, p.registrar())
	if err != nil {
		return fail("%v", err)
	}
	if e.submission.csr.challenge, err = p.elsewhere(ctx); err != nil {
		return fail("%v", err)
	}
	a, err := p.submit(ctx, e.submission)
	if err != nil {
		return fail("%v", err)
	}
	if accepted(a.status) {
		return pass("taken: %d", a.status)
	}
	if a.status < 400 || a.status >= 500 || excerpt(a.body) == "" {
		return fail("%v", a)
	}
	return pass("refused: %v", a)
}
