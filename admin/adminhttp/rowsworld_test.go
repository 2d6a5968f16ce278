package adminhttp_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/ca"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// device is a request about a device that is in the state before.
func device(path string, before, after ledger.DeviceState) func(*testing.T, *people, string, string) (wire, func() bool) {
	return func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		p.certificate(t, name)
		if before != "" {
			if _, err := p.ra.Ledger.HoldDevice(t.Context(), name, before, "test", "test", time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		return wire{path: "/v1/devices/" + name + path, body: admin.Note{Note: "test"}}, func() bool {
			d, err := p.ra.Ledger.Device(t.Context(), name)
			return err == nil && d.State == after
		}
	}
}

// enrollment is a decision about a request that waits.
func enrollment(path string, after ledger.EnrollmentState) func(*testing.T, *people, string, string) (wire, func() bool) {
	return func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		id := p.queued(t, name).ID
		return wire{path: "/v1/enrollments/" + id + path, body: admin.Decision{Note: "test"}}, func() bool {
			e, err := p.ra.Ledger.Enrollment(t.Context(), id)
			return err == nil && e.State == after
		}
	}
}

func (p *people) hasSecret(t *testing.T, device string) bool {
	t.Helper()
	_, err := p.ra.Ledger.DeviceSecret(t.Context(), device)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// root makes a root with the subject of the one that is called root, past the
// API.
func (p *people) root(t *testing.T, name string, years int) {
	t.Helper()
	if _, err := p.ra.CreateAuthority(t.Context(), issuer.AuthoritySpec{
		Spec: ca.Spec{Name: name, Subject: pkix.Name{CommonName: "root"}, Validity: time.Duration(years) * 365 * 24 * time.Hour, Backdate: time.Hour},
		Key:  ca.P256,
	}, ledger.Requester{Kind: "admin", Name: "test"}); err != nil {
		t.Fatal(err)
	}
}

// rolls reports whether a rollover to that root runs.
func (p *people) rolls(t *testing.T, name string) bool {
	t.Helper()
	list, err := p.ra.Ledger.Rollovers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(list, func(r ledger.Rollover) bool { return r.New == name && r.EndedAt.IsZero() })
}

// order is a request about a work order.
func order(path string, body any, changed func(before, after ledger.Order) bool) func(*testing.T, *people, string, string) (wire, func() bool) {
	return func(t *testing.T, p *people, _, name string) (wire, func() bool) {
		before := p.order(t, name)
		return wire{path: "/v1/orders/" + name + path, body: body}, func() bool {
			after, err := p.ra.Ledger.Order(t.Context(), name)
			return err == nil && changed(before, after)
		}
	}
}

func (p *people) order(t *testing.T, name string) ledger.Order {
	t.Helper()
	o := ledger.Order{
		ID: name, Profile: "device", Label: "line", Quantity: 10, State: ledger.OrderOpen, CreatedBy: "test", CreatedAt: time.Now(),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour).Truncate(time.Second), Secret: sha256.Sum256([]byte(name)),
	}
	if err := p.ra.Ledger.CreateOrder(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return o
}

// certificate records a certificate of a device, past the issuance cycle: some
// rows need several for one device.
func (p *people) certificate(t *testing.T, device string) ledger.Serial {
	t.Helper()
	var number [16]byte
	rand.Read(number[:])
	number[0] |= 0x40
	number[0] &= 0x7f
	serial := ledger.Serial(hex.EncodeToString(number[:]))
	results, err := p.ra.Ledger.ImportCertificates(t.Context(), []ledger.Certificate{{
		Serial: serial, Issuer: "issuing", Profile: "device", Purpose: ledger.ForDevice, Device: device, Subject: "CN=" + device,
		Key: sha256.Sum256(number[:]), DER: []byte(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}}, "test", time.Now())
	if err == nil {
		err = results[0]
	}
	if err != nil {
		t.Fatal(err)
	}
	return serial
}

func (p *people) revoked(t *testing.T, serial ledger.Serial) bool {
	t.Helper()
	record, err := p.ra.Ledger.Certificate(t.Context(), serial)
	if err != nil {
		t.Fatal(err)
	}
	return record.State == ledger.Revoked
}

// authority makes a CA, past the API.
func (p *people) authority(t testing.TB, name, parent string) ledger.Serial {
	t.Helper()
	years := time.Duration(20)
	if parent != "" {
		years = 10
	}
	a, err := p.ra.CreateAuthority(t.Context(), issuer.AuthoritySpec{
		Spec: ca.Spec{Name: name, Subject: pkix.Name{CommonName: name}, Validity: years * 365 * 24 * time.Hour, Backdate: time.Hour},
		Key:  ca.P256, Issuer: parent,
	}, ledger.Requester{Kind: "admin", Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if name == "issuing" {
		if answer := p.ask(t, "alice", "POST", wire{path: "/v1/authorities/issuing/crl"}); answer.Code != 200 {
			t.Fatalf("signing the first CRL: %s", answer.Body)
		}
	}
	return issuer.SerialOf(a.Certificate().SerialNumber)
}

func (p *people) hasAuthority(name string) bool {
	_, err := p.ra.Authority(name)
	return err == nil
}

func (p *people) find(t *testing.T, name string) (ledger.Principal, bool) {
	t.Helper()
	list, err := p.ra.Ledger.Principals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return access.ByName(list, name)
}

// proposal is bob's, to add an auditor of that name.
func (p *people) proposal(t *testing.T, name string) ledger.Approval {
	t.Helper()
	answer := p.ask(t, "bob", "POST", wire{path: "/v1/principals", body: admin.PrincipalSpec{Name: name, Roles: []string{"auditor"}, UnixUser: name}})
	list, err := p.ra.Ledger.Approvals(t.Context(), ledger.Pending, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if strings.Contains(a.Words, name) {
			t.Cleanup(func() { p.ask(t, "bob", "POST", wire{path: "/v1/approvals/" + a.ID + "/reject", body: none}) })
			return a
		}
	}
	t.Fatalf("nothing was proposed: %d %s", answer.Code, answer.Body)
	return ledger.Approval{}
}

func (p *people) state(t *testing.T, a ledger.Approval) ledger.ApprovalState {
	t.Helper()
	now, err := p.ra.Ledger.Approval(t.Context(), a.ID)
	if err != nil {
		t.Fatal(err)
	}
	return now.State
}

func spki(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// away is a CA that mintmark does not have.
var away struct {
	sync.Once
	key  crypto.Signer
	root *x509.Certificate
}

func elsewhere(t *testing.T) *x509.Certificate {
	t.Helper()
	away.Do(func() {
		away.key = pkitest.NewKey(t)
		away.root = sign(t, &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Elsewhere"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}, nil, away.key.Public())
	})
	return away.root
}

// signedElsewhere is the DER of a device's certificate of that CA.
func signedElsewhere(t *testing.T, name string) []byte {
	t.Helper()
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		t.Fatal(err)
	}
	return sign(t, &x509.Certificate{SerialNumber: number, Subject: pkix.Name{CommonName: name}}, elsewhere(t), pkitest.NewKey(t).Public()).Raw
}

// listElsewhere is the DER of a CRL of that CA.
func listElsewhere(t *testing.T, number int64, serials ...*big.Int) []byte {
	t.Helper()
	root := elsewhere(t)
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: list.ThisUpdate})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, root, away.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func sign(t *testing.T, template, parent *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	t.Helper()
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, away.key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fleetOrder records a work order for a fleet at AWS, past the API.
func (p *people) fleetOrder(t *testing.T, name string) {
	t.Helper()
	now := time.Now()
	err := p.ra.Ledger.CreateOrder(t.Context(), ledger.Order{
		ID: name, Profile: adminhttp.FleetProfile, Label: fleetLabel, Quantity: 10, State: ledger.OrderOpen, CreatedBy: "test", CreatedAt: now,
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
}

func decodeInto(t *testing.T, content []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(content, into); err != nil {
		t.Fatalf("%v: %s", err, content)
	}
}
