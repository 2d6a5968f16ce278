package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
	"mintmark/internal/ledger/sqldb"
)

// random does all kinds of things to a ledger.
type random struct {
	t     *testing.T
	r     *rand.Rand
	s     *sqldb.Store
	epoch ledger.Epoch
	now   time.Time
	back  bool // the clock is set back now and then
	done  map[string]int

	open, issued []ledger.Serial
	intents      map[ledger.Serial]ledger.Intent
	devices      []string
	orders       []string
	approvals    []ledger.Approval
	entries      []ledger.Enrollment
	secrets      []ledger.DeviceSecret
	imports      []string
	rotations    []string
	running      bool // the last rotation
	n            int
}

func (x *random) name(kind string) string { x.n++; return fmt.Sprintf("%s-%05d", kind, x.n) }

// text is what is said by someone, now and then in bytes that are no text.
func (x *random) text() string {
	return []string{"", "", "", "é", "\xff\x00", "\ufffd<\u2028"}[x.r.IntN(6)]
}

// one does one thing, and counts it if it was not refused.
func (x *random) one(ctx context.Context) {
	x.now = x.now.Add(time.Duration(1+x.r.IntN(5_000_000)) * time.Microsecond)
	if x.back && x.r.IntN(30) == 0 {
		x.now = x.now.Add(-time.Duration(x.r.IntN(3600)) * time.Second)
	}
	things := []struct {
		name   string
		weight int
		do     func(context.Context) error
	}{
		{"begin", 30, x.begin}, {"finish", 25, x.finish}, {"void", 4, x.void}, {"revoke", 4, x.revoke}, {"revoke device", 1, x.revokeDevice},
		{"import certificate", 3, x.importCertificate}, {"hold", 4, x.hold}, {"hold unknown", 1, x.holdUnknown}, {"create order", 2, x.createOrder}, {"change order", 3, x.changeOrder},
		{"import", 3, x.openImport}, {"stage", 6, x.stage}, {"commit", 2, x.commit}, {"drop", 1, x.drop},
		{"principal", 2, x.principal}, {"propose", 2, x.propose}, {"move approval", 4, x.moveApproval}, {"authority", 1, x.authority},
		{"crl", 1, x.crl}, {"join", 1, x.join},
		{"queue", 6, x.queue}, {"decide", 6, x.decide}, {"take approval", 10, x.takeApproval}, {"put secrets", 5, x.putSecrets},
		{"drop secret", 1, x.dropSecret}, {"take secret", 10, x.takeSecret}, {"rollover", 2, x.rollover}, {"gateway", 3, x.gateway},
		{"rotation", 3, x.rotation}, {"note", 2, x.note},
	}
	total := 0
	for _, thing := range things {
		total += thing.weight
	}
	pick := x.r.IntN(total)
	for _, thing := range things {
		if pick -= thing.weight; pick < 0 {
			if err := thing.do(ctx); err == nil {
				x.done[thing.name]++
			} else if errors.Is(err, ledger.ErrUnavailable) {
				x.t.Fatal(err)
			}
			return
		}
	}
}

var errNothing = errors.New("nothing to do it to")

func pick[T any](r *rand.Rand, all []T) (one T, err error) {
	if len(all) == 0 {
		return one, errNothing
	}
	return all[r.IntN(len(all))], nil
}

func (x *random) begin(ctx context.Context) error {
	device := x.name("dev")
	if x.r.IntN(3) == 0 && len(x.devices) > 0 {
		device, _ = pick(x.r, x.devices)
	}
	i := ledgertest.NewIntent(x.epoch, x.now, device, x.name("key"))
	i.SecondKey = true
	i.Listed = x.r.IntN(8) == 0
	i.Subject += x.text()
	i.Shard = x.r.IntN(3)
	if x.r.IntN(3) == 0 {
		i.Order, _ = pick(x.r, x.orders)
	}
	if x.r.IntN(6) == 0 && len(x.issued) > 0 {
		by, _ := pick(x.r, x.issued)
		i.Requester = ledger.Requester{Kind: "certificate", Name: string(by)}
	}
	if x.r.IntN(10) == 0 {
		i.Purpose, i.Device = ledger.ForServer, ""
	}
	return x.beginOne(ctx, i)
}

func (x *random) beginOne(ctx context.Context, i ledger.Intent) error {
	refused, err := x.s.Begin(ctx, []ledger.Intent{i})
	if err = errors.Join(append(refused, err)...); err != nil {
		return err
	}
	x.open, x.intents[i.Serial] = append(x.open, i.Serial), i
	if i.Device != "" {
		x.devices = append(x.devices, i.Device)
	}
	return nil
}

// leaveOpen begins something in the last epoch: one without an intent is not in
// the log.
func (x *random) leaveOpen(ctx context.Context) {
	for x.begin(ctx) != nil {
	}
}

