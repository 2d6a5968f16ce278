package interop

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"mintmark/dpsreg/dpssim"
)

// edgeMinute is a label beside those of docs/iot-edge.md, whose certificates are soon over.
// They are not backdated: a part of their validity period is as long as it looks.
const (
	edgeMinuteProfile = `
  edge-minute:
    preset: azure-iot-edge
    validity: 1m
    backdate: 0s
    repeat: 0s
`
	edgeMinuteLabel = `  - name: edge-minute
    preset: azure-iot-edge
    profile: edge-minute
    issuer: issuing
    authorize: inventory
    maker: {anchors: maker.pem, device: commonName}
    own: [edge-minute]
`
)

// edgeGuide is the configuration of docs/iot-edge.md, with the simulator in the place of
// Azure: its profiles, and the labels with all that follows.
func edgeGuide(t *testing.T, c dpssim.Config, address string) (profiles, labels string) {
	t.Helper()
	block := regexp.MustCompile("(?s)```yaml\nprofiles:\n(.*?)labels:\n(.*?)azure:\n(.*?)```").FindStringSubmatch(read(t, "../../docs/iot-edge.md"))
	if block == nil {
		t.Fatal("docs/iot-edge.md has no configuration")
	}
	azure := block[3]
	for key, value := range map[string]string{
		"subscription_id": c.SubscriptionID, "resource_group": c.ResourceGroup, "service": c.Service, "id_scope": c.IDScope,
		"tenant_id": c.TenantID, "client_id": c.ClientID, "secret_file": filepath.Join(c.StateDir, "client-secret"),
		"labels": "[edge, edge-minute]",
	} {
		line := regexp.MustCompile(`(?m)( ` + key + `: ).*$`)
		if len(line.FindAllString(azure, -1)) != 1 {
			t.Fatalf("docs/iot-edge.md does not have %s once in\n%s", key, azure)
		}
		azure = line.ReplaceAllString(azure, "${1}"+value)
	}
	azure += fmt.Sprintf("      connect: {address: %q, trust_file: %s}\n", address, filepath.Join(c.StateDir, "root.pem"))
	return "\n" + block[1] + edgeMinuteProfile[1:], "\n" + block[2] + edgeMinuteLabel + "azure:\n" + azure
}

// edgeRegister registers with a chain file as IoT Edge's identity service does (api
// version, headers, TLS 1.2 to the names of Azure), and is as strict as it is: 202 for
// the request, application/json, and the registration id in each state but the last.
const edgeRegister = `
dps() { curl -sS --http1.1 --connect-to "::$DPS" --cacert $DPSROOT --cert $NAME.chain.pem --key $NAME.key -H "content-type: application/json" -D dps.header -o dps.body -w '%{http_code}' "$@"; }
url=https://global.azure-devices-provisioning.net/$SCOPE/registrations/$CN
status=$(dps -X PUT -d "{\"registrationId\":\"$CN\"}" "$url/register?api-version=2021-06-01")
if [ "$status" != 202 ]; then echo "registering: $status"; cat dps.body; exit 1; fi
grep -Eqi '^content-type: application/json' dps.header
field() { python3 -c 'import json,sys
v = json.load(open("dps.body"))
for name in sys.argv[1].split("."): v = v[name]
print(v)' "$1"; }
operation=$(field operationId)
for poll in 1 2 3 4 5; do
	status=$(dps "$url/operations/$operation?api-version=2021-06-01")
	grep -Eqi '^content-type: application/json' dps.header
	case "$status $(field status)" in
	"202 assigning") [ "$(field registrationState.registrationId)" = "$CN" ] ;;
	"200 assigned") break ;;
	*) echo "polling: $status"; cat dps.body; exit 1 ;;
	esac
done
[ "$(field status)" = assigned ]
[ "$(field registrationState.registrationId)" = "$CN" ]
[ "$(field registrationState.deviceId)" = "$CN" ]
`

