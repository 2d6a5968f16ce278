package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"mintmark/dpsreg/attest"
	"mintmark/dpsreg/attest/attesttest"
	"mintmark/dpsreg/dpssim"
	"mintmark/internal/pkitest"
)

// place is a simulator that has what a case wants of DPS.
type place struct {
	sim    *dpssim.Sim
	client *http.Client
	tokens map[string]string // by audience
}

func newPlace(t *testing.T) *place {
	t.Helper()
	sim, err := dpssim.Start(t.Context(), dpssim.Config{Assigning: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(sim.RootPEM())
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, sim.Addr())
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &place{sim, &http.Client{Transport: transport}, map[string]string{}}
}

// token is one for an audience, as an operator gets it.
func (p *place) token(t *testing.T, audience string) string {
	t.Helper()
	if p.tokens[audience] != "" {
		return p.tokens[audience]
	}
	c := p.sim.Config()
	resp, err := p.client.PostForm("https://login.microsoftonline.com/"+c.TenantID+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {c.ClientID}, "client_secret": {c.ClientSecret}, "scope": {audience + "/.default"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Token == "" {
		t.Fatalf("no token: %s, %v", resp.Status, err)
	}
	p.tokens[audience] = got.Token
	return got.Token
}

func (p *place) put(t *testing.T, audience, address string, body any) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, address, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token(t, audience))
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("PUT %s: %s %s %v", address, resp.Status, text, err)
	}
}

// fill gives the service the CAs, groups and enrollments of a case.
func (p *place) fill(t *testing.T, c attesttest.Case) {
	t.Helper()
	cfg := p.sim.Config()
	for _, ca := range c.CAs {
		p.put(t, "https://management.azure.com",
			fmt.Sprintf("https://management.azure.com/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Devices/provisioningServices/%s/certificates/%s?api-version=2022-02-05",
				cfg.SubscriptionID, cfg.ResourceGroup, cfg.Service, ca.Name),
			map[string]any{"properties": map[string]any{"certificate": base64.StdEncoding.EncodeToString(ca.Certificate.Raw), "isVerified": ca.Verified}})
	}
	const audience = "https://azure-devices-provisioning.net"
	data := "https://" + cfg.Service + ".azure-devices-provisioning.net"
	slot := func(c *x509.Certificate) any {
		return map[string]any{"primary": map[string]any{"certificate": string(attesttest.PEM([]*x509.Certificate{c}))}}
	}
	status := map[bool]string{false: "enabled", true: "disabled"}
	for _, g := range c.Groups {
		p.put(t, audience, data+"/enrollmentGroups/"+g.ID+"?api-version=2021-10-01", map[string]any{
			"enrollmentGroupId": g.ID, "provisioningStatus": status[g.Disabled],
			"attestation": map[string]any{"type": "x509", "x509": map[string]any{"signingCertificates": slot(g.Anchors[0])}},
		})
	}
	for _, i := range c.Individuals {
		p.put(t, audience, data+"/enrollments/"+i.RegistrationID+"?api-version=2021-10-01", map[string]any{
			"registrationId": i.RegistrationID, "provisioningStatus": status[i.Disabled],
			"attestation": map[string]any{"type": "x509", "x509": map[string]any{"clientCertificates": slot(i.Certificate)}},
		})
	}
}

// answer is what a device gets.
type answer struct {
	Status  int // of HTTP
	Code    int `json:"errorCode"`
	Message string
	State   string `json:"status"`
}

// register presents the chain of a case with curl, which sends the certificates of its
// file as they stand there.
func (p *place) register(t *testing.T, c attesttest.Case) answer {
	t.Helper()
	curl := pkitest.Tool(t, "curl")
	key, err := x509.MarshalPKCS8PrivateKey(c.Key)
	if err != nil {
		t.Fatal(err)
	}
	version := c.Presented.APIVersion
	if version == "" {
		version = "2021-06-01"
	}
	id := c.Presented.RegistrationID
	out, err := exec.CommandContext(t.Context(), curl, "--silent", "--show-error", "--tlsv1.2", "--tls-max", "1.2", "--noproxy", "*",
		"--connect-to", "::"+p.sim.Addr(), "--cacert", pkitest.WriteFile(t, "root.pem", p.sim.RootPEM()),
		"--cert", pkitest.WriteFile(t, "chain.pem", attesttest.PEM(c.Presented.Chain)), "--key", pkitest.WriteFile(t, "key.pem", pkitest.PEM("PRIVATE KEY", key)),
		"--request", "PUT", "--header", "Content-Type: application/json", "--data", `{"registrationId":"`+id+`"}`, "--write-out", "\n%{http_code}",
		"https://global.azure-devices-provisioning.net/"+p.sim.Config().IDScope+"/registrations/"+id+"/register?api-version="+version).CombinedOutput()
	if err != nil {
		t.Fatalf("curl: %v\n%s", err, out)
	}
	body, status, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	var a answer
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if a.Status, err = strconv.Atoi(status); err != nil {
		t.Fatal(err)
	}
	return a
}

