package ledgertest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

var revocationChecks = []check{
	{"a revoked certificate says when, why and by whom", func(t *testing.T, b *bench) {
		serial := b.issue(b.intent("dev-1", "k1"))
		b.now = b.now.Add(time.Minute)
		changed, err := b.Revoke(b.ctx, ledger.Selector{Serial: serial}, ledger.KeyCompromise, "officer", b.now, nil)
		b.ok(err)
		b.equal("changed", changed, []ledger.Serial{serial})
		c := b.state(serial, ledger.Revoked)
		if c.Reason != ledger.KeyCompromise || c.RevokedBy != "officer" || !c.RevokedAt.Equal(b.now) || len(c.DER) == 0 {
			t.Errorf("%+v", c)
		}
	}},
	{"a revoked one is left alone", func(t *testing.T, b *bench) {
		serial := b.issue(b.intent("dev-1", "k1"))
		_, err := b.Revoke(b.ctx, ledger.Selector{Serial: serial}, ledger.KeyCompromise, "officer", b.now, nil)
		b.ok(err)
		changed, err := b.Revoke(b.ctx, ledger.Selector{Serial: serial}, ledger.Superseded, "other", b.now.Add(time.Hour), nil)
		b.ok(err)
		b.equal("changed", len(changed), 0)
		b.equal("reason", b.state(serial, ledger.Revoked).Reason, ledger.KeyCompromise)
		changed, err = b.Revoke(b.ctx, ledger.Selector{Device: "dev-1"}, ledger.Superseded, "other", b.now, nil)
		b.ok(err)
		b.equal("changed", len(changed), 0)
	}},
	{"what does not match is not found", func(t *testing.T, b *bench) {
		i := b.intent("dev-1", "k1")
		b.ok(b.begin(i))
		for _, s := range []ledger.Selector{{Serial: NewSerial(b.now)}, {Serial: "zz"}, {Device: "dev-9"}, {Serial: i.Serial}} {
			_, err := b.Revoke(b.ctx, s, ledger.Superseded, "officer", b.now, nil)
			b.want(err, ledger.ErrNotFound)
		}
		b.state(i.Serial, ledger.Open)
	}},
	{"exactly one field selects", func(t *testing.T, b *bench) {
		serial := b.issue(b.intent("dev-1", "k1"))
		for _, s := range []ledger.Selector{{}, {Serial: serial, Device: "dev-1"}, {Device: "dev-1", Order: "wo-1"}, {Serial: serial, Order: "wo-1"}, {Serial: serial, Most: -1}} {
			if _, err := b.Revoke(b.ctx, s, ledger.Superseded, "officer", b.now, nil); err == nil {
				t.Errorf("%+v was accepted", s)
			}
		}
		b.state(serial, ledger.Valid)
	}},
	{"a device's certificates are revoked together, with a task each", func(t *testing.T, b *bench) {
		want := []ledger.Serial{b.issue(b.intent("dev-1", "k1")), b.issue(b.intent("dev-1", "k2", sameDeviceKey))}
		other := b.issue(b.intent("dev-2", "k3"))
		changed, err := b.Revoke(b.ctx, ledger.Selector{Device: "dev-1"}, ledger.CessationOfOperation, "officer", b.now, func(c ledger.Certificate) []ledger.Task {
			if c.State != ledger.Revoked || c.Device != "dev-1" {
				t.Errorf("task for %+v", c)
			}
			return []ledger.Task{{Kind: "aws", Key: string(c.Serial)}}
		})
		b.ok(err)
		slices.Sort(want)
		slices.Sort(changed)
		b.equal("changed", changed, want)
		b.state(other, ledger.Valid)
		tasks, err := b.Due(b.ctx, "aws", b.now, 10)
		b.ok(err)
		b.equal("tasks", len(tasks), 2)
		d, err := b.Device(b.ctx, "dev-1")
		b.ok(err)
		b.equal("current", d.Current, ledger.Serial(""))
		b.equal("count", d.Certificates, 2)
	}},
	{"an order's certificates are revoked together, its claims included", func(t *testing.T, b *bench) {
		b.order("wo-1", 9)
		b.order("wo-2", 9)
		_, err := b.Revoke(b.ctx, ledger.Selector{Order: "wo-1"}, ledger.KeyCompromise, "officer", b.now, nil)
		b.ok(err) // known, and nothing to revoke
		want := []ledger.Serial{b.issue(b.intent("dev-1", "k1", under("wo-1"))), b.issue(b.intent("dev-2", "k2", under("wo-1"))), b.issue(b.intent("", "k3", claim("wo-1")))}
		others := []ledger.Serial{b.issue(b.intent("dev-4", "k4", under("wo-2"))), b.issue(b.intent("dev-5", "k5"))}
		changed, err := b.Revoke(b.ctx, ledger.Selector{Order: "wo-1"}, ledger.KeyCompromise, "officer", b.now, nil)
		b.ok(err)
		slices.Sort(want)
		b.equal("changed", changed, want)
		for _, serial := range others {
			b.state(serial, ledger.Valid)
		}
		_, err = b.Revoke(b.ctx, ledger.Selector{Order: "wo-3"}, ledger.KeyCompromise, "officer", b.now, nil)
		b.want(err, ledger.ErrNotFound)
	}},
	{"no more are revoked than may be", func(t *testing.T, b *bench) {
		b.order("wo-1", 9)
		var serials []ledger.Serial
		for n := range 3 {
			serials = append(serials, b.issue(b.intent("dev-1", fmt.Sprint("k", n), sameDeviceKey, under("wo-1"))))
		}
		for _, s := range []ledger.Selector{{Order: "wo-1", Most: 2}, {Device: "dev-1", Most: 2}} {
			_, err := b.Revoke(b.ctx, s, ledger.Superseded, "officer", b.now, func(ledger.Certificate) []ledger.Task { return []ledger.Task{{Kind: "aws"}} })
			var many *ledger.TooManyError
			if !errors.As(err, &many) || many.Count != 3 || many.Most != 2 {
				t.Errorf("%+v: %v", s, err)
			}
		}
		for _, serial := range serials {
			b.state(serial, ledger.Valid)
		}
		backlog, err := b.Backlog(b.ctx)
		b.ok(err)
		b.equal("tasks", backlog["aws"], 0)
		_, err = b.Revoke(b.ctx, ledger.Selector{Serial: serials[0], Most: 1}, ledger.Superseded, "officer", b.now, nil)
		b.ok(err)
		changed, err := b.Revoke(b.ctx, ledger.Selector{Order: "wo-1", Most: 2}, ledger.Superseded, "officer", b.now, nil) // what is revoked does not count
		b.ok(err)
		b.equal("changed", len(changed), 2)
	}},
	{"the device's current one is the newest valid", func(t *testing.T, b *bench) {
		first := b.issue(b.intent("dev-1", "k1"))
		b.now = b.now.Add(time.Minute)
		second := b.issue(b.intent("dev-1", "k2", sameDeviceKey))
		_, err := b.Revoke(b.ctx, ledger.Selector{Serial: second}, ledger.Superseded, "officer", b.now, nil)
		b.ok(err)
		d, err := b.Device(b.ctx, "dev-1")
		b.ok(err)
		b.equal("current", d.Current, first)
	}},
}

