package awsreg

import (
	"context"
	"fmt"
	"time"

	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg/hook"
)

// releasingName is the attribute of a held# item that says, to the server alone,
// that it is releasing the device: a mark without it is a hold, also for a ledger
// that does not know of it because it was restored from a backup.
const releasingName = "releasing"

func releasing(mark hook.Item) bool { return mark[releasingName] != nil }

// beginRelease notes in the marks of a device that it is being released; not held
// if it has none. Until the marks are gone the functions refuse it. Without
// functions there are no marks, and every device may have been held.
func (s *session) beginRelease(ctx context.Context, device string, things []string) (held bool, err error) {
	if !s.target.decides() {
		return true, nil
	}
	keys := make([]string, len(things))
	for i, thing := range things {
		keys[i] = hook.HeldKey(thing)
	}
	marks, err := s.getItems(ctx, s.target.Manifest.table(), keys...)
	if err != nil || len(marks) == 0 {
		return false, err
	}
	var items []hook.Item
	for _, thing := range things {
		if marks[hook.HeldKey(thing)] != nil {
			item := hook.HeldItem(thing, device)
			item[releasingName] = &dynamotypes.AttributeValueMemberBOOL{Value: true}
			items = append(items, item)
		}
	}
	return true, s.putItems(ctx, s.target.Manifest.table(), items...)
}

// putInService is for how long AWS may be putting a certificate in service that a
// function has admitted: it does so in the same call, within seconds.
const putInService = 10 * time.Second

// admitted are the certificates with which a device came by fleet provisioning or
// rotated through a template, and when the functions admitted them. While AWS puts
// one in service it is attached to no thing yet.
func (s *session) admitted(ctx context.Context, device string) (map[string]time.Time, error) {
	if !s.target.decides() {
		return nil, nil
	}
	table := s.target.Manifest.table()
	items, err := s.getItems(ctx, table, hook.TakenKey(device))
	if err != nil {
		return nil, err
	}
	var keys []string
	if item := items[hook.TakenKey(device)]; item != nil {
		t, err := hook.DecodeTaken(item)
		if err != nil {
			return nil, err
		}
		keys = append(keys, hook.FleetKey(t.CertificateID))
	}
	rotating, _, err := s.current(ctx, s.target.thingsOf(device))
	if err != nil {
		return nil, err
	}
	for _, id := range rotating {
		if key := hook.FleetKey(id); len(keys) == 0 || keys[0] != key {
			keys = append(keys, key)
		}
	}
	if items, err = s.getItems(ctx, table, keys...); err != nil {
		return nil, err
	}
	at := make(map[string]time.Time, len(items))
	for _, item := range items {
		a, err := hook.DecodeAdmitted(item)
		if err != nil {
			return nil, err
		}
		if a.Device == device {
			at[a.CertificateID] = a.At
		}
	}
	return at, nil
}

// deactivateSettled sets a certificate INACTIVE that was admitted so long ago. It
// fails if AWS may still be putting it in service.
func (s *session) deactivateSettled(ctx context.Context, id string, ago time.Duration) error {
	d, err := s.describe(ctx, id)
	if err != nil {
		return err
	}
	switch {
	case d.Status == types.CertificateStatusActive:
		_, err := s.setStatus(ctx, id, types.CertificateStatusInactive)
		return err
	case d.Status == types.CertificateStatusRevoked:
		return nil
	case d.Status == types.CertificateStatusPendingActivation || ago < putInService:
		return fmt.Errorf("certificate %s was admitted %s ago and is %s: AWS may still be putting it in service", id, ago.Round(time.Second), d.Status)
	}
	return nil
}
