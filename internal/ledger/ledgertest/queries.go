package ledgertest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

var certificateChecks = []check{
	{"an unknown serial is not found", func(t *testing.T, b *bench) {
		_, err := b.Certificate(b.ctx, NewSerial(b.now))
		b.want(err, ledger.ErrNotFound)
		_, err = b.Certificate(b.ctx, "not a serial")
		b.want(err, ledger.ErrNotFound)
	}},
	{"an unknown device is not found", func(t *testing.T, b *bench) {
		_, err := b.Device(b.ctx, "dev-1")
		b.want(err, ledger.ErrNotFound)
	}},
	{"a certificate without end keeps its date", func(t *testing.T, b *bench) {
		end := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		serial := b.issue(b.intent("dev-1", "k1", func(i *ledger.Intent) { i.NotAfter = end }))
		b.equal("notAfter", b.state(serial, ledger.Valid).NotAfter, end)
	}},
	{"pages follow each other in the order of serial numbers", func(t *testing.T, b *bench) {
		var want []ledger.Serial
		for n := range 23 {
			want = append(want, b.issue(b.intent(fmt.Sprint("dev-", n), fmt.Sprint("k", n))))
			b.now = b.now.Add(time.Second)
		}
		slices.Sort(want)
		var got []ledger.Serial
		query := ledger.Query{Limit: 10}
		for pages := 1; ; pages++ {
			page, err := b.Certificates(b.ctx, query)
			b.ok(err)
			for _, c := range page.Certificates {
				got = append(got, c.Serial)
			}
			if page.Next == "" {
				b.equal("pages", pages, 3)
				break
			}
			query.After = page.Next
		}
		b.equal("serials", got, want)
	}},
	{"a full last page has no next one", func(t *testing.T, b *bench) {
		for n := range 4 {
			b.issue(b.intent(fmt.Sprint("dev-", n), fmt.Sprint("k", n)))
		}
		page, err := b.Certificates(b.ctx, ledger.Query{Limit: 4})
		b.ok(err)
		if len(page.Certificates) != 4 || page.Next != "" {
			t.Errorf("%d certificates, next %q", len(page.Certificates), page.Next)
		}
	}},
	{"a page has 100 unless asked and never more than 1000", func(t *testing.T, b *bench) {
		var intents []ledger.Intent
		for n := range 1005 {
			intents = append(intents, b.intent(fmt.Sprint("dev-", n), fmt.Sprint("k", n)))
		}
		results, err := b.Begin(b.ctx, intents)
		b.ok(err)
		for _, r := range results {
			b.ok(r)
		}
		for limit, want := range map[int]int{0: 100, 1000: 1000, 5000: 1000} {
			page, err := b.Certificates(b.ctx, ledger.Query{Limit: limit})
			b.ok(err)
			if len(page.Certificates) != want || page.Next == "" {
				t.Errorf("limit %d: %d certificates, next %q", limit, len(page.Certificates), page.Next)
			}
		}
	}},
	{"every field restricts", func(t *testing.T, b *bench) {
		a := b.intent("dev-a", "ka")
		o := b.intent("dev-b", "kb", func(i *ledger.Intent) {
			i.Profile, i.Issuer, i.Requester.Name, i.NotAfter = "sensor", "line-b", "station-9", b.now.Add(time.Hour)
		})
		c := b.intent("", "kc", func(i *ledger.Intent) { i.Purpose = ledger.ForServer })
		v := b.intent("dev-d", "kd")
		b.issue(a)
		b.issue(o)
		b.issue(c)
		b.ok(b.begin(v))
		for name, q := range map[string]struct {
			query ledger.Query
			want  []ledger.Serial
		}{
			"nothing":     {ledger.Query{}, []ledger.Serial{a.Serial, o.Serial, c.Serial, v.Serial}},
			"device":      {ledger.Query{Device: "dev-a"}, []ledger.Serial{a.Serial}},
			"profile":     {ledger.Query{Profile: "sensor"}, []ledger.Serial{o.Serial}},
			"issuer":      {ledger.Query{Issuer: "line-b"}, []ledger.Serial{o.Serial}},
			"requester":   {ledger.Query{Requester: "station-9"}, []ledger.Serial{o.Serial}},
			"purpose":     {ledger.Query{Purpose: ledger.ForServer}, []ledger.Serial{c.Serial}},
			"open":        {ledger.Query{State: ledger.Open}, []ledger.Serial{v.Serial}},
			"valid":       {ledger.Query{State: ledger.Valid}, []ledger.Serial{a.Serial, o.Serial, c.Serial}},
			"key":         {ledger.Query{Key: Key("kc")}, []ledger.Serial{c.Serial}},
			"expiry":      {ledger.Query{ExpiresBefore: b.now.Add(2 * time.Hour)}, []ledger.Serial{o.Serial}},
			"not before":  {ledger.Query{ExpiresAfter: b.now.Add(2 * time.Hour)}, []ledger.Serial{a.Serial, c.Serial, v.Serial}},
			"its moment":  {ledger.Query{ExpiresAfter: b.now.Add(time.Hour), ExpiresBefore: b.now.Add(2 * time.Hour)}, []ledger.Serial{o.Serial}},
			"past it":     {ledger.Query{ExpiresAfter: b.now.Add(time.Hour + time.Second), ExpiresBefore: b.now.Add(2 * time.Hour)}, nil},
			"two fields":  {ledger.Query{Profile: "gateway", State: ledger.Open}, []ledger.Serial{v.Serial}},
			"contradict":  {ledger.Query{Device: "dev-a", Issuer: "line-b"}, nil},
			"two indexes": {ledger.Query{Issuer: "line-a", Requester: "station-2", State: ledger.Valid}, []ledger.Serial{a.Serial, c.Serial}},
		} {
			page, err := b.Certificates(b.ctx, q.query)
			b.ok(err)
			var got []ledger.Serial
			for _, c := range page.Certificates {
				got = append(got, c.Serial)
			}
			slices.Sort(q.want)
			if !slices.Equal(got, q.want) {
				t.Errorf("%s: got %v, want %v", name, got, q.want)
			}
		}
	}},
	{"what ends first is listed first, page by page", func(t *testing.T, b *bench) {
		var want []ledger.Serial
		ends := map[ledger.Serial]int{}
		for n, hours := range []int{9, 2, 2, 40, 3, 2, 1} {
			i := b.intent(fmt.Sprint("dev-", n), fmt.Sprint("k", n), func(i *ledger.Intent) { i.NotAfter = b.now.Add(time.Duration(hours) * time.Hour) })
			if n == 3 {
				b.ok(b.begin(i))
			} else {
				b.issue(i)
			}
			ends[i.Serial] = hours
			want = append(want, i.Serial)
		}
		slices.SortFunc(want, func(x, y ledger.Serial) int { return cmp.Or(cmp.Compare(ends[x], ends[y]), cmp.Compare(x, y)) })
		list := func(q ledger.Query) (got []ledger.Serial) {
			for q.Limit = 2; len(got) < 100; {
				page, err := b.Certificates(b.ctx, q)
				b.ok(err)
				for _, c := range page.Certificates {
					got = append(got, c.Serial)
				}
				if page.Next == "" {
					break
				}
				q.After = page.Next
			}
			return got
		}
		b.equal("all, from the first end on", list(ledger.Query{ExpiresAfter: b.now}), want)
		b.equal("of devices", list(ledger.Query{ExpiresAfter: b.now, Purpose: ledger.ForDevice}), want)
		b.equal("in two hours", list(ledger.Query{ExpiresBefore: b.now.Add(2*time.Hour + time.Microsecond)}), want[:4])
		b.equal("from then on", list(ledger.Query{ExpiresAfter: b.now.Add(3 * time.Hour)}), want[4:])
		b.equal("with a certificate", list(ledger.Query{ExpiresAfter: b.now, State: ledger.Valid}), want[:6])
		inOrder := slices.Clone(want)
		slices.Sort(inOrder)
		b.equal("between", list(ledger.Query{ExpiresAfter: b.now.Add(2 * time.Hour), ExpiresBefore: b.now.Add(9 * time.Hour)}), want[1:5])
		b.equal("of an issuer", list(ledger.Query{ExpiresAfter: b.now, Issuer: "line-a"}), inOrder)
		page, err := b.Certificates(b.ctx, ledger.Query{ExpiresAfter: b.now, After: "0a"})
		b.ok(err)
		if len(page.Certificates) > 0 {
			t.Errorf("after a serial number that was never recorded: %d certificates", len(page.Certificates))
		}
	}},
	{"devices are listed after the given one", func(t *testing.T, b *bench) {
		for _, id := range []string{"c", "a", "d", "b"} {
			b.issue(b.intent(id, id))
		}
		devices, err := b.Devices(b.ctx, ledger.DeviceQuery{After: "a", Limit: 2})
		b.ok(err)
		if len(devices) != 2 || devices[0].ID != "b" || devices[1].ID != "c" {
			t.Errorf("devices %+v", devices)
		}
	}},
}

