package bench

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// The runs of a batch.
const (
	batchP256    = "batch_p256"
	keygenCreate = "keygen_create_2cores"
)

// batch runs the command that a person types, from its start to its end, and compares it
// with keys and certificates that are made and thrown away.
func (r *run) batch(ctx context.Context) error {
	before, err := bare(len(r.cores), r.Duration/4)
	if err != nil {
		return err
	}
	if !r.wants(batchP256) {
		r.add(before.figure(keygenCreate))
		return nil
	}
	state, err := r.state(ctx, "batch", "")
	if err != nil {
		return err
	}
	customer := filepath.Join(r.dir, "customer.pem")
	if err := newCustomer(customer); err != nil {
		return err
	}
	// About as long as a load runs.
	count := max(1000, int(before.rate*0.5*r.Duration.Seconds())/500*500)
	cmd := exec.CommandContext(ctx, r.Binary, "batch", "create", "--dir", state, "--out", filepath.Join(r.dir, "shipment"),
		"--profile", "device", "--issuer", "issuing", "--count", strconv.Itoa(count), "--prefix", "SN-", "--encrypt-to", customer)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", batchP256, err, bytes.TrimSpace(said.Bytes()))
	}
	elapsed := time.Since(start)
	after, err := bare(len(r.cores), r.Duration/4)
	if err != nil {
		return err
	}
	both := mean(before, after)
	rate := float64(count) / elapsed.Seconds()
	used := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()) / time.Duration(count)
	r.add(both.figure(keygenCreate))
	r.add(Figure{Name: batchP256, Value: rate, Unit: "certificates/s", RatioToRaw: rate / both.rate, CPUms: millis(used), CPURatio: 1 / both.byCPU / used.Seconds(),
		note: fmt.Sprintf("%d certificates in %.1f s", count, elapsed.Seconds())})
	return nil
}

// newCustomer writes a certificate that keys are encrypted for. Its own key is thrown away.
func newCustomer(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "customer"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageKeyAgreement,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}
