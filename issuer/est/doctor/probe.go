package doctor

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// probe is one run against one server. It keeps what several points need.
type probe struct {
	Config
	host      string // without port
	authority string // as the URL has it: host, or host:port
	address   string // host:port
	base      string // path before /.well-known
	run       string // distinguishes this run's names
	made      int    // names that were made

	cacerts  memo[*answer]
	set      memo[[]*x509.Certificate]
	csrattrs memo[*answer]
	offer    memo[*answer] // serverkeygen asked without credentials
	enrolled memo[*enrollment]
	opened   memo[*enrollment]
	decided  memo[*decision]
	keygen   memo[*generated]
	sealed   memo[[]*generated]

	linking bool // the server was seen to demand proof-of-possession linking
}

// memo keeps what was asked once.
type memo[T any] struct {
	asked bool
	value T
	err   error
}

func (m *memo[T]) get(ask func() (T, error)) (T, error) {
	if !m.asked {
		m.asked = true
		m.value, m.err = ask()
	}
	return m.value, m.err
}

func newProbe(c Config) (*probe, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the URL: %w", err)
	}
	// RFC 7030, Section 3.3: point 1 is not for the caller to break.
	if u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("URL %q must be https://HOST[:PORT]", c.URL)
	}
	if strings.Contains(c.Label, "/") {
		return nil, fmt.Errorf("label %q holds a slash", c.Label)
	}
	p := &probe{Config: c, host: u.Hostname(), authority: u.Host}
	// A URL may say where the operations are, label included.
	base, label, found := strings.Cut(strings.TrimSuffix(u.Path, "/")+"/", "/.well-known/est/")
	if p.base = strings.TrimSuffix(base, "/"); found && label != "" {
		label = strings.TrimSuffix(label, "/")
		if strings.Contains(label, "/") || c.Label != "" && c.Label != label {
			return nil, fmt.Errorf("URL %q names a label that cannot be, or another than %q", c.URL, c.Label)
		}
		p.Label = label
	}
	if strings.ContainsAny(p.base, " \r\n") {
		return nil, fmt.Errorf("the path of URL %q holds white space", c.URL)
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	p.address = net.JoinHostPort(p.host, port)
	if p.Timeout == 0 {
		p.Timeout = 10 * time.Second
	}
	if p.Wait == 0 {
		p.Wait = 5 * time.Minute
	}
	if p.sleep == nil {
		p.sleep = sleep
	}
	var b [4]byte
	rand.Read(b[:])
	p.run = hex.EncodeToString(b[:])
	if p.Name == "" {
		p.Name = "est-doctor-" + p.run + "-{n}"
	}
	return p, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// path is that of an operation under the label (RFC 7030, Section 3.2.2).
func (p *probe) path(op string) string { return p.under(p.Label, op) }

func (p *probe) under(label, op string) string {
	if label != "" {
		label = url.PathEscape(label) + "/"
	}
	return p.base + "/.well-known/est/" + label + op
}

// name returns a device name, a new one if the template allows it.
func (p *probe) name() string {
	p.made++
	return strings.ReplaceAll(p.Name, "{n}", strconv.Itoa(p.made))
}

// manyNames reports whether each device can have a name of its own.
func (p *probe) manyNames() bool { return strings.Contains(p.Name, "{n}") }

// get asks without credentials.
func (p *probe) get(ctx context.Context, op string) (*answer, error) {
	return p.do(ctx, request{method: http.MethodGet, path: p.path(op)})
}

// askCACerts is the answer of cacerts.
func (p *probe) askCACerts(ctx context.Context) (*answer, error) {
	return p.cacerts.get(func() (*answer, error) { return p.get(ctx, "cacerts") })
}

// askCSRAttrs is the answer of csrattrs.
func (p *probe) askCSRAttrs(ctx context.Context) (*answer, error) {
	return p.csrattrs.get(func() (*answer, error) { return p.get(ctx, "csrattrs") })
}

// anchors are the certificates of cacerts.
func (p *probe) anchors(ctx context.Context) ([]*x509.Certificate, error) {
	return p.set.get(func() ([]*x509.Certificate, error) {
		a, err := p.askCACerts(ctx)
		if err != nil {
			return nil, err
		}
		if a.status != http.StatusOK {
			return nil, fmt.Errorf("cacerts answered %v", a)
		}
		return certificates(a.body)
	})
}

// credential is how a request is authenticated.
type credential struct {
	basic          bool
	user, password string
	certificate    *tls.Certificate
	device         string // that the credential is, and so must be named; empty for any
	kind           string // for people
}

func (p *probe) password() *credential {
	if !p.HasPassword {
		return nil
	}
	return &credential{basic: true, user: p.User, password: p.Password, kind: "the password"}
}

func byCertificate(c *tls.Certificate, kind string) *credential {
	if c == nil {
		return nil
	}
	return &credential{certificate: c, kind: kind}
}

// registrar is the credential of the registration authority, or nil.
func (p *probe) registrar() *credential {
	c := byCertificate(p.RA, "the registration authority's certificate")
	if c != nil && p.Both && p.HasPassword {
		c.basic, c.user, c.password = true, p.User, p.Password
	}
	return c
}

// enroller is the credential for first enrollments, or nil.
func (p *probe) enroller() *credential {
	c := p.password()
	maker := byCertificate(p.Maker, "the maker's certificate")
	if maker != nil {
		maker.device = subjectName(leafOf(p.Maker))
	}
	switch {
	case c != nil && p.Both && maker != nil:
		c.certificate, c.device = maker.certificate, maker.device
		return c
	case c != nil && p.Both && p.RA != nil:
		c.certificate = p.RA
		return c
	case c != nil:
		return c
	case maker != nil:
		return maker
	case p.RA != nil:
		return p.registrar()
	case p.Device != nil:
		c := byCertificate(p.Device, "the device's certificate")
		c.device = leafOf(p.Device).Subject.CommonName
		return c
	}
	return nil
}

// leafOf parses the end-entity certificate; an empty one if that fails.
func leafOf(c *tls.Certificate) *x509.Certificate {
	if c.Leaf != nil {
		return c.Leaf
	}
	if len(c.Certificate) > 0 {
		if leaf, err := x509.ParseCertificate(c.Certificate[0]); err == nil {
			return leaf
		}
	}
	return new(x509.Certificate)
}

// subjectName is what identifies a maker's device: IEEE 802.1AR puts it into
// serialNumber.
func subjectName(c *x509.Certificate) string {
	if c.Subject.SerialNumber != "" {
		return c.Subject.SerialNumber
	}
	return c.Subject.CommonName
}

// errNotAsked says why there is no certificate to look at.
type errNotAsked string

func (e errNotAsked) Error() string { return string(e) }

// unasked turns the error of something that several points need into a result.
func unasked(err error) Result {
	var reason errNotAsked
	if errors.As(err, &reason) {
		return na("%s", string(reason))
	}
	return fail("%v", err)
}

// mayEnroll returns the credential for enrollments, or why there is none.
func (p *probe) mayEnroll() (*credential, error) {
	if !p.Enroll {
		return nil, errNotAsked("needs certificates to be issued (--enroll)")
	}
	c := p.enroller()
	if c == nil {
		return nil, errNotAsked("needs something to enroll with: a password, or a certificate")
	}
	return c, nil
}

// newKey makes a key of the kind that the server announces, P-256 if none.
func (p *probe) newKey(ctx context.Context) (crypto.Signer, error) {
	if a, err := p.askCSRAttrs(ctx); err == nil && a.status == http.StatusOK {
		if list, err := parseAttributes(a.body); err == nil {
			if keys := list.keys(); len(keys) > 0 {
				return makeKey(keys[0])
			}
		}
	}
	return makeKey("P-256")
}

// makeKey makes a key of a kind as in P-256 or RSA-2048.
func makeKey(kind string) (crypto.Signer, error) {
	switch kind {
	case "P-256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "P-384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "P-521":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	}
	bits, err := strconv.Atoi(strings.TrimPrefix(kind, "RSA-"))
	if err != nil || bits < 1024 || bits > 4096 {
		return nil, fmt.Errorf("the doctor makes no keys of type %s", kind)
	}
	return rsa.GenerateKey(rand.Reader, bits)
}
