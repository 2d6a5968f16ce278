package drill

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	"mintmark/internal/cms"
)

// ask asks the EST server inside this process, as over a connection on which the device
// has authenticated with its certificate. What passes by itself is tried again: a server whose
// clock has made a leap joins a new epoch first.
func (p *plant) ask(ctx context.Context, d *device, method, operation string, body []byte) (string, error) {
	deadline := time.Now().Add(patience)
	for {
		r := httptest.NewRequestWithContext(ctx, method, "https://localhost/.well-known/est/"+d.label()+"/"+operation, bytes.NewReader(body))
		var n int
		fmt.Sscanf(d.name, "d%d", &n)
		r.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:4000", n>>16&255, n>>8&255, n&255)
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: "localhost"}
		if d.leaf != nil {
			r.TLS.PeerCertificates = d.chain()
		} else {
			r.SetBasicAuth("line", lineSecret)
		}
		if body != nil {
			r.Header.Set("Content-Type", "application/pkcs10")
		}
		w := httptest.NewRecorder()
		p.inside.EST.ServeHTTP(w, r)
		switch {
		case w.Code == http.StatusOK:
			return w.Body.String(), nil
		case (w.Code == http.StatusServiceUnavailable || w.Code == http.StatusTooManyRequests) && time.Now().Before(deadline):
			time.Sleep(100 * time.Millisecond)
		default:
			return "", fmt.Errorf("%s: %s answered %d: %s", d.name, operation, w.Code, w.Body)
		}
	}
}

// enroll gets the device a certificate, its first or its next, with a new key.
func (p *plant) enroll(ctx context.Context, d *device) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: d.name}}, key)
	if err != nil {
		return err
	}
	operation := "simpleenroll"
	if d.leaf != nil {
		operation = "simplereenroll"
	}
	body, err := p.ask(ctx, d, http.MethodPost, operation, []byte(base64.StdEncoding.EncodeToString(csr)))
	if err != nil {
		return err
	}
	der, err := base64.StdEncoding.DecodeString(body)
	if err != nil {
		return err
	}
	list, err := cms.ParseCertsOnly(der)
	if err != nil {
		return err
	}
	if len(list) != 1 || list[0].Subject.CommonName != d.name {
		return fmt.Errorf("%s was given another certificate", d.name)
	}
	d.key, d.leaf = key, list[0]
	life := d.leaf.NotAfter.Sub(d.leaf.NotBefore)
	d.renew = d.leaf.NotBefore.Add(life * 2 / 3)
	return nil
}

// given is one answer of cacerts, which many devices get.
type given struct {
	list  []*x509.Certificate
	store *store
	mu    sync.Mutex
	paths map[string][]*x509.Certificate // by the key identifier of the issuing CA
}

// fetch asks for the anchors, and takes what it is given, as RFC 7030, Section 4.1.3 says:
// what is self-signed is trusted, and the rest leads there.
func (p *plant) fetch(ctx context.Context, d *device) error {
	body, err := p.ask(ctx, d, http.MethodGet, "cacerts", nil)
	if err != nil {
		return err
	}
	g, err := p.given(body)
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	above, err := g.path(d.leaf)
	if err != nil && len(d.above) == 0 {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	switch {
	case !d.class.pinned || d.store == nil:
		d.store = g.store
	case !slices.ContainsFunc(g.store.certs, d.store.certs[0].Equal):
		return fmt.Errorf("%s is pinned to a root that it is not given any more", d.name)
	}
	if err == nil { // of a CA that was replaced it has the path
		d.above = above
	}
	return nil
}

// given reads an answer once.
func (p *plant) given(body string) (*given, error) {
	if have, ok := p.answers.Load(body); ok {
		return have.(*given), nil
	}
	der, err := base64.StdEncoding.DecodeString(body)
	if err != nil {
		return nil, err
	}
	list, err := cms.ParseCertsOnly(der)
	if err != nil {
		return nil, err
	}
	g := &given{list: list, paths: make(map[string][]*x509.Certificate)}
	var anchors []*x509.Certificate
	for _, c := range list {
		if selfSigned(c) {
			anchors = append(anchors, c)
		}
	}
	if len(anchors) == 0 {
		return nil, errors.New("cacerts gave no anchor")
	}
	g.store = p.stores.of(anchors)
	have, _ := p.answers.LoadOrStore(body, g)
	return have.(*given), nil
}

// path is what leads from a certificate to a root, the root last: the root itself where the
// answer also has the certificate of its key by the other one.
func (g *given) path(leaf *x509.Certificate) ([]*x509.Certificate, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if have := g.paths[string(leaf.AuthorityKeyId)]; have != nil {
		return have, nil
	}
	var above []*x509.Certificate
	for at := leaf; !selfSigned(at); {
		var next *x509.Certificate
		for _, c := range g.list {
			if bytes.Equal(c.RawSubject, at.RawIssuer) && bytes.Equal(c.SubjectKeyId, at.AuthorityKeyId) && at.CheckSignatureFrom(c) == nil && (next == nil || selfSigned(c)) {
				next = c
			}
		}
		if next == nil || len(above) > 5 {
			return nil, errors.New("cacerts gave no path for the device's certificate")
		}
		above, at = append(above, next), next
	}
	g.paths[string(leaf.AuthorityKeyId)] = above
	return above, nil
}
