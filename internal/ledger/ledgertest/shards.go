package ledgertest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// shard makes an intent one of a shard.
func shard(n int) func(*ledger.Intent) { return func(i *ledger.Intent) { i.Shard = n } }

var shardChecks = []check{
	{"a certificate stays in the shard that it was issued with", func(t *testing.T, b *bench) {
		serial := b.issue(b.intent("dev-1", "k1", shard(3)))
		b.equal("shard", b.state(serial, ledger.Valid).Shard, 3)
		page, err := b.Ledger.Certificates(b.ctx, ledger.Query{Device: "dev-1"})
		b.ok(err)
		b.equal("listed shard", page.Certificates[0].Shard, 3)
		b.equal("without one", b.state(b.issue(b.intent("dev-2", "k2")), ledger.Valid).Shard, 0)
		for _, n := range []int{-1, 1 << 16} {
			if _, err := b.Begin(b.ctx, []ledger.Intent{b.intent("dev-3", "k3", shard(n))}); err == nil {
				t.Errorf("shard %d was accepted", n)
			}
		}
	}},
	{"each shard's CRL holds its own, with numbers of its own", func(t *testing.T, b *bench) {
		fence := b.fence("crl")
		entries := map[int][]ledger.Serial{}
		for n := range 3 {
			serial := b.issue(b.intent(fmt.Sprint("dev-", n), fmt.Sprint("k", n), shard(n)))
			b.revoke(ledger.Selector{Serial: serial})
			void := b.intent(fmt.Sprint("void-", n), fmt.Sprint("v", n), shard(n))
			b.ok(b.begin(void))
			b.ok(b.Void(b.ctx, void.Serial, b.now))
			entries[n] = sorted(serial, void.Serial)
		}
		numbers := map[int]int64{}
		for range 2 {
			for n := range 3 {
				work, err := b.NextCRL(b.ctx, fence, "line-a", n, b.now, period)
				b.ok(err)
				var got []ledger.Serial
				for _, e := range work.Entries {
					got = append(got, e.Serial)
				}
				b.equal("entries", got, entries[n])
				if work.Number <= numbers[n] || work.Number < b.now.Unix() {
					t.Errorf("shard %d: number %d after %d", n, work.Number, numbers[n])
				}
				numbers[n] = work.Number
			}
		}
		// All at the same time, so that one counter for all would show.
		b.equal("numbers", []int64{numbers[1], numbers[2]}, []int64{numbers[0], numbers[0]})
		for _, n := range []int{-1, 1 << 16} {
			if _, err := b.NextCRL(b.ctx, fence, "line-a", n, b.now, period); err == nil {
				t.Errorf("a number for shard %d", n)
			}
			if err := b.PutCRL(b.ctx, fence, ledger.CRL{Issuer: "line-a", Shard: n, Number: 9, DER: []byte("crl")}); err == nil {
				t.Errorf("a CRL of shard %d", n)
			}
		}
	}},
	{"each shard's CRL is stored on its own", func(t *testing.T, b *bench) {
		fence := b.fence("crl")
		want := map[int]ledger.CRL{}
		for n := range 2 {
			crl := b.crl("line-a", b.crlNow(fence, "line-a").Number)
			crl.Shard, crl.DER = n, fmt.Append(nil, "crl ", n)
			b.ok(b.PutCRL(b.ctx, fence, crl))
			want[n] = crl
		}
		for n := range 2 {
			got, err := b.LatestCRL(b.ctx, "line-a", n)
			b.ok(err)
			b.equal("CRL", got, want[n])
		}
		b.revoke(ledger.Selector{Serial: b.issue(b.intent("dev-1", "k1", shard(2)))})
		all, err := b.CRLs(b.ctx)
		b.ok(err)
		listed := []ledger.CRL{want[0], want[1], {Issuer: "line-a", Shard: 2}}
		listed[0].DER, listed[1].DER = nil, nil
		b.equal("all", all, listed)
		_, err = b.LatestCRL(b.ctx, "line-a", 2)
		b.want(err, ledger.ErrNotFound)
		b.want(b.PutCRL(b.ctx, fence, want[1]), ledger.ErrOldCRL)
	}},
	{"what a shard's CRL does not show is counted for it", func(t *testing.T, b *bench) {
		fence := b.fence("crl")
		for n, s := range []int{0, 1, 1, 2} {
			b.revoke(ledger.Selector{Serial: b.issue(b.intent(fmt.Sprint("dev-", n), fmt.Sprint("k", n), shard(s)))})
		}
		work, err := b.NextCRL(b.ctx, fence, "line-a", 1, b.now, period)
		b.ok(err)
		crl := b.crl("line-a", work.Number)
		crl.Shard = 1
		b.ok(b.PutCRL(b.ctx, fence, crl))
		counts, err := b.RevocationsSince(b.ctx)
		b.ok(err)
		b.equal("not shown", counts, map[ledger.CRLName]int{{Issuer: "line-a"}: 1, {Issuer: "line-a", Shard: 2}: 1})
	}},
}

// changesAfter lists what has changed since a position.
func (b *bench) changesAfter(position string) (all []ledger.Serial, next string) {
	b.t.Helper()
	for {
		serials, next, err := b.ChangedSince(b.ctx, position, 2)
		b.ok(err)
		if len(serials) == 0 {
			b.equal("position", next, position)
			return all, next
		}
		if len(serials) > 2 {
			b.t.Fatalf("%d changes where 2 were asked for", len(serials))
		}
		all, position = append(all, serials...), next
	}
}