func (x *random) takeOpen() (ledger.Serial, error) {
	if len(x.open) == 0 {
		return "", errNothing
	}
	i := x.r.IntN(len(x.open))
	serial := x.open[i]
	x.open = slices.Delete(x.open, i, i+1)
	return serial, nil
}

func (x *random) finish(ctx context.Context) error {
	serial, err := x.takeOpen()
	if err != nil {
		return err
	}
	refused, err := x.s.Finish(ctx, []ledger.Issued{ledgertest.Signed(x.intents[serial], x.now)})
	if err = errors.Join(append(refused, err)...); err == nil {
		x.issued = append(x.issued, serial)
	}
	return err
}

func (x *random) void(ctx context.Context) error {
	serial, err := x.takeOpen()
	if err != nil {
		return err
	}
	return x.s.Void(ctx, serial, x.now)
}

func (x *random) revoke(ctx context.Context) error {
	serial, err := pick(x.r, x.issued)
	if err != nil {
		return err
	}
	_, err = x.s.Revoke(ctx, ledger.Selector{Serial: serial}, ledger.Superseded, "anna", x.now, nil)
	return err
}

func (x *random) revokeDevice(ctx context.Context) error {
	device, err := pick(x.r, x.devices)
	if err != nil {
		return err
	}
	_, err = x.s.Revoke(ctx, ledger.Selector{Device: device}, ledger.KeyCompromise, "anna", x.now, nil)
	return err
}

func (x *random) importCertificate(ctx context.Context) error {
	device := x.name("old")
	if x.r.IntN(2) == 0 && len(x.devices) > 0 {
		device, _ = pick(x.r, x.devices)
	}
	i := ledgertest.NewIntent(x.epoch, x.now, device, x.name("key"))
	c := ledger.Certificate{
		Serial: i.Serial, Issuer: "old", Purpose: ledger.ForDevice, Device: device, Subject: "CN=" + device + x.text(), Key: i.Key,
		NotBefore: x.now.Add(-1000 * time.Hour), NotAfter: i.NotAfter, DER: ledgertest.Signed(i, x.now).DER,
	}
	refused, err := x.s.ImportCertificates(ctx, []ledger.Certificate{c}, "anna", x.now)
	if err = errors.Join(append(refused, err)...); err == nil {
		x.issued, x.devices = append(x.issued, c.Serial), append(x.devices, device)
	}
	return err
}

func (x *random) hold(ctx context.Context) error {
	device, err := pick(x.r, x.devices)
	if err != nil {
		return err
	}
	state := []ledger.DeviceState{ledger.Held, ledger.Expected, ledger.Expected, ledger.Retired}[x.r.IntN(4)]
	_, err = x.s.HoldDevice(ctx, device, state, "anna", "because"+x.text(), x.now)
	return err
}

func (x *random) holdUnknown(ctx context.Context) error {
	device := x.name("dev")
	_, err := x.s.HoldUnknown(ctx, device, []ledger.DeviceState{ledger.Held, ledger.Retired}[x.r.IntN(2)], "anna", "because"+x.text(), x.now)
	x.devices = append(x.devices, device)
	return err
}

func (x *random) createOrder(ctx context.Context) error {
	o := ledger.Order{
		ID: x.name("WO"), Product: "gw", Profile: "gateway", Label: "line", Quantity: 1 + x.r.IntN(20),
		Ranges: []ledger.Range{{First: "dev-00001", Last: "dev-99999"}}, NotBefore: x.now, NotAfter: x.now.Add(1000 * time.Hour),
		CreatedAt: x.now, CreatedBy: "anna",
	}
	if x.r.IntN(2) == 0 {
		o.Secret = [32]byte{byte(x.n)}
	}
	x.orders = append(x.orders, o.ID)
	return x.s.CreateOrder(ctx, o)
}

func (x *random) changeOrder(ctx context.Context) error {
	id, err := pick(x.r, x.orders)
	if err != nil {
		return err
	}
	var c ledger.OrderChange
	switch x.r.IntN(5) {
	case 0, 1:
		n := 10 + x.r.IntN(30)
		c.Quantity = &n
	case 2:
		c.Secret = &[32]byte{9, byte(x.n)}
	case 3:
		state := ledger.OrderClosed
		c.State = &state
	default:
		state := ledger.OrderKilled
		c.State = &state
	}
	_, err = x.s.ChangeOrder(ctx, id, c, "otto", x.now)
	return err
}

func (x *random) openImport(ctx context.Context) error {
	id := x.name("im")
	x.imports = append(x.imports, id)
	return x.s.OpenImport(ctx, ledger.Import{ID: id, File: "list.csv" + x.text(), Actor: "anna", At: x.now, Update: x.r.IntN(2) == 0, Server: "alpha"})
}

