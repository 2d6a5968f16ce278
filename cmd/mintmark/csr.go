package main

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"

	"github.com/spf13/cobra"
)

// requestFlags describe a certification request, or name a file that holds one.
type requestFlags struct {
	file         string
	name         string
	serialNumber string
	organization string
	dns, ip, uri []string
}

// bind adds the flags.
func (f *requestFlags) bind(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.file, "csr", "", "`file` with the certification request, in PEM or DER")
	flags.StringVar(&f.name, "name", "", "commonName of a new request: the device's `identifier`")
	flags.StringVar(&f.serialNumber, "serial-number", "", "serialNumber in the subject of a new request")
	flags.StringVar(&f.organization, "organization", "", "organization in the subject of a new request")
	flags.StringArrayVar(&f.dns, "dns", nil, "DNS `name` in a new request; may be repeated")
	flags.StringArrayVar(&f.ip, "ip", nil, "IP `address` in a new request; may be repeated")
	flags.StringArrayVar(&f.uri, "uri", nil, "`URI` in a new request; may be repeated")
	c.MarkFlagsMutuallyExclusive("csr", "name")
	c.MarkFlagsOneRequired("csr", "name")
}

// read returns the DER of the request in the file.
func (f *requestFlags) read() ([]byte, error) {
	content, err := readFile(f.file, maxPEM)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(content); block != nil {
		if block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
			return nil, fmt.Errorf("%s holds a %s and no certification request", f.file, block.Type)
		}
		content = block.Bytes
	}
	if _, err := x509.ParseCertificateRequest(content); err != nil {
		return nil, fmt.Errorf("%s: parsing the certification request: %w", f.file, err)
	}
	return content, nil
}

// make makes the request for a key and returns its DER.
func (f *requestFlags) make(key crypto.Signer) ([]byte, error) {
	template := &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: f.name, SerialNumber: f.serialNumber},
		DNSNames: f.dns,
	}
	if f.organization != "" {
		template.Subject.Organization = []string{f.organization}
	}
	for _, text := range f.ip {
		ip := net.ParseIP(text)
		if ip == nil {
			return nil, usagef("--ip %q is not an IP address", text)
		}
		template.IPAddresses = append(template.IPAddresses, ip)
	}
	for _, text := range f.uri {
		u, err := url.Parse(text)
		if err != nil {
			return nil, usagef("--uri: %w", err)
		}
		template.URIs = append(template.URIs, u)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("making the certification request: %w", err)
	}
	return der, nil
}
