package main

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"strings"

	"mintmark/internal/pkcs10"
)

// lacking lists what a request asks for and a certificate does not have: servers
// may leave out what they do not grant (RFC 7030, Section 4.2.3) and need not say so.
func lacking(asked *x509.CertificateRequest, got *x509.Certificate) []string {
	list := []string{}
	add := func(prefix, value string, has []string) {
		for _, one := range has {
			if strings.EqualFold(one, value) {
				return
			}
		}
		list = append(list, prefix+value)
	}
	for _, name := range asked.DNSNames {
		add("DNS:", name, got.DNSNames)
	}
	for _, ip := range asked.IPAddresses {
		add("IP:", ip.String(), words(got.IPAddresses))
	}
	for _, u := range asked.URIs {
		add("URI:", u.String(), words(got.URIs))
	}
	for _, address := range asked.EmailAddresses {
		add("email:", address, got.EmailAddresses)
	}
	for _, attribute := range asked.Subject.Names {
		var has []string
		for _, other := range got.Subject.Names {
			if other.Type.Equal(attribute.Type) {
				has = append(has, fmt.Sprint(other.Value))
			}
		}
		// The short name of the attribute, as a subject is shown everywhere else.
		one := pkix.RDNSequence{{{Type: attribute.Type, Value: fmt.Sprint(attribute.Value)}}}.String()
		name, _, _ := strings.Cut(one, "=")
		add(name+"=", fmt.Sprint(attribute.Value), has)
	}
	return list
}

// warnLacking says what a certificate lacks, and returns it.
func (a *app) warnLacking(asked *x509.CertificateRequest, got *x509.Certificate) []string {
	list := lacking(asked, got)
	if len(list) > 0 {
		a.say("warning: the certificate lacks %s", printable(strings.Join(list, ", ")))
	}
	return list
}

// words are the texts of values.
func words[T fmt.Stringer](values []T) []string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = v.String()
	}
	return list
}

// readable is a template as the server reads it, with the names that it is to be
// changed to, if there are any.
func readable(template *x509.CertificateRequest, change *pkcs10.ChangeSubject) (*x509.CertificateRequest, error) {
	asked := *template
	if change != nil && change.Subject != nil {
		asked.RawSubject = change.Subject
	}
	if change != nil && change.SubjectAlt != nil {
		asked.DNSNames, asked.IPAddresses, asked.URIs, asked.EmailAddresses = nil, nil, nil, nil
		asked.ExtraExtensions = []pkix.Extension{{Id: oidSubjectAltName, Value: change.SubjectAlt}}
	}
	// Under a key of no consequence.
	key, err := newKey(defaultKeyType)
	if err != nil {
		return nil, err
	}
	der, err := pkcs10.Create(&asked, pkcs10.Attributes{}, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificateRequest(der)
}
