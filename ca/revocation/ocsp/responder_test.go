package ocsp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"mintmark/ca"
	"mintmark/ca/revocation/ocsp"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

func reader(b []byte) io.Reader { return bytes.NewReader(b) }

// TestAnswers has another implementation judge every kind of answer, under CAs of
// every kind of key.
func TestAnswers(t *testing.T) {
	for _, kind := range []string{"P-256", "P-384", "P-521", "RSA-2048"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, kind, nil)
			issuing := w.authority(t, "issuing")
			device, lost := w.enroll(t, "dev-1"), w.enroll(t, "dev-2")
			for range 2 {
				answer := mustAsk(t, w.responder, device, issuing, xocsp.Good)
				if life := answer.NextUpdate.Sub(answer.ThisUpdate); life != day || answer.ProducedAt != answer.ThisUpdate {
					t.Errorf("produced at %v, from %v to %v", answer.ProducedAt, answer.ThisUpdate, answer.NextUpdate)
				}
			}
			w.revoke(t, lost, ledger.KeyCompromise)
			answer := mustAsk(t, w.responder, lost, issuing, xocsp.Revoked)
			if answer.RevocationReason != xocsp.KeyCompromise || time.Since(answer.RevokedAt).Abs() > time.Minute || answer.RevokedAt.After(answer.ThisUpdate) {
				t.Errorf("revoked at %v for reason %d", answer.RevokedAt, answer.RevocationReason)
			}
			never := *device
			never.SerialNumber = issuer.NewSerial(time.Now())
			mustAsk(t, w.responder, &never, issuing, xocsp.Unknown)
			checkDelegate(t, answer.Certificate, issuing, kind)
		})
	}
}

// checkDelegate holds the responder's certificate against RFC 6960, Section 4.2.2.2.
func checkDelegate(t *testing.T, c, issuing *x509.Certificate, kind string) {
	t.Helper()
	if c == nil {
		t.Fatal("the answer has no certificate")
	}
	if err := c.CheckSignatureFrom(issuing); err != nil {
		t.Error(err)
	}
	if !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}) || c.KeyUsage != x509.KeyUsageDigitalSignature || c.IsCA {
		t.Errorf("usages %v, %b", c.ExtKeyUsage, c.KeyUsage)
	}
	nocheck := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}
	i := slices.IndexFunc(c.Extensions, func(e pkixExtension) bool { return e.Id.Equal(nocheck) })
	if i < 0 || c.Extensions[i].Critical || !bytes.Equal(c.Extensions[i].Value, asn1.NullBytes) {
		t.Error("id-pkix-ocsp-nocheck is missing or wrong")
	}
	if left := time.Until(c.NotAfter); left > 7*day || left < 7*day-time.Minute {
		t.Errorf("it lives for %v", left)
	}
	if len(c.CRLDistributionPoints)+len(c.OCSPServer)+len(c.IssuingCertificateURL) != 0 {
		t.Error("it names places where nobody looks")
	}
	if got, err := ca.AlgorithmOf(c.PublicKey); err != nil || string(got) != kind {
		t.Errorf("it has a key of type %s, %v", got, err)
	}
}

