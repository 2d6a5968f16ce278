package ledger

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound: no such record.
	ErrNotFound = errors.New("not in the ledger")
	// ErrVoided: the intent was voided before its certificate was recorded.
	ErrVoided = errors.New("intent was voided")
	// ErrLapsed: the epoch or fence is not in force any more.
	ErrLapsed = errors.New("lease has lapsed")
	// ErrBusy: another holder has the lease.
	ErrBusy = errors.New("lease is held by another server")
	// ErrUnavailable: the store cannot make anything durable at the moment.
	// Whether the refused write is found there later is not known, except
	// that an intent which Begin or Finish refused with it is void by then.
	ErrUnavailable = errors.New("ledger cannot write durably")
	// ErrInFlight: an intent for the same request is open, or another server
	// has one open for another key of the device.
	ErrInFlight = errors.New("the same request is being answered at this moment; repeat it")
	// ErrRevoked: the certificate that asks is not valid any more.
	ErrRevoked = errors.New("the requesting certificate was revoked")
	// ErrIssued: the serial number has a certificate, which can only be revoked.
	ErrIssued = errors.New("serial number has a certificate")
	// ErrTaken: the serial number was recorded before.
	ErrTaken = errors.New("serial number is in the ledger already")
	// ErrMoved: the approval is not in the state that it was expected in.
	ErrMoved = errors.New("approval was decided or carried out meanwhile")
	// ErrAuthorities: a selector that leaves out the certificates of CAs and OCSP responders
	// names nothing else that is valid.
	ErrAuthorities = errors.New("only certificates of CAs or OCSP responders are named, and those are revoked by their serial numbers")
	// ErrOldCRL: the CRL's number is not higher than the stored one's.
	ErrOldCRL = errors.New("CRL number is not higher than that of the stored CRL")
)

// PriorError says that the same request was answered before, inside the repeat
// window: answer that certificate again, at no cost.
type PriorError struct{ Certificate Certificate }

func (e *PriorError) Error() string {
	return fmt.Sprintf("certificate %s was issued for this key before", e.Certificate.Serial)
}

// CloneError says that a bootstrap credential asks for a second key of a
// device that has a certificate in force.
type CloneError struct {
	Device string
	Serial Serial // the certificate in force
}

func (e *CloneError) Error() string {
	return fmt.Sprintf("device %q already holds certificate %s under another key", e.Device, e.Serial)
}

// TooManyError says that a selector names more certificates than it may revoke,
// or that more enrollments would wait than may.
type TooManyError struct {
	Count, Most int
	Waiting     bool // enrollments
	OfOne       bool // those of one device, or of one requester
}

func (e *TooManyError) Error() string {
	switch {
	case e.OfOne:
		return fmt.Sprintf("%d enrollments of one device or requester would wait for an approval, at most %d may", e.Count, e.Most)
	case e.Waiting:
		return fmt.Sprintf("%d enrollments would wait for an approval, at most %d may", e.Count, e.Most)
	}
	return fmt.Sprintf("%d certificates would be revoked, at most %d may be", e.Count, e.Most)
}
