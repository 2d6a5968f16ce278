package issuer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// deviceTexts say what an operator can do about a device that the ledger
// refuses, by ledger.DeviceError.Why.
var deviceTexts = map[string]string{
	"unlisted": "device %q is not in the inventory: import the list that names it first",
	"held":     "device %q is held: it gets no certificate until it is released",
	"retired":  "device %q is retired: it gets no certificate any more",
	"key":      "the inventory names another public key for device %q: enroll with that key, or have the list updated",
	"order":    "the inventory does not list device %q under this work order: use the one that it is listed under, or have the list updated",
}

// orderTexts do the same for a work order, by ledger.OrderError.Why.
var orderTexts = map[string]string{
	"unknown":   "there is no work order %q: ask for the credential of one that exists",
	"closed":    "work order %q is closed: ask for the credential of one that is open",
	"killed":    "work order %q was killed: its credential is taken nowhere any more, ask for that of another",
	"early":     "the window of work order %q has not begun: wait, or check the clock of the server",
	"expired":   "the window of work order %q has ended: have it extended, or ask for the credential of another",
	"exhausted": "every certificate of work order %q is issued: have its quantity raised, or ask for the credential of another",
	"in-flight": "the last units of work order %q are taken by requests that are being answered; repeat the request",
}

// enrollmentTexts do the same for an approval, by its state and by
// ledger.EnrollmentError.Why. What the person has noted is for people.
var enrollmentTexts = map[string]string{
	"pending":  "request %s waits for an approval: repeat it unchanged later, or ask for the approval by that number",
	"rejected": "request %s was rejected by a person: ask who decides about enrollments here for the reason, by that number",
	"issued":   "the approval of request %s was taken for another request at this moment; repeat the request",
	"unknown":  "the approval of request %s is not there any more; repeat the request",
	"expired":  "the approval of request %s is over; repeat the request to ask for another",
}

// secretTexts do the same for a one-time secret, by ledger.SecretError.Why.
var secretTexts = map[string]string{
	"unknown": "device %q has another one-time secret by now, or none: use that, or have one made",
	"used":    "the one-time secret of device %q was used: renew by the certificate that it got, or have another secret made",
	"expired": "the one-time secret of device %q has expired: have another one made",
}

func refuseEnrollment(why, id string) *Refusal {
	r := refuse(Unavailable, "approval-"+why, enrollmentTexts[why], id)
	switch why {
	case "pending":
		r.Kind = Pending
	case "rejected":
		r.Kind = Forbidden
	default:
		r.RetryAfter = 2 * time.Second
	}
	return r
}

func refuseDevice(why, device string) *Refusal {
	return refuse(Forbidden, "device-"+why, deviceTexts[why], device)
}

func refuseOrder(why, order string) *Refusal {
	r := refuse(Forbidden, "order-"+why, orderTexts[why], order)
	if why == "in-flight" {
		r.Kind, r.RetryAfter = Unavailable, 2*time.Second
	}
	return r
}

// internalError is one that no rule has words for.
type internalError struct{ error }

func (e *internalError) Unwrap() error { return e.error }

func internal(format string, args ...any) error {
	return &internalError{fmt.Errorf(format, args...)}
}