// edgeRefused registers, wants that to be refused, and prints the answer.
const edgeRefused = `
status=$(curl -sS --http1.1 --connect-to "::$DPS" --cacert $DPSROOT --cert $NAME.chain.pem --key $NAME.key -H "content-type: application/json" -o dps.body -w '%{http_code}' \
	-X PUT -d "{\"registrationId\":\"$CN\"}" "https://global.azure-devices-provisioning.net/$SCOPE/registrations/$CN/register?api-version=2021-06-01")
[ "$status" = 401 ] || { echo "$status"; cat dps.body; exit 1; }
cat dps.body
`

// edgeSite is a server with a simulated DPS that knows its root.
type edgeSite struct {
	*site
	sim *dpssim.Sim
	env []string
	dir string // of the devices' files
}

func startEdge(t *testing.T) *edgeSite {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	state := t.TempDir()
	sim, err := dpssim.Start(ctx, dpssim.Config{StateDir: state, RetryAfter: 1})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	c := sim.Config()
	s := &edgeSite{site: build(t, t.TempDir()), sim: sim, dir: t.TempDir()}
	s.shell(t, s.dir, `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout maker.key -out maker.pem -days 30 -subj "/CN=Maker" \
	-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null`)
	profiles, labels := edgeGuide(t, c, sim.Addr())
	s.init(t, profiles, labels)
	write(t, filepath.Join(s.site.dir, "maker.pem"), read(t, filepath.Join(s.dir, "maker.pem")))
	s.serve(t)
	write(t, filepath.Join(s.dir, "devices.csv"), "device\npress-0042\npress-minute\npress-renewed\n")
	s.mintmark(t, "device", "import", filepath.Join(s.dir, "devices.csv"), "--dir", s.site.dir)
	s.mintmark(t, "azure", "apply", "--yes", "--dir", s.site.dir)
	s.env = []string{"DPS=" + sim.Addr(), "DPSROOT=" + filepath.Join(state, "root.pem"), "SCOPE=" + c.IDScope, "TLS=--tlsv1.2"}
	return s
}

// does runs a script among the device's files.
func (s *edgeSite) does(t *testing.T, device, label, script string) string {
	t.Helper()
	dir := filepath.Join(s.dir, device)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return s.shell(t, dir, script, append(slices.Clone(s.env), "CN="+device, "LABEL="+label)...)
}

// edgeBootstrap gets the EST identity with the maker's certificate, as certd does the
// first time and when its EST identity has expired; edgeDevice gets the device identity
// with the EST identity, whose chain it does not send.
const (
	edgeMaker = `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout bootstrap.key -subj "/CN=$CN" -out bootstrap.csr 2>/dev/null
printf 'extendedKeyUsage=clientAuth\n' > bootstrap.ext
openssl x509 -req -in bootstrap.csr -CA ../maker.pem -CAkey ../maker.key -CAcreateserial -days 30 -extfile bootstrap.ext -out bootstrap.pem 2>/dev/null
`
	edgeBootstrap = `NAME=est-id; AUTH="--cert bootstrap.pem --key bootstrap.key"
` + certdESTID + certdRequests + `cp enroll.pem est-id.pem
`
	edgeDevice = `NAME=device-id; AUTH="--cert est-id.pem --key est-id.key"
` + certdDevice + certdRequests
	edgeRenewal = `NAME=est-id; cp est-id.key old.key; cp est-id.pem old.pem; AUTH="--cert old.pem --key old.key"
` + certdESTID + certdRequests + `cp enroll.pem est-id.pem
! cmp -s old.pem est-id.pem
`
)

// thumbprint is the SHA-256 of a certificate, which hubs take as well as its SHA-1.
func thumbprint(c *x509.Certificate) string { return fmt.Sprintf("%X", sha256.Sum256(c.Raw)) }

