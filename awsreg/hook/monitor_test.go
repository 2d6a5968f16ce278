package hook

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"

	"mintmark/awsreg/awssim"
)

// mailbox is what devices were told, by topic.
type mailbox struct {
	mu    sync.Mutex
	told  map[string][]RotateMessage
	fails bool
}

func (m *mailbox) Publish(_ context.Context, in *iotdataplane.PublishInput, _ ...func(*iotdataplane.Options)) (*iotdataplane.PublishOutput, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails {
		return nil, errCut
	}
	var message RotateMessage
	if err := json.Unmarshal(in.Payload, &message); err != nil {
		return nil, err
	}
	m.told[*in.Topic] = append(m.told[*in.Topic], message)
	return &iotdataplane.PublishOutput{}, nil
}

func (m *mailbox) count() int {
	n := 0
	for _, messages := range m.told {
		n += len(messages)
	}
	return n
}

func newMonitor(t testing.TB) (*world, *Monitor, *mailbox) {
	w := newWorld(t)
	box := &mailbox{told: map[string][]RotateMessage{}}
	return w, &Monitor{Dynamo: w.dynamo, Publisher: box, Table: tableName, Rotation: rotationName, Now: w.clock, Logger: w.log.logger()}, box
}

func (w *world) run(m *Monitor) MonitorResult {
	w.t.Helper()
	result, err := m.Handle(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return result
}

// A device is told on every day from the end of its period on, through the grace
// period and after it, and never loses its certificate for its age. The system that
// this replaces compared the other way round: inside of the grace period the
// certificate was deactivated, and past it nothing happened any more.
func TestMonitorGrace(t *testing.T) {
	w, m, box := newMonitor(t)
	w.certs.set(idOf(1), active)
	issued := now
	d := Rotating{Thing: "press-7", Device: "7", Current: idOf(1), IssuedAt: issued}
	w.putRotating(d)
	for day := 355; day < 355+30; day++ {
		w.now = issued.Add(time.Duration(day) * 24 * time.Hour)
		w.put(Head{PushedAt: w.now, Server: "a", Period: period, Grace: grace}.Item())
		before := box.count()
		result := w.run(m)
		want := MonitorResult{Devices: 1, Complete: true}
		if day >= 360 {
			want.Due, want.Told = 1, 1
		}
		if day >= 374 {
			want.Overdue = 1
		}
		if result != want || box.count()-before != want.Told {
			t.Errorf("day %d: %+v, want %+v; %d messages", day, result, want, box.count()-before)
		}
		if after := w.device("press-7"); w.certs.is(idOf(1)) != active || after.Current != idOf(1) {
			t.Fatalf("day %d: the certificate is %s, %+v", day, w.certs.is(idOf(1)), after)
		}
	}
	if w.certs.calls != 0 {
		t.Errorf("the monitor made %d calls about certificates", w.certs.calls)
	}
	messages := box.told["cmd/press-7/alerts"]
	want := RotateMessage{
		Msg: "rotate_cert", Thing: "press-7", Certificate: idOf(1), Issued: "20260301", Until: issued.Add(period + grace).Format(time.RFC3339),
	}
	if len(messages) != 25 || messages[0] != want || messages[24] != want {
		t.Errorf("%d messages, want 25 of %+v: %+v", len(messages), want, messages[0])
	}
	if n := strings.Count(w.log.String(), "level=ERROR msg=\"device is overdue"); n != 11 {
		t.Errorf("overdue on %d days in the log, want 11", n)
	}
}

func TestMonitor(t *testing.T) {
	due := now.Add(-period)
	tests := []struct {
		name   string
		change func(w *world, m *Monitor, d *Rotating)
		want   MonitorResult
	}{
		{"due", func(*world, *Monitor, *Rotating) {}, MonitorResult{Due: 1, Told: 1}},
		{"a second before", func(_ *world, _ *Monitor, d *Rotating) { d.IssuedAt = due.Add(time.Second) }, MonitorResult{}},
		{"last second of the grace period", func(_ *world, _ *Monitor, d *Rotating) { d.IssuedAt = due.Add(time.Second - grace) }, MonitorResult{Due: 1, Told: 1}},
		{"end of the grace period", func(_ *world, _ *Monitor, d *Rotating) { d.IssuedAt = due.Add(-grace) }, MonitorResult{Due: 1, Told: 1, Overdue: 1}},
		{"told an hour ago", func(_ *world, _ *Monitor, d *Rotating) { d.Told = now.Add(-time.Hour) }, MonitorResult{Due: 1}},
		{"told almost a day ago", func(_ *world, _ *Monitor, d *Rotating) { d.Told = now.Add(-20 * time.Hour) }, MonitorResult{Due: 1, Told: 1}},
		{"told an hour ago and overdue", func(_ *world, _ *Monitor, d *Rotating) {
			d.Told, d.IssuedAt = now.Add(-time.Hour), due.Add(-grace)
		}, MonitorResult{Due: 1, Overdue: 1}},
		{"next has not connected", func(_ *world, _ *Monitor, d *Rotating) { d.Next, d.NextAt = idOf(2), now.Add(-time.Hour) }, MonitorResult{Due: 1, Told: 1}},
		{"held", func(w *world, _ *Monitor, _ *Rotating) { w.put(HeldItem("press-7", "7")) }, MonitorResult{Due: 1, Held: 1}},
		{"held and overdue", func(w *world, _ *Monitor, d *Rotating) {
			w.put(HeldItem("press-7", "7"))
			d.IssuedAt = due.Add(-2 * grace)
		}, MonitorResult{Due: 1, Held: 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w, m, box := newMonitor(t)
			m.Topic = "factory/<thing>"
			d := Rotating{Thing: "press-7", Device: "7", Current: idOf(1), IssuedAt: due}
			test.change(w, m, &d)
			w.putRotating(d)
			test.want.Devices, test.want.Complete = 1, true
			if result := w.run(m); result != test.want || len(box.told["factory/press-7"]) != test.want.Told {
				t.Errorf("%+v, want %+v, told %+v", result, test.want, box.told)
			}
			test.want.Told = 0
			if result := w.run(m); result != test.want {
				t.Errorf("again %+v, want %+v", result, test.want)
			}
		})
	}
}

// A message that is lost is sent by the next run, and the run says that it failed.
func TestMonitorPublishFails(t *testing.T) {
	w, m, box := newMonitor(t)
	for i, told := range []time.Time{{}, now.Add(-24 * time.Hour)} {
		w.putRotating(Rotating{Thing: fmt.Sprintf("press-%d", i), Device: "7", Current: idOf(1), IssuedAt: now.Add(-period), Told: told})
	}
	box.fails = true
	result, err := m.Handle(t.Context())
	if err == nil || result != (MonitorResult{Devices: 2, Due: 2, Failed: 2, Complete: true}) || !strings.Contains(err.Error(), "2 of 2 devices could not be told") {
		t.Errorf("%+v, %v", result, err)
	}
	if d := w.device("press-1"); !d.Told.Equal(now.Add(-24 * time.Hour)) {
		t.Errorf("told at %s", d.Told)
	}
	box.fails = false
	if result := w.run(m); result.Told != 2 {
		t.Errorf("then %+v", result)
	}
}

func TestMonitorRefuses(t *testing.T) {
	w, m, box := newMonitor(t)
	w.putRotating(Rotating{Thing: "press-7", Device: "7", Current: idOf(1), IssuedAt: now.Add(-period)})
	for name, change := range map[string]func(){
		"no period": func() { w.put(Head{PushedAt: now, Server: "a"}.Item()) },
		"no head":   func() { w.remove(tableName, headKey) },
		"odd cursor": func() {
			w.put(Head{PushedAt: now, Period: period, Grace: grace}.Item(), Item{keyName: text(cursorKey), "thing": text("a b")})
		},
		"table fails": func() {
			w.remove(tableName, cursorKey)
			w.sim.Inject(awssim.Fault{Operation: "dynamodb:Scan", Cut: true})
		},
	} {
		change()
		if result, err := m.Handle(t.Context()); err == nil || result.Complete || box.count() != 0 {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
		w.put(Head{PushedAt: now, Period: period, Grace: grace}.Item())
		w.remove(tableName, cursorKey)
	}
	// An item that makes no sense is counted, and the others are worked on.
	w.putIn(rotationName, Item{keyName: text("press-8"), "device": text("8")})
	if result, err := m.Handle(t.Context()); err == nil || result != (MonitorResult{Devices: 2, Due: 1, Told: 1, Failed: 1, Complete: true}) {
		t.Errorf("%+v, %v", result, err)
	}
}

// fill writes n devices that are due, with as much beside as fills pages.
func (w *world) fill(n, bytes int) {
	w.t.Helper()
	pad := strings.Repeat("x", bytes)
	var batch []dynamotypes.WriteRequest
	for i := range n {
		item := Rotating{Thing: fmt.Sprintf("press-%04d", i), Device: fmt.Sprintf("%04d", i), Current: idOf(i + 1), IssuedAt: now.Add(-period)}.Item()
		item["pad"] = text(pad)
		batch = append(batch, dynamotypes.WriteRequest{PutRequest: &dynamotypes.PutRequest{Item: item}})
		if len(batch) == 25 || i == n-1 {
			out, err := w.dynamo.BatchWriteItem(context.Background(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]dynamotypes.WriteRequest{rotationName: batch}})
			if err != nil || len(out.UnprocessedItems) != 0 {
				w.t.Fatal(err, len(out.UnprocessedItems))
			}
			batch = nil
		}
	}
}

// More devices than one page of the table, or of AWS's fleet index, holds.
func TestMonitorPages(t *testing.T) {
	const n = 1203
	w, m, box := newMonitor(t)
	w.fill(n, 2000) // 2.4 MB
	if result := w.run(m); result != (MonitorResult{Devices: n, Due: n, Told: n, Complete: true}) {
		t.Errorf("%+v", result)
	}
	for topic, messages := range box.told {
		if len(messages) != 1 {
			t.Errorf("%s got %d messages", topic, len(messages))
		}
	}
	scans := 0
	for _, call := range w.sim.Calls() {
		if call == "dynamodb:Scan" {
			scans++
		}
	}
	if len(box.told) != n || scans < 3 {
		t.Errorf("%d devices were told, %d pages", len(box.told), scans)
	}
}

// A run whose time is up saves where it is, and the next one goes on from there and
// comes round.
func TestMonitorCursor(t *testing.T) {
	const n = 150
	w, m, box := newMonitor(t)
	w.fill(n, 20<<10) // some 50 in a page
	m.StopBefore = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	for runs := 0; len(box.told) < n; runs++ {
		result, err := m.Handle(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if result.Told == 0 || result.Complete || w.item(tableName, cursorKey) == "" || runs > 5 {
			t.Fatalf("run %d: %+v, cursor %q", runs, result, w.item(tableName, cursorKey))
		}
	}
	if box.count() != n {
		t.Errorf("%d messages to %d devices", box.count(), n)
	}
	m.StopBefore = 0
	// With time enough, a run that begins in the middle sees the whole table, once.
	w.put(Item{keyName: text(cursorKey), "thing": text("press-0070"), "at": number(1)})
	w.now = now.Add(24 * time.Hour)
	if result := w.run(m); result != (MonitorResult{Devices: n, Due: n, Told: n, Complete: true}) || w.item(tableName, cursorKey) != "" {
		t.Errorf("%+v, cursor %q", result, w.item(tableName, cursorKey))
	}
}

// Runs at the same time tell each device once.
func TestMonitorRace(t *testing.T) {
	const n = 100
	w, m, box := newMonitor(t)
	w.fill(n, 0)
	var wg sync.WaitGroup
	told := make([]int, 3)
	for i := range told {
		wg.Go(func() {
			result, err := m.Handle(context.Background())
			if err != nil {
				t.Error(err)
			}
			told[i] = result.Told
		})
	}
	wg.Wait()
	if box.count() != n || len(box.told) != n || told[0]+told[1]+told[2] != n {
		t.Errorf("%d messages to %d devices, %v", box.count(), len(box.told), told)
	}
}

// Its time up in the middle of a page, a run fails instead of passing for done.
func TestMonitorTooLate(t *testing.T) {
	w, m, _ := newMonitor(t)
	w.fill(3, 0)
	ctx, cancel := context.WithCancel(t.Context())
	m.Publisher = cutting{cancel}
	if result, err := m.Handle(ctx); err == nil || result.Complete {
		t.Errorf("%+v, %v", result, err)
	}
}

// cutting ends the run when the first device is told.
type cutting struct{ cancel func() }

func (c cutting) Publish(ctx context.Context, _ *iotdataplane.PublishInput, _ ...func(*iotdataplane.Options)) (*iotdataplane.PublishOutput, error) {
	c.cancel()
	return nil, context.Cause(ctx)
}
