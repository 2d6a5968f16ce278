package server

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
	"mintmark/issuer/est"
)

// second adds a label to the configuration that init writes.
func second(t *testing.T, dir, text string) {
	t.Helper()
	editConfig(t, dir, "    own: [device]", "    own: [device]\n"+strings.TrimSuffix(text, "\n")+"\n    #")
}

// write puts a file into a state directory.
func write(t *testing.T, dir, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

const fullLabel = `  - name: line
    profile: device
    issuer: issuing
    authorize: webhook
    webhook: {url: "https://mes.example/enroll", ca: root.pem, key_file: secrets/mes}
    one_time: true
    own: [device]
    registration_authorities: [ra]
    maker: {anchors: maker-root.pem, device: serialNumber, subject: {organization: "Maker|Co"}, crls: [maker.crl]}
    both: true
    renewal: {authorize: inventory, grace: 30d, password: true, change_names: true}
    proof_of_possession: required
    retry: 5m
    second_key: refuse
    change_names: true
    cacerts: active
    keygen: {plain: true, symmetric_keys: {line: secrets/line}}
    limits: {identity: 0, label: 100}
`

func prepareLabel(t *testing.T) string {
	dir := newState(t)
	write(t, dir, "secrets/mes", strings.Repeat("s", 40)+"\n", 0o400)
	write(t, dir, "secrets/line", strings.Repeat("0a", 16)+"\n", 0o400)
	editConfig(t, dir, "profiles:\n", "profiles:\n  ra: {preset: registration-authority}\n")
	second(t, dir, fullLabel)
	key := pkitest.NewKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Maker"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	maker, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "maker-root.pem", string(pkitest.PEM("CERTIFICATE", maker)), 0o600)
	return dir
}

// TestLabelComplete: every key of a label arrives at est.
func TestLabelComplete(t *testing.T) {
	dir := prepareLabel(t)
	s := openLocal(t, dir, io.Discard)
	defer s.Close()
	labels, err := s.labels()
	if err != nil {
		t.Fatal(err)
	}
	plain, l := labels[0], labels[1]
	if plain.SecondKey != issuer.HoldSecondKey || plain.Limits != (est.Limits{Identity: 60, Address: 6000}) || plain.ProofOfPossession != est.ProofOptional || plain.Webhook != nil || plain.Maker != nil || plain.Keygen != nil {
		t.Errorf("what is left out: %+v", plain)
	}
	switch {
	case l.Authorize != issuer.ByWebhook, l.Webhook == nil, !l.OneTime, !l.Both, len(l.Own) != 1, len(l.RAs) != 1 || l.RAs[0] != "ra":
		t.Errorf("who may come: %+v", l)
	case l.Maker.Roots == nil, l.Maker.Device != "serialNumber", l.Maker.Subject["organization"].String() != "Maker|Co", l.Maker.Revoked == nil:
		t.Errorf("the maker: %+v", l.Maker)
	case l.Renewal != est.Renewal{Authorize: issuer.Inventory, Grace: 30 * 24 * time.Hour, Password: true, ChangeNames: true}:
		t.Errorf("renewals: %+v", l.Renewal)
	case l.ProofOfPossession != est.ProofRequired, l.Retry != 5*time.Minute, l.SecondKey != issuer.RefuseSecondKey, !l.ChangeNames, l.CACerts != est.CACertsActive:
		t.Errorf("answers: %+v", l)
	case !l.Keygen.Plain, len(l.Keygen.SymmetricKeys["line"]) != 16, l.Limits != est.Limits{Address: 6000, Label: 100}:
		t.Errorf("keys and limits: %+v, %+v", l.Keygen, l.Limits)
	}
}

// TestLabelFiles: a file that a label names and that is missing, that others read
// or that holds something else stops start and config check alike, by its key.
func TestLabelFiles(t *testing.T) {
	for _, test := range []struct {
		name string
		harm func(dir string)
		want []string
	}{
		{"nothing", func(string) {}, nil},
		{"secret that others read", func(dir string) { chmod(t, filepath.Join(dir, "secrets/mes"), 0o440) }, []string{"labels[1].webhook.key_file", "can be read by others"}},
		{"short secret", func(dir string) {
			os.Remove(filepath.Join(dir, "secrets/mes"))
			write(t, dir, "secrets/mes", "hunter2hunter2", 0o400)
		}, []string{"labels[1].webhook", "14 bytes"}},
		{"no secret", func(dir string) { os.Remove(filepath.Join(dir, "secrets/mes")) }, []string{"labels[1].webhook.key_file"}},
		{"no anchors of the service", func(dir string) {
			editConfig(t, dir, "ca: root.pem", "ca: mintmark.yaml")
		}, []string{"labels[1].webhook.ca", "holds no certificate"}},
		{"no client certificate", func(dir string) {
			editConfig(t, dir, "key_file: secrets/mes", "cert: root.pem, key: secrets/mes")
		}, []string{"labels[1].webhook.cert", "root.pem"}},
		{"key that others read", func(dir string) { chmod(t, filepath.Join(dir, "secrets/line"), 0o404) }, []string{"labels[1].keygen.symmetric_keys.line", "can be read by others"}},
		{"key of another length", func(dir string) {
			os.Remove(filepath.Join(dir, "secrets/line"))
			write(t, dir, "secrets/line", "0badc0de", 0o400)
		}, []string{"labels[1].keygen.symmetric_keys.line", "32, 48 or 64 hexadecimal digits"}},
		{"no maker", func(dir string) { editConfig(t, dir, "anchors: maker-root.pem", "anchors: maker.pem") }, []string{`label "line": labels[1].maker.anchors`, "maker.pem"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := prepareLabel(t)
			test.harm(dir)
			_, checked := CheckConfig(t.Context(), dir)
			for place, err := range map[string]error{"start": start(t, dir), "config check": checked} {
				if (err == nil) != (test.want == nil) {
					t.Fatalf("%s: %v", place, err)
				}
				for _, want := range test.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%s: %q does not say %q", place, err, want)
					}
				}
				if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "0badc0de")) {
					t.Errorf("%s: the error tells the secret: %v", place, err)
				}
			}
		})
	}
}

