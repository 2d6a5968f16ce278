package hook

import "fmt"

// Reason sorts refusals, for logs and alarms.
type Reason string

const (
	// NotInManifest may be cured by waiting: Lambda's retries and the device's
	// next connect try again.
	NotInManifest Reason = "not-in-manifest"
	// StaleManifest is cured by the server's next push.
	StaleManifest Reason = "stale-manifest"
	// WrongCertificate, WrongCA and Expired are never cured by waiting.
	WrongCertificate Reason = "wrong-certificate"
	WrongCA          Reason = "wrong-ca"
	Expired          Reason = "expired"
	// IsRevoked: the certificate that asks, or that connects, is revoked.
	IsRevoked Reason = "revoked"
	// Held is cured by releasing the device.
	Held Reason = "held"
	// WrongTemplate: the template is none of mintmark's, or another than the order's.
	WrongTemplate Reason = "wrong-template"
	// UnknownClaim: the certificate that asks is no claim certificate.
	UnknownClaim Reason = "unknown-claim"
	// OrderClosed: the order is not open, or it is not its time.
	OrderClosed Reason = "order-closed"
	// OrderFull: as many devices as the order is for have been admitted.
	OrderFull Reason = "order-full"
	// WrongDevice: the identifier is none, or not one that the order is for.
	WrongDevice Reason = "wrong-device"
	// InUse: the device has a certificate already. Somebody has copied it, or the
	// claim.
	InUse Reason = "in-use"
	// Busy is cured by waiting some seconds: the device is being admitted.
	Busy Reason = "busy"
	// NotDue is cured by waiting until the certificate is past its period.
	NotDue Reason = "not-due"
	// NotCurrent: the certificate that asks is not the one in force of its device.
	NotCurrent Reason = "not-current"
	// Malformed: the event or the request in it is not what AWS documents.
	Malformed Reason = "malformed"
	// Unverified: whether the certificate is revoked could not be found out.
	Unverified Reason = "unverified"
)

// Refusal says why a function refused. Where the function's answer cannot say so
// it is returned as an error even if trying again is useless, so that the
// function's error metric, which the alarm watches, counts it.
type Refusal struct {
	Reason        Reason
	CertificateID string // that was refused something
	Text          string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("certificate %s refused (%s): %s", r.CertificateID, r.Reason, r.Text)
}

func refuse(reason Reason, e Event, format string, args ...any) *Refusal {
	return refusal(reason, e.CertificateID, format, args...)
}

func refusal(reason Reason, certificateID, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, CertificateID: certificateID, Text: fmt.Sprintf(format, args...)}
}