// refuseRecord words what the ledger refused in step 6 or 9.
func (ra *RA) refuseRecord(err error, intent ledger.Intent) error {
	var clone *ledger.CloneError
	var shared *ledger.SharedKeyError
	var device *ledger.DeviceError
	var order *ledger.OrderError
	var enrollment *ledger.EnrollmentError
	var secret *ledger.SecretError
	var refusal *Refusal
	var own *internalError
	switch {
	case err == nil, errors.As(err, &refusal), errors.As(err, &own):
		return err
	case errors.As(err, &enrollment) && enrollmentTexts[enrollment.Why] != "":
		refusal := refuseEnrollment(enrollment.Why, enrollment.ID)
		refusal.Err = err
		return refusal
	case errors.As(err, &secret) && secretTexts[secret.Why] != "":
		refusal := refuse(Forbidden, "secret-"+secret.Why, secretTexts[secret.Why], secret.Device)
		refusal.Err = err
		return refusal
	case errors.As(err, &device) && deviceTexts[device.Why] != "":
		refusal := refuseDevice(device.Why, device.Device)
		refusal.Err = err
		return refusal
	case errors.As(err, &order) && orderTexts[order.Why] != "":
		refusal := refuseOrder(order.Why, order.Order)
		refusal.Err = err
		return refusal
	case errors.As(err, &device), errors.As(err, &order), errors.As(err, &enrollment), errors.As(err, &secret):
		return fmt.Errorf("the ledger refuses by a rule that is not known here: %w", err)
	case errors.As(err, &shared):
		ra.metrics.alarms.WithLabelValues("key-shared").Inc()
		ra.log.Error("ALARM: one key asks for the identities of two devices",
			"device", intent.Device, "other", shared.Device, "serial", shared.Serial, "requester", intent.Requester.Name, "address", intent.Requester.Address)
		return refuseConflict(err)
	case errors.As(err, &clone):
		ra.metrics.alarms.WithLabelValues("clone").Inc()
		ra.log.Error("ALARM: a second key asks for the identity of an enrolled device",
			"device", clone.Device, "serial", clone.Serial, "requester", intent.Requester.Name, "address", intent.Requester.Address)
		return refuseConflict(err)
	case errors.Is(err, ledger.ErrInFlight):
		return &Refusal{Kind: Unavailable, Rule: "in-flight", Err: err, RetryAfter: time.Second,
			Text: "the same request is being answered at this moment; repeat it"}
	case errors.Is(err, ledger.ErrRevoked):
		return &Refusal{Kind: Forbidden, Rule: "certificate-revoked", Err: err,
			Text: fmt.Sprintf("the client certificate %s is revoked", intent.Requester.Name)}
	case errors.Is(err, ledger.ErrVoided), errors.Is(err, ledger.ErrLapsed):
		return unavailable("epoch", "the server lost its turn at issuing; repeat the request", err)
	default:
		return unavailable("ledger", "the server cannot record certificates at the moment", err)
	}
}

// refuseConflict words what is worth an alarm, without raising one; nil for everything else.
func refuseConflict(err error) *Refusal {
	var clone *ledger.CloneError
	var shared *ledger.SharedKeyError
	switch {
	case errors.As(err, &shared):
		// Without the other device's name, which is not this requester's to know.
		return &Refusal{Kind: Conflict, Rule: "key-shared", Err: err,
			Text: "the key of the request has a certificate for another device: every device needs a key of its own, made on it"}
	case errors.As(err, &clone):
		return &Refusal{Kind: Conflict, Rule: "clone", Err: err, Text: fmt.Sprintf(
			"device %q already holds a certificate in force under another key; if it was replaced or wiped, have certificate %s revoked first", clone.Device, clone.Serial)}
	}
	return nil
}

// alarmed returns the refusal of a request that is made again, under a name of its own (see
// Request.Operation), if it was refused so before: there is nothing new for people to look at. Nil for
// every other.
func (ra *RA) alarmed(ctx context.Context, r *Request, intent ledger.Intent, err error) *Refusal {
	refusal := refuseConflict(err)
	if !r.Again || refusal == nil {
		return nil
	}
	// By the key alone, which was refused a few times, where the rule was many.
	list, err := ra.Ledger.Refusals(ctx, ledger.RefusalQuery{Key: intent.Key})
	if err != nil || !slices.ContainsFunc(list, func(one ledger.Refused) bool {
		return one.Operation == r.Operation && one.Device == intent.Device && one.Rule == refusal.Rule
	}) {
		return nil // rather one alarm too many
	}
	return refusal
}

// refusePrepared words what Prepare refused.
func refusePrepared(err error) error {
	var outlives *ca.OutlivesIssuerError
	var lint *ca.LintError
	var template *ca.TemplateError
	switch {
	case errors.As(err, &outlives):
		return &Refusal{Kind: Unavailable, Rule: "issuer-lifetime", Err: err, RetryAfter: time.Hour,
			Text: "the issuing CA expires before such a certificate would; it must be replaced first"}
	case errors.As(err, &lint):
		return &Refusal{Kind: Malformed, Rule: "lint", Err: err, Text: "the certificate would break a rule: " + lint.Error()}
	case errors.As(err, &template):
		return &Refusal{Kind: Malformed, Rule: "template", Err: err, Text: "the certificate cannot be built: " + template.Error()}
	default:
		return fmt.Errorf("preparing the certificate: %w", err)
	}
}

func unavailable(rule, text string, err error) *Refusal {
	return &Refusal{Kind: Unavailable, Rule: rule, Text: text, RetryAfter: 5 * time.Second, Err: err}
}
