package hook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
)

// MonitorTable is the part of DynamoDB that the monitor takes. *dynamodb.Client
// implements it.
type MonitorTable interface {
	Dynamo
	Scan(ctx context.Context, in *dynamodb.ScanInput, opts ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error)
	PutItem(ctx context.Context, in *dynamodb.PutItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	DeleteItem(ctx context.Context, in *dynamodb.DeleteItemInput, opts ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error)
}

// Publisher sends messages to devices. *iotdataplane.Client implements it.
type Publisher interface {
	Publish(ctx context.Context, in *iotdataplane.PublishInput, opts ...func(*iotdataplane.Options)) (*iotdataplane.PublishOutput, error)
}

const (
	// DefaultTopic is where a device is told to rotate; <thing> stands for the name
	// of its thing.
	DefaultTopic = "cmd/<thing>/alerts"
	// tellEvery is how long a device is left in peace once it was told. Less than a
	// day, so that a daily schedule that wanders by some hours skips no day.
	tellEvery = 20 * time.Hour
	// telling is how many devices are told at the same time.
	telling = 16
	// scanPage is how many items one page holds at most; DynamoDB ends a page at 1
	// MB anyway.
	scanPage = 500
	// stopBefore is how long before the function's end a run saves where it is: it
	// is the longest that a page may take.
	stopBefore = 20 * time.Second
	// maxOverdueLines bounds the lines about single devices in the log of a run.
	maxOverdueLines = 100
)

// Monitor finds devices whose certificates are past their period and tells them to
// rotate, once a day until they have: through the grace period and after it. It
// deactivates nothing, ever: a certificate that is too old is a reason to look at a
// device, and none to lose it.
//
// It keeps nothing between runs but a cursor in the table, and runs at the same
// time tell no device twice.
type Monitor struct {
	Dynamo    MonitorTable
	Publisher Publisher
	Table     string           // of the manifest; must be set
	Rotation  string           // table of what rotates; must be set
	Topic     string           // DefaultTopic if empty
	Now       func() time.Time // time.Now if nil
	Logger    *slog.Logger     // discarded if nil
	// StopBefore replaces stopBefore if positive.
	StopBefore time.Duration
}

// MonitorResult counts devices of one run.
type MonitorResult struct {
	Devices int `json:"devices"` // looked at
	Due     int `json:"due"`     // past their period
	Told    int `json:"told"`    // in this run
	Overdue int `json:"overdue"` // past the grace period, too
	Held    int `json:"held"`    // past their period, and left in peace
	Failed  int `json:"failed"`  // that should have been told and could not be
	// Complete is false if the run ended before it had seen every device. The next
	// one goes on from there.
	Complete bool `json:"complete"`
}

// Handle makes one run. The error says that devices could not be told, or that the
// table could not be read; those that were told are counted all the same.
func (m *Monitor) Handle(ctx context.Context) (MonitorResult, error) {
	log := logger(m.Logger)
	r := &monitorRun{Monitor: m, log: log}
	err := r.run(ctx)
	if err == nil && r.Failed > 0 {
		err = fmt.Errorf("%d of %d devices could not be told to rotate: %w", r.Failed, r.Due, r.first)
	}
	log = log.With("devices", r.Devices, "due", r.Due, "told", r.Told, "overdue", r.Overdue, "held", r.Held, "failed", r.Failed, "complete", r.Complete)
	switch {
	case err != nil:
		log.Error("rotation monitored", "error", err)
	case r.Overdue > 0:
		log.Error("rotation monitored: devices are overdue")
	default:
		log.Info("rotation monitored")
	}
	return r.MonitorResult, err
}

// monitorRun is one run. Everything that depends on the time is computed in it.
type monitorRun struct {
	*Monitor
	log  *slog.Logger
	head Head
	now  time.Time

	mu sync.Mutex // guards what follows, while a page is worked on
	MonitorResult
	first error // of what failed
}

func (r *monitorRun) run(ctx context.Context) error {
	table := Table{Client: r.Dynamo, Name: r.Table}
	head, err := table.Head(ctx)
	if errors.Is(err, ErrUnknown) {
		return fmt.Errorf("the manifest has no head: mintmark has never finished pushing it")
	}
	if err != nil {
		return fmt.Errorf("reading the manifest's head: %w", err)
	}
	if head.Period <= 0 {
		return fmt.Errorf("the manifest's head has no period of rotation: does server %q have rotation in its configuration?", head.Server)
	}
	r.head, r.now = head, clock(r.Now).UTC().Truncate(time.Second)
	began, err := table.cursor(ctx)
	if err != nil {
		return err
	}
	done, err := r.scan(ctx, began, "")
	if done && err == nil && began != "" {
		// What lay before the cursor was seen by an earlier run.
		done, err = r.scan(ctx, "", began)
	}
	if err != nil || !done {
		return err
	}
	r.Complete = true
	return r.saveCursor(ctx, "")
}

// scan works through the rotation table from behind a thing, or from its
// beginning, to a thing, or to its end. It reports whether it came there: if the
// function's time runs out it saves a cursor.
func (r *monitorRun) scan(ctx context.Context, from, to string) (bool, error) {
	in := &dynamodb.ScanInput{TableName: aws.String(r.Rotation), ConsistentRead: aws.Bool(true), Limit: aws.Int32(scanPage)}
	if from != "" {
		in.ExclusiveStartKey = Key(from)
	}
	for {
		out, err := r.Dynamo.Scan(ctx, in)
		if err != nil {
			return false, fmt.Errorf("reading table %s: %w", r.Rotation, err)
		}
		reached := r.page(ctx, out.Items, to)
		if err := ctx.Err(); err != nil {
			return false, fmt.Errorf("reading table %s: %w", r.Rotation, context.Cause(ctx))
		}
		if reached || len(out.LastEvaluatedKey) == 0 {
			return true, nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
		if r.late(ctx) {
			k := reader{item: out.LastEvaluatedKey}
			last := k.text(keyName)
			if k.err != nil {
				return false, k.err
			}
			return false, r.saveCursor(ctx, last)
		}
	}
}

// late reports whether the function's time might not do for another page.
func (r *monitorRun) late(ctx context.Context) bool {
	before := stopBefore
	if r.StopBefore > 0 {
		before = r.StopBefore
	}
	end, ok := ctx.Deadline()
	return ok && time.Until(end) < before
}

// page works on the devices of a page, up to a thing, and reports whether that was
// among them.
func (r *monitorRun) page(ctx context.Context, items []Item, to string) (reached bool) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, telling)
	for _, item := range items {
		r.Devices++
		d, err := DecodeRotating(item)
		if err != nil {
			r.fail(err)
			continue
		}
		if !r.now.Before(d.IssuedAt.Add(r.head.Period)) {
			r.Due++
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if err := r.device(ctx, d); err != nil {
					r.fail(fmt.Errorf("thing %q: %w", d.Thing, err))
				}
			})
		}
		if to != "" && d.Thing == to {
			reached = true
			break
		}
	}
	wg.Wait()
	return reached
}

func (r *monitorRun) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Failed++
	if r.first == nil {
		r.first = err
	}
}
