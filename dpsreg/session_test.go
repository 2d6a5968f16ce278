package dpsreg_test

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/dpsreg"
	"mintmark/dpsreg/dps"
	"mintmark/dpsreg/dpssim"
	"mintmark/dpsreg/rest"
	"mintmark/internal/pkitest"
)

// withHubs adds both hubs and, with sas, shared access policies instead of Entra.
func (w *world) withHubs(target dpsreg.Target, sas bool) dpsreg.Target {
	target.Hubs = []dpsreg.Hub{{Host: firstHub}, {Host: secondHub}}
	if sas {
		target.SAS = &dpsreg.SAS{Policy: "provisioningserviceowner", KeyFile: w.path("provisioningserviceowner")}
		for i := range target.Hubs {
			target.Hubs[i].SAS = &dpsreg.SAS{Policy: "iothubowner", KeyFile: w.path("iothubowner")}
		}
	}
	return target
}

func (w *world) session(c *dpsreg.Connections, target dpsreg.Target) dpsreg.Session {
	w.t.Helper()
	s, err := c.Session(target)
	w.ok(err)
	return s
}

func status(err error) int {
	var refused *rest.Error
	if errors.As(err, &refused) {
		return refused.Status
	}
	return 0
}

// TestSession: resource manager, data plane and hubs take what a session shows, tokens
// and signatures alike, and it makes no call before it has to.
func TestSession(t *testing.T) {
	for _, sas := range []bool{false, true} {
		t.Run(map[bool]string{false: "Entra", true: "SAS"}[sas], func(t *testing.T) {
			w := newWorld(t)
			target := w.withHubs(w.target(), sas)
			s := w.session(w.connections(), target)
			if calls := w.sim.Calls(); len(calls) != 0 {
				t.Errorf("calls: %v", calls)
			}
			if _, err := s.DPS.Group(t.Context(), "pumps"); status(err) != 404 {
				t.Errorf("group: %v", err)
			}
			for _, host := range []string{firstHub, secondHub} {
				if _, err := s.Hubs[host].Device(t.Context(), "pump-1"); status(err) != 404 {
					t.Errorf("hub: %v", err)
				}
			}
			list, err := s.Certificates.List(t.Context(), target.ResourceGroup, target.Service, nil)
			if err != nil || len(list.Value) != 0 {
				t.Errorf("certificates: %v, %v", list.Value, err)
			}
			_, err = s.Certificates.Get(t.Context(), "none", target.ResourceGroup, target.Service, nil)
			if status(err) != 404 || strings.Contains(err.Error(), "\n") {
				t.Errorf("certificate: %v", err)
			}
		})
	}
}

// TestSessionKept: clients are made once, and anew when a secret or the way to connect
// changes; the pace of calls is that of the service and goes on.
func TestSessionKept(t *testing.T) {
	w := newWorld(t)
	target := w.withHubs(w.target(), true)
	c := w.connections()
	first := w.session(c, target)
	wanted := target
	wanted.Groups = []dpsreg.Group{{ID: "pumps", Anchors: []string{"line"}}}
	if again := w.session(c, wanted); !again.Same(first) {
		t.Error("clients were made again because more is wanted")
	}
	w.file("iothubowner", []byte(base64.StdEncoding.EncodeToString(make([]byte, 32))))
	second := w.session(c, target)
	if second.Same(first) || !second.SamePace(first) {
		t.Errorf("after a change of a key: same clients %v, same pace %v", second.Same(first), second.SamePace(first))
	}
	if _, err := second.Hubs[firstHub].Device(t.Context(), "pump-1"); status(err) != 401 || dpsreg.Passes(err) {
		t.Errorf("a wrong key: %v", err)
	}
	target.Connect.Address = "127.0.0.1:1"
	third := w.session(c, target)
	if third.Same(second) {
		t.Error("another address, and the same clients")
	}
	if _, err := third.DPS.PutGroup(t.Context(), dps.Group{ID: "pumps"}); err == nil || !dpsreg.Passes(err) {
		t.Errorf("nobody listens: %v", err)
	}
}

