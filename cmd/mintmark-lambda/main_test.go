package main

import (
	"strings"
	"testing"
	"time"

	"mintmark/awsreg/hook"
)

func TestSettings(t *testing.T) {
	ca := newCA(t)
	leaf := pemOf(makeCA(t).device(2, "x"))
	full := map[string]map[string]string{
		"jitr":      {envTable: "t", envPolicy: "p"},
		"provision": {envTable: "t"},
		"rotate":    {envTable: "t", envRotation: "r"},
		"presence":  {envTable: "t", envRotation: "r"},
		"monitor":   {envTable: "t", envRotation: "r"},
		"certificate-provider": {
			envTable: "t", envESTURL: "https://ca.example:8443", envESTLabel: "aws", envESTCA: ca, envSecret: "s",
		},
		"connect": {envTable: "t"},
	}
	if len(full) != len(handlers) {
		t.Fatalf("%d handlers are tested, there are %d", len(full), len(handlers))
	}
	read := func(handler string, change map[string]string) (settings, error) {
		return readSettings(func(name string) string {
			if name == "_HANDLER" {
				return handler
			}
			if value, ok := change[name]; ok {
				return value
			}
			return full[handler][name]
		})
	}
	for handler, env := range full {
		s, err := read(handler, nil)
		if err != nil || s.handler != handler || s.table != "t" {
			t.Errorf("%s: %+v, %v", handler, s, err)
		}
		for name := range env {
			if _, err := read(handler, map[string]string{name: ""}); err == nil || !strings.HasPrefix(err.Error(), name+" is not set") {
				t.Errorf("%s without %s: %v", handler, name, err)
			}
		}
	}
	if s, err := read("provision", nil); err != nil || s.maxAge != hook.DefaultMaxAge {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := read("jitr", map[string]string{envMaxAge: "90m"}); err != nil || s.maxAge != 90*time.Minute {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := read("connect", map[string]string{envMaxAge: "2h"}); err != nil || s.maxAge != 2*time.Hour {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := read("monitor", nil); err != nil || s.topic != "cmd/<thing>/alerts" {
		t.Errorf("%+v, %v", s, err)
	}
	s, err := read("connect", map[string]string{envCRLs: " http://a/crl  https://b/crl ", envAnchors: ca + "\n" + ca})
	if err != nil || len(s.crls) != 2 || len(s.anchors) != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []struct{ handler, name, value string }{
		{"", envTable, "t"}, {"Provision", envTable, "t"},
		{"jitr", envMaxAge, "-1h"}, {"jitr", envMaxAge, "0s"}, {"jitr", envMaxAge, "a day"}, {"connect", envMaxAge, "0s"},
		{"monitor", envTopic, "cmd/alerts"}, {"monitor", envTopic, "cmd/<thing>/<thing>"}, {"monitor", envTopic, "cmd/<thing>/#"},
		{"monitor", envTopic, "$aws/<thing>"}, {"monitor", envTopic, "<thing>/" + strings.Repeat("x", 120)},
		{"monitor", envDataEndpoint, "x.iot.amazonaws.com"},
		{"certificate-provider", envESTURL, "http://ca.example"}, {"certificate-provider", envESTURL, "https://user:pass@ca.example"},
		{"certificate-provider", envESTURL, "https://"}, {"certificate-provider", envESTURL, "https://a:b:c"},
		{"certificate-provider", envESTCA, "x"}, {"certificate-provider", envESTCA, leaf}, {"certificate-provider", envESTCA, ca + "x"},
		{"connect", envCRLs, "http://a/crl"}, {"connect", envOCSP, "http://a"}, // no anchors
		{"connect", envCRLs, "ldap://a"}, {"connect", envOCSP, "a"}, {"connect", envAnchors, leaf},
	} {
		_, err := read(bad.handler, map[string]string{bad.name: bad.value})
		if err == nil {
			t.Errorf("%s: %s=%q accepted", bad.handler, bad.name, cutText(bad.value))
		} else if strings.Contains(err.Error(), "pass") {
			t.Errorf("the error holds the password: %v", err)
		}
	}
}

func cutText(s string) string { return s[:min(len(s), 40)] }

func FuzzParseSecret(f *testing.F) {
	f.Add("-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n")
	f.Add(newCA(f))
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseSecret(text)
		if err != nil && c.PrivateKey != nil || err == nil && (c.PrivateKey == nil || len(c.Certificate) == 0) {
			t.Errorf("%d certificates, %v", len(c.Certificate), err)
		}
	})
}
