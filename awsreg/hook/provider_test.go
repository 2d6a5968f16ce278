package hook

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg/awssim"
)

// authority is a CA that enrolls, and does to certificates what a test wants.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
	path        []*x509.Certificate // what it says of itself
	change      func(*x509.Certificate)
	key2        crypto.PublicKey // of certificates, if set
	fails       error
	enrolled    int
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newAuthority makes a CA, under another one or self-signed.
func newAuthority(t testing.TB, name string, above *authority) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(5, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	parent, key := template, a.key
	if above != nil {
		parent, key = above.certificate, above.key
	}
	a.certificate = certify(t, template, parent, a.key.Public(), key)
	return a
}

func certify(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (a *authority) Enroll(ctx context.Context, der []byte) (*x509.Certificate, error) {
	a.enrolled++
	if a.fails != nil {
		return nil, a.fails
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(77), RawSubject: csr.RawSubject, Subject: csr.Subject, NotBefore: now.Add(30 * time.Second), NotAfter: now.Add(time.Hour),
	}
	if a.change != nil {
		a.change(template)
	}
	public := csr.PublicKey
	if a.key2 != nil {
		public = a.key2
	}
	der, err = x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func (a *authority) CACerts(context.Context) ([]*x509.Certificate, error) { return a.path, nil }

// request is a certification request for a device, in PEM.
func request(t testing.TB, subject pkix.Name) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func newProvider(t testing.TB) (*world, *Provider, *authority) {
	w, _ := newProvisioner(t)
	root := newAuthority(t, "Root", nil)
	issuing := newAuthority(t, "Issuing", root)
	issuing.path = []*x509.Certificate{issuing.certificate, root.certificate}
	return w, &Provider{
		IoT: w.certs, Dynamo: w.dynamo, Table: tableName, Rotation: rotationName, Anchors: []*x509.Certificate{root.certificate},
		Enroller: func(context.Context) (Enroller, func(), error) { return issuing, func() {}, nil },
		Now:      w.clock, Logger: w.log.logger(), Limit: 30 * time.Second,
	}, issuing
}

func TestProvider(t *testing.T) {
	own := func(w *world, e *ProviderEvent, age time.Duration) {
		w.put(Admitted{CertificateID: idOf(1), Thing: "press_SN-007", Device: "SN-007", Template: "fleet", At: now}.Item())
		w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(1), IssuedAt: now.Add(-age)})
		e.PrincipalID = idOf(1)
	}
	admitted := func(w *world, order string, status types.CertificateStatus) {
		w.put(Taken{Device: "SN-007", CertificateID: idOf(1), Order: order, Claim: claimID, At: now.Add(-settling)}.Item())
		if status != gone {
			w.certs.set(idOf(1), status)
		}
	}
	next := func(w *world, status types.CertificateStatus) {
		d := w.device("press_SN-007")
		d.Next, d.NextAt = idOf(2), now.Add(-settling)
		w.putRotating(d)
		w.certs.set(idOf(2), status)
	}
	full := Item{keyName: text(UsedKey("WO-1")), "n": number(3)}
	tests := []struct {
		name   string
		change func(*world, *Provider, *authority, *ProviderEvent)
		reason Reason
		fails  string // text of an error that is no refusal
	}{
		{"claim", func(*world, *Provider, *authority, *ProviderEvent) {}, "", ""},
		{"anchor is the issuing CA", func(_ *world, p *Provider, a *authority, _ *ProviderEvent) {
			p.Anchors, a.path = []*x509.Certificate{a.certificate}, nil
		}, "", ""},
		{"subject with more than a name", func(_ *world, _ *Provider, _ *authority, e *ProviderEvent) {
			e.CertificateSigningRequest = request(t, pkix.Name{CommonName: "SN-007", Organization: []string{"Acme"}})
		}, "", ""},
		{"order full, device admitted", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) {
			w.put(full, Taken{Device: "SN-007", CertificateID: idOf(1), Order: "WO-1", Claim: claimID, At: now.Add(-settling)}.Item())
		}, "", ""},
		{"admitted, never in service", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) {
			admitted(w, "WO-1", pending)
		}, "", ""},
		{"entered by the server at each ask", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) {
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(1), IssuedAt: now, Next: idOf(2), NextAt: now, Replaced: []string{idOf(3)}})
			for n := 1; n <= 3; n++ {
				w.certs.set(idOf(n), pending)
			}
		}, "", ""},
		{"admitted under another order, revoked", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) {
			admitted(w, "WO-2", revoked)
			w.put(Entry{CertificateID: idOf(1), Device: "SN-007", Serial: "01", State: Revoked}.Items()...)
		}, "", ""},
		{"device that is due again, its next never in service", func(w *world, _ *Provider, _ *authority, e *ProviderEvent) {
			own(w, e, period)
			next(w, pending)
		}, "", ""},
		{"device that is due", func(w *world, _ *Provider, _ *authority, e *ProviderEvent) { own(w, e, period) }, "", ""},
		{"device, due or not", func(w *world, p *Provider, _ *authority, e *ProviderEvent) { own(w, e, 0); p.Rotation = "" }, "", ""},

		{"device for another", func(w *world, _ *Provider, _ *authority, e *ProviderEvent) {
			own(w, e, period)
			e.CertificateSigningRequest = request(t, pkix.Name{CommonName: "SN-008"})
		}, WrongDevice, ""},
		{"device not due", func(w *world, _ *Provider, _ *authority, e *ProviderEvent) { own(w, e, period-time.Second) }, NotDue, ""},
		{"device with its last certificate", func(w *world, _ *Provider, _ *authority, e *ProviderEvent) {
			own(w, e, period)
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(2), IssuedAt: now.Add(-period)})
		}, NotCurrent, ""},
		{"device revoked", func(w *world, _ *Provider, _ *authority, e *ProviderEvent) {
			own(w, e, period)
			w.put(Entry{CertificateID: idOf(1), Device: "SN-007", Serial: "01", State: Revoked}.Items()...)
		}, IsRevoked, ""},
		{"device held", func(w *world, _ *Provider, _ *authority, e *ProviderEvent) {
			own(w, e, period)
			w.put(HeldItem("press_SN-007", "SN-007"))
		}, Held, ""},
		{"certificate of nobody", func(_ *world, _ *Provider, _ *authority, e *ProviderEvent) { e.PrincipalID = idOf(99) }, UnknownClaim, ""},
		{"somebody of the account", func(_ *world, _ *Provider, _ *authority, e *ProviderEvent) { e.PrincipalID = "AROAEXAMPLE:me" }, UnknownClaim, ""},
		{"order closed", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) {
			order(func(o *Order) { o.State = "closed" })(w, nil, nil)
		}, OrderClosed, ""},
		{"order full", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) { w.put(full) }, OrderFull, ""},
		{"admitted a moment ago", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) {
			w.put(Taken{Device: "SN-007", CertificateID: idOf(1), Order: "WO-1", Claim: claimID, At: now}.Item())
		}, Busy, ""},
		{"in service", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) { admitted(w, "WO-1", active) }, InUse, ""},
		{"in service under another order", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) { admitted(w, "WO-2", active) }, InUse, ""},
		{"inactive under another order", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) { admitted(w, "WO-2", inactive) }, InUse, ""},
		{"admitted under another order, this one is full", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) {
			admitted(w, "WO-2", pending)
			w.put(full)
		}, OrderFull, ""},
		{"in service with a later certificate", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) {
			admitted(w, "WO-1", gone)
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(2), IssuedAt: now})
			w.certs.set(idOf(2), active)
		}, InUse, ""},
		{"in service, not by a claim", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) {
			w.putRotating(Rotating{Thing: "press_SN-007", Device: "SN-007", Current: idOf(2), IssuedAt: now})
			w.certs.set(idOf(2), active)
		}, InUse, ""},
		{"device with a next certificate in service", func(w *world, _ *Provider, _ *authority, e *ProviderEvent) {
			own(w, e, period)
			next(w, active)
		}, InUse, ""},
		{"asked for as many devices", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) {
			w.put(Item{keyName: text(AsksKey("WO-1")), "n": number(3)})
		}, OrderFull, ""},
		{"asked a moment ago with another key", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) {
			w.put(Asked{Device: "SN-007", Key: idOf(9), Order: "WO-1", Claim: claimID, At: now.Add(time.Second - settling), N: 1}.Item())
		}, Busy, ""},
		{"asked too often", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) {
			w.put(Asked{Device: "SN-007", Key: idOf(9), Order: "WO-1", Claim: claimID, At: now.Add(-settling), N: maxAsks}.Item())
		}, InUse, ""},
		{"device asked too often", func(w *world, _ *Provider, _ *authority, e *ProviderEvent) {
			own(w, e, period)
			w.put(Asked{Device: "SN-007", Key: idOf(9), Claim: idOf(1), At: now.Add(-settling), N: maxAsks}.Item())
		}, InUse, ""},
		{"closed meanwhile", func(w *world, p *Provider, _ *authority, _ *ProviderEvent) {
			p.Dynamo = meanwhile{p.Dynamo, func() { order(func(o *Order) { o.State = "killed" })(w, nil, nil) }}
		}, OrderClosed, ""},
		{"held meanwhile", func(w *world, p *Provider, _ *authority, _ *ProviderEvent) {
			p.Dynamo = meanwhile{p.Dynamo, func() { w.put(HeldItem("press_SN-007", "SN-007")) }}
		}, Held, ""},
		{"revoked meanwhile", func(w *world, p *Provider, _ *authority, _ *ProviderEvent) {
			p.Dynamo = meanwhile{p.Dynamo, func() {
				w.put(Entry{CertificateID: claimID, Device: "x", Serial: "01", State: Revoked}.Items()...)
			}}
		}, IsRevoked, ""},
		{"outside of the ranges", func(_ *world, _ *Provider, _ *authority, e *ProviderEvent) {
			e.CertificateSigningRequest = request(t, pkix.Name{CommonName: "SN-999"})
		}, WrongDevice, ""},
		{"on no list", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) {
			order(func(o *Order) { o.Listed = true })(w, nil, nil)
		}, WrongDevice, ""},
		{"claim revoked", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) {
			w.put(Entry{CertificateID: claimID, Device: "x", Serial: "01", State: Revoked}.Items()...)
		}, IsRevoked, ""},
		{"held", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) { w.put(HeldItem("press_SN-007", "SN-007")) }, Held, ""},
		{"stale", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) { w.now = now.Add(72 * time.Hour) }, StaleManifest, ""},
		{"template not ours", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) { w.remove(tableName, TemplateKey("fleet")) }, WrongTemplate, ""},
		{"not a request", func(_ *world, _ *Provider, _ *authority, e *ProviderEvent) { e.CertificateSigningRequest = "MII" }, Malformed, ""},
		{"two requests", func(_ *world, _ *Provider, _ *authority, e *ProviderEvent) {
			e.CertificateSigningRequest += e.CertificateSigningRequest
		}, Malformed, ""},
		{"request without a name", func(_ *world, _ *Provider, _ *authority, e *ProviderEvent) {
			e.CertificateSigningRequest = request(t, pkix.Name{})
		}, Malformed, ""},
		{"request too long", func(_ *world, _ *Provider, _ *authority, e *ProviderEvent) {
			e.CertificateSigningRequest += strings.Repeat("\n", maxCSR)
		}, Malformed, ""},
		{"request of another's key", func(_ *world, _ *Provider, _ *authority, e *ProviderEvent) {
			block, _ := pem.Decode([]byte(e.CertificateSigningRequest))
			block.Bytes[len(block.Bytes)-1] ^= 1
			e.CertificateSigningRequest = string(pem.EncodeToMemory(block))
		}, Malformed, ""},

		{"the server refuses", func(_ *world, _ *Provider, a *authority, _ *ProviderEvent) { a.fails = errCut }, "", "having the request signed"},
		{"no way to the server", func(_ *world, p *Provider, _ *authority, _ *ProviderEvent) {
			p.Enroller = func(context.Context) (Enroller, func(), error) { return nil, nil, errCut }
		}, "", errCut.Error()},
		{"another subject", func(_ *world, _ *Provider, a *authority, _ *ProviderEvent) {
			a.change = func(c *x509.Certificate) {
				c.RawSubject, c.Subject = nil, pkix.Name{CommonName: "SN-007", Country: []string{"DE"}}
			}
		}, "", "AWS refuses"},
		{"another key", func(_ *world, _ *Provider, a *authority, _ *ProviderEvent) { a.key2 = newKey(t).Public() }, "", "another public key"},
		{"a CA", func(_ *world, _ *Provider, a *authority, _ *ProviderEvent) {
			a.change = func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }
		}, "", "it is a CA's"},
		{"another root", func(_ *world, p *Provider, _ *authority, _ *ProviderEvent) {
			p.Anchors = []*x509.Certificate{newAuthority(t, "Root", nil).certificate}
		}, "", "verifying it"},
		{"expired", func(_ *world, _ *Provider, a *authority, _ *ProviderEvent) {
			a.change = func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute); c.NotBefore = now.Add(-time.Hour) }
		}, "", "verifying it"},
		{"table fails", func(w *world, _ *Provider, _ *authority, _ *ProviderEvent) {
			w.sim.Inject(awssim.Fault{Operation: "dynamodb:GetItem", Nth: 3, Cut: true})
		}, "", "reading item"},
		{"table is slow", func(w *world, p *Provider, _ *authority, _ *ProviderEvent) {
			p.Limit = 50 * time.Millisecond
			w.sim.Inject(awssim.Fault{Operation: "dynamodb:GetItem", Latency: 20 * time.Second})
		}, "", "no decision in time"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w, p, a := newProvider(t)
			e := ProviderEvent{CertificateSigningRequest: request(t, pkix.Name{CommonName: "SN-007"}), PrincipalID: claimID, ClientID: "c"}
			test.change(w, p, a, &e)
			answer, err := p.Handle(t.Context(), e)
			switch {
			case test.reason != "":
				if reasonOf(err) != test.reason || answer != (ProviderAnswer{}) || a.enrolled != 0 {
					t.Errorf("%+v, %v, asked the server %d times", answer, err, a.enrolled)
				}
			case test.fails != "":
				if err == nil || reasonOf(err) != "" || !strings.Contains(err.Error(), test.fails) || answer != (ProviderAnswer{}) {
					t.Errorf("%+v, %v", answer, err)
				}
			default:
				if err != nil {
					t.Fatal(err)
				}
				block, rest := pem.Decode([]byte(answer.CertificatePEM))
				if block == nil || len(rest) != 0 {
					t.Fatalf("answer is %+v", answer)
				}
				c, err := x509.ParseCertificate(block.Bytes)
				if err != nil || c.Subject.CommonName != "SN-007" || c.CheckSignatureFrom(a.certificate) != nil {
					t.Errorf("certificate of %v, %v", c.Subject, err)
				}
			}
		})
	}
}

func FuzzParseProviderEvent(f *testing.F) {
	f.Add([]byte(`{"certificateSigningRequest":"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----","principalId":"` + idOf(1) + `","clientId":"c"}`))
	f.Add([]byte(`{"certificateSigningRequest":1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseProviderEvent(data)
		if err != nil {
			if e != (ProviderEvent{}) {
				t.Errorf("an error and an event: %+v", e)
			}
			return
		}
		if csr, err := e.request(); err == nil && (!ValidDevice(csr.Subject.CommonName) || len(e.CertificateSigningRequest) > maxCSR) {
			t.Errorf("accepted %q", e.CertificateSigningRequest)
		}
	})
}
