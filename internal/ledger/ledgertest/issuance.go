package ledgertest

import (
	"context"
	"errors"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

func sameDeviceKey(i *ledger.Intent) { i.Requester.Kind = "certificate" }

var beginChecks = []check{
	{"an intent is recorded with all that is known of it", func(t *testing.T, b *bench) {
		i := b.intent("dev-1", "k1")
		b.ok(b.begin(i))
		got := b.state(i.Serial, ledger.Open)
		b.equal("certificate", got, ledger.Certificate{
			Serial: i.Serial, Issuer: i.Issuer, Profile: i.Profile, Label: i.Label, Purpose: i.Purpose, Device: i.Device, Subject: i.Subject,
			Requester: i.Requester, Key: i.Key, NotBefore: i.NotBefore, NotAfter: i.NotAfter, State: ledger.Open, IntentAt: i.At,
		})
		if got.DER != nil {
			t.Error("an open intent has a certificate")
		}
	}},
	{"no intents, no results", func(t *testing.T, b *bench) {
		results, err := b.Begin(b.ctx, nil)
		if err != nil || len(results) != 0 {
			t.Error(results, err)
		}
	}},
	{"one refusal does not fail the others", func(t *testing.T, b *bench) {
		held := b.issue(b.intent("dev-1", "k1"))
		b.now = b.now.Add(time.Minute)
		batch := []ledger.Intent{b.intent("dev-0", "k0"), b.intent("dev-1", "k1"), b.intent("dev-1", "other"), b.intent("dev-2", "k2")}
		results, err := b.Begin(b.ctx, batch)
		b.ok(err)
		if len(results) != 4 || results[0] != nil || results[3] != nil {
			t.Fatalf("results %v", results)
		}
		var prior *ledger.PriorError
		if !errors.As(results[1], &prior) || prior.Certificate.Serial != held {
			t.Errorf("repeated request: %v", results[1])
		}
		var clone *ledger.CloneError
		if !errors.As(results[2], &clone) || clone.Serial != held || clone.Device != "dev-1" {
			t.Errorf("second key: %v", results[2])
		}
		b.state(batch[0].Serial, ledger.Open)
		b.state(batch[3].Serial, ledger.Open)
		for _, i := range batch[1:3] {
			_, err := b.Certificate(b.ctx, i.Serial)
			b.want(err, ledger.ErrNotFound)
		}
	}},
	{"a serial number is never used twice", func(t *testing.T, b *bench) {
		i := b.intent("dev-1", "k1")
		b.ok(b.begin(i))
		j := b.intent("dev-2", "k2")
		j.Serial = i.Serial
		b.want(b.begin(j), ledger.ErrTaken)
		b.equal("device", b.state(i.Serial, ledger.Open).Device, "dev-1")
	}},
	{"a repeated request gets the same certificate inside the window", func(t *testing.T, b *bench) {
		i := b.intent("dev-1", "k1")
		b.issue(i)
		b.now = b.now.Add(i.Repeat)
		var prior *ledger.PriorError
		if err := b.begin(b.intent("dev-1", "k1")); !errors.As(err, &prior) {
			t.Fatalf("at the end of the window: %v", err)
		}
		want, err := b.Certificate(b.ctx, i.Serial)
		b.ok(err)
		b.equal("prior", prior.Certificate, want)
		b.now = b.now.Add(time.Second)
		b.ok(b.begin(b.intent("dev-1", "k1")))
	}},
	{"a window of zero never repeats", func(t *testing.T, b *bench) {
		b.issue(b.intent("dev-1", "k1"))
		b.ok(b.begin(b.intent("dev-1", "k1", func(i *ledger.Intent) { i.Repeat = 0 })))
		b.ok(b.begin(b.intent("dev-1", "k1", func(i *ledger.Intent) { i.Repeat = 0 })))
	}},
	{"another profile or issuer is another request", func(t *testing.T, b *bench) {
		b.issue(b.intent("dev-1", "k1"))
		b.ok(b.begin(b.intent("dev-1", "k1", func(i *ledger.Intent) { i.Profile = "sensor" })))
		b.ok(b.begin(b.intent("dev-1", "k1", func(i *ledger.Intent) { i.Issuer = "line-b" })))
	}},
	{"a certificate of an authority that is named beside answers", func(t *testing.T, b *bench) {
		serial := b.issue(b.intent("dev-1", "k1"))
		var prior *ledger.PriorError
		if err := b.begin(b.intent("dev-1", "k1", func(i *ledger.Intent) { i.Issuer, i.Issuers = "line-b", []string{"line-x", "line-a"} })); !errors.As(err, &prior) || prior.Certificate.Serial != serial {
			t.Fatalf("repeated at another authority: %v", err)
		}
	}},
	{"a revoked certificate is not given out again", func(t *testing.T, b *bench) {
		serial := b.issue(b.intent("dev-1", "k1"))
		_, err := b.Revoke(b.ctx, ledger.Selector{Serial: serial}, ledger.Superseded, "officer", b.now, nil)
		b.ok(err)
		b.ok(b.begin(b.intent("dev-1", "k1")))
	}},
	{"an expired or early certificate is not given out again", func(t *testing.T, b *bench) {
		b.issue(b.intent("dev-1", "k1", func(i *ledger.Intent) { i.NotAfter = b.now.Add(time.Minute) }))
		b.issue(b.intent("dev-2", "k2", func(i *ledger.Intent) { i.NotBefore = b.now.Add(9 * time.Minute) }))
		b.now = b.now.Add(2 * time.Minute)
		b.ok(b.begin(b.intent("dev-1", "k1")))
		b.ok(b.begin(b.intent("dev-2", "k2")))
	}},
	{"requests without a device are repeated by key", func(t *testing.T, b *bench) {
		server := func(i *ledger.Intent) { i.Purpose, i.Device = ledger.ForServer, "" }
		serial := b.issue(b.intent("", "k1", server))
		var prior *ledger.PriorError
		if err := b.begin(b.intent("", "k1", server)); !errors.As(err, &prior) || prior.Certificate.Serial != serial {
			t.Fatalf("repeated: %v", err)
		}
		b.ok(b.begin(b.intent("", "k2", server)))
		b.ok(b.begin(b.intent("dev-1", "k1")))
	}},
	{"the same request in flight is told so", func(t *testing.T, b *bench) {
		i := b.intent("dev-1", "k1")
		b.ok(b.begin(i))
		b.want(b.begin(b.intent("dev-1", "k1")), ledger.ErrInFlight)
		results, err := b.Begin(b.ctx, []ledger.Intent{b.intent("dev-2", "k2"), b.intent("dev-2", "k2")})
		b.ok(err)
		b.ok(results[0])
		b.want(results[1], ledger.ErrInFlight)
		b.ok(b.Void(b.ctx, i.Serial, b.now))
		b.ok(b.begin(b.intent("dev-1", "k1")))
	}},
	{"a second key by a bootstrap credential is a clone", func(t *testing.T, b *bench) {
		serial := b.issue(b.intent("dev-1", "k1"))
		var clone *ledger.CloneError
		if err := b.begin(b.intent("dev-1", "k2")); !errors.As(err, &clone) || clone.Serial != serial {
			t.Fatalf("second key: %v", err)
		}
	}},
	{"an open intent counts against a clone", func(t *testing.T, b *bench) {
		i := b.intent("dev-1", "k1")
		b.ok(b.begin(i))
		var clone *ledger.CloneError
		if err := b.begin(b.intent("dev-1", "k2")); !errors.As(err, &clone) || clone.Serial != i.Serial {
			t.Fatalf("second key: %v", err)
		}
	}},
	{"an open intent of a lapsed epoch stands in nobody's way", func(t *testing.T, b *bench) {
		b.ok(b.begin(b.intent("dev-1", "k1")))
		b.ok(b.begin(b.intent("dev-2", "k2")))
		epoch, err := b.Join(b.ctx, "alpha", b.now, time.Hour)
		b.ok(err)
		b.epoch = epoch
		b.ok(b.begin(b.intent("dev-1", "k1")))
		b.ok(b.begin(b.intent("dev-2", "other")))
	}},
	{"the device's own certificate may ask for a second key", func(t *testing.T, b *bench) {
		b.issue(b.intent("dev-1", "k1"))
		b.ok(b.begin(b.intent("dev-1", "k2", sameDeviceKey)))
	}},
	{"SecondKey allows a second key", func(t *testing.T, b *bench) {
		b.issue(b.intent("dev-1", "k1"))
		b.ok(b.begin(b.intent("dev-1", "k2", func(i *ledger.Intent) { i.SecondKey = true })))
	}},
	{"an expired or revoked certificate makes no clone", func(t *testing.T, b *bench) {
		b.issue(b.intent("dev-1", "k1", func(i *ledger.Intent) { i.NotAfter = b.now.Add(time.Minute) }))
		serial := b.issue(b.intent("dev-2", "k2"))
		_, err := b.Revoke(b.ctx, ledger.Selector{Serial: serial}, ledger.Superseded, "officer", b.now, nil)
		b.ok(err)
		b.now = b.now.Add(2 * time.Minute)
		b.ok(b.begin(b.intent("dev-1", "k3")))
		b.ok(b.begin(b.intent("dev-2", "k4")))
	}},
	{"a lapsed epoch fails the whole call", func(t *testing.T, b *bench) {
		good := b.intent("dev-1", "k1")
		stale := b.intent("dev-2", "k2", func(i *ledger.Intent) { i.Epoch.Number++ })
		_, err := b.Begin(b.ctx, []ledger.Intent{good, stale})
		b.want(err, ledger.ErrLapsed)
		_, err = b.Certificate(b.ctx, good.Serial)
		b.want(err, ledger.ErrNotFound)
		b.now = b.now.Add(time.Hour)
		_, err = b.Begin(b.ctx, []ledger.Intent{b.intent("dev-3", "k3")})
		b.want(err, ledger.ErrLapsed)
	}},
	{"a caller that has left leaves no open intent behind", func(t *testing.T, b *bench) {
		ctx, cancel := context.WithCancel(b.ctx)
		cancel()
		i := b.intent("dev-1", "k1")
		results, err := b.Begin(ctx, []ledger.Intent{i})
		if err == nil {
			b.ok(results[0]) // it was quicker than the cancellation
			return
		}
		// The write goes on, and is voided since nobody will sign it.
		b.eventually("the intent is written and voided", func() bool {
			c, err := b.Certificate(b.ctx, i.Serial)
			return err == nil && c.State == ledger.Voided
		})
	}},
	{"an announcement ends once", func(t *testing.T, b *bench) {
		done := b.Announce()
		b.issue(b.intent("dev-1", "k1"))
		done()
		b.issue(b.intent("dev-2", "k2"))
	}},
}

var finishChecks = []check{
	{"a certificate is recorded", func(t *testing.T, b *bench) {
		i := b.intent("dev-1", "k1")
		b.ok(b.begin(i))
		b.now = b.now.Add(time.Second)
		b.ok(b.finish(Signed(i, b.now)))
		c := b.state(i.Serial, ledger.Valid)
		b.equal("certificate", string(c.DER), string(Signed(i, b.now).DER))
		b.equal("issued", c.IssuedAt, b.now)
		b.equal("intent", c.IntentAt, i.At)
		if !c.InForce(b.now) {
			t.Error("not in force")
		}
	}},
	{"a voided intent cannot be finished, the others can", func(t *testing.T, b *bench) {
		i, j := b.intent("dev-1", "k1"), b.intent("dev-2", "k2")
		b.ok(b.begin(i))
		b.ok(b.begin(j))
		b.ok(b.Void(b.ctx, i.Serial, b.now))
		results, err := b.Finish(b.ctx, []ledger.Issued{Signed(i, b.now), Signed(j, b.now)})
		b.ok(err)
		b.want(results[0], ledger.ErrVoided)
		b.ok(results[1])
		b.state(i.Serial, ledger.Voided)
		b.state(j.Serial, ledger.Valid)
	}},
	{"what was never begun cannot be finished", func(t *testing.T, b *bench) {
		b.want(b.finish(Signed(b.intent("dev-1", "k1"), b.now)), ledger.ErrVoided)
	}},
	{"other bytes for a recorded serial are refused", func(t *testing.T, b *bench) {
		i := b.intent("dev-1", "k1")
		b.issue(i)
		b.ok(b.finish(Signed(i, b.now))) // the same again is no error
		other := Signed(i, b.now)
		other.DER = []byte("other")
		b.want(b.finish(other), ledger.ErrVoided)
		b.equal("certificate", string(b.state(i.Serial, ledger.Valid).DER), string(Signed(i, b.now).DER))
		d, err := b.Device(b.ctx, "dev-1")
		b.ok(err)
		b.equal("count", d.Certificates, 1)
	}},
	{"the tasks are enqueued with the certificate", func(t *testing.T, b *bench) {
		serial := b.issue(b.intent("dev-1", "k1"), ledger.Task{Kind: "aws/line-a", Key: "dev-1", Payload: []byte("p")})
		tasks, err := b.Due(b.ctx, "aws/line-a", b.now, 10)
		b.ok(err)
		if len(tasks) != 1 || string(tasks[0].Payload) != "p" || tasks[0].Key != "dev-1" {
			t.Errorf("tasks of %s: %+v", serial, tasks)
		}
	}},
	{"a refused certificate enqueues nothing", func(t *testing.T, b *bench) {
		b.want(b.finish(Signed(b.intent("dev-1", "k1"), b.now, ledger.Task{Kind: "aws", Key: "x"})), ledger.ErrVoided)
		backlog, err := b.Backlog(b.ctx)
		b.ok(err)
		b.equal("backlog", backlog["aws"], 0)
	}},
	{"devices show their certificates", func(t *testing.T, b *bench) {
		first := b.now
		b.issue(b.intent("dev-1", "k1"))
		b.now = b.now.Add(time.Hour / 2)
		second := b.issue(b.intent("dev-1", "k2", sameDeviceKey))
		d, err := b.Device(b.ctx, "dev-1")
		b.ok(err)
		b.equal("device", d, ledger.Device{ID: "dev-1", State: ledger.Enrolled, FirstSeen: first, LastIssued: b.now, Certificates: 2, Current: second})
	}},
	{"only devices are inventory", func(t *testing.T, b *bench) {
		b.issue(b.intent("", "k1", func(i *ledger.Intent) { i.Purpose = ledger.ForServer }))
		devices, err := b.Devices(b.ctx, ledger.DeviceQuery{Limit: 10})
		b.ok(err)
		b.equal("devices", len(devices), 0)
	}},
}

var epochChecks = []check{
	{"joining again lapses the server's earlier epoch", func(t *testing.T, b *bench) {
		next, err := b.Join(b.ctx, "alpha", b.now, time.Hour)
		b.ok(err)
		if next.Number <= b.epoch.Number || next.Server != "alpha" {
			t.Errorf("epoch %v after %v", next, b.epoch)
		}
		_, err = b.Begin(b.ctx, []ledger.Intent{b.intent("dev-1", "k1")})
		b.want(err, ledger.ErrLapsed)
		b.want(b.Extend(b.ctx, b.epoch, b.now, time.Hour), ledger.ErrLapsed)
		b.epoch = next
		b.ok(b.begin(b.intent("dev-1", "k1")))
	}},
	{"servers have epochs of their own", func(t *testing.T, b *bench) {
		_, err := b.Join(b.ctx, "beta", b.now, time.Hour)
		b.ok(err)
		b.ok(b.begin(b.intent("dev-1", "k1")))
	}},
	{"an extended epoch stays in force", func(t *testing.T, b *bench) {
		b.now = b.now.Add(50 * time.Minute)
		b.ok(b.Extend(b.ctx, b.epoch, b.now, time.Hour))
		b.now = b.now.Add(50 * time.Minute)
		b.ok(b.begin(b.intent("dev-1", "k1")))
	}},
	{"an epoch that has lapsed cannot be extended", func(t *testing.T, b *bench) {
		b.now = b.now.Add(time.Hour)
		b.want(b.Extend(b.ctx, b.epoch, b.now, time.Hour), ledger.ErrLapsed)
	}},
	{"voiding twice is no error", func(t *testing.T, b *bench) {
		i := b.intent("dev-1", "k1")
		b.ok(b.begin(i))
		b.ok(b.Void(b.ctx, i.Serial, b.now))
		b.ok(b.Void(b.ctx, i.Serial, b.now.Add(time.Minute)))
		b.equal("voided", b.state(i.Serial, ledger.Voided).RevokedAt, b.now)
	}},
	{"what is unknown or recorded cannot be voided", func(t *testing.T, b *bench) {
		b.want(b.Void(b.ctx, NewSerial(b.now), b.now), ledger.ErrNotFound)
		serial := b.issue(b.intent("dev-1", "k1"))
		if err := b.Void(b.ctx, serial, b.now); err == nil {
			t.Error("voided a certificate that may have left")
		}
		b.state(serial, ledger.Valid)
	}},
	{"intents of lapsed epochs are voided, no others", func(t *testing.T, b *bench) {
		lapsed, finished := b.intent("dev-1", "k1"), b.intent("dev-2", "k2")
		b.ok(b.begin(lapsed))
		b.issue(finished)
		other, err := b.Join(b.ctx, "beta", b.now, time.Hour)
		b.ok(err)
		current := b.intent("dev-3", "k3", func(i *ledger.Intent) { i.Epoch = other })
		b.ok(b.begin(current))
		if n, err := b.VoidLapsed(b.ctx, b.now); n != 0 || err != nil {
			t.Fatalf("while in force: %d, %v", n, err)
		}
		b.epoch, err = b.Join(b.ctx, "alpha", b.now, time.Hour)
		b.ok(err)
		if n, err := b.VoidLapsed(b.ctx, b.now); n != 1 || err != nil {
			t.Fatalf("after joining again: %d, %v", n, err)
		}
		b.state(lapsed.Serial, ledger.Voided)
		b.state(finished.Serial, ledger.Valid)
		b.state(current.Serial, ledger.Open)
		b.want(b.finish(Signed(lapsed, b.now)), ledger.ErrVoided)
		if n, err := b.VoidLapsed(b.ctx, b.now.Add(time.Hour)); n != 1 || err != nil {
			t.Fatalf("after the time of all: %d, %v", n, err)
		}
		b.state(current.Serial, ledger.Voided)
	}},
}