func (x *random) stage(ctx context.Context) error {
	id, err := pick(x.r, x.imports)
	if err != nil {
		return err
	}
	var rows []ledger.Listing
	for n := range 1 + x.r.IntN(8) {
		l := ledger.Listing{Row: x.n*10 + n, Device: x.name("dev"), Product: fmt.Sprint("p", x.r.IntN(2))}
		if x.r.IntN(3) == 0 && len(x.devices) > 0 {
			l.Device, _ = pick(x.r, x.devices)
		} else {
			x.devices = append(x.devices, l.Device)
		}
		if x.r.IntN(2) == 0 {
			l.Fields = map[string]string{"mac": fmt.Sprint("00:", x.n), "batch": "<7>"}
		}
		rows = append(rows, l)
	}
	return x.s.StageDevices(ctx, id, rows)
}

func (x *random) commit(ctx context.Context) error {
	id, err := pick(x.r, x.imports)
	if err != nil {
		return err
	}
	_, err = x.s.CommitImport(ctx, id, x.now)
	return err
}

func (x *random) drop(ctx context.Context) error {
	id, err := pick(x.r, x.imports)
	if err != nil {
		return err
	}
	return x.s.DropImport(ctx, id)
}

func (x *random) principal(ctx context.Context) error {
	p := ledger.Principal{Name: fmt.Sprint("person-", x.r.IntN(6)), Roles: []string{"officer"}, AddedAt: x.now, AddedBy: "init"}
	if x.r.IntN(2) == 0 {
		p.Key = []byte{0x30, byte(x.n), byte(x.n >> 8)}
	} else {
		p.UnixUser = x.name("user")
	}
	if x.r.IntN(4) == 0 {
		p.RemovedAt = x.now
	}
	return x.s.PutPrincipal(ctx, p, x.now)
}

func (x *random) propose(ctx context.Context) error {
	a := ledger.Approval{
		ID: x.name("ap"), Operation: "order.raise", Words: "raise it", Plan: []byte(x.name("plan")), Proposer: "anna",
		At: x.now, ExpiresAt: x.now.Add(time.Hour), State: ledger.Pending,
	}
	x.approvals = append(x.approvals, a)
	return x.s.Propose(ctx, a)
}

func (x *random) moveApproval(ctx context.Context) error {
	if len(x.approvals) == 0 {
		return errNothing
	}
	a := &x.approvals[x.r.IntN(len(x.approvals))]
	from := a.State
	switch from {
	case ledger.Pending:
		a.State, a.DecidedBy, a.DecidedAt, a.Signature = ledger.Approved, "otto", x.now, []byte{1, 2}
		if x.r.IntN(4) == 0 {
			a.State, a.Signature = ledger.Rejected, nil
		}
	case ledger.Approved:
		a.State, a.RunBy, a.RunAt = ledger.Running, "anna", x.now
	case ledger.Running:
		a.State = ledger.Done
		if x.r.IntN(3) == 0 {
			a.State, a.Outcome = ledger.Approved, "failed"+x.text()
		}
	default:
		return errNothing
	}
	return x.s.MoveApproval(ctx, from, *a, x.now)
}

func (x *random) authority(ctx context.Context) error {
	a := ledger.Authority{Name: fmt.Sprint("line-", x.r.IntN(3)), KeyURI: "file:x", CreatedAt: x.now}
	if x.r.IntN(3) > 0 {
		a.Certificate, a.Chain = []byte{0x30, byte(x.n)}, [][]byte{{1}, {2, byte(x.n)}}
	}
	return x.s.PutAuthority(ctx, a)
}

func (x *random) crl(ctx context.Context) error {
	fence, err := x.s.Acquire(ctx, "crl", "alpha", x.now, time.Hour)
	if err != nil {
		return err
	}
	for _, shard := range []int{0, 1 + x.r.IntN(3)} {
		work, err := x.s.NextCRL(ctx, fence, "line-0", shard, x.now, time.Hour)
		if err != nil {
			return err
		}
		crl := ledger.CRL{Issuer: "line-0", Shard: shard, Number: work.Number, ThisUpdate: x.now, NextUpdate: x.now.Add(time.Hour), DER: []byte{0x30}}
		if err := x.s.PutCRL(ctx, fence, crl); err != nil {
			return err
		}
	}
	return nil
}

func (x *random) join(ctx context.Context) (err error) {
	if x.epoch, err = x.s.Join(ctx, "alpha", x.now, 1000*time.Hour); err != nil {
		return err
	}
	if x.r.IntN(2) == 0 {
		return nil // the open ones stay for a while
	}
	_, err = x.s.VoidLapsed(ctx, x.now)
	return err
}
