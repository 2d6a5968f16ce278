package ledgertest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// secretFor is the one-time secret of a device.
func (b *bench) secretFor(device, secret string) ledger.DeviceSecret {
	return ledger.DeviceSecret{Device: device, SHA256: Key(secret), At: b.now, Actor: "anna", ExpiresAt: b.now.Add(time.Hour)}
}

// putSecret records one.
func (b *bench) putSecret(device, secret string) ledger.DeviceSecret {
	b.t.Helper()
	d := b.secretFor(device, secret)
	b.ok(b.PutSecrets(b.ctx, []ledger.DeviceSecret{d}))
	return d
}

// usedFor checks what the secret of a device was used for.
func (b *bench) usedFor(device string, want ledger.Serial) {
	b.t.Helper()
	d, err := b.DeviceSecret(b.ctx, device)
	b.ok(err)
	b.equal("used for", d.Serial, want)
}

// refusedBySecret checks that an error is the secret's and says why.
func (b *bench) refusedBySecret(err error, device, why string) {
	b.t.Helper()
	var refusal *ledger.SecretError
	if !errors.As(err, &refusal) || refusal.Device != device || refusal.Why != why {
		b.t.Fatalf("error is %v, want secret of %s: %s", err, device, why)
	}
}

// spending makes an intent take the secret of its device.
func spending(secret string) func(*ledger.Intent) {
	return func(i *ledger.Intent) {
		i.Requester.Kind, i.Secret = "secret", Key(secret)
	}
}

var secretChecks = []check{
	{"a secret is found as it was recorded, and unused whatever it says", func(t *testing.T, b *bench) {
		want := b.secretFor("dev-1", "s1")
		came := want
		came.Serial = "0a"
		b.ok(b.PutSecrets(b.ctx, []ledger.DeviceSecret{came, b.secretFor("dev-2", "s2")}))
		got, err := b.DeviceSecret(b.ctx, "dev-1")
		b.ok(err)
		b.equal("secret", got, want)
		for _, device := range append(odd, "dev-3") {
			_, err := b.DeviceSecret(b.ctx, device)
			b.want(err, ledger.ErrNotFound)
		}
		b.ok(b.PutSecrets(b.ctx, nil))
	}},
	{"another one takes its place", func(t *testing.T, b *bench) {
		b.putSecret("dev-1", "s1")
		b.issue(b.intent("dev-1", "k1", spending("s1")))
		b.now = b.now.Add(time.Minute)
		want := b.putSecret("dev-1", "s2")
		got, err := b.DeviceSecret(b.ctx, "dev-1")
		b.ok(err)
		b.equal("secret", got, want)
	}},
	{"the same one again stays used", func(t *testing.T, b *bench) {
		b.putSecret("dev-1", "s1")
		serial := b.issue(b.intent("dev-1", "k1", spending("s1")))
		b.now = b.now.Add(time.Minute)
		want := b.putSecret("dev-1", "s1")
		want.Serial = serial
		got, err := b.DeviceSecret(b.ctx, "dev-1")
		b.ok(err)
		b.equal("secret", got, want)
		b.refusedBySecret(b.begin(b.intent("dev-1", "k2", spending("s1"))), "dev-1", "used")
	}},
	{"a dropped one is forgotten", func(t *testing.T, b *bench) {
		b.putSecret("dev-1", "s1")
		b.ok(b.DropSecret(b.ctx, "dev-1", "otto", b.now))
		_, err := b.DeviceSecret(b.ctx, "dev-1")
		b.want(err, ledger.ErrNotFound)
		b.refusedBySecret(b.begin(b.intent("dev-1", "k1", spending("s1"))), "dev-1", "unknown")
		b.want(b.DropSecret(b.ctx, "dev-1", "otto", b.now), ledger.ErrNotFound)
		for _, device := range append(odd, "dev-2") {
			b.want(b.DropSecret(b.ctx, device, "otto", b.now), ledger.ErrNotFound)
		}
		b.putSecret("dev-1", "s2")
		b.issue(b.intent("dev-1", "k1", spending("s2")))
	}},
	{"all or none", func(t *testing.T, b *bench) {
		many := make([]ledger.DeviceSecret, 1001)
		for n := range many {
			many[n] = b.secretFor(fmt.Sprint("dev-", n), fmt.Sprint("s", n))
		}
		bad := []func(d *ledger.DeviceSecret){
			func(d *ledger.DeviceSecret) { d.Device = "" },
			func(d *ledger.DeviceSecret) { d.Device = "dev-0" },
			func(d *ledger.DeviceSecret) { d.Device = odd[0] },
			func(d *ledger.DeviceSecret) { d.SHA256 = [32]byte{} },
			func(d *ledger.DeviceSecret) { d.At = time.Time{} },
			func(d *ledger.DeviceSecret) { d.ExpiresAt = d.At },
			func(d *ledger.DeviceSecret) { d.ExpiresAt = time.Time{} },
		}
		refused := func(what string, secrets []ledger.DeviceSecret) {
			t.Helper()
			if err := b.PutSecrets(b.ctx, secrets); err == nil || errors.Is(err, ledger.ErrUnavailable) {
				t.Errorf("%s: %v", what, err)
			}
			_, err := b.DeviceSecret(b.ctx, "dev-0")
			b.want(err, ledger.ErrNotFound)
		}
		refused("1001", many)
		for n, change := range bad {
			secrets := append([]ledger.DeviceSecret{}, many[:3]...)
			change(&secrets[2])
			refused(fmt.Sprint("bad one ", n), secrets)
		}
		b.ok(b.PutSecrets(b.ctx, many[:1000]))
		for _, n := range []int{0, 999} {
			_, err := b.DeviceSecret(b.ctx, many[n].Device)
			b.ok(err)
		}
	}},
	{"what has expired long ago is forgotten", func(t *testing.T, b *bench) {
		b.putSecret("dev-1", "s1")
		b.putSecret("dev-2", "s2")
		b.ok(b.DropSecret(b.ctx, "dev-2", "otto", b.now))
		b.now = b.now.Add(91 * 24 * time.Hour)
		b.putSecret("dev-3", "s3")
		_, err := b.DeviceSecret(b.ctx, "dev-1")
		b.want(err, ledger.ErrNotFound)
	}},
}