var hierarchyChecks = []check{
	{"authorities are listed in the order of their creation", func(t *testing.T, b *bench) {
		root := ledger.Authority{Name: "root", Certificate: []byte("r"), KeyURI: "pkcs11:object=root", CreatedAt: b.now}
		line := ledger.Authority{Name: "line-a", CreatedAt: b.now.Add(time.Second)}
		b.ok(b.PutAuthority(b.ctx, line))
		b.ok(b.PutAuthority(b.ctx, root))
		all, err := b.Authorities(b.ctx)
		b.ok(err)
		b.equal("authorities", all, []ledger.Authority{root, line})

		line.Certificate, line.Chain = []byte("l"), [][]byte{[]byte("r"), []byte("x")}
		b.ok(b.PutAuthority(b.ctx, line))
		all, err = b.Authorities(b.ctx)
		b.ok(err)
		b.equal("authorities after replacing one", all, []ledger.Authority{root, line})
	}},
	{"rollovers are listed in the order in which they began", func(t *testing.T, b *bench) {
		second := ledger.Rollover{Old: "root-2", New: "root-3", OldWithNew: []byte("a"), At: b.now.Add(time.Hour), Actor: "anna"}
		first := ledger.Rollover{Old: "root", New: "root-2", OldWithNew: []byte("b"), NewWithOld: []byte("c"), At: b.now, Actor: "otto"}
		b.ok(b.PutRollover(b.ctx, second))
		b.ok(b.PutRollover(b.ctx, first))
		all, err := b.Rollovers(b.ctx)
		b.ok(err)
		b.equal("rollovers", all, []ledger.Rollover{first, second})
		first.EndedAt, first.EndedBy = b.now.Add(time.Minute), "anna"
		b.ok(b.PutRollover(b.ctx, first))
		all, err = b.Rollovers(b.ctx)
		b.ok(err)
		b.equal("rollovers after one has ended", all, []ledger.Rollover{first, second})
		for _, bad := range []ledger.Rollover{
			{New: "x", OldWithNew: []byte("a"), At: b.now}, {Old: "x", New: "x", OldWithNew: []byte("a"), At: b.now},
			{Old: "x", New: "y", At: b.now}, {Old: "x", New: "y", OldWithNew: []byte("a")}, {Old: "x", New: "y\x00", OldWithNew: []byte("a"), At: b.now},
		} {
			if err := b.PutRollover(b.ctx, bad); err == nil || errors.Is(err, ledger.ErrUnavailable) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
	}},
}

var leaseChecks = []check{
	{"one holder at a time", func(t *testing.T, b *bench) {
		first, err := b.Acquire(b.ctx, "crl", "alpha", b.now, time.Minute)
		b.ok(err)
		_, err = b.Acquire(b.ctx, "crl", "beta", b.now.Add(59*time.Second), time.Minute)
		b.want(err, ledger.ErrBusy)
		again, err := b.Acquire(b.ctx, "crl", "alpha", b.now.Add(59*time.Second), time.Minute)
		b.ok(err)
		b.equal("fence after extending", again, first)
		_, err = b.Acquire(b.ctx, "crl", "beta", b.now.Add(90*time.Second), time.Minute)
		b.want(err, ledger.ErrBusy)
		next, err := b.Acquire(b.ctx, "crl", "beta", b.now.Add(119*time.Second), time.Minute)
		b.ok(err)
		if next.Token <= first.Token {
			t.Errorf("token %d after %d", next.Token, first.Token)
		}
		_, err = b.Acquire(b.ctx, "crl", "alpha", b.now.Add(2*time.Minute), time.Minute)
		b.want(err, ledger.ErrBusy)
	}},
	{"jobs do not share a lease", func(t *testing.T, b *bench) {
		_, err := b.Acquire(b.ctx, "crl", "alpha", b.now, time.Minute)
		b.ok(err)
		_, err = b.Acquire(b.ctx, "aws", "beta", b.now, time.Minute)
		b.ok(err)
	}},
}

var outboxChecks = []check{
	{"due tasks come oldest first and once their time has come", func(t *testing.T, b *bench) {
		task := func(key string, in time.Duration) ledger.Task {
			return ledger.Task{Kind: "aws", Key: key, Due: b.now.Add(in)}
		}
		b.issue(b.intent("dev-1", "k1"), task("late", 2*time.Minute), task("old", -2*time.Minute), task("now", 0), ledger.Task{Kind: "dps", Key: "other"})
		due := func(at time.Time, limit int) string {
			tasks, err := b.Due(b.ctx, "aws", at, limit)
			b.ok(err)
			keys := ""
			for _, task := range tasks {
				keys += task.Key + " "
			}
			return keys
		}
		b.equal("due", due(b.now, 10), "old now ")
		b.equal("one due", due(b.now, 1), "old ")
		b.equal("due later", due(b.now.Add(2*time.Minute), 10), "old now late ")
		backlog, err := b.Backlog(b.ctx)
		b.ok(err)
		b.equal("backlog", backlog, map[string]int{"aws": 3, "dps": 1})
	}},
	{"a newer task replaces an undelivered one of its key", func(t *testing.T, b *bench) {
		b.issue(b.intent("dev-1", "k1"), ledger.Task{Kind: "aws", Key: "x", Payload: []byte("1")}, ledger.Task{Kind: "dps", Key: "x"})
		old, err := b.Due(b.ctx, "aws", b.now, 10)
		b.ok(err)
		b.issue(b.intent("dev-2", "k2"), ledger.Task{Kind: "aws", Key: "x", Payload: []byte("2")})
		b.ok(b.Done(b.ctx, []int64{old[0].ID})) // delivered while it was replaced
		tasks, err := b.Due(b.ctx, "aws", b.now, 10)
		b.ok(err)
		if len(tasks) != 1 || string(tasks[0].Payload) != "2" {
			t.Errorf("tasks %+v", tasks)
		}
		backlog, err := b.Backlog(b.ctx)
		b.ok(err)
		b.equal("backlog", backlog, map[string]int{"aws": 1, "dps": 1})
	}},
	{"tasks without a key do not replace each other", func(t *testing.T, b *bench) {
		b.issue(b.intent("dev-1", "k1"), ledger.Task{Kind: "hook"}, ledger.Task{Kind: "hook"})
		backlog, err := b.Backlog(b.ctx)
		b.ok(err)
		b.equal("backlog", backlog, map[string]int{"hook": 2})
	}},
	{"tasks come with what a person changed, and not with what was refused", func(t *testing.T, b *bench) {
		task := func(key string) ledger.Task { return ledger.Task{Kind: "aws", Key: key} }
		order := ledger.Order{ID: "WO-1", Profile: "device", Quantity: 5, NotBefore: b.now, NotAfter: b.now.Add(time.Hour), CreatedAt: b.now}
		b.ok(b.CreateOrder(b.ctx, order, task("order")))
		if err := b.CreateOrder(b.ctx, order, task("twice")); err == nil {
			t.Error("an order was created twice")
		}
		closed := ledger.OrderClosed
		_, err := b.ChangeOrder(b.ctx, "WO-1", ledger.OrderChange{State: &closed}, "alice", b.now, task("closed"))
		b.ok(err)
		if _, err := b.ChangeOrder(b.ctx, "WO-1", ledger.OrderChange{State: &closed}, "alice", b.now, task("again")); err == nil {
			t.Error("a closed order was closed")
		}
		b.ok(b.OpenImport(b.ctx, ledger.Import{ID: "i1", Actor: "alice", At: b.now}))
		b.ok(b.StageDevices(b.ctx, "i1", []ledger.Listing{{Row: 1, Device: "dev-1"}}))
		_, err = b.CommitImport(b.ctx, "i1", b.now, task("import"))
		b.ok(err)
		_, err = b.HoldDevice(b.ctx, "dev-1", ledger.Held, "alice", "", b.now, task("held"))
		b.ok(err)
		if _, err := b.HoldDevice(b.ctx, "nobody", ledger.Held, "alice", "", b.now, task("nobody")); err == nil {
			t.Error("a device that is not there was held")
		}
		tasks, err := b.Due(b.ctx, "aws", b.now.Add(time.Minute), 10)
		b.ok(err)
		keys := ""
		for _, task := range tasks {
			keys += task.Key + " "
		}
		b.equal("tasks", keys, "order closed import held ")
	}},
	{"delivered tasks are gone", func(t *testing.T, b *bench) {
		b.issue(b.intent("dev-1", "k1"), ledger.Task{Kind: "aws", Key: "x"}, ledger.Task{Kind: "aws", Key: "y"})
		tasks, err := b.Due(b.ctx, "aws", b.now, 10)
		b.ok(err)
		b.ok(b.Done(b.ctx, []int64{tasks[0].ID, tasks[1].ID, 999}))
		backlog, err := b.Backlog(b.ctx)
		b.ok(err)
		b.equal("backlog", backlog, map[string]int{})
	}},
	{"a postponed task keeps its cause", func(t *testing.T, b *bench) {
		b.issue(b.intent("dev-1", "k1"), ledger.Task{Kind: "aws", Key: "x", Payload: []byte("p")})
		tasks, err := b.Due(b.ctx, "aws", b.now, 10)
		b.ok(err)
		later := b.now.Add(time.Minute)
		b.ok(b.Retry(b.ctx, tasks[0].ID, later, "throttled"))
		none, err := b.Due(b.ctx, "aws", b.now, 10)
		b.ok(err)
		b.equal("due before its time", len(none), 0)
		tasks, err = b.Due(b.ctx, "aws", later, 10)
		b.ok(err)
		b.equal("task", tasks[0], ledger.Task{ID: tasks[0].ID, Kind: "aws", Key: "x", Payload: []byte("p"), Due: later, Attempts: 1, LastErr: "throttled"})
	}},
}
