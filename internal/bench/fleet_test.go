package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mintmark/internal/cms"
)

// answers serves simpleenroll: to each request, counted from 1, what answer makes of it.
func answers(t *testing.T, answer func(n int64, csr *x509.CertificateRequest) (status int, certificate []byte)) *fleet {
	t.Helper()
	var n atomic.Int64
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, r.Body))
		if err != nil {
			t.Error(err)
		}
		csr, err := x509.ParseCertificateRequest(body)
		if err != nil {
			t.Error(err)
			return
		}
		status, der := answer(n.Add(1), csr)
		w.WriteHeader(status)
		io.WriteString(w, base64.StdEncoding.EncodeToString(der))
	}))
	t.Cleanup(server.Close)
	f := &fleet{address: server.Listener.Addr().String(), path: "/.well-known/est/simpleenroll", roots: x509.NewCertPool()}
	f.roots.AddCert(server.Certificate())
	for i := range 2 {
		f.devices = append(f.devices, &device{name: fmt.Sprintf("d%d", i), tls: &tls.Config{RootCAs: f.roots, ServerName: "example.com"}})
	}
	return f
}

// certifier makes certs-only messages.
func certifier(t *testing.T) func(name string, key any) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return func(name string, public any) []byte {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
		if err != nil {
			t.Error(err)
			return nil
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			t.Error(err)
			return nil
		}
		message, err := cms.CertsOnly([]*x509.Certificate{certificate})
		if err != nil {
			t.Error(err)
		}
		return message
	}
}

// What is counted was answered, and one refusal makes a figure worthless.
func TestLoad(t *testing.T) {
	certify := certifier(t)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := func(_ int64, csr *x509.CertificateRequest) (int, []byte) {
		return http.StatusOK, certify(csr.Subject.CommonName, csr.PublicKey)
	}
	for _, test := range []struct {
		name   string
		answer func(int64, *x509.CertificateRequest) (int, []byte)
		want   string // of the error; empty for none
	}{
		{"all is answered", good, ""},
		{"the fifth is refused", func(n int64, csr *x509.CertificateRequest) (int, []byte) {
			if n == 5 {
				return http.StatusServiceUnavailable, nil
			}
			return good(n, csr)
		}, "503"},
		{"a wait for approval", func(int64, *x509.CertificateRequest) (int, []byte) { return http.StatusAccepted, nil }, "202"},
		{"for another device", func(_ int64, csr *x509.CertificateRequest) (int, []byte) {
			return http.StatusOK, certify("other", csr.PublicKey)
		}, "for other"},
		{"for another key", func(_ int64, csr *x509.CertificateRequest) (int, []byte) {
			return http.StatusOK, certify(csr.Subject.CommonName, other.Public())
		}, "another key"},
		{"nothing in it", func(int64, *x509.CertificateRequest) (int, []byte) { return http.StatusOK, nil }, "parsing"},
	} {
		for _, keepAlive := range []bool{true, false} {
			var answered atomic.Int64
			f := answers(t, func(n int64, csr *x509.CertificateRequest) (int, []byte) {
				answered.Add(1)
				return test.answer(n, csr)
			})
			// The requests end long before the time.
			got, err := f.run(t.Context(), len(f.devices), keepAlive, 16, time.Hour)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s: %v, want %q", test.name, err, test.want)
				}
				continue
			}
			handshakes := int64(len(f.devices))
			if !keepAlive {
				handshakes = answered.Load()
			}
			if err != nil || int64(got.count) != answered.Load() || got.count < 9 || got.handshakes != handshakes || got.p50 <= 0 || got.p99 < got.p50 {
				t.Errorf("%s: %+v of %d, %v", test.name, got, answered.Load(), err)
			}
		}
	}
}

// A load that was cut off is no shorter measurement.
func TestInterruptedLoad(t *testing.T) {
	certify := certifier(t)
	ctx, cancel := context.WithCancel(t.Context())
	f := answers(t, func(n int64, csr *x509.CertificateRequest) (int, []byte) {
		if n == 3 {
			cancel()
		}
		return http.StatusOK, certify(csr.Subject.CommonName, csr.PublicKey)
	})
	if got, err := f.run(ctx, len(f.devices), true, 1000, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := f.requests(ctx, 1, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Each request that is due is made, once.
func TestOpenLoop(t *testing.T) {
	certify := certifier(t)
	var answered atomic.Int64
	f := answers(t, func(n int64, csr *x509.CertificateRequest) (int, []byte) {
		answered.Add(1)
		return http.StatusOK, certify(csr.Subject.CommonName, csr.PublicKey)
	})
	got, err := f.open(t.Context(), len(f.devices), 1000, 30*time.Millisecond)
	if err != nil || int64(got.count) != answered.Load() || got.count < 10 {
		t.Errorf("%+v of %d, %v", got, answered.Load(), err)
	}
	answered.Store(0)
	f = answers(t, func(int64, *x509.CertificateRequest) (int, []byte) { return http.StatusServiceUnavailable, nil })
	if _, err := f.open(t.Context(), len(f.devices), 1000, 30*time.Millisecond); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("%v", err)
	}
}

func TestMeasure(t *testing.T) {
	// 1 to 1000 ms, by two clients.
	half := func(i int, handshakes *atomic.Int64) (list []time.Duration, err error) {
		handshakes.Add(1)
		for ms := i + 1; ms <= 1000; ms += 2 {
			list = append(list, time.Duration(ms)*time.Millisecond)
		}
		return list, nil
	}
	got, err := measure(2, half)
	if err != nil || got.count != 1000 || got.handshakes != 2 || got.rate <= 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if got.p50 != 500*time.Millisecond || got.p99 != 990*time.Millisecond {
		t.Errorf("p50 %v, p99 %v", got.p50, got.p99)
	}
	if _, err := measure(2, func(int, *atomic.Int64) ([]time.Duration, error) { return nil, nil }); err != errNothing {
		t.Errorf("without an answer: %v", err)
	}
	failed := errors.New("refused")
	_, err = measure(3, func(i int, h *atomic.Int64) ([]time.Duration, error) {
		if i == 1 {
			return nil, failed
		}
		return half(i, h)
	})
	if !errors.Is(err, failed) || !strings.Contains(err.Error(), "1 of 3 clients failed") {
		t.Errorf("%v", err)
	}
}
