package ledgertest

import (
	"errors"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// old is a certificate from before mintmark.
func (b *bench) old(device, key string, age time.Duration) ledger.Certificate {
	issued := b.now.Add(-age)
	serial := NewSerial(issued)
	return ledger.Certificate{
		Serial: serial, Issuer: "line-a", Profile: "gateway", Purpose: ledger.ForDevice, Device: device, Subject: "CN=" + device,
		Key: Key(key), NotBefore: issued, NotAfter: issued.Add(year), DER: []byte("old " + string(serial)),
	}
}

func (b *bench) imported(certificates ...ledger.Certificate) {
	b.t.Helper()
	results, err := b.ImportCertificates(b.ctx, certificates, "alice", b.now)
	b.ok(err)
	b.equal("results", len(results), len(certificates))
	for _, err := range results {
		b.ok(err)
	}
}

var importedChecks = []check{
	{"an imported certificate is valid and says who brought it", func(t *testing.T, b *bench) {
		c := b.old("dev-1", "k1", 48*time.Hour)
		b.imported(c)
		want := c
		want.State, want.Requester = ledger.Valid, ledger.Requester{Kind: "import", Name: "alice"}
		want.IntentAt, want.IssuedAt = c.NotBefore, c.NotBefore
		b.equal("certificate", b.state(c.Serial, ledger.Valid), want)
		d, err := b.Device(b.ctx, "dev-1")
		b.ok(err)
		b.equal("device", d, ledger.Device{ID: "dev-1", State: ledger.Enrolled, FirstSeen: c.NotBefore, LastIssued: c.NotBefore, Certificates: 1, Current: c.Serial})
	}},
	{"none, no results", func(t *testing.T, b *bench) {
		results, err := b.ImportCertificates(b.ctx, nil, "alice", b.now)
		if err != nil || len(results) != 0 {
			t.Error(results, err)
		}
	}},
	{"the same again is no error, other bytes are taken", func(t *testing.T, b *bench) {
		c, other, good := b.old("dev-1", "k1", time.Hour), b.old("dev-1", "k1", time.Hour), b.old("dev-2", "k2", time.Hour)
		own := b.issue(b.intent("dev-3", "k3"))
		b.imported(c)
		other.Serial = c.Serial
		mine := b.old("dev-3", "k3", time.Hour)
		mine.Serial = own
		results, err := b.ImportCertificates(b.ctx, []ledger.Certificate{c, other, good, mine}, "bob", b.now)
		b.ok(err)
		b.ok(results[0])
		b.want(results[1], ledger.ErrTaken)
		b.ok(results[2])
		b.want(results[3], ledger.ErrTaken)
		b.equal("bytes", string(b.state(c.Serial, ledger.Valid).DER), string(c.DER))
		b.equal("brought by", b.state(c.Serial, ledger.Valid).Requester.Name, "alice")
		d, err := b.Device(b.ctx, "dev-1")
		b.ok(err)
		b.equal("count", d.Certificates, 1)
	}},
	{"what is revoked stays so", func(t *testing.T, b *bench) {
		c := b.old("dev-1", "k1", time.Hour)
		b.imported(c)
		_, err := b.Revoke(b.ctx, ledger.Selector{Serial: c.Serial}, ledger.KeyCompromise, "officer", b.now, nil)
		b.ok(err)
		b.imported(c)
		b.state(c.Serial, ledger.Revoked)
		b.equal("on the CRL", len(b.crlNow(b.fence("crl"), "line-a").Entries), 1)
	}},
	{"the current one is the newest, in whatever order they come", func(t *testing.T, b *bench) {
		oldest, newest, middle := b.old("dev-1", "k1", 72*time.Hour), b.old("dev-1", "k1", 24*time.Hour), b.old("dev-1", "k1", 48*time.Hour)
		current := func(want ledger.Serial, first, last time.Time, count int) {
			t.Helper()
			d, err := b.Device(b.ctx, "dev-1")
			b.ok(err)
			b.equal("device", d, ledger.Device{ID: "dev-1", State: ledger.Enrolled, FirstSeen: first, LastIssued: last, Certificates: count, Current: want})
		}
		b.imported(middle)
		current(middle.Serial, middle.NotBefore, middle.NotBefore, 1)
		b.imported(newest, oldest)
		current(newest.Serial, oldest.NotBefore, newest.NotBefore, 3)
		own := b.issue(b.intent("dev-1", "k1"))
		current(own, oldest.NotBefore, b.now, 4)
		late := b.old("dev-1", "k1", 36*time.Hour)
		b.imported(late)
		current(own, oldest.NotBefore, b.now, 5)
		_, err := b.Revoke(b.ctx, ledger.Selector{Serial: own}, ledger.Superseded, "officer", b.now, nil)
		b.ok(err)
		current(newest.Serial, oldest.NotBefore, b.now, 5)
	}},
	{"an imported certificate counts against clones and shared keys", func(t *testing.T, b *bench) {
		c := b.old("dev-1", "k1", 48*time.Hour)
		b.imported(c)
		var clone *ledger.CloneError
		if err := b.begin(b.intent("dev-1", "k2")); !errors.As(err, &clone) || clone.Serial != c.Serial {
			t.Errorf("clone: %v", err)
		}
		var shared *ledger.SharedKeyError
		if err := b.begin(b.intent("dev-2", "k1")); !errors.As(err, &shared) || shared.Serial != c.Serial {
			t.Errorf("shared key: %v", err)
		}
	}},
	{"an imported certificate costs no unit", func(t *testing.T, b *bench) {
		b.order("wo-1", 1)
		c := b.old("dev-1", "k1", time.Hour)
		c.Order = "wo-1"
		b.imported(c)
		b.equal("order", b.state(c.Serial, ledger.Valid).Order, "wo-1")
		b.taken("wo-1", 0)
	}},
	{"a listed device takes its old certificates over", func(t *testing.T, b *bench) {
		b.listed("i1", ledger.Listing{Row: 1, Device: "dev-1", Product: "gateway"})
		c := b.old("dev-1", "k1", time.Hour)
		b.imported(c)
		d, err := b.Device(b.ctx, "dev-1")
		b.ok(err)
		if d.State != ledger.Enrolled || !d.Listed || d.Product != "gateway" || d.Current != c.Serial || !d.FirstSeen.Equal(c.NotBefore) {
			t.Errorf("%+v", d)
		}
	}},
	{"what is no certificate fails the call", func(t *testing.T, b *bench) {
		good := b.old("dev-1", "k1", time.Hour)
		for name, change := range map[string]func(*ledger.Certificate){
			"no bytes":      func(c *ledger.Certificate) { c.DER = nil },
			"no issuer":     func(c *ledger.Certificate) { c.Issuer = "" },
			"no purpose":    func(c *ledger.Certificate) { c.Purpose = "" },
			"no device":     func(c *ledger.Certificate) { c.Device = "" },
			"server device": func(c *ledger.Certificate) { c.Purpose = ledger.ForServer },
			"no validity":   func(c *ledger.Certificate) { c.NotAfter = c.NotBefore.Add(-time.Second) },
			"odd serial":    func(c *ledger.Certificate) { c.Serial = "XYZ" },
		} {
			bad := b.old("dev-2", "k2", time.Hour)
			change(&bad)
			if _, err := b.ImportCertificates(b.ctx, []ledger.Certificate{good, bad}, "alice", b.now); err == nil {
				t.Errorf("%s: imported", name)
			}
		}
		_, err := b.Certificate(b.ctx, good.Serial)
		b.want(err, ledger.ErrNotFound)
	}},
}
