package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The states of an enrollment on the wire: those of the ledger, and expired for
// what was not decided, or whose device did not come back, in time.
const (
	EnrollmentPending  = "pending"
	EnrollmentApproved = "approved"
	EnrollmentRejected = "rejected"
	EnrollmentIssued   = "issued"
	EnrollmentExpired  = "expired"
)

// Enrollment is a request for a certificate that waits, or waited, for a person.
type Enrollment struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Label   string `json:"label,omitempty"`
	Profile string `json:"profile"`
	Device  string `json:"device,omitempty"`
	// Cause is why it waits: label, webhook or second-key.
	Cause string `json:"cause"`
	// Subject is the request's own, by which it is found again. CertificateSubject
	// and Names, the alternative names with their kinds, are what would be signed;
	// empty if nothing would, because the profile has changed since or the
	// certificate is issued.
	Subject            string   `json:"subject"`
	CertificateSubject string   `json:"certificate_subject,omitempty"`
	Names              []string `json:"names,omitempty"`
	// Key is the SHA-256 of the request's public key.
	Key string `json:"key"`
	// Other is the certificate that the device holds in force under another key.
	Other     string     `json:"other_serial,omitempty"`
	Requester Requester  `json:"requester"`
	At        time.Time  `json:"at"`
	ExpiresAt time.Time  `json:"expires_at"`
	DecidedAt *time.Time `json:"decided_at,omitempty"`
	DecidedBy string     `json:"decided_by,omitempty"`
	Note      string     `json:"note,omitempty"`
	// Serial is the certificate that was issued for it.
	Serial string `json:"serial,omitempty"`
	// Next says what happens now, for people.
	Next string `json:"next,omitempty"`
	// The rest is left out of lists. KeyType is as in P-256, CSR is PEM.
	KeyType string `json:"key_type,omitempty"`
	CSR     string `json:"csr,omitempty"`
}

// EnrollmentQuery selects enrollments; empty fields do not restrict.
type EnrollmentQuery struct {
	State  string
	Device string
	Label  string
	After  string // the enrollment that the previous page ended with
	Limit  int    // at most MaxPage; DefaultPage if zero
}

func (q EnrollmentQuery) values() url.Values {
	v := make(url.Values)
	for name, value := range map[string]string{"state": q.State, "device": q.Device, "label": q.Label, "after": q.After} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

// Enrollments is one page of a list, the oldest first. Next, if not empty, is
// the After of the following page, which may be empty.
type Enrollments struct {
	Enrollments []Enrollment `json:"enrollments"`
	Next        string       `json:"next,omitempty"`
}

// Decision is what a person decides about an enrollment.
type Decision struct {
	Note string `json:"note,omitempty"`
	// ForSeconds is how long it lasts; as configured if zero.
	ForSeconds int64 `json:"for_seconds,omitempty"`
}

// Enrollments returns one page of what the query selects.
func (c *Client) Enrollments(ctx context.Context, q EnrollmentQuery) (Enrollments, error) {
	return call[Enrollments](ctx, c, http.MethodGet, "/v1/enrollments", q.values(), nil)
}

// Enrollment returns one with its request.
func (c *Client) Enrollment(ctx context.Context, id string) (Enrollment, error) {
	return call[Enrollment](ctx, c, http.MethodGet, enrollmentPath(id), nil, nil)
}

// ApproveEnrollment lets the same request have one certificate.
func (c *Client) ApproveEnrollment(ctx context.Context, id string, d Decision) (Enrollment, error) {
	return call[Enrollment](ctx, c, http.MethodPost, enrollmentPath(id)+"/approve", nil, d)
}

// RejectEnrollment has the same request refused.
func (c *Client) RejectEnrollment(ctx context.Context, id string, d Decision) (Enrollment, error) {
	return call[Enrollment](ctx, c, http.MethodPost, enrollmentPath(id)+"/reject", nil, d)
}

func enrollmentPath(id string) string { return "/v1/enrollments/" + url.PathEscape(id) }
