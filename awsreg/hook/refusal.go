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
)

// Refusal says why a certificate was not activated. It is returned as an error
// even where trying again is useless, so that the function's error metric, which
// the alarm watches, counts it.
type Refusal struct {
	Reason        Reason
	CertificateID string
	Text          string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("certificate %s refused (%s): %s", r.CertificateID, r.Reason, r.Text)
}

func refuse(reason Reason, e Event, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, CertificateID: e.CertificateID, Text: fmt.Sprintf(format, args...)}
}