// TestEdgeLife is the whole life of an IoT Edge device: its bootstrap, its registration
// at DPS, the renewal of both identities, the end of their validity and the return to the
// bootstrap, and the CA certificate of the gateway, which opens no door.
func TestEdgeLife(t *testing.T) {
	t.Parallel() // it mostly waits for a certificate to expire, and TestMatrix for processors
	if testing.Short() {
		t.Skip("waits for a certificate of a minute to expire")
	}
	for _, name := range []string{"curl", "openssl", "python3"} {
		if _, ok := tool(t, name); !ok {
			return
		}
	}
	s := startEdge(t)
	const device, short, renewed = "press-0042", "press-minute", "press-renewed"

	s.configured(t, device)

	// The device whose certificates are soon over goes first: meanwhile they expire.
	s.does(t, short, "edge-minute", edgeMaker+edgeBootstrap+edgeDevice+"NAME=device-id\n"+edgeRegister)

	s.does(t, device, "edge", edgeBootstrap)
	chain := certificates(t, filepath.Join(s.dir, device, "est-id.chain.pem"))
	ordered(t, chain, 3)
	s.does(t, device, "edge", edgeDevice+edgeRegister)
	first := certificates(t, filepath.Join(s.dir, device, "device-id.chain.pem"))
	ordered(t, first, 3)
	s.assigned(t, device, first[0])

	// certd renews the EST identity with itself, the certificate alone, and then the
	// device identity, with which the device registers again: only then it is used.
	s.does(t, device, "edge", edgeRenewal)
	s.does(t, device, "edge", edgeDevice+edgeRegister)
	second := certificates(t, filepath.Join(s.dir, device, "device-id.chain.pem"))
	if first[0].SerialNumber.Cmp(second[0].SerialNumber) == 0 {
		t.Error("the device identity was not renewed")
	}
	s.assigned(t, device, second[0])

	s.gateway(t, device)
	s.renewed(t, renewed)
	s.expired(t, short)
}

// configured writes the device's configuration as docs/iot-edge.md has it. What certd does
// below is what it says: the labels, the names, and who asks for what.
func (s *edgeSite) configured(t *testing.T, device string) {
	t.Helper()
	s.does(t, device, "edge", edgeMaker+`$MINTMARK ca export gateway-root --out gateway-root.pem --dir `+s.site.dir+`
$MINTMARK azure edge-config --registration-id $CN --target plant --dir `+s.site.dir+` --identity est --est-url $EST/edge --edge-ca-url $EST/edge-ca \
	--est-ca $ROOT --bootstrap-cert bootstrap.pem --trust-bundle gateway-root.pem --out config
`)
	var doc struct {
		Provisioning struct {
			Scope       string `toml:"id_scope"`
			Attestation struct {
				Identity issued `toml:"identity_cert"`
			}
		}
		Issuance struct {
			EST struct {
				Auth  issued
				Renew renewal `toml:"identity_auto_renew"`
				URLs  map[string]string
			}
		} `toml:"cert_issuance"`
		EdgeCA issued `toml:"edge_ca"`
	}
	if _, err := toml.DecodeFile(filepath.Join(s.dir, device, "config", "config.toml"), &doc); err != nil {
		t.Fatal(err)
	}
	base := "https://" + s.address + "/.well-known/est/"
	const bootstrap = "file:///var/aziot/certs/est-bootstrap-id.pem"
	identity, est := doc.Provisioning.Attestation.Identity, doc.Issuance.EST
	renews := renewal{Threshold: "80%", RotateKey: true}
	if doc.Provisioning.Scope != s.sim.Config().IDScope || identity != (issued{Method: "est", Name: device, URL: base + "edge", Renew: renews}) || est.URLs["default"] != base+"edge" ||
		est.Auth != (issued{Bootstrap: bootstrap}) || est.Renew != renews ||
		doc.EdgeCA != (issued{Method: "est", Name: "aziot-edge CA " + device, URL: base + "edge-ca", Bootstrap: bootstrap, Renew: renews}) {
		t.Errorf("the device is configured as %+v", doc)
	}
}

// issued is a certificate that IoT Edge gets, and by what it asks.
type issued struct {
	Method    string
	Name      string `toml:"common_name"`
	URL       string
	Bootstrap string  `toml:"bootstrap_identity_cert"`
	Renew     renewal `toml:"auto_renew"`
}

// renewal is when IoT Edge renews a certificate: at that part of its validity period.
type renewal struct {
	Threshold string
	RotateKey bool `toml:"rotate_key"`
}

