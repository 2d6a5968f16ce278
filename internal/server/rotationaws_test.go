package server

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
	"mintmark/awsreg/hook"
	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/internal/reconcile"
	"mintmark/issuer"
)

// hall is a server with one CA for each way into AWS, and a simulator.
type hall struct {
	*turner
	sim    *awssim.Sim
	things *iot.Client
	table  *dynamodb.Client
}

func newHall(t *testing.T) *hall {
	t.Helper()
	h := newQuietHall(t)
	h.work(t, h.aws.run, h.keepFollowing)
	return h
}

// startAWS starts a simulator whose account the environment has the keys of.
func startAWS(t *testing.T) *awssim.Sim {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	sim, err := awssim.Start(t.Context(), awssim.Config{
		Accounts: []awssim.Account{{ID: "123456789012", AccessKeyID: accessKey, SecretAccessKey: secretKey}},
		Region:   "eu-central-1", Localhost: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	return sim
}

// newQuietHall is one whose jobs do not run.
func newQuietHall(t *testing.T) *hall {
	t.Helper()
	sim := startAWS(t)
	dir := newState(t)
	editConfig(t, dir, "labels:\n", `aws:
  targets:
    - name: line
      account_id: "123456789012"
      region: eu-central-1
      endpoint: `+sim.ControlURL()+`
      quota_scale: 1000
      cas:
        - {issuer: jitr, mode: DEFAULT, use: jitr}
        - {issuer: jitp, mode: DEFAULT, use: jitp, jitp: {profile: provisioned, role_arn: "arn:aws:iam::123456789012:role/mintmark-jitp", policy: mintmark-device}}
        - {issuer: told, mode: SNI_ONLY, use: register, register: {policy: mintmark-device}}
      jitr: {function: "arn:aws:lambda:eu-central-1:123456789012:function:f", policy: mintmark-device}
labels:
`)
	editConfig(t, dir, "profiles:\n", "profiles:\n  provisioned: {preset: aws-jitp}\n")
	s := openLocal(t, dir, io.Discard)
	h := &hall{turner: newTurner(t, s), sim: sim}
	for _, name := range []string{"jitr", "jitp", "told"} {
		h.authority(t, name, "root")
	}
	if _, err := s.aws.Apply(t.Context(), "line", reconcile.Agreed{}, nil); err != nil {
		t.Fatal(err)
	}
	provider := credentials.NewStaticCredentialsProvider(accessKey, secretKey, "")
	h.things = iot.New(iot.Options{Region: "eu-central-1", BaseEndpoint: aws.String(sim.ControlURL()), Credentials: provider})
	h.table = dynamodb.New(dynamodb.Options{Region: "eu-central-1", BaseEndpoint: aws.String(sim.ControlURL()), Credentials: provider})
	return h
}

// gadget is a device with its key, its certificate and the path that it sends.
type gadget struct {
	name        string
	profile     string
	issuer      string // as its label names it
	certificate tls.Certificate
	record      ledger.Certificate
}

// enroll has a device get a certificate in the place of whatever it has.
func (h *hall) enroll(t *testing.T, g *gadget) {
	t.Helper()
	key := pkitest.NewKey(t)
	request := issuer.Request{
		Authorize: issuer.Trusted, Profile: g.profile, Issuer: g.issuer, Requester: ledger.Requester{Kind: "password", Name: "line"},
		SecondKey: issuer.AllowSecondKey, CSR: pkitest.CSR(t, key, pkix.Name{CommonName: g.name}),
	}
	if g.record.Serial != "" {
		request.Requester, request.Device = ledger.Requester{Kind: "certificate", Name: string(g.record.Serial)}, g.name
	}
	answer, err := h.ra.Enroll(t.Context(), request)
	if err != nil {
		t.Fatalf("enrolling %s: %v", g.name, err)
	}
	if g.record, err = h.ledger.Certificate(t.Context(), issuer.SerialOf(answer.Certificate.SerialNumber)); err != nil {
		t.Fatal(err)
	}
	g.certificate = tls.Certificate{Certificate: [][]byte{answer.Certificate.Raw}, PrivateKey: key, Leaf: answer.Certificate}
}

// sends is the device's certificate with the path to a root; empty for none.
func (h *hall) sends(t *testing.T, g *gadget, root string) tls.Certificate {
	t.Helper()
	out := g.certificate
	if root == "" {
		return out
	}
	path := h.ra.PathUnder(g.record.Issuer, root)
	if len(path) < 2 {
		t.Fatalf("%s has no path under %s", g.record.Issuer, root)
	}
	out.Certificate = append(out.Certificate[:1:1], path[len(path)-1].Raw)
	return out
}

// connects reports whether AWS takes a device, which tries again as devices do; what waits
// for activation is activated as the Lambda function does it.
func (h *hall) connects(t *testing.T, g *gadget, with tls.Certificate) bool {
	t.Helper()
	id := awsreg.CertificateID(with.Certificate[0])
	deadline := time.Now().Add(patience)
	for {
		if h.connect(t, g.name, with) {
			return true
		}
		out, err := h.things.DescribeCertificate(t.Context(), &iot.DescribeCertificateInput{CertificateId: &id})
		if err != nil || out.CertificateDescription.Status != iottypes.CertificateStatusPendingActivation || time.Now().After(deadline) {
			return false // AWS does not know it, or has it out of service
		}
		if g.profile == "device" { // JITP needs nobody
			h.activate(t, id, aws.ToString(out.CertificateDescription.CaCertificateId))
		}
	}
}

func (h *hall) activate(t *testing.T, id, caID string) {
	t.Helper()
	activator := hook.Activator{IoT: h.things, Store: hook.Table{Client: h.table, Name: "mintmark-devices"}, Policy: "mintmark-device"}
	// The manifest follows within moments; the device comes again.
	_ = activator.Handle(t.Context(), hook.Event{CertificateID: id, CACertificateID: caID, CertificateStatus: hook.PendingActivation})
}

// connect is one attempt: TLS, and an MQTT CONNECT (MQTT 3.1.1, Section 3.1).
func (h *hall) connect(t *testing.T, client string, with tls.Certificate) bool {
	t.Helper()
	anchors := x509.NewCertPool()
	anchors.AppendCertsFromPEM(h.sim.RootPEM())
	raw, err := new(net.Dialer).DialContext(t.Context(), "tcp", h.sim.BrokerAddr())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, &tls.Config{RootCAs: anchors, ServerName: "localhost", Certificates: []tls.Certificate{with}})
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	variable := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, byte(len(client))}, client...)
	if _, err := conn.Write(append([]byte{0x10, byte(len(variable))}, variable...)); err != nil {
		return false
	}
	answer := make([]byte, 4)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return false
	}
	return answer[0] == 0x20 && answer[3] == 0
}

