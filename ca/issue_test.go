package ca

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mintmark/internal/pkitest"
)

func TestIssueForEveryKey(t *testing.T) {
	for _, issuerAlg := range algorithms {
		_, issuing, _ := hierarchy(t, string(issuerAlg))
		for _, alg := range algorithms {
			key := pkitest.Key(t, string(alg))
			if len(alg) == 5 {
				key = pkitest.SecondKey(t, string(alg))
			} else if alg == issuerAlg {
				continue // the engine refuses its own key, and there is one RSA key of a size
			}
			p, err := issuing.Prepare(deviceTemplate(), key.Public(), Rules{})
			cert := issue(t, p, err)
			if err := cert.CheckSignatureFrom(issuing.Certificate()); err != nil {
				t.Errorf("%s under %s: %v", alg, issuerAlg, err)
			}
			if want, _ := issuerAlg.signature(); cert.SignatureAlgorithm != want {
				t.Errorf("signature algorithm under %s is %v", issuerAlg, cert.SignatureAlgorithm)
			}
			if !bytes.Equal(cert.AuthorityKeyId, issuing.Certificate().SubjectKeyId) || len(cert.SubjectKeyId) != 20 {
				t.Errorf("key identifiers: subject %x, authority %x", cert.SubjectKeyId, cert.AuthorityKeyId)
			}
			if !bytes.Equal(cert.RawIssuer, issuing.Certificate().RawSubject) {
				t.Error("issuer name is not the subject of the issuer byte for byte")
			}
		}
	}
}

