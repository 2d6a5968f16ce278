package ledgertest

import (
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// RunReopen checks what outlives the server. open returns an empty ledger and
// a function that closes it and opens it again, as a restart does.
func RunReopen(t *testing.T, open func(t testing.TB) (l ledger.Ledger, reopen func() ledger.Ledger)) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, b *bench, reopen func())
	}{
		{"certificates, devices and tasks", func(t *testing.T, b *bench, reopen func()) {
			serial := b.issue(b.intent("dev-1", "k1"), ledger.Task{Kind: "aws", Key: "x", Payload: []byte("p")})
			certificate := b.state(serial, ledger.Valid)
			device, err := b.Device(b.ctx, "dev-1")
			b.ok(err)
			reopen()
			b.equal("certificate", b.state(serial, ledger.Valid), certificate)
			got, err := b.Device(b.ctx, "dev-1")
			b.ok(err)
			b.equal("device", got, device)
			tasks, err := b.Due(b.ctx, "aws", b.now, 10)
			b.ok(err)
			b.equal("tasks", len(tasks), 1)
		}},
		{"open intents are voided when the server joins again", func(t *testing.T, b *bench, reopen func()) {
			i := b.intent("dev-1", "k1")
			b.ok(b.begin(i))
			reopen()
			b.state(i.Serial, ledger.Open)
			epoch, err := b.Join(b.ctx, "alpha", b.now, time.Hour)
			b.ok(err)
			if epoch.Number <= b.epoch.Number {
				t.Errorf("epoch %d after %d", epoch.Number, b.epoch.Number)
			}
			n, err := b.VoidLapsed(b.ctx, b.now)
			b.ok(err)
			b.equal("voided", n, 1)
			b.want(b.finish(Signed(i, b.now)), ledger.ErrVoided)
		}},
		{"CRL numbers, leases and authorities", func(t *testing.T, b *bench, reopen func()) {
			fence := b.fence("crl")
			n := b.crlNow(fence, "line-a").Number
			b.ok(b.PutAuthority(b.ctx, ledger.Authority{Name: "root", CreatedAt: b.now}))
			reopen()
			if next := b.crlNow(fence, "line-a").Number; next <= n {
				t.Errorf("number %d after %d", next, n)
			}
			_, err := b.Acquire(b.ctx, "crl", "beta", b.now, time.Hour)
			b.want(err, ledger.ErrBusy)
			all, err := b.Authorities(b.ctx)
			b.ok(err)
			b.equal("authorities", len(all), 1)
		}},
		{"orders, lists, refusals, people and approvals", func(t *testing.T, b *bench, reopen func()) {
			b.order("wo-1", 2)
			b.issue(b.intent("dev-1", "k1", under("wo-1")))
			b.ok(b.begin(b.intent("dev-2", "k2", under("wo-1"))))
			b.listed("i1", rows("dev-1", "dev-3")...)
			b.openImport("i2", false, rows("dev-4")...)
			b.hold("dev-3", ledger.Held)
			b.ok(b.Refuse(b.ctx, []ledger.Refused{{At: b.now, Rule: "rule", Device: "dev-9"}}, 10))
			b.ok(b.PutPrincipal(b.ctx, ledger.Principal{Name: "alice", AddedAt: b.now}, b.now))
			b.proposal("a1")
			all := func() []any {
				order, err := b.Order(b.ctx, "wo-1")
				b.ok(err)
				devices, err := b.Devices(b.ctx, ledger.DeviceQuery{})
				b.ok(err)
				imports, err := b.OpenImports(b.ctx)
				b.ok(err)
				refusals, err := b.Refusals(b.ctx, ledger.RefusalQuery{})
				b.ok(err)
				people, err := b.Principals(b.ctx)
				b.ok(err)
				approvals, err := b.Approvals(b.ctx, "", 10)
				b.ok(err)
				return []any{order, devices, imports, refusals, people, approvals}
			}
			before := all()
			reopen()
			b.equal("after reopening", all(), before)
			b.taken("wo-1", 2)
			epoch, err := b.Join(b.ctx, "alpha", b.now, time.Hour)
			b.ok(err)
			b.epoch = epoch
			_, err = b.VoidLapsed(b.ctx, b.now)
			b.ok(err)
			b.taken("wo-1", 1)
			_, err = b.CommitImport(b.ctx, "i2", b.now)
			b.ok(err)
			b.equal("devices", b.found(ledger.DeviceQuery{}), []string{"dev-1", "dev-3", "dev-4"})
		}},
		{"approvals, secrets, what is taken of them, and rollovers", func(t *testing.T, b *bench, reopen func()) {
			b.queue("dev-9", "k9")
			intent, holds := b.both()
			i := intent()
			b.ok(b.begin(i))
			b.ok(b.PutRollover(b.ctx, ledger.Rollover{Old: "a", New: "b", OldWithNew: []byte("x"), At: b.now}))
			all := func() []any {
				entries, err := b.Enrollments(b.ctx, ledger.EnrollmentQuery{})
				b.ok(err)
				secret, err := b.DeviceSecret(b.ctx, "dev-1")
				b.ok(err)
				rollovers, err := b.Rollovers(b.ctx)
				b.ok(err)
				return []any{entries, secret, rollovers}
			}
			before := all()
			reopen()
			b.equal("after reopening", all(), before)
			holds(i.Serial)
			epoch, err := b.Join(b.ctx, "alpha", b.now, time.Hour)
			b.ok(err)
			b.epoch = epoch
			_, err = b.VoidLapsed(b.ctx, b.now)
			b.ok(err)
			holds("")
			serial := b.issue(intent())
			reopen()
			holds(serial)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, reopen := open(t)
			b := newBench(t, l)
			c.run(t, b, func() { b.Ledger = reopen() })
		})
	}
}