// TestSessionRefused: what a session cannot be made of, and no secret in the text.
func TestSessionRefused(t *testing.T) {
	w := newWorld(t)
	const secret = "TOP-SECRET-TEXT"
	w.file("bad", []byte(secret))
	w.file("empty", []byte("\n"))
	for name, change := range map[string]func(*dpsreg.Target){
		"no file":              func(t *dpsreg.Target) { t.Identity.SecretFile = w.path("none") },
		"an empty secret":      func(t *dpsreg.Target) { t.Identity.SecretFile = w.path("empty") },
		"no client":            func(t *dpsreg.Target) { t.Identity.ClientID = "" },
		"no tenant":            func(t *dpsreg.Target) { t.Identity.TenantID = "" },
		"a client alone":       func(t *dpsreg.Target) { t.Identity.SecretFile = "" },
		"two credentials":      func(t *dpsreg.Target) { t.Identity.CertificateFile = w.path("root.pem") },
		"no key":               func(t *dpsreg.Target) { t.Identity.SecretFile, t.Identity.CertificateFile = "", w.path("root.pem") },
		"no certificate":       func(t *dpsreg.Target) { t.Identity.SecretFile, t.Identity.CertificateFile = "", w.path("bad") },
		"no key of a policy":   func(t *dpsreg.Target) { t.SAS = &dpsreg.SAS{Policy: "x", KeyFile: w.path("bad")} },
		"no trust":             func(t *dpsreg.Target) { t.Connect.Trust = w.path("none") },
		"trust in nothing":     func(t *dpsreg.Target) { t.Connect.Trust = w.path("bad") },
		"an address of a host": func(t *dpsreg.Target) { t.Connect.Address = "localhost" },
	} {
		target := w.target()
		change(&target)
		_, err := w.connections().Session(target)
		if err == nil || !strings.Contains(err.Error(), `DPS target "factory"`) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if calls := w.sim.Calls(); len(calls) != 0 {
		t.Errorf("calls: %v", calls)
	}
}

// TestSessionWithoutHub: what one hub's client cannot be made of is the error of its calls only,
// and they are not tried again.
func TestSessionWithoutHub(t *testing.T) {
	w := newWorld(t)
	const secret = "TOP-SECRET-TEXT"
	w.file("bad", []byte(secret))
	for file, text := range map[string]string{"bad": "not base64", "none": w.path("none")} {
		target := w.withHubs(w.target(), true)
		target.Hubs[0].SAS = &dpsreg.SAS{Policy: "iothubowner", KeyFile: w.path(file)}
		s := w.session(w.connections(), target)
		_, err := s.Hubs[firstHub].Device(t.Context(), "pump-1")
		if err == nil || dpsreg.Passes(err) || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", file, err)
		}
		if _, err := s.Hubs[secondHub].Device(t.Context(), "pump-1"); status(err) != 404 {
			t.Errorf("the other hub: %v", err)
		}
		if _, err := s.DPS.Group(t.Context(), "pumps"); status(err) != 404 {
			t.Errorf("DPS: %v", err)
		}
	}
}