// TestMakerOurs: trust anchors of a maker that hold one of our own CAs stop start and
// config check alike, in whatever certificate its key comes.
func TestMakerOurs(t *testing.T) {
	dir := prepareLabel(t)
	root, err := os.ReadFile(filepath.Join(dir, "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	maker, err := os.ReadFile(filepath.Join(dir, "maker-root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	s := openLocal(t, dir, io.Discard)
	known := s.certificates()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := CheckAuthorities(dir, known, time.Now()); err != nil {
		t.Fatalf("a maker's own: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "maker-root.pem")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "maker-root.pem", string(maker)+string(root), 0o600)
	_, checked := CheckAuthorities(dir, known, time.Now())
	for place, err := range map[string]error{"start": start(t, dir), "config check": checked} {
		if err == nil || !strings.Contains(err.Error(), `label "line": labels[1].maker.anchors`) || !strings.Contains(err.Error(), `our own CA "root"`) {
			t.Errorf("%s: %v", place, err)
		}
	}
}

// TestGatewayIssuer: the issuing CA of gateways must be able to issue CA
// certificates, and must not be below a CA that a cloud trusts.
func TestGatewayIssuer(t *testing.T) {
	dir := newState(t)
	s := openLocal(t, dir, io.Discard)
	zero, one, two := 0, 1, 2
	requester := ledger.Requester{Kind: "admin", Name: "test"}
	create := func(name, above string, pathLen *int) {
		years := 5
		if above == "" {
			years = 20
		}
		_, err := s.ra.CreateAuthority(t.Context(), issuer.AuthoritySpec{
			Spec: ca.Spec{Name: name, Subject: pkix.Name{CommonName: name}, Validity: time.Duration(years) * 365 * 24 * time.Hour, PathLen: pathLen},
			Key:  ca.P256, Issuer: above,
		}, requester)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	create("short", "root", &zero)
	create("edge-root", "", &two)
	create("gateways", "edge-root", &one)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	editConfig(t, dir, "profiles:\n", "profiles:\n  edge: {preset: azure-iot-edge}\n  edge-ca: {preset: azure-edge-ca}\n")
	second(t, dir, "  - {name: edge, preset: azure-iot-edge, profile: edge, gateway: edge-ca, issuer: gateways, authorize: inventory, one_time: true, own: [edge]}")
	if err := start(t, dir); err != nil {
		t.Errorf("a sound pair: %v", err)
	}
	editConfig(t, dir, "issuer: gateways", "issuer: short")
	if err := start(t, dir); err == nil || !strings.Contains(err.Error(), "labels[1].issuer") || !strings.Contains(err.Error(), "path length") {
		t.Errorf("a path length of 0: %v", err)
	}
	editConfig(t, dir, "issuer: short", "issuer: gateways")
	editConfig(t, dir, "labels:\n", "aws:\n  targets:\n    - {name: a, account_id: \"123456789012\", region: eu-central-1, endpoint: \"http://127.0.0.1:1\", cas: [{issuer: edge-root, mode: DEFAULT, use: none}]}\nlabels:\n")
	if err := start(t, dir); err == nil || !strings.Contains(err.Error(), "labels[1].issuer") || !strings.Contains(err.Error(), `below "edge-root"`) {
		t.Errorf("below the CA of a cloud: %v", err)
	}
}

// TestRisks: what is risky is said in words, by config check too, and what init
// writes is not.
func TestRisks(t *testing.T) {
	dir := newState(t)
	of := func() string {
		findings, err := CheckConfig(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(findings, "\n")
	}
	if text := of(); strings.Contains(text, "label") || strings.Contains(text, "limits") {
		t.Errorf("what init writes: %s", text)
	}
	dir = prepareLabel(t)
	editConfig(t, dir, "second_key: refuse", "second_key: allow")
	editConfig(t, dir, "grace: 30d", "grace: 200d")
	editConfig(t, dir, `subject: {organization: "Maker|Co"}, `, "")
	editConfig(t, dir, "both: true", "both: false")
	editConfig(t, dir, "authorize: webhook", "authorize: trusted")
	editConfig(t, dir, "authorize: inventory, grace", "authorize: webhook, grace")
	editConfig(t, dir, "profiles:\n", "limits: {stations: [0.0.0.0/0]}\nprofiles:\n")
	text := of()
	for _, want := range []string{"second_key allow lets", "renewal.grace is 200 days", "every device of this maker", "keygen.plain hands out", "maker.crl are refused", "behind 0.0.0.0/0", "makes devices up"} {
		if !strings.Contains(text, want) {
			t.Errorf("the findings do not say %q:\n%s", want, text)
		}
	}
	quiet := newState(t)
	editConfig(t, quiet, "profiles:\n", "profiles:\n  edge: {preset: azure-iot-edge}\n")
	dir = quiet
	second(t, dir, "  - {name: edge, preset: azure-iot-edge, profile: edge, issuer: issuing, authorize: inventory, one_time: true, own: [edge]}")
	if text := of(); strings.Contains(text, "label") {
		t.Errorf("a label of IoT Edge with an inventory: %s", text)
	}
}
