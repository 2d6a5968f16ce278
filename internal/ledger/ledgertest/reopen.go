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
	} {
		t.Run(c.name, func(t *testing.T) {
			l, reopen := open(t)
			b := newBench(t, l)
			c.run(t, b, func() { b.Ledger = reopen() })
		})
	}
}