// TestWrongSecret: Entra refuses it; that does not pass, and the text does not show it.
func TestWrongSecret(t *testing.T) {
	w := newWorld(t)
	w.file("client-secret", []byte("wrong-secret-of-the-test"))
	s := w.session(w.connections(), w.target())
	for name, call := range map[string]func() error{
		"data plane": func() error { _, err := s.DPS.Group(t.Context(), "pumps"); return err },
		"resource manager": func() error {
			_, err := s.Certificates.List(t.Context(), w.target().ResourceGroup, w.target().Service, nil)
			return err
		},
	} {
		err := call()
		if err == nil || dpsreg.Passes(err) || strings.Contains(err.Error(), "wrong-secret-of-the-test") ||
			strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "AADSTS7000215") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDefaultIdentity: with no identity of its own a target has what the machine offers,
// here the environment, and asks for tokens where the target connects.
func TestDefaultIdentity(t *testing.T) {
	w := newWorld(t)
	cfg := w.sim.Config()
	t.Setenv("AZURE_TENANT_ID", cfg.TenantID)
	t.Setenv("AZURE_CLIENT_ID", cfg.ClientID)
	t.Setenv("AZURE_CLIENT_SECRET", cfg.ClientSecret)
	target := w.target()
	target.Identity = dpsreg.Identity{}
	s := w.session(w.connections(), target)
	if _, err := s.DPS.Group(t.Context(), "pumps"); status(err) != 404 {
		t.Error(err)
	}
}

// TestCertificateIdentity: a certificate with its key is shown to Entra as an
// assertion; one that the application does not have is refused, and no key is shown.
func TestCertificateIdentity(t *testing.T) {
	key := pkitest.Key(t, "RSA-2048")
	now := time.Now()
	c := sign(t, &x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}, &x509.Certificate{}, key.Public(), key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range []bool{true, false} {
		w := newWorld(t, func(cfg *dpssim.Config) {
			if known {
				cfg.ClientCertificate = c
			}
		})
		w.file("identity.pem", append(pkitest.PEM("CERTIFICATE", c.Raw), pkitest.PEM("PRIVATE KEY", der)...))
		target := w.target()
		target.Identity.SecretFile, target.Identity.CertificateFile = "", w.path("identity.pem")
		s := w.session(w.connections(), target)
		_, err = s.DPS.Group(t.Context(), "pumps")
		switch {
		case known && status(err) != 404:
			t.Error(err)
		case !known && (err == nil || !strings.Contains(err.Error(), "AADSTS700027") || dpsreg.Passes(err) ||
			strings.Contains(err.Error(), "PRIVATE KEY") || strings.Contains(err.Error(), "\n")):
			t.Error(err)
		}
	}
}

// TestUntrustedServer: with the roots of the system the simulator is not Azure, and
// nothing is sent to it, least of all a secret.
func TestUntrustedServer(t *testing.T) {
	w := newWorld(t)
	target := w.target()
	target.Connect.Trust = ""
	s := w.session(w.connections(), target)
	if _, err := s.DPS.Group(t.Context(), "pumps"); err == nil {
		t.Error("an untrusted server was believed")
	}
	target.SAS = &dpsreg.SAS{Policy: "provisioningserviceowner", KeyFile: w.path("provisioningserviceowner")}
	s = w.session(w.connections(), target)
	if _, err := s.DPS.Group(t.Context(), "pumps"); err == nil || dpsreg.Passes(err) {
		t.Errorf("an untrusted server: %v", err)
	}
	if calls := w.sim.Calls(); len(calls) != 0 {
		t.Errorf("calls: %v", calls)
	}
}

// TestNoProxy: an address of our own goes before a proxy of the environment.
func TestNoProxy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Error("the proxy was asked")
			c.Close()
		}
	}()
	t.Setenv("HTTPS_PROXY", "http://"+l.Addr().String())
	w := newWorld(t)
	s := w.session(w.connections(), w.target())
	if _, err := s.DPS.Group(t.Context(), "pumps"); status(err) != 404 {
		t.Error(err)
	}
}

// TestSecretsStayOut: the clients print no secret, whatever prints them.
func TestSecretsStayOut(t *testing.T) {
	w := newWorld(t)
	s := w.session(w.connections(), w.withHubs(w.target(), true))
	secrets := []string{w.sim.Config().ClientSecret}
	for _, key := range w.sim.Config().Keys {
		secrets = append(secrets, key)
	}
	for _, text := range []string{fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", w.withHubs(w.target(), true))} {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("a secret is printed")
			}
		}
	}
	if _, err := os.Stat(filepath.Join(w.dir, "client-secret")); err != nil {
		t.Fatal(err) // else the above looked for nothing
	}
}
