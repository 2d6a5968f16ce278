package server

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/ca/rotation"
	"mintmark/dpsreg"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/internal/reconcile"
)

// refusedPlan wants a rotation not to be planned, by what a cloud says.
func (x *turner) refusedPlan(t *testing.T, spec rotation.Spec, words string) {
	t.Helper()
	_, _, err := x.moves.Plan(t.Context(), spec, "alice")
	var refused *rotation.Refused
	if !errors.As(err, &refused) || refused.Rule != "rotation-cloud" || !strings.Contains(err.Error(), words) {
		t.Errorf("planned: %v, want a refusal with %q", err, words)
	}
	if len(x.ra.KnownRotations()) > 0 {
		t.Error("it is recorded all the same")
	}
}

// TestRotationWithoutRoomAtAWS: an account takes ten CAs of one subject in a region, and the
// certificate of a CA under a new root has the same subject.
func TestRotationWithoutRoomAtAWS(t *testing.T) {
	h := newHall(t)
	told, err := h.ra.Authority("told")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 9 {
		key := pkitest.NewKey(t)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(n + 1)), RawSubject: told.Certificate().RawSubject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.things.RegisterCACertificate(t.Context(), &iot.RegisterCACertificateInput{
			CaCertificate: aws.String(string(pkitest.PEM("CERTIFICATE", der))), CertificateMode: iottypes.CertificateModeSniOnly,
		}); err != nil {
			t.Fatal(err)
		}
	}
	h.refusedPlan(t, rotation.Spec{Kind: ledger.RotateRoot, Old: "root", New: "root-2"}, `takes ten CAs of one subject in a region, and has them with the subject of "told"`)
}

// TestRotationWithoutRoomAtDPS: a DPS instance takes 25 certificates.
func TestRotationWithoutRoomAtDPS(t *testing.T) {
	if os.Getenv("MINTMARK_LONG") == "" {
		t.Skip("24 certificates take a minute at the service's pace: set MINTMARK_LONG=1")
	}
	t.Parallel()
	p := newPlant(t, "")
	p.apply(t)
	x := newTurner(t, p.Server)
	full := p.azure.list[0]
	for n := range dpsreg.MaxCertificates - 1 {
		name := "spare-" + string(rune('a'+n))
		x.authority(t, name, "")
		full.CAs = append(full.CAs, dpsreg.CA{Authority: name})
	}
	plan, err := p.azure.registrar.Plan(t.Context(), full)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.azure.applyTarget(t.Context(), full, reconcile.Agreed{Hash: plan.Hash()}, nil); err != nil {
		t.Fatal(err)
	}
	x.refusedPlan(t, rotation.Spec{Kind: ledger.RotateRoot, Old: "root", New: "root-2"}, "a DPS instance takes 25 certificates and has 25")
}

// TestNewcomersAtAWS: auto-registration of the old CA is not turned off while devices have its
// certificates that AWS has never seen: they could not come in any more.
func TestNewcomersAtAWS(t *testing.T) {
	h := newHall(t)
	seen := &gadget{name: "seen-1", profile: "device", issuer: "jitr"}
	stock := &gadget{name: "stock-1", profile: "device", issuer: "jitr"}
	spare := &gadget{name: "stock-2", profile: "device", issuer: "jitr"}
	for _, g := range []*gadget{seen, stock, spare} {
		h.enroll(t, g)
	}
	h.arrives(t, seen)
	r := h.plan(t, rotation.Spec{Kind: ledger.RotateIssuing, Old: "jitr", New: "jitr-2"})
	for _, state := range rotation.States[1:10] {
		r = h.enter(t, r.ID, state)
	}
	if r.State != string(rotation.Switched) {
		t.Fatalf("in %s", r.State)
	}
	h.blocked(t, r.ID, rotation.Draining, `2 devices ("stock-`)
	jitr, err := h.ra.Authority("jitr")
	if err != nil {
		t.Fatal(err)
	}
	if got := h.caState(t, jitr.Certificate()); got != "ACTIVE ENABLE" {
		t.Errorf("the old CA is %q", got)
	}
	h.enroll(t, stock) // renews, and has the new CA's
	h.blocked(t, r.ID, rotation.Draining, `1 devices ("stock-2" is one) hold a certificate of "jitr" and have connected to no AWS target yet`)
	if err := h.ledger.NoteAnchors(t.Context(), r.ID, []ledger.AnchorNote{{Device: spare.name, Waived: h.ra.Now(), WaivedBy: "alice", Why: "scrapped"}}); err != nil {
		t.Fatal(err)
	}
	h.enter(t, r.ID, rotation.Draining)
	if got := h.caState(t, jitr.Certificate()); got != "ACTIVE DISABLE" {
		t.Errorf("the old CA is %q", got)
	}
}

