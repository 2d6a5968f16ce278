package inventory

import (
	"errors"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

var now = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// spec is an order that is well formed.
func spec() OrderSpec {
	return OrderSpec{
		ID: "WO-2026-117", Product: "pump 3", Profile: "device", Label: "line-1", Station: "line 1, station 4", Quantity: 1000,
		Ranges:   []ledger.Range{{First: "SN-00001", Last: "SN-01000"}},
		Networks: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")},
		NotAfter: now.Add(14 * 24 * time.Hour), CreatedBy: "anna",
	}
}

func TestNewOrder(t *testing.T) {
	order, err := NewOrder(spec(), now)
	if err != nil {
		t.Fatal(err)
	}
	if order.State != ledger.OrderOpen || !order.NotBefore.Equal(now) || order.Quantity != 1000 || order.CreatedBy != "anna" || order.Taken != 0 {
		t.Errorf("order is %+v", order)
	}

	deny := func(want string, change func(*OrderSpec)) {
		t.Helper()
		s := spec()
		change(&s)
		if _, err := NewOrder(s, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	ranges := func(r ...ledger.Range) func(*OrderSpec) { return func(s *OrderSpec) { s.Ranges, s.Quantity = r, 1 } }

	deny(`id: "" must be 1 to 64`, func(s *OrderSpec) { s.ID = "" })
	deny("id:", func(s *OrderSpec) { s.ID = "a:b" }) // would end the user of HTTP Basic
	deny("id:", func(s *OrderSpec) { s.ID = "../x" })
	deny("id:", func(s *OrderSpec) { s.ID = strings.Repeat("a", 65) })
	deny("id:", func(s *OrderSpec) { s.ID = "a\n" })
	deny("product: holds the character U+000A", func(s *OrderSpec) { s.Product = "a\nb" })
	deny("station: has 101 bytes; 100 are allowed", func(s *OrderSpec) { s.Station = strings.Repeat("x", 101) })
	deny("station: is not UTF-8", func(s *OrderSpec) { s.Station = "Linie f\xfcnf" })
	deny("profile: must be set", func(s *OrderSpec) { s.Profile = "" })
	deny("label: must be set", func(s *OrderSpec) { s.Label = "" })
	deny("quantity: 0 is not between 1 and 100000000", func(s *OrderSpec) { s.Quantity = 0 })
	deny("quantity: -1", func(s *OrderSpec) { s.Quantity = -1 })
	deny("quantity: 100000001", func(s *OrderSpec) { s.Quantity = MaxQuantity + 1 })
	deny("ranges: hold 1000 identifiers, which is less than the quantity of 1001", func(s *OrderSpec) { s.Quantity = 1001 })
	deny("differ in length", ranges(ledger.Range{First: "SN-1", Last: "SN-1000"}))
	deny("differ before their running number", ranges(ledger.Range{First: "SA-0001", Last: "SB-0002"}))
	deny("differ before their running number", ranges(ledger.Range{First: "SN0001", Last: "SN-002"}))
	deny(`"SN-0002" comes after "SN-0001"`, ranges(ledger.Range{First: "SN-0002", Last: "SN-0001"}))
	deny("does not end with a digit", ranges(ledger.Range{First: "aa", Last: "ab"}))
	deny("must be 1 to 64 letters", ranges(ledger.Range{First: "SN 1", Last: "SN 2"}))
	deny("SN-01..SN-10 and SN-10..SN-20 overlap", ranges(ledger.Range{First: "SN-01", Last: "SN-10"}, ledger.Range{First: "SN-10", Last: "SN-20"}))
	deny("overlap", ranges(ledger.Range{First: "SN-05", Last: "SN-06"}, ledger.Range{First: "SN-01", Last: "SN-20"}))
	deny("there are 65; 64 are allowed", ranges(make([]ledger.Range, 65)...))
	deny("10.20.0.1/16 has bits set behind its length: did you mean 10.20.0.0/16?", func(s *OrderSpec) { s.Networks[0] = netip.MustParsePrefix("10.20.0.1/16") })
	deny("is not a network", func(s *OrderSpec) { s.Networks[0] = netip.Prefix{} })
	deny("is IPv4 in IPv6", func(s *OrderSpec) { s.Networks[0] = netip.MustParsePrefix("::ffff:10.0.0.0/104") })
	deny("networks: there are 65", func(s *OrderSpec) { s.Networks = make([]netip.Prefix, 65) })
	deny("not_after: must be set", func(s *OrderSpec) { s.NotAfter = time.Time{} })
	deny("is past", func(s *OrderSpec) { s.NotAfter = now })
	deny("is not after the beginning", func(s *OrderSpec) { s.NotBefore = s.NotAfter })
	deny("more than five years", func(s *OrderSpec) { s.NotAfter = now.AddDate(6, 0, 0) })
}

// Running numbers of any length are counted, and their sum is not cut short.
func TestCapacity(t *testing.T) {
	s := spec()
	s.Quantity = MaxQuantity
	s.Ranges = []ledger.Range{{First: strings.Repeat("0", 64), Last: strings.Repeat("9", 64)}, {First: "A0", Last: "A9"}}
	if _, err := NewOrder(s, now); err != nil {
		t.Error(err)
	}
	s.Ranges = []ledger.Range{{First: "A00", Last: "A49"}, {First: "A50", Last: "A99"}}
	s.Quantity = 100
	if _, err := NewOrder(s, now); err != nil {
		t.Error(err)
	}
	s.Quantity = 101
	if _, err := NewOrder(s, now); err == nil {
		t.Error("100 identifiers do for 101 certificates")
	}
}

func TestAdmits(t *testing.T) {
	order, err := NewOrder(spec(), now)
	if err != nil {
		t.Fatal(err)
	}
	inside := netip.MustParseAddr("10.20.3.4")
	allow := func(order ledger.Order, device string, from netip.Addr) {
		t.Helper()
		if err := Admits(order, device, from); err != nil {
			t.Errorf("device %s from %v: %v", device, from, err)
		}
	}
	deny := func(order ledger.Order, device string, from netip.Addr, rule string) {
		t.Helper()
		var refused *NotAdmitted
		if err := Admits(order, device, from); !errors.As(err, &refused) || refused.Rule != rule {
			t.Errorf("device %s from %v: got %v, want one of rule %s", device, from, err, rule)
		}
	}
	allow(order, "SN-00001", inside)
	allow(order, "SN-01000", inside)
	allow(order, "SN-00500", netip.MustParseAddr("::ffff:10.20.3.4")) // a dual-stack listener
	deny(order, "SN-00000", inside, RuleRange)
	deny(order, "SN-01001", inside, RuleRange)
	deny(order, "SN-0500", inside, RuleRange)
	deny(order, "SN-000500", inside, RuleRange)
	deny(order, "SX-00500", inside, RuleRange)
	deny(order, "SN-00a00", inside, RuleRange) // between the ends as text
	deny(order, "SN-0005:", inside, RuleRange)
	deny(order, "", inside, RuleRange)
	deny(order, "SN-00001", netip.MustParseAddr("10.21.0.1"), RuleNetwork)
	deny(order, "SN-00001", netip.MustParseAddr("::1"), RuleNetwork)
	deny(order, "SN-00001", netip.Addr{}, RuleNetwork) // not known where from
	deny(order, "other", netip.Addr{}, RuleNetwork)    // the network first: strangers learn no ranges

	order.Networks = []netip.Prefix{netip.MustParsePrefix("fe80::/10")}
	allow(order, "SN-00001", netip.MustParseAddr("fe80::1%eth0"))

	order.Networks, order.Ranges = nil, nil
	allow(order, "anything", netip.Addr{})

	order.Ranges = []ledger.Range{{First: "A1", Last: "A2"}, {First: "B1", Last: "B2"}, {First: "C1", Last: "C2"}, {First: "D1", Last: "D2"}}
	allow(order, "D2", netip.Addr{})
	want := `device "E1" is not in work order "WO-2026-117", which is for A1 to A2, B1 to B2, C1 to C2 and 1 more ranges`
	if err := Admits(order, "E1", netip.Addr{}); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestParseRange(t *testing.T) {
	r, err := ParseRange("SN-1..SN-9")
	if err != nil || r != (ledger.Range{First: "SN-1", Last: "SN-9"}) {
		t.Errorf("got %v, %v", r, err)
	}
	for _, bad := range []string{"", "SN-1", "SN-1..", "..SN-9", "SN-1...SN-9", "SN-1-SN-9"} {
		if r, err := ParseRange(bad); err == nil {
			t.Errorf("%q is %v", bad, r)
		}
	}
}

func TestParseNetwork(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.1.2.3": "10.1.2.3/32", "::ffff:10.1.2.3": "10.1.2.3/32", "2001:db8::1": "2001:db8::1/128",
	} {
		if p, err := ParseNetwork(text); err != nil || p.String() != want {
			t.Errorf("%s is %v, %v; want %s", text, p, err, want)
		}
	}
	for _, bad := range []string{"", "10.0.0.0/33", "line-1", "fe80::1%eth0", "10.0.0"} {
		if p, err := ParseNetwork(bad); err == nil {
			t.Errorf("%q is %v", bad, p)
		}
	}
}

// FuzzRange holds a range against arithmetic: what is within has the prefix of
// the ends and a number between theirs.
func FuzzRange(f *testing.F) {
	f.Add("SN-001", "SN-100", "SN-050")
	f.Add("0", "9", "5")
	f.Add("A-9", "B-1", "A-9")
	f.Add("SN-001", "SN-100", "SN-0a0")
	f.Add("1a1", "1a9", "1a10")
	f.Fuzz(func(t *testing.T, first, last, id string) {
		r := ledger.Range{First: first, Last: last}
		if checkRange(r) != nil {
			return
		}
		if !within(r, first) || !within(r, last) || !overlap(r, r) || capacity(r).Sign() <= 0 {
			t.Errorf("%v does not hold its ends", r)
		}
		digits, ok := strings.CutPrefix(id, prefix(r))
		number, numeric := new(big.Int), len(digits) > 0 && strings.Trim(digits, "0123456789") == ""
		if numeric {
			number.SetString(digits, 10)
		}
		low, _ := new(big.Int).SetString(first[len(prefix(r)):], 10)
		high, _ := new(big.Int).SetString(last[len(prefix(r)):], 10)
		want := ok && numeric && len(id) == len(first) && number.Cmp(low) >= 0 && number.Cmp(high) <= 0
		if got := within(r, id); got != want {
			t.Errorf("%q in %v: %v, want %v", id, r, got, want)
		}
	})
}

func TestMembers(t *testing.T) {
	for _, tt := range []struct{ first, last, want string }{
		{"SN-08", "SN-11", "SN-08 SN-09 SN-10 SN-11"},
		{"7", "7", "7"},
		{"a099", "a101", "a099 a100 a101"},
		{"a8", "b1", "a8 a9"}, // not a checked one: it ends all the same
		{"9", "", "9"},
	} {
		got := slices.Collect(Members(ledger.Range{First: tt.first, Last: tt.last}))
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s..%s: %q, want %s", tt.first, tt.last, got, tt.want)
		}
	}
}
