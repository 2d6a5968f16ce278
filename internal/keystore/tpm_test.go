package keystore

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/pkitest"
)

// The life of keys in a TPM: made, used, used again after the TPM was away, read by a
// program that is not ours, destroyed.
func TestTPM(t *testing.T) {
	tpm := newSoftTPM(t)
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, TPMDevice: tpm.socket})
	keys := make(map[string]crypto.Signer)
	for _, alg := range []string{"P-256", "P-384", "RSA-2048"} {
		uri, made, err := s.Create(background, tpm.uri(alg), alg)
		if err != nil {
			t.Fatal(err)
		}
		if kindOf(made.Public()) != alg {
			t.Errorf("asked for %s, got %s", alg, kindOf(made.Public()))
		}
		opened, err := s.Signer(background, uri, made.Public())
		if err != nil {
			t.Fatal(err)
		}
		if err := testSign(opened); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		keys[alg] = opened
		info, err := os.Stat(filepath.Join(dir, "tpm", "key-"+alg+".tpmobj"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the key file: %v, %v", info, err)
		}
		if _, _, err := s.Create(background, uri, alg); !errors.Is(err, ErrExists) {
			t.Errorf("making it again: %v", err)
		}
	}
	if _, err := s.Signer(background, tpm.uri("P-256"), keys["P-384"].Public()); !errors.Is(err, ErrMismatch) {
		t.Errorf("opening another key than the wanted one: %v", err)
	}
	if _, err := s.Signer(background, tpm.uri("none"), nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("a key that is not there: %v", err)
	}
	if _, _, err := s.Create(background, tpm.uri("big"), "RSA-4096"); err == nil || !strings.Contains(err.Error(), "not RSA-4096") {
		t.Errorf("a kind of key that TPMs do not have: %v", err)
	}

	// Away: an error in words, and at once when it has failed a few times. Then back.
	tpm.stop()
	for range restAfter {
		var wait interface{ RetryAfter() time.Duration }
		if err := testSign(keys["P-256"]); !errors.As(err, &wait) || wait.RetryAfter() <= 0 {
			t.Fatalf("without the TPM: %v", err)
		}
	}
	if err := keys["P-256"].(*bounded).Ready(); err == nil {
		t.Error("ready without the TPM")
	}
	if _, err := s.Signer(background, tpm.uri("P-256"), nil); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("opening without the TPM: %v", err)
	}
	away := open(t, Config{Dir: t.TempDir(), TPMDevice: tpm.socket + ".none"})
	if _, _, err := away.Create(background, "tpmkms:name=a", "P-256"); err == nil || !strings.HasSuffix(err.Error(), ".none is not there: is there a TPM 2.0, and is it on in the firmware?") {
		t.Errorf("making a key without a TPM: %v", err)
	}
	tpm.start()
	for alg, key := range keys {
		tpm.until(alg+" signs again", func() bool { return testSign(key) == nil })
	}

	// tpm2-tools loads the key under the same storage root key, and reads the same
	// public key. It signs with it too, which OpenSSL verifies.
	tpm.stop()
	for alg, key := range keys {
		tpm.blobs(filepath.Join(dir, "tpm", "key-"+alg+".tpmobj"))
		pkitest.Tool(t, "tpm2_load")
		out := tpm.tools(`
			tpm2_load -Q -C 0x81000001 -u key.pub -r key.priv -c key.ctx
			tpm2_readpublic -Q -c key.ctx -f pem -o read.pem
			tpm2_readpublic -c key.ctx
			tpm2_flushcontext -t`)
		block, _ := pem.Decode(pkitest.ReadFile(t, filepath.Join(tpm.dir, "read.pem")))
		if block == nil {
			t.Fatal("tpm2_readpublic wrote no PEM")
		}
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil || checkPublic(public, key.Public()) != nil {
			t.Errorf("%s: tpm2-tools read another public key, %v", alg, err)
		}
		if !strings.Contains(out, "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign\n") {
			t.Errorf("%s: the attributes are other than expected:\n%s", alg, out)
		}
	}
	tpm.start()
	file := filepath.Join(dir, "tpm", "key-P-256.tpmobj")
	for _, wrong := range []crypto.PublicKey{nil, keys["P-384"].Public()} {
		if err := s.Destroy(background, tpm.uri("P-256"), wrong); err == nil {
			t.Error("a key was destroyed that was not meant")
		}
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	tpm.until("the key is destroyed", func() bool {
		return s.Destroy(background, tpm.uri("P-256"), keys["P-256"].Public()) == nil
	})
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the file of the destroyed key: %v", err)
	}
	if err := s.Destroy(background, tpm.uri("P-256"), keys["P-256"].Public()); !errors.Is(err, ErrNotFound) {
		t.Errorf("destroying it again: %v", err)
	}
}

