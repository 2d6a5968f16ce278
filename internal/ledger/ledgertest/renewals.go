package ledgertest

import (
	"fmt"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// lived makes an intent one whose certificate lives for so many days, from now on.
func (b *bench) lived(days int) func(*ledger.Intent) {
	return func(i *ledger.Intent) { i.NotBefore, i.NotAfter = b.now, b.now.Add(time.Duration(days)*day) }
}

var renewalChecks = []check{
	{"the curve counts the newest certificate of each device", func(t *testing.T, b *bench) {
		b.longer(1000 * day)
		b.issue(b.intent("once", "k1", b.lived(100)))  // expected on day 66
		b.issue(b.intent("twice", "k2", b.lived(100))) // renewed below
		b.revoke(ledger.Selector{Serial: b.issue(b.intent("revoked", "k3", b.lived(100)))})
		b.issue(b.intent("gateway", "k4", gateway, b.lived(100)))
		b.issue(b.intent("", "k5", without(ledger.ForServer), b.lived(100)))
		b.now = b.now.Add(60 * day)
		b.issue(b.intent("twice", "k6", sameDeviceKey, b.lived(50))) // expected on day 93, ends on day 110
		buckets, overdue, err := b.RenewalCurve(b.ctx, ledger.RenewalQuery{Now: b.now, Width: 10 * day, Count: 5})
		b.ok(err)
		var got [][2]int
		for n, bucket := range buckets {
			if !bucket.From.Equal(b.now.Add(time.Duration(n)*10*day)) || !bucket.To.Equal(bucket.From.Add(10*day)) {
				t.Errorf("bucket %d: %+v", n, bucket)
			}
			got = append(got, [2]int{bucket.Renew, bucket.Expire})
		}
		b.equal("curve", got, [][2]int{{1, 0}, {0, 0}, {0, 0}, {1, 0}, {0, 1}})
		b.equal("overdue", overdue, ledger.Overdue{Devices: 2})
		buckets, _, err = b.RenewalCurve(b.ctx, ledger.RenewalQuery{Now: b.now, Width: 100 * day, Count: 1, Share: 10})
		b.ok(err)
		b.equal("at a tenth", buckets[0].Renew, 1) // that of the other is over
		for _, q := range []ledger.RenewalQuery{{Count: 1, Width: day}, {Now: b.now, Count: 401, Width: day}, {Now: b.now, Count: 1}, {Now: b.now, Share: 101}, {Now: b.now, Count: -1}} {
			if _, _, err := b.RenewalCurve(b.ctx, q); err == nil {
				t.Errorf("%+v was drawn", q)
			}
		}
	}},
	{"who is late is counted and listed", func(t *testing.T, b *bench) {
		b.longer(2000 * day)
		for name, days := range map[string]int{"fresh": 1000, "at-79": 127, "at-80": 125, "at-89": 112, "at-90": 111, "at-99": 101, "over": 99} {
			b.issue(b.intent(name, "k-"+name, b.lived(days)))
		}
		endless := func(i *ledger.Intent) {
			i.NotBefore, i.NotAfter = b.now, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		}
		b.issue(b.intent("endless", "k-endless", endless))
		b.now = b.now.Add(100 * day)
		_, overdue, err := b.RenewalCurve(b.ctx, ledger.RenewalQuery{Now: b.now})
		b.ok(err)
		b.equal("overdue", overdue, ledger.Overdue{Devices: 8, Past80: 2, Past90: 2, Past100: 1})
		listed := func(percent int, after string, limit int) (all []string) {
			t.Helper()
			found, err := b.OverdueDevices(b.ctx, b.now, percent, after, limit)
			b.ok(err)
			for _, c := range found {
				all = append(all, c.Device)
			}
			return all
		}
		b.equal("past 80", listed(80, "", 0), []string{"at-80", "at-89", "at-90", "at-99", "over"})
		b.equal("past 90", listed(90, "", 0), []string{"at-90", "at-99", "over"})
		b.equal("past 100", listed(100, "", 0), []string{"over"})
		b.equal("a part", listed(80, "at-80", 2), []string{"at-89", "at-90"})
		b.now = b.now.Add(400 * day) // what has expired more than a year ago is gone, not late
		b.equal("long after", listed(100, "", 0), []string{"at-79", "at-80"}[:0])
		b.now = b.now.Add(-20 * day)
		b.equal("not quite so long after", listed(100, "", 0), []string{"at-79", "at-80"})
		for _, percent := range []int{0, 79, 101} {
			if _, err := b.OverdueDevices(b.ctx, b.now, percent, "", 0); err == nil {
				t.Errorf("past %d percent", percent)
			}
		}
	}},
	{"refusals are counted by their rule", func(t *testing.T, b *bench) {
		var all []ledger.Refused
		for n, rule := range []string{"clone", "quota", "quota", "clone", "quota"} {
			all = append(all, ledger.Refused{At: b.now.Add(time.Duration(n) * time.Minute), Rule: rule, Device: fmt.Sprint("dev-", n)})
		}
		b.ok(b.Refuse(b.ctx, all, 100))
		counts, err := b.RefusalsByRule(b.ctx, b.now.Add(time.Minute))
		b.ok(err)
		b.equal("counts", counts, map[string]int{"clone": 1, "quota": 3})
		counts, err = b.RefusalsByRule(b.ctx, b.now.Add(time.Hour))
		b.ok(err)
		b.equal("later", counts, map[string]int{})
	}},
}