// Nothing is signed without Prepare, Recorded and a first Issue.
func TestTokenIsUsedOnce(t *testing.T) {
	_, issuing, key := hierarchy(t, "P-256")
	pub := pkitest.SecondKey(t, "P-256").Public()
	p, err := issuing.Prepare(deviceTemplate(), pub, Rules{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Issue(background); !errors.Is(err, ErrNotRecorded) {
		t.Fatalf("issue before recorded: %v", err)
	}
	if n := key.calls.Load(); n != 0 {
		t.Fatalf("%d signatures before the intent was recorded", n)
	}
	if p.Certificate().Raw != nil || p.Certificate().Signature != nil {
		t.Error("the prepared certificate could pass for a signed one")
	}
	p.Recorded()

	var issued, refused atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			p.Recorded()
			switch cert, err := p.Issue(background); {
			case err == nil && bytes.Equal(cert.RawTBSCertificate, p.TBS()):
				issued.Add(1)
			case errors.Is(err, ErrSpent):
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	if issued.Load() != 1 || refused.Load() != 15 || key.calls.Load() != 1 {
		t.Fatalf("%d issued, %d refused, %d signatures; want 1, 15, 1", issued.Load(), refused.Load(), key.calls.Load())
	}
}

func TestTokenIsSpentByFailure(t *testing.T) {
	_, issuing, key := hierarchy(t, "P-256")
	pub := pkitest.SecondKey(t, "P-256").Public()
	broken := errors.New("device removed")
	key.fail.Store(&broken)
	p, err := issuing.Prepare(deviceTemplate(), pub, Rules{})
	if err != nil {
		t.Fatal(err)
	}
	p.Recorded()
	if _, err := p.Issue(background); !errors.Is(err, broken) {
		t.Fatalf("issue with a broken key: %v", err)
	}
	key.fail.Store(nil)
	if _, err := p.Issue(background); !errors.Is(err, ErrSpent) {
		t.Fatalf("issue after a failure: %v", err)
	}
	canceled, cancel := context.WithCancel(background)
	cancel()
	p, err = issuing.Prepare(deviceTemplate(), pub, Rules{})
	if err != nil {
		t.Fatal(err)
	}
	p.Recorded()
	if _, err := p.Issue(canceled); !errors.Is(err, context.Canceled) {
		t.Fatalf("issue in a canceled context: %v", err)
	}
}

func TestStep8(t *testing.T) {
	_, issuing, key := hierarchy(t, "P-256")
	pub := pkitest.SecondKey(t, "P-256").Public()
	prepared := func() *Prepared {
		p, err := issuing.Prepare(deviceTemplate(), pub, Rules{})
		if err != nil {
			t.Fatal(err)
		}
		p.Recorded()
		return p
	}

	p := prepared()
	p.TBS()[40] ^= 1
	before := key.calls.Load()
	if _, err := p.Issue(background); err == nil || key.calls.Load() != before {
		t.Errorf("a modified certificate: error %v, %d signatures", err, key.calls.Load()-before)
	}

	key.lie.Store(true)
	if cert, err := prepared().Issue(background); err == nil || cert != nil {
		t.Errorf("a signature that does not verify: %v", err)
	}
	if err := issuing.TestSign(background); err == nil {
		t.Error("TestSign passed a key that signs something else")
	}
	if _, err := issuing.SignCRL(background, CRL{Number: big.NewInt(1), ThisUpdate: testNow, NextUpdate: testNow.AddDate(0, 0, 7)}); err == nil {
		t.Error("SignCRL passed a signature that does not verify")
	}
	key.lie.Store(false)
	if err := issuing.TestSign(background); err != nil {
		t.Errorf("TestSign of a good key: %v", err)
	}
}

func TestOpen(t *testing.T) {
	root, issuing, key := hierarchy(t, "P-256")
	var opened atomic.Int64
	var next atomic.Value
	next.Store(func() (crypto.Signer, error) { return pkitest.SecondKey(t, "P-256"), nil })
	a, err := New(Config{
		Name: "devices", Certificate: issuing.Certificate(), Chain: issuing.Chain(),
		Signer: func(context.Context) (crypto.Signer, error) {
			opened.Add(1)
			return next.Load().(func() (crypto.Signer, error))()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if opened.Load() != 0 {
		t.Error("New opened the key")
	}
	if err := a.Open(background); !errors.Is(err, ErrKeyMismatch) {
		t.Fatalf("open with another key: %v", err)
	}
	next.Store(func() (crypto.Signer, error) { return nil, errors.New("no such token") })
	if err := a.Open(background); err == nil || !strings.Contains(err.Error(), "no such token") {
		t.Fatalf("open that fails: %v", err)
	}
	next.Store(func() (crypto.Signer, error) { return key, nil })
	opened.Store(0)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := a.Open(background); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if opened.Load() != 1 {
		t.Errorf("the key was opened %d times for 8 callers", opened.Load())
	}
	// After a failure the key is opened anew.
	lost := errors.New("session lost")
	key.fail.Store(&lost)
	if err := a.TestSign(background); !errors.Is(err, lost) {
		t.Fatalf("test signature of a lost key: %v", err)
	}
	key.fail.Store(nil)
	if err := a.TestSign(background); err != nil || opened.Load() != 2 {
		t.Errorf("after a lost session: %v, opened %d times", err, opened.Load())
	}

	cold, err := New(Config{Name: "root", Certificate: root.Certificate()})
	if err != nil {
		t.Fatal(err)
	}
	if err := cold.Open(background); !errors.Is(err, ErrNoSigner) {
		t.Errorf("open without a signer: %v", err)
	}
}

func TestOutliveIssuer(t *testing.T) {
	_, issuing, _ := hierarchy(t, "P-256")
	pub := pkitest.SecondKey(t, "P-256").Public()
	template := deviceTemplate()
	template.NotAfter = issuing.Certificate().NotAfter.AddDate(0, 0, 1)
	_, err := issuing.Prepare(template, pub, Rules{})
	var outlives *OutlivesIssuerError
	if !errors.Is(err, ErrOutlivesIssuer) || !errors.As(err, &outlives) {
		t.Fatalf("error %v", err)
	}
	if !outlives.NotAfter.Equal(template.NotAfter) || !outlives.Issuer.Equal(issuing.Certificate().NotAfter) {
		t.Errorf("dates %v", outlives)
	}
	template.NotAfter = issuing.Certificate().NotAfter
	if _, err := issuing.Prepare(template, pub, Rules{}); err != nil {
		t.Errorf("notAfter of the issuer: %v", err)
	}
	// IEEE 802.1AR-2018, Section 8.7; RFC 5280, Section 4.1.2.5.
	template.NotAfter = pkitest.NoExpiry
	p, err := issuing.Prepare(template, pub, Rules{OutliveIssuer: true})
	cert := issue(t, p, err)
	if !bytes.Contains(cert.Raw, []byte("99991231235959Z")) {
		t.Errorf("notAfter %v", cert.NotAfter)
	}
}

func TestCrossSignKeepsKeyIdentifier(t *testing.T) {
	oldRoot := makeRoot(t, rootSpec(), pkitest.Key(t, "P-384"))
	newKey := pkitest.SecondKey(t, "P-384")
	s := rootSpec()
	template, err := s.Template(big.NewInt(7), testNow)
	if err != nil {
		t.Fatal(err)
	}
	// A root made elsewhere, with an identifier of SHA-1.
	template.SubjectKeyId = bytes.Repeat([]byte{0xab}, 20)
	p, err := PrepareRoot(template, newKey)
	newRoot := issue(t, p, err)
	// NewWithOld: same name, so self-issued without being self-signed.
	template.SerialNumber = big.NewInt(8)
	template.RawSubject = newRoot.RawSubject
	template.SubjectKeyId = newRoot.SubjectKeyId
	p, err = oldRoot.Prepare(template, newKey.Public(), Rules{CA: true})
	cross := issue(t, p, err)
	if !bytes.Equal(cross.SubjectKeyId, newRoot.SubjectKeyId) || !bytes.Equal(cross.RawSubject, newRoot.RawSubject) {
		t.Error("the cross-certificate has another name or key identifier")
	}
	if !bytes.Equal(cross.AuthorityKeyId, oldRoot.Certificate().SubjectKeyId) {
		t.Errorf("authority key identifier %x of a self-issued certificate is not that of the issuer", cross.AuthorityKeyId)
	}
	// A leaf under the new root verifies over the cross-certificate too.
	newAuthority, err := New(Config{Name: "new", Certificate: newRoot, Signer: opener(newKey)})
	if err != nil {
		t.Fatal(err)
	}
	p, err = newAuthority.Prepare(deviceTemplate(), pkitest.Key(t, "P-256").Public(), Rules{})
	leaf := issue(t, p, err)
	pkitest.OpenSSL(t, "verify", "-attime", "1793620800",
		"-CAfile", pkitest.WriteFile(t, "old.pem", pkitest.PEM("CERTIFICATE", oldRoot.Certificate().Raw)),
		"-untrusted", pkitest.WriteFile(t, "cross.pem", pkitest.PEM("CERTIFICATE", cross.Raw)),
		pkitest.WriteFile(t, "leaf.pem", pkitest.PEM("CERTIFICATE", leaf.Raw)))
}
