package ledger

import (
	"context"
	"fmt"
	"time"
)

// EnrollmentState is where a request that waits for a person stands.
type EnrollmentState string

const (
	EnrollmentPending  EnrollmentState = "pending"
	EnrollmentApproved EnrollmentState = "approved" // the same request gets its certificate
	EnrollmentRejected EnrollmentState = "rejected"
	EnrollmentIssued   EnrollmentState = "issued" // one certificate, and no more
)

// Enrollment is a request for a certificate that waits for a person's approval
// (RFC 7030, Section 4.2.3). The same request is one of the same key and
// subject, over whatever connection and under whatever label it comes.
type Enrollment struct {
	ID      string   // set by the ledger
	Key     [32]byte // SHA-256 of the SubjectPublicKeyInfo
	Subject string   // RFC 4514 text of the request's subject
	Label   string   // where it came first: that label's rules go on to hold
	Profile string
	// Purpose is what the certificate is for; empty is ForDevice where Device is
	// set. Other keys of a device are those of the same purpose.
	Purpose Purpose
	Device  string
	// Cause says why it waits: label (the label wants every request approved),
	// webhook (which asked for it) or second-key.
	Cause string
	// Other is the certificate that the device holds in force under another key;
	// empty for none. Set by the ledger.
	Other     Serial
	Requester Requester // of the first request
	CSR       []byte    // DER, for whoever decides to look at
	State     EnrollmentState
	At        time.Time
	ExpiresAt time.Time // an entry that is over is as if it were not there
	DecidedAt time.Time
	DecidedBy string
	Note      string
	Serial    Serial // of the certificate, or of the intent to issue it; set by the ledger
}

// MostOfOne is how many entries of one device may wait: enough for a device
// whose keys were made anew a few times, and too few to take the places of others.
const MostOfOne = 4

// EnrollmentQuery selects enrollments; zero fields do not restrict.
type EnrollmentQuery struct {
	State  EnrollmentState
	Device string
	Label  string
	After  string    // keyset: only identifiers greater than this one
	Now    time.Time // entries that are over by then are left out; zero for none
	Limit  int       // at most 1000; 0 means 100
}

// EnrollmentError refuses an intent for the state of its enrollment.
type EnrollmentError struct {
	ID string
	// Why is unknown, pending, rejected, issued or expired.
	Why string
}

func (e *EnrollmentError) Error() string { return fmt.Sprintf("enrollment %q: %s", e.ID, e.Why) }

// Enrollments is the part that keeps what waits for approval.
//
// An intent with Intent.Enrollment takes the approval in the transaction of
// Begin: it must be approved and not over, and becomes issued with the intent's serial
// number; a void intent makes it approved again. If the entry has Other, or the
// cause second-key, the second key is approved with it. An entry for another key,
// profile, purpose or device is unknown to the intent.
//
// Entries that have been over for 90 days are forgotten; the issuance log keeps
// them.
type Enrollments interface {
	// QueueEnrollment returns the newest entry for the same key and subject that
	// is pending, approved or rejected and not over at e.At; otherwise it records e as
	// pending. An approved entry without Other whose device by now holds a
	// certificate under another key goes back to pending, with Other. *TooManyError if
	// more than most entries would wait, or more than MostOfOne of the same device or,
	// without a device, of the same requester: those that are over do not count. IDs
	// ascend with time.
	QueueEnrollment(ctx context.Context, e Enrollment, most int) (Enrollment, error)

	// FindEnrollment returns the newest entry for the key and subject that is not
	// over, in whatever state; ErrNotFound if there is none.
	FindEnrollment(ctx context.Context, key [32]byte, subject string, now time.Time) (Enrollment, error)

	// Enrollment returns ErrNotFound for an unknown one.
	Enrollment(ctx context.Context, id string) (Enrollment, error)

	// Enrollments lists in the order of identifiers.
	Enrollments(ctx context.Context, query EnrollmentQuery) ([]Enrollment, error)

	// DecideEnrollment approves or rejects and returns the entry. A pending one
	// can become either, a rejected one can still be approved and an approved
	// one rejected; of one that is issued or over it returns
	// *EnrollmentError. The same decision again takes the place of the first. A
	// decision lasts until expires. ErrNotFound for an unknown one.
	DecideEnrollment(ctx context.Context, id string, approve bool, actor, note string, now, expires time.Time) (Enrollment, error)
}
