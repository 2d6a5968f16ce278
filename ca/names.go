package ca

import (
	"crypto/x509"
	"net"
	"net/url"
	"strings"
)

// checkNames holds the names in cert against the name constraints of the CA
// certificate above (RFC 5280, Section 4.2.1.10). Where implementations read
// a constraint differently, a permitted subtree is taken in its narrow and an
// excluded one in its wide meaning.
func checkNames(cert, above *x509.Certificate) error {
	for _, name := range cert.DNSNames {
		if err := checkName("DNS name", name, above, above.PermittedDNSDomains, above.ExcludedDNSDomains, dnsWithin); err != nil {
			return err
		}
	}
	for _, name := range emails(cert) {
		if err := checkName("e-mail address", name, above, above.PermittedEmailAddresses, above.ExcludedEmailAddresses, emailWithin); err != nil {
			return err
		}
	}
	for _, u := range cert.URIs {
		permitted, excluded := above.PermittedURIDomains, above.ExcludedURIDomains
		if len(permitted)+len(excluded) == 0 {
			continue
		}
		host := uriHost(u)
		if host == "" {
			return refuse("URI", "%q has no host name, which the name constraints of %s require", u, certName(above))
		}
		if err := checkName("URI host", host, above, permitted, excluded, hostWithin); err != nil {
			return err
		}
	}
	for _, ip := range cert.IPAddresses {
		if err := checkIP(ip, above); err != nil {
			return err
		}
	}
	return nil
}

// checkName applies one kind of constraint; within says whether a name is in a
// subtree, in its wide meaning if so asked.
func checkName(kind, name string, above *x509.Certificate, permitted, excluded []string, within func(name, subtree string, wide bool) bool) error {
	for _, subtree := range excluded {
		if within(name, subtree, true) {
			return refuse(kind, "%q is excluded by the name constraint %q of %s", name, subtree, certName(above))
		}
	}
	if len(permitted) == 0 {
		return nil
	}
	for _, subtree := range permitted {
		if within(name, subtree, false) {
			return nil
		}
	}
	return refuse(kind, "%q is outside the names that %s permits: %s", name, certName(above), strings.Join(permitted, ", "))
}

func checkIP(ip net.IP, above *x509.Certificate) error {
	for _, n := range above.ExcludedIPRanges {
		if n.Contains(ip) {
			return refuse("IP address", "%s is excluded by the name constraint %s of %s", ip, n, certName(above))
		}
	}
	if len(above.PermittedIPRanges) == 0 {
		return nil
	}
	for _, n := range above.PermittedIPRanges {
		if n.Contains(ip) {
			return nil
		}
	}
	return refuse("IP address", "%s is outside the ranges that %s permits", ip, certName(above))
}

// dnsWithin: a subtree holds the name itself and every name made by adding
// labels on the left; with a leading dot only the latter, as OpenSSL and Go
// read it.
func dnsWithin(name, subtree string, wide bool) bool {
	name, subtree = canonicalHost(name), strings.ToLower(subtree)
	bare := strings.TrimPrefix(subtree, ".")
	if base, ok := strings.CutPrefix(name, "*."); ok {
		// A wildcard is inside if all it can stand for is, and touches what it
		// can stand for one of.
		if wide && (bare == base || strings.HasSuffix(bare, "."+base)) {
			return true
		}
	}
	if bare == "" || strings.HasSuffix(name, "."+bare) {
		return true
	}
	return name == bare && (wide || !strings.HasPrefix(subtree, "."))
}

// hostWithin is for the host of a URI: a subtree is that host, with a leading
// dot every host below it.
func hostWithin(host, subtree string, wide bool) bool {
	host, subtree = canonicalHost(host), strings.ToLower(subtree)
	if bare, ok := strings.CutPrefix(subtree, "."); ok {
		return strings.HasSuffix(host, "."+bare) || wide && host == bare
	}
	return host == subtree || wide && (subtree == "" || strings.HasSuffix(host, "."+subtree))
}

// emailWithin: a subtree is a mailbox, or a host as in a URI.
func emailWithin(address, subtree string, wide bool) bool {
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return wide
	}
	host := address[i+1:]
	if j := strings.LastIndexByte(subtree, '@'); j >= 0 {
		local, constraint := address[:i], subtree[:j]
		return strings.EqualFold(host, subtree[j+1:]) && (local == constraint || wide && strings.EqualFold(local, constraint))
	}
	return hostWithin(host, subtree, wide)
}

// uriHost returns the host name of u, empty for none and for an IP address,
// which no constraint on URIs can hold.
func uriHost(u *url.URL) string {
	host := u.Hostname()
	if net.ParseIP(host) != nil {
		return ""
	}
	return host
}

// emails returns the addresses in the subject alternative name and, because
// old certificates have them there, in the subject.
func emails(cert *x509.Certificate) []string {
	all := cert.EmailAddresses
	for _, attribute := range cert.Subject.Names {
		if s, ok := attribute.Value.(string); ok && attribute.Type.Equal(oidEmailAddress) {
			all = append(all[:len(all):len(all)], s)
		}
	}
	return all
}

func canonicalHost(s string) string {
	return strings.TrimSuffix(strings.ToLower(s), ".")
}
