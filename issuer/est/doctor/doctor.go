// Package doctor runs a checklist of EST (RFC 7030, RFC 8951, RFC 9908, and what
// clients in the field need beyond them) against a server, ours or another, and
// says point by point whether it holds.
//
// It looks at the wire with code of its own: TLS records and handshake messages,
// HTTP/1.1 as it was sent, a walk through the DER. It shares nothing with the
// server and client in package est, whose mistakes it would otherwise share,
// too; only ciphers and signatures of serverkeygen it has from internal/cms.
// Whatever a server answers is bounded and cannot stop it.
package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// Level says where a point comes from and what it demands.
type Level byte

const (
	Must    Level = 'M' // an RFC says MUST
	Should  Level = 'S' // an RFC says SHOULD, RECOMMENDED or MAY
	Derived Level = 'D' // follows from the purpose, in no RFC
	Interop Level = 'I' // measured: clients in the field need it
)

func (l Level) String() string { return string(l) }

// MarshalText writes the letter.
func (l Level) MarshalText() ([]byte, error) { return []byte{byte(l)}, nil }

// Status is the outcome of a point.
type Status string

const (
	Pass          Status = "pass"
	Fail          Status = "fail"
	NotApplicable Status = "n/a"
)

// Result is the outcome of a point at a server. Text says what was seen, and
// for NotApplicable the reason.
type Result struct {
	Status Status
	Text   string
}

func pass(format string, args ...any) Result { return Result{Pass, fmt.Sprintf(format, args...)} }
func fail(format string, args ...any) Result { return Result{Fail, fmt.Sprintf(format, args...)} }
func na(format string, args ...any) Result {
	return Result{NotApplicable, fmt.Sprintf(format, args...)}
}

// Point is one point of the checklist.
type Point struct {
	Number  int
	Level   Level
	Section string // of the RFC, or where it was measured
	Title   string // what is demanded
	How     string // how it is checked

	check func(context.Context, *probe) Result
}

// Config is what the doctor knows of the server. Only URL must be set; a point
// that needs more than is there is not applicable.
type Config struct {
	URL     string         // of the server, as in https://ca.example.org:8443
	Label   string         // EST label; empty for the paths without one
	RootCAs *x509.CertPool // for the server's certificate; the system's if nil

	// User and Password enroll. HasPassword is set if there are any, for a user
	// may be empty.
	User, Password string
	HasPassword    bool

	Device *tls.Certificate // that this server has issued, for renewals
	Maker  *tls.Certificate // of a device maker that the label trusts
	RA     *tls.Certificate // of a registration authority
	// Expired and Revoked are certificates that this server has issued; Expired ended
	// before any grace that the server grants.
	Expired, Revoked *tls.Certificate
	Both             bool // enrolling needs a certificate and the password

	// SharedID and SharedKey are a key that server and device share, for
	// serverkeygen; may be empty.
	SharedID  string
	SharedKey []byte

	// Name is the common name of devices to enroll; {n} in it becomes a number, so
	// that each has its own. The default is one that no earlier run had.
	Name string
	// Enroll lets the doctor ask for certificates. Without it nothing is issued,
	// and nothing is sent that a faulty server might answer with a certificate.
	Enroll bool

	// What the label is meant to do, where that cannot be seen.
	Linked   bool // it demands proof-of-possession linking
	Rollover bool // the root is being changed
	Keygen   bool // it offers serverkeygen

	// Waiting is called when requests wait for an approval: the operator shall
	// approve the one for the first name and reject that for the second. Nil if nobody
	// is there to do that.
	Waiting func(approve, reject string)
	Wait    time.Duration // how long to wait for it; 5 minutes if zero

	Timeout time.Duration // of one exchange; 10 seconds if zero
	Only    []int         // numbers of points; all if empty

	// sleep waits between repetitions of a request; tests let it do something
	// quicker.
	sleep func(context.Context, time.Duration) error
}

// Run checks one point after the other and reports each. It fails only if the
// configuration is wrong or ctx ends.
func Run(ctx context.Context, c Config, report func(Point, Result)) error {
	p, err := newProbe(c)
	if err != nil {
		return err
	}
	for _, number := range c.Only {
		if number < 1 || number > len(points) {
			return fmt.Errorf("there is no point %d: they are numbered 1 to %d", number, len(points))
		}
	}
	for _, point := range points {
		if len(c.Only) > 0 && !slices.Contains(c.Only, point.Number) {
			continue
		}
		result := point.check(ctx, p)
		if err := ctx.Err(); err != nil {
			return err
		}
		report(point, result)
	}
	return nil
}
