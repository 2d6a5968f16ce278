package dpsreg_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mintmark/dpsreg"
	"mintmark/dpsreg/dps"
	"mintmark/dpsreg/dpssim"
	"mintmark/dpsreg/hub"
	"mintmark/dpsreg/rest"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/internal/pkitest"
)

const (
	firstHub  = "factory-a.azure-devices.net"
	secondHub = "factory-b.azure-devices.net"
)

// world is a simulator, a hierarchy of CAs and what a server would wire to dpsreg:
//
//	root -> line, auto, edge        root2 -> line2        lone (a root that issues)
//
// Use it like this:
//
//	w := newWorld(t)
//	target := w.target()                      // nothing wanted yet
//	target.CAs = []dpsreg.CA{{Authority: "root"}}
//	target.Groups = []dpsreg.Group{{ID: "pumps", Anchors: []string{"line"}}}
//	w.apply(target)                           // Apply, and then nothing is left to do
//	d := w.issue("line", "pump-1")            // issued, and in the ledger
//	w.tell(target, "pump-1")                  // delivers the device's task
//	state, err := w.register(d)               // as the device does
//
// w.registrar() and w.devices() are a fresh process of the server each time: a test that
// wants to see what one process remembers keeps it. w.dps() and w.hub(host) are an operator's own
// clients, for what others do in between and to look. w.advance moves the clock of
// everything; take a fresh one after it.
type world struct {
	t           testing.TB
	sim         *dpssim.Sim
	dir         string // secrets and the trust anchor
	authorities []*authority
	// beforeVerification runs once, before the next proof of possession is issued.
	beforeVerification func()
	verifications      int
	configure          []func(*dpsreg.Config) // of registrars made later
	books              *sqldb.Store           // see ledger
	epoch              ledger.Epoch

	mu     sync.Mutex
	offset time.Duration // of the clock
}

// authority is a CA of ours with its key.
type authority struct {
	dpsreg.Authority
	key crypto.Signer
}

// device is a device with its certificate, its chain and key, and the ledger's record.
type device struct {
	ledger.Certificate
	leaf  *x509.Certificate
	chain []*x509.Certificate // above the leaf, root last
	key   crypto.Signer
}

// newWorld starts a simulator with two hubs that does everything at once: no rates, no
// waiting of devices.
func newWorld(t testing.TB, change ...func(*dpssim.Config)) *world {
	t.Helper()
	w := &world{t: t}
	w.start(change...)
	root := w.newRoot("root")
	w.newIssuing("line", root)
	w.newIssuing("auto", root)
	w.newIssuing("edge", root)
	w.newIssuing("line2", w.newRoot("root2"))
	w.newRoot("lone")
	return w
}

// twin is a world with the same CAs, ledger and clock and a simulator of its own, that
// is as a new one. It is t's and may be used beside others.
func (w *world) twin(t testing.TB, change ...func(*dpssim.Config)) *world {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	v := &world{t: t, authorities: w.authorities, configure: w.configure, books: w.books, epoch: w.epoch, offset: w.offset}
	v.start(change...)
	return v
}

func (w *world) start(change ...func(*dpssim.Config)) {
	w.t.Helper()
	w.dir = w.t.TempDir()
	cfg := dpssim.Config{Hubs: []string{firstHub, secondHub}, Assigning: -1, Now: w.now}
	for _, f := range change {
		f(&cfg)
	}
	sim, err := dpssim.Start(w.t.Context(), cfg)
	w.ok(err)
	w.t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			w.t.Errorf("closing the simulator: %v", err)
		}
	})
	w.sim = sim
	w.file("root.pem", sim.RootPEM())
	w.file("client-secret", []byte(sim.Config().ClientSecret))
	for policy, key := range sim.Config().Keys {
		w.file(policy, []byte(key+"\n"))
	}
}

func (w *world) file(name string, data []byte) {
	w.t.Helper()
	w.ok(os.WriteFile(w.path(name), data, 0o600))
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// now is the clock of the simulator and of the registrars.
func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.offset)
}

// advance moves the clock. Tokens that were issued before may have expired after it.
func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset += d
}

// newRoot adds a root CA.
func (w *world) newRoot(name string, change ...func(*x509.Certificate)) *authority {
	w.t.Helper()
	return w.addAuthority(name, nil, change)
}

// newIssuing adds an issuing CA.
func (w *world) newIssuing(name string, parent *authority, change ...func(*x509.Certificate)) *authority {
	w.t.Helper()
	return w.addAuthority(name, parent, change)
}

func (w *world) addAuthority(name string, parent *authority, change []func(*x509.Certificate)) *authority {
	w.t.Helper()
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "mintmark test " + name},
		NotBefore: w.now().Add(-time.Hour), NotAfter: w.now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	for _, f := range change {
		f(template)
	}
	a := &authority{key: pkitest.NewKey(w.t)}
	a.Name = name
	if parent == nil {
		a.Certificate = sign(w.t, template, template, a.key.Public(), a.key)
	} else {
		a.Certificate = sign(w.t, template, parent.Certificate, a.key.Public(), parent.key)
		a.Chain = append([]*x509.Certificate{parent.Certificate}, parent.Chain...)
	}
	w.authorities = append(w.authorities, a)
	return a
}

// authority returns a CA by its name.
func (w *world) authority(name string) *authority {
	w.t.Helper()
	for _, a := range w.authorities {
		if a.Name == name {
			return a
		}
	}
	w.t.Fatalf("the world has no authority %q", name)
	return nil
}

