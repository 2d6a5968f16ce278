package issuer

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/ledger"
)

// The causes for which a request waits for a person.
const (
	causeLabel     = "label"
	causeWebhook   = "webhook"
	causeSecondKey = "second-key"
)

// maxSubject bounds the text of a subject by which a request is found again.
const maxSubject = 2048

// subject is the text by which a request is found again.
func (csr *request) subject() string { return clip(csr.Subject.String(), maxSubject) }

// approve is the part of step 3 that a person decides. It returns nil for an
// intent that may go on to step 6: it then takes an approval, in the same
// transaction, without which no certificate is issued. prior is the certificate
// that the same request got inside the repeat window: that costs no approval.
func (ra *RA) approve(ctx context.Context, r *Request, csr *request, intent *ledger.Intent, cause string) (prior *x509.Certificate, err error) {
	if r.Generated != nil {
		return nil, refuse(Forbidden, "approval-keygen", "this request needs an approval, which is given to a key, and the server makes another key with every request: make one and enroll with it")
	}
	found, err := ra.Ledger.FindEnrollment(ctx, csr.key, csr.subject(), intent.At)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return nil, unavailable("ledger", "the server cannot look up approvals at the moment", err)
	}
	entry, waits := found, false
	switch {
	case err != nil:
		waits = true
	case found.State == ledger.EnrollmentIssued:
		// One certificate for one approval. If that one is being issued at this
		// moment the same request has come twice; if it is revoked or of long ago
		// it waits anew. If it is neither, it is found below, and not before: it may
		// have been finished in between.
		if err := ra.notInFlight(ctx, found.Serial); err != nil {
			return nil, err
		}
		waits = true
	case found.State == ledger.EnrollmentApproved:
		// The approval did not know of the other key: the ledger puts it back.
		waits = cause == causeSecondKey
	}
	if prior, err = ra.prior(ctx, r, *intent); prior != nil || err != nil {
		return prior, err
	}
	if err := ra.mayWait(ctx, r, *intent, cause); err != nil {
		return nil, err
	}
	if waits {
		if entry, err = ra.queue(ctx, r, csr, *intent, cause, found.State == ledger.EnrollmentApproved); err != nil {
			return nil, err
		}
	}
	if entry.State != ledger.EnrollmentRejected {
		if err := sameRequest(entry, r, csr, *intent); err != nil {
			return nil, err
		}
	}
	if entry.State != ledger.EnrollmentApproved {
		return nil, refuseEnrollment(string(entry.State), entry.ID)
	}
	intent.Enrollment = entry.ID
	return nil, nil
}

// queue puts a request before a person and raises the alarm if it is for
// another key of an enrolled device. back is true if it was approved before
// that was known.
func (ra *RA) queue(ctx context.Context, r *Request, csr *request, intent ledger.Intent, cause string, back bool) (ledger.Enrollment, error) {
	asked := ledger.Enrollment{
		Key: csr.key, Subject: csr.subject(), Label: r.Label, Profile: intent.Profile, Purpose: intent.Purpose, Device: intent.Device,
		Cause: cause, Requester: r.Requester, CSR: csr.Raw,
		State: ledger.EnrollmentPending, At: intent.At.Round(0).Truncate(time.Microsecond), ExpiresAt: intent.At.Add(ra.ApprovalTTL),
	}
	entry, err := ra.Ledger.QueueEnrollment(ctx, asked, ra.MostPending)
	var full *ledger.TooManyError
	switch {
	case errors.As(err, &full):
		text := "this request needs an approval, and as many requests wait for one as may: repeat it later"
		if full.OfOne {
			text = fmt.Sprintf("this request needs an approval, and %d others of the same device or requester wait for one already: repeat one of those, or have them decided about", full.Most)
		}
		return entry, &Refusal{Kind: Unavailable, Rule: "approval-queue", RetryAfter: time.Minute, Err: err, Text: text}
	case err != nil:
		return entry, unavailable("ledger", "the server cannot record requests at the moment", err)
	}
	ra.queued.Store(true)
	// Once an entry: whoever put it there, or took it back.
	if entry.State != ledger.EnrollmentPending || !back && !entry.At.Equal(asked.At) {
		return entry, nil
	}
	ra.metrics.queued.WithLabelValues(cause).Inc()
	ra.log.Info("a request waits for an approval",
		"enrollment", entry.ID, "cause", cause, "label", r.Label, "device", intent.Device, "requester", r.Requester.Name, "address", r.Requester.Address)
	if (cause == causeSecondKey || entry.Other != "") && r.Requester.Bootstrap() && r.SecondKey != AllowSecondKey {
		ra.metrics.alarms.WithLabelValues("clone").Inc()
		ra.log.Error("ALARM: a second key asks for the identity of an enrolled device, and waits for an approval",
			"enrollment", entry.ID, "device", intent.Device, "serial", entry.Other, "requester", r.Requester.Name, "address", r.Requester.Address)
	}
	return entry, nil
}

