package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
)

// RotateMessage is what a device is told.
type RotateMessage struct {
	Msg         string `json:"msg"` // rotate_cert
	Thing       string `json:"thing"`
	Certificate string `json:"certificate"` // id of the one to replace
	Issued      string `json:"issued"`      // YYYYMMDD (UTC)
	Until       string `json:"until"`       // end of the grace period, RFC 3339
}

const rotateCert = "rotate_cert"

// device counts one device that is past its period, and tells it if it was not
// told within the last hours.
func (r *monitorRun) device(ctx context.Context, d Rotating) error {
	held, err := Table{Client: r.Dynamo, Name: r.Table}.Held(ctx, d.Thing, d.Device)
	if err != nil {
		return err
	}
	until := d.IssuedAt.Add(r.head.Period + r.head.Grace)
	r.count(d, held, until)
	if held || !d.Told.IsZero() && r.now.Sub(d.Told) < tellEvery {
		return nil
	}
	// The mark first: of two runs at the same time one tells. If the message then
	// fails the mark is taken back; if even that is cut off, the device is told a
	// day later.
	if err := r.mark(ctx, d); err != nil {
		if errors.Is(err, ErrTaken) {
			return nil // told by another run, or rotated
		}
		return err
	}
	if err := r.tell(ctx, d, until); err != nil {
		return errors.Join(err, r.unmark(ctx, d))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Told++
	return nil
}

func (r *monitorRun) count(d Rotating, held bool, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case held:
		r.Held++
	case !r.now.Before(until):
		r.Overdue++
		if r.Overdue <= maxOverdueLines {
			r.log.Error("device is overdue: it has not rotated within the grace period", "thing", d.Thing, "device", d.Device,
				"certificate", d.Current, "issued", d.IssuedAt, "until", until, "next", d.Next)
		}
	}
}

// tell publishes the message. QoS 1: it waits for a device with a session.
func (r *monitorRun) tell(ctx context.Context, d Rotating, until time.Time) error {
	payload, err := json.Marshal(RotateMessage{
		Msg: rotateCert, Thing: d.Thing, Certificate: d.Current,
		Issued: d.IssuedAt.UTC().Format("20060102"), Until: until.UTC().Format(time.RFC3339),
	})
	if err != nil {
		return fmt.Errorf("encoding the message: %w", err)
	}
	topic := r.Topic
	if topic == "" {
		topic = DefaultTopic
	}
	topic = strings.ReplaceAll(topic, "<thing>", d.Thing)
	if _, err := r.Publisher.Publish(ctx, &iotdataplane.PublishInput{Topic: aws.String(topic), Payload: payload, Qos: 1}); err != nil {
		return fmt.Errorf("publishing to %s: %w", topic, err)
	}
	return nil
}

// mark writes that a device is told now, if nothing has changed since it was read.
func (r *monitorRun) mark(ctx context.Context, d Rotating) error {
	in := r.change(d, "SET #told = :now", "#current = :current AND attribute_not_exists(#told)")
	in.ExpressionAttributeValues[":now"] = number(r.now.Unix())
	if !d.Told.IsZero() {
		in.ConditionExpression = aws.String("#current = :current AND #told = :was")
		in.ExpressionAttributeValues[":was"] = number(d.Told.Unix())
	}
	return update(ctx, r.Dynamo, in)
}

// unmark takes the mark back.
func (r *monitorRun) unmark(ctx context.Context, d Rotating) error {
	in := r.change(d, "REMOVE #told", "#current = :current AND #told = :now")
	in.ExpressionAttributeValues[":now"] = number(r.now.Unix())
	if !d.Told.IsZero() {
		in.UpdateExpression = aws.String("SET #told = :was")
		in.ExpressionAttributeValues[":was"] = number(d.Told.Unix())
	}
	err := update(ctx, r.Dynamo, in)
	if errors.Is(err, ErrTaken) {
		return nil
	}
	return err
}

func (r *monitorRun) change(d Rotating, change, condition string) *dynamodb.UpdateItemInput {
	return &dynamodb.UpdateItemInput{
		TableName: aws.String(r.Rotation), Key: Key(d.Thing),
		UpdateExpression: aws.String(change), ConditionExpression: aws.String(condition),
		ExpressionAttributeNames:  names("current", "told"),
		ExpressionAttributeValues: Item{":current": text(d.Current)},
	}
}

// cursorKey is the item in the manifest that says behind which thing the next run
// begins.
const cursorKey = "cursor#monitor"

// cursor is the thing behind which a run begins; empty for the beginning.
func (t Table) cursor(ctx context.Context) (string, error) {
	thing, err := decoded(ctx, t, cursorKey, func(item Item) (string, error) {
		r := reader{item: item}
		thing := r.text("thing")
		if r.err == nil && !ValidThing(thing) {
			r.err = errField(cursorKey, "thing", thing)
		}
		return thing, r.err
	})
	if errors.Is(err, ErrUnknown) {
		return "", nil
	}
	return thing, err
}

// saveCursor writes where the next run begins, or that it is the beginning.
func (r *monitorRun) saveCursor(ctx context.Context, thing string) error {
	var err error
	if thing == "" {
		_, err = r.Dynamo.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: aws.String(r.Table), Key: Key(cursorKey)})
	} else {
		_, err = r.Dynamo.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String(r.Table), Item: Item{
			keyName: text(cursorKey), "thing": text(thing), "at": number(r.now.Unix()),
		}})
	}
	if err != nil {
		return fmt.Errorf("saving where the monitor is: %w", err)
	}
	return nil
}
