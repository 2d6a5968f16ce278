package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/dpsreg/dps"
	"mintmark/dpsreg/dpssim"
	"mintmark/dpsreg/rest"
	"mintmark/internal/reconcile"
	"mintmark/issuer/est"
)

const (
	plantHub   = "plant-hub.azure-devices.net"
	lineSecret = "the secret of the line"
)

// plant is a served mintmark with a target "plant" at a simulator: the devices of label
// line come into the group line-a, those of label pinned have individual enrollments.
type plant struct {
	*local
	sim *dpssim.Sim
}

// newPlant serves; more is added to the target's configuration.
func newPlant(t *testing.T, more string) *plant {
	t.Helper()
	return newPlantWith(t, more, nil)
}

// newPlantWith does something to the server before it serves.
func newPlantWith(t *testing.T, more string, prepare func(*Server)) *plant {
	t.Helper()
	p := &plant{sim: startAzure(t)}
	dir := newState(t)
	p.configure(t, dir, p.sim.Addr(), more)
	p.local = serveLocal(t, dir, prepare)
	return p
}

// startAzure starts a simulator in which devices need not wait.
func startAzure(t *testing.T) *dpssim.Sim {
	t.Helper()
	sim, err := dpssim.Start(t.Context(), dpssim.Config{Service: "plant-dps", Hubs: []string{plantHub}, Assigning: -1, StateDir: filepath.Join(t.TempDir(), "sim")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	return sim
}

// configure writes the target, at an address, into a configuration.
func (p *plant) configure(t *testing.T, dir, address, more string) {
	t.Helper()
	cfg := p.sim.Config()
	sum := sha256.Sum256([]byte(lineSecret))
	editConfig(t, dir, "labels:\n", fmt.Sprintf(`azure:
  targets:
    - name: plant
      subscription_id: %s
      resource_group: %s
      service: %s
      id_scope: %s
      identity: {tenant_id: %s, client_id: %s, secret_file: %s/client-secret}
      connect: {address: %q, trust_file: %[7]s/root.pem}
      cas:
        - authority: root
      groups:
        - id: line-a
          anchors: [root]
          labels: [line]
          device: {edge: true, tags: {plant: augsburg}}
      enrollments:
        - name: pinned
          labels: [pinned]
          device: {tags: {device: "${device}"}}
      hubs:
        - host: %[9]s
%[10]slabels:
  - {name: line, profile: plain, issuer: issuing, authorize: trusted, passwords: [{user: line, sha256: %[11]s}], own: [plain]}
  - {name: pinned, profile: plain, issuer: issuing, authorize: trusted, passwords: [{user: line, sha256: %[11]s}], own: [plain]}
`, cfg.SubscriptionID, cfg.ResourceGroup, cfg.Service, cfg.IDScope, cfg.TenantID, cfg.ClientID, cfg.StateDir, address, plantHub, more, hex.EncodeToString(sum[:])))
	editConfig(t, dir, "profiles:\n", "profiles:\n  plain: {preset: azure-iot-edge}\n")
}

// apply brings the target to the configured state.
func (p *plant) apply(t *testing.T) {
	t.Helper()
	plan, err := p.azure.Plan(t.Context(), "plant")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.azure.Apply(t.Context(), "plant", reconcile.Agreed{Hash: plan.Hash(), Destructive: plan.Destructive()}, nil); err != nil {
		t.Fatal(err)
	}
}

// enroll gets a device its certificate over EST.
func (p *plant) enroll(t *testing.T, label string, d device) *tls.Certificate {
	t.Helper()
	client := &est.Client{URL: "https://" + p.est, Label: label, RootCAs: roots(t, p.dir), User: "line", Password: lineSecret}
	defer client.Close()
	c, err := client.Enroll(t.Context(), d.csr)
	if err != nil {
		t.Fatalf("enrolling %s at label %s: %v", d.name, label, err)
	}
	return held(d, c)
}

// renew asks for a device's next certificate with the one that it has.
func (p *plant) renew(t *testing.T, label string, d device, with *tls.Certificate) (*tls.Certificate, error) {
	t.Helper()
	client := &est.Client{URL: "https://" + p.est, Label: label, RootCAs: roots(t, p.dir), Certificate: with}
	defer client.Close()
	c, err := client.Reenroll(t.Context(), d.csr)
	if err != nil {
		return nil, err
	}
	return held(d, c), nil
}

// registered is what the simulator answers a device.
type registered struct {
	HTTP        int
	OperationID string `json:"operationId"`
	Status      string `json:"status"`
	ErrorCode   int    `json:"errorCode"`
	Message     string `json:"message"`
	State       struct {
		AssignedHub string `json:"assignedHub"`
		DeviceID    string `json:"deviceId"`
	} `json:"registrationState"`
}

// register has a device register, with its whole chain.
func (p *plant) register(t *testing.T, d device, with *tls.Certificate) registered {
	t.Helper()
	issuing, err := p.ra.Authority("issuing")
	if err != nil {
		t.Fatal(err)
	}
	return p.registerBy(t, d, with, append([]*x509.Certificate{issuing.Certificate()}, issuing.Chain()...))
}

// registerBy has a device register with the chain that it has.
func (p *plant) registerBy(t *testing.T, d device, with *tls.Certificate, path []*x509.Certificate) registered {
	t.Helper()
	chain := *with
	chain.Certificate = chain.Certificate[:1:1]
	for _, c := range path {
		chain.Certificate = append(chain.Certificate, c.Raw)
	}
	client := p.client(t, chain)
	ask := func(method, path string, body []byte) (r registered) {
		request, err := http.NewRequestWithContext(t.Context(), method, "https://global.azure-devices-provisioning.net/"+p.sim.Config().IDScope+"/registrations/"+d.name+"/"+path+"?api-version=2021-06-01", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &r); err != nil {
			t.Fatalf("answered %d %q: %v", answer.StatusCode, text, err)
		}
		r.HTTP = answer.StatusCode
		return r
	}
	r := ask("PUT", "register", fmt.Appendf(nil, `{"registrationId":%q}`, d.name))
	for deadline := time.Now().Add(patience); r.HTTP == http.StatusAccepted && time.Now().Before(deadline); {
		r = ask("GET", "operations/"+r.OperationID, nil)
	}
	return r
}

// pins is the individual enrollment of a device at the simulator; ok is false if there
// is none.
func (p *plant) pins(t *testing.T, id string) (e pinned, ok bool) {
	t.Helper()
	var state struct {
		Enrollments map[string]json.RawMessage `json:"enrollments"`
	}
	if err := json.Unmarshal(p.sim.State(), &state); err != nil {
		t.Fatal(err)
	}
	raw, ok := state.Enrollments[id]
	if ok {
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
	}
	return e, ok
}

// pinned is an individual enrollment, as far as it matters here.
type pinned struct {
	Status      string `json:"provisioningStatus"`
	Attestation struct {
		X509 struct {
			Client struct {
				Primary, Secondary *struct {
					Info struct {
						SHA256 string `json:"sha256Thumbprint"`
					} `json:"info"`
				}
			} `json:"clientCertificates"`
		} `json:"x509"`
	} `json:"attestation"`
	Twin struct {
		Tags map[string]any `json:"tags"`
	} `json:"initialTwin"`
}

// slots are the SHA-256 of both certificates, empty for an empty slot.
func (e pinned) slots() [2]string {
	var out [2]string
	if s := e.Attestation.X509.Client.Primary; s != nil {
		out[0] = strings.ToLower(s.Info.SHA256)
	}
	if s := e.Attestation.X509.Client.Secondary; s != nil {
		out[1] = strings.ToLower(s.Info.SHA256)
	}
	return out
}

func thumbprint(c *tls.Certificate) string {
	sum := sha256.Sum256(c.Leaf.Raw)
	return hex.EncodeToString(sum[:])
}

// hubStatus is the status of a device's identity at the hub.
func (p *plant) hubStatus(t *testing.T, id string) string {
	t.Helper()
	var state struct {
		Hubs map[string]map[string]struct {
			Status string `json:"status"`
		} `json:"hubs"`
	}
	if err := json.Unmarshal(p.sim.State(), &state); err != nil {
		t.Fatal(err)
	}
	return state.Hubs[plantHub][id].Status
}

// operator is the portal, in the hands of somebody else.
func (p *plant) operator(t *testing.T) *dps.Client {
	t.Helper()
	const policy = "provisioningserviceowner"
	host := p.sim.Config().Service + ".azure-devices-provisioning.net"
	sas, err := rest.NewSAS(host, policy, p.sim.Config().Keys[policy], time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return dps.New(&rest.Client{Base: "https://" + host, APIVersion: dps.APIVersion, Authorization: sas, HTTP: p.client(t)})
}

// remove deletes the individual enrollment of a device behind mintmark's back.
func (p *plant) remove(t *testing.T, id string) {
	t.Helper()
	client := p.operator(t)
	e, err := client.Enrollment(t.Context(), id)
	if err == nil {
		err = client.DeleteEnrollment(t.Context(), id, e.Etag)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// client connects to the simulator, whatever the host, with the certificates of a
// device or none.
func (p *plant) client(t *testing.T, certificates ...tls.Certificate) *http.Client {
	t.Helper()
	anchors := x509.NewCertPool()
	anchors.AppendCertsFromPEM(p.sim.RootPEM())
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, p.sim.Addr())
		},
		TLSClientConfig: &tls.Config{RootCAs: anchors, Certificates: certificates},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}
