package ledgertest

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// odd are texts that some database does not take, or that one changes.
var odd = []string{"a\x00b", "a\xffb", "\xed\xa0\x80", "é\x00\xc3"}

// Strangers write some texts, and some names are looked for as strangers write
// them.
var textChecks = []check{
	{"texts for people are recorded whatever they hold", func(t *testing.T, b *bench) {
		for _, text := range odd {
			intent := b.intent("dev-1", text, func(i *ledger.Intent) { i.Subject, i.SecondKey = "CN=dev-1,O="+text, true })
			b.issue(intent, ledger.Task{Kind: "aws", Key: "t"})
			if c := b.state(intent.Serial, ledger.Valid); strings.Trim(c.Subject, "é") == "" || !strings.HasPrefix(c.Subject, "CN=dev-1,O=") {
				t.Errorf("subject %q", c.Subject)
			}
			_, err := b.HoldDevice(b.ctx, "dev-1", ledger.Held, "anna", text, b.now)
			b.ok(err)
			_, err = b.HoldDevice(b.ctx, "dev-1", ledger.Expected, "anna", text, b.now)
			b.ok(err)
			tasks, err := b.Due(b.ctx, "aws", b.now, 1)
			b.ok(err)
			b.ok(b.Retry(b.ctx, tasks[0].ID, b.now.Add(time.Minute), text+strings.Repeat(text, 10_000)))
			old := b.old("old", text, 0)
			old.Subject = "CN=" + text
			b.imported(old)
			b.ok(b.OpenImport(b.ctx, ledger.Import{ID: string(old.Serial), File: text + ".csv", Actor: "anna", At: b.now}))
			b.now = b.now.Add(time.Minute)
		}
	}},
	{"names that no database takes are refused, and nothing else is", func(t *testing.T, b *bench) {
		long := strings.Repeat(string(NewSerial(b.now)), 40) + string(NewSerial(b.now)) + string(NewSerial(b.now)) + string(NewSerial(b.now))
		order := b.order("WO-1", 5)
		for _, name := range append(odd, long) {
			bad := []func() error{
				func() error {
					_, err := b.Begin(b.ctx, []ledger.Intent{b.intent(name, "key")})
					return err
				},
				func() error {
					_, err := b.Begin(b.ctx, []ledger.Intent{b.intent("dev-1", "key", func(i *ledger.Intent) { i.Requester.Name, i.Order = name, "WO-1" })})
					return err
				},
				func() error {
					order.ID = name
					return b.CreateOrder(b.ctx, order)
				},
				func() error {
					return b.PutPrincipal(b.ctx, ledger.Principal{Name: name, AddedAt: b.now}, b.now)
				},
				func() error { return b.OpenImport(b.ctx, ledger.Import{ID: name, At: b.now}) },
			}
			for n, write := range bad {
				if err := write(); err == nil || errors.Is(err, ledger.ErrUnavailable) {
					t.Errorf("name %d, %.20q: %v", n, name, err)
				}
				b.ok(b.Health())
			}
		}
		// Whether a key is too long is the database's business.
		key := make([]byte, 16_000)
		rand.Read(key)
		if err := b.PutPrincipal(b.ctx, ledger.Principal{Name: "anna", Key: key, AddedAt: b.now}, b.now); errors.Is(err, ledger.ErrUnavailable) {
			t.Error(err)
		}
		b.ok(b.Health())
		usage, err := b.OrderUsage(b.ctx, "WO-1")
		b.ok(err)
		b.equal("left", usage.Left, 5)
	}},
	{"names that nothing can have are not found", func(t *testing.T, b *bench) {
		for _, name := range odd {
			_, err := b.Device(b.ctx, name)
			b.want(err, ledger.ErrNotFound)
			_, err = b.Order(b.ctx, name)
			b.want(err, ledger.ErrNotFound)
			_, err = b.Approval(b.ctx, name)
			b.want(err, ledger.ErrNotFound)
			_, err = b.OrderUsage(b.ctx, name)
			b.want(err, ledger.ErrNotFound)
			_, err = b.HoldDevice(b.ctx, name, ledger.Held, "anna", "", b.now)
			b.want(err, ledger.ErrNotFound)
			_, err = b.ChangeOrder(b.ctx, name, ledger.OrderChange{}, "anna", b.now)
			b.want(err, ledger.ErrNotFound)
			_, err = b.Revoke(b.ctx, ledger.Selector{Device: name}, ledger.Unspecified, "anna", b.now, nil)
			b.want(err, ledger.ErrNotFound)
			page, err := b.Certificates(b.ctx, ledger.Query{Device: name, Requester: name})
			b.ok(err)
			b.equal("certificates", len(page.Certificates), 0)
			devices, err := b.Devices(b.ctx, ledger.DeviceQuery{Order: name, After: name})
			b.ok(err)
			b.equal("devices", len(devices), 0)
		}
	}},
	{"what cannot be recorded fails whoever writes it, and nobody beside", func(t *testing.T, b *bench) {
		far := time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -2*3600))
		for range 10 {
			good, bad := b.intent(string(NewSerial(b.now)), string(NewSerial(b.now))), make(chan error)
			first, second := b.Announce(), b.Announce()
			go func() {
				defer second()
				late := b.intent(string(NewSerial(b.now)), string(NewSerial(b.now)), func(i *ledger.Intent) { i.NotAfter = far })
				_, err := b.Begin(b.ctx, []ledger.Intent{late})
				bad <- err
			}()
			b.ok(b.begin(good))
			first()
			if err := <-bad; err == nil || errors.Is(err, ledger.ErrUnavailable) {
				t.Errorf("certificate until the year 10000: %v", err)
			}
			b.ok(b.Health())
			b.ok(b.finish(Signed(good, b.now)))
		}
		order := b.order("WO-1", 1)
		order.ID, order.NotAfter = "WO-2", far
		if err := b.CreateOrder(b.ctx, order); err == nil || errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("work order until the year 10000: %v", err)
		}
		b.ok(b.Health())
	}},
}