// assigned checks what the hub knows of a device: the IoT Edge flag, its tags, and the
// thumbprint of its certificate.
func (s *edgeSite) assigned(t *testing.T, device string, c *x509.Certificate) {
	t.Helper()
	hub := s.sim.Config().Hubs[0]
	key := filepath.Join(t.TempDir(), "key")
	write(t, key, s.sim.Config().Keys["iothubowner"])
	get := func(path string) map[string]any {
		t.Helper()
		out := s.shell(t, s.dir, edgeSAS+`curl -sS --fail-with-body --connect-to "::$DPS" --cacert $DPSROOT -H "Authorization: $(sas)" "https://$HUB$REST?api-version=2021-04-12"`,
			append(slices.Clone(s.env), "HUB="+hub, "KEY="+key, "REST="+path)...)
		var v map[string]any
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		return v
	}
	identity := get("/devices/" + device)
	text := strings.ToUpper(fmt.Sprint(identity["authentication"]))
	if edge, _ := identity["capabilities"].(map[string]any)["iotEdge"].(bool); !edge || identity["status"] != "enabled" || !strings.Contains(text, thumbprint(c)) {
		t.Errorf("the hub knows %v, want the thumbprint %s", identity, thumbprint(c))
	}
	if tags, _ := get("/twins/" + device)["tags"].(map[string]any); tags["plant"] != "ulm" {
		t.Errorf("the tags are %v", tags)
	}
}

// edgeSAS makes a token for a hub, with nothing but python3.
const edgeSAS = `sas() { python3 -c 'import base64,hashlib,hmac,os,time,urllib.parse
key, host, end = base64.b64decode(open(os.environ["KEY"]).read()), urllib.parse.quote(os.environ["HUB"], safe=""), str(int(time.time()) + 300)
sig = base64.b64encode(hmac.new(key, (host + "\n" + end).encode(), hashlib.sha256).digest())
print("SharedAccessSignature sr=%s&sig=%s&se=%s&skn=iothubowner" % (host, urllib.parse.quote(sig, safe=""), end))'; }
`

