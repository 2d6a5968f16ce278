package est

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mintmark/internal/ledger"
	"mintmark/internal/pkcs10"
)

// proofLabels are a label of each policy; the zero value is that of line-a.
func proofLabels() func(*fixture, *Config) {
	return withLabels(
		Label{Name: "required", Passwords: goodPasswords(), Own: []string{"device"}, RAs: []string{"ra"}, ProofOfPossession: ProofRequired},
		Label{Name: "optional", Passwords: goodPasswords(), Own: []string{"device"}, RAs: []string{"ra"}, ProofOfPossession: ProofOptional},
		Label{Name: "off", Passwords: goodPasswords(), Own: []string{"device"}, RAs: []string{"ra"}, ProofOfPossession: ProofOff},
	)
}

// newProofFixture is newFixture without the label off of old.
func newProofFixture(t testing.TB) *fixture {
	return newFixture(t, func(f *fixture, c *Config) {
		c.Labels = c.Labels[:1]
		proofLabels()(f, c)
	})
}

// linkedCSR returns a certification request with a challengePassword.
func linkedCSR(t testing.TB, name, challenge string) string {
	t.Helper()
	der, err := pkcs10.Create(&x509.CertificateRequest{Subject: named(name)}, pkcs10.Attributes{Linked: true, ChallengePassword: challenge}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// bindingsOf are what a client can compute of its connection.
func bindingsOf(t testing.TB, c tls.ConnectionState) (unique, exporter, empty string) {
	t.Helper()
	encode := base64.StdEncoding.EncodeToString
	export := func(context []byte) string {
		b, err := c.ExportKeyingMaterial("EXPORTER-Channel-Binding", context, 32)
		if err != nil {
			t.Fatal(err)
		}
		return encode(b)
	}
	return encode(c.TLSUnique), export(nil), export([]byte{})
}

func TestProofOfPossession(t *testing.T) {
	f := newProofFixture(t)
	only := func(version uint16) func(*tls.Config) {
		return func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version }
	}
	// post sends a request whose challengePassword is made from the connection.
	post := func(label string, edit func(*tls.Config), challenge func(tls.ConnectionState) string) message {
		r := enroll(t, "linked")
		r.path, r.edit = "/.well-known/est/"+label+"/simpleenroll", edit
		conn := f.dial(t, r)
		if err := conn.Handshake(); err != nil {
			t.Fatal(err)
		}
		r.body = linkedCSR(t, "linked", challenge(conn.ConnectionState()))
		return over(t, conn, r)
	}
	unique := func(c tls.ConnectionState) string { u, _, _ := bindingsOf(t, c); return u }
	exporter := func(c tls.ConnectionState) string { _, e, _ := bindingsOf(t, c); return e }
	empty := func(c tls.ConnectionState) string { _, _, e := bindingsOf(t, c); return e }
	text := func(s string) func(tls.ConnectionState) string {
		return func(tls.ConnectionState) string { return s }
	}
	tls12, tls13 := only(tls.VersionTLS12), only(tls.VersionTLS13)

	t.Run("45 48 the right value", func(t *testing.T) {
		for _, label := range []string{"required", "optional", "off"} {
			for name, m := range map[string]message{
				"tls-unique on 1.2": post(label, tls12, unique), "exporter on 1.2": post(label, tls12, exporter),
				"exporter with an empty context on 1.2": post(label, tls12, empty), "exporter on 1.3": post(label, tls13, exporter),
			} {
				if m.status != 200 {
					t.Errorf("%s: %s: status %d: %s", label, name, m.status, m.body)
				}
			}
		}
	})
	t.Run("45 a wrong value", func(t *testing.T) {
		other := f.dial(t, rawRequest{edit: tls12})
		other.Handshake()
		stolen := unique(other.ConnectionState())
		for _, label := range []string{"required", "optional"} {
			for name, challenge := range map[string]func(tls.ConnectionState) string{
				"of another connection": text(stolen), "empty": text(""), "a password": text("secret"),
				"in hexadecimal":  func(c tls.ConnectionState) string { return hex.EncodeToString(c.TLSUnique) },
				"with a newline":  func(c tls.ConnectionState) string { return unique(c) + "\n" },
				"without its end": func(c tls.ConnectionState) string { return exporter(c)[:8] },
				"of another label": func(c tls.ConnectionState) string {
					b, _ := c.ExportKeyingMaterial("EXPORTER-Other", nil, 32)
					return base64.StdEncoding.EncodeToString(b)
				},
			} {
				t.Log(label, name)
				refused(t, post(label, tls12, challenge), 400, ruleProof)
				refused(t, post(label, tls13, challenge), 400, ruleProof)
			}
		}
		if m := post("off", tls12, text(stolen)); m.status != 200 {
			t.Errorf("off: status %d: %s", m.status, m.body)
		}
	})
	t.Run("46 required", func(t *testing.T) {
		for _, c := range []struct {
			edit func(*tls.Config)
			says string
		}{{tls12, "tls-unique"}, {tls13, "EXPORTER-Channel-Binding"}} {
			r := enroll(t, "linked")
			r.path, r.edit = "/.well-known/est/required/simpleenroll", c.edit
			m := f.raw(t, r)
			refused(t, m, 400, ruleProofMissing)
			if !strings.Contains(string(m.body), c.says) {
				t.Errorf("%q does not say %s", m.body, c.says)
			}
			r.path = "/.well-known/est/optional/simpleenroll"
			if m := f.raw(t, r); m.status != 200 {
				t.Errorf("optional: status %d: %s", m.status, m.body)
			}
		}
		refusedRenewal := reenroll(t, f.authority.own(t, "linked", nil))
		refusedRenewal.path = "/.well-known/est/required/simplereenroll"
		refused(t, f.raw(t, refusedRenewal), 400, ruleProofMissing)
	})
	t.Run("46 47 csrattrs announces it", func(t *testing.T) {
		oid, err := asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7})
		if err != nil {
			t.Fatal(err)
		}
		for label, want := range map[string]bool{"required": true, "optional": false, "off": false} {
			m := f.raw(t, rawRequest{method: "GET", path: "/.well-known/est/" + label + "/csrattrs"})
			der, err := base64.StdEncoding.DecodeString(string(m.body))
			if err != nil || bytes.Contains(der, oid) != want || want && m.status != 200 {
				t.Errorf("%s: status %d, %x, %v", label, m.status, der, err)
			}
		}
	})
	t.Run("48 what a client of tls-unique is told on TLS 1.3", func(t *testing.T) {
		m := post("required", tls13, unique) // Go has none there: an empty value
		refused(t, m, 400, ruleProof)
		for _, word := range []string{"TLS 1.3 has no tls-unique", "EXPORTER-Channel-Binding", "TLS 1.2"} {
			if !strings.Contains(string(m.body), word) {
				t.Errorf("%q does not say %q", m.body, word)
			}
		}
	})
	t.Run("49 resumed", func(t *testing.T) {
		cache := tls.NewLRUClientSessionCache(4)
		edit := func(c *tls.Config) { tls12(c); c.ClientSessionCache = cache }
		first := post("required", edit, unique)
		second := post("required", edit, unique)
		if first.status != 200 || second.status != 200 || first.resumed || !second.resumed {
			t.Errorf("status %d, then %d, resumed %t: %s", first.status, second.status, second.resumed, second.body)
		}
	})
	t.Run("45 48 HTTP/2", func(t *testing.T) {
		for _, edit := range []func(*tls.Config){tls12, tls13} {
			conn := f.dial(t, rawRequest{edit: func(c *tls.Config) { edit(c); c.NextProtos = []string{"h2"} }})
			if err := conn.Handshake(); err != nil {
				t.Fatal(err)
			}
			transport := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
			for challenge, want := range map[string]int{exporter(conn.ConnectionState()): 200, "other": 400} {
				r, err := http.NewRequest(http.MethodPost, "https://est.test/.well-known/est/required/simpleenroll", strings.NewReader(linkedCSR(t, "linked", challenge)))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", mediaTypePKCS10)
				r.SetBasicAuth(goodUser, goodSecret)
				answer, err := transport.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				answer.Body.Close()
				if answer.StatusCode != want || answer.ProtoMajor != 2 {
					t.Errorf("%s: status %d, want %d", answer.Proto, answer.StatusCode, want)
				}
			}
			transport.CloseIdleConnections()
		}
	})
	t.Run("50 registration authority", func(t *testing.T) {
		ra := f.authority.registration(t, "ra")
		r := enroll(t, "behind")
		r.path, r.header, r.certificate = "/.well-known/est/required/simpleenroll", r.header[:1], ra
		r.body = linkedCSR(t, "behind", "of the device's connection")
		if m := f.raw(t, r); m.status != 200 {
			t.Errorf("status %d: %s", m.status, m.body)
		}
		r.body = base64.StdEncoding.EncodeToString(newCSR(t, newKey(t), "behind"))
		refused(t, f.raw(t, r), 400, ruleProofMissing)
	})
	t.Run("attributes that cannot be read", func(t *testing.T) {
		r := enroll(t, "twice")
		r.path = "/.well-known/est/optional/simpleenroll"
		r.body = base64.StdEncoding.EncodeToString([]byte{0x30, 0x00})
		refused(t, f.raw(t, r), 400, ruleAttributes)
	})
}

