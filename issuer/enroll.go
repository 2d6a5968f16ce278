package issuer

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// finishTimeout bounds how long a request waits for the ledger after its
// intent was recorded, even if its client has gone: the work of step 7 is done
// and the client will ask again.
const finishTimeout = 30 * time.Second

// Enroll runs the issuance cycle for one request. Errors are *Refusal where
// the requester can be told why; every other error is internal. Whatever the
// error, no certificate has left.
func (ra *RA) Enroll(ctx context.Context, r Request) (Answer, error) {
	start := ra.Now()
	answer, err := ra.enroll(ctx, r)
	if err != nil {
		ra.recordRefusal(ctx, r, err)
	}
	_, known := ra.Profiles[r.Profile]
	if _, unknown := ra.Authority(r.Issuer); known && unknown == nil {
		ra.metrics.observe(r.Profile, r.Issuer, err, ra.Now().Sub(start))
	}
	return answer, err
}

func (ra *RA) enroll(ctx context.Context, r Request) (answer Answer, err error) {
	// 1. Authenticate the requester: done by whoever calls, who must say so.
	if r.Requester.Kind == "" {
		return Answer{}, refuse(Unauthenticated, "requester", "the requester is not authenticated")
	}
	select {
	case ra.inFlight <- struct{}{}:
		defer func() { <-ra.inFlight }()
	default:
		return Answer{}, unavailable("load", "the server is at its limit of concurrent requests", nil)
	}
	profile, ok := ra.Profiles[r.Profile]
	if !ok {
		return Answer{}, fmt.Errorf("%w: %q", ErrNoProfile, r.Profile)
	}
	if named(profile.Purpose) && r.naming == nil {
		return Answer{}, refuse(Forbidden, "purpose", "certificates of profile %s are issued with the work order or for the principal that they name, and not by request", profile.Name)
	}
	authority, err := ra.Authority(r.Issuer)
	if err != nil {
		return Answer{}, err
	}
	if err := ra.inForce(authority); err != nil {
		return Answer{}, err
	}
	if err := ra.Ledger.Health(); err != nil {
		return Answer{}, unavailable("ledger", "the server cannot record certificates at the moment", err)
	}
	// From here on the group commit may wait for this request.
	defer ra.Ledger.Announce()()
	ra.step(1)

	// 2. Check the certification request.
	csr, err := profile.checkRequest(r.CSR)
	if err != nil {
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
	id, err := profile.authorise(r, csr)
	if err != nil {
		return Answer{}, err
	}
	admitted, err := ra.admit(ctx, r, profile, id.device)
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
		if err := profile.noOtherNames(id, template, r.Holds); err != nil {
			return Answer{}, err
		}
	}
	prepared, err := authority.Prepare(template, csr.PublicKey, ca.Rules{OutliveIssuer: profile.outlive})
	if err != nil {
		return Answer{}, refusePrepared(err)
	}
	ra.step(5)
	// A key that is away must not cost a serial number a request: void ones stay
	// on the CRL for as long as their certificates would have lived.
	if err := authority.Open(ctx); err != nil {
		ra.metrics.signed(authority.Name(), err, ra.Now().Sub(now))
		return Answer{}, unavailable("signer", "the key of the issuing CA cannot be used at the moment", err)
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
		SecondKey: profile.secondKey,
	}
	certificate, prior, err := ra.record(ctx, prepared, intent)
	if err != nil {
		return Answer{}, err
	}
	// 10. Answer. 11, telling the clouds, was enqueued with step 9.
	return Answer{
		Serial:      SerialOf(certificate.SerialNumber),
		Certificate: certificate,
		Chain:       path(authority),
		Prior:       prior,
	}, nil
}