// gateway gets the Edge CA certificate. Its issuing CA is under a root of its own, so
// that what the gateway signs is nobody's device: neither EST nor DPS let it in.
func (s *edgeSite) gateway(t *testing.T, device string) {
	t.Helper()
	dir := filepath.Join(s.dir, device, "gateway")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	env := append(slices.Clone(s.env), "LABEL=edge-ca", "CN=aziot-edge CA "+device)
	s.shell(t, dir, "cp ../bootstrap.pem ../bootstrap.key .\n"+edgeBootstrap+`NAME=edge-ca; AUTH="--cert est-id.pem --key est-id.key"
`+certdEdgeCA+certdRequests, env...)
	chain := certificates(t, filepath.Join(dir, "edge-ca.chain.pem"))
	ordered(t, chain, 3)
	edgeCA := chain[0]
	if !edgeCA.IsCA || !edgeCA.BasicConstraintsValid || !edgeCA.MaxPathLenZero || edgeCA.KeyUsage&x509.KeyUsageCertSign == 0 || edgeCA.Subject.CommonName != "aziot-edge CA "+device {
		t.Errorf("%v: CA %v, path length zero %v, key usage %b", edgeCA.Subject, edgeCA.IsCA, edgeCA.MaxPathLenZero, edgeCA.KeyUsage)
	}
	if root := certificates(t, s.root)[0]; chain[2].Equal(root) || edgeCA.Subject.String() == root.Subject.String() {
		t.Error("the Edge CA is under the root that DPS knows")
	}
	if chain[1].Subject.CommonName != "Gateways" {
		t.Errorf("the Edge CA is issued by %v", chain[1].Subject)
	}

	// A module's certificate in the name of the device, with everything above it.
	const minted = `NAME=minted; openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout minted.key -subj "/CN=$CN" -out minted.csr 2>/dev/null
printf 'extendedKeyUsage=clientAuth\n' > minted.ext
openssl x509 -req -in minted.csr -CA edge-ca.chain.pem -CAkey edge-ca.key -CAcreateserial -days 1 -extfile minted.ext -out minted.pem 2>/dev/null
cat minted.pem edge-ca.chain.pem > minted.chain.pem
`
	env = append(slices.Clone(s.env), "CN="+device, "LABEL=edge")
	out := s.shell(t, dir, minted+edgeRefused, env...)
	// What DPS says of a chain that leads to no CA that it knows: see dpsreg/attest.
	var answer struct {
		ErrorCode int    `json:"errorCode"`
		Message   string `json:"message"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.ErrorCode != 401002 || answer.Message != "CA certificate not found." {
		t.Errorf("DPS answered %s (%v)", out, err)
	}
	for _, label := range []string{"edge", "edge-ca"} {
		out = s.shell(t, dir, "NAME=asked\n"+certdESTID+`curl -sS --http1.1 --cacert $ROOT --cert minted.chain.pem --key minted.key -H "content-type: application/pkcs10" --data-binary @asked.b64 -o est.body -w '%{http_code}' $EST/$LABEL/simpleenroll
`, append(slices.Clone(s.env), "CN="+device, "LABEL="+label)...)
		if out != "403" {
			t.Errorf("label %s answered what is minted below the Edge CA by %s", label, out)
		}
	}
}

// until waits until so much, in seconds, is left of the validity period of a certificate.
func until(t *testing.T, file string, left int) {
	t.Helper()
	ctx, cancel := context.WithDeadline(t.Context(), certificates(t, file)[0].NotAfter.Add(30*time.Second))
	defer cancel()
	for exec.CommandContext(ctx, "openssl", "x509", "-in", file, "-noout", "-checkend", strconv.Itoa(left)).Run() == nil {
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not expire", file)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// renewed renews the identities of a device as they are used in the field: not before 80 %
// of their validity period are over, with what is still valid, alone.
func (s *edgeSite) renewed(t *testing.T, device string) {
	t.Helper()
	s.does(t, device, "edge-minute", edgeMaker+edgeBootstrap+edgeDevice+edgeRegister)
	est, identity := filepath.Join(s.dir, device, "est-id.pem"), filepath.Join(s.dir, device, "device-id.chain.pem")
	before := []*x509.Certificate{certificates(t, est)[0], certificates(t, identity)[0]}
	for i, file := range []string{est, identity} {
		life := before[i].NotAfter.Sub(before[i].NotBefore)
		until(t, file, int(life.Seconds())/5)
	}
	s.does(t, device, "edge-minute", edgeRenewal+edgeDevice+edgeRegister)
	after := []*x509.Certificate{certificates(t, est)[0], certificates(t, identity)[0]}
	for i, c := range after {
		life, age := before[i].NotAfter.Sub(before[i].NotBefore), c.NotBefore.Sub(before[i].NotBefore)
		if c.SerialNumber.Cmp(before[i].SerialNumber) == 0 || age < life*8/10 || i == 0 && age > life {
			t.Errorf("%v was renewed %v after it was issued for %v", c.Subject, age, life)
		}
	}
	s.assigned(t, device, after[1])
}

// expired waits until the certificates of a minute are over. Neither EST nor DPS takes
// them then; the bootstrap does as it did the first time.
func (s *edgeSite) expired(t *testing.T, device string) {
	t.Helper()
	for _, name := range []string{"est-id.pem", "device-id.chain.pem"} {
		until(t, filepath.Join(s.dir, device, name), 0)
	}
	out := s.does(t, device, "edge-minute", "NAME=again\n"+certdESTID+`curl -sS --http1.1 --cacert $ROOT --cert est-id.pem --key est-id.key -H "content-type: application/pkcs10" --data-binary @again.b64 -o est.body -w '%{http_code}' $EST/$LABEL/simpleenroll
`)
	if out != "403" {
		t.Errorf("EST answered an expired certificate by %s", out)
	}
	out = s.does(t, device, "edge-minute", "NAME=device-id\n"+edgeRefused)
	if !strings.Contains(out, "401002") {
		t.Errorf("DPS answered %s", out)
	}
	// Back to the bootstrap: a new EST identity, a new device identity, registered.
	s.does(t, device, "edge-minute", edgeBootstrap+edgeDevice+edgeRegister)
	s.assigned(t, device, certificates(t, filepath.Join(s.dir, device, "device-id.chain.pem"))[0])
}
