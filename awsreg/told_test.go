package awsreg_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// One device that can never be registered: everything else is told, and the
// answer says that only AWS IoT is outstanding.
func TestToldWithoutRegistration(t *testing.T) {
	w, target := fleetWorld(t)
	api := w.iot(first)
	must(api.CreateThingType(t.Context(), &iot.CreateThingTypeInput{ThingTypeName: aws.String("other"), ThingTypeProperties: &types.ThingTypeProperties{}}))(t)
	must(api.CreateThing(t.Context(), &iot.CreateThingInput{ThingName: aws.String("SN-9"), ThingTypeName: aws.String("other")}))(t)
	never, after, lone := w.issue("press", "SN-9"), w.issue("press", "SN-1"), w.issue("lone", "SN-2")
	for _, err := range w.registrar(first).Deliver(t.Context(), target, w.tasks(target, never)) {
		if err == nil || !awsreg.Told(err) {
			t.Errorf("delivered: %v", err)
		}
	}
	if w.item(manifestTable, idOf(never)) == nil || textOf(w.item(rotationTable, "SN-9"), "current") != idOf(never) {
		t.Error("it is not in the tables")
	}
	w.order("wo-1")
	_, err := w.registrar(first).TellAll(t.Context(), target)
	if err == nil || !awsreg.Told(err) {
		t.Errorf("told all: %v", err)
	}
	w.want("told all the same", active, after, lone)
	if w.item(manifestTable, "order#wo-1") == nil {
		t.Error("the order was not told")
	}

	// A revocation that AWS IoT does not take: its mark is there.
	w.ok(w.revoke(t.Context(), []ledger.Serial{after.Serial}))
	w.sim.Inject(awssim.Fault{Operation: "UpdateCertificate", Code: "UnauthorizedException", Status: 401})
	err = w.registrar(first).Deliver(t.Context(), target, w.tasks(target, after))[0]
	if err == nil || !awsreg.Told(err) || w.item(manifestTable, "revoked#"+idOf(after)) == nil {
		t.Errorf("a revocation: %v", err)
	}

	// A thing that another device has, through the prefix of its fleet.
	w.put(rotationTable, hook.Rotating{Thing: "pump-SN-3", Device: "SN-3", Current: strings.Repeat("ab", 32), IssuedAt: time.Now()}.Item())
	err = w.registrar(first).Deliver(t.Context(), target, w.tasks(target, w.issue("press", "pump-SN-3")))[0]
	if err == nil || !awsreg.Told(err) {
		t.Errorf("a thing of another device: %v", err)
	}

	// What the table does not have is not told, whatever else failed.
	w.sim.Inject(awssim.Fault{Operation: "dynamodb:BatchWriteItem", Code: "AccessDeniedException"})
	err = w.registrar(first).Deliver(t.Context(), target, w.tasks(target, never))[0]
	if err == nil || awsreg.Told(err) {
		t.Errorf("without the table: %v", err)
	}
	w.sim.Inject(awssim.Fault{Operation: "dynamodb:BatchWriteItem", Code: "AccessDeniedException"})
	if _, err = w.registrar(first).TellAll(t.Context(), target); err == nil || awsreg.Told(err) {
		t.Errorf("told all without the table: %v", err)
	}
}

// A device that a newer list moves to an order which is not for the target is
// expected there no longer.
func TestMovedDevice(t *testing.T) {
	w, target := fleetWorld(t)
	w.order("wo-1", func(o *ledger.Order) { o.Listed = true })
	w.order("wo-est", func(o *ledger.Order) { o.Label = "line" })
	w.list("import-1", "wo-1", "SN-1", "SN-2")
	w.tellOrder(target, "wo-1")
	w.update("import-2", "wo-est", "SN-1")
	w.deliver(target, awsreg.TasksForImport([]awsreg.Target{target}, "import-2"))
	if item := w.item(manifestTable, "expected#SN-1"); item != nil {
		t.Errorf("the moved device is still expected: %v", item)
	}
	if w.item(manifestTable, "expected#SN-2") == nil {
		t.Error("another one is not expected any more")
	}
	w.update("import-3", "wo-1", "SN-1")
	w.deliver(target, awsreg.TasksForImport([]awsreg.Target{target}, "import-3"))
	w.deliver(target, awsreg.TasksForImport([]awsreg.Target{target}, "import-2")) // late
	if w.item(manifestTable, "expected#SN-1") == nil {
		t.Error("moved back, it is not expected")
	}
}

// Where the table takes nothing, TellAll ends after some batches, and its error has
// a bound.
func TestTellAllInVain(t *testing.T) {
	w, target := fleetWorld(t)
	target.CAs = target.CAs[:1]
	key := newKey(t)
	var records []ledger.Certificate
	for i := range 4 * awsreg.BatchSize {
		records = append(records, w.issuers["line"].deviceWith(t, fmt.Sprintf("d-%04d", i), key))
	}
	w.record(records...)
	var writes atomic.Int32
	client := w.http.client
	w.http.client = doer(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), "BatchWriteItem") {
			writes.Add(1)
			return nil, errors.New("cut")
		}
		return client.Do(r)
	})
	n, err := w.registrar(first).TellAll(t.Context(), target)
	if err == nil || awsreg.Told(err) || n != 0 || len(err.Error()) > 10_000 || !strings.Contains(err.Error(), "more") {
		t.Errorf("told %d: %v", n, err)
	}
	// 25 items a call, three batches, and one call for the templates.
	if got := int(writes.Load()); got != 1+3*awsreg.BatchSize/25 {
		t.Errorf("%d writes", got)
	}
}
