package hook

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Enroller has certificates issued. *est.Client implements it.
type Enroller interface {
	// Enroll returns the certificate for the key of a certification request in DER.
	Enroll(ctx context.Context, csr []byte) (*x509.Certificate, error)
	// CACerts returns what may be needed to verify it.
	CACerts(ctx context.Context) ([]*x509.Certificate, error)
}

// Provider is the account's certificate provider: it answers
// CreateCertificateFromCsr with a certificate of mintmark's, for claims and for
// devices that rotate. Everybody else is refused. Whoever asks need not provision
// afterwards, so that it counts by itself what it has signed: for as many devices of
// an order as the order is for, and for each a bounded number. It keeps nothing
// between calls and may be used concurrently, in any number of processes.
type Provider struct {
	IoT    Certificates // of which it asks the status only
	Dynamo Dynamo
	Table  string // of the manifest; must be set
	// Rotation is the table of what rotates. With it a device gets a certificate only
	// when it is due; empty leaves that to function rotate, which admits no other.
	Rotation string
	// Enroller opens the way to the server: an EST label that takes the function's
	// certificate as a registration authority's. It is opened for each request, so
	// that a replaced key counts at once, and closed after it.
	Enroller func(ctx context.Context) (e Enroller, close func(), err error)
	Anchors  []*x509.Certificate // that certificates must chain to
	MaxAge   time.Duration       // as in Activator
	Limit    time.Duration       // for one decision; Within if zero
	Now      func() time.Time    // time.Now if nil
	Logger   *slog.Logger        // discarded if nil
}

// Handle has a certification request signed. Every error is a refusal: a provider
// has no other way to say no. The error of one that was refused is a *Refusal.
func (p *Provider) Handle(ctx context.Context, e ProviderEvent) (ProviderAnswer, error) {
	ctx, cancel := within(ctx, p.Limit)
	defer cancel()
	log := logger(p.Logger).With("principal", cut(e.PrincipalID), "client", cut(e.ClientID))
	certificate, err := p.handle(ctx, e)
	if err != nil {
		var refused *Refusal
		if errors.As(err, &refused) {
			log = log.With("reason", refused.Reason)
		} else if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		log.Error("certification request refused", "error", err)
		return ProviderAnswer{}, err
	}
	log.Info("certificate issued", "device", certificate.Subject.CommonName, "serial", hexSerial(certificate))
	return ProviderAnswer{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}))}, nil
}

func (p *Provider) handle(ctx context.Context, e ProviderEvent) (*x509.Certificate, error) {
	now := clock(p.Now).UTC().Truncate(time.Second)
	if err := e.validate(); err != nil {
		return nil, refusal(Malformed, cut(e.PrincipalID), "%v", err)
	}
	if !ValidID(e.PrincipalID) {
		return nil, refusal(UnknownClaim, cut(e.PrincipalID), "only claims and devices get certificates in this account and region, and they ask with a certificate")
	}
	csr, err := e.request()
	if err != nil {
		return nil, refusal(Malformed, e.PrincipalID, "%v", err)
	}
	g, err := p.admit(ctx, e.PrincipalID, csr.Subject.CommonName, now)
	if err != nil {
		return nil, err
	}
	server, done, err := p.Enroller(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	asked, err := p.ask(ctx, g, e.PrincipalID, csr, now)
	if err != nil {
		return nil, err
	}
	certificate, err := server.Enroll(ctx, csr.Raw)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("having the request signed: %w", err), p.takeBack(ctx, asked))
	}
	if err := p.verify(ctx, server, certificate, csr, now); err != nil {
		return nil, fmt.Errorf("certificate %s, which the server issued: %w", hexSerial(certificate), err)
	}
	return certificate, nil
}

// admit decides whether whoever asks may have a certificate for a device.
func (p *Provider) admit(ctx context.Context, principal, device string, now time.Time) (grant, error) {
	table := Table{Client: p.Dynamo, Name: p.Table}
	head, err := freshHead(ctx, table, principal, p.MaxAge, now)
	if err != nil {
		return grant{}, err
	}
	g := grant{}
	g.order, err = orderOf(ctx, table, principal, now)
	var refused *Refusal
	switch {
	case err == nil:
		g.thing, err = p.admitClaim(ctx, table, g.order, principal, device, now)
	case errors.As(err, &refused) && refused.Reason == UnknownClaim:
		g.thing, err = p.admitDevice(ctx, table, principal, device, head, now)
	}
	if err != nil {
		return grant{}, err
	}
	return g, unrevoked(ctx, table, principal)
}

