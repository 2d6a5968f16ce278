package est

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// The matrix asks with every way to authenticate, at labels of every kind, for
// each operation, and knows from a table of its own what must come out: see
// oracle_test.go. It runs against the real registration authority and ledger.

// matrixLabel is a label, as far as the oracle has to know it.
type matrixLabel struct {
	name                                string
	passwords, oneTime, own, maker, ras bool
	both, renewalPassword, grace        bool
	rule                                string // trusted, inventory, order, allow or deny
	renewalRule                         string // empty for the same
}

var matrixLabels = []matrixLabel{
	{name: "trusted", passwords: true, own: true, maker: true, ras: true, grace: true, rule: "trusted"},
	{name: "own", own: true, rule: "trusted"},
	{name: "makers", maker: true, rule: "trusted"},
	{name: "ras", ras: true, rule: "trusted"},
	{name: "one-time", oneTime: true, own: true, rule: "trusted"},
	{name: "inventory", passwords: true, own: true, maker: true, grace: true, rule: "inventory"},
	{name: "order", own: true, rule: "order"},
	{name: "order-both", own: true, both: true, rule: "order"},
	{name: "allow", passwords: true, own: true, maker: true, rule: "allow"},
	{name: "deny", passwords: true, own: true, maker: true, ras: true, rule: "deny"},
	{name: "both", passwords: true, oneTime: true, own: true, maker: true, ras: true, both: true, rule: "trusted"},
	{name: "renewal-password", passwords: true, own: true, maker: true, ras: true, renewalPassword: true, grace: true, rule: "trusted"},
	{name: "renewal-deny", passwords: true, own: true, ras: true, rule: "trusted", renewalRule: "deny"},
}

// verdict is a webhook that always says the same.
type verdict issuer.Decision

func (v verdict) Ask(context.Context, issuer.Question) (issuer.Verdict, error) {
	return issuer.Verdict{Decision: issuer.Decision(v)}, nil
}

// config is the label as the server gets it.
func (l matrixLabel) config(maker *Maker) Label {
	rule := func(name string, c *Label) issuer.Rule {
		switch name {
		case "allow", "deny":
			c.Webhook = verdict(name)
			return issuer.ByWebhook
		}
		return issuer.Rule(name)
	}
	c := Label{Name: l.name, Profile: "device", Issuer: "issuing", Both: l.both, OneTime: l.oneTime, SecondKey: issuer.AllowSecondKey, Keygen: &Keygen{Plain: true}}
	c.Authorize, c.Renewal.Authorize = rule(l.rule, &c), rule(l.renewalRule, &c)
	c.Renewal.Password = l.renewalPassword
	if l.passwords {
		c.Passwords = goodPasswords()
	}
	if l.own {
		c.Own = []string{"device"}
	}
	if l.admits("other") {
		c.Own = append(c.Own, "other")
	}
	if l.maker {
		c.Maker = maker
	}
	if l.ras {
		c.RAs = []string{"ra"}
	}
	if l.grace {
		c.Renewal.Grace = time.Hour
	}
	return c
}

// matrix is the server with a client of each kind.
type matrix struct {
	*orderFixture
	clients map[string]matrixClient
	made    map[string]crypto.Signer // the keys that clients ask with
	serial  int                      // of one-time secrets
}

// matrixClient is what a client has: a certificate and a name.
type matrixClient struct {
	certificate *tls.Certificate // nil for none
	device      string
}

// The states of the certificate, in the order of the report.
var matrixStates = []string{
	"none", "own", "expired", "grace", "revoked", "other", "future", "forged", "ca", "server", "claim", "ra", "ra-unlisted",
	"foreign", "maker", "maker-expired", "maker-revoked", "maker-unknown", "maker-subject", "maker-eku", "maker-ca",
}

// matrixProfiles are by preset.
var matrixProfiles = map[string]string{"device": "device", "other": "device", "claim": "claim", "server": "server", "ra": "registration-authority", "ra-2": "registration-authority"}

