package issuer_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// order records a work order for the device profile at label line.
func order(t testing.TB, l ledger.Ledger, id string, change func(*ledger.Order)) ledger.Order {
	t.Helper()
	o := ledger.Order{
		ID: id, Profile: "device", Label: "line", Quantity: 10, State: ledger.OrderOpen, CreatedBy: "test", ChangedBy: "test",
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), CreatedAt: time.Now(), ChangedAt: time.Now(),
		Secret: sha256.Sum256([]byte("secret of " + id)),
	}
	if change != nil {
		change(&o)
	}
	if err := l.CreateOrder(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return o
}

// move changes the state of an order.
func move(t testing.TB, l ledger.Ledger, id string, state ledger.OrderState) {
	t.Helper()
	if _, err := l.ChangeOrder(t.Context(), id, ledger.OrderChange{State: &state}, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
}

// list imports a device list.
func list(t testing.TB, l ledger.Ledger, id string, rows ...ledger.Listing) {
	t.Helper()
	for i := range rows {
		rows[i].Row = i + 1
	}
	if err := l.OpenImport(t.Context(), ledger.Import{ID: id, File: id + ".csv", Actor: "test", At: time.Now(), Server: "test"}); err != nil {
		t.Fatal(err)
	}
	if err := l.StageDevices(t.Context(), id, rows); err != nil {
		t.Fatal(err)
	}
	if _, err := l.CommitImport(t.Context(), id, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// hold changes the state of a device.
func hold(t testing.TB, l ledger.Ledger, device string, state ledger.DeviceState) {
	t.Helper()
	if _, err := l.HoldDevice(t.Context(), device, state, "test", "", time.Now()); err != nil {
		t.Fatal(err)
	}
}

// taken is how many units of an order are taken.
func taken(t testing.TB, l ledger.Ledger, id string) int {
	t.Helper()
	o, err := l.Order(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return o.Taken
}

// by is a request under a work order by its secret.
func by(id string) issuer.Request {
	return issuer.Request{
		Profile: "device", Issuer: "issuing", Label: "line", Authorize: issuer.ByOrder, Order: id,
		Requester: ledger.Requester{Kind: "order", Name: id, Address: netip.MustParseAddr("192.0.2.7")},
	}
}

// under is a request by password under a rule.
func under(rule issuer.Rule) issuer.Request {
	return issuer.Request{Profile: "device", Issuer: "issuing", Label: "line", Authorize: rule, Requester: password}
}

func csr(t testing.TB, key crypto.Signer, name string) []byte {
	t.Helper()
	return pkitest.CSR(t, key, pkix.Name{CommonName: name})
}

func spki(t testing.TB, key crypto.Signer) [32]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(der)
}

// wantRefused checks kind and rule of a refusal.
func wantRefused(t testing.TB, err error, kind issuer.Kind, rule string) *issuer.Refusal {
	t.Helper()
	var refusal *issuer.Refusal
	if !errors.As(err, &refusal) {
		t.Errorf("got %v, want a refusal by rule %s", err, rule)
		return new(issuer.Refusal)
	}
	if refusal.Kind != kind || refusal.Rule != rule {
		t.Errorf("refused as %d %s (%v), want %d %s", refusal.Kind, refusal.Rule, err, kind, rule)
	}
	if (refusal.Kind == issuer.Unavailable) != (refusal.RetryAfter > 0) {
		t.Errorf("retry after %v", refusal.RetryAfter)
	}
	return refusal
}

// voids counts what is voided.
type voids struct {
	ledger.Ledger
	n atomic.Int32
}

func (v *voids) Void(ctx context.Context, serial ledger.Serial, now time.Time) error {
	v.n.Add(1)
	return v.Ledger.Void(ctx, serial, now)
}

// TestRules: each rule of authorisation refuses by its name, and what is
// refused leaves nothing in the ledger and takes no unit.
func TestRules(t *testing.T) {
	l := &voids{Ledger: newLedger(t)}
	ra := withHierarchy(t, newRA(t, l, nil))
	key := pkitest.NewKey(t)
	listed := pkitest.NewKey(t)

	order(t, l, "open", nil)
	order(t, l, "fixed", func(o *ledger.Order) { o.Profile = "fixed" })
	order(t, l, "bounded", func(o *ledger.Order) {
		o.Networks = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
		o.Ranges = []ledger.Range{{First: "press-001", Last: "press-100"}}
	})
	order(t, l, "early", func(o *ledger.Order) { o.NotBefore = time.Now().Add(30 * time.Minute) })
	order(t, l, "expired", func(o *ledger.Order) { o.NotAfter = time.Now().Add(-time.Minute) })
	order(t, l, "closed", nil)
	move(t, l, "closed", ledger.OrderClosed)
	order(t, l, "killed", nil)
	move(t, l, "killed", ledger.OrderKilled)
	order(t, l, "one", func(o *ledger.Order) { o.Quantity = 1 })
	order(t, l, "listed", func(o *ledger.Order) { o.Listed = true })
	list(t, l, "import-1",
		ledger.Listing{Device: "expected"}, ledger.Listing{Device: "held"}, ledger.Listing{Device: "retired"},
		ledger.Listing{Device: "keyed", Key: spki(t, listed)}, ledger.Listing{Device: "ordered", Order: "listed"},
		ledger.Listing{Device: "elsewhere", Order: "open"})
	hold(t, l, "held", ledger.Held)
	hold(t, l, "retired", ledger.Retired)

	first := by("one")
	first.CSR = csr(t, pkitest.NewKey(t), "the-one")
	if _, err := ra.Enroll(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	shared := pkitest.NewKey(t)
	mustEnroll(t, ra, shared, "sharer")
	before := len(everything(t, l))

	for _, test := range []struct {
		name   string
		device string
		key    crypto.Signer
		r      issuer.Request
		change func(*issuer.Request)
		kind   issuer.Kind
		rule   string
	}{
		{name: "no rule", r: under(""), kind: issuer.Forbidden, rule: "authorize"},
		{name: "unknown rule", r: under("anybody"), kind: issuer.Forbidden, rule: "authorize"},
		{name: "an order beside the rule trusted", r: under(issuer.Trusted), change: func(r *issuer.Request) { r.Order = "open" }, kind: issuer.Forbidden, rule: "authorize"},
		{name: "an order beside the rule inventory", r: under(issuer.Inventory), change: func(r *issuer.Request) { r.Order = "open" }, kind: issuer.Forbidden, rule: "authorize"},
		{name: "inventory of servers", r: under(issuer.Inventory), change: func(r *issuer.Request) { r.Profile = "server" }, kind: issuer.Forbidden, rule: "authorize"},
		{name: "order by password", r: under(issuer.ByOrder), change: func(r *issuer.Request) { r.Order = "open" }, kind: issuer.Forbidden, rule: "authorize"},
		{name: "order by a maker's certificate", r: by("open"), change: func(r *issuer.Request) { r.Requester.Kind = "maker" }, kind: issuer.Forbidden, rule: "authorize"},
		{name: "no order", r: by(""), kind: issuer.Forbidden, rule: "order-unknown"},
		{name: "unknown order", r: by("nowhere"), kind: issuer.Forbidden, rule: "order-unknown"},
		{name: "order for another profile", r: by("fixed"), kind: issuer.Forbidden, rule: "order-label"},
		{name: "order for another label", r: by("open"), change: func(r *issuer.Request) { r.Label = "other" }, kind: issuer.Forbidden, rule: "order-label"},
		{name: "other network", device: "press-007", r: by("bounded"), kind: issuer.Forbidden, rule: "order-network"},
		{name: "unknown address", device: "press-007", r: by("bounded"), change: func(r *issuer.Request) { r.Requester.Address = netip.Addr{} }, kind: issuer.Forbidden, rule: "order-network"},
		{name: "outside the range", device: "press-101", r: by("bounded"), change: func(r *issuer.Request) { r.Requester.Address = netip.MustParseAddr("198.51.100.9") }, kind: issuer.Forbidden, rule: "order-range"},
		{name: "outside the range, by an operator", device: "press-101", r: by("bounded"), change: func(r *issuer.Request) { r.Requester, r.Label = admin, "" }, kind: issuer.Forbidden, rule: "order-range"},
		{name: "early", r: by("early"), kind: issuer.Forbidden, rule: "order-early"},
		{name: "expired", r: by("expired"), kind: issuer.Forbidden, rule: "order-expired"},
		{name: "closed", r: by("closed"), kind: issuer.Forbidden, rule: "order-closed"},
		{name: "killed", r: by("killed"), kind: issuer.Forbidden, rule: "order-killed"},
		{name: "exhausted", r: by("one"), kind: issuer.Forbidden, rule: "order-exhausted"},
		{name: "exhausted, by an operator", r: by("one"), change: func(r *issuer.Request) { r.Requester, r.Label = admin, "" }, kind: issuer.Forbidden, rule: "order-exhausted"},
		{name: "not listed", device: "stranger", r: under(issuer.Inventory), kind: issuer.Forbidden, rule: "device-unlisted"},
		{name: "not listed under the order", device: "stranger", r: by("listed"), kind: issuer.Forbidden, rule: "device-unlisted"},
		{name: "listed under another order", device: "elsewhere", r: by("listed"), kind: issuer.Forbidden, rule: "device-order"},
		{name: "held", device: "held", r: under(issuer.Trusted), kind: issuer.Forbidden, rule: "device-held"},
		{name: "held, by an order", device: "held", r: by("open"), kind: issuer.Forbidden, rule: "device-held"},
		{name: "retired", device: "retired", r: under(issuer.Inventory), kind: issuer.Forbidden, rule: "device-retired"},
		{name: "another key than listed", device: "keyed", r: under(issuer.Inventory), kind: issuer.Forbidden, rule: "device-key"},
		{name: "another key than listed, trusted", device: "keyed", r: under(issuer.Trusted), kind: issuer.Forbidden, rule: "device-key"},
		{name: "another device's key", device: "expected", key: shared, r: under(issuer.Inventory), kind: issuer.Conflict, rule: "key-shared"},
	} {
		t.Run(test.name, func(t *testing.T) {
			device, k := test.device, test.key
			if device == "" {
				device = "device-1"
			}
			if k == nil {
				k = key
			}
			test.r.CSR = csr(t, k, device)
			if test.change != nil {
				test.change(&test.r)
			}
			_, err := ra.Enroll(t.Context(), test.r)
			refusal := wantRefused(t, err, test.kind, test.rule)
			if !refusal.Recorded || refusal.Text == "" || refusal.Key != spki(t, k) {
				t.Errorf("refusal %+v", refusal)
			}
		})
	}
	if after := len(everything(t, l)); after != before {
		t.Errorf("refusals left %d records", after-before)
	}
	// Nor is there anything to void: that would be a write for each of them.
	if n := l.n.Load(); n != 0 {
		t.Errorf("%d attempts to void what was never recorded", n)
	}
	for _, id := range []string{"open", "fixed", "bounded", "early", "expired", "closed", "killed", "listed"} {
		if n := taken(t, l, id); n != 0 {
			t.Errorf("order %s: %d units taken", id, n)
		}
	}
	if n := alarms(t, ra, "key-shared"); n != 1 {
		t.Errorf("%v alarms for a shared key, want 1", n)
	}
	// The same requests as they should be.
	for name, r := range map[string]issuer.Request{"expected": under(issuer.Inventory), "ordered": by("listed"), "keyed": under(issuer.Inventory)} {
		r.CSR = csr(t, pkitest.NewKey(t), name)
		if name == "keyed" {
			r.CSR = csr(t, listed, name)
		}
		if _, err := ra.Enroll(t.Context(), r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	bounded := by("bounded")
	bounded.Requester.Address = netip.MustParseAddr("198.51.100.9")
	bounded.CSR = csr(t, pkitest.NewKey(t), "press-100")
	if _, err := ra.Enroll(t.Context(), bounded); err != nil {
		t.Errorf("inside of range and network: %v", err)
	}
}

// everything lists all that the ledger has signed or was about to sign.
func everything(t testing.TB, l ledger.Ledger) []ledger.Certificate {
	t.Helper()
	page, err := l.Certificates(t.Context(), ledger.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return page.Certificates
}

// TestOrderPays follows the units of an order: a certificate takes one, a
// repeated request and a renewal none, and what is voided gives it back.
func TestOrderPays(t *testing.T) {
	l := newLedger(t)
	keys := &flaky{KeyStore: newKeys(t)}
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) { c.Keys = keys }))
	order(t, l, "wo", func(o *ledger.Order) { o.Quantity = 3 })
	key := pkitest.NewKey(t)
	ask := by("wo")
	ask.CSR = csr(t, key, "press-1")
	first, err := ra.Enroll(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	if record, err := l.Certificate(t.Context(), first.Serial); err != nil || record.Order != "wo" || record.Requester.Kind != "order" {
		t.Errorf("record %+v, %v", record, err)
	}
	if again, err := ra.Enroll(t.Context(), ask); err != nil || !again.Prior {
		t.Errorf("the repeated request: %+v, %v", again.Prior, err)
	}
	renewal := issuer.Request{
		Profile: "device", Issuer: "issuing", Label: "line", Authorize: issuer.ByOrder, Device: "press-1", Renews: first.Certificate,
		Requester: ledger.Requester{Kind: "certificate", Name: string(first.Serial)}, CSR: csr(t, pkitest.NewKey(t), "press-1"),
	}
	renewed, err := ra.Enroll(t.Context(), renewal)
	if err != nil {
		t.Fatal(err)
	}
	if record, err := l.Certificate(t.Context(), renewed.Serial); err != nil || record.Order != "" {
		t.Errorf("the renewal is charged to %q, %v", record.Order, err)
	}
	if n := taken(t, l, "wo"); n != 1 {
		t.Errorf("%d units taken, want 1", n)
	}
	// Under inventory the same device is a stranger, until it is listed.
	renewal.Authorize, renewal.Requester.Name, renewal.Renews = issuer.Inventory, string(renewed.Serial), renewed.Certificate
	_, err = ra.Enroll(t.Context(), renewal)
	wantRefused(t, err, issuer.Forbidden, "device-unlisted")
	list(t, l, "import-1", ledger.Listing{Device: "press-1"})
	renewal.CSR = csr(t, pkitest.NewKey(t), "press-1")
	if _, err := ra.Enroll(t.Context(), renewal); err != nil {
		t.Error(err)
	}
	hold(t, l, "press-1", ledger.Held)
	for _, rule := range []issuer.Rule{issuer.Inventory, issuer.ByOrder, issuer.Trusted} {
		renewal.Authorize, renewal.CSR = rule, csr(t, pkitest.NewKey(t), "press-1")
		_, err = ra.Enroll(t.Context(), renewal)
		wantRefused(t, err, issuer.Forbidden, "device-held")
	}
	// An operator charges the order, wherever it is.
	charge := by("wo")
	charge.Requester, charge.Label, charge.CSR = admin, "", csr(t, pkitest.NewKey(t), "press-2")
	if _, err := ra.Enroll(t.Context(), charge); err != nil {
		t.Error(err)
	}
	if n := taken(t, l, "wo"); n != 2 {
		t.Errorf("%d units taken, want 2", n)
	}
	// A signature that fails gives the last unit back.
	keys.every.Store(1)
	keys.left.Store(1)
	charge.CSR = csr(t, pkitest.NewKey(t), "press-3")
	_, err = ra.Enroll(t.Context(), charge)
	wantRefused(t, err, issuer.Unavailable, "signer")
	if n := taken(t, l, "wo"); n != 2 {
		t.Errorf("%d units taken after a failed signature, want 2", n)
	}
	if _, err := ra.Enroll(t.Context(), charge); err != nil {
		t.Error(err)
	}
	charge.CSR = csr(t, pkitest.NewKey(t), "press-4")
	_, err = ra.Enroll(t.Context(), charge)
	wantRefused(t, err, issuer.Forbidden, "order-exhausted")
}

// TestOrderInFlight asks for a unit that a request in flight has, and may give
// back.
func TestOrderInFlight(t *testing.T) {
	l := newLedger(t)
	reached, release := make(chan struct{}), make(chan struct{})
	var armed atomic.Bool
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) {
		c.Step = func(n int) {
			if n == 6 && armed.CompareAndSwap(true, false) {
				close(reached)
				<-release
			}
		}
	}))
	order(t, l, "one", func(o *ledger.Order) { o.Quantity = 1 })
	first, second := by("one"), by("one")
	first.CSR, second.CSR = csr(t, pkitest.NewKey(t), "press-1"), csr(t, pkitest.NewKey(t), "press-2")
	armed.Store(true)
	done := make(chan error, 1)
	go func() {
		_, err := ra.Enroll(t.Context(), first)
		done <- err
	}()
	<-reached
	_, err := ra.Enroll(t.Context(), second)
	wantRefused(t, err, issuer.Unavailable, "order-in-flight")
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	_, err = ra.Enroll(t.Context(), second)
	wantRefused(t, err, issuer.Forbidden, "order-exhausted")
}

// flaky is a key store whose signers fail every so often, so many times.
type flaky struct {
	issuer.KeyStore
	every, left, calls atomic.Int32
}

func (f *flaky) Signer(ctx context.Context, uri string, want crypto.PublicKey) (crypto.Signer, error) {
	s, err := f.KeyStore.Signer(ctx, uri, want)
	return &flakySigner{s, f}, err
}

type flakySigner struct {
	crypto.Signer
	f *flaky
}

func (s *flakySigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if every := s.f.every.Load(); every > 0 && s.f.calls.Add(1)%every == 0 && s.f.left.Add(-1) >= 0 {
		return nil, errors.New("the token hiccups")
	}
	return s.Signer.Sign(random, digest, opts)
}

// TestRaceOnOrder lets 64 devices race for 50 units while ten signatures fail.
func TestRaceOnOrder(t *testing.T) {
	l := newLedger(t)
	keys := &flaky{KeyStore: newKeys(t)}
	ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) { c.Keys = keys }))
	order(t, l, "wo", func(o *ledger.Order) { o.Quantity = 50 })
	requests := make([]issuer.Request, 64)
	for i := range requests {
		requests[i] = by("wo")
		requests[i].CSR = csr(t, pkitest.NewKey(t), fmt.Sprintf("press-%d", i))
	}
	keys.every.Store(3)
	keys.left.Store(10)
	var issued, exhausted atomic.Int32
	var wait sync.WaitGroup
	for _, r := range requests {
		wait.Go(func() {
			for {
				_, err := ra.Enroll(t.Context(), r)
				var refusal *issuer.Refusal
				switch {
				case err == nil:
					issued.Add(1)
					return
				case !errors.As(err, &refusal):
					t.Error(err)
					return
				case refusal.Kind == issuer.Unavailable:
				case refusal.Rule == "order-exhausted":
					exhausted.Add(1)
					return
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	states := count(t, l)
	if issued.Load() != 50 || exhausted.Load() != 14 || states[ledger.Valid] != 50 || states[ledger.Open] != 0 || states[ledger.Voided] != 10 {
		t.Errorf("%d issued, %d refused, the ledger holds %v", issued.Load(), exhausted.Load(), states)
	}
	if n := taken(t, l, "wo"); n != 50 {
		t.Errorf("%d units taken, want 50", n)
	}
	usage, err := l.OrderUsage(t.Context(), "wo")
	if err != nil || usage.Issued != 50 || usage.Left != 0 || usage.Open != 0 {
		t.Errorf("usage %+v, %v", usage, err)
	}
}