const period = 24 * time.Hour

// crlNow is a CRL of the issuer with all that it must show.
func (b *bench) crlNow(fence ledger.Fence, issuer string) ledger.CRLWork {
	b.t.Helper()
	work, err := b.NextCRL(b.ctx, fence, issuer, 0, b.now, period)
	b.ok(err)
	return work
}

func (b *bench) crl(issuer string, number int64) ledger.CRL {
	return ledger.CRL{Issuer: issuer, Number: number, ThisUpdate: b.now, NextUpdate: b.now.Add(3 * period), DER: []byte("crl")}
}

var crlChecks = []check{
	{"a CRL holds the issuer's revoked and void serials", func(t *testing.T, b *bench) {
		revoked := b.issue(b.intent("dev-1", "k1"))
		b.issue(b.intent("dev-2", "k2"))
		void := b.intent("dev-3", "k3")
		b.ok(b.begin(void))
		foreign := b.issue(b.intent("dev-4", "k4", func(i *ledger.Intent) { i.Issuer = "line-b" }))
		for _, s := range []ledger.Serial{revoked, foreign} {
			_, err := b.Revoke(b.ctx, ledger.Selector{Serial: s}, ledger.KeyCompromise, "officer", b.now, nil)
			b.ok(err)
		}
		b.ok(b.Void(b.ctx, void.Serial, b.now))
		work := b.crlNow(b.fence("crl"), "line-a")
		want := []ledger.CRLEntry{{Serial: revoked, At: b.now, Reason: ledger.KeyCompromise}, {Serial: void.Serial, At: b.now}}
		slices.SortFunc(want, func(a, b ledger.CRLEntry) int {
			if a.Serial < b.Serial {
				return -1
			}
			return 1
		})
		b.equal("entries", work.Entries, want)
	}},
	{"an entry stays one period past the expiry", func(t *testing.T, b *bench) {
		i := b.intent("dev-1", "k1")
		i.NotAfter = b.now.Add(time.Hour)
		serial := b.issue(i)
		_, err := b.Revoke(b.ctx, ledger.Selector{Serial: serial}, ledger.Superseded, "officer", b.now, nil)
		b.ok(err)
		b.now = i.NotAfter.Add(period)
		b.equal("entries at the end", len(b.crlNow(b.fence("crl"), "line-a").Entries), 1)
		b.now = b.now.Add(time.Second)
		b.equal("entries after it", len(b.crlNow(b.fence("crl"), "line-a").Entries), 0)
	}},
	{"numbers only rise and are never below the time", func(t *testing.T, b *bench) {
		fence := b.fence("crl")
		last := int64(0)
		for range 5 {
			n := b.crlNow(fence, "line-a").Number
			if n <= last || n < b.now.Unix() {
				t.Fatalf("number %d after %d", n, last)
			}
			last = n
		}
		b.now = b.now.Add(-30 * time.Minute) // a clock that was set back
		if n := b.crlNow(fence, "line-a").Number; n <= last {
			t.Errorf("number %d after %d", n, last)
		}
	}},
	{"a stored CRL is found again", func(t *testing.T, b *bench) {
		_, err := b.LatestCRL(b.ctx, "line-a", 0)
		b.want(err, ledger.ErrNotFound)
		fence := b.fence("crl")
		work := b.crlNow(fence, "line-a")
		_, err = b.LatestCRL(b.ctx, "line-a", 0)
		b.want(err, ledger.ErrNotFound)
		crl := b.crl("line-a", work.Number)
		b.ok(b.PutCRL(b.ctx, fence, crl))
		got, err := b.LatestCRL(b.ctx, "line-a", 0)
		b.ok(err)
		b.equal("CRL", got, crl)
	}},
	{"an older CRL is refused", func(t *testing.T, b *bench) {
		fence := b.fence("crl")
		n := b.crlNow(fence, "line-a").Number
		b.ok(b.PutCRL(b.ctx, fence, b.crl("line-a", n)))
		b.want(b.PutCRL(b.ctx, fence, b.crl("line-a", n)), ledger.ErrOldCRL)
		b.want(b.PutCRL(b.ctx, fence, b.crl("line-a", n-1)), ledger.ErrOldCRL)
		if next := b.crlNow(fence, "line-a").Number; next <= n {
			t.Errorf("number %d after stored %d", next, n)
		}
	}},
	{"without the lease there is no number and no CRL", func(t *testing.T, b *bench) {
		fence := b.fence("crl")
		n := b.crlNow(fence, "line-a").Number
		b.now = b.now.Add(time.Hour)
		_, err := b.NextCRL(b.ctx, fence, "line-a", 0, b.now, period)
		b.want(err, ledger.ErrLapsed)
		_, err = b.Acquire(b.ctx, "crl", "beta", b.now, time.Hour)
		b.ok(err)
		b.want(b.PutCRL(b.ctx, fence, b.crl("line-a", n)), ledger.ErrLapsed)
		_, err = b.NextCRL(b.ctx, fence, "line-a", 0, b.now, period)
		b.want(err, ledger.ErrLapsed)
		_, err = b.NextCRL(b.ctx, ledger.Fence{}, "line-a", 0, b.now, period)
		b.want(err, ledger.ErrLapsed)
	}},
	{"what the stored CRL does not show is counted", func(t *testing.T, b *bench) {
		count := func(want int) {
			t.Helper()
			counts, err := b.RevocationsSince(b.ctx)
			b.ok(err)
			b.equal("revocations", counts[ledger.CRLName{Issuer: "line-a"}], want)
		}
		revoke := func(device string) {
			b.issue(b.intent(device, device))
			_, err := b.Revoke(b.ctx, ledger.Selector{Device: device}, ledger.Superseded, "officer", b.now, nil)
			b.ok(err)
		}
		count(0)
		revoke("dev-1")
		i := b.intent("dev-2", "k2")
		b.ok(b.begin(i))
		b.ok(b.Void(b.ctx, i.Serial, b.now))
		count(2)
		fence := b.fence("crl")
		work := b.crlNow(fence, "line-a")
		count(2)
		revoke("dev-3") // while the CRL is being signed
		b.ok(b.PutCRL(b.ctx, fence, b.crl("line-a", work.Number)))
		count(1)
		b.ok(b.PutCRL(b.ctx, fence, b.crl("line-a", b.crlNow(fence, "line-a").Number)))
		count(0)
	}},
}
