package ledgertest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// gateway makes an intent one for the CA certificate of a gateway.
func gateway(i *ledger.Intent) {
	i.Purpose, i.Profile, i.Issuer = ledger.ForGateway, "edge-ca", "edge"
}

// device checks what is known of a device.
func (b *bench) device(id string, certificates int, current ledger.Serial) ledger.Device {
	b.t.Helper()
	d, err := b.Device(b.ctx, id)
	b.ok(err)
	b.equal("certificates", d.Certificates, certificates)
	b.equal("current", d.Current, current)
	return d
}

var gatewayChecks = []check{
	{"a gateway's CA certificate does not stand for the device", func(t *testing.T, b *bench) {
		own := b.issue(b.intent("dev-1", "k1"))
		before := b.device("dev-1", 1, own)
		b.now = b.now.Add(time.Minute)
		ca := b.issue(b.intent("dev-1", "ca-1", gateway))
		b.equal("device", b.device("dev-1", 1, own), before)
		b.equal("purpose", b.state(ca, ledger.Valid).Purpose, ledger.ForGateway)
		_, err := b.Revoke(b.ctx, ledger.Selector{Serial: own}, ledger.Superseded, "officer", b.now, nil)
		b.ok(err)
		b.device("dev-1", 1, "")
		b.state(ca, ledger.Valid)
		page, err := b.Certificates(b.ctx, ledger.Query{Purpose: ledger.ForGateway, Device: "dev-1"})
		b.ok(err)
		b.equal("listed", len(page.Certificates), 1)
	}},
	{"each of the two has one key", func(t *testing.T, b *bench) {
		own := b.issue(b.intent("dev-1", "k1"))
		ca := b.issue(b.intent("dev-1", "ca-1", gateway))
		var clone *ledger.CloneError
		if err := b.begin(b.intent("dev-1", "ca-2", gateway)); !errors.As(err, &clone) || clone.Serial != ca {
			t.Errorf("second key of the CA: %v", err)
		}
		if err := b.begin(b.intent("dev-1", "k2")); !errors.As(err, &clone) || clone.Serial != own {
			t.Errorf("second key of the device: %v", err)
		}
		b.ok(b.begin(b.intent("dev-1", "ca-2", gateway, sameDeviceKey)))
		b.equal("held under another key", b.queue("dev-1", "k3").Other, own)
		b.equal("held by the CA", b.queue("dev-1", "ca-3", func(e *ledger.Enrollment) { e.Purpose = ledger.ForGateway }).Other, ca)
	}},
	{"the same key in both is no repetition", func(t *testing.T, b *bench) {
		b.issue(b.intent("dev-1", "k1"))
		ca := b.issue(b.intent("dev-1", "k1", gateway))
		var prior *ledger.PriorError
		if err := b.begin(b.intent("dev-1", "k1", gateway)); !errors.As(err, &prior) || prior.Certificate.Serial != ca {
			t.Errorf("repeated: %v", err)
		}
	}},
	{"a key of another device is refused all the same", func(t *testing.T, b *bench) {
		b.issue(b.intent("dev-1", "k1"))
		b.issue(b.intent("dev-2", "ca", gateway))
		var shared *ledger.SharedKeyError
		if err := b.begin(b.intent("dev-3", "k1", gateway)); !errors.As(err, &shared) || shared.Device != "dev-1" {
			t.Errorf("key of a device: %v", err)
		}
		if err := b.begin(b.intent("dev-3", "ca")); !errors.As(err, &shared) || shared.Device != "dev-2" {
			t.Errorf("key of a gateway: %v", err)
		}
	}},
	{"whatever holds or revokes a device takes the gateway's certificate", func(t *testing.T, b *bench) {
		want := []ledger.Serial{b.issue(b.intent("dev-1", "k1")), b.issue(b.intent("dev-1", "ca", gateway))}
		open := b.intent("dev-1", "ca-2", gateway, sameDeviceKey)
		b.ok(b.begin(open))
		b.hold("dev-1", ledger.Held)
		b.state(open.Serial, ledger.Voided)
		b.refusedByDevice(b.begin(b.intent("dev-1", "ca-3", gateway, sameDeviceKey)), "dev-1", "held")
		changed, err := b.Revoke(b.ctx, ledger.Selector{Device: "dev-1"}, ledger.KeyCompromise, "officer", b.now, nil)
		b.ok(err)
		slices.Sort(want)
		b.equal("revoked", changed, want)
	}},
	{"a gateway without a certificate of its own can be held and revoked", func(t *testing.T, b *bench) {
		ca := b.issue(b.intent("dev-1", "ca", gateway))
		d := b.device("dev-1", 0, "")
		if d.State != ledger.Expected || !d.FirstSeen.Equal(b.now) || !d.LastIssued.IsZero() || d.Listed {
			t.Errorf("%+v", d)
		}
		b.equal("found", b.found(ledger.DeviceQuery{}), []string{"dev-1"})
		b.hold("dev-1", ledger.Retired)
		b.hold("dev-1", ledger.Expected)
		// A list that names it and is given up does not make it unknown.
		b.openImport("i1", false, rows("dev-1", "dev-2")...)
		b.ok(b.DropImport(b.ctx, "i1"))
		b.equal("found after a dropped list", b.found(ledger.DeviceQuery{}), []string{"dev-1"})
		_, err := b.Revoke(b.ctx, ledger.Selector{Device: "dev-1"}, ledger.KeyCompromise, "officer", b.now, nil)
		b.ok(err)
		b.state(ca, ledger.Revoked)
		b.now = b.now.Add(time.Minute)
		own := b.issue(b.intent("dev-1", "k1"))
		if d := b.device("dev-1", 1, own); !d.LastIssued.Equal(b.now) || d.FirstSeen.Equal(b.now) {
			t.Errorf("%+v", d)
		}
	}},
	{"one that was issued elsewhere counts as little", func(t *testing.T, b *bench) {
		ca := b.old("dev-1", "ca", 0)
		ca.Purpose = ledger.ForGateway
		b.imported(ca)
		b.device("dev-1", 0, "")
		own := b.old("dev-1", "k1", 0)
		b.imported(own)
		b.device("dev-1", 1, own.Serial)
	}},
	{"a gateway is a device, and no order pays for its CA", func(t *testing.T, b *bench) {
		b.order("wo-1", 1)
		b.listed("i1", rows("dev-1")...)
		b.issue(b.intent("dev-1", "ca", gateway, fromList))
		b.refusedByDevice(b.begin(b.intent("dev-2", "ca-2", gateway, fromList)), "dev-2", "unlisted")
		for n, change := range []func(*ledger.Intent){under("wo-1"), func(i *ledger.Intent) { i.Device = "" }} {
			if _, err := b.Begin(b.ctx, []ledger.Intent{b.intent("dev-1", "ca-3", gateway, change)}); err == nil {
				t.Errorf("intent %d was recorded", n)
			}
		}
	}},
	{"a one-time secret gets a gateway its CA certificate", func(t *testing.T, b *bench) {
		b.putSecret("dev-1", "s1")
		serial := b.issue(b.intent("dev-1", "ca", gateway, spending("s1")))
		b.usedFor("dev-1", serial)
	}},
}