// TestSimulatorAgrees: what is on record is refused by the simulator with the same text
// that the doctor predicts, which is that of the fixture.
func TestSimulatorAgrees(t *testing.T) {
	for _, f := range attesttest.Fixtures(t) {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			c := f.Case(t, time.Now())
			p := newPlace(t)
			p.fill(t, c)
			got := p.register(t, c)
			if got.Status != f.Code/1000 || got.Code != f.Code || got.Message != f.Message {
				t.Errorf("the simulator answers %+v, want %d %q", got, f.Code, f.Message)
			}
			r := check(t, c.Presented.Chain, options(c))
			if r.Prediction != Refused || r.Code != got.Code || r.Message != got.Message {
				t.Errorf("the doctor predicts %s %d %q, and the simulator answers %+v", r.Prediction, r.Code, r.Message, got)
			}
		})
	}
}

// TestSimulatorAgreesOnTheRest: chains that DPS takes, and those of which it is unknown
// with which text it refuses them, get the predicted answer, too.
func TestSimulatorAgreesOnTheRest(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, c *attesttest.Case){
		"accepted": func(t *testing.T, c *attesttest.Case) {},
		"individual": func(t *testing.T, c *attesttest.Case) {
			c.Individuals = []attesttest.Individual{{RegistrationID: "press-0042", Certificate: c.Presented.Chain[0]}}
			c.Groups, c.Presented.Chain = nil, c.Presented.Chain[:1]
		},
		"no clientAuth": func(t *testing.T, c *attesttest.Case) {
			w := newWorksAt(t, time.Now(), func(x *x509.Certificate) { x.ExtKeyUsage = nil })
			c.Presented.Chain, c.Key = w.chain(), w.device.Key
			c.CAs[0].Certificate, c.Groups[0].Anchors[0] = w.root.Certificate, w.root.Certificate
		},
		"expired": func(t *testing.T, c *attesttest.Case) {
			w := newWorksAt(t, time.Now(), func(x *x509.Certificate) { x.NotAfter = time.Now().Add(-time.Minute) })
			c.Presented.Chain, c.Key = w.chain(), w.device.Key
			c.CAs[0].Certificate, c.Groups[0].Anchors[0] = w.root.Certificate, w.root.Certificate
		},
		"order": func(t *testing.T, c *attesttest.Case) {
			c.Presented.Chain[1], c.Presented.Chain[2] = c.Presented.Chain[2], c.Presented.Chain[1]
		},
		"another name": func(t *testing.T, c *attesttest.Case) { c.Presented.RegistrationID = "press-0043" },
		"a CA below a gateway's": func(t *testing.T, c *attesttest.Case) {
			root := attesttest.NewRoot(t, "Root", time.Now())
			gateway := root.Sub(t, "aziot-edge CA gateway-1", func(x *x509.Certificate) { x.MaxPathLen, x.MaxPathLenZero = 0, true })
			below := gateway.Sub(t, "workload")
			device := below.Device(t, "press-0042")
			c.Presented.Chain = []*x509.Certificate{device.Certificate, below.Certificate, gateway.Certificate, root.Certificate}
			c.Key = device.Key
			c.CAs[0].Certificate, c.Groups[0].Anchors[0] = root.Certificate, root.Certificate
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := attesttest.Accepted(t, time.Now())
			change(t, &c)
			p := newPlace(t)
			p.fill(t, c)
			got := p.register(t, c)
			r := check(t, c.Presented.Chain, options(c))
			if r.Rule == "" {
				if got.Status != http.StatusAccepted || got.Code != 0 {
					t.Errorf("the doctor predicts %s, and the simulator answers %+v", r.Prediction, got)
				}
				return
			}
			if got.Status != r.Code/1000 || got.Code != r.Code || got.Message != r.Message || attest.RuleOf(r.Rule).Message != "" {
				t.Errorf("the doctor predicts %s by %s: %d %q, and the simulator answers %+v", r.Prediction, r.Rule, r.Code, r.Message, got)
			}
		})
	}
}
