package ocsp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
	xocsp "golang.org/x/crypto/ocsp"

	"mintmark/ca/revocation/ocsp"
)

// countingKey counts its signatures, and how many are made at the same time.
type countingKey struct {
	crypto.Signer
	count, now, most atomic.Int32
	hold             chan struct{} // not nil: a signature takes until it is closed
}

func (k *countingKey) Sign(random io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	k.count.Add(1)
	n := k.now.Add(1)
	defer k.now.Add(-1)
	for most := k.most.Load(); n > most && !k.most.CompareAndSwap(most, n); most = k.most.Load() {
	}
	if k.hold != nil {
		<-k.hold
	}
	return k.Signer.Sign(random, digest, o)
}

// counted has the responder of a world sign by a key that counts.
func counted(key *countingKey) func(*world, *ocsp.Config) {
	return func(_ *world, c *ocsp.Config) {
		issue := c.Issue
		c.Issue = func(ctx context.Context, name string) (*x509.Certificate, crypto.Signer, error) {
			certificate, signer, err := issue(ctx, name)
			key.Signer = signer
			return certificate, key, err
		}
	}
}

// from asks from an address, about a serial number that nobody was given if c is nil.
func from(t *testing.T, w *world, address string, c *x509.Certificate, number uint64, nonce bool) error {
	t.Helper()
	issuing := w.authority(t, "issuing")
	if c == nil {
		c = &x509.Certificate{SerialNumber: new(big.Int).SetUint64(number)}
	}
	request, err := xocsp.CreateRequest(c, issuing, nil)
	if err != nil {
		t.Fatal(err)
	}
	if nonce {
		request = withNonce(t, request, binary.BigEndian.AppendUint64(nil, number))
	}
	q := httptest.NewRequest(http.MethodPost, ocsp.Path+"issuing", bytes.NewReader(request))
	q.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(address), uint16(1024+number%60_000)).String()
	answer := httptest.NewRecorder()
	w.responder.ServeHTTP(answer, q)
	_, err = xocsp.ParseResponse(answer.Body.Bytes(), issuing)
	return err
}

// TestStrangersCostNoSignatures: serial numbers that anybody can make up are signed for a few times
// a second in all, from however many addresses they are asked for, and are never good; who asks
// for what was issued is answered meanwhile.
func TestStrangersCostNoSignatures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := &countingKey{}
		w := newWorld(t, "P-256", counted(key))
		device := w.enroll(t, "dev-1")
		unauthorized := 0
		for i := range uint64(2000) {
			address := netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}).String()
			switch err := from(t, w, address, nil, 1<<40+i, i%2 == 0); {
			case isStatus(err, xocsp.Unauthorized):
				unauthorized++
			case err != nil:
				t.Fatal(err)
			}
		}
		if n := key.count.Load(); n != 200 || unauthorized != 1800 {
			t.Errorf("%d signatures for strangers, %d answers without one", n, unauthorized)
		}
		if err := from(t, w, "192.0.2.1", device, 0, false); err != nil {
			t.Errorf("a device of ours: %v", err)
		}
		time.Sleep(time.Second)
		before := key.count.Load()
		for i := range uint64(100) {
			from(t, w, "198.51.100.7", nil, 1<<41+i, false)
		}
		if n := key.count.Load() - before; n != 20 {
			t.Errorf("%d signatures a second later", n)
		}
	})
}

// TestOneAddressIsLimited: one address has a thousand signatures at once and then a hundred a second.
// What is kept costs it nothing, and no other address has less for it.
func TestOneAddressIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := &countingKey{}
		w, _ := watched(t, func(c *ocsp.Config) {
			counted(key)(nil, c)
			c.Unlimited = []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24")}
		})
		device, kept := w.enroll(t, "dev-1"), w.enroll(t, "dev-2")
		ask := func(address string, times int) (limited int) {
			for i := range uint64(times) {
				if err := from(t, w, address, device, i, true); isStatus(err, xocsp.TryLater) {
					limited++
				} else if err != nil {
					t.Fatal(err)
				}
			}
			return limited
		}
		if err := from(t, w, "2001:db8::1", kept, 0, false); err != nil {
			t.Fatal(err)
		}
		if n := ask("2001:db8::1", 1100); n != 101 {
			t.Errorf("%d of 1100 refused after one, with a thousand to have", n)
		}
		if n := ask("2001:db8::ffff:2", 10); n != 10 {
			t.Errorf("%d of 10 refused by another address of the same network", n)
		}
		for range 10 {
			if err := from(t, w, "2001:db8::1", kept, 0, false); err != nil {
				t.Errorf("what is kept: %v", err)
			}
		}
		if n := ask("2001:db8:0:1::1", 10); n != 0 {
			t.Errorf("%d of 10 refused by another network", n)
		}
		if n := ask("10.1.2.3", 1500); n != 0 {
			t.Errorf("%d refused behind whose address a line stands", n)
		}
		time.Sleep(time.Second)
		if n := ask("2001:db8::1", 150); n != 50 {
			t.Errorf("%d of 150 refused a second later", n)
		}
	})
}

// TestProcessorsAreLeft: signatures take half of the processors at most, those who wait have a place
// each out of a thousand, and nobody waits for long.
func TestProcessorsAreLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := &countingKey{hold: make(chan struct{})}
		w := newWorld(t, "P-256", counted(key))
		device := w.enroll(t, "dev-1")
		began := time.Now()
		var wait sync.WaitGroup
		var later atomic.Int32
		at := make([]time.Duration, 1200)
		for i := range uint64(len(at)) {
			wait.Go(func() {
				address := netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}).String()
				if isStatus(from(t, w, address, device, i, true), xocsp.TryLater) {
					later.Add(1)
				}
				at[i] = time.Since(began)
			})
		}
		synctest.Wait()
		signers := max(1, runtime.GOMAXPROCS(0)/2)
		if n := key.most.Load(); int(n) != signers {
			t.Errorf("%d signatures at the same time, want %d", n, signers)
		}
		if n := later.Load(); n != 200 {
			t.Errorf("%d of 1200 found no place", n)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if n := later.Load(); int(n) != len(at)-signers {
			t.Errorf("%d were told to try later", n)
		}
		for i, d := range at {
			if d > 5*time.Second {
				t.Fatalf("request %d waited %v", i, d)
			}
		}
		close(key.hold)
		wait.Wait()
	})
}

// withNonce adds a nonce to a request that has no extensions.
func withNonce(t *testing.T, request, nonce []byte) []byte {
	t.Helper()
	input := cryptobyte.String(request)
	var outer, tbs cryptobyte.String
	if !input.ReadASN1(&outer, cbasn1.SEQUENCE) || !outer.ReadASN1(&tbs, cbasn1.SEQUENCE) {
		t.Fatal("no request")
	}
	sequence := func(b *cryptobyte.Builder, f func(*cryptobyte.Builder)) { b.AddASN1(cbasn1.SEQUENCE, f) }
	var b cryptobyte.Builder
	sequence(&b, func(b *cryptobyte.Builder) {
		sequence(b, func(b *cryptobyte.Builder) {
			b.AddBytes(tbs)
			b.AddASN1(cbasn1.Tag(2).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
				sequence(b, func(b *cryptobyte.Builder) {
					sequence(b, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2})
						b.AddASN1(cbasn1.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddASN1OctetString(nonce) })
					})
				})
			})
		})
	})
	der, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return der
}