// record runs steps 6 to 9: nothing is signed that is not recorded, and
// nothing is returned that is not durable.
func (ra *RA) record(ctx context.Context, prepared *ca.Prepared, intent ledger.Intent) (*x509.Certificate, bool, error) {
	// 6. Record the intent, durably.
	refusals, err := ra.Ledger.Begin(ctx, []ledger.Intent{intent})
	if err == nil {
		err = refusals[0]
	}
	if err != nil {
		var prior *ledger.PriorError
		if errors.As(err, &prior) {
			certificate, err := x509.ParseCertificate(prior.Certificate.DER)
			if err != nil {
				return nil, false, fmt.Errorf("parsing certificate %s of the ledger: %w", prior.Certificate.Serial, err)
			}
			return certificate, true, nil
		}
		if !certainlyRefused(err) {
			// The intent may have been recorded all the same.
			ra.abandon(context.WithoutCancel(ctx), intent.Serial)
		}
		return nil, false, ra.refuseRecord(err, intent)
	}
	// The client may go; what has begun is brought to its end. An intent whose
	// certificate does not leave is void, whatever stands in the way: an error
	// below, or a panic.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	recorded := false
	defer func() {
		if !recorded {
			ra.abandon(ctx, intent.Serial)
		}
	}()
	ra.step(6)
	prepared.Recorded()

	// 7. Sign with the issuing key. 8. Compare with what was recorded; verify.
	signing := time.Now()
	certificate, err := prepared.Issue(ctx)
	ra.metrics.signed(intent.Issuer, err, time.Since(signing))
	if err != nil {
		return nil, false, unavailable("signer", "the key of the issuing CA cannot be used at the moment", err)
	}
	ra.step(7)
	if !bytes.Equal(certificate.RawTBSCertificate, intent.TBS) {
		return nil, false, fmt.Errorf("certificate %s: what was signed is not what was recorded", intent.Serial)
	}
	ra.step(8)

	// 9. Record the certificate and what must be told, durably.
	issued := ledger.Issued{Serial: intent.Serial, DER: certificate.Raw, At: ra.Now()}
	if ra.Tasks != nil {
		issued.Tasks = ra.Tasks(recordOf(intent, issued))
	}
	refusals, err = ra.Ledger.Finish(ctx, []ledger.Issued{issued})
	if err == nil {
		err = refusals[0]
	}
	if err != nil {
		return nil, false, ra.refuseRecord(err, intent)
	}
	recorded = true
	ra.step(9)
	if len(issued.Tasks) > 0 && ra.Recorded != nil {
		ra.Recorded()
	}
	return certificate, false, nil
}

func (ra *RA) step(n int) {
	if ra.Step != nil {
		ra.Step(n)
	}
}

// certainlyRefused reports whether an error of Begin leaves no intent behind.
func certainlyRefused(err error) bool {
	var clone *ledger.CloneError
	var shared *ledger.SharedKeyError
	var device *ledger.DeviceError
	var order *ledger.OrderError
	return errors.As(err, &clone) || errors.As(err, &shared) || errors.As(err, &device) || errors.As(err, &order) ||
		errors.Is(err, ledger.ErrLapsed) || errors.Is(err, ledger.ErrInFlight) ||
		errors.Is(err, ledger.ErrRevoked) || errors.Is(err, ledger.ErrTaken)
}

// path is the chain from the issuing CA to, but without, the trust anchor.
func path(a *ca.Authority) []*x509.Certificate {
	chain := a.Chain()
	if len(chain) == 0 {
		return nil
	}
	return append([]*x509.Certificate{a.Certificate()}, chain[:len(chain)-1]...)
}

// recordOf is the ledger's record of a certificate as it will be after Finish.
func recordOf(i ledger.Intent, issued ledger.Issued) ledger.Certificate {
	return ledger.Certificate{
		Serial: i.Serial, Issuer: i.Issuer, Profile: i.Profile, Label: i.Label, Purpose: i.Purpose,
		Device: i.Device, Order: i.Order, Subject: i.Subject, Requester: i.Requester, Key: i.Key,
		NotBefore: i.NotBefore, NotAfter: i.NotAfter, State: ledger.Valid, DER: issued.DER,
		IntentAt: i.At, IssuedAt: issued.At,
	}
}
