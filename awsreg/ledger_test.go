package awsreg_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mintmark/awsreg"
	"mintmark/awsreg/hook"
	"mintmark/internal/audit"
	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
)

// ledger is the world's ledger: the server's own, on SQLite. Registrars that are
// made after the first call read it.
func (w *world) ledger() *sqldb.Store {
	w.t.Helper()
	if w.books != nil {
		return w.books
	}
	dir := w.t.TempDir()
	w.ok(os.Mkdir(filepath.Join(dir, "log"), 0o700))
	log, err := audit.Open(filepath.Join(dir, "log"), audit.Config{Server: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.books, err = sqldb.Open(w.t.Context(), sqldb.Config{Path: filepath.Join(dir, "ledger.db"), Log: log, Migrate: true}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { w.books.Close(); log.Close() })
	return w.books
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// record puts certificates into the ledger as they would be after issuance.
func (w *world) record(certificates ...ledger.Certificate) {
	w.t.Helper()
	for i := range certificates {
		certificates[i].Key = sha256.Sum256(certificates[i].DER)
	}
	errs, err := w.ledger().ImportCertificates(w.t.Context(), certificates, "test", time.Now())
	w.ok(err)
	for _, err := range errs {
		w.ok(err)
	}
}

// issue issues and records a device's certificate.
func (w *world) issue(issuer, device string) ledger.Certificate {
	w.t.Helper()
	_, _, c := w.issuers[issuer].device(w.t, device)
	w.record(c)
	return c
}

// issueLater issues one that is valid from the given time.
func (w *world) issueLater(issuer, device string, notBefore time.Time) ledger.Certificate {
	w.t.Helper()
	key, a := newKey(w.t), w.issuers[issuer]
	c := sign(w.t, &x509.Certificate{
		Subject: pkix.Name{CommonName: device}, NotBefore: notBefore, NotAfter: notBefore.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.Certificate, key.Public(), a.key)
	record := ledger.Certificate{
		Serial: ledger.Serial(fmt.Sprintf("%x", c.SerialNumber.Bytes())), Issuer: issuer, Purpose: ledger.ForDevice, Device: device,
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, State: ledger.Valid, DER: c.Raw,
	}
	w.record(record)
	return record
}

// issueClaim issues and records a claim certificate of an order.
func (w *world) issueClaim(order string) ledger.Certificate {
	w.t.Helper()
	_, _, c := w.issuers["line"].device(w.t, "claim of "+order)
	c.Purpose, c.Device, c.Order = ledger.ForClaim, "", order
	w.record(c)
	return c
}

// order creates an open work order for the fleet pumps.
func (w *world) order(id string, change ...func(*ledger.Order)) ledger.Order {
	w.t.Helper()
	now := time.Now()
	order := ledger.Order{
		ID: id, Product: "pump", Profile: "aws", Label: "aws:line-a/pumps", Quantity: 10, State: ledger.OrderOpen,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), CreatedAt: now, CreatedBy: "test",
	}
	for _, f := range change {
		f(&order)
	}
	w.ok(w.ledger().CreateOrder(w.t.Context(), order))
	return order
}

func (w *world) changeOrder(id string, state ledger.OrderState) {
	w.t.Helper()
	_, err := w.ledger().ChangeOrder(w.t.Context(), id, ledger.OrderChange{State: &state}, "test", time.Now())
	w.ok(err)
}

func (w *world) holdDevice(id string, state ledger.DeviceState) {
	w.t.Helper()
	_, err := w.ledger().HoldDevice(w.t.Context(), id, state, "test", "", time.Now())
	w.ok(err)
}

// list imports a device list of one order.
func (w *world) list(id, order string, devices ...string) {
	w.t.Helper()
	w.importList(ledger.Import{ID: id}, order, devices...)
}

// update imports one that may change devices that are listed already.
func (w *world) update(id, order string, devices ...string) {
	w.t.Helper()
	w.importList(ledger.Import{ID: id, Update: true}, order, devices...)
}

func (w *world) importList(of ledger.Import, order string, devices ...string) {
	w.t.Helper()
	l, ctx, id := w.ledger(), w.t.Context(), of.ID
	of.File, of.Actor, of.At, of.Server = "list.csv", "test", time.Now(), "test"
	w.ok(l.OpenImport(ctx, of))
	for from := 0; from < len(devices); from += 1000 {
		var rows []ledger.Listing
		for i, device := range devices[from:min(from+1000, len(devices))] {
			rows = append(rows, ledger.Listing{Row: from + i + 1, Device: device, Order: order})
		}
		w.ok(l.StageDevices(ctx, id, rows))
	}
	_, err := l.CommitImport(ctx, id, time.Now())
	w.ok(err)
}

// revoke revokes in the ledger, or does what the test has in its place.
func (w *world) revoke(ctx context.Context, serials []ledger.Serial) error {
	if w.revoking != nil {
		return w.revoking(ctx, serials)
	}
	for _, serial := range serials {
		if _, err := w.ledger().Revoke(ctx, ledger.Selector{Serial: serial}, ledger.KeyCompromise, "test", time.Now(), nil); err != nil {
			return err
		}
	}
	return nil
}

// tasks are what the target is told of a certificate as the ledger has it now.
func (w *world) tasks(target awsreg.Target, c ledger.Certificate) []ledger.Task {
	w.t.Helper()
	now, err := w.ledger().Certificate(w.t.Context(), c.Serial)
	w.ok(err)
	return awsreg.TasksFor([]awsreg.Target{target}, now)
}

// tell delivers what there is to tell of certificates.
func (w *world) tell(target awsreg.Target, certificates ...ledger.Certificate) {
	w.t.Helper()
	for _, c := range certificates {
		tasks := w.tasks(target, c)
		if len(tasks) == 0 {
			w.t.Fatalf("nothing to tell of %s", c.Serial)
		}
		w.deliver(target, tasks)
	}
}

func (w *world) tellOrder(target awsreg.Target, id string) {
	w.t.Helper()
	w.deliver(target, awsreg.TasksForOrder([]awsreg.Target{target}, id))
}

func (w *world) tellDevice(target awsreg.Target, id string) {
	w.t.Helper()
	w.deliver(target, awsreg.TasksForDevice([]awsreg.Target{target}, id))
}

// item reads an item of a table; nil if it is not there.
func (w *world) item(table, key string) hook.Item {
	w.t.Helper()
	out, err := w.dynamo().GetItem(w.t.Context(), &dynamodb.GetItemInput{TableName: aws.String(table), Key: hook.Key(key), ConsistentRead: aws.Bool(true)})
	w.ok(err)
	if len(out.Item) == 0 {
		return nil
	}
	return out.Item
}

// put writes an item as a function does.
func (w *world) put(table string, item hook.Item) {
	w.t.Helper()
	_, err := w.dynamo().PutItem(w.t.Context(), &dynamodb.PutItemInput{TableName: aws.String(table), Item: item})
	w.ok(err)
}

func textOf(item hook.Item, name string) string {
	if v, ok := item[name].(*dynamotypes.AttributeValueMemberS); ok {
		return v.Value
	}
	return ""
}

// state is all that the simulator holds, to be compared.
func (w *world) state() string {
	w.t.Helper()
	data, err := w.sim.State(first.ID, region)
	w.ok(err)
	return string(data)
}

func pemText(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// deviceWith issues a certificate for a key and returns its record.
func (a *authority) deviceWith(t testing.TB, name string, key *ecdsa.PrivateKey) ledger.Certificate {
	t.Helper()
	serial := make([]byte, 16)
	_, _ = rand.Read(serial)
	serial[0] = serial[0]&0x3f | 0x40
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return ledger.Certificate{
		Serial: ledger.Serial(fmt.Sprintf("%x", serial)), Issuer: a.Name, Purpose: ledger.ForDevice, Device: name,
		NotBefore: template.NotBefore, NotAfter: template.NotAfter, State: ledger.Valid, DER: der,
	}
}

// request makes a certification request.
func request(t testing.TB, name string) []byte {
	t.Helper()
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// fleetWorld is a world with a target that has fleets, rotation and a CA for each
// use, as Apply makes it.
func fleetWorld(t *testing.T) (*world, awsreg.Target) {
	t.Helper()
	w, target := newFullWorld(t)
	w.ledger()
	target.CAs = target.CAs[:4]
	target.Provider = nil
	if _, err := w.registrar(first).Apply(t.Context(), target, nil); err != nil {
		t.Fatal(err)
	}
	return w, target
}
