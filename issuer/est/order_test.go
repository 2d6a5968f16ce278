package est

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	engine "mintmark/ca"
	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/issuer"
)

// keys is a key store of one key for each URI.
type keys struct{ made map[string]crypto.Signer }

func (k keys) Create(_ context.Context, uri, _ string) (string, crypto.Signer, error) {
	return uri, k.made[uri], nil
}

func (k keys) Signer(_ context.Context, uri string, _ crypto.PublicKey) (crypto.Signer, error) {
	return k.made[uri], nil
}

// orderFixture is a server over the real registration authority and a real
// ledger, with a label for work orders and one that trusts whom it knows.
type orderFixture struct {
	*fixture
	ra     *issuer.RA
	ledger ledger.Ledger
	keys   map[string]crypto.Signer // of the authorities
}

func newOrderFixture(t *testing.T) *orderFixture {
	t.Helper()
	return newLedgerFixture(t, map[string]string{"device": "device", "claim": "claim", "other": "device"}, time.Now(), []Label{
		{Name: "line", Profile: "device", Issuer: "issuing", Authorize: issuer.ByOrder, Own: []string{"device"}},
		{Name: "line-2", Profile: "device", Issuer: "issuing", Authorize: issuer.ByOrder},
		{Name: "trusted", Profile: "device", Issuer: "issuing", Authorize: issuer.Trusted, Own: []string{"device", "claim"}, Passwords: goodPasswords()},
	})
}

