package hook

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mintmark/awsreg/awssim"
)

// signed asks for a certificate and wants it, or a refusal for a reason.
func signed(t *testing.T, p *Provider, principal, csr string, want Reason) {
	t.Helper()
	answer, err := p.Handle(t.Context(), ProviderEvent{CertificateSigningRequest: csr, PrincipalID: principal, ClientID: "c"})
	if reasonOf(err) != want || (err == nil) != (want == "") || (answer != ProviderAnswer{}) != (want == "") {
		t.Fatalf("%+v, %v, want %q", answer, err, want)
	}
}

// Whoever holds a claim and never provisions gets certificates for as many devices
// as the order is for, and of each device a bounded number.
func TestProviderQuota(t *testing.T) {
	w, p, issuing := newProvider(t)
	first := request(t, pkix.Name{CommonName: "SN-001"})
	signed(t, p, claimID, first, "")
	signed(t, p, claimID, first, "") // cut off, and again with the same key
	signed(t, p, claimID, request(t, pkix.Name{CommonName: "SN-001"}), Busy)
	signed(t, p, claimID, request(t, pkix.Name{CommonName: "SN-002"}), "")
	signed(t, p, claimID, request(t, pkix.Name{CommonName: "SN-003"}), "")
	for i := 4; i <= 9; i++ {
		signed(t, p, claimID, request(t, pkix.Name{CommonName: fmt.Sprintf("SN-%03d", i)}), OrderFull)
	}
	signed(t, p, claimID, first, "") // its unit is taken
	for range maxAsks - 3 {          // a device that loses its key again and again
		w.now = w.now.Add(settling)
		signed(t, p, claimID, request(t, pkix.Name{CommonName: "SN-001"}), "")
	}
	w.now = w.now.Add(settling)
	signed(t, p, claimID, request(t, pkix.Name{CommonName: "SN-001"}), InUse)
	signed(t, p, claimID, first, InUse)
	if issuing.enrolled != maxAsks+2 {
		t.Errorf("%d certificates for an order of 3", issuing.enrolled)
	}
	if n := w.item(tableName, AsksKey("WO-1")); n != "n=3 pk=asks#WO-1" {
		t.Errorf("asked for: %s", n)
	}

	// Another order, another unit; the other claims of the order count with it.
	o := someOrder()
	o.ID, o.Quantity = "WO-2", 1
	other, third := idOf(0xc2), idOf(0xc3)
	w.put(o.Item(), Claim{CertificateID: other, Order: "WO-2"}.Item(), Claim{CertificateID: third, Order: "WO-2"}.Item())
	signed(t, p, other, first, "")
	signed(t, p, third, first, "")
	signed(t, p, third, request(t, pkix.Name{CommonName: "SN-002"}), OrderFull)
}

// A device that rotates has one next certificate outstanding, and asks a bounded
// number of times for it.
func TestProviderRotationBounded(t *testing.T) {
	w, p, _ := newProvider(t)
	own := func(n int) {
		w.put(Admitted{CertificateID: idOf(n), Thing: "press_SN-007", Device: "SN-007", Template: "fleet", At: now}.Item())
		w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(n), IssuedAt: now.Add(-period)})
	}
	own(1)
	csr := request(t, pkix.Name{CommonName: "SN-007"})
	for range maxAsks {
		signed(t, p, idOf(1), csr, "")
	}
	signed(t, p, idOf(1), csr, InUse)
	own(2) // it has rotated
	signed(t, p, idOf(2), csr, "")
	signed(t, p, idOf(2), request(t, pkix.Name{CommonName: "SN-007"}), Busy)
	if item := w.item(tableName, AsksKey("")); item != "" {
		t.Errorf("no order was charged: %s", item)
	}
}

// A server that does not sign costs the device nothing but its unit, which it keeps.
func TestProviderServerDown(t *testing.T) {
	w, p, issuing := newProvider(t)
	csr := request(t, pkix.Name{CommonName: "SN-007"})
	issuing.fails = errCut
	for range maxAsks + 5 {
		if _, err := p.Handle(t.Context(), ProviderEvent{CertificateSigningRequest: csr, PrincipalID: claimID}); !errors.Is(err, errCut) {
			t.Fatal(err)
		}
	}
	issuing.fails = nil
	signed(t, p, claimID, csr, "")
	if asked, err := w.table().asked(t.Context(), "SN-007"); err != nil || asked.N != 1 || w.item(tableName, AsksKey("WO-1")) != "n=1 pk=asks#WO-1" {
		t.Errorf("%+v, %v, %s", asked, err, w.item(tableName, AsksKey("WO-1")))
	}
}

// Many ask at once: for as many devices as the order is for certificates are signed,
// and for one device with one key.
func TestProviderRace(t *testing.T) {
	w, p, _ := newProvider(t)
	var mu sync.Mutex
	got := map[string]int{}
	var wg sync.WaitGroup
	key := newKey(t)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "SN-001"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	p.Enroller = func(context.Context) (Enroller, func(), error) {
		a := newAuthority(t, "Issuing", nil) // its own, since one counts without a lock
		return a, func() {}, nil
	}
	for i := range 24 {
		device := fmt.Sprintf("SN-%03d", 1+i/2%8)
		csr := request(t, pkix.Name{CommonName: device})
		if i%8 == 7 {
			csr = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
			device = "SN-001"
		}
		wg.Go(func() {
			_, err := p.Handle(context.Background(), ProviderEvent{CertificateSigningRequest: csr, PrincipalID: claimID})
			if reasonOf(err) != "" {
				return
			}
			// Signed, though under a root that the function does not know.
			mu.Lock()
			defer mu.Unlock()
			got[device]++
		})
	}
	wg.Wait()
	if len(got) != 3 {
		t.Errorf("signed for %v", got)
	}
	for device, n := range got {
		if asked, err := w.table().asked(t.Context(), device); err != nil || asked.N != n {
			t.Errorf("device %s: %d signed, %+v, %v", device, n, asked, err)
		}
	}
}

// However an ask is cut off, the same key gets its certificate and one unit is taken.
func TestProviderCutOff(t *testing.T) {
	for _, after := range []bool{false, true} {
		csr := request(t, pkix.Name{CommonName: "SN-007"})
		for n := 1; ; n++ {
			w, p, _ := newProvider(t)
			w.sim.Inject(awssim.Fault{Operation: "dynamodb:*", Nth: n, Cut: true, AfterEffect: after})
			if _, err := p.Handle(t.Context(), ProviderEvent{CertificateSigningRequest: csr, PrincipalID: claimID}); err == nil {
				if n < 8 {
					t.Fatalf("call %d was never made", n)
				}
				break
			}
			signed(t, p, claimID, csr, "")
			if item := w.item(tableName, AsksKey("WO-1")); item != "n=1 pk=asks#WO-1" {
				t.Fatalf("call %d: %s", n, item)
			}
		}
	}
}

func TestAskedRefused(t *testing.T) {
	good := Asked{Device: "SN-007", Key: idOf(1), Order: "WO-1", Claim: claimID, At: now.Truncate(time.Second), N: 3}
	if a, err := DecodeAsked(good.Item()); err != nil || !reflect.DeepEqual(a, good) {
		t.Errorf("%+v, %v", a, err)
	}
	for name, value := range map[string]types.AttributeValue{
		"pk": text("asked#a b"), "key": text("x"), "claim": text(""), "n": number(maxAsks + 1), "at": text("1"), "order": number(1),
	} {
		item := good.Item()
		item[name] = value
		if a, err := DecodeAsked(item); err == nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
}
