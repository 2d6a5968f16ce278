package batch_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/issuer/batch"
)

// BenchmarkBatch makes batches with generated P-256 keys, as ZIPs of PEM, over a durable and
// linting registration authority in the same process, as mintmark batch does where no
// server runs. The metric ratio is its rate to that of nothing but
// ecdsa.GenerateKey and x509.CreateCertificate on all processors, just before and after.
func BenchmarkBatch(b *testing.B) {
	f := newFactory(b)
	const devices = 5000
	before := bare(b)
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // as the command does
	plan := f.plan()
	plan.Unencrypted, plan.Recipient = false, customer(b).Raw
	count := 0
	var took time.Duration
	for b.Loop() {
		b.StopTimer()
		_, one := create(b, plan, batch.Numbered("SN-", count, devices, 8), 500)
		count += devices
		b.StartTimer()
		begin := time.Now()
		if s, err := one.Run(b.Context(), f.certifier(), batch.Options{}); err != nil || s.Issued != devices {
			b.Fatalf("%+v, %v", s, err)
		}
		took += time.Since(begin)
		one.Close()
	}
	rate := float64(count) / took.Seconds()
	raw := (before + bare(b)) / 2
	b.ReportMetric(rate, "certs/s")
	b.ReportMetric(raw, "bare/s")
	b.ReportMetric(rate/raw, "ratio")
	b.ReportMetric(0, "ns/op")
}

// bare is how many keys and certificates all processors make in a second, and nothing else.
func bare(b *testing.B) float64 {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	parent := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, SubjectKeyId: []byte{1}}
	var count atomic.Int64
	var wait sync.WaitGroup
	begin := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for time.Since(begin) < 2*time.Second {
				device, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
				if err != nil {
					b.Error(err)
					return
				}
				template := &x509.Certificate{
					SerialNumber: big.NewInt(count.Add(1)), Subject: pkix.Name{CommonName: "SN-1"}, NotBefore: begin, NotAfter: begin.Add(time.Hour),
					KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
				}
				if _, err := x509.CreateCertificate(rand.Reader, template, parent, &device.PublicKey, key); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	return float64(count.Load()) / time.Since(begin).Seconds()
}
