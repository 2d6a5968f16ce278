package awsreg_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/awsreg"
)

// refusedRules lists the rules of the findings that AWS is known to refuse.
func refusedRules(findings []awsreg.Finding) []string {
	var rules []string
	for _, f := range findings {
		if f.Severity == awsreg.Refused {
			rules = append(rules, f.Rule)
		}
	}
	slices.Sort(rules)
	return slices.Compact(rules)
}

func TestPreflight(t *testing.T) {
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	// crypto/rsa makes no shorter key any more.
	short := *rsa2048
	short.PublicKey.N = rsa2048.Primes[0]
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	tests := []struct {
		name   string
		change func(*awsreg.Issuer, *awsreg.CA)
		rules  string // refused
		says   string // in AWS's words, as far as known
	}{
		{"good", func(*awsreg.Issuer, *awsreg.CA) {}, "", ""},
		{"RSA 2048", func(i *awsreg.Issuer, _ *awsreg.CA) {
			i.Certificate.PublicKey, i.Certificate.SignatureAlgorithm = &rsa2048.PublicKey, x509.SHA256WithRSA
		}, "", ""},
		{"end entity", func(i *awsreg.Issuer, _ *awsreg.CA) { i.Certificate.IsCA = false }, "ca-true", "does not have the basicConstraints extension as true"},
		{"no basic constraints", func(i *awsreg.Issuer, _ *awsreg.CA) { i.Certificate.BasicConstraintsValid = false }, "ca-true", ""},
		{"RSA 1024", func(i *awsreg.Issuer, _ *awsreg.CA) { i.Certificate.PublicKey = &short.PublicKey }, "key", "key in the certificate is not valid"},
		{"P-224", func(i *awsreg.Issuer, _ *awsreg.CA) { i.Certificate.PublicKey = &p224.PublicKey }, "key", ""},
		{"P-521", func(i *awsreg.Issuer, _ *awsreg.CA) { i.Certificate.PublicKey = &p521.PublicKey }, "", ""}, // uncertain
		{"Ed25519", func(i *awsreg.Issuer, _ *awsreg.CA) { i.Certificate.PublicKey = edwards }, "key", ""},
		{"SHA-1", func(i *awsreg.Issuer, _ *awsreg.CA) { i.Certificate.SignatureAlgorithm = x509.SHA1WithRSA }, "signature", ""},
		{"PSS", func(i *awsreg.Issuer, _ *awsreg.CA) { i.Certificate.SignatureAlgorithm = x509.SHA256WithRSAPSS }, "", ""}, // uncertain
		{"expired", func(i *awsreg.Issuer, _ *awsreg.CA) { i.Certificate.NotAfter = time.Now().Add(-time.Hour) }, "validity", ""},
		{"not yet valid", func(i *awsreg.Issuer, _ *awsreg.CA) { i.Certificate.NotBefore = time.Now().Add(time.Hour) }, "validity", ""},
		{"parameter that the profile does not set", func(i *awsreg.Issuer, _ *awsreg.CA) { i.Subject = []string{"SerialNumber"} },
			"template-parameter", "Cannot resolve reference value: {Ref=AWS::IoT::Certificate::CommonName}"},
		{"named by serial number", func(i *awsreg.Issuer, ca *awsreg.CA) {
			i.Subject, ca.JITP.ThingName = []string{"SerialNumber"}, "SerialNumber"
		}, "", ""},
		{"short role", func(_ *awsreg.Issuer, ca *awsreg.CA) { ca.JITP.RoleARN = "role" }, "role", ""},
		{"no role's ARN", func(_ *awsreg.Issuer, ca *awsreg.CA) {
			ca.JITP.RoleARN = "arn:aws:iam::111122223333:user/somebody"
		}, "role", ""},
		{"template too long", func(_ *awsreg.Issuer, ca *awsreg.CA) { ca.JITP.Policy = strings.Repeat("p", 10240) }, "template-size", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			issuer := newAuthority(t, "line").Issuer
			ca := awsreg.CA{Issuer: "line", Mode: awsreg.ModeDefault, Use: awsreg.UseJITP, JITP: &awsreg.JITP{
				RoleARN: "arn:aws:iam::111122223333:role/mintmark-jitp", Policy: "device",
			}}
			test.change(&issuer, &ca)
			findings := awsreg.Preflight(issuer, awsreg.Target{}, ca, time.Now())
			if got := strings.Join(refusedRules(findings), " "); got != test.rules {
				t.Errorf("refused by %q, want %q: %v", got, test.rules, findings)
			}
			if test.says != "" && (len(findings) == 0 || !strings.Contains(findings[0].AWS, test.says)) {
				t.Errorf("AWS's words are missing: %v", findings)
			}
		})
	}
}

