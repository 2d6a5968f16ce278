package hook

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"mintmark/internal/pattern"
)

// State is what mintmark says of a certificate. Revoked is final.
type State string

const (
	Valid   State = "valid"
	Revoked State = "revoked"
)

// Entry is what the manifest holds of one certificate. Its JSON is the payload
// of the outbox task that pushes it.
type Entry struct {
	// CertificateID is the SHA-256 of the certificate's DER encoding in lower
	// case hexadecimal, which is the id that AWS gives it: an entry therefore
	// stands for one exact certificate.
	CertificateID string `json:"certificateId"`
	Device        string `json:"device"` // mintmark's identifier of the device
	Thing         string `json:"thing"`  // what it will be called at AWS
	Serial        string `json:"serial"` // hexadecimal, lower case
	Issuer        string `json:"issuer"` // mintmark's name of the issuing CA
	// CA is the certificate id of the issuing CA. It may be empty in a task; the
	// manifest always has it for a valid certificate.
	CA       string    `json:"ca,omitempty"`
	NotAfter time.Time `json:"notAfter"`
	State    State     `json:"state"`
}

// Head says how old the manifest is.
type Head struct {
	// PushedAt is a moment at which nothing waited to be pushed: everything that
	// mintmark had recorded by then is in the manifest.
	PushedAt time.Time
	Server   string        // which server said so
	MaxAge   time.Duration // how old the manifest may be; zero leaves it to the Lambda
	// Period and Grace are the target's rotation of device certificates; zero for
	// none.
	Period time.Duration
	Grace  time.Duration
}

// ErrUnknown: the manifest has no such item.
var ErrUnknown = errors.New("not in the manifest")

var (
	idPattern     = pattern.New(`^[0-9a-f]{64}$`)
	serialPattern = pattern.New(`^([0-9a-f]{2}){1,20}$`)
	// https://docs.aws.amazon.com/iot/latest/apireference/API_CreateThing.html
	thingPattern = pattern.New(`^[a-zA-Z0-9:_-]{1,128}$`)
)

// ValidID reports whether a string can be the id of a certificate at AWS.
func ValidID(id string) bool { return idPattern.MatchString(id) }

// ValidThing reports whether AWS accepts a string as the name of a thing.
func ValidThing(name string) bool { return thingPattern.MatchString(name) }

// ParseEntry reads an entry from its JSON and validates it.
func ParseEntry(data []byte) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(data, &e); err != nil {
		return Entry{}, fmt.Errorf("parsing manifest entry: %w", err)
	}
	e.NotAfter = e.NotAfter.UTC().Truncate(time.Second)
	if err := e.Validate(); err != nil {
		return Entry{}, err
	}
	return e, nil
}

// Validate reports the first field that cannot be right.
func (e Entry) Validate() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("manifest entry %s: %w", cut(e.CertificateID), fmt.Errorf(format, args...))
	}
	switch {
	case !ValidID(e.CertificateID):
		return fmt.Errorf("manifest entry: certificate id %q is not 64 hexadecimal digits", cut(e.CertificateID))
	case e.Device == "":
		return fail("no device")
	case len(e.Device) > 256:
		return fail("device identifier is %d bytes long, more than 256", len(e.Device))
	case !ValidThing(e.Thing):
		return fail("AWS refuses %q as the name of a thing: it takes 1 to 128 letters, digits and : _ -", cut(e.Thing))
	case !serialPattern.MatchString(e.Serial):
		return fail("serial number %q is not hexadecimal in lower case", cut(e.Serial))
	case len(e.Issuer) > 256:
		return fail("issuer name is %d bytes long, more than 256", len(e.Issuer))
	case e.CA != "" && !ValidID(e.CA):
		return fail("CA certificate id %q is not 64 hexadecimal digits", cut(e.CA))
	case e.NotAfter.Year() < 2000 || e.NotAfter.Year() > 9999:
		return fail("no plausible expiry")
	case e.State != Valid && e.State != Revoked:
		return fail("state %q is neither valid nor revoked", cut(string(e.State)))
	}
	return nil
}

// id formats a SHA-256 as AWS does.
func id(sum [32]byte) string { return hex.EncodeToString(sum[:]) }
