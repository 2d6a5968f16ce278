package issuer

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// Enroll runs the issuance cycle for one request. Errors are *Refusal where
// the requester can be told why; every other error is internal. Whatever the
// error, no certificate has left.
func (ra *RA) Enroll(ctx context.Context, r Request) (Answer, error) {
	start := ra.Now()
	answer, err := ra.enroll(ctx, &r)
	if err == nil {
		// Between 9 and 10, and no more among the requests in flight: this may take
		// seconds, which nobody else should wait for.
		err = ra.handOver(ctx, answer)
	}
	ra.done(ctx, r, err, start)
	if err != nil {
		return Answer{}, err
	}
	// 10. Answer. 11, telling the clouds, was enqueued with step 9.
	return answer, nil
}

// done counts what became of a request, and records it if that is a refusal.
func (ra *RA) done(ctx context.Context, r Request, err error, start time.Time) {
	if err != nil {
		ra.recordRefusal(ctx, r, err)
	}
	_, known := ra.Profiles[r.Profile]
	if _, unknown := ra.Authority(r.Issuer); known && unknown == nil {
		ra.metrics.observe(r.Profile, r.Issuer, err, ra.Now().Sub(start))
	}
}

// enroll runs steps 1 to 9. It may replace the profile of the request by that of
// gateways.
func (ra *RA) enroll(ctx context.Context, r *Request) (answer Answer, err error) {
	// 1. Authenticate the requester: done by whoever calls, who must say so.
	if err := r.check(); err != nil {
		return Answer{}, err
	}
	if err := ctx.Err(); err != nil {
		return Answer{}, fmt.Errorf("the client has gone: %w", err) // nobody would get it
	}
	select {
	case ra.inFlight <- struct{}{}:
		defer func() { <-ra.inFlight }()
	default:
		return Answer{}, unavailable("load", "the server is at its limit of concurrent requests", nil)
	}
	profile, err := ra.profile(r)
	if err != nil {
		return Answer{}, err
	}
	// Who issues may depend on the device: see step 3.
	if _, err := ra.issuing(r, profile, ""); err != nil {
		return Answer{}, err
	}
	if err := ra.Ledger.Health(); err != nil {
		return Answer{}, unavailable("ledger", "the server cannot record certificates at the moment", err)
	}
	// From here on the group commit may wait for this request.
	if !r.waits() {
		defer ra.Ledger.Announce()()
	}
	ra.step(1)

	// 2. Check the certification request.
	csr, err := r.parse()
	if err != nil {
		return Answer{}, err
	}
	if csr.asksCA && r.Gateway != "" {
		r.Profile = r.Gateway
		if profile, err = ra.profile(r); err != nil {
			return Answer{}, err
		}
	}
	if err := profile.checkRequest(csr, r.made(csr)); err != nil {
		return Answer{}, err
	}
	ra.step(2)
	defer func() {
		var refusal *Refusal
		if errors.As(err, &refusal) {
			refusal.Subject, refusal.Key = csr.Subject.String(), csr.key
			refusal.Device = profile.deviceOf(csr.Subject)
		}
	}()

	// 3. Authorise: the identity against profile and requester, then the rule.
	// What the ledger knows of the device and of the quota is checked inside the
	// transaction of step 6.
	if err := csr.rename(r); err != nil {
		return Answer{}, err
	}
	if r.Represents {
		if err := ra.represent(ctx, r, profile, csr); err != nil {
			return Answer{}, err
		}
	}
	id, err := profile.authorise(*r, csr)
	if err != nil {
		return Answer{}, err
	}
	admitted, err := ra.admit(ctx, *r, profile, id.device)
	if err != nil {
		return Answer{}, err
	}
	authority, err := ra.issuing(r, profile, id.device)
	if err != nil {
		return Answer{}, err
	}
	ra.step(3)

	// 4. Build the to-be-signed certificate. 5. Lint it.
	now := ra.Now()
	serial := ra.Serial(now)
	template, err := profile.template(csr, id, authority.Name(), serial, now)
	if err != nil {
		return Answer{}, err
	}
	if r.naming != nil {
		r.naming.bound(template)
	}
	if r.Holds != nil {
		if err := profile.noOtherNames(csr, id, template, r.Holds); err != nil {
			return Answer{}, err
		}
	}
	shard := ra.shardOf(profile, authority.Name(), template)
	prepared, err := authority.Prepare(template, csr.public, profile.rules())
	if err != nil {
		return Answer{}, refusePrepared(err)
	}
	ra.step(5)
	if err := signable(ctx, authority); err != nil {
		ra.metrics.signed(authority.Name(), err, ra.Now().Sub(now))
		return Answer{}, keyUnavailable(err)
	}

	intent := ledger.Intent{
		Epoch:     ra.currentEpoch(),
		Serial:    SerialOf(serial),
		Issuer:    authority.Name(),
		Profile:   profile.Name,
		Label:     r.Label,
		Purpose:   profile.Purpose,
		Device:    id.device,
		Order:     admitted.order,
		Listed:    admitted.listed,
		Subject:   prepared.Certificate().Subject.String(),
		Requester: r.Requester,
		Key:       csr.key,
		TBS:       prepared.TBS(),
		NotBefore: template.NotBefore,
		NotAfter:  template.NotAfter,
		At:        now,
		Repeat:    profile.repeat,
		SecondKey: r.SecondKey == AllowSecondKey,
		Secret:    r.Secret,
		Shard:     shard,
	}
	if r.Again && profile.device != nil {
		intent.Repeat, intent.Issuers = forever, ra.Related(authority.Name())
	}
	// 3, the rest: whoever decides sees what would be signed. 6 to 9.
	certificate, err := ra.decide(ctx, r, csr, prepared, &intent)
	if err != nil {
		return Answer{}, ra.refuseRecord(err, intent)
	}
	prior := certificate != nil
	if !prior {
		if certificate, prior, err = ra.recordRequest(ctx, r, csr, prepared, &intent); err != nil {
			return Answer{}, err
		}
	}
	return Answer{
		Serial:      SerialOf(certificate.SerialNumber),
		Certificate: certificate,
		Chain:       belowRoot(ra.pathOf(certificate, authority, r.Label, id.device)),
		Device:      id.device,
		Prior:       prior,
	}, nil
}

