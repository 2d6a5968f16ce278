package sqldb_test

import (
	"context"
	"fmt"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/ledger/ledgertest"
)

func (x *random) queue(ctx context.Context) error {
	device, key := x.name("dev"), x.name("key")
	if x.r.IntN(3) == 0 && len(x.devices) > 0 {
		device, _ = pick(x.r, x.devices)
	}
	e := ledger.Enrollment{
		Key: ledgertest.Key(key), Subject: "CN=" + device + "é", Label: "line", Profile: "gateway", Device: device, Cause: "label",
		Requester: ledger.Requester{Kind: "password", Name: "station-2"}, CSR: []byte(key),
	}
	if x.r.IntN(10) == 0 {
		e.Purpose, e.Device = ledger.ForServer, ""
	}
	if x.r.IntN(3) == 0 && len(x.entries) > 0 {
		e, _ = pick(x.r, x.entries)
	}
	e.At, e.ExpiresAt = x.now, x.now.Add(time.Duration(1+x.r.IntN(60))*time.Minute)
	e, err := x.s.QueueEnrollment(ctx, e, 50)
	if err == nil {
		x.entries = append(x.entries, e)
	}
	return err
}

func (x *random) decide(ctx context.Context) error {
	e, err := pick(x.r, x.entries)
	if err != nil {
		return err
	}
	_, err = x.s.DecideEnrollment(ctx, e.ID, x.r.IntN(4) > 0, "anna"+x.text(), "seen"+x.text(), x.now, x.now.Add(30*time.Minute))
	return err
}

// takeApproval begins something with an approval, or tries to.
func (x *random) takeApproval(ctx context.Context) error {
	e, err := pick(x.r, x.entries)
	if err != nil {
		return err
	}
	i := ledgertest.NewIntent(x.epoch, x.now, e.Device, "")
	i.Key, i.Enrollment, i.Purpose, i.SecondKey = e.Key, e.ID, e.Purpose, x.r.IntN(2) == 0
	if x.r.IntN(2) == 0 {
		i.Repeat = 0
	}
	if x.r.IntN(4) == 0 {
		i.Order, _ = pick(x.r, x.orders)
	}
	return x.beginOne(ctx, i)
}

func (x *random) putSecrets(ctx context.Context) error {
	var all []ledger.DeviceSecret
	for range 1 + x.r.IntN(3) {
		d := ledger.DeviceSecret{Device: x.name("dev"), SHA256: ledgertest.Key(x.name("secret")), Actor: "anna" + x.text()}
		switch x.r.IntN(4) {
		case 0:
			d.Device, _ = pick(x.r, x.devices)
		case 1: // the same one again
			if again, err := pick(x.r, x.secrets); err == nil {
				if have, err := x.s.DeviceSecret(ctx, again.Device); err == nil {
					d.Device, d.SHA256 = have.Device, have.SHA256
				}
			}
		}
		d.At, d.ExpiresAt = x.now, x.now.Add(time.Duration(1+x.r.IntN(60))*time.Minute)
		all = append(all, d)
	}
	err := x.s.PutSecrets(ctx, all)
	if err == nil {
		x.secrets = append(x.secrets, all...)
	}
	return err
}

func (x *random) dropSecret(ctx context.Context) error {
	d, err := pick(x.r, x.secrets)
	if err != nil {
		return err
	}
	return x.s.DropSecret(ctx, d.Device, "otto", x.now)
}

// takeSecret begins something by a one-time secret, or tries to.
func (x *random) takeSecret(ctx context.Context) error {
	d, err := pick(x.r, x.secrets)
	if err != nil {
		return err
	}
	i := ledgertest.NewIntent(x.epoch, x.now, d.Device, x.name("key"))
	i.Requester.Kind, i.Secret, i.SecondKey = "secret", d.SHA256, x.r.IntN(4) > 0
	if x.r.IntN(4) == 0 {
		i.Order, _ = pick(x.r, x.orders)
	}
	return x.beginOne(ctx, i)
}

func (x *random) gateway(ctx context.Context) error {
	device, err := pick(x.r, x.devices)
	if err != nil {
		return err
	}
	if x.r.IntN(3) == 0 {
		device = x.name("dev")
	}
	i := ledgertest.NewIntent(x.epoch, x.now, device, x.name("key"))
	i.Purpose, i.Profile, i.SecondKey = ledger.ForGateway, "edge-ca", true
	return x.beginOne(ctx, i)
}

func (x *random) rollover(ctx context.Context) error {
	n := x.r.IntN(3)
	r := ledger.Rollover{Old: fmt.Sprint("root-", n), New: fmt.Sprint("root-", n+1), OldWithNew: []byte{0x30, byte(x.n)}, At: x.now, Actor: "anna"}
	if x.r.IntN(2) == 0 {
		r.NewWithOld = []byte{0x30, 1}
	}
	if x.r.IntN(2) == 0 {
		r.EndedAt, r.EndedBy = x.now, "otto"
	}
	return x.s.PutRollover(ctx, r)
}
