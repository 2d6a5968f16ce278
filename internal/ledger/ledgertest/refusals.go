package ledgertest

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"mintmark/internal/ledger"
)

// refusals lists the texts that a query finds.
func (b *bench) refusals(query ledger.RefusalQuery) []string {
	b.t.Helper()
	all, err := b.Refusals(b.ctx, query)
	b.ok(err)
	var texts []string
	for _, r := range all {
		texts = append(texts, r.Text)
	}
	return texts
}

// every lists all refusals, page by page, and checks their order.
func (b *bench) every() []ledger.Refused {
	b.t.Helper()
	var all []ledger.Refused
	for before := int64(0); ; {
		page, err := b.Refusals(b.ctx, ledger.RefusalQuery{Before: before, Limit: 1000})
		b.ok(err)
		if len(page) == 0 {
			return all
		}
		for _, r := range page {
			if before != 0 && r.ID >= before {
				b.t.Fatalf("refusal %d after %d", r.ID, before)
			}
			before = r.ID
		}
		all = append(all, page...)
	}
}

var refusalChecks = []check{
	{"a refusal is found as it was recorded", func(t *testing.T, b *bench) {
		r := ledger.Refused{
			At: b.now, Server: "alpha", Operation: "est simpleenroll", Label: "line", Profile: "gateway", Order: "wo-1", Rule: "quota",
			Text: "the order is exhausted", Device: "dev-1", Subject: "CN=dev-1", Key: Key("k1"),
			Requester: ledger.Requester{Kind: "order", Name: "wo-1", Address: netip.MustParseAddr("2001:db8::7")},
		}
		b.ok(b.Refuse(b.ctx, []ledger.Refused{r, {At: b.now, Rule: "method"}}, 100))
		all, err := b.Refusals(b.ctx, ledger.RefusalQuery{Device: "dev-1"})
		b.ok(err)
		if len(all) != 1 || all[0].ID == 0 {
			t.Fatalf("found %+v", all)
		}
		r.ID = all[0].ID
		b.equal("refusal", all[0], r)
	}},
	{"none is nothing", func(t *testing.T, b *bench) {
		b.ok(b.Refuse(b.ctx, nil, 100))
		b.equal("refusals", len(b.every()), 0)
	}},
	{"the newest come first and every field restricts", func(t *testing.T, b *bench) {
		at := b.now
		one := func(text string, change func(*ledger.Refused)) ledger.Refused {
			r := ledger.Refused{At: at, Rule: "rule", Text: text}
			change(&r)
			at = at.Add(time.Minute)
			return r
		}
		b.ok(b.Refuse(b.ctx, []ledger.Refused{
			one("1", func(r *ledger.Refused) { r.Device = "dev-1" }),
			one("2", func(r *ledger.Refused) { r.Key = Key("k1") }),
			one("3", func(r *ledger.Refused) { r.Requester.Address = netip.MustParseAddr("192.0.2.7") }),
		}, 100))
		b.ok(b.Refuse(b.ctx, []ledger.Refused{
			one("4", func(r *ledger.Refused) { r.Requester.Name = "station-2" }),
			one("5", func(r *ledger.Refused) { r.Order = "wo-1" }),
			one("6", func(r *ledger.Refused) { r.Rule, r.Device = "clone", "dev-1" }),
		}, 100))
		all, err := b.Refusals(b.ctx, ledger.RefusalQuery{})
		b.ok(err)
		for name, q := range map[string]struct {
			query ledger.RefusalQuery
			want  []string
		}{
			"nothing":   {ledger.RefusalQuery{}, []string{"6", "5", "4", "3", "2", "1"}},
			"device":    {ledger.RefusalQuery{Device: "dev-1"}, []string{"6", "1"}},
			"key":       {ledger.RefusalQuery{Key: Key("k1")}, []string{"2"}},
			"address":   {ledger.RefusalQuery{Address: "192.0.2.7"}, []string{"3"}},
			"requester": {ledger.RefusalQuery{Requester: "station-2"}, []string{"4"}},
			"order":     {ledger.RefusalQuery{Order: "wo-1"}, []string{"5"}},
			"rule":      {ledger.RefusalQuery{Rule: "clone"}, []string{"6"}},
			"since":     {ledger.RefusalQuery{Since: b.now.Add(4 * time.Minute)}, []string{"6", "5"}},
			"before":    {ledger.RefusalQuery{Before: all[2].ID, Limit: 2}, []string{"3", "2"}},
			"two":       {ledger.RefusalQuery{Device: "dev-1", Rule: "rule"}, []string{"1"}},
			"none":      {ledger.RefusalQuery{Device: "dev-2"}, nil},
			"not UTF-8": {ledger.RefusalQuery{Device: "dev-1\xff\x00"}, []string{"6", "1"}},
		} {
			b.equal(name, b.refusals(q.query), q.want)
		}
	}},
	{"what strangers write is cut", func(t *testing.T, b *bench) {
		long := strings.Repeat("ä", 1<<20)
		r := ledger.Refused{At: b.now, Server: long, Operation: long, Label: long, Profile: long, Order: long, Rule: long, Text: long, Device: "x\xff\x00" + long, Subject: long,
			Requester: ledger.Requester{Kind: long, Name: long}}
		b.ok(b.Refuse(b.ctx, []ledger.Refused{r}, 100))
		all := b.every()
		b.equal("refusals", len(all), 1)
		for _, text := range []string{all[0].Server, all[0].Operation, all[0].Label, all[0].Profile, all[0].Order, all[0].Rule, all[0].Text, all[0].Device, all[0].Subject,
			all[0].Requester.Kind, all[0].Requester.Name} {
			if len(text) > 1000 || !utf8.ValidString(text) || strings.ContainsRune(text, 0) || !strings.Contains(text, "ää") {
				t.Errorf("%d bytes, %.20q", len(text), text)
			}
		}
		// Whoever looks for the whole text finds what was kept of it.
		b.equal("by device", len(b.refusals(ledger.RefusalQuery{Device: r.Device})), 1)
	}},
	{"the newest are kept", func(t *testing.T, b *bench) {
		const keep = 1000
		n := 0
		for _, part := range []int{1, 600, 3, 700, 1, 1, 1, 2500, 40, 40, 1} {
			var refused []ledger.Refused
			for range part {
				n++
				refused = append(refused, ledger.Refused{At: b.now, Rule: "rule", Text: fmt.Sprint(n)})
			}
			b.ok(b.Refuse(b.ctx, refused, keep))
			all := b.every()
			if len(all) < min(n, keep) || len(all) > keep+keep/100 {
				t.Fatalf("%d kept of %d", len(all), n)
			}
			for k, r := range all {
				if r.Text != fmt.Sprint(n-k) {
					t.Fatalf("at %d: %s of %d", k, r.Text, n)
				}
			}
		}
		b.ok(b.Refuse(b.ctx, []ledger.Refused{{At: b.now, Rule: "rule", Text: "last"}}, 1))
		b.equal("the last", b.refusals(ledger.RefusalQuery{}), []string{"last"})
	}},
	{"many at once", func(t *testing.T, b *bench) {
		together(func(n int) {
			for k := range 10 {
				if err := b.Refuse(b.ctx, []ledger.Refused{{At: b.now, Rule: "rule", Text: fmt.Sprint(n, k)}}, 100); err != nil {
					t.Error(err)
				}
			}
		})
		if n := len(b.every()); n < 100 || n > 101 {
			t.Errorf("%d kept", n)
		}
	}},
}
