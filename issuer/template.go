package issuer

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"mintmark/internal/ledger"
	"mintmark/internal/pkcs10"
)

// noExpiry is the notAfter of a certificate without a well-defined expiration
// date (RFC 5280, Section 4.1.2.5).
var noExpiry = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// maxNames bounds the subject alternative names of a certificate.
const maxNames = 32

// identity is what a request says about its subject, after the profile.
type identity struct {
	subject []byte // DER
	values  map[string]string
	device  string // empty unless the profile is for devices
}

// authorise is the part of step 3 that the profile and the requester's proven
// identity decide; the ledger decides the rest in step 6.
func (p *Profile) authorise(r Request, csr *request) (identity, error) {
	if r.Renews != nil {
		if err := sameIdentity(csr.CertificateRequest, r.Renews); err != nil {
			return identity{}, err
		}
	}
	requested := csr.names.Subject
	if r.naming != nil {
		if err := r.naming.check(csr); err != nil {
			return identity{}, err
		}
		requested = r.naming.subject()
	}
	subject, values, err := p.buildSubject(requested)
	if err != nil {
		return identity{}, err
	}
	id := identity{subject: subject, values: values}
	if p.device == nil {
		if r.Device != "" {
			return identity{}, refuse(Forbidden, "identity", "the requester is device %q, and certificates of profile %s belong to no device", r.Device, p.Name)
		}
		return id, nil
	}
	if id.device, err = p.identify(values); err != nil {
		return identity{}, err
	}
	if r.Device != "" && id.device != r.Device {
		return identity{}, refuse(Forbidden, "identity", "the requester is device %q and may not ask in the name of %q", r.Device, id.device)
	}
	if own := p.deviceOf(csr.Subject); r.Renews != nil && csr.change != nil && id.device != own {
		return identity{}, refuse(Forbidden, "identity", "a renewal changes names and not the device: it asks in the name of %q for %q", own, id.device)
	}
	return id, nil
}

// identify returns the device that the subject of a certificate identifies.
func (p *Profile) identify(values map[string]string) (string, error) {
	value := values[p.deviceID]
	device := p.device.identifier(value)
	if device == "" {
		return "", refuse(Malformed, "subject", "%s %q names no device by the pattern of profile %s: %s", p.deviceID, value, p.Name, p.device.source)
	}
	return device, nil
}

// deviceOf is the device that a request names, as far as it names one; nothing
// of it is checked.
func (p *Profile) deviceOf(subject pkix.Name) string {
	if p.device == nil {
		return ""
	}
	values := attributeValues(subject, p.device.oid)
	if len(values) == 0 {
		return ""
	}
	if device := p.device.identifier(values[0]); device != "" {
		return device
	}
	return values[0]
}

// template is step 4: it fills a certificate from the profile and copies from
// the request only what the profile allows.
func (p *Profile) template(csr *request, id identity, issuer string, serial *big.Int, now time.Time) (*x509.Certificate, error) {
	t := &x509.Certificate{
		SerialNumber:          serial,
		RawSubject:            id.subject,
		NotBefore:             now.Add(-p.backdate).Truncate(time.Second),
		NotAfter:              now.Add(p.validity - p.jitter.of(serial)).Truncate(time.Second),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           p.usages,
		UnknownExtKeyUsage:    p.more,
		ExtraExtensions:       p.extensions,
		BasicConstraintsValid: true,
		CRLDistributionPoints: expand(p.crl, issuer),
		OCSPServer:            expand(p.ocsp, issuer),
		IssuingCertificateURL: expand(p.caIssuers, issuer),
	}
	if p.noExpiry {
		t.NotAfter = noExpiry
	}
	if p.encryption {
		t.KeyUsage |= x509.KeyUsageKeyAgreement
	}
	if p.Purpose == ledger.ForGateway {
		// It certifies modules on its gateway and no CA below, and signs no CRLs.
		t.IsCA, t.MaxPathLenZero = true, true
		t.KeyUsage |= x509.KeyUsageCertSign
	}
	if err := p.takesChange(csr); err != nil {
		return nil, err
	}
	names := csr.names
	count := len(names.DNSNames) + len(names.IPAddresses) + len(names.URIs) + len(names.EmailAddresses)
	if count > maxNames {
		return nil, refuse(Malformed, "san", "the request has %d subject alternative names; %d are allowed", count, maxNames)
	}
	take := func(kind string, allowed *regexp.Regexp, value string) (bool, error) {
		if allowed == nil {
			return false, nil
		}
		if !allowed.MatchString(value) {
			return false, refuse(Malformed, "san", "the %s name %q does not match the pattern of profile %s", kind, value, p.Name)
		}
		return true, nil
	}
	for _, name := range names.DNSNames {
		ok, err := take("DNS", p.dns, name)
		if err != nil {
			return nil, err
		}
		if ok {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	for _, ip := range names.IPAddresses {
		ok, err := take("IP", p.ip, ip.String())
		if err != nil {
			return nil, err
		}
		if ok {
			t.IPAddresses = append(t.IPAddresses, ip)
		}
	}
	for _, u := range names.URIs {
		ok, err := take("URI", p.uri, u.String())
		if err != nil {
			return nil, err
		}
		if ok {
			t.URIs = append(t.URIs, u)
		}
	}
	for _, address := range names.EmailAddresses {
		ok, err := take("email", p.email, address)
		if err != nil {
			return nil, err
		}
		if ok {
			t.EmailAddresses = append(t.EmailAddresses, address)
		}
	}
	if len(id.values) == 0 && len(t.DNSNames)+len(t.IPAddresses)+len(t.URIs)+len(t.EmailAddresses) == 0 {
		return nil, refuse(Malformed, "subject", "the request names nobody: it has neither a subject nor a name that profile %s takes", p.Name)
	}
	return t, nil
}

// noOtherNames refuses a certificate with names from the request that the one
// held does not have, except where the request may ask for others and does.
func (p *Profile) noOtherNames(csr *request, id identity, t, held *x509.Certificate) error {
	changed := pkcs10.ChangeSubject{}
	if csr.change != nil {
		changed = *csr.change
	}
	for _, rule := range p.subject {
		value, ok := id.values[rule.attribute]
		if ok && changed.Subject == nil && rule.pattern != nil && !slices.Contains(attributeValues(held.Subject, rule.oid), value) {
			return refuse(Forbidden, "identity", "the requester's certificate has no %s %q, and may not ask for it", rule.attribute, value)
		}
	}
	if changed.SubjectAlt != nil {
		return nil
	}
	other := func(name any) error {
		return refuse(Forbidden, "identity", "the requester's certificate does not have the alternative name %q, and may not ask for it", fmt.Sprint(name))
	}
	for _, name := range t.DNSNames {
		if !slices.Contains(held.DNSNames, name) {
			return other(name)
		}
	}
	for _, ip := range t.IPAddresses {
		if !slices.ContainsFunc(held.IPAddresses, ip.Equal) {
			return other(ip)
		}
	}
	for _, u := range t.URIs {
		if !slices.ContainsFunc(held.URIs, func(h *url.URL) bool { return h.String() == u.String() }) {
			return other(u)
		}
	}
	for _, address := range t.EmailAddresses {
		if !slices.Contains(held.EmailAddresses, address) {
			return other(address)
		}
	}
	return nil
}

func expand(urls []string, issuer string) []string {
	if len(urls) == 0 {
		return nil
	}
	out := make([]string, len(urls))
	for i, u := range urls {
		out[i] = strings.ReplaceAll(u, "{issuer}", issuer)
	}
	return out
}
