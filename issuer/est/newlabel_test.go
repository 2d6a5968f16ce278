package est

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"mintmark/issuer"
)

// What a label says must mean something, and must not let in whom the rest of
// it keeps out.
func TestLabelOptions(t *testing.T) {
	pool := x509.NewCertPool()
	password := []Password{{"a", [32]byte{1}}}
	maker := func(edit func(*Maker)) *Maker {
		m := &Maker{Roots: pool, Device: "commonName"}
		edit(m)
		return m
	}
	signer := func() (*tls.Certificate, error) { return nil, nil }
	good := func(name string, edit func(*Label)) { check(t, name, edit, signer, "") }
	bad := func(name, says string, edit func(*Label)) { check(t, name, edit, signer, says) }

	good("everything", func(l *Label) {
		*l = Label{
			Name: "a", Profile: "device", Issuer: "issuing", Gateway: "edge-ca", Authorize: issuer.ByWebhook, Webhook: verdict("allow"),
			Passwords: password, OneTime: true, Own: []string{"device", "est-id"}, RAs: []string{"ra"}, Both: true,
			Maker:             maker(func(m *Maker) { m.Subject = map[string]*regexp.Regexp{"organization": regexp.MustCompile("Acme")} }),
			Renewal:           Renewal{Authorize: issuer.Inventory, Grace: time.Hour, Password: true, Approval: true, ChangeNames: true},
			ProofOfPossession: ProofRequired, Approval: true, Retry: time.Minute, SecondKey: issuer.HoldSecondKey, ChangeNames: true,
			CACerts: CACertsPath, Limits: Limits{1, 2, 3},
		}
	})
	good("keygen", func(l *Label) { l.Keygen = &Keygen{SymmetricKeys: map[string][]byte{"k": make([]byte, 24)}} })
	good("orders with both", func(l *Label) { l.Authorize, l.Both = issuer.ByOrder, true })
	good("renewals of devices of orders", func(l *Label) {
		l.Authorize, l.Own, l.Renewal.Authorize = issuer.ByOrder, []string{"device"}, issuer.ByOrder
	})

	bad("one-time secret past the quota", "past every quota", func(l *Label) { l.Authorize, l.OneTime = issuer.ByOrder, true })
	bad("another profile past the quota", "profile only", func(l *Label) { l.Authorize, l.Own = issuer.ByOrder, []string{"device", "other"} })
	bad("gateways past the quota", "CA certificates", func(l *Label) { l.Authorize, l.Gateway = issuer.ByOrder, "edge-ca" })
	bad("renewal by an order of nobody's", "cost no unit", func(l *Label) { l.Renewal.Authorize = issuer.ByOrder })
	bad("unknown renewal rule", "renewal authorize", func(l *Label) { l.Renewal.Authorize = "some" })
	bad("webhook without one", "needs one", func(l *Label) { l.Authorize = issuer.ByWebhook })
	bad("renewal by a webhook without one", "needs one", func(l *Label) { l.Renewal.Authorize = issuer.ByWebhook })
	bad("webhook that nobody asks", "never be asked", func(l *Label) { l.Webhook = verdict("allow") })
	bad("unknown second key", "second key", func(l *Label) { l.SecondKey = "perhaps" })

	bad("both without a certificate", "takes none: set own", func(l *Label) { l.Both, l.Passwords = true, password })
	bad("both without a password", "takes none: set passwords", func(l *Label) { l.Both, l.Own = true, []string{"device"} })
	bad("renewal password without one", "renewals demand", func(l *Label) { l.Renewal.Password, l.Own = true, []string{"device"} })
	bad("registration authority under work orders", "label of its own", func(l *Label) { l.Authorize, l.RAs = issuer.ByOrder, []string{"ra"} })
	bad("registration authority with the label's profile", "registration authority", func(l *Label) { l.RAs = []string{"device"} })
	bad("registration authority that is a device", "registration authority", func(l *Label) { l.RAs, l.Own = []string{"ra"}, []string{"ra"} })
	bad("registration authority that is a gateway", "registration authority", func(l *Label) { l.RAs, l.Gateway = []string{"edge"}, "edge" })
	bad("nameless registration authority", "registration authority", func(l *Label) { l.RAs = []string{""} })
	bad("gateways authenticate", "authenticate nobody", func(l *Label) { l.Own, l.Gateway = []string{"edge"}, "edge" })
	bad("gateway of the same profile", "another profile", func(l *Label) { l.Gateway = "device" })
	bad("own without a name", "empty profile", func(l *Label) { l.Own = []string{""} })
	bad("negative grace", "grace", func(l *Label) { l.Renewal.Grace = -1 })
	bad("other names for nobody", "change names", func(l *Label) { l.ChangeNames = true })
	bad("unknown proof", "proof of possession", func(l *Label) { l.ProofOfPossession = "maybe" })
	bad("maker's device by another attribute", "neither commonName", func(l *Label) { l.Maker = maker(func(m *Maker) { m.Device = "organization" }) })
	bad("unknown maker attribute", "maker subject \"email\"", func(l *Label) {
		l.Maker = maker(func(m *Maker) { m.Subject = map[string]*regexp.Regexp{"email": regexp.MustCompile("a")} })
	})
	bad("maker attribute without a pattern", "no pattern", func(l *Label) {
		l.Maker = maker(func(m *Maker) { m.Subject = map[string]*regexp.Regexp{"organization": nil} })
	})

	bad("unknown cacerts", "cacerts", func(l *Label) { l.CACerts = "some" })
	bad("negative retry", "retry", func(l *Label) { l.Retry = -time.Second })
	bad("negative limit", "limit", func(l *Label) { l.Limits.Address = -1 })
	bad("keygen that waits", "cannot wait", func(l *Label) { l.Keygen, l.Approval = &Keygen{}, true })
	bad("keygen that waits at renewals", "cannot wait", func(l *Label) { l.Keygen, l.Renewal.Approval = &Keygen{}, true })
	bad("short symmetric key", "measures 15 bytes", func(l *Label) { l.Keygen = &Keygen{SymmetricKeys: map[string][]byte{"k": make([]byte, 15)}} })
	bad("nameless symmetric key", "no identifier", func(l *Label) { l.Keygen = &Keygen{SymmetricKeys: map[string][]byte{"": make([]byte, 16)}} })
	check(t, "keygen without a signer", func(l *Label) { l.Keygen = &Keygen{} }, nil, "needs a signer")
}

func check(t *testing.T, name string, edit func(*Label), signer func() (*tls.Certificate, error), says string) {
	t.Helper()
	l := Label{Name: "a", Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted}
	edit(&l)
	h, err := NewHandler(Config{Authority: newAuthority(t), Labels: []Label{l}, Logger: slog.New(slog.DiscardHandler), Signer: signer, Stations: []netip.Prefix{}})
	switch {
	case says == "" && (err != nil || h == nil):
		t.Errorf("%s: %v", name, err)
	case says != "" && (err == nil || !strings.Contains(err.Error(), says)):
		t.Errorf("%s: error %v, want %q", name, err, says)
	}
}
