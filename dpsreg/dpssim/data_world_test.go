package dpssim

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// party is a certificate with its key, and with its issuers up to the root.
type party struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	above []*x509.Certificate
}

// newParty issues a certificate; by is nil for a root. change may alter the template.
func newParty(t testing.TB, name string, isCA bool, by *party, change ...func(*x509.Certificate)) *party {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true, IsCA: isCA,
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if isCA {
		template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageCertSign, nil
	}
	for _, f := range change {
		f(template)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	p := &party{cert: cert, key: key}
	if by != nil {
		p.above = append([]*x509.Certificate{by.cert}, by.above...)
	}
	return p
}

// pem is the certificate alone.
func (p *party) pem() string { return pemText(p.cert) }

func pemText(certs ...*x509.Certificate) string {
	var b bytes.Buffer
	for _, c := range certs {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.String()
}

// tls is what the device presents: its certificate and these.
func (p *party) tls(above ...*x509.Certificate) *tls.Certificate {
	c := &tls.Certificate{Certificate: [][]byte{p.cert.Raw}, PrivateKey: p.key}
	for _, a := range above {
		c.Certificate = append(c.Certificate, a.Raw)
	}
	return c
}

// files writes the chain and the key.
func (p *party) files(t testing.TB, dir string) (chain, key string) {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	name := p.cert.Subject.CommonName
	chain, key = filepath.Join(dir, name+"-chain.pem"), filepath.Join(dir, name+"-key.pem")
	writeText(t, chain, pemText(append([]*x509.Certificate{p.cert}, p.above...)...))
	writeText(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
	return chain, key
}

func writeText(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// plant is a simulator, with a root that it has verified and a line below it.
type plant struct {
	t          testing.TB
	sim        *Sim
	root, line *party
}

func newPlant(t testing.TB, change ...func(*Config)) *plant {
	t.Helper()
	cfg := Config{RetryAfter: 1, StateDir: t.TempDir()}
	for _, f := range change {
		f(&cfg)
	}
	sim, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	p := &plant{t: t, sim: sim, root: newParty(t, "Plant Root CA", true, nil)}
	p.line = newParty(t, "Line 1 CA", true, p.root)
	p.upload("plant-root", p.root, true)
	return p
}

// upload puts a CA where the resource manager would.
func (p *plant) upload(name string, ca *party, verified bool) {
	p.sim.store.mu.Lock()
	defer p.sim.store.mu.Unlock()
	p.sim.store.certificates[strings.ToLower(name)] = &caCertificate{name: name, certificate: ca.cert, verified: verified, created: time.Now(), updated: time.Now()}
}

// client connects every name to the simulator, with a certificate if device is set.
func (p *plant) client(device *tls.Certificate) *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.sim.RootPEM())
	config := &tls.Config{RootCAs: pool}
	if device != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return device, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, p.sim.Addr())
	}
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// signature is a shared access signature made here, apart from the code that checks it.
func (p *plant) signature() string {
	host := p.sim.Config().serviceHost()
	key, err := base64.StdEncoding.DecodeString(p.sim.Config().Keys[ownerPolicy])
	if err != nil {
		p.t.Fatal(err)
	}
	expiry := fmt.Sprint(time.Now().Add(10 * time.Minute).Unix())
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(url.QueryEscape(host) + "\n" + expiry))
	return "SharedAccessSignature sr=" + url.QueryEscape(host) + "&sig=" + url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil))) +
		"&se=" + expiry + "&skn=" + ownerPolicy
}

// reply is an answer of the simulator.
type reply struct {
	status int
	header http.Header
	text   string
	body   map[string]any // nil if the answer is no object
}

// code is errorCode of a refusal.
func (r reply) code() int {
	n, _ := r.body["errorCode"].(float64)
	return int(n)
}

// do makes one request. header are alternating names and values.
func (p *plant) do(client *http.Client, method, address, body string, header ...string) reply {
	p.t.Helper()
	req, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, address, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	out := reply{status: resp.StatusCode, header: resp.Header, text: string(text)}
	json.Unmarshal(text, &out.body)
	return out
}

// data makes a call of the data plane, authorized. path may have a query.
func (p *plant) data(method, path, body string, header ...string) reply {
	p.t.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	return p.do(p.client(nil), method, "https://"+p.sim.Config().serviceHost()+path+sep+"api-version=2021-10-01", body,
		append([]string{"Authorization", p.signature()}, header...)...)
}

// must is data that has to succeed.
func (p *plant) must(method, path, body string, header ...string) reply {
	p.t.Helper()
	r := p.data(method, path, body, header...)
	if r.status >= 300 {
		p.t.Fatalf("%s %s: HTTP %d: %s", method, path, r.status, r.text)
	}
	return r
}

// object is JSON of names and values.
type object map[string]any

func (o object) String() string {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// with is a copy that has more, and without what is nil.
func (o object) with(more object) object {
	out := object{}
	for k, v := range o {
		out[k] = v
	}
	for k, v := range more {
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = v
	}
	return out
}

// x509Group is the body of a group on certificates.
func x509Group(id string, certs ...string) object {
	slots := object{}
	for i, c := range certs {
		slots[[]string{"primary", "secondary"}[i]] = object{"certificate": c}
	}
	return object{"enrollmentGroupId": id, "attestation": object{"type": "x509", "x509": object{"signingCertificates": slots}}}
}

// x509Individual is the body of an individual enrollment.
func x509Individual(id string, certs ...string) object {
	slots := object{}
	for i, c := range certs {
		slots[[]string{"primary", "secondary"}[i]] = object{"certificate": c}
	}
	return object{"registrationId": id, "attestation": object{"type": "x509", "x509": object{"clientCertificates": slots}}}
}

// group makes a group on the line's CA.
func (p *plant) group(id string, more object) reply {
	p.t.Helper()
	return p.must("PUT", "/enrollmentGroups/"+id, x509Group(id, p.line.pem()).with(more).String())
}

// events are those of a kind.
func (p *plant) events(kind string) []event {
	return p.sim.events.list(url.Values{"kind": {kind}})
}

// node runs a script of testdata with the vendor's packages.
func (p *plant) node(script string, env map[string]string) string {
	p.t.Helper()
	modules := nodeModules(p.t)
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool(p.t, "node"), filepath.Join("testdata", script))
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules, "SIM_ROOT="+filepath.Join(p.sim.Config().StateDir, "root.pem"))
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("node %s: %v\n%s%s", script, err, out, stderr.String())
	}
	return string(out)
}

// nodeModules is where scripts/test-tools.sh put the vendor's packages.
func nodeModules(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("MINTMARK_NODE_MODULES")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(cache, "mintmark", "npm", "node_modules")
	}
	if _, err := os.Stat(filepath.Join(dir, "azure-iot-provisioning-service")); err != nil {
		if os.Getenv("MINTMARK_TOOLS") == "required" {
			t.Fatalf("the vendor's packages of npm are not in %s (scripts/test-tools.sh)", dir)
		}
		t.Skipf("the vendor's packages of npm are not in %s (scripts/test-tools.sh)", dir)
	}
	return dir
}
