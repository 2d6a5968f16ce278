package awsreg

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// Entry is what the manifest, and the task that pushes it, hold of a certificate.
type Entry = hook.Entry

// ErrTold is wrapped by what Deliver and TellAll return where the manifest has all
// that the functions need to refuse whom they must, and only calls to AWS IoT are
// outstanding; see Told.
var ErrTold = errors.New("the manifest has it, and AWS IoT is still to be told")

// Told reports, from what Deliver returned for a task, or TellAll for all there is,
// whether it stands in nobody's way of the manifest's head. Deliver writes what
// belongs in the manifest first: entries, marks, orders, lists. If that has failed,
// the error does not wrap ErrTold, and until another delivery Beat must not be
// called: the head would say that the functions know what they do not. If it was
// written and AWS IoT refuses the rest, the error wraps ErrTold: the task must be
// delivered again, but one device that can never be registered does not stop all
// others.
func Told(err error) bool { return err == nil || errors.Is(err, ErrTold) }

// outstanding marks the failure of a call to AWS IoT after the manifest was written.
func outstanding(err error) error {
	if err == nil || errors.Is(err, ErrTold) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrTold, err)
}

// taskPrefix begins the kind of every task for AWS.
const taskPrefix = "aws/"

// TaskKind is the kind of a target's tasks in the outbox, but for those that
// cannot wait.
func TaskKind(t Target) string { return taskPrefix + t.Name }

// UrgentKind is the kind of those that can shut something: revocations, holds, and
// what becomes of work orders. They have a worker of their own, because thousands
// of registrations may wait for the account's quotas.
func UrgentKind(t Target) string { return taskPrefix + t.Name + urgentSuffix }

const urgentSuffix = "/urgent"

// kindOf is the kind of a certificate's task.
func kindOf(t Target, c ledger.Certificate) string {
	if c.State == ledger.Revoked {
		return UrgentKind(t)
	}
	return TaskKind(t)
}

// push is the payload of a task about a device's certificate.
type push struct {
	Entry
	// Certificate is the certificate in PEM where Deliver may have to register it.
	Certificate string `json:"certificate,omitempty"`
	// NotBefore tells a device's newer certificate from its older one, where
	// certificates rotate.
	NotBefore time.Time `json:"notBefore,omitzero"`
}

// TasksFor returns what the targets must be told of a certificate, as tasks that
// are enqueued in the transaction that records it. The state is taken from c, so
// that a certificate being revoked must be given as revoked.
//
// A revocation is told to every target that has the issuer, and to every one with
// a certificate provider, through which certificates of any issuer may have come. A device's new
// certificate is told where a function decides about it, where mintmark registers
// it, and where certificates rotate; a claim certificate, of whichever issuer, to
// every target: one that had the fleet of its order may not have it any more. Of
// other purposes nothing is told.
func TasksFor(targets []Target, c ledger.Certificate) []ledger.Task {
	if len(c.DER) == 0 || c.State != ledger.Valid && c.State != ledger.Revoked {
		return nil
	}
	switch c.Purpose {
	case ledger.ForDevice:
		return tasksForDevices(targets, c)
	case ledger.ForClaim:
		return tasksForClaims(targets, c)
	}
	return nil
}

func tasksForDevices(targets []Target, c ledger.Certificate) []ledger.Task {
	var tasks []ledger.Task
	for _, t := range targets {
		ca, is := t.ca(c.Issuer)
		if c.State == ledger.Valid && !(is && toldWhenIssued(t, ca)) || !is && t.Provider == nil {
			continue
		}
		id := CertificateID(c.DER)
		p := push{Entry: Entry{
			CertificateID: id,
			Device:        c.Device,
			Thing:         ThingName(c.Device),
			Serial:        string(c.Serial),
			Issuer:        c.Issuer,
			NotAfter:      c.NotAfter.UTC(),
			State:         hook.Valid,
		}}
		if t.Rotation != nil {
			p.NotBefore = c.NotBefore.UTC()
		}
		if c.State == ledger.Revoked {
			p.State = hook.Revoked
		}
		if ca.Use == UseRegister || ca.Use == UseJITP && c.State == ledger.Revoked {
			p.Certificate = certificatePEM(c.DER)
		}
		payload, err := json.Marshal(p)
		if err != nil {
			continue // a year beyond 9999, which no certificate here has
		}
		tasks = append(tasks, ledger.Task{Kind: kindOf(t, c), Key: id, Payload: payload})
	}
	return tasks
}

// ca finds an issuing CA among the target's.
func (t Target) ca(issuer string) (CA, bool) {
	for _, ca := range t.CAs {
		if ca.Issuer == issuer {
			return ca, true
		}
	}
	return CA{}, false
}

// sweptWith reports whether the certificates of an issuer were swept with it.
func (t Target) sweptWith(issuer string) bool {
	ca, is := t.ca(issuer)
	return is && ca.swept()
}

// toldWhenIssued reports whether a target must know of a certificate before its
// device connects with it.
func toldWhenIssued(t Target, ca CA) bool {
	return ca.Use == UseJITR || ca.Use == UseRegister || t.Rotation != nil
}

// parsePush reads a task's payload.
func parsePush(data []byte) (push, error) {
	entry, err := hook.ParseEntry(data)
	if err != nil {
		return push{}, err
	}
	var p push
	if err := json.Unmarshal(data, &p); err != nil {
		return push{}, fmt.Errorf("parsing manifest entry: %w", err)
	}
	p.Entry = entry
	if !p.NotBefore.IsZero() {
		p.NotBefore = p.NotBefore.UTC().Truncate(time.Second)
	}
	if y := p.NotBefore.Year(); !p.NotBefore.IsZero() && (y < 2000 || y > 9999) {
		return push{}, fmt.Errorf("manifest entry %s: no plausible begin of its validity", p.CertificateID)
	}
	if p.Certificate == "" {
		return p, nil
	}
	if block, _ := pem.Decode([]byte(p.Certificate)); block == nil || CertificateID(block.Bytes) != p.CertificateID {
		return push{}, errors.New("manifest entry: its certificate is not the one of its id")
	}
	return p, nil
}

// ThingName is the name of a device's thing: its identifier if AWS takes it as a
// name. Otherwise other characters become hyphens, and a hash of the identifier
// keeps two devices from getting one name.
func ThingName(device string) string {
	if hook.ValidThing(device) {
		return device
	}
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && hook.ValidThing(string(r)) {
			return r
		}
		return '-'
	}, device)
	if len(name) > 100 {
		name = name[:100]
	}
	return name + "-" + CertificateID([]byte(device))[:16]
}

// thingsOf are the names that a device's thing may have at a target: its own, and
// what each fleet makes of it.
func (t Target) thingsOf(device string) []string {
	names := []string{ThingName(device)}
	for _, f := range t.Fleets {
		if name := f.ThingPrefix + device; f.ThingPrefix != "" && hook.ValidThing(name) {
			names = append(names, name)
		}
	}
	return names
}