// TestOthersCertificates: what another issuer has certified is not for this one to
// say, and neither is anything of an authority whose key is elsewhere.
func TestOthersCertificates(t *testing.T) {
	w := newWorld(t, "P-256", nil)
	issuing, root := w.authority(t, "issuing"), w.authority(t, "root")
	device := w.enroll(t, "dev-1")
	wantStatus(t, w.responder, issuing, root, xocsp.Unauthorized) // asked of issuing about the root's
	request, err := xocsp.CreateRequest(issuing, root, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := xocsp.ParseResponseForCert(post(w.responder, "root", request).Body.Bytes(), issuing, root)
	if err != nil || answer.Status != xocsp.Good {
		t.Errorf("asked of the root about the issuing CA: %+v, %v", answer, err)
	}
	for _, name := range []string{"nobody", "", "..", "Issuing"} {
		request, err := xocsp.CreateRequest(device, issuing, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := xocsp.ParseResponse(post(w.responder, name, request).Body.Bytes(), nil); !isStatus(err, xocsp.Unauthorized) {
			t.Errorf("authority %q: %v", name, err)
		}
	}
	// The certificate of the same number under another issuer is another certificate.
	other := *device
	other.SerialNumber = issuing.SerialNumber
	mustAsk(t, w.responder, &other, issuing, xocsp.Unknown)
	// Hashes that are not known here name no issuer of ours.
	request, err = xocsp.CreateRequest(device, issuing, &xocsp.RequestOptions{Hash: crypto.SHA512})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := xocsp.ParseResponse(post(w.responder, "issuing", request).Body.Bytes(), nil); !isStatus(err, xocsp.Unauthorized) {
		t.Errorf("by SHA-512: %v", err)
	}

	elsewhere, err := ca.New(ca.Config{Name: "issuing", Certificate: issuing, Chain: []*x509.Certificate{root}})
	if err != nil {
		t.Fatal(err)
	}
	keyless := w.newResponder(func(_ *world, c *ocsp.Config) {
		c.Authority = func(string) (*ca.Authority, error) { return elsewhere, nil }
	})
	wantStatus(t, keyless, device, issuing, xocsp.Unauthorized)
	ended := w.newResponder(func(_ *world, c *ocsp.Config) { c.Now = func() time.Time { return issuing.NotAfter } })
	wantStatus(t, ended, device, issuing, xocsp.Unauthorized)
}

func isStatus(err error, want xocsp.ResponseStatus) bool {
	var refused xocsp.ResponseError
	return errors.As(err, &refused) && refused.Status == want
}

// TestOpenAndVoid: a certificate that is being issued is unknown, and one that was
// given up is on the CRL, and revoked here.
func TestOpenAndVoid(t *testing.T) {
	w := newWorld(t, "P-256", nil)
	run(t, w.responder)
	issuing := w.authority(t, "issuing")
	asked := make(chan int, 1)
	var number *x509.Certificate
	step := w.newRA(t, "other")
	step.Step = func(n int) {
		if n != 6 {
			return
		}
		page, err := w.ledger.Certificates(t.Context(), ledger.Query{State: ledger.Open})
		if err != nil || len(page.Certificates) != 1 {
			t.Errorf("%d open, %v", len(page.Certificates), err)
			return
		}
		number = &x509.Certificate{SerialNumber: bigOf(t, page.Certificates[0].Serial)}
		answer, err := ask(w.responder, number, issuing, nil)
		if err != nil {
			t.Error(err)
			return
		}
		asked <- answer.Status
		panic("cut off here")
	}
	func() {
		defer func() { recover() }()
		step.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", Requester: admin, CSR: pkitest.CSR(t, pkitest.NewKey(t), nameOf("dev-9"))})
	}()
	if status := <-asked; status != xocsp.Unknown {
		t.Fatalf("status %d while it is issued", status)
	}
	eventually(t, "the void number is revoked", func() bool {
		answer, err := ask(w.responder, number, issuing, nil)
		return err == nil && answer.Status == xocsp.Revoked
	})
}

// TestRevokedResponder has the responder's own certificate revoked: nothing that it has
// signed is given out any more, and another signs.
func TestRevokedResponder(t *testing.T) {
	w := newWorld(t, "P-256", nil)
	run(t, w.responder)
	issuing, device := w.authority(t, "issuing"), w.enroll(t, "dev-1")
	first := mustAsk(t, w.responder, device, issuing, xocsp.Good).Certificate
	if second := mustAsk(t, w.responder, device, issuing, xocsp.Good).Certificate; !second.Equal(first) {
		t.Fatal("each answer has another responder")
	}
	w.revoke(t, first, ledger.KeyCompromise)
	eventually(t, "another responder signs", func() bool {
		return !mustAsk(t, w.responder, device, issuing, xocsp.Good).Certificate.Equal(first)
	})
}

// TestRevokedAuthority: a CA that was revoked says of its certificates what it has to
// say, as it does by its CRL.
func TestRevokedAuthority(t *testing.T) {
	w := newWorld(t, "P-256", nil)
	issuing, device := w.authority(t, "issuing"), w.enroll(t, "dev-1")
	w.revoke(t, issuing, ledger.KeyCompromise)
	w.revoke(t, device, ledger.KeyCompromise)
	if err := w.ra.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !w.ra.Withdrawn("issuing") {
		t.Fatal("the issuing CA is not revoked")
	}
	mustAsk(t, w.responder, device, issuing, xocsp.Revoked)
}

// TestKeyAway: without the key there is no responder, and the key is not asked again by
// everybody who asks. Once certified, the responder does without it.
func TestKeyAway(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Now().UnixNano())
	clock := func() time.Time { return time.Unix(0, now.Load()) }
	var asked atomic.Int32
	w := newWorld(t, "P-256", func(w *world, c *ocsp.Config) {
		c.Now = clock
		issue := c.Issue
		c.Issue = func(ctx context.Context, name string) (*x509.Certificate, crypto.Signer, error) {
			asked.Add(1)
			return issue(ctx, name)
		}
	})
	issuing, device := w.authority(t, "issuing"), w.enroll(t, "dev-1")
	// A server that has not opened the key yet.
	w.ra = w.newRA(t, "late")
	w.keys.hold(false)
	for range 10 {
		wantStatus(t, w.responder, device, issuing, xocsp.TryLater)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked for a certificate %d times", n)
	}
	w.keys.hold(true)
	now.Add(int64(5 * time.Second))
	mustAsk(t, w.responder, device, issuing, xocsp.Good)
	w.keys.hold(false)
	now.Add(int64(day))
	mustAsk(t, w.responder, device, issuing, xocsp.Good)
}

// TestRenewal: past half of its life the responder's certificate is replaced, while it goes
// on serving; where that fails it serves to its end, and no answer outlives it.
func TestRenewal(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Now().UnixNano())
	clock := func() time.Time { return time.Unix(0, now.Load()) }
	var fails atomic.Bool
	w := newWorld(t, "P-256", func(w *world, c *ocsp.Config) {
		c.Now = clock
		c.Issue = func(ctx context.Context, name string) (*x509.Certificate, crypto.Signer, error) {
			if fails.Load() {
				return nil, nil, errors.New("the key is away")
			}
			return w.ra.Responder(ctx, name, 7*day)
		}
	})
	w.ra.Now = clock
	issuing, device := w.authority(t, "issuing"), w.enroll(t, "dev-1")
	first := mustAsk(t, w.responder, device, issuing, xocsp.Good).Certificate
	fails.Store(true)
	now.Add(int64(6*day + 12*time.Hour))
	answer := mustAsk(t, w.responder, device, issuing, xocsp.Good)
	if !answer.Certificate.Equal(first) || answer.NextUpdate.After(first.NotAfter) {
		t.Errorf("until %v, and the certificate until %v", answer.NextUpdate, first.NotAfter)
	}
	now.Add(int64(12 * time.Hour))
	wantStatus(t, w.responder, device, issuing, xocsp.TryLater)
	fails.Store(false)
	now.Add(int64(time.Minute))
	second := mustAsk(t, w.responder, device, issuing, xocsp.Good).Certificate
	if second.Equal(first) {
		t.Fatal("the old one signs")
	}
	now.Add(int64(4 * day))
	eventually(t, "it is renewed", func() bool {
		return !mustAsk(t, w.responder, device, issuing, xocsp.Good).Certificate.Equal(second)
	})
}

