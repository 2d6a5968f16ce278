package issuer

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// finishTimeout bounds how long a request waits for the ledger after its
// intent was recorded, even if its client has gone: the work of step 7 is done
// and the client will ask again.
const finishTimeout = 30 * time.Second

// record runs steps 6 to 9: nothing is signed that is not recorded, and
// nothing is returned that is not durable.
func (ra *RA) record(ctx context.Context, prepared *ca.Prepared, intent ledger.Intent) (certificate *x509.Certificate, prior bool, err error) {
	if certificate, err = ra.begin(ctx, intent); err != nil || certificate != nil {
		return certificate, certificate != nil, ra.refuseRecord(err, intent)
	}
	certificate, err = ra.finish(ctx, prepared, intent)
	return certificate, false, ra.refuseRecord(err, intent)
}

// recordRequest is record where a second key may wait for a person.
func (ra *RA) recordRequest(ctx context.Context, r *Request, csr *request, prepared *ca.Prepared, intent *ledger.Intent) (certificate *x509.Certificate, prior bool, err error) {
	certificate, err = ra.begin(ctx, *intent)
	var clone *ledger.CloneError
	if errors.As(err, &clone) && r.SecondKey == HoldSecondKey && r.Generated == nil {
		// Nothing was recorded: the intent is still good, with an approval.
		if certificate, err = ra.approve(ctx, r, csr, intent, causeSecondKey); err == nil && certificate == nil {
			certificate, err = ra.begin(ctx, *intent)
		}
	}
	if refusal := ra.alarmed(ctx, r, *intent, err); refusal != nil {
		return nil, false, refusal
	}
	if err != nil || certificate != nil {
		return certificate, certificate != nil, ra.refuseRecord(err, *intent)
	}
	certificate, err = ra.finish(ctx, prepared, *intent)
	return certificate, false, ra.refuseRecord(err, *intent)
}

// begin is step 6: record the intent, durably. It returns the certificate that
// the same request got before, and the ledger's own errors.
func (ra *RA) begin(ctx context.Context, intent ledger.Intent) (prior *x509.Certificate, err error) {
	refusals, err := ra.Ledger.Begin(ctx, []ledger.Intent{intent})
	if err == nil {
		err = refusals[0]
	}
	if err == nil {
		return nil, nil
	}
	var answered *ledger.PriorError
	if errors.As(err, &answered) {
		if prior, err = x509.ParseCertificate(answered.Certificate.DER); err != nil {
			return nil, internal("parsing certificate %s of the ledger: %w", answered.Certificate.Serial, err)
		}
		return prior, nil
	}
	if !certainlyRefused(err) {
		// The intent may have been recorded all the same.
		ra.abandon(context.WithoutCancel(ctx), intent.Serial)
	}
	return nil, err
}

// finish runs steps 7 to 9 for an intent that is recorded.
func (ra *RA) finish(ctx context.Context, prepared *ca.Prepared, intent ledger.Intent) (*x509.Certificate, error) {
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
		return nil, keyUnavailable(err)
	}
	ra.step(7)
	if !bytes.Equal(certificate.RawTBSCertificate, intent.TBS) {
		return nil, internal("certificate %s: what was signed is not what was recorded", intent.Serial)
	}
	ra.step(8)

	// 9. Record the certificate and what must be told, durably.
	issued := ledger.Issued{Serial: intent.Serial, DER: certificate.Raw, At: ra.Now()}
	if ra.Tasks != nil {
		issued.Tasks = ra.Tasks(recordOf(intent, issued))
	}
	refusals, err := ra.Ledger.Finish(ctx, []ledger.Issued{issued})
	if err == nil {
		err = refusals[0]
	}
	if err != nil {
		return nil, err
	}
	recorded = true
	ra.step(9)
	if len(issued.Tasks) > 0 && ra.Recorded != nil {
		ra.Recorded()
	}
	return certificate, nil
}

// certainlyRefused reports whether an error of Begin leaves no intent behind.
func certainlyRefused(err error) bool {
	var clone *ledger.CloneError
	var shared *ledger.SharedKeyError
	var device *ledger.DeviceError
	var order *ledger.OrderError
	var enrollment *ledger.EnrollmentError
	var secret *ledger.SecretError
	return errors.As(err, &clone) || errors.As(err, &shared) || errors.As(err, &device) || errors.As(err, &order) ||
		errors.As(err, &enrollment) || errors.As(err, &secret) ||
		errors.Is(err, ledger.ErrLapsed) || errors.Is(err, ledger.ErrInFlight) ||
		errors.Is(err, ledger.ErrRevoked) || errors.Is(err, ledger.ErrTaken)
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
