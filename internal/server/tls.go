package server

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"mintmark/internal/cms"
	"mintmark/internal/config"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// ownTLS keeps the server's own certificate: issued by our CA through the same
// cycle as any other, renewed when a third of its life is left, and exchanged
// without a restart.
type ownTLS struct {
	s       *Server
	file    string // PEM: key, certificate, chain
	current atomic.Pointer[tls.Certificate]
}

func newOwnTLS(s *Server) *ownTLS {
	return &ownTLS{s: s, file: filepath.Join(s.config.Dir, "tls", "server.pem")}
}

// get is tls.Config.GetCertificate.
func (o *ownTLS) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := o.current.Load(); c != nil {
		return o.chained(c), nil
	}
	return nil, errors.New("the server has no certificate of its own yet")
}

// refresh loads the stored certificate, or issues a new one if the stored one
// is missing, does not fit the configuration, is revoked or grows old.
func (o *ownTLS) refresh(ctx context.Context) error {
	if o.current.Load() == nil {
		if c, err := o.load(); err == nil {
			o.current.Store(c)
		} else if !errors.Is(err, os.ErrNotExist) {
			o.s.log.Warn("the stored server certificate cannot be used", "error", err)
		}
	}
	if c := o.current.Load(); c != nil && o.fits(ctx, c.Leaf) {
		return nil
	}
	c, err := o.issue(ctx)
	if err != nil {
		return fmt.Errorf("issuing the server's own certificate: %w", err)
	}
	o.current.Store(c)
	o.s.log.Info("issued the server's own certificate", "serial", issuer.SerialOf(c.Leaf.SerialNumber), "not_after", c.Leaf.NotAfter)
	return nil
}

// fits reports whether a certificate still is what the configuration asks for.
func (o *ownTLS) fits(ctx context.Context, leaf *x509.Certificate) bool {
	now := o.s.ra.Now()
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter.Add(-life/3)) {
		return false
	}
	var names []string
	names = append(names, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	want := slices.Clone(o.s.config.TLS.Names)
	for i, name := range want {
		if ip := net.ParseIP(name); ip != nil {
			want[i] = ip.String() // one address has many spellings
		}
	}
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		return false
	}
	authority, err := o.s.ra.Authority(o.serving())
	if err != nil || leaf.CheckSignatureFrom(authority.Certificate()) != nil {
		return false
	}
	record, err := o.s.ledger.Certificate(ctx, issuer.SerialOf(leaf.SerialNumber))
	return err == nil && record.State == ledger.Valid
}

func (o *ownTLS) load() (*tls.Certificate, error) {
	data, err := os.ReadFile(o.file)
	if err != nil {
		return nil, err
	}
	c, err := tls.X509KeyPair(data, data)
	if err == nil && slices.ContainsFunc(o.s.config.Labels, func(l config.Label) bool { return l.Keygen != nil }) {
		// It signs the keys that the server makes for devices.
		err = cms.CanSign(c.PrivateKey.(crypto.Signer))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.file, err)
	}
	return &c, nil
}

func (o *ownTLS) issue(ctx context.Context) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: o.s.config.TLS.Names[0]}}
	if len(template.Subject.CommonName) > 64 || net.ParseIP(template.Subject.CommonName) != nil {
		template.Subject.CommonName = o.s.config.Server
	}
	for _, name := range o.s.config.TLS.Names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, err
	}
	answer, err := o.s.ra.Enroll(ctx, issuer.Request{
		Profile: o.s.config.TLS.Profile, Issuer: o.s.config.TLS.Issuer, CSR: csr,
		Requester: ledger.Requester{Kind: "server", Name: o.s.config.Server}, Authorize: issuer.Trusted, Operation: "server tls",
	})
	if err != nil {
		return nil, err
	}
	c := &tls.Certificate{PrivateKey: key, Leaf: answer.Certificate, Certificate: [][]byte{answer.Certificate.Raw}}
	for _, above := range answer.Chain {
		c.Certificate = append(c.Certificate, above.Raw)
	}
	if err := o.store(c, key); err != nil {
		// Thrown away for that, it would be issued again and again.
		o.s.log.Error("storing the server's own certificate: the next start issues another", "error", err)
	}
	return c, nil
}

func (o *ownTLS) store(c *tls.Certificate, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for _, der := range c.Certificate {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	if err := os.MkdirAll(filepath.Dir(o.file), 0o700); err != nil {
		return err
	}
	return writeFile(o.file, out, 0o600)
}

// keep refreshes until ctx ends: every hour, more often for a certificate that
// lives for hours only, and every few seconds while there is none or another CA serves
// than has issued it.
func (o *ownTLS) keep(ctx context.Context) {
	const look = 2 * time.Second
	failed, refreshed := false, time.Now()
	for {
		wait := look
		if c := o.current.Load(); c != nil {
			wait = min(time.Hour, c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)/12)
			if failed {
				wait = min(wait, 30*time.Second)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(wait, look)):
		}
		if time.Since(refreshed) < wait && (failed || !o.replaced()) {
			continue
		}
		refreshed = time.Now()
		err := o.refresh(ctx)
		if failed = err != nil; failed {
			o.s.log.Error("renewing the server's own certificate", "error", err)
		}
	}
}