func newMatrix(t *testing.T) *matrix {
	t.Helper()
	revoked := make(map[string]error) // by serial
	maker := &Maker{
		Roots: x509.NewCertPool(), Device: "commonName", Subject: map[string]*regexp.Regexp{"organization": regexp.MustCompile("Acme|Acme Plant")},
		Revoked: func(path []*x509.Certificate, _ time.Time) error { return revoked[serial(path[0])] },
	}
	makerCA := newCA(t, "Maker CA", nil)
	maker.Roots.AddCert(makerCA.certificate)
	var labels []Label
	for _, l := range matrixLabels {
		labels = append(labels, l.config(maker))
	}
	now := time.Now().Truncate(time.Second)
	m := &matrix{clients: make(map[string]matrixClient), made: make(map[string]crypto.Signer)}
	m.orderFixture = newLedgerFixture(t, matrixProfiles, now.Add(-30*24*time.Hour), labels)
	m.maker = makerCA

	// Certificates live for a day.
	at := func(d time.Duration) { m.clock.advance(now.Add(d).Sub(m.clock.now())) }
	at(-26 * time.Hour)
	m.issue(t, "expired", "device")
	at(-24*time.Hour - 30*time.Minute)
	m.issue(t, "grace", "device")
	at(72 * time.Hour)
	m.issue(t, "future", "device")
	at(0)
	for state, profile := range map[string]string{"own": "device", "kept": "device", "revoked": "device", "other": "other", "server": "server", "ra": "ra", "ra-unlisted": "ra-2"} {
		m.issue(t, state, profile)
	}
	if _, err := m.ra.Revoke(t.Context(), ledger.Selector{Serial: ledger.Serial(serial(m.clients["revoked"].certificate.Leaf))}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	add := func(state string, certificate *tls.Certificate) {
		m.clients[state] = matrixClient{certificate, state + "-1"}
	}
	add("none", nil)
	add("claim", m.claim(t, m.order(t, "WO-1", func(o *ledger.Order) { o.Label, o.Quantity = "order", 10000 })))
	m.order(t, "WO-2", func(o *ledger.Order) { o.Label, o.Quantity = "order-both", 10000 })
	authority, err := m.ra.Authority("issuing")
	if err != nil {
		t.Fatal(err)
	}
	issuing := &testCA{authority.Certificate(), m.keys["issuing"]}
	add("ca", &tls.Certificate{Certificate: [][]byte{issuing.certificate.Raw}, PrivateKey: issuing.key, Leaf: issuing.certificate})
	add("forged", issuing.device(t, named("forged-1"), nil))
	add("foreign", newCA(t, "issuing", nil).device(t, named("foreign-1"), nil))
	acme := func(state, organization string, edit func(*x509.Certificate)) *x509.Certificate {
		add(state, makerCA.device(t, pkix.Name{CommonName: state + "-1", Organization: []string{organization}}, edit))
		return m.clients[state].certificate.Leaf
	}
	acme("maker", "Acme Plant", nil)
	acme("maker-expired", "Acme", func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })
	revoked[serial(acme("maker-revoked", "Acme", nil))] = fmt.Errorf("CRL 7: %w", ErrRevokedByMaker)
	revoked[serial(acme("maker-unknown", "Acme", nil))] = errors.New("the CRL is out of date")
	acme("maker-subject", "Acme Plant 2", nil)
	acme("maker-eku", "Acme", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	add("maker-ca", &tls.Certificate{Certificate: [][]byte{makerCA.certificate.Raw}, PrivateKey: makerCA.key, Leaf: makerCA.certificate})

	// The inventory lists some devices, and not the others.
	if err := m.ledger.OpenImport(t.Context(), ledger.Import{ID: "list", At: now}); err != nil {
		t.Fatal(err)
	}
	var rows []ledger.Listing
	for i, state := range matrixListed {
		rows = append(rows, ledger.Listing{Row: i + 1, Device: m.clients[state].device})
	}
	if err := m.ledger.StageDevices(t.Context(), "list", rows); err != nil {
		t.Fatal(err)
	}
	if _, err := m.ledger.CommitImport(t.Context(), "list", now); err != nil {
		t.Fatal(err)
	}
	return m
}

// issue gives a client a certificate of ours.
func (m *matrix) issue(t *testing.T, state, profile string) {
	t.Helper()
	key, name := newKey(t), state+"-1"
	answer, err := m.ra.Enroll(t.Context(), issuer.Request{
		Profile: profile, Issuer: "issuing", CSR: newCSR(t, key, name), Authorize: issuer.Trusted,
		Requester: ledger.Requester{Kind: "admin", Name: "test"}, SecondKey: issuer.AllowSecondKey,
	})
	if err != nil {
		t.Fatalf("%s: %v", state, err)
	}
	m.clients[state] = matrixClient{&tls.Certificate{Certificate: [][]byte{answer.Certificate.Raw}, PrivateKey: key, Leaf: answer.Certificate}, name}
}

// secret makes a one-time secret for a device and uses it up if wanted.
func (m *matrix) secret(t *testing.T, device string, used bool) string {
	t.Helper()
	m.serial++
	secret := fmt.Sprintf("one-time %d", m.serial)
	sum := sha256.Sum256([]byte(secret))
	now := m.clock.now()
	if err := m.ledger.PutSecrets(t.Context(), []ledger.DeviceSecret{{Device: device, SHA256: sum, At: now, Actor: "test", ExpiresAt: now.Add(time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	if used {
		_, err := m.ra.Enroll(t.Context(), issuer.Request{
			Profile: "device", Issuer: "issuing", CSR: newCSR(t, newKey(t), device), Authorize: issuer.Trusted, Device: device, Secret: sum,
			Requester: ledger.Requester{Kind: "secret", Name: device}, SecondKey: issuer.AllowSecondKey,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return secret
}

// ways are the passwords that are worth trying at a label.
func (l matrixLabel) ways() []string {
	list := []string{"none", "right", "wrong"}
	if l.oneTime || l.name == "trusted" {
		list = append(list, "one-time", "one-time-wrong", "one-time-used")
	}
	if l.rule == "order" || l.name == "trusted" {
		list = append(list, "order", "order-wrong")
	}
	return list
}

// ask sends one request, and returns status, rule and the name in the
// certificate.
func (m *matrix) ask(t *testing.T, c cell) (status int, rule, issued string) {
	t.Helper()
	client := m.clients[c.state]
	device := client.device
	if c.represents() {
		device = "kept-1" // it has a certificate that can be renewed
	}
	// One key for each device and label: the same request at another label would
	// get its earlier certificate, which is no decision of that label's.
	at := c.label.name + " " + device
	if m.made[at] == nil {
		m.made[at] = newKey(t)
	}
	key := m.made[at]
	r := httptest.NewRequest(http.MethodPost, "https://est.test/.well-known/est/"+c.label.name+"/"+c.op, nil)
	r.TLS = &tls.ConnectionState{}
	if client.certificate != nil {
		r.TLS.PeerCertificates = []*x509.Certificate{client.certificate.Leaf}
	}
	r.Header.Set("Content-Type", mediaTypePKCS10)
	order := "WO-1"
	if c.label.name == "order-both" {
		order = "WO-2"
	}
	switch c.way {
	case "right":
		r.SetBasicAuth(goodUser, goodSecret)
	case "wrong":
		r.SetBasicAuth(goodUser, "wrong")
	case "one-time":
		r.SetBasicAuth(device, m.secret(t, device, false))
	case "one-time-wrong":
		m.secret(t, device, false)
		r.SetBasicAuth(device, "wrong")
	case "one-time-used":
		r.SetBasicAuth(device, m.secret(t, device, c.label.oneTime))
		key = newKey(t) // the same key would be the same request, repeated
	case "order":
		r.SetBasicAuth(order, "secret of "+order)
	case "order-wrong":
		r.SetBasicAuth(order, "wrong")
	}
	r.Body = io.NopCloser(strings.NewReader(base64.StdEncoding.EncodeToString(newCSR(t, key, device))))
	w := httptest.NewRecorder()
	m.log.b.Reset()
	m.handler.attempts = newAttempts() // or all would be locked soon
	m.handler.ServeHTTP(w, r)
	if found := regexp.MustCompile(` rule=(\S+)`).FindStringSubmatch(m.log.String()); found != nil {
		rule = found[1]
	}
	if found := regexp.MustCompile(` subject="?CN=([^" ]+)"? serial=`).FindStringSubmatch(m.log.String()); found != nil {
		issued = found[1]
	}
	return w.Code, rule, issued
}

func TestMatrix(t *testing.T) {
	m := newMatrix(t)
	cells, granted := 0, 0
	reasons := make(map[string]int)
	for _, label := range matrixLabels {
		for _, op := range []string{"simpleenroll", "simplereenroll", "serverkeygen"} {
			for _, state := range matrixStates {
				for _, way := range label.ways() {
					c := cell{op, label, state, way}
					because, want, rule := c.expect(t)
					status, got, issued := m.ask(t, c)
					cells++
					reasons[because]++
					switch {
					case status != want || got != rule:
						t.Errorf("%v: %d %s, want %d %s because %s", c, status, got, want, rule, because)
					case status == http.StatusOK && issued != m.clients[state].device && !(c.represents() && issued == "kept-1"):
						t.Errorf("%v: a certificate for %q", c, issued)
					case status != http.StatusOK && issued != "":
						t.Errorf("%v: a certificate for %q beside status %d", c, issued, status)
					}
					if want == http.StatusOK {
						granted++
					}
				}
			}
		}
	}
	t.Logf("%d cells, %d of them refusals, by %d reasons", cells, cells-granted, len(reasons))
	if cells-granted < 200 {
		t.Errorf("%d cells refuse", cells-granted)
	}
	for _, r := range oracle {
		if reasons[r.because] == 0 {
			t.Errorf("no cell for the reason that %s", r.because)
		}
	}
	// Nothing that authenticates is in the log.
	if log := m.log.String(); bytes.Contains([]byte(log), []byte("one-time ")) || strings.Contains(log, goodSecret) {
		t.Error("a secret is in the log")
	}
}