// settled is a target in which nothing is to be done: what a running rotation has changed is
// no drift.
func (h *hall) settled(t *testing.T, state rotation.State) {
	t.Helper()
	plan, err := h.aws.Plan(t.Context(), "line")
	if err != nil {
		t.Fatal(err)
	}
	if !plan.Empty() {
		var b strings.Builder
		_ = plan.Render(&b)
		t.Errorf("%s: aws plan shows something to do:\n%s", state, b.String())
	}
}

// caState is what AWS has of a CA; empty for nothing.
func (h *hall) caState(t *testing.T, c *x509.Certificate) string {
	t.Helper()
	id := awsreg.CertificateID(c.Raw)
	out, err := h.things.DescribeCACertificate(t.Context(), &iot.DescribeCACertificateInput{CertificateId: &id})
	if err != nil {
		return ""
	}
	return string(out.CertificateDescription.Status) + " " + string(out.CertificateDescription.AutoRegistrationStatus)
}

// TestRotateIssuingAtAWS replaces the issuing CA of each way into AWS, state by state: in
// each the devices of either CA come in that should, and there is nothing to repair.
func TestRotateIssuingAtAWS(t *testing.T) {
	h := newHall(t)
	for _, way := range []struct{ name, profile string }{{"told", "device"}, {"jitr", "device"}, {"jitp", "provisioned"}} {
		t.Run(way.name, func(t *testing.T) {
			old := &gadget{name: way.name + "-1", profile: way.profile, issuer: way.name}
			h.enroll(t, old)
			// Waits for the task or the manifest; JITR and JITP register it now.
			h.arrives(t, old)
			on, off := "ACTIVE ENABLE", "ACTIVE DISABLE"
			if way.name == "told" {
				on = off
			}
			r := h.plan(t, rotation.Spec{Kind: ledger.RotateIssuing, Old: way.name, New: way.name + "-2", Canary: ledger.Canary{Percent: 0}})
			want := map[rotation.State][2]string{
				rotation.PathsVerified: {on, ""}, rotation.CloudRegistered: {on, "INACTIVE DISABLE"}, rotation.CloudActiveBoth: {on, on},
				rotation.Switched: {on, on}, rotation.Draining: {off, on}, rotation.TrustRemoved: {"INACTIVE DISABLE", on}, rotation.Retired: {"", on}, rotation.Archived: {"", on},
			}
			fresh := &gadget{name: way.name + "-2", profile: way.profile, issuer: way.name}
			for _, state := range rotation.States[1:] {
				if state == rotation.TrustRemoved {
					h.blocked(t, r.ID, state, "aws/line: 1 device comes in by "+way.name+" only")
					h.enroll(t, old) // renews
					h.arrives(t, old)
					if old.record.Issuer != way.name+"-2" {
						t.Errorf("renewed by %s", old.record.Issuer)
					}
					if _, err := h.ra.Revoke(t.Context(), ledger.Selector{Issuer: way.name, Superseded: true}, ledger.Superseded, "test"); err != nil {
						t.Fatal(err)
					}
					eventually(t, "AWS is told of the revocation", func() bool {
						n, _, err := awsCloud{h.aws, "line"}.Remaining(t.Context(), h.record(t, r.ID))
						return n == 0 && err == nil
					})
				}
				r = h.enter(t, r.ID, state)
				h.settled(t, state)
				if states, ok := want[state]; ok {
					for i, name := range []string{way.name, way.name + "-2"} {
						if a, err := h.ra.Authority(name); err == nil && h.caState(t, a.Certificate()) != states[i] {
							t.Errorf("%s: %s is %q, want %q", state, name, h.caState(t, a.Certificate()), states[i])
						}
					}
				}
				if !h.connects(t, old, old.certificate) {
					t.Errorf("%s: the old device is cut off", state)
				}
				if state == rotation.Switched {
					h.enroll(t, fresh)
					if fresh.record.Issuer != way.name+"-2" {
						t.Errorf("%s: issued by %s", state, fresh.record.Issuer)
					}
				}
				if fresh.record.Serial != "" {
					h.arrives(t, fresh)
				}
			}
			if said := Replaced(h.config, h.ra.KnownRotations()); !strings.Contains(strings.Join(said, "\n"), `AWS target "line" names `+way.name+", which was replaced by "+way.name+"-2") {
				t.Errorf("nobody is told that the file names the old CA: %q", said)
			}
		})
	}
}

// arrives waits until a device comes in.
func (h *hall) arrives(t *testing.T, g *gadget) {
	t.Helper()
	eventually(t, g.name+" comes in", func() bool { return h.connects(t, g, g.certificate) })
}

// authority makes an issuing CA below another.
func (x *turner) authority(t *testing.T, name, below string) {
	t.Helper()
	spec := issuer.AuthoritySpec{Spec: ca.Spec{Name: name, Subject: pkix.Name{CommonName: name}, Validity: 5 * 365 * 24 * time.Hour}, Key: ca.P256, Issuer: below}
	if below != "" {
		spec.PathLen = new(int)
	} else {
		spec.Validity *= 2
	}
	if _, err := x.ra.CreateAuthority(t.Context(), spec, ledger.Requester{Kind: "admin", Name: "test"}); err != nil {
		t.Fatal(err)
	}
}