// registration is a certificate of a registration authority, and what makes an
// intent one that it asks for.
func (b *bench) registration() (ledger.Serial, func(*ledger.Intent)) {
	b.t.Helper()
	serial := b.issue(b.intent("", "ra", func(i *ledger.Intent) { i.Purpose = ledger.ForRA }))
	return serial, func(i *ledger.Intent) { i.Requester = ledger.Requester{Kind: "ra", Name: string(serial)} }
}

var registrationChecks = []check{
	{"its certificate is nobody's", func(t *testing.T, b *bench) {
		b.order("wo-1", 1)
		b.registration()
		b.equal("devices", b.found(ledger.DeviceQuery{}), []string(nil))
		for n, change := range []func(*ledger.Intent){under("wo-1"), func(i *ledger.Intent) { i.Device = "dev-1" }, spending("s1")} {
			i := b.intent("", "k", func(i *ledger.Intent) { i.Purpose = ledger.ForRA }, change)
			if _, err := b.Begin(b.ctx, []ledger.Intent{i}); err == nil {
				t.Errorf("intent %d was recorded", n)
			}
		}
	}},
	{"it enrolls devices until it is revoked", func(t *testing.T, b *bench) {
		serial, byIt := b.registration()
		b.issue(b.intent("dev-1", "k1", byIt))
		open := b.intent("dev-2", "k2", byIt)
		b.ok(b.begin(open))
		others := b.intent("dev-3", "k3")
		b.ok(b.begin(others))
		_, err := b.Revoke(b.ctx, ledger.Selector{Serial: serial}, ledger.KeyCompromise, "officer", b.now, nil)
		b.ok(err)
		b.state(open.Serial, ledger.Voided)
		b.state(others.Serial, ledger.Open)
		b.want(b.finish(Signed(open, b.now)), ledger.ErrVoided)
		b.want(b.begin(b.intent("dev-4", "k4", byIt)), ledger.ErrRevoked)
	}},
	{"when it was issued is nothing to the device", func(t *testing.T, b *bench) {
		earlier := b.issue(b.intent("dev-1", "k1"))
		b.now = b.now.Add(time.Minute)
		_, byIt := b.registration()
		var prior *ledger.PriorError
		if err := b.begin(b.intent("dev-1", "k1", byIt)); !errors.As(err, &prior) || prior.Certificate.Serial != earlier {
			t.Errorf("repeated by another registration authority: %v", err)
		}
	}},
	{"what it says of a second key is not the device's word", func(t *testing.T, b *bench) {
		_, byIt := b.registration()
		b.issue(b.intent("dev-1", "k1"))
		var clone *ledger.CloneError
		if err := b.begin(b.intent("dev-1", "k2", byIt)); !errors.As(err, &clone) {
			t.Errorf("second key: %v", err)
		}
	}},
}
