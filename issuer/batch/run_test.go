package batch_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/internal/ledger"
	"mintmark/issuer/batch"
	"mintmark/issuer/batch/remote"
)

// shipped reads the unencrypted PEM parts of a delivery: key and certificate of each device.
func shipped(t *testing.T, dir string) (certs map[string]*x509.Certificate, keys map[string][]byte) {
	t.Helper()
	certs, keys = make(map[string]*x509.Certificate), make(map[string][]byte)
	parts, err := filepath.Glob(filepath.Join(dir, batch.Delivery, "part-*.zip"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range parts {
		z, err := zip.OpenReader(part)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range z.File {
			r, err := entry.Open()
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			block, _ := pem.Decode(content)
			name, kind := strings.TrimSuffix(strings.TrimSuffix(entry.Name, ".pem"), ".key"), filepath.Ext(entry.Name)
			if kind == ".key" {
				keys[name] = block.Bytes
				continue
			}
			if certs[name] != nil {
				t.Errorf("%s is in two parts", name)
			}
			if certs[name], err = x509.ParseCertificate(block.Bytes); err != nil {
				t.Fatal(err)
			}
		}
		z.Close()
	}
	return certs, keys
}

// whole checks what must hold of a batch of so many devices that is done: each has one
// certificate in force, which is in one part beside the key that it is for.
func (f *factory) whole(t *testing.T, dir string, devices int) {
	t.Helper()
	certs, keys := shipped(t, dir)
	records := f.certificates(t)
	inForce := 0
	for _, c := range records {
		if c.State != ledger.Valid {
			if c.State != ledger.Voided {
				t.Errorf("certificate %s of %s is %s", c.Serial, c.Device, c.State)
			}
			continue
		}
		inForce++
		shipped := certs[c.Device]
		if shipped == nil || !bytes.Equal(shipped.Raw, c.DER) {
			t.Errorf("the certificate of %s in the ledger is not the one in the delivery", c.Device)
			continue
		}
	}
	f.matching(t, certs, keys)
	if inForce != devices || len(certs) != devices || len(keys) != devices {
		t.Errorf("%d certificates in force, %d certificates and %d keys shipped, want %d of each", inForce, len(certs), len(keys), devices)
	}
	v, err := batch.Verify(dir, f.roots(), time.Now())
	if err != nil || v.Devices != devices || len(v.Unlisted) != 0 {
		t.Errorf("verifying the delivery: %+v, %v", v, err)
	}
}

// matching checks that each key is that of the certificate beside it.
func (f *factory) matching(t *testing.T, certs map[string]*x509.Certificate, keys map[string][]byte) {
	t.Helper()
	for name, c := range certs {
		key, err := x509.ParsePKCS8PrivateKey(keys[name])
		if err != nil {
			t.Errorf("%s has no key: %v", name, err)
			continue
		}
		public, err := x509.MarshalPKIXPublicKey(key.(crypto.Signer).Public())
		if err != nil || !bytes.Equal(public, c.RawSubjectPublicKeyInfo) {
			t.Errorf("the key of %s is not that of its certificate: %v", name, err)
		}
	}
}

func (f *factory) roots() []*x509.Certificate { return []*x509.Certificate{f.root} }

func TestRun(t *testing.T) {
	f := newFactory(t)
	dir, b := create(t, f.plan(), batch.Numbered("SN-", 1, 25, 4), 10)
	var last batch.Progress
	s, err := b.Run(t.Context(), f.certifier(), batch.Options{Progress: func(p batch.Progress) { last = p }})
	if err != nil || s.Issued != 25 || s.Parts != 3 || !s.Signed || s.Prior != 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	if last.Issued != 25 || last.Total != 25 {
		t.Errorf("progress ended with %+v", last)
	}
	f.whole(t, dir, 25)
	for _, gone := range []string{".spool-key", "spool", batch.RefusedFile} {
		if _, err := os.Lstat(filepath.Join(dir, gone)); !os.IsNotExist(err) {
			t.Errorf("%s is there still: %v", gone, err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, batch.Delivery, "part-0001.zip"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a part with keys in the clear: %v, %v", info.Mode(), err)
	}
	// Again: nothing is asked for, and nothing changes.
	before := f.all(t)
	s, err = b.Run(t.Context(), nil, batch.Options{})
	if err != nil || !s.Signed || s.Issued != 25 {
		t.Errorf("again: %+v, %v", s, err)
	}
	if after := f.all(t); after != before {
		t.Errorf("the ledger has %d records, and had %d", after, before)
	}
}

// all counts the records of the ledger.
func (f *factory) all(t *testing.T) int {
	t.Helper()
	page, err := f.ledger.Certificates(t.Context(), ledger.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Certificates)
}

// TestRunKeys: keys that take long to make are seen coming, before there is any certificate.
func TestRunKeys(t *testing.T) {
	f := newFactory(t)
	plan := f.plan()
	plan.KeyType = "RSA-2048"
	_, b := create(t, plan, batch.Named([]string{"SN-0001", "SN-0002"}), 10)
	var seen []batch.Progress
	if s, err := b.Run(t.Context(), f.certifier(), batch.Options{Progress: func(p batch.Progress) { seen = append(seen, p) }}); err != nil || s.Issued != 2 {
		t.Fatalf("%+v, %v", s, err)
	}
	if len(seen) != 4 || seen[1].Keys != 1 || seen[2].Keys != 2 || seen[2].Issued != 0 {
		t.Errorf("progress was %+v", seen)
	}
}

// TestRunRefused: who is refused keeps nobody else from a certificate, and gets one when the cause
// is put right, for the same key.
func TestRunRefused(t *testing.T) {
	f := newFactory(t)
	if _, err := f.ledger.HoldUnknown(t.Context(), "SN-0002", ledger.Held, "test", "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	dir, b := create(t, f.plan(), batch.Named([]string{"SN-0001", "SN-0002", "not a name", "SN-0003"}), 3)
	s, err := b.Run(t.Context(), f.certifier(), batch.Options{})
	if err != nil || s.Issued != 2 || s.Refused != 2 || !s.Signed {
		t.Fatalf("%+v, %v", s, err)
	}
	rules := make(map[string]string)
	if err := batch.EachRefused(dir, func(r batch.Refused) error { rules[r.Device] = r.Rule; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(rules) != 2 || rules["SN-0002"] != "device-held" || rules["not a name"] != "subject" {
		t.Errorf("refused are %v", rules)
	}
	if _, err := f.client.ReleaseDevice(t.Context(), "SN-0002", "test"); err != nil {
		t.Fatal(err)
	}
	var refused []int
	s, err = b.Run(t.Context(), f.certifier(), batch.Options{Progress: func(p batch.Progress) { refused = append(refused, p.Refused) }})
	if err != nil || s.Issued != 3 || s.Refused != 1 || s.Prior != 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	// What an earlier run was refused is to be done, as long as this one has not asked.
	if !slices.Equal(refused, []int{0, 1}) {
		t.Errorf("progress counted %v as refused", refused)
	}
	f.whole(t, dir, 3)
	_, status, err := batch.Status(dir)
	if err != nil || status.Issued != 3 || status.Refused != 1 || !status.Signed {
		t.Errorf("status: %+v, %v", status, err)
	}
}

// TestRunQuota: a work order without units ends the asking; with more of them it goes on.
func TestRunQuota(t *testing.T) {
	f := newFactory(t)
	f.order(t, "WO-1", 7)
	plan := f.plan()
	plan.Order = "WO-1"
	dir, b := create(t, plan, batch.Numbered("SN-", 1, 40, 4), 2)
	certifier := f.certifier()
	certifier.Order = "WO-1"
	s, err := b.Run(t.Context(), certifier, batch.Options{})
	if err != nil || s.Issued != 7 || s.Refused == 0 || s.Unasked < 20 || s.Stopped == "" {
		t.Fatalf("%+v, %v", s, err)
	}
	f.raise(t, "WO-1", 100)
	if s, err = b.Run(t.Context(), certifier, batch.Options{}); err != nil || s.Issued != 40 || s.Refused != 0 || s.Unasked != 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	f.whole(t, dir, 40)
	order, err := f.ledger.Order(t.Context(), "WO-1")
	if err != nil || order.Taken != 40 {
		t.Errorf("the order has given %d units: %v", order.Taken, err)
	}
}

func (f *factory) raise(t *testing.T, id string, quantity int) {
	t.Helper()
	if _, err := f.ledger.ChangeOrder(t.Context(), id, ledger.OrderChange{Quantity: &quantity}, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
}

// losing is a certifier whose answers are lost at times, after what they say was done.
type losing struct {
	remote.Certifier
	calls, signed int
}

func (l *losing) Certify(ctx context.Context, id string, items []batch.Item) ([]batch.Result, error) {
	results, err := l.Certifier.Certify(ctx, id, items)
	if l.calls++; l.calls == 1 && err == nil {
		return nil, errors.New("the connection was reset")
	}
	return results, err
}

func (l *losing) Sign(ctx context.Context, id string, manifest []byte) ([]byte, error) {
	if l.signed++; l.signed == 1 {
		return nil, errors.New("the connection was reset")
	}
	return l.Certifier.Sign(ctx, id, manifest)
}

// TestSignedAgain: what the journal says was signed and is not there is signed again.
func TestSignedAgain(t *testing.T) {
	f := newFactory(t)
	dir, b := create(t, f.plan(), batch.Numbered("SN-", 1, 2, 2), 2)
	for _, lost := range []string{"", batch.SignatureFile, batch.ManifestFile} {
		if lost != "" {
			if err := os.Remove(filepath.Join(dir, batch.Delivery, lost)); err != nil {
				t.Fatal(err)
			}
		}
		if s, err := b.Run(t.Context(), f.certifier(), batch.Options{}); err != nil || !s.Signed || s.Open != 0 {
			t.Fatalf("%+v, %v", s, err)
		}
		if _, err := batch.Verify(dir, f.roots(), time.Now()); err != nil {
			t.Errorf("without %s: %v", lost, err)
		}
	}
}

// TestRunLost: an answer that was lost is asked for again, and found.
func TestRunLost(t *testing.T) {
	f := newFactory(t)
	dir, b := create(t, f.plan(), batch.Numbered("SN-", 1, 5, 4), 10)
	var said []string
	s, err := b.Run(t.Context(), &losing{Certifier: f.certifier()}, batch.Options{Progress: func(p batch.Progress) {
		if len(said) == 0 || said[len(said)-1] != p.Waiting {
			said = append(said, p.Waiting)
		}
	}})
	if err != nil || s.Issued != 5 || s.Prior != 5 {
		t.Fatalf("%+v, %v", s, err)
	}
	f.whole(t, dir, 5)
	// And people are told, at once.
	if want := []string{"", "the connection was reset", "", "the connection was reset", ""}; !slices.Equal(said, want) {
		t.Errorf("it says that it waits for %q, want %q", said, want)
	}
}

// TestRunFinal: what would be refused again is not asked for again, and the folder goes on
// when it is put right.
func TestRunFinal(t *testing.T) {
	f := newFactory(t)
	dir, b := create(t, f.plan(), batch.Numbered("SN-", 1, 5, 4), 10)
	wrong := f.certifier()
	wrong.Issuer = "nobody"
	_, err := b.Run(t.Context(), wrong, batch.Options{})
	var refusal *admin.Error
	if !errors.As(err, &refusal) || refusal.Rule != "authority" {
		t.Fatalf("got %v", err)
	}
	if s, err := b.Run(t.Context(), f.certifier(), batch.Options{}); err != nil || s.Issued != 5 {
		t.Fatalf("%+v, %v", s, err)
	}
	f.whole(t, dir, 5)
}

// TestRunCancelled: a run that is ended leaves what another goes on with.
func TestRunCancelled(t *testing.T) {
	f := newFactory(t)
	dir, b := create(t, f.plan(), batch.Numbered("SN-", 1, 40, 4), 4)
	ctx, cancel := context.WithCancel(t.Context())
	b.SetStep(func(step string) {
		if step == "written" {
			cancel()
		}
	}, 4)
	if s, err := b.Run(ctx, f.certifier(), batch.Options{}); !errors.Is(err, context.Canceled) || s.Signed || s.Issued+s.Open+s.Unasked != 40 {
		t.Fatalf("%+v, %v", s, err)
	}
	b.SetStep(nil, 4)
	if s, err := b.Run(t.Context(), f.certifier(), batch.Options{}); err != nil || s.Issued != 40 {
		t.Fatalf("%+v, %v", s, err)
	}
	f.whole(t, dir, 40)
}

// TestRequests: the devices have their keys, and each gets the certificate for its own.
func TestRequests(t *testing.T) {
	f := newFactory(t)
	list := requests(t, "pump-1", "pump-2", "pump-3")
	plan := f.plan()
	plan.KeyType, plan.Unencrypted = "", false
	dir, b := create(t, plan, asked(list), 2)
	s, err := b.Run(t.Context(), f.certifier(), batch.Options{})
	if err != nil || s.Issued != 3 {
		t.Fatalf("%+v, %v", s, err)
	}
	certs, keys := shipped(t, dir)
	if len(certs) != 3 || len(keys) != 0 {
		t.Errorf("%d certificates and %d keys", len(certs), len(keys))
	}
	if _, err := os.Stat(filepath.Join(dir, ".spool-key")); !os.IsNotExist(err) {
		t.Errorf("there is a key for nothing: %v", err)
	}
}

func TestBusy(t *testing.T) {
	f := newFactory(t)
	dir, _ := create(t, f.plan(), batch.Numbered("SN-", 1, 5, 4), 10)
	if b, err := batch.Open(dir); !errors.Is(err, batch.ErrBusy) {
		t.Errorf("a second run got %v, %v", b, err)
	}
	if _, err := batch.Create(dir, f.plan(), batch.Numbered("SN-", 1, 5, 4), time.Now()); !errors.Is(err, batch.ErrBusy) {
		t.Errorf("a second create got %v", err)
	}
}

// TestCreateAgain: the same words are the same batch, other words are refused.
func TestCreateAgain(t *testing.T) {
	f := newFactory(t)
	dir := filepath.Join(t.TempDir(), "batch")
	first, err := batch.Create(dir, f.plan(), batch.Numbered("SN-", 1, 5, 4), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	again, err := batch.Create(dir, f.plan(), batch.Numbered("SN-", 1, 5, 4), time.Now().Add(time.Hour))
	if err != nil || again.ID != first.ID {
		t.Errorf("%+v, %v", again, err)
	}
	other := f.plan()
	other.KeyType = "P-384"
	if _, err := batch.Create(dir, other, batch.Numbered("SN-", 1, 5, 4), time.Now()); err == nil {
		t.Error("another key type is the same batch")
	}
	if _, err := batch.Create(dir, f.plan(), batch.Numbered("SN-", 1, 6, 4), time.Now()); err == nil {
		t.Error("another number of devices is the same batch")
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "letter.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := batch.Create(full, f.plan(), batch.Numbered("SN-", 1, 5, 4), time.Now()); err == nil || !strings.Contains(err.Error(), "letter.txt") {
		t.Errorf("a folder with other things: %v", err)
	}
}