// A TPM that was cleared, or another one, has none of the keys: the file is of no use.
func TestTPMCleared(t *testing.T) {
	tpm := newSoftTPM(t)
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, TPMDevice: tpm.socket})
	uri, made, err := s.Create(background, tpm.uri("issuing"), "P-256")
	if err != nil {
		t.Fatal(err)
	}
	tpm.stop()
	pkitest.Tool(t, "tpm2_clear")
	tpm.tools("tpm2_clear -c p")
	tpm.start()
	if _, err := open(t, Config{Dir: dir, TPMDevice: tpm.socket}).Signer(background, uri, made.Public()); err == nil || !strings.Contains(err.Error(), "cleared") {
		t.Errorf("opening a key of a TPM that was cleared: %v", err)
	}
	other := newSoftTPM(t)
	if _, err := open(t, Config{Dir: dir, TPMDevice: other.socket}).Signer(background, other.uri("issuing"), made.Public()); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("opening a key of another TPM: %v", err)
	}
}

// A TPM that hangs takes nobody with it, and works again afterwards.
func TestTPMHangs(t *testing.T) {
	tpm := newSoftTPM(t)
	s := open(t, Config{Dir: t.TempDir(), TPMDevice: tpm.socket})
	_, made, err := s.Create(background, tpm.uri("issuing"), "P-256")
	if err != nil {
		t.Fatal(err)
	}
	signer := made.(*bounded)
	signer.within = 200 * time.Millisecond // of 5 s
	if err := tpm.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := testSign(signer); !errors.Is(err, errLate) {
		t.Errorf("a TPM that hangs: %v", err)
	}
	// Its only place is taken: nobody else waits for it.
	if err := testSign(signer); !errors.Is(err, errHangs) {
		t.Errorf("while it hangs: %v", err)
	}
	if err := signer.Ready(); !errors.Is(err, errHangs) {
		t.Errorf("ready while it hangs: %v", err)
	}
	if err := tpm.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	signer.within = signWithin
	tpm.until("it signs again", func() bool { return testSign(signer) == nil })
}

// A store is closed while a call hangs, and opens nothing more.
func TestCloseWhileHanging(t *testing.T) {
	tpm := newSoftTPM(t)
	s := open(t, Config{Dir: t.TempDir(), TPMDevice: tpm.socket})
	if _, _, err := s.Create(background, tpm.uri("first"), "P-256"); err != nil {
		t.Fatal(err)
	}
	if err := tpm.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	u, err := parseURI(tpm.uri("second"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.external(u, true)
	if err != nil {
		t.Fatal(err)
	}
	made, closed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, _, err := s.Create(background, tpm.uri("second"), "P-256")
		made <- err
	}()
	tpm.until("it is being made", func() bool { return len(s.kms.gate(e).places) == 1 })
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("closing waits for a call that hangs")
	}
	if _, err := s.Signer(background, tpm.uri("first"), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("opening after the end: %v", err)
	}
	if err := tpm.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	<-made
}

// A CA whose keys are in a TPM issues certificates, many at a time.
func TestTPMIssues(t *testing.T) {
	tpm := newSoftTPM(t)
	s := open(t, Config{Dir: t.TempDir(), TPMDevice: tpm.socket})
	uri, made, err := s.Create(background, tpm.uri("root"), "P-256")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	spec := ca.Spec{Name: "root", Subject: pkix.Name{Organization: []string{"Mint Works"}, CommonName: "Mint Works Root CA 1"}, Validity: 20 * 365 * 24 * time.Hour, Backdate: time.Hour}
	template, err := spec.Template(big.NewInt(0x1001), now)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ca.PrepareRoot(template, made)
	if err != nil {
		t.Fatal(err)
	}
	p.Recorded()
	root, err := p.Issue(background)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := ca.New(ca.Config{Name: "root", Certificate: root, Signer: func(ctx context.Context) (crypto.Signer, error) {
		return s.Signer(ctx, uri, root.PublicKey)
	}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			leaf := &x509.Certificate{
				SerialNumber: big.NewInt(int64(0x2000 + i)), Subject: pkix.Name{CommonName: "device"},
				NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
				KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
				BasicConstraintsValid: true,
			}
			p, err := authority.Prepare(leaf, pkitest.Key(t, "P-256").Public(), ca.Rules{})
			if err != nil {
				t.Error(err)
				return
			}
			p.Recorded()
			cert, err := p.Issue(background)
			if err != nil {
				t.Error(err)
				return
			}
			if err := cert.CheckSignatureFrom(root); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func BenchmarkTPM(b *testing.B) {
	for _, alg := range []string{"P-256", "RSA-2048"} {
		b.Run(alg, func(b *testing.B) {
			socket := os.Getenv("MINTMARK_BENCH_TPM")
			if socket == "" {
				b.Skip("MINTMARK_BENCH_TPM is not the path of a TPM")
			}
			s, err := Open(Config{Dir: b.TempDir(), TPMDevice: socket})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			_, signer, err := s.Create(background, "tpmkms:name=bench", alg)
			if err != nil {
				b.Fatal(err)
			}
			digest := sha256.Sum256([]byte("message"))
			for b.Loop() {
				if _, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