var changeChecks = []check{
	{"what was revoked or voided is listed in the order of the commits", func(t *testing.T, b *bench) {
		b.revoke(ledger.Selector{Serial: b.issue(b.intent("dev-0", "k0"))})
		none, start, err := b.ChangedSince(b.ctx, "", 10)
		b.ok(err)
		b.equal("at the beginning", none, []ledger.Serial(nil))
		none, at := b.changesAfter(start)
		b.equal("nothing", none, []ledger.Serial(nil))
		var want []ledger.Serial
		for n := range 5 {
			i := b.intent(fmt.Sprint("dev-", n+1), fmt.Sprint("k", n+1))
			b.ok(b.begin(i))
			if n%2 == 0 {
				b.ok(b.Void(b.ctx, i.Serial, b.now))
			} else {
				b.ok(b.finish(Signed(i, b.now)))
				b.revoke(ledger.Selector{Serial: i.Serial})
			}
			want = append(want, i.Serial)
		}
		got, end := b.changesAfter(at)
		b.equal("changes", got, want)
		_, now, err := b.ChangedSince(b.ctx, "", 10)
		b.ok(err)
		b.equal("where the ledger stands", now, end)
		// Another issuer, and a device that is held: its open intent is void.
		i := b.intent("dev-1", "k9", by("line-b"), sameDeviceKey)
		b.ok(b.begin(i))
		b.revoke(ledger.Selector{Serial: b.issue(b.intent("dev-9", "k8", by("line-b")))})
		first, at := b.changesAfter(end)
		b.equal("one more", len(first), 1)
		b.hold("dev-2", ledger.Held)
		b.ok(b.Void(b.ctx, i.Serial, b.now))
		got, _ = b.changesAfter(at)
		b.equal("the void one", got, []ledger.Serial{i.Serial})
	}},
	{"many of one call are all listed", func(t *testing.T, b *bench) {
		_, at, err := b.ChangedSince(b.ctx, "", 0)
		b.ok(err)
		var want []ledger.Serial
		for n := range 7 {
			want = append(want, b.issue(b.intent("dev-1", fmt.Sprint("k", n), sameDeviceKey)))
		}
		b.revoke(ledger.Selector{Device: "dev-1"})
		got, _ := b.changesAfter(at)
		slices.Sort(got)
		b.equal("changes", got, sorted(want...))
	}},
	{"a position that the ledger has not reached is stale, and others are none", func(t *testing.T, b *bench) {
		b.revoke(ledger.Selector{Serial: b.issue(b.intent("dev-1", "k1"))})
		_, _, err := b.ChangedSince(b.ctx, "1000", 10)
		b.want(err, ledger.ErrStale)
		for _, position := range []string{"x", "-1", "1 ", "99999999999999999999"} {
			if _, _, err := b.ChangedSince(b.ctx, position, 10); err == nil {
				t.Errorf("position %q was accepted", position)
			}
		}
	}},
	{"nothing is skipped while many write", func(t *testing.T, b *bench) {
		_, at, err := b.ChangedSince(b.ctx, "", 0)
		b.ok(err)
		serials := make([]ledger.Serial, clients)
		for n := range serials {
			serials[n] = b.issue(b.intent(fmt.Sprint("dev-", n), fmt.Sprint("k", n)))
		}
		stop, seen := make(chan struct{}), make(chan []ledger.Serial)
		go func() {
			var all []ledger.Serial
			for done := false; ; {
				part, next, err := b.ChangedSince(b.ctx, at, 3)
				if err != nil {
					t.Error(err)
				}
				all, at = append(all, part...), next
				if done && len(part) == 0 || err != nil {
					seen <- all
					return
				}
				if len(part) == 0 {
					select {
					case <-stop:
						done = true
					default:
					}
				}
			}
		}()
		together(func(n int) {
			if _, err := b.Revoke(b.ctx, ledger.Selector{Serial: serials[n]}, ledger.Superseded, "officer", b.now, nil); err != nil {
				t.Error(err)
			}
		})
		close(stop)
		b.equal("seen", sorted(<-seen...), sorted(serials...))
	}},
	{"tasks of a key are found whatever their kind", func(t *testing.T, b *bench) {
		b.issue(b.intent("dev-1", "k1"), ledger.Task{Kind: "aws", Key: "x", Payload: []byte("1")}, ledger.Task{Kind: "dps", Key: "x", Due: b.now.Add(time.Hour)}, ledger.Task{Kind: "aws", Key: "y"}, ledger.Task{Kind: "aws"})
		kinds := func(key string) (all []string) {
			tasks, err := b.Tasks(b.ctx, key)
			b.ok(err)
			for _, task := range tasks {
				all = append(all, task.Kind+" "+task.Key)
			}
			return all
		}
		b.equal("of x", kinds("x"), []string{"aws x", "dps x"})
		b.equal("of y", kinds("y"), []string{"aws y"})
		b.equal("of none", kinds(""), []string(nil))
		b.equal("of another", kinds("z"), []string(nil))
		tasks, err := b.Tasks(b.ctx, "x")
		b.ok(err)
		b.ok(b.Retry(b.ctx, tasks[0].ID, b.now.Add(time.Hour), "down"))
		tasks, err = b.Tasks(b.ctx, "x")
		b.ok(err)
		if tasks[0].Attempts != 1 || tasks[0].LastErr != "down" || string(tasks[0].Payload) != "1" {
			t.Errorf("%+v", tasks[0])
		}
	}},
}
