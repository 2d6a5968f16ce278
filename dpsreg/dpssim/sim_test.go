package dpssim

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHosts(t *testing.T) {
	s := startSim(t, func(c *Config) { c.Hubs = []string{"one.azure-devices.net", "two.azure-devices.net"} })
	// Each name has its own certificate, which the client has verified, and its own service:
	// each refuses in its own words whoever has no token.
	for url, want := range map[string]string{
		"https://login.microsoftonline.com/nowhere/v2.0/.well-known/openid-configuration":          "AADSTS90002",
		"https://management.azure.com/subscriptions/x?api-version=2022-02-05":                      "AuthenticationFailed",
		"https://mintmark-dps.azure-devices-provisioning.net/enrollments/a?api-version=2021-10-01": "401002",
		"https://one.azure-devices.net/devices/a?api-version=2021-04-12":                           "IotHubUnauthorizedAccess",
		"https://two.azure-devices.net/devices/a?api-version=2021-04-12":                           "IotHubUnauthorizedAccess",
	} {
		if status, _, body := s.call(t, "GET", url, ""); status < 400 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want %s", url, status, body, want)
		}
	}
	// A name that nobody has: there is no certificate for it, and a page that helps.
	if _, _, body := s.call(t, "GET", "https://three.azure-devices.net/", ""); !strings.Contains(body, "certificate is valid for") {
		t.Errorf("a strange name has a certificate: %s", body)
	}
	status, _, body := s.call(t, "GET", s.local()+"/", "")
	if status != 404 || !strings.Contains(body, "one.azure-devices.net") || !strings.Contains(body, "--connect-to ::"+s.Addr()) {
		t.Errorf("the page for a strange host is %d %s", status, body)
	}
}