// issuing returns the authority that issues what a request asks for, if it may: the one
// that serves in the place of the one named, for all or for that device. A proof that a CA's key
// is held, the certificate of its responder, and that over a manifest, come from no other one.
func (ra *RA) issuing(r *Request, p *Profile, device string) (*ca.Authority, error) {
	name := r.Issuer
	if p.Purpose != ledger.ForVerification && p.Purpose != ledger.ForResponder && p.Purpose != ledger.ForManifest {
		name = ra.Serving(name, r.Label, device)
	}
	authority, err := ra.Authority(name)
	if err != nil {
		return nil, err
	}
	return authority, ra.mayIssue(p, authority)
}

// profile returns the profile of a request, if it may be asked for.
func (ra *RA) profile(r *Request) (*Profile, error) {
	p, ok := ra.Profiles[r.Profile]
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: %q", ErrNoProfile, r.Profile)
	case named(p.Purpose) && r.naming == nil:
		return nil, refuse(Forbidden, "purpose", "certificates of profile %s are issued with the work order or for the principal that they name, and not by request", p.Name)
	case p.Purpose == ledger.ForRA && r.Requester.Kind != "admin":
		return nil, refuse(Forbidden, "purpose", "certificates of profile %s enroll any device, and are issued by an operator only", p.Name)
	}
	return p, nil
}

// rules are those of the certificates of a profile.
func (p *Profile) rules() ca.Rules {
	gateway := p.Purpose == ledger.ForGateway
	return ca.Rules{OutliveIssuer: p.outlive, CA: gateway, NoCRL: gateway}
}

// decide asks a webhook and a person, where the request wants that. prior is
// the certificate that the same request has got already.
func (ra *RA) decide(ctx context.Context, r *Request, csr *request, prepared *ca.Prepared, intent *ledger.Intent) (prior *x509.Certificate, err error) {
	cause := ""
	if r.Approval {
		cause = causeLabel
	}
	if r.Authorize == ByWebhook {
		hold, err := ra.ask(ctx, r, *intent, prepared.Certificate())
		if err != nil {
			return nil, err
		}
		if hold {
			cause = causeWebhook
		}
	}
	if cause == "" {
		return nil, nil
	}
	return ra.approve(ctx, r, csr, intent, cause)
}

func (ra *RA) step(n int) {
	if ra.Step != nil {
		ra.Step(n)
	}
}