func sign(t testing.TB, template, parent *x509.Certificate, public any, key crypto.Signer) *x509.Certificate {
	t.Helper()
	serial := make([]byte, 16)
	if _, err := rand.Read(serial); err != nil {
		t.Fatal(err)
	}
	serial[0] = serial[0]&0x3f | 0x40
	template.SerialNumber = new(big.Int).SetBytes(serial)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// certify issues a device's certificate and records nothing. What change does to the
// record holds for the certificate too, as far as it is in there.
func (w *world) certify(issuer, name string, change ...func(*ledger.Certificate)) device {
	w.t.Helper()
	a, key, now := w.authority(issuer), pkitest.NewKey(w.t), w.now()
	record := ledger.Certificate{
		Issuer: issuer, Profile: "device", Label: issuer, Purpose: ledger.ForDevice, Device: name, State: ledger.Valid,
		Requester: ledger.Requester{Kind: "secret", Name: name},
		NotBefore: now.Add(-time.Minute).Truncate(time.Second), NotAfter: now.AddDate(1, 0, 0).Truncate(time.Second),
		IntentAt: now, IssuedAt: now,
	}
	for _, f := range change {
		f(&record)
	}
	c := sign(w.t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: record.NotBefore, NotAfter: record.NotAfter,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.Certificate, key.Public(), a.key)
	record.Serial, record.DER = ledger.Serial(fmt.Sprintf("%x", c.SerialNumber.Bytes())), c.Raw
	return device{record, c, append([]*x509.Certificate{a.Certificate}, a.Chain...), key}
}

// verification does what the issuance cycle does for dpsreg.
func (w *world) verification(name, code string, validity time.Duration) ([]byte, error) {
	w.verifications++
	if w.beforeVerification != nil {
		before := w.beforeVerification
		w.beforeVerification = nil
		before()
	}
	a, key := w.authority(name), pkitest.NewKey(w.t)
	c := sign(w.t, &x509.Certificate{
		Subject:   pkix.Name{CommonName: code},
		NotBefore: w.now().Add(-time.Minute), NotAfter: w.now().Add(validity), KeyUsage: x509.KeyUsageDigitalSignature,
	}, a.Certificate, key.Public(), a.key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), nil
}

// ours are the world's authorities.
func (w *world) ours() []dpsreg.Authority {
	list := make([]dpsreg.Authority, len(w.authorities))
	for i, a := range w.authorities {
		list[i] = a.Authority
	}
	return list
}

// connections are those of a fresh process of the server.
func (w *world) connections() *dpsreg.Connections {
	w.t.Helper()
	c, err := dpsreg.NewConnections(dpsreg.Connecting{Secret: os.ReadFile, Deadline: time.Minute, Now: w.now})
	w.ok(err)
	return c
}

// devices is what a fresh process of the server tells devices by.
func (w *world) devices() *dpsreg.Devices {
	w.t.Helper()
	return w.devicesOf(w.ledger())
}

func (w *world) devicesOf(records dpsreg.Records) *dpsreg.Devices {
	w.t.Helper()
	ds, err := dpsreg.NewDevices(w.connections(), w.ours, records)
	w.ok(err)
	return ds
}

// registrar is that of a fresh process of the server.
func (w *world) registrar() *dpsreg.Registrar {
	w.t.Helper()
	cfg := dpsreg.Config{
		Authorities: w.ours,
		LabelIssuer: map[string]string{"line": "line", "auto": "auto", "line2": "line2"},
		Verification: func(_ context.Context, authority, code string) ([]byte, error) {
			return w.verification(authority, code, 10*time.Minute)
		},
		Carried: func(_ context.Context, authority, code string) ([]byte, error) {
			return w.verification(authority, code, 48*time.Hour)
		},
		Records: w.ledger(),
	}
	for _, f := range w.configure {
		f(&cfg)
	}
	r, err := dpsreg.New(w.connections(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// target is the simulated service with nothing wanted of it.
func (w *world) target() dpsreg.Target {
	cfg := w.sim.Config()
	return dpsreg.Target{
		Name: "factory", SubscriptionID: cfg.SubscriptionID, ResourceGroup: cfg.ResourceGroup, Service: cfg.Service, IDScope: cfg.IDScope,
		Identity:     dpsreg.Identity{TenantID: cfg.TenantID, ClientID: cfg.ClientID, SecretFile: w.path("client-secret")},
		Connect:      dpsreg.Connect{Address: w.sim.Addr(), Trust: w.path("root.pem")},
		OpsPerMinute: 10_000_000,
	}
}

// http is a client of the simulator that is nobody's in particular; a device's if
// there is a certificate.
func (w *world) http(certificates ...tls.Certificate) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.sim.RootPEM())
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certificates},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, w.sim.Addr())
		},
	}, Timeout: time.Minute}
	w.t.Cleanup(client.CloseIdleConnections)
	return client
}

// dps is an operator's own client.
func (w *world) dps() *dps.Client {
	w.t.Helper()
	return dps.New(w.rest(w.sim.Config().Service+".azure-devices-provisioning.net", dps.APIVersion, "provisioningserviceowner"))
}

// hub is an operator's own client of a hub.
func (w *world) hub(host string) *hub.Client {
	w.t.Helper()
	return hub.New(w.rest(host, hub.APIVersion, "iothubowner"))
}

func (w *world) rest(host, version, policy string) *rest.Client {
	w.t.Helper()
	sas, err := rest.NewSAS(host, policy, w.sim.Config().Keys[policy], w.now)
	w.ok(err)
	return &rest.Client{Base: "https://" + host, APIVersion: version, Authorization: sas, HTTP: w.http()}
}

// state is all that the simulator holds, to be compared.
func (w *world) state() string {
	w.t.Helper()
	return string(w.sim.State())
}