// TestForeignCertificate refuses what Issue should never return.
func TestForeignCertificate(t *testing.T) {
	w := newWorld(t, "P-256", nil)
	issuing, device := w.authority(t, "issuing"), w.enroll(t, "dev-1")
	for name, issue := range map[string]func(context.Context, string) (*x509.Certificate, crypto.Signer, error){
		"another key": func(ctx context.Context, name string) (*x509.Certificate, crypto.Signer, error) {
			c, _, err := w.ra.Responder(ctx, name, day)
			return c, pkitest.NewKey(t), err
		},
		"a device's certificate": func(context.Context, string) (*x509.Certificate, crypto.Signer, error) {
			key := pkitest.NewKey(t)
			answer, err := w.ra.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: "device", Issuer: "issuing", Requester: admin, CSR: pkitest.CSR(t, key, nameOf("dev-2"))})
			return answer.Certificate, key, err
		},
		"another issuer's": func(ctx context.Context, _ string) (*x509.Certificate, crypto.Signer, error) {
			return w.ra.Responder(ctx, "root", day)
		},
	} {
		r := w.newResponder(func(_ *world, c *ocsp.Config) { c.Issue = issue })
		t.Run(name, func(t *testing.T) { wantStatus(t, r, device, issuing, xocsp.TryLater) })
	}
}

// TestEndOfAuthority: towards the end of an authority its responders are no longer-lived than
// itself.
func TestEndOfAuthority(t *testing.T) {
	w := newWorld(t, "P-256", nil)
	issuing, device := w.authority(t, "issuing"), w.enroll(t, "dev-1")
	near := func() time.Time { return issuing.NotAfter.Add(-time.Hour) }
	w.ra.Now = near
	r := w.newResponder(func(_ *world, c *ocsp.Config) { c.Now = near })
	answer := mustAsk(t, r, device, issuing, xocsp.Good)
	if !answer.Certificate.NotAfter.Equal(issuing.NotAfter) || !answer.NextUpdate.Equal(issuing.NotAfter) {
		t.Errorf("the answer ends %v, the responder %v, the authority %v", answer.NextUpdate, answer.Certificate.NotAfter, issuing.NotAfter)
	}
}

var _ http.Handler = (*ocsp.Responder)(nil)