// registration returns the certificate of a registration authority.
func (a *authority) registration(t testing.TB, profile string) *tls.Certificate {
	t.Helper()
	c := a.issuing.device(t, named("Line RA"), func(c *x509.Certificate) { c.UnknownExtKeyUsage = append(c.UnknownExtKeyUsage, oidCMCRA) })
	a.remember(c.Leaf, profile, func(r *ledger.Certificate) { r.Purpose, r.Device = ledger.ForRA, "" })
	return c
}

// openssl opens a TLS 1.2 connection with OpenSSL, sends one request and
// returns the answer. body makes the request's from the first Finished message, which
// is the tls-unique of RFC 5929, and the exported keying material.
func openssl(t *testing.T, f *fixture, conf string, body func(unique, exported string) string, args ...string) string {
	t.Helper()
	cmd := exec.Command(tool(t, "openssl"), append([]string{"s_client", "-connect", f.address, "-msg", "-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32"}, args...)...)
	if conf != "" {
		path := filepath.Join(t.TempDir(), "openssl.cnf")
		if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(os.Environ(), "OPENSSL_CONF="+path)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	finished := regexp.MustCompile(`Finished\n\s+14 00 00 0c ((?:[0-9a-f]{2}\s+){12})`)
	exported := regexp.MustCompile(`Keying material: ([0-9A-F]{64})`)
	var all strings.Builder
	lines := bufio.NewReader(out)
	asked := false
	for {
		line, err := lines.ReadString('\n')
		all.WriteString(line)
		if !asked && exported.MatchString(all.String()) {
			asked = true
			var unique, material []byte
			if m := finished.FindStringSubmatch(all.String()); m != nil {
				unique, _ = hex.DecodeString(strings.Join(strings.Fields(m[1]), ""))
			}
			if m := exported.FindStringSubmatch(all.String()); m != nil {
				material, _ = hex.DecodeString(m[1])
			}
			r := enroll(t, "linked")
			r.path = "/.well-known/est/required/simpleenroll"
			r.body = body(base64.StdEncoding.EncodeToString(unique), base64.StdEncoding.EncodeToString(material))
			io.WriteString(in, r.text("Connection: close"))
		}
		if err != nil {
			return all.String()
		}
	}
}

// Another implementation of TLS computes the same, and one that offers no
// extended master secret gets nothing on the strength of tls-unique.
func TestProofOpenSSL(t *testing.T) {
	f := newProofFixture(t)
	use := func(t *testing.T, which int) func(string, string) string {
		return func(unique, exported string) string {
			value := []string{unique, exported}[which]
			if value == "" {
				t.Error("openssl shows no value")
			}
			return linkedCSR(t, "linked", value)
		}
	}
	t.Run("45 tls-unique", func(t *testing.T) {
		if out := openssl(t, f, "", use(t, 0), "-tls1_2"); !strings.Contains(out, "HTTP/1.1 200 OK") {
			t.Error(out)
		}
	})
	t.Run("48 exporter", func(t *testing.T) {
		for _, version := range []string{"-tls1_2", "-tls1_3"} {
			if out := openssl(t, f, "", use(t, 1), version); !strings.Contains(out, "HTTP/1.1 200 OK") {
				t.Error(out)
			}
		}
	})
	t.Run("49 no extended master secret", func(t *testing.T) {
		conf := "openssl_conf = c\n[c]\nssl_conf = s\n[s]\nsystem_default = d\n[d]\nOptions = -ExtendedMasterSecret\n"
		out := openssl(t, f, conf, use(t, 0), "-tls1_2")
		if !strings.Contains(out, "Extended master secret: no") {
			t.Fatal(out)
		}
		if !strings.Contains(out, "HTTP/1.1 400 ") || !strings.Contains(out, "rule "+ruleProofTLS+": ") || !strings.Contains(out, "RFC 7627") {
			t.Error(out)
		}
	})
}

// A binding is a connection's own, and there is none without a handshake.
func TestBindings(t *testing.T) {
	if got := bindings(&tls.ConnectionState{}); got != nil {
		t.Errorf("%d of no connection", len(got))
	}
	if linked(&tls.ConnectionState{}, "") || linked(nil, "") {
		t.Error("nothing is linked to nothing")
	}
}
