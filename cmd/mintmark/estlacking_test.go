package main

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"slices"
	"testing"
)

func TestLacking(t *testing.T) {
	u, err := url.Parse("urn:press:1")
	if err != nil {
		t.Fatal(err)
	}
	// As a server reads it, from its DER.
	parsed := func(template *x509.CertificateRequest) *x509.CertificateRequest {
		asked, err := readable(template, nil)
		if err != nil {
			t.Fatal(err)
		}
		return asked
	}
	all := &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "press-1", Organization: []string{"ACME"}, SerialNumber: "7"},
		DNSNames: []string{"a.example", "b.example"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}, URIs: []*url.URL{u},
	}
	subject := func(name pkix.Name) pkix.Name {
		return parsed(&x509.CertificateRequest{Subject: name}).Subject
	}
	for _, c := range []struct {
		name string
		got  *x509.Certificate
		want []string
	}{
		{"everything", &x509.Certificate{Subject: subject(all.Subject), DNSNames: []string{"A.example", "b.example", "c.example"}, IPAddresses: all.IPAddresses, URIs: all.URIs}, nil},
		{"nothing but its name", &x509.Certificate{Subject: subject(pkix.Name{CommonName: "press-1"})},
			[]string{"DNS:a.example", "DNS:b.example", "IP:192.0.2.1", "URI:urn:press:1", "O=ACME", "SERIALNUMBER=7"}},
		{"other values", &x509.Certificate{Subject: subject(pkix.Name{CommonName: "press-2", Organization: []string{"Other"}, SerialNumber: "7"}), DNSNames: all.DNSNames, IPAddresses: all.IPAddresses, URIs: all.URIs},
			[]string{"O=ACME", "CN=press-1"}},
	} {
		got := lacking(parsed(all), c.got)
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: lacks %q, want %q", c.name, got, c.want)
		}
	}
	// What it was to be changed to counts, and not what it was.
	change := changeFlags{name: "press-9", dns: []string{"nine.example"}}
	old := &x509.Certificate{RawSubject: parsed(all).RawSubject}
	attribute, err := change.attribute(old)
	if err != nil {
		t.Fatal(err)
	}
	asked, err := readable(&x509.CertificateRequest{RawSubject: old.RawSubject}, attribute)
	if err != nil {
		t.Fatal(err)
	}
	if got := lacking(asked, &x509.Certificate{Subject: subject(all.Subject), DNSNames: []string{"a.example"}}); !slices.Equal(got, []string{"DNS:nine.example", "CN=press-9"}) {
		t.Errorf("changed: lacks %q", got)
	}
}