// forge has the key of a CA sign a certificate of a device that the ledger knows nothing of.
func (x *turner) forge(t *testing.T, by, device string, key any) []byte {
	t.Helper()
	a, err := x.ra.Authority(by)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := x.ra.Keys.Signer(t.Context(), "softkms:path=keys/"+by+".pem", a.Certificate().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: device}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate(), key, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestRemainingDisagrees: what AWS lists below the old CA and what the ledger knows of it must be
// the same, or nobody can say whom its end cuts off.
func TestRemainingDisagrees(t *testing.T) {
	h := newHall(t)
	g := &gadget{name: "told-1", profile: "device", issuer: "told"}
	h.enroll(t, g)
	h.arrives(t, g)
	r := h.plan(t, rotation.Spec{Kind: ledger.RotateIssuing, Old: "told", New: "told-2"})
	for _, state := range rotation.States[1:11] {
		r = h.enter(t, r.ID, state)
	}
	if r.State != string(rotation.Draining) {
		t.Fatalf("in %s", r.State)
	}
	h.enroll(t, g)
	h.arrives(t, g)
	remaining := func() (int, error) {
		n, _, err := awsCloud{h.aws, "line"}.Remaining(t.Context(), h.record(t, r.ID))
		return n, err
	}
	if n, err := remaining(); n != 0 || err != nil {
		t.Fatalf("who has moved counts: %d, %v", n, err)
	}
	der := h.forge(t, "told", "stranger-1", pkitest.NewKey(t).Public())
	told, err := h.ra.Authority("told")
	if err != nil {
		t.Fatal(err)
	}
	out, err := h.things.RegisterCertificate(t.Context(), &iot.RegisterCertificateInput{
		CertificatePem: aws.String(string(pkitest.PEM("CERTIFICATE", der))), CaCertificatePem: aws.String(string(pkitest.PEM("CERTIFICATE", told.Certificate().Raw))), Status: iottypes.CertificateStatusActive,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remaining(); err == nil || !strings.Contains(err.Error(), "1 ACTIVE certificates that were never issued here, and 0 that are revoked here") {
		t.Errorf("what was never issued here: %v", err)
	}
	// And so the gate holds.
	h.blocked(t, r.ID, rotation.TrustRemoved, "AWS target \"line\" and the ledger do not agree")
	if _, err := h.things.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{CertificateId: out.CertificateId, NewStatus: iottypes.CertificateStatusInactive}); err != nil {
		t.Fatal(err)
	}
	if _, err := remaining(); err != nil {
		t.Errorf("out of service: %v", err)
	}
	// AWS was not told of a revocation.
	first, err := h.ledger.Certificates(t.Context(), ledger.Query{Issuer: "told", Device: g.name, Limit: 1})
	if err != nil || len(first.Certificates) != 1 {
		t.Fatal(first, err)
	}
	if _, err := h.ledger.Revoke(t.Context(), ledger.Selector{Serial: first.Certificates[0].Serial}, ledger.Superseded, "test", h.ra.Now(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := remaining(); err == nil || !strings.Contains(err.Error(), "0 ACTIVE certificates that were never issued here, and 1 that are revoked here") {
		t.Errorf("what is revoked here: %v", err)
	}
}

// TestRemainingDisagreesAtDPS: a device is registered that the ledger knows no certificate of.
func TestRemainingDisagreesAtDPS(t *testing.T) {
	t.Parallel()
	p := newPlant(t, "")
	p.apply(t)
	x := newTurner(t, p.Server)
	r := x.plan(t, rotation.Spec{Kind: ledger.RotateRoot, Old: "root", New: "root-2"})
	for _, state := range rotation.States[1:7] {
		r = x.enter(t, r.ID, state)
	}
	cloud := azureCloud{p.azure, "plant"}
	if _, _, err := cloud.Remaining(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	d := newDevice(t, "stranger-1")
	der := x.forge(t, "issuing", d.name, d.key.Public())
	if answer := p.register(t, d, &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: d.key}); answer.Status != "assigned" {
		t.Fatalf("%+v", answer)
	}
	if _, _, err := cloud.Remaining(t.Context(), r); err == nil || !strings.Contains(err.Error(), `1 registered devices ("stranger-1" is one) have no certificate that the ledger knows`) {
		t.Errorf("who is registered and was never issued anything: %v", err)
	}
}
