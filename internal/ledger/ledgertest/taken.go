package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// with makes an intent take an approval.
func with(e ledger.Enrollment) func(*ledger.Intent) {
	return func(i *ledger.Intent) { i.Enrollment = e.ID }
}

// both is an intent that takes an approval, a secret and a unit of wo-1, and
// what checks whether it has: the serial number, or none.
func (b *bench) both() (intent func() ledger.Intent, holds func(ledger.Serial)) {
	b.t.Helper()
	b.order("wo-1", 1)
	b.putSecret("dev-1", "s1")
	e := b.approvedFor("dev-1", "k1")
	intent = func() ledger.Intent {
		return b.intent("dev-1", "k1", with(e), spending("s1"), under("wo-1"))
	}
	return intent, func(serial ledger.Serial) {
		b.t.Helper()
		state, taken := ledger.EnrollmentApproved, 0
		if serial != "" {
			state, taken = ledger.EnrollmentIssued, 1
		}
		b.equal("approval", b.entry(e.ID, state).Serial, serial)
		b.usedFor("dev-1", serial)
		b.taken("wo-1", taken)
	}
}

var takenChecks = []check{
	{"an intent takes its approval and its secret once", func(t *testing.T, b *bench) {
		intent, holds := b.both()
		i := intent()
		b.ok(b.begin(i))
		holds(i.Serial)
		b.want(b.begin(intent()), ledger.ErrInFlight)
		b.ok(b.finish(Signed(i, b.now)))
		holds(i.Serial)
		var prior *ledger.PriorError
		if err := b.begin(intent()); !errors.As(err, &prior) || prior.Certificate.Serial != i.Serial {
			t.Fatalf("repeated: %v", err)
		}
		holds(i.Serial)
		b.now = b.now.Add(11 * time.Minute) // the window is over
		e, err := b.FindEnrollment(b.ctx, i.Key, i.Subject, b.now)
		b.ok(err)
		b.refusedByEnrollment(b.begin(b.intent("dev-1", "k1", with(e))), e.ID, "issued")
		b.refusedBySecret(b.begin(b.intent("dev-1", "k1", spending("s1"))), "dev-1", "used")
		_, err = b.DecideEnrollment(b.ctx, e.ID, false, "anna", "", b.now, b.now.Add(time.Hour))
		b.refusedByEnrollment(err, e.ID, "issued")
		if again := b.queue("dev-1", "k1"); again.ID == e.ID || again.State != ledger.EnrollmentPending {
			t.Errorf("queued again as %+v", again)
		}
	}},
	{"an approval says why it is none", func(t *testing.T, b *bench) {
		b.ok(b.Extend(b.ctx, b.epoch, b.now, 2*time.Hour))
		refused := func(i ledger.Intent, why string) {
			t.Helper()
			b.refusedByEnrollment(b.begin(i), i.Enrollment, why)
		}
		refused(b.intent("dev-1", "k1", func(i *ledger.Intent) { i.Enrollment = "none" }), "unknown")
		e := b.queue("dev-1", "k1")
		refused(b.intent("dev-1", "k1", with(e)), "pending")
		b.decide(e.ID, false)
		refused(b.intent("dev-1", "k1", with(e)), "rejected")
		e = b.decide(e.ID, true)
		refused(b.intent("dev-1", "k2", with(e)), "unknown")
		refused(b.intent("dev-2", "k1", with(e)), "unknown")
		refused(b.intent("dev-1", "k1", with(e), func(i *ledger.Intent) { i.Profile = "sensor" }), "unknown")
		refused(b.intent("dev-1", "k1", with(e), func(i *ledger.Intent) { i.Purpose = ledger.ForGateway }), "unknown")
		refused(b.intent("", "k1", with(e), func(i *ledger.Intent) { i.Purpose = ledger.ForServer }), "unknown")
		refused(b.intent("dev-1", "k1", with(e), func(i *ledger.Intent) { i.At = e.ExpiresAt }), "expired")
		b.entry(e.ID, ledger.EnrollmentApproved)
		b.issue(b.intent("dev-1", "k1", with(e), func(i *ledger.Intent) { i.At = e.ExpiresAt.Add(-time.Microsecond) }))
	}},
	{"a request without a device can be approved", func(t *testing.T, b *bench) {
		server := func(i *ledger.Intent) { i.Purpose, i.Device = ledger.ForServer, "" }
		e := b.approvedFor("", "k1")
		b.issue(b.intent("", "k1", server, with(e)))
		b.entry(e.ID, ledger.EnrollmentIssued)
	}},
	{"a secret says why it is worth nothing", func(t *testing.T, b *bench) {
		b.ok(b.Extend(b.ctx, b.epoch, b.now, 2*time.Hour))
		refused := func(i ledger.Intent, why string) {
			t.Helper()
			b.refusedBySecret(b.begin(i), i.Device, why)
		}
		refused(b.intent("dev-1", "k1", spending("s1")), "unknown")
		d := b.putSecret("dev-1", "s1")
		refused(b.intent("dev-1", "k1", spending("s2")), "unknown")
		refused(b.intent("dev-2", "k1", spending("s1")), "unknown")
		refused(b.intent("dev-1", "k1", spending("s1"), func(i *ledger.Intent) { i.At = d.ExpiresAt }), "expired")
		b.usedFor("dev-1", "")
		serial := b.issue(b.intent("dev-1", "k1", spending("s1"), func(i *ledger.Intent) { i.At = d.ExpiresAt.Add(-time.Microsecond) }))
		b.usedFor("dev-1", serial)
		// Who has a used secret learns nothing of the device.
		refused(b.intent("dev-1", "k2", spending("s1")), "used")
		b.hold("dev-1", ledger.Held)
		refused(b.intent("dev-1", "k2", spending("s1")), "used")
		if _, err := b.Begin(b.ctx, []ledger.Intent{b.intent("", "k3", spending("s1"), func(i *ledger.Intent) { i.Purpose = ledger.ForServer })}); err == nil {
			t.Error("a server has taken the secret of a device")
		}
	}},
	{"an approval of a second key is one", func(t *testing.T, b *bench) {
		b.issue(b.intent("dev-1", "k1"))
		refused := func(i ledger.Intent) {
			t.Helper()
			var clone *ledger.CloneError
			if err := b.begin(i); !errors.As(err, &clone) {
				t.Fatalf("second key: %v", err)
			}
		}
		knew := b.approvedFor("dev-1", "k2") // with Other
		refused(b.intent("dev-1", "k2"))
		b.issue(b.intent("dev-1", "k2", with(knew)))
		said := b.approvedFor("dev-2", "k3", func(e *ledger.Enrollment) { e.Cause = "second-key" })
		blind := b.approvedFor("dev-2", "k4")
		b.issue(b.intent("dev-2", "k5"))
		b.issue(b.intent("dev-2", "k3", with(said)))
		refused(b.intent("dev-2", "k4", with(blind)))
		b.entry(blind.ID, ledger.EnrollmentApproved)
		b.ok(b.begin(b.intent("dev-2", "k4", with(blind), sameDeviceKey)))
	}},
	{"a refused intent takes nothing", func(t *testing.T, b *bench) {
		intent, holds := b.both()
		refuse := func(what string, i ledger.Intent) {
			t.Helper()
			if b.begin(i) == nil {
				t.Fatalf("%s: begun", what)
			}
			holds("")
		}
		serial := b.issue(b.intent("dev-9", "k9"))
		change := func(f func(*ledger.Intent)) ledger.Intent {
			i := intent()
			f(&i)
			return i
		}
		refuse("serial number", change(func(i *ledger.Intent) { i.Serial = serial }))
		refuse("key of another device", change(func(i *ledger.Intent) { i.Key = Key("k9") }))
		refuse("order", change(func(i *ledger.Intent) { i.Order = "wo-2" }))
		refuse("secret", change(func(i *ledger.Intent) { i.Secret = Key("s2") }))
		refuse("approval", change(func(i *ledger.Intent) { i.Enrollment = "none" }))
		refuse("list", change(fromList))
		b.order("wo-3", 1)
		b.issue(b.intent("dev-8", "k8", under("wo-3")))
		refuse("quota", change(under("wo-3")))
		b.issue(b.intent("dev-1", "other"))
		refuse("clone", intent())
	}},
	{"a void intent gives back what it took, once", func(t *testing.T, b *bench) {
		intent, holds := b.both()
		i := intent()
		b.ok(b.begin(i))
		for range 2 {
			b.ok(b.Void(b.ctx, i.Serial, b.now))
			holds("")
		}
		j := intent()
		b.ok(b.begin(j))
		b.ok(b.Void(b.ctx, i.Serial, b.now)) // the first again takes nothing from the second
		holds(j.Serial)
		b.ok(b.finish(Signed(j, b.now)))
		holds(j.Serial)
	}},
	{"whatever voids gives back", func(t *testing.T, b *bench) {
		intent, holds := b.both()
		b.listed("i1", rows("dev-1")...) // only a known device can be held
		asks := b.issue(b.intent("dev-7", "k7"))
		for _, c := range []struct {
			name string
			void func()
			undo func()
		}{
			{"a device that is held", func() { b.hold("dev-1", ledger.Held) }, func() { b.hold("dev-1", ledger.Expected) }},
			{"a lapsed epoch", func() {
				epoch, err := b.Join(b.ctx, "alpha", b.now, time.Hour)
				b.ok(err)
				b.epoch = epoch
				_, err = b.VoidLapsed(b.ctx, b.now)
				b.ok(err)
			}, nil},
			{"a revoked requester", func() {
				_, err := b.Revoke(b.ctx, ledger.Selector{Serial: asks}, ledger.KeyCompromise, "officer", b.now, nil)
				b.ok(err)
			}, nil},
			{"a killed order", func() {
				_, err := b.changeOrder("wo-1", ledger.OrderChange{State: pointer(ledger.OrderKilled)})
				b.ok(err)
			}, nil},
		} {
			i := intent()
			if c.name == "a revoked requester" {
				i.Requester = ledger.Requester{Kind: "ra", Name: string(asks)}
			}
			b.ok(b.begin(i))
			holds(i.Serial)
			c.void()
			b.state(i.Serial, ledger.Voided)
			holds("")
			if c.undo != nil {
				c.undo()
			}
		}
	}},
	{"what a lapsed intent holds is free for whoever meets it", func(t *testing.T, b *bench) {
		intent, holds := b.both()
		lapse := func() {
			t.Helper()
			epoch, err := b.Join(b.ctx, "alpha", b.now, time.Hour)
			b.ok(err)
			b.epoch = epoch
		}
		old := intent()
		b.ok(b.begin(old))
		lapse()
		i := intent()
		i.Repeat = 0 // what the key has is voided all the same
		b.ok(b.begin(i))
		b.state(old.Serial, ledger.Voided)
		holds(i.Serial)
		lapse()
		// The device has thrown its key away meanwhile.
		other := b.intent("dev-1", "k2", spending("s1"), under("wo-1"))
		b.ok(b.begin(other))
		b.state(i.Serial, ledger.Voided)
		b.usedFor("dev-1", other.Serial)
		b.taken("wo-1", 1)
	}},
	{"in flight is not used", func(t *testing.T, b *bench) {
		intent, holds := b.both()
		i := intent()
		b.ok(b.begin(i))
		b.want(b.begin(b.intent("dev-1", "k2", spending("s1"))), ledger.ErrInFlight)
		j := intent()
		j.Repeat, j.Secret = 0, [32]byte{}
		b.want(b.begin(j), ledger.ErrInFlight)
		holds(i.Serial)
	}},
	{"replaced meanwhile, a secret is not given back", func(t *testing.T, b *bench) {
		b.putSecret("dev-1", "s1")
		i := b.intent("dev-1", "k1", spending("s1"))
		b.ok(b.begin(i))
		b.now = b.now.Add(time.Second)
		b.putSecret("dev-1", "s2")
		j := b.intent("dev-1", "k1", spending("s2"), func(i *ledger.Intent) { i.Repeat, i.SecondKey = 0, true })
		b.ok(b.begin(j))
		b.ok(b.Void(b.ctx, i.Serial, b.now))
		b.usedFor("dev-1", j.Serial)
		b.refusedBySecret(b.begin(b.intent("dev-1", "k1", spending("s1"), func(i *ledger.Intent) { i.Repeat = 0 })), "dev-1", "unknown")
	}},
	{"a caller that has left gives back what it took", func(t *testing.T, b *bench) {
		intent, holds := b.both()
		ctx, cancel := context.WithCancel(b.ctx)
		cancel()
		i := intent()
		if results, err := b.Begin(ctx, []ledger.Intent{i}); err == nil {
			b.ok(results[0]) // it was quicker than the cancellation
			holds(i.Serial)
			return
		}
		b.eventually("the intent is void", func() bool {
			c, err := b.Certificate(b.ctx, i.Serial)
			return err == nil && c.State == ledger.Voided
		})
		holds("")
	}},
	{"injected failures take nothing in the end", func(t *testing.T, b *bench) {
		intent, holds := b.both()
		mode := NotPersist
		faulty := &Faulty{Ledger: b.Ledger, Fail: func(string) Mode { return mode }}
		fails := func(i ledger.Intent) {
			t.Helper()
			_, err := faulty.Begin(b.ctx, []ledger.Intent{i})
			b.want(err, ErrInjected)
		}
		fails(intent())
		holds("")
		mode = ButPersist
		i := intent()
		fails(i)
		holds(i.Serial)
		b.ok(b.Void(b.ctx, i.Serial, b.now))
		holds("")
		if _, err := faulty.QueueEnrollment(b.ctx, b.request("dev-2", "k2"), 9); !errors.Is(err, ErrInjected) {
			t.Error(err)
		}
		again := b.queue("dev-2", "k2") // was recorded, and is not another one
		b.equal("waiting", b.listedEnrollments(ledger.EnrollmentQuery{State: ledger.EnrollmentPending}), []string{again.ID})
		b.want(faulty.PutSecrets(b.ctx, []ledger.DeviceSecret{b.secretFor("dev-2", "s2")}), ErrInjected)
		b.usedFor("dev-2", "")
		if _, err := faulty.DecideEnrollment(b.ctx, again.ID, true, "anna", "", b.now, b.now.Add(time.Hour)); !errors.Is(err, ErrInjected) {
			t.Error(err)
		}
		b.entry(again.ID, ledger.EnrollmentApproved)
		b.want(faulty.DropSecret(b.ctx, "dev-2", "anna", b.now), ErrInjected)
		_, err := b.DeviceSecret(b.ctx, "dev-2")
		b.want(err, ledger.ErrNotFound)
		b.want(faulty.PutRollover(b.ctx, ledger.Rollover{Old: "a", New: "b", OldWithNew: []byte("x"), At: b.now}), ErrInjected)
	}},
	{"one of many gets the approval", func(t *testing.T, b *bench) {
		e := b.approvedFor("dev-1", "k1")
		var won, lost atomic.Int32
		together(func(n int) {
			done := b.Announce()
			defer done()
			i := b.intent("dev-1", "k1", with(e), func(i *ledger.Intent) { i.Repeat = 0 })
			results, err := b.Begin(b.ctx, []ledger.Intent{i})
			var refusal *ledger.EnrollmentError
			switch {
			case err != nil:
				t.Error(err)
			case results[0] == nil:
				won.Add(1)
				if results, err := b.Finish(b.ctx, []ledger.Issued{Signed(i, b.now)}); err != nil || results[0] != nil {
					t.Error(results, err)
				}
			case errors.Is(results[0], ledger.ErrInFlight), errors.As(results[0], &refusal) && refusal.Why == "issued":
				lost.Add(1)
			default:
				t.Error(results[0])
			}
		})
		b.equal("won", won.Load(), 1)
		b.equal("lost", lost.Load(), clients-1)
	}},
	{"one of many keys gets the secret", func(t *testing.T, b *bench) {
		b.putSecret("dev-1", "s1")
		var won, lost atomic.Int32
		together(func(n int) {
			done := b.Announce()
			defer done()
			i := b.intent("dev-1", fmt.Sprint("key ", n), spending("s1"), func(i *ledger.Intent) { i.SecondKey = true })
			results, err := b.Begin(b.ctx, []ledger.Intent{i})
			var refusal *ledger.SecretError
			switch {
			case err != nil:
				t.Error(err)
			case results[0] == nil:
				won.Add(1)
				if results, err := b.Finish(b.ctx, []ledger.Issued{Signed(i, b.now)}); err != nil || results[0] != nil {
					t.Error(results, err)
				}
			case errors.Is(results[0], ledger.ErrInFlight), errors.As(results[0], &refusal) && refusal.Why == "used":
				lost.Add(1)
			default:
				t.Error(results[0])
			}
		})
		b.equal("won", won.Load(), 1)
		b.equal("lost", lost.Load(), clients-1)
	}},
	{"one call gives one of its intents the secret", func(t *testing.T, b *bench) {
		b.putSecret("dev-1", "s1")
		second := func(i *ledger.Intent) { i.SecondKey = true }
		results, err := b.Begin(b.ctx, []ledger.Intent{b.intent("dev-1", "k1", spending("s1"), second), b.intent("dev-1", "k2", spending("s1"), second)})
		b.ok(err)
		b.ok(results[0])
		b.want(results[1], ledger.ErrInFlight)
	}},
}