func TestDoctor(t *testing.T) {
	w := newWorld(t)
	r := w.registrar(first)
	if findings := must(r.Doctor(t.Context(), w.target()))(t); len(findings) != 0 {
		t.Errorf("findings on a good target: %v", findings)
	}
	for name, test := range map[string]struct {
		change func(*awsreg.Target)
		want   string
	}{
		"function of another region": {func(t *awsreg.Target) { t.JITR.Function = "arn:aws:lambda:us-east-1:111122223333:function:f" }, "function"},
		"rule with a hyphen":         {func(t *awsreg.Target) { t.JITR.Rule = "mint-mark" }, "rule-name"},
		"short table":                {func(t *awsreg.Target) { t.Manifest.Table = "t" }, "table-name"},
		"policy name":                {func(t *awsreg.Target) { t.JITR.Policy = "a b" }, "policy-name"},
		"policy too long": {func(t *awsreg.Target) {
			t.JITR.PolicyDocument = `{"Statement":[{"Sid":"` + strings.Repeat("x", 2048) + `"}]}`
		}, "policy-size"},
		"policy is no JSON":         {func(t *awsreg.Target) { t.JITR.PolicyDocument = "{" }, "policy-syntax"},
		"policy without statements": {func(t *awsreg.Target) { t.JITR.PolicyDocument = "{}" }, "policy-syntax"},
	} {
		target := w.target()
		target.CAs = target.CAs[:1]
		test.change(&target)
		if got := refusedRules(must(r.Doctor(t.Context(), target))(t)); !slices.Equal(got, []string{test.want}) {
			t.Errorf("%s: refused by %v, want %s", name, got, test.want)
		}
	}

	// One name, two documents.
	target := w.target()
	target.JITR.PolicyDocument = openPolicy
	if got := refusedRules(must(r.Doctor(t.Context(), target))(t)); !slices.Equal(got, []string{"policy-conflict"}) {
		t.Errorf("two documents of one name: refused by %v", got)
	}

	// What AWS accepts and nobody should have.
	target = w.target()
	target.CAs = target.CAs[:1]
	target.JITR.PolicyDocument = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iot:Connect","iot:PublishRetain"],"Resource":"*"}]}`
	var rules []string
	for _, f := range must(r.Doctor(t.Context(), target))(t) {
		if f.Severity != awsreg.Advice {
			t.Errorf("severity %s", f.Severity)
		}
		rules = append(rules, f.Rule)
	}
	if !slices.Equal(rules, []string{"policy-action", "policy-resource"}) {
		t.Errorf("advice on %v", rules)
	}
	if calls := w.sim.Calls(); len(calls) != 0 {
		t.Errorf("the doctor called %v", calls)
	}
}

// Every parameter that a template declares is one that the profile always sets.
func TestTemplate(t *testing.T) {
	issuer := awsreg.Issuer{Name: "line", Subject: []string{"CommonName", "Organization", "SerialNumber"}}
	for _, name := range []string{"", "CommonName", "SerialNumber"} {
		body := must(awsreg.Template(issuer, awsreg.JITP{Policy: `na"me`, ThingName: name}))(t)
		var template struct {
			Parameters map[string]struct{ Type string }
			Resources  map[string]struct {
				Type       string
				Properties map[string]any
			}
		}
		if err := json.Unmarshal([]byte(body), &template); err != nil {
			t.Fatal(err)
		}
		for parameter := range template.Parameters {
			short := strings.TrimPrefix(parameter, "AWS::IoT::Certificate::")
			if short != "Id" && !slices.Contains(issuer.Subject, short) {
				t.Errorf("declares %s", parameter)
			}
		}
		if template.Resources["certificate"].Properties["Status"] != "ACTIVE" || template.Resources["policy"].Properties["PolicyName"] != `na"me` {
			t.Errorf("template %s", body)
		}
	}
	if _, err := awsreg.Template(awsreg.Issuer{Name: "line"}, awsreg.JITP{}); err == nil {
		t.Error("a thing named by an attribute that is not always there")
	}
}

func TestValidate(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*awsreg.Target){
		"no name":             func(t *awsreg.Target) { t.Name = "" },
		"account":             func(t *awsreg.Target) { t.AccountID = "1" },
		"region":              func(t *awsreg.Target) { t.Region = "Frankfurt" },
		"remote http":         func(t *awsreg.Target) { t.Endpoint = "http://example.com" },
		"http by name":        func(t *awsreg.Target) { t.Endpoint = "http://127.0.0.1.example.com" },
		"endpoint of nothing": func(t *awsreg.Target) { t.Endpoint = "file:///x" },
		"mode":                func(t *awsreg.Target) { t.CAs[0].Mode = "" },
		"use":                 func(t *awsreg.Target) { t.CAs[0].Use = "both" },
		"jitp on jitr":        func(t *awsreg.Target) { t.CAs[0].JITP = t.CAs[1].JITP },
		"jitp without jitp":   func(t *awsreg.Target) { t.CAs[1].JITP = nil },
		"jitr without jitr":   func(t *awsreg.Target) { t.JITR = nil },
		"twice":               func(t *awsreg.Target) { t.CAs[1].Issuer = "line" },
		"thing name":          func(t *awsreg.Target) { t.CAs[1].JITP.ThingName = "Country" },
		"no policy":           func(t *awsreg.Target) { t.CAs[1].JITP.Policy = "" },
	} {
		target := w.target()
		change(&target)
		if err := target.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := w.registrar(first).Apply(t.Context(), target, nil); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
	for _, endpoint := range []string{"", "https://example.com", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"} {
		target := w.target()
		target.Endpoint = endpoint
		if err := target.Validate(); err != nil {
			t.Error(err)
		}
	}
	if calls := w.sim.Calls(); len(calls) != 0 {
		t.Errorf("called %v", calls)
	}
}
