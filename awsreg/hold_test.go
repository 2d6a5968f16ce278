package awsreg_test

import (
	"encoding/pem"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"mintmark/awsreg"
	"mintmark/awsreg/hook"
	"mintmark/internal/ledger"
)

// Holding and releasing a device does not undo the sweep of its CA.
func TestReleaseUnderSweptCA(t *testing.T) {
	for sweep, want := range map[string]string{awsreg.SweepKeep: "ACTIVE", awsreg.SweepDeactivate: "INACTIVE"} {
		t.Run(sweep, func(t *testing.T) {
			w := newWorld(t)
			w.ledger()
			before := w.retiring(awsreg.StateActive, awsreg.SweepKeep)
			w.apply(before)
			cert, _, c := w.issuers["line"].device(t, "pump-1")
			w.record(c)
			w.registerOne(w.issuers["line"], cert, on)
			retired := w.retiring(awsreg.StateInactive, sweep)
			w.apply(retired)
			w.holdDevice("pump-1", ledger.Held)
			w.tellDevice(retired, "pump-1")
			w.want("held", inactive, c)
			w.holdDevice("pump-1", ledger.Expected)
			w.tellDevice(retired, "pump-1")
			if got := string(w.statusOf(idOf(c))); got != want {
				t.Errorf("released: %s, not %s", got, want)
			}
		})
	}
}

// A device that is held while AWS is putting its certificate in service: the hold
// comes again until that is over, and stands in nobody's way.
func TestHoldWhileSettling(t *testing.T) {
	for _, next := range []bool{false, true} {
		w, target := fleetWorld(t)
		now := time.Now()
		w.now = func() time.Time { return now }
		r := w.registrar(first)
		api := w.iot(first)
		csr := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request(t, "SN-1")}))
		out := must(api.CreateCertificateFromCsr(t.Context(), &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: aws.String(csr)}))(t)
		id := *out.CertificateId
		w.order("wo-1")
		w.list("import-1", "wo-1", "SN-1")
		item := hook.Rotating{Thing: "pump-SN-1", Device: "SN-1", Current: id, IssuedAt: now}
		if next {
			item.Current, item.Next, item.NextAt = idOf(w.issue("line", "SN-1")), id, now
		} else {
			w.put(manifestTable, hook.Taken{Device: "SN-1", CertificateID: id, Order: "wo-1", Claim: id, At: now}.Item())
		}
		w.put(rotationTable, item.Item())
		w.put(manifestTable, hook.Admitted{CertificateID: id, Thing: "pump-SN-1", Device: "SN-1", Template: "pumps", At: now}.Item())

		w.holdDevice("SN-1", ledger.Held)
		tasks := awsreg.TasksForDevice([]awsreg.Target{target}, "SN-1")
		err := r.Deliver(t.Context(), target, tasks)[0]
		if !errors.Is(err, awsreg.ErrTold) || !awsreg.Told(err) {
			t.Fatalf("held while AWS is at work: %v", err)
		}
		if w.item(manifestTable, "held#pump-SN-1") == nil {
			t.Fatal("the mark is not there")
		}
		// AWS comes to an end: attached only now, and ACTIVE.
		w.setStatus(id, active)
		w.ok(r.Deliver(t.Context(), target, tasks)[0])
		if got := w.statusOf(id); got != inactive {
			t.Errorf("next %v: the held device's certificate is %s", next, got)
		}
		// Nothing is waited for that was settled long ago.
		now = now.Add(time.Minute)
		w.ok(r.Deliver(t.Context(), target, tasks)[0])
	}
}
