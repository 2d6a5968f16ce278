package awsreg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mintmark/awsreg/hook"
)

// rotate enters a device's certificate into the rotation table: its first as the
// current one, a newer as the next, which takes the other's place once it has
// connected (hook.Presence). A next one that is replaced before that may be in
// service, and is kept in mind to go out of it with the current one. Older ones,
// that come late, change nothing. The
// functions write the same items, so that every write has a condition.
func (s *session) rotate(ctx context.Context, p push) error {
	if s.target.Rotation == nil || p.NotBefore.IsZero() {
		return nil
	}
	table := s.target.Rotation.table()
	doing := fmt.Sprintf("entering certificate %s of thing %q into table %q", p.CertificateID, p.Thing, table)
	first := hook.Rotating{Thing: p.Thing, Device: p.Device, Current: p.CertificateID, IssuedAt: p.NotBefore}
	err := retry(ctx, func() error {
		_, err := s.dynamo.PutItem(ctx, &dynamodb.PutItemInput{
			TableName: aws.String(table), Item: first.Item(), ConditionExpression: aws.String("attribute_not_exists(pk)"),
		})
		if !isConditionFailed(err) {
			return err
		}
		have, err := s.rotating(ctx, p.Thing)
		if err != nil {
			return err
		}
		if have == nil {
			return errNotYet // deleted at this very moment
		}
		if have.Device != p.Device {
			// Another delivery would find the same. The functions take the thing for the
			// other device's.
			return outstanding(fmt.Errorf("the thing is device %q there, not %q", have.Device, p.Device))
		}
		if !have.takes(p) {
			return nil
		}
		err = s.setNext(ctx, table, *have, p)
		if isConditionFailed(err) {
			return errors.Join(errNotYet, err) // it changed in between: look again
		}
		return err
	})
	return explain(doing, err)
}

// rotating is a device as the rotation table has it.
type rotating struct{ hook.Rotating }

// takes reports whether a certificate is newer than all that the item has.
func (d rotating) takes(p push) bool {
	switch {
	case p.CertificateID == d.Current || p.CertificateID == d.Next:
		return false
	case d.Next != "":
		return p.NotBefore.After(d.NextAt)
	}
	return p.NotBefore.After(d.IssuedAt)
}

// has reports whether a certificate is in use or to be.
func (d rotating) has(id string) bool { return id == d.Current || id == d.Next }

// rotating reads a thing's item; nil if there is none.
func (s *session) rotating(ctx context.Context, thing string) (*rotating, error) {
	out, err := s.dynamo.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: aws.String(s.target.Rotation.table()), Key: hook.Key(thing), ConsistentRead: aws.Bool(true),
	})
	if err != nil || len(out.Item) == 0 {
		return nil, err
	}
	d, err := hook.DecodeRotating(out.Item)
	if err != nil {
		return nil, err
	}
	return &rotating{d}, nil
}

// rotations reads the items of many things, by name; none without rotation.
func (s *session) rotations(ctx context.Context, things []string) (map[string]rotating, error) {
	if s.target.Rotation == nil {
		return nil, nil
	}
	items, err := s.getItems(ctx, s.target.Rotation.table(), things...)
	if err != nil {
		return nil, err
	}
	found := make(map[string]rotating, len(items))
	for thing, item := range items {
		d, err := hook.DecodeRotating(item)
		if err != nil {
			return nil, err
		}
		found[thing] = rotating{d}
	}
	return found, nil
}

// setNext makes a certificate the next one. Of those that it replaces the item has
// room for hook.MaxReplaced; the oldest then goes out of service right away.
func (s *session) setNext(ctx context.Context, table string, have rotating, p push) error {
	str := func(v string) dynamotypes.AttributeValue { return &dynamotypes.AttributeValueMemberS{Value: v} }
	values := map[string]dynamotypes.AttributeValue{
		":current": str(have.Current), ":next": str(p.CertificateID), ":at": unixSeconds(p.NotBefore),
	}
	names := map[string]string{"#c": "current", "#n": "next", "#a": "nextAt"}
	change, condition := "SET #n = :next, #a = :at", "#c = :current AND attribute_not_exists(#n)"
	if have.Next != "" {
		// The list changes only together with one of the two others.
		change, condition = change+", #r = :replaced", "#c = :current AND #n = :old"
		names["#r"], values[":old"] = "replaced", str(have.Next)
		replaced := append(slices.Clone(have.Replaced), have.Next)
		for len(replaced) > hook.MaxReplaced {
			if err := ignoreNotFound(s.deactivate(ctx, replaced[0])); err != nil {
				return err
			}
			replaced = replaced[1:]
		}
		var list dynamotypes.AttributeValueMemberL
		for _, id := range replaced {
			list.Value = append(list.Value, str(id))
		}
		values[":replaced"] = &list
	}
	_, err := s.dynamo.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: aws.String(table), Key: hook.Key(have.Thing),
		UpdateExpression: aws.String(change), ConditionExpression: aws.String(condition),
		ExpressionAttributeNames:  names,
		ExpressionAttributeValues: values,
	})
	return err
}

func unixSeconds(t time.Time) dynamotypes.AttributeValue {
	return &dynamotypes.AttributeValueMemberN{Value: strconv.FormatInt(t.Unix(), 10)}
}
