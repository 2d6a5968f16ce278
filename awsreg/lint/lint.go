// Package lint finds mistakes in what an AWS IoT fleet is made of: certificates,
// IoT and IAM policies, provisioning templates, CloudFormation and CDK stacks,
// the code of hooks and monitors, topic rules, bulk input and client settings.
//
// It exists because AWS tells most of these mistakes late or not at all: a claim
// policy that lacks a topic shows as a client that waits, a hook that is too slow
// as ACCESS_DENIED, a subject that lacks a field as a device that never comes. It
// reads text and executes nothing, and it makes no call.
//
// Where it knows AWS's own words it says them. Where AWS does not document what
// happens, the finding is uncertain. Code is read as far as its text shows: what
// is computed is unknown, and nothing is said of it.
package lint

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Role says what a file is for, where the file does not say it.
type Role string

const (
	Device       Role = "device"       // a device's certificate or policy
	Claim        Role = "claim"        // a claim certificate's policy
	CA           Role = "ca"           // a certificate that is to be registered as a CA
	Verification Role = "verification" // a verification certificate
	Hook         Role = "hook"         // a pre-provisioning hook
	Rotation     Role = "rotation"     // the hook of a rotation template
	IAM          Role = "iam"          // a policy for IAM, not for devices
)

// Roles lists the roles.
func Roles() []Role { return []Role{Device, Claim, CA, Verification, Hook, Rotation, IAM} }

// Options are what the files do not say of themselves. All may be empty.
type Options struct {
	Role Role
	// RegistrationCode is the account's; a verification certificate must carry it.
	RegistrationCode string
	// CA is the CA that signs the certificates which are checked.
	CA *x509.Certificate
	// Certificate is one as devices get it; its subject must hold what templates
	// declare.
	Certificate *x509.Certificate
	// Subject is the same without a certificate: the names of the attributes that
	// every subject has, as in CommonName.
	Subject []string
	// Now is the time of the check; the present if zero.
	Now time.Time
}

// File is a file to be checked.
type File struct {
	Name string // for messages, and for what its extension tells
	Data []byte
	// Asked: the file is to be checked itself. One that is nothing with rules is an
	// error then, and left out otherwise.
	Asked bool
}

const (
	// MaxFile bounds one file, MaxFiles how many are checked together.
	MaxFile  = 1 << 20
	MaxFiles = 1000
	// maxCode bounds a program: rules look at its statements again and again.
	maxCode = 256 << 10
)

// ErrUnknown says that a file is nothing that has rules.
var ErrUnknown = errors.New("is nothing that can be checked: it is neither certificate, policy, template, stack, code, bulk input nor client settings")

// Check finds what is wrong in one file. It fails with ErrUnknown if it cannot
// tell what the file is. It may be called concurrently.
func Check(name string, data []byte, o Options) ([]Finding, error) {
	return CheckAll([]File{{Name: name, Data: data, Asked: true}}, o)
}

// CheckAll checks files that belong together, and what they say of each other:
// whether a hook reads what the template declares, whether a handler's file is
// there. It may be called concurrently.
func CheckAll(files []File, o Options) ([]Finding, error) {
	if len(files) > MaxFiles {
		return nil, fmt.Errorf("these are %d files, more than %d", len(files), MaxFiles)
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	c := &checker{Options: o}
	for _, f := range files {
		if len(f.Data) > MaxFile {
			return nil, fmt.Errorf("%s: is %d bytes long, more than %d", f.Name, len(f.Data), MaxFile)
		}
		u, err := read(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		c.units = append(c.units, u)
	}
	// Certificates first, then what may be compared with them, settings last.
	for f := formatPEM; f <= formatText; f++ {
		for _, u := range c.units {
			if u.format == f {
				c.unit(u)
			}
		}
	}
	for i, u := range c.units {
		prose := u.format == formatText && len(files) > 1 // it is compared with the others
		if files[i].Asked && u.strange && !prose {
			return nil, fmt.Errorf("%s: %w", u.file, ErrUnknown)
		}
	}
	c.together()
	var list []Finding
	for _, u := range c.units {
		list = append(list, u.report.list...)
	}
	return inOrder(list), nil
}

// checker checks files together.
type checker struct {
	Options
	units []*unit
}

// unit checks one file by itself.
func (c *checker) unit(u *unit) {
	u.secrets()
	if u.broken != nil {
		var position *positionError
		line := 0
		if errors.As(u.broken, &position) {
			line = position.line
		}
		u.about("document")
		u.add("syntax", line, "%v", u.broken)
		return
	}
	switch u.format {
	case formatPEM:
		c.certificates(u)
	case formatDocument:
		c.document(u)
	case formatCode:
		c.code(u)
	case formatBulk:
		c.bulk(u)
	case formatSettings:
		c.settings(u)
	case formatText:
		u.strange = true
	}
}
