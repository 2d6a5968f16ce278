package awsreg

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// Entry is what the manifest, and the task that pushes it, hold of a certificate.
type Entry = hook.Entry

// taskPrefix begins the kind of every task for AWS.
const taskPrefix = "aws/"

// TaskKind is the kind of a target's tasks in the outbox.
func TaskKind(t Target) string { return taskPrefix + t.Name }

// push is the payload of a task.
type push struct {
	Entry
	// Certificate is the certificate in PEM where Deliver may have to register it
	// as revoked: see revoke.
	Certificate string `json:"certificate,omitempty"`
}

// TasksFor returns what the targets must be told of a certificate, as tasks that
// are enqueued in the transaction that records it. A certificate under a CA of
// UseJITR is told when it is issued; whichever its use, a revocation is. The
// state is taken from c, so that a certificate being revoked must be given as
// revoked. Only devices' certificates are told.
func TasksFor(targets []Target, c ledger.Certificate) []ledger.Task {
	if c.Purpose != ledger.ForDevice || len(c.DER) == 0 || c.State != ledger.Valid && c.State != ledger.Revoked {
		return nil
	}
	var tasks []ledger.Task
	for _, t := range targets {
		for _, ca := range t.CAs {
			if ca.Issuer != c.Issuer || ca.Use != UseJITR && c.State != ledger.Revoked {
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
			if c.State == ledger.Revoked {
				p.State = hook.Revoked
				if ca.Use == UseJITP {
					p.Certificate = certificatePEM(c.DER)
				}
			}
			payload, err := json.Marshal(p)
			if err != nil {
				continue // a year beyond 9999, which no certificate here has
			}
			tasks = append(tasks, ledger.Task{Kind: TaskKind(t), Key: id, Payload: payload})
		}
	}
	return tasks
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
	if p.Certificate == "" {
		return p, nil
	}
	block, _ := pem.Decode([]byte(p.Certificate))
	if block == nil || CertificateID(block.Bytes) != p.CertificateID {
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