// Who connects to one service and asks for another is not served: at Azure the
// server name leads to another machine.
func TestMisdirected(t *testing.T) {
	s := startSim(t)
	r, err := http.NewRequest("GET", "https://management.azure.com/enrollments/a?api-version=2021-10-01", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = s.Config().serviceHost()
	resp, err := s.client(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("%d", resp.StatusCode)
	}
}

func TestDevicePath(t *testing.T) {
	for path, want := range map[string]bool{
		"/0ne00000000/registrations/a/register":        true,
		"/0ne00000000/registrations/a/operations/b":    true,
		"/0ne00000000/registrations/a":                 true,
		"/0ne00000000/Registrations/a":                 true,
		"/enrollments/registrations":                   false,
		"/enrollmentgroups/registrations":              false,
		"/registrations/registrations/query":           false,
		"/enrollmentGroups/a":                          false,
		"/":                                            false,
		"":                                             false,
		"/registrations":                               false,
		"/0ne00000000/enrollments/registrations/query": false,
	} {
		if got := devicePath(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// DPS speaks TLS 1.2 only, and asks for a client certificate; the other services do not.
func TestTLS(t *testing.T) {
	s := startSim(t)
	for name, dps := range map[string]bool{
		loginHost: false, managementHost: false, s.Config().Hubs[0]: false, "": false,
		globalHost: true, s.Config().serviceHost(): true, strings.ToUpper(globalHost): true,
	} {
		asked := false
		config := &tls.Config{
			ServerName: name, InsecureSkipVerify: true, // other tests verify; an address has no server name
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				asked = true
				return &tls.Certificate{}, nil
			},
		}
		conn, err := tls.Dial("tcp", s.Addr(), config)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		version := conn.ConnectionState().Version
		conn.Close()
		if asked != dps || (version == tls.VersionTLS12) != dps {
			t.Errorf("%s: asked for a certificate: %v, version %x", name, asked, version)
		}
		config.MinVersion = tls.VersionTLS13
		conn, err = tls.Dial("tcp", s.Addr(), config)
		if (err != nil) != dps {
			t.Errorf("%s: TLS 1.3: %v", name, err)
		}
		if err == nil {
			conn.Close()
		}
		config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		if conn, err := tls.Dial("tcp", s.Addr(), config); err == nil {
			conn.Close()
			t.Errorf("%s: TLS 1.1 is spoken", name)
		}
	}
}

func TestTLSOfCurl(t *testing.T) {
	s := startSim(t)
	out, err := s.curl(t, "--tlsv1.3", "https://"+globalHost+"/")
	if err == nil || !strings.Contains(out, "alert") {
		t.Errorf("TLS 1.3 at DPS: %q, %v", out, err)
	}
	out, err = s.curl(t, "--tls-max", "1.2", "https://"+s.Config().serviceHost()+"/enrollments/a?api-version=2021-10-01")
	if err != nil || !strings.Contains(out, "401002") {
		t.Errorf("TLS 1.2 at DPS: %q, %v", out, err)
	}
	out, err = s.curl(t, "--tlsv1.3", "https://"+managementHost+"/")
	if err != nil || !strings.Contains(out, "AuthenticationFailed") {
		t.Errorf("TLS 1.3 at the resource manager: %q, %v", out, err)
	}
	out, err = s.curl(t, "https://localhost/_sim/calls")
	if err != nil || strings.TrimSpace(out) != "[]" {
		t.Errorf("the simulator's own endpoint: %q, %v", out, err)
	}
}

func TestConfigRefusals(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"tenant":               func(c *Config) { c.TenantID = "common" },
		"client":               func(c *Config) { c.ClientID = "me" },
		"subscription":         func(c *Config) { c.SubscriptionID = "00000000-0000-4000-8000-00000000000g" },
		"resource group":       func(c *Config) { c.ResourceGroup = "a b" },
		"group with stop":      func(c *Config) { c.ResourceGroup = "a." },
		"service":              func(c *Config) { c.Service = "a_b" },
		"service is global":    func(c *Config) { c.Service = "Global" },
		"id scope":             func(c *Config) { c.IDScope = "0ne" },
		"hub":                  func(c *Config) { c.Hubs = []string{"hub"} },
		"hub upper case":       func(c *Config) { c.Hubs = []string{"Hub.azure-devices.net"} },
		"hub twice":            func(c *Config) { c.Hubs = []string{"hub.azure-devices.net", "hub.azure-devices.net"} },
		"too many hubs":        func(c *Config) { c.Hubs = make([]string, maxHubs+1) },
		"key":                  func(c *Config) { c.Keys = map[string]string{"p": "not base64"} },
		"short key":            func(c *Config) { c.Keys = map[string]string{"p": "AAAA"} },
		"policy":               func(c *Config) { c.Keys = map[string]string{"../p": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} },
		"limit":                func(c *Config) { c.Limits = &Limits{Operations: -1} },
		"retry":                func(c *Config) { c.RetryAfter = -1 },
		"not local":            func(c *Config) { c.Listen = "0.0.0.0:0" },
		"MQTT not local":       func(c *Config) { c.MQTT = ":0" },
		"no port":              func(c *Config) { c.Listen = "localhost" },
		"state directory":      func(c *Config) { c.StateDir = "/dev/null/nowhere" },
		"address of no other":  func(c *Config) { c.Listen = "192.0.2.1:0"; c.AllowRemote = true },
		"MQTT address, no one": func(c *Config) { c.MQTT = "192.0.2.1:0"; c.AllowRemote = true },
	} {
		var cfg Config
		change(&cfg)
		if s, err := Start(context.Background(), cfg); err == nil {
			s.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCancelCloses(t *testing.T) {
	c, cancel := context.WithCancel(context.Background())
	s, err := Start(c, Config{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.Close(); err != nil { // waits for what cancel began
		t.Error(err)
	}
	for _, address := range []string{s.Addr(), s.MQTTAddr()} {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			t.Errorf("a closed simulator listens on %s", address)
		}
	}
}

func TestStateDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sim")
	s := startSim(t, func(c *Config) {
		c.StateDir = dir
		c.Keys = map[string]string{"reader": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}
	})
	var about struct {
		TenantID, ClientID, ClientSecretFile, SubscriptionID, ResourceGroup, Service, IDScope, HTTPS, MQTT string

		Hubs []string
		Keys map[string]string
	}
	b, err := os.ReadFile(filepath.Join(dir, "azure.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &about); err != nil {
		t.Fatal(err)
	}
	cfg := s.Config()
	if about.TenantID != cfg.TenantID || about.ClientID != cfg.ClientID || about.SubscriptionID != cfg.SubscriptionID ||
		about.ResourceGroup != cfg.ResourceGroup || about.Service != cfg.Service || about.IDScope != cfg.IDScope ||
		about.HTTPS != s.Addr() || about.MQTT != s.MQTTAddr() || len(about.Hubs) != 1 || about.Hubs[0] != cfg.Hubs[0] || len(about.Keys) != 3 {
		t.Errorf("azure.json is %s", b)
	}
	if strings.Contains(string(b), cfg.ClientSecret) || strings.Contains(string(b), cfg.Keys[ownerPolicy]) {
		t.Error("azure.json, which others may read, has a secret")
	}
	secrets := map[string]string{about.ClientSecretFile: cfg.ClientSecret}
	for policy, name := range about.Keys {
		secrets[name] = cfg.Keys[policy]
	}
	for name, want := range secrets {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil || strings.TrimSpace(string(got)) != want || want == "" {
			t.Errorf("%s does not have the secret: %v", name, err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	root, err := os.ReadFile(filepath.Join(dir, "root.pem"))
	if err != nil || string(root) != string(s.RootPEM()) {
		t.Errorf("root.pem: %v", err)
	}
	// The next run has the same secrets, so that a configuration stays good.
	again := startSim(t, func(c *Config) { c.StateDir = dir })
	if a := again.Config(); a.ClientSecret != cfg.ClientSecret || a.Keys[ownerPolicy] != cfg.Keys[ownerPolicy] || a.Keys[hubPolicy] != cfg.Keys[hubPolicy] {
		t.Error("the next run made other secrets")
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*", ".new-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