// newLedgerFixture serves labels over the real registration authority, with
// profiles by preset whose certificates live for a day, and with an hierarchy that
// begins at a time.
func newLedgerFixture(t *testing.T, presets map[string]string, start time.Time, labels []Label) *orderFixture {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(filepath.Join(dir, "log"), audit.Config{Server: "test"})
	if err != nil {
		t.Fatal(err)
	}
	store, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Log: log, Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close(); log.Close() })
	profiles := make(map[string]*issuer.Profile)
	for name, preset := range presets {
		c := issuer.ProfileConfig{Preset: preset}
		if preset == "device" {
			c.Validity = 24 * time.Hour
		}
		if profiles[name], err = issuer.NewProfile(name, c, ""); err != nil {
			t.Fatal(err)
		}
	}
	f := &orderFixture{fixture: &fixture{authority: newAuthority(t), log: new(logBuffer), clock: &clock{at: start}}, ledger: store, keys: make(map[string]crypto.Signer)}
	for _, name := range []string{"root", "claims", "issuing"} {
		f.keys[name] = newKey(t)
	}
	f.ra, err = issuer.New(t.Context(), issuer.Config{
		Ledger: store, Keys: keys{f.keys}, Server: "test",
		Profiles: profiles, Logger: slog.New(slog.DiscardHandler), EpochTTL: 365 * 24 * time.Hour, Now: f.clock.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"root", "issuing", "claims"} {
		spec := issuer.AuthoritySpec{Spec: engine.Spec{Name: name, Subject: pkix.Name{CommonName: name}, Validity: 5 * 365 * 24 * time.Hour}, Key: engine.P256, KeyURI: name}
		if name != "root" {
			spec.Issuer, spec.Validity = "root", 4*365*24*time.Hour
		}
		if _, err := f.ra.CreateAuthority(t.Context(), spec, ledger.Requester{Kind: "admin", Name: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	f.handler, err = NewHandler(Config{
		Authority: f.ra,
		Labels:    labels, Signer: func() (*tls.Certificate, error) { return f.fixture.authority.root.server(t), nil },
		Realm: "factory", Logger: slog.New(slog.NewTextHandler(f.log, nil)), Now: f.clock.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.serve(t)
	return f
}

// order records a work order for label line; its secret is "secret of ID".
func (f *orderFixture) order(t *testing.T, id string, change func(*ledger.Order)) ledger.Order {
	t.Helper()
	now := f.clock.now()
	o := ledger.Order{
		ID: id, Profile: "device", Label: "line", Quantity: 3, Secret: sha256.Sum256([]byte("secret of " + id)), State: ledger.OrderOpen,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), CreatedAt: now, ChangedAt: now,
	}
	if change != nil {
		change(&o)
	}
	if err := f.ledger.CreateOrder(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return o
}

func (f *orderFixture) move(t *testing.T, id string, state ledger.OrderState) {
	t.Helper()
	if _, err := f.ledger.ChangeOrder(t.Context(), id, ledger.OrderChange{State: &state}, "test", f.clock.now()); err != nil {
		t.Fatal(err)
	}
}

// claim returns the claim certificate of an order, with its key.
func (f *orderFixture) claim(t *testing.T, o ledger.Order) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	answer, err := f.ra.EnrollClaim(t.Context(), o, "claims", "claim", newCSR(t, key, "x"), ledger.Requester{Kind: "admin", Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{answer.Certificate.Raw}, PrivateKey: key, Leaf: answer.Certificate}
}

// ask posts a request for a device with whatever the client has to show.
func (f *orderFixture) ask(t *testing.T, label, op, device string, key crypto.Signer, certificate *tls.Certificate, header ...string) message {
	t.Helper()
	return f.raw(t, rawRequest{
		method: http.MethodPost, path: "/.well-known/est/" + label + "/" + op, header: append([]string{typePKCS10}, header...),
		certificate: certificate, body: base64.StdEncoding.EncodeToString(newCSR(t, key, device)),
	})
}

// last returns the newest refusal on record.
func (f *orderFixture) last(t *testing.T) ledger.Refused {
	t.Helper()
	list := f.refusals(t)
	if len(list) == 0 {
		t.Fatal("no refusal on record")
	}
	return list[0]
}

func (f *orderFixture) refusals(t *testing.T) []ledger.Refused {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.ra.KeepRefusals(ctx)
	list, err := f.ledger.Refusals(t.Context(), ledger.RefusalQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (f *orderFixture) taken(t *testing.T, id string) int {
	t.Helper()
	o, err := f.ledger.Order(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return o.Taken
}

func TestOrderSecret(t *testing.T) {
	f := newOrderFixture(t)
	f.order(t, "WO-1", nil)
	right := basic("WO-1", "secret of WO-1")
	key := newKey(t)
	first := f.ask(t, "line", "simpleenroll", "press-1", key, nil, right).certificates(t)[0]
	record, err := f.ledger.Certificate(t.Context(), ledger.Serial(serial(first)))
	if err != nil || record.Order != "WO-1" || record.Device != "press-1" || record.Requester != (ledger.Requester{Kind: "order", Name: "WO-1", Address: netip.MustParseAddr("127.0.0.1")}) {
		t.Errorf("record %+v, %v", record, err)
	}
	// A repeated request costs nothing.
	f.ask(t, "line", "simpleenroll", "press-1", key, nil, right).certificates(t)
	if n := f.taken(t, "WO-1"); n != 1 {
		t.Errorf("%d units taken", n)
	}
	if strings.Contains(f.log.String(), "secret of") {
		t.Error("a secret is in the log")
	}

	t.Run("nobody learns which orders there are", func(t *testing.T) {
		f.order(t, "WO-killed", nil)
		f.move(t, "WO-killed", ledger.OrderKilled)
		f.order(t, "WO-bare", func(o *ledger.Order) { o.Secret = [32]byte{} })
		want := f.ask(t, "line", "simpleenroll", "press-2", key, nil, basic("WO-1", "wrong"))
		challenged(t, want)
		for name, header := range map[string]string{
			"unknown": basic("WO-2", "secret of WO-1"), "killed": basic("WO-killed", "secret of WO-killed"), "without a secret": basic("WO-bare", ""),
			"password of another label": basic(goodUser, goodSecret), "empty": basic("", ""), "none": "X-Nothing: 1",
		} {
			m := f.ask(t, "line", "simpleenroll", "press-2", key, nil, header)
			challenged(t, m)
			if drop(m.header, "Date") != drop(want.header, "Date") || string(m.body) != string(want.body) {
				t.Errorf("%s: the answer differs:\n%s\n\n%s", name, m.header, want.header)
			}
		}
		// The record tells them apart.
		f.ask(t, "line", "simpleenroll", "press-2", key, nil, basic("WO-killed", "secret of WO-killed"))
		if r := f.last(t); r.Rule != ruleCredential || r.Order != "WO-killed" || r.Requester.Name != "WO-killed" || r.Requester.Kind != "order" || r.Label != "line" || r.Operation != "est simpleenroll" {
			t.Errorf("record %+v", r)
		}
		f.ask(t, "line", "simpleenroll", "press-2", key, nil, basic("WO-2", "x"))
		if r := f.last(t); r.Rule != ruleCredential || r.Order != "" || r.Requester.Name != "WO-2" {
			t.Errorf("record %+v", r)
		}
	})
	t.Run("who has the secret is told what is wrong", func(t *testing.T) {
		f.order(t, "WO-closed", nil)
		f.move(t, "WO-closed", ledger.OrderClosed)
		f.order(t, "WO-early", func(o *ledger.Order) { o.NotBefore = f.clock.now().Add(time.Minute) })
		f.order(t, "WO-expired", func(o *ledger.Order) { o.NotAfter = f.clock.now().Add(-time.Minute) })
		for id, rule := range map[string]string{"WO-closed": "order-closed", "WO-early": "order-early", "WO-expired": "order-expired"} {
			refused(t, f.ask(t, "line", "simpleenroll", "press-2", key, nil, basic(id, "secret of "+id)), 403, rule)
			if r := f.last(t); r.Rule != rule || r.Order != id || r.Requester.Name != id {
				t.Errorf("record %+v", r)
			}
			challenged(t, f.ask(t, "line", "simpleenroll", "press-2", key, nil, basic(id, "wrong")))
		}
		refused(t, f.ask(t, "line-2", "simpleenroll", "press-2", key, nil, right), 403, "order-label")
		f.order(t, "WO-far", func(o *ledger.Order) { o.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
		refused(t, f.ask(t, "line", "simpleenroll", "press-2", key, nil, basic("WO-far", "secret of WO-far")), 403, "order-network")
		f.order(t, "WO-range", func(o *ledger.Order) { o.Ranges = []ledger.Range{{First: "press-5", Last: "press-9"}} })
		refused(t, f.ask(t, "line", "simpleenroll", "press-2", key, nil, basic("WO-range", "secret of WO-range")), 403, "order-range")
		f.order(t, "WO-listed", func(o *ledger.Order) { o.Listed = true })
		refused(t, f.ask(t, "line", "simpleenroll", "press-2", newKey(t), nil, basic("WO-listed", "secret of WO-listed")), 403, "device-unlisted")
	})
	t.Run("the quota", func(t *testing.T) {
		for _, device := range []string{"press-2", "press-3"} {
			f.ask(t, "line", "simpleenroll", device, newKey(t), nil, right).certificates(t)
		}
		refused(t, f.ask(t, "line", "simpleenroll", "press-4", newKey(t), nil, right), 403, "order-exhausted")
		if r := f.last(t); r.Rule != "order-exhausted" || r.Order != "WO-1" || r.Device != "press-4" || r.Key == [32]byte{} {
			t.Errorf("record %+v", r)
		}
	})
	t.Run("only for simpleenroll, and only at labels of orders", func(t *testing.T) {
		refused(t, f.ask(t, "line", "simplereenroll", "press-1", key, nil, right), 403, ruleNoCertificate)
		challenged(t, f.ask(t, "trusted", "simpleenroll", "press-5", newKey(t), nil, right))
	})
}

// Wrong secrets of orders count as wrong passwords do.
func TestOrderSecretLocked(t *testing.T) {
	f := newOrderFixture(t)
	f.order(t, "WO-1", nil)
	for range attemptBurst {
		challenged(t, f.ask(t, "line", "simpleenroll", "press-1", newKey(t), nil, basic("WO-1", "wrong")))
	}
	challenged(t, f.ask(t, "line", "simpleenroll", "press-1", newKey(t), nil, basic("WO-1", "secret of WO-1")))
	if r := f.last(t); r.Rule != ruleAttempts {
		t.Errorf("record %+v", r)
	}
	f.clock.advance(attemptLeak)
	f.ask(t, "line", "simpleenroll", "press-1", newKey(t), nil, basic("WO-1", "secret of WO-1")).certificates(t)
}

// The right secret of a killed order is no guess: the line that it was for tries
// on, and the order that replaces it must be taken from the same address.
func TestKilledOrderLocksNothing(t *testing.T) {
	f := newOrderFixture(t)
	f.order(t, "WO-1", nil)
	f.move(t, "WO-1", ledger.OrderKilled)
	f.order(t, "WO-2", nil)
	for range attemptBurst {
		challenged(t, f.ask(t, "line", "simpleenroll", "press-1", newKey(t), nil, basic("WO-1", "secret of WO-1")))
	}
	f.ask(t, "line", "simpleenroll", "press-1", newKey(t), nil, basic("WO-2", "secret of WO-2")).certificates(t)
}

// What strangers send fills neither the log nor the answer.
func TestStrangersAreShort(t *testing.T) {
	f := newOrderFixture(t)
	long := strings.Repeat("x%1b", 4000)
	for _, path := range []string{"/.well-known/est/" + long + "/simpleenroll", "/" + long} {
		before := len(f.log.String())
		m := f.raw(t, rawRequest{method: http.MethodPost, path: path})
		if n := len(f.log.String()) - before; m.status != http.StatusNotFound || len(m.body) > 1<<10 || n > 2<<10 {
			t.Errorf("status %d, %d bytes answered, %d logged", m.status, len(m.body), n)
		}
	}
	before := len(f.log.String())
	m := f.raw(t, rawRequest{method: strings.Repeat("X", 8000), path: "/.well-known/est/none/simpleenroll"})
	if n := len(f.log.String()) - before; n > 2<<10 {
		t.Errorf("status %d, %d bytes logged", m.status, n)
	}
}

func TestClaimCertificate(t *testing.T) {
	f := newOrderFixture(t)
	wo := f.order(t, "WO-1", func(o *ledger.Order) { o.Secret = [32]byte{} })
	claim := f.claim(t, wo)
	key := newKey(t)
	first := f.ask(t, "line", "simpleenroll", "press-1", key, claim).certificates(t)[0]
	record, err := f.ledger.Certificate(t.Context(), ledger.Serial(serial(first)))
	if err != nil || record.Order != "WO-1" || record.Requester.Kind != "claim" || record.Requester.Name != serial(claim.Leaf) || f.taken(t, "WO-1") != 1 {
		t.Errorf("record %+v, %v", record, err)
	}
	own := &tls.Certificate{Certificate: [][]byte{first.Raw}, PrivateKey: key, Leaf: first}

	t.Run("a claim is no device", func(t *testing.T) {
		refused(t, f.ask(t, "line", "simplereenroll", "WO-1", newKey(t), claim), 403, ruleClaimRenewal)
		refused(t, f.ask(t, "line", "simplereenroll", "press-1", key, claim), 403, ruleClaimRenewal)
		// Not even where its profile is admitted by mistake.
		refused(t, f.ask(t, "trusted", "simpleenroll", "WO-1", newKey(t), claim), 403, ruleClaimLabel)
		refused(t, f.ask(t, "trusted", "simplereenroll", "WO-1", newKey(t), claim), 403, ruleClaimLabel)
		if r := f.last(t); r.Rule != ruleClaimLabel || r.Order != "WO-1" || r.Requester.Name != serial(claim.Leaf) || r.Subject != "CN=WO-1" {
			t.Errorf("record %+v", r)
		}
		// A right password counts beside it, as beside any other certificate.
		f.ask(t, "trusted", "simpleenroll", "press-8", newKey(t), claim, basic(goodUser, goodSecret)).certificates(t)
	})
	t.Run("only at the label of its order", func(t *testing.T) {
		refused(t, f.ask(t, "line-2", "simpleenroll", "press-2", newKey(t), claim), 403, "order-label")
	})
	t.Run("not for another key of an enrolled device", func(t *testing.T) {
		m := f.ask(t, "line", "simpleenroll", "press-1", newKey(t), claim)
		refused(t, m, 409, "clone")
	})
	t.Run("a device renews by its own certificate, for nothing", func(t *testing.T) {
		before := f.taken(t, "WO-1")
		renewed := f.ask(t, "line", "simplereenroll", "press-1", newKey(t), own).certificates(t)[0]
		f.ask(t, "line", "simpleenroll", "press-1", newKey(t), own).certificates(t)
		if n := f.taken(t, "WO-1"); n != before {
			t.Errorf("renewals took %d units", n-before)
		}
		if record, err := f.ledger.Certificate(t.Context(), ledger.Serial(serial(renewed))); err != nil || record.Requester.Kind != "certificate" {
			t.Errorf("record %+v, %v", record, err)
		}
		refused(t, f.ask(t, "line", "simpleenroll", "press-2", newKey(t), own), 403, "identity")
	})
	t.Run("the secret of a good order counts beside the claim of a bad one", func(t *testing.T) {
		killed := f.claim(t, f.order(t, "WO-bad", nil))
		f.move(t, "WO-bad", ledger.OrderKilled)
		f.order(t, "WO-good", nil)
		f.ask(t, "line", "simpleenroll", "press-7", newKey(t), killed, basic("WO-good", "secret of WO-good")).certificates(t)
		if f.taken(t, "WO-good") != 1 || f.taken(t, "WO-bad") != 0 {
			t.Error("the wrong order paid")
		}
		challenged(t, f.ask(t, "line", "simpleenroll", "press-6", newKey(t), killed, basic("WO-good", "wrong")))
	})
	t.Run("not after its order", func(t *testing.T) {
		for id, end := range map[string]struct {
			state ledger.OrderState
			rule  string
		}{"WO-closed": {ledger.OrderClosed, "order-closed"}, "WO-killed": {ledger.OrderKilled, "order-killed"}} {
			claim := f.claim(t, f.order(t, id, nil))
			f.move(t, id, end.state)
			refused(t, f.ask(t, "line", "simpleenroll", "press-2", newKey(t), claim), 403, end.rule)
			if r := f.last(t); r.Rule != end.rule || r.Order != id {
				t.Errorf("record %+v", r)
			}
		}
		early := f.claim(t, f.order(t, "WO-early", func(o *ledger.Order) { o.NotBefore = f.clock.now().Add(time.Minute) }))
		refused(t, f.ask(t, "line", "simpleenroll", "press-2", newKey(t), early), 403, "order-early")
		revoked := f.claim(t, f.order(t, "WO-revoked", nil))
		if _, err := f.ra.Revoke(t.Context(), ledger.Selector{Serial: ledger.Serial(serial(revoked.Leaf))}, ledger.KeyCompromise, "test"); err != nil {
			t.Fatal(err)
		}
		refused(t, f.ask(t, "line", "simpleenroll", "press-2", newKey(t), revoked), 403, "certificate-revoked")
		// Its end is the order's, and extending the order does not move it.
		f.clock.advance(30 * time.Minute)
		later := f.clock.now().Add(10 * time.Hour)
		if _, err := f.ledger.ChangeOrder(t.Context(), "WO-1", ledger.OrderChange{NotAfter: &later}, "test", f.clock.now()); err != nil {
			t.Fatal(err)
		}
		f.clock.advance(31 * time.Minute)
		refused(t, f.ask(t, "line", "simpleenroll", "press-2", newKey(t), claim), 403, ruleExpired)
	})
	// One record for each refused request, and none for the others.
	var answered int
	for _, line := range strings.Split(f.log.String(), "\n") {
		if strings.Contains(line, " rule=") {
			answered++
		}
	}
	if n := len(f.refusals(t)); n != answered || n == 0 {
		t.Errorf("%d refusals on record, %d answered", n, answered)
	}
}