// mayWait refuses beforehand what step 6 would refuse after the approval: nobody
// is to decide about that.
func (ra *RA) mayWait(ctx context.Context, r *Request, intent ledger.Intent, cause string) error {
	if intent.Device != "" && cause != causeSecondKey && r.Requester.Bootstrap() && r.SecondKey != HoldSecondKey && r.SecondKey != AllowSecondKey {
		other, err := ra.otherKey(ctx, intent)
		if err != nil {
			return err
		}
		if other.Serial != "" {
			return &ledger.CloneError{Device: intent.Device, Serial: other.Serial}
		}
	}
	if intent.Secret == [32]byte{} {
		return nil
	}
	secret, err := ra.Ledger.DeviceSecret(ctx, intent.Device)
	switch {
	case err != nil && !errors.Is(err, ledger.ErrNotFound):
		return unavailable("ledger", "the server cannot look up secrets at the moment", err)
	case err != nil || secret.SHA256 != intent.Secret:
		return &ledger.SecretError{Device: intent.Device, Why: "unknown"}
	case secret.Serial != "":
		return &ledger.SecretError{Device: intent.Device, Why: "used"}
	case !intent.At.Before(secret.ExpiresAt):
		return &ledger.SecretError{Device: intent.Device, Why: "expired"}
	}
	return nil
}

// sameRequest refuses to let one request have what was put before a person as
// another: key and subject do not say what else it asks for.
func sameRequest(entry ledger.Enrollment, r *Request, csr *request, intent ledger.Intent) error {
	first, err := parseRequest(entry.CSR)
	if err == nil {
		err = first.rename(r)
	}
	if err == nil && entry.Profile == intent.Profile && entry.Device == intent.Device && first.sameNames(csr) {
		return nil
	}
	refusal := refuse(Conflict, "approval-other", "request %s has the same key and subject and asks for something else beside: repeat that one, or enroll with another key", entry.ID)
	refusal.Err = err
	return refusal
}

// prior is the certificate that answers the same request again, as Begin would
// find it; nil for none.
func (ra *RA) prior(ctx context.Context, r *Request, intent ledger.Intent) (*x509.Certificate, error) {
	if intent.Repeat == 0 {
		return nil, nil
	}
	var since time.Time // a renewal never goes back
	if r.Requester.Kind == "certificate" {
		own, err := ra.Ledger.Certificate(ctx, ledger.Serial(r.Requester.Name))
		switch {
		case errors.Is(err, ledger.ErrNotFound):
		case err != nil:
			return nil, internal("looking up certificate %s: %w", r.Requester.Name, err)
		case own.State != ledger.Valid:
			return nil, ledger.ErrRevoked
		}
		since = own.IssuedAt
	}
	var newest ledger.Certificate
	query := ledger.Query{Key: intent.Key, Profile: intent.Profile, Issuer: intent.Issuer, State: ledger.Valid}
	err := ra.eachCertificate(ctx, query, func(c ledger.Certificate) bool {
		if c.Device == intent.Device && c.InForce(intent.At) && c.IssuedAt.After(since) &&
			intent.At.Sub(c.IssuedAt) <= intent.Repeat && c.IssuedAt.After(newest.IssuedAt) {
			newest = c
		}
		return true
	})
	if err != nil || newest.Serial == "" {
		return nil, err
	}
	if intent.Device != "" {
		device, err := ra.Ledger.Device(ctx, intent.Device)
		switch {
		case err != nil && !errors.Is(err, ledger.ErrNotFound):
			return nil, internal("looking up device %s: %w", intent.Device, err)
		case device.State == ledger.Held, device.State == ledger.Retired:
			return nil, &ledger.DeviceError{Device: intent.Device, Why: string(device.State)}
		}
	}
	certificate, err := x509.ParseCertificate(newest.DER)
	if err != nil {
		return nil, internal("parsing certificate %s of the ledger: %w", newest.Serial, err)
	}
	return certificate, nil
}

// notInFlight returns ErrInFlight while a serial number is open.
func (ra *RA) notInFlight(ctx context.Context, serial ledger.Serial) error {
	record, err := ra.Ledger.Certificate(ctx, serial)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return nil
	case err != nil:
		return internal("looking up certificate %s: %w", serial, err)
	case record.State == ledger.Open:
		return ledger.ErrInFlight
	}
	return nil
}

// lookQueued finds out whether any enrollment is in the queue at all, so that
// a server without one does not look for each request. What another server has
// put there is seen within seconds, and before its client comes back.
func (ra *RA) lookQueued(ctx context.Context) error {
	list, err := ra.Ledger.Enrollments(ctx, ledger.EnrollmentQuery{Now: ra.Now(), Limit: 1})
	if err != nil {
		return fmt.Errorf("looking for enrollments that wait: %w", err)
	}
	ra.queued.Store(len(list) > 0)
	return nil
}

// Queued returns the EST label under which the same request, by key and
// subject, waits for an approval or has got one; ok is false if none does, or
// if it cannot be read. A client may have lost the label since: strongSwan drops
// the path after a 202. A certificate that was issued ends that with the
// profile's repeat window, in which its client may not have got it yet.
func (ra *RA) Queued(ctx context.Context, csr []byte) (label string, ok bool, err error) {
	if !ra.queued.Load() {
		return "", false, nil
	}
	request, err := parseRequest(csr)
	if err != nil {
		return "", false, nil
	}
	now := ra.Now()
	entry, err := ra.Ledger.FindEnrollment(ctx, hashKey(request), request.subject(), now)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("looking up an approval: %w", err)
	case entry.State != ledger.EnrollmentIssued:
		return entry.Label, true, nil
	}
	record, err := ra.Ledger.Certificate(ctx, entry.Serial)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("looking up certificate %s: %w", entry.Serial, err)
	}
	profile := ra.Profiles[entry.Profile]
	if record.State == ledger.Open || record.State == ledger.Valid && profile != nil && now.Sub(record.IssuedAt) <= profile.repeat {
		return entry.Label, true, nil
	}
	return "", false, nil
}
