package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// PresenceEvent is what AWS IoT Core publishes to
// $aws/events/presence/connected/<clientId>.
// https://docs.aws.amazon.com/iot/latest/developerguide/life-cycle-events.html
type PresenceEvent struct {
	ClientID  string `json:"clientId"`
	EventType string `json:"eventType"`
	// PrincipalIdentifier is the certificate's id, or, of a client that connected
	// in another way, something else.
	PrincipalIdentifier string `json:"principalIdentifier"`
}

// connected is the only type of event that the topic carries.
const connected = "connected"

// ParsePresenceEvent reads an event and checks the fields that are acted upon.
func ParsePresenceEvent(data []byte) (PresenceEvent, error) {
	if len(data) > maxEvent {
		return PresenceEvent{}, fmt.Errorf("presence event is %d bytes long, more than %d", len(data), maxEvent)
	}
	var e PresenceEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return PresenceEvent{}, fmt.Errorf("parsing presence event: %w", err)
	}
	switch {
	case e.EventType != connected:
		return PresenceEvent{}, fmt.Errorf("presence event: eventType is %q, not %s", cut(e.EventType), connected)
	case e.PrincipalIdentifier == "":
		return PresenceEvent{}, errors.New("presence event: principalIdentifier is missing")
	}
	return e, nil
}

// Presence takes a device's old certificate out of service once the device has
// connected with the next one, and never before. It keeps nothing between calls
// and may be used concurrently, in any number of processes.
type Presence struct {
	IoT      Certificates
	Dynamo   Dynamo
	Table    string       // of the manifest; must be set
	Rotation string       // table of what rotates; must be set
	Logger   *slog.Logger // discarded if nil
}

// Handle looks at one connection. If it was made with the next certificate of a
// device, the current one and those that were to be the next before it are set
// INACTIVE, read back, and the next one becomes the current one; otherwise nothing
// happens. Calls may repeat, run at the same time
// and be cut off between any two steps: each step does nothing when it was done
// before, and Lambda repeats an event that failed.
func (p *Presence) Handle(ctx context.Context, e PresenceEvent) error {
	log := logger(p.Logger).With("certificate", cut(e.PrincipalIdentifier), "client", cut(e.ClientID))
	if !ValidID(e.PrincipalIdentifier) {
		log.Debug("not connected with a certificate")
		return nil
	}
	if err := p.handle(ctx, log, e.PrincipalIdentifier); err != nil {
		log.Error("rotation not finished", "error", err)
		return err
	}
	return nil
}

func (p *Presence) handle(ctx context.Context, log *slog.Logger, certificateID string) error {
	table := Table{Client: p.Dynamo, Name: p.Table}
	_, thing, err := table.whose(ctx, certificateID)
	var refused *Refusal
	if errors.Is(err, ErrUnknown) || errors.As(err, &refused) {
		return nil // of no device, or revoked: nothing to gain from it
	}
	if err != nil {
		return err
	}
	d, err := Table{Client: p.Dynamo, Name: p.Rotation}.rotating(ctx, thing)
	if errors.Is(err, ErrUnknown) {
		return nil // it does not rotate
	}
	if err != nil {
		return err
	}
	if d.Next != certificateID {
		return nil // connected with the current one, or with one that is out of service
	}
	log = log.With("thing", thing, "device", d.Device, "replaced", d.Current, "unused", d.Replaced)
	// An event can be late. The old certificate stays as long as the new one is not
	// certain to be good.
	if is, err := table.revoked(ctx, certificateID); err != nil || is {
		log.Warn("connected with a next certificate that is revoked: the current one stays")
		return err
	}
	switch status, err := statusOf(ctx, p.IoT, certificateID); {
	case err != nil:
		return err
	case status != types.CertificateStatusActive:
		log.Warn("connected with a next certificate that is not in service any more: the current one stays", "status", status)
		return nil
	}
	for _, old := range append([]string{d.Current}, d.Replaced...) {
		if err := p.deactivate(ctx, old); err != nil {
			return err
		}
	}
	if err := p.promote(ctx, d); err != nil {
		return err
	}
	log.Info("rotated: the old certificate is out of service")
	return nil
}

// deactivate sets a certificate INACTIVE unless it is out of service already.
func (p *Presence) deactivate(ctx context.Context, certificateID string) error {
	switch status, err := statusOf(ctx, p.IoT, certificateID); {
	case err != nil:
		return err
	case status == gone || status == types.CertificateStatusRevoked || status == types.CertificateStatusInactive:
		return nil
	}
	return withdraw(ctx, p.IoT, certificateID, types.CertificateStatusInactive)
}

// promote makes the next certificate the current one, if nobody has changed what
// is or was to be either meanwhile.
func (p *Presence) promote(ctx context.Context, d Rotating) error {
	condition, values := d.unchanged()
	values[":at"] = number(d.NextAt.Truncate(time.Second).Unix())
	err := update(ctx, p.Dynamo, &dynamodb.UpdateItemInput{
		TableName: aws.String(p.Rotation), Key: Key(d.Thing),
		UpdateExpression:          aws.String("SET #current = :next, #issuedAt = :at REMOVE #next, #nextAt, #told, #replaced"),
		ConditionExpression:       aws.String(condition),
		ExpressionAttributeNames:  names("current", "issuedAt", "next", "nextAt", "told", "replaced"),
		ExpressionAttributeValues: values,
	})
	if !errors.Is(err, ErrTaken) {
		return err
	}
	now, err := Table{Client: p.Dynamo, Name: p.Rotation}.rotating(ctx, d.Thing)
	if err != nil {
		return err
	}
	if now.Current == d.Next {
		return nil // another call was faster, or this one's answer was lost
	}
	// The certificate that has connected stays in service, and so does the newer
	// one that is meant to follow.
	return fmt.Errorf("thing %q: certificate %s has connected, but meanwhile the next was changed to %s", d.Thing, d.Next, now.Next)
}
