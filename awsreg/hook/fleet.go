package hook

import (
	"errors"
	"fmt"
	"time"
)

// What fleet provisioning keeps in the manifest beside entries, marks and head.
// The server writes order#, claim#, template#, expected# and held#, again and again, and
// decides nothing from the others. The functions write taken#, used# and fleet#, and
// the certificate provider asked# and asks#, each with a condition, and nothing else.
// So neither overwrites the other.
//
//	pk                    attributes
//	order#<work order>    state, template, quantity, notBefore, notAfter, listed, ranges
//	claim#<certificate>   order
//	template#<name>       fleet, prefix, rotation
//	expected#<device>     order
//	held#<thing>          device: gets and keeps nothing in service until it is released
//	taken#<device>        certificate, order, claim, at
//	used#<work order>     n
//	fleet#<certificate>   thing, device, template, at: a certificate that came by a template
//	asked#<device>        key, order, claim, at, n: a certificate that is asked for, before it is signed
//	asks#<work order>     n: devices for which one was asked for
//
// The server keeps for itself, and no function reads: claimPolicy of order#, due of
// claim# (until the claim was ACTIVE once), releasing of held#.
const (
	orderMark    = "order#"
	claimMark    = "claim#"
	templateMark = "template#"
	expectedMark = "expected#"
	heldMark     = "held#"
	takenMark    = "taken#"
	usedMark     = "used#"
	fleetMark    = "fleet#"
	askedMark    = "asked#"
	asksMark     = "asks#"
)

// Order is a work order as the functions know it. The server writes it whenever
// it changes.
type Order struct {
	ID        string
	State     string // open, closed or killed, as in ledger.OrderState
	Template  string // the provisioning template that it is for
	Quantity  int
	NotBefore time.Time
	NotAfter  time.Time
	Listed    bool     // only devices with an expected# item of this order
	Ranges    []string // "first..last", as in ledger.Range; empty for any
}

// Claim is a claim certificate as the functions know it.
type Claim struct {
	CertificateID string
	Order         string
}

// Template is a provisioning template as the functions know it.
type Template struct {
	Name     string
	Fleet    string // the template by which its devices first came; Name itself unless Rotation
	Prefix   string // of the names of things, before the device's serial number
	Rotation bool   // it gives a device its next certificate
}

// Rotating is a device in the rotation table, whose key pk is the thing's name.
// The server and the functions write it, each with a condition.
type Rotating struct {
	Thing    string
	Device   string
	Current  string // certificate id
	IssuedAt time.Time
	// Next is the certificate that is to take the place of Current once it has
	// connected; empty for none.
	Next   string
	NextAt time.Time
	Told   time.Time // when the device was last told to rotate; zero for never
	// Replaced are certificates that were to be the next one and may be in service,
	// until another took their place: they go out of service with Current. At most
	// MaxReplaced.
	Replaced []string
}

// MaxReplaced bounds Rotating.Replaced: a device that has left more next
// certificates unused than this is looked at by people.
const MaxReplaced = 8

// errField says which attribute of an item cannot be right.
func errField(pk, name, value string) error {
	return fmt.Errorf("item %s: %s is %q", cut(pk), name, cut(value))
}

// ErrTaken: a conditional write found that somebody else was first.
var ErrTaken = errors.New("taken by another")