// admitClaim is for a claim certificate: its order must be for the device, and have
// a unit left unless the device has one already; and a certificate with which the
// device was admitted must make way, as function provision will ask. It returns the
// name of the thing.
func (p *Provider) admitClaim(ctx context.Context, t Table, order Order, principal, device string, now time.Time) (string, error) {
	template, err := t.template(ctx, order.Template)
	if errors.Is(err, ErrUnknown) {
		return "", refusal(WrongTemplate, principal, "work order %q is for template %q, which is none of mintmark's", order.ID, cut(order.Template))
	}
	if err != nil {
		return "", err
	}
	thing, err := template.thingOf(device, principal)
	if err != nil {
		return "", err
	}
	if err := admits(ctx, t, order, device, principal); err != nil {
		return "", err
	}
	had, err := t.taken(ctx, device)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return "", err
	}
	// The certificate is not there yet: what asks stands for it.
	next := Taken{Device: device, CertificateID: principal, Order: order.ID}
	succession := succession{p.IoT, t, Table{Client: p.Dynamo, Name: p.Rotation}}
	if err == nil {
		if age := now.Sub(had.At); age < settling {
			return "", had.refuses(Busy, principal, "it was admitted %s ago and is being put in service; ask again in %s", age, settling)
		}
		if _, err := succession.makesWay(ctx, had, next); err != nil {
			return "", err
		}
	}
	if _, err := succession.seat(ctx, had, next, thing); err != nil {
		return "", err
	}
	if had.Order != order.ID {
		used, err := t.used(ctx, order.ID)
		if err != nil {
			return "", err
		}
		if used >= order.Quantity {
			return "", refusal(OrderFull, principal, "work order %q is for %d devices, and as many were admitted", order.ID, order.Quantity)
		}
	}
	return thing, unheld(ctx, t, thing, device, principal)
}

// admitDevice is for a device that asks with its own certificate, for itself. It
// returns the name of the thing.
func (p *Provider) admitDevice(ctx context.Context, t Table, principal, device string, head Head, now time.Time) (string, error) {
	self, thing, err := t.whose(ctx, principal)
	switch {
	case errors.Is(err, ErrUnknown):
		return "", refusal(UnknownClaim, principal, "it is neither a claim certificate of a work order nor a certificate of a device")
	case err != nil:
		return "", err
	case self != device:
		return "", refusal(WrongDevice, principal, "it is of device %q and asks for %q: a device rotates itself and no other", self, device)
	}
	if p.Rotation != "" {
		d, err := Table{Client: p.Dynamo, Name: p.Rotation}.due(ctx, thing, device, HookEvent{ClaimCertificateID: principal, CertificateID: principal}, head, now)
		if err != nil {
			return "", err
		}
		if _, err := d.makesRoom(ctx, p.IoT, now, principal); err != nil {
			return "", err
		}
	}
	return thing, unheld(ctx, t, thing, device, principal)
}

// verify holds what the server issued against the request, as AWS does, and
// against the anchors.
// https://docs.aws.amazon.com/iot/latest/developerguide/provisioning-cert-provider.html
func (p *Provider) verify(ctx context.Context, server Enroller, c *x509.Certificate, csr *x509.CertificateRequest, now time.Time) error {
	switch {
	case !bytes.Equal(c.RawSubjectPublicKeyInfo, csr.RawSubjectPublicKeyInfo):
		return errors.New("it has another public key than the request")
	case c.Subject.ToRDNSequence().String() != csr.Subject.ToRDNSequence().String():
		return fmt.Errorf("its subject is %q and the request's %q, which AWS refuses: use a profile that leaves the subject alone", cut(c.Subject.String()), cut(csr.Subject.String()))
	case c.IsCA:
		return errors.New("it is a CA's")
	}
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	if ahead := c.NotBefore.Sub(now); ahead > 0 && ahead < clockSkew {
		options.CurrentTime = c.NotBefore // the server's clock is ahead of ours
	}
	for _, anchor := range p.Anchors {
		options.Roots.AddCert(anchor)
	}
	if _, err := c.Verify(options); err == nil {
		return nil
	}
	// The anchor is the root and the path unknown so far.
	list, err := server.CACerts(ctx)
	if err != nil {
		return err
	}
	for _, ca := range list {
		options.Intermediates.AddCert(ca)
	}
	if _, err := c.Verify(options); err != nil {
		return fmt.Errorf("verifying it: %w", err)
	}
	return nil
}
