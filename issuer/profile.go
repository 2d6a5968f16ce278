package issuer

import (
	"cmp"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"mintmark/ca"
	"mintmark/internal/ledger"
)

// ProfileConfig is a profile in the operator's words. NewProfile validates it
// and fills what is left out from the preset.
type ProfileConfig struct {
	// Preset is what unset fields are taken from: device, aws-jitp,
	// azure-iot-edge, azure-edge-ca, server, claim, officer or
	// registration-authority. With claim and officer, only keys, validity and URLs
	// can be set.
	Preset string `yaml:"preset"`
	// Keys are the key types that a request may hold, as in P-256 or RSA-2048.
	Keys []string `yaml:"keys"`
	// DeviceID is the subject attribute that identifies the device: commonName or
	// serialNumber. If its pattern has a group named device, what that matches is
	// the identifier, and otherwise the whole value.
	DeviceID string `yaml:"device_id"`
	// Subject says for each attribute of the subject where its value comes
	// from. Attributes of the request that are not named here are left out.
	Subject map[string]Attribute `yaml:"subject"`
	// SAN says which subject alternative names are taken from the request.
	SAN SANConfig `yaml:"san"`
	// Validity is the length of the validity period after issuance.
	Validity time.Duration `yaml:"validity"`
	// ValidityJitter shortens each certificate's validity by a part of its own, so that
	// what is made on one day does not end on one day: "10%" of the validity or a length
	// of time, at most half of the validity. Not for certificates that outlive their issuer.
	ValidityJitter string `yaml:"validity_jitter"`
	// Backdate is how far notBefore precedes issuance, for devices whose
	// clocks are slow.
	Backdate *time.Duration `yaml:"backdate"`
	// ExtendedKeyUsage lists clientAuth, serverAuth.
	ExtendedKeyUsage []string `yaml:"extended_key_usage"`
	// KeyEncryption lets others encrypt for the key: it adds the key usage
	// keyAgreement. A device needs it to have a key that the server makes encrypted
	// for the one it has. Not with RSA keys, whose keyEncipherment has no place beside
	// clientAuth (RFC 5280, Section 4.2.1.12).
	KeyEncryption bool `yaml:"key_encryption"`
	// Repeat is the window in which a repeated request (same key, same
	// device) gets the same certificate.
	Repeat *time.Duration `yaml:"repeat"`
	// OutliveIssuer lets certificates outlive their issuing CA, as IEEE
	// 802.1AR demands of an IDevID.
	OutliveIssuer bool `yaml:"outlive_issuer"`
	// NoExpiry sets notAfter to 99991231235959Z (RFC 5280, Section 4.1.2.5);
	// needs OutliveIssuer.
	NoExpiry bool `yaml:"no_expiry"`
	// CRL, OCSP and CAIssuers are URLs that go into each certificate; {issuer}
	// stands for the name of the issuing CA. CRL and CAIssuers default to the
	// server's plain-HTTP listener; an explicit empty list leaves them out.
	CRL       *[]string `yaml:"crl"`
	OCSP      []string  `yaml:"ocsp"`
	CAIssuers *[]string `yaml:"ca_issuers"`
}

// Attribute says where one subject attribute comes from: a fixed Value, or the
// request, whose value must match Pattern entirely.
type Attribute struct {
	Value    string `yaml:"value"`
	Pattern  string `yaml:"pattern"`
	Optional bool   `yaml:"optional"`
}

// SANConfig holds a pattern per kind of name, matched against the whole name;
// an empty one takes none of that kind.
type SANConfig struct {
	DNS   string `yaml:"dns"`
	IP    string `yaml:"ip"`
	URI   string `yaml:"uri"`
	Email string `yaml:"email"`
}

// Profile is a validated set of certificate constraints. It is immutable.
type Profile struct {
	Name    string
	Purpose ledger.Purpose

	keys       []ca.Algorithm
	deviceID   string
	subject    []subjectRule // in the order of the encoded subject
	device     *subjectRule  // the one of deviceID; nil for other purposes
	dns, ip    *regexp.Regexp
	uri, email *regexp.Regexp
	validity   time.Duration
	jitter     jitter
	backdate   time.Duration
	usages     []x509.ExtKeyUsage
	more       []asn1.ObjectIdentifier // extended key usages that package x509 does not know
	extensions []pkix.Extension        // beside those of the template
	encryption bool
	repeat     time.Duration
	outlive    bool
	noExpiry   bool
	crl        []string
	ownCRL     bool // crl is where this server has it
	ocsp       []string
	caIssuers  []string
}

var extendedKeyUsages = map[string]x509.ExtKeyUsage{
	"clientAuth": x509.ExtKeyUsageClientAuth,
	"serverAuth": x509.ExtKeyUsageServerAuth,
}

const (
	day         = 24 * time.Hour
	maxValidity = 100 * 365 * day
)

// oidCMCRA is id-kp-cmcRA, by which EST knows a registration authority (RFC
// 7030, Section 3.7; RFC 6402, Section 2.10).
var oidCMCRA = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28}

// NewProfile validates a profile. base is the URL of the plain-HTTP listener,
// without a trailing slash, for the default CRL and CA-issuer URLs; empty
// leaves them out.
func NewProfile(name string, c ProfileConfig, base string) (*Profile, error) {
	fail := func(field, format string, args ...any) (*Profile, error) {
		return nil, fmt.Errorf("profile %q: %s: %s", name, field, fmt.Sprintf(format, args...))
	}
	if !validName.MatchString(name) {
		return fail("name", "must match %s", validName)
	}
	if name == verification.Name || name == carried.Name || name == responder.Name || name == manifest.Name || name == "ca" {
		return fail("name", "is reserved")
	}
	preset, ok := presets[c.Preset]
	if !ok {
		return fail("preset", "%q is none of %s", c.Preset, presetNames)
	}
	d := preset.config
	p := &Profile{Name: name, Purpose: preset.purpose, outlive: c.OutliveIssuer, noExpiry: c.NoExpiry}

	if field := c.beyond(p.Purpose); field != "" {
		return fail(field, "cannot be set with the preset %s", c.Preset)
	}

	for _, k := range set(c.Keys, d.Keys) {
		algorithm, err := ca.ParseAlgorithm(k)
		if err != nil {
			return fail("keys", "%v", err)
		}
		p.keys = append(p.keys, algorithm)
	}

	subject := c.Subject
	if subject == nil {
		subject = d.Subject
	}
	var err error
	if p.subject, err = newSubjectRules(subject); err != nil {
		return fail("subject", "%v", err)
	}
	if hasDevice(p.Purpose) {
		p.deviceID = c.DeviceID
		if p.deviceID == "" {
			p.deviceID = d.DeviceID
		}
		if p.deviceID != "commonName" && p.deviceID != "serialNumber" {
			return fail("device_id", "%q is neither commonName nor serialNumber", p.deviceID)
		}
		i := slices.IndexFunc(p.subject, func(r subjectRule) bool { return r.attribute == p.deviceID })
		if i < 0 || p.subject[i].pattern == nil || p.subject[i].optional {
			return fail("subject", "%s identifies the device, so it must have a pattern and must not be optional", p.deviceID)
		}
		p.device = &p.subject[i]
	} else if c.DeviceID != "" {
		return fail("device_id", "a %s certificate has no device", p.Purpose)
	}
	for i := range p.subject {
		if r := &p.subject[i]; r.group > 0 && r != p.device {
			return fail("subject", "%s: a group named device is for the attribute that identifies the device", r.attribute)
		}
	}
	if c.Preset == "aws-jitp" {
		for _, r := range p.subject {
			if r.optional {
				return fail("subject", "%s is optional, but a JITP template fails on a parameter that the subject lacks", r.attribute)
			}
		}
	}

	san := c.SAN
	if san == (SANConfig{}) {
		san = d.SAN
	}
	for _, s := range []struct {
		field   string
		pattern string
		into    **regexp.Regexp
	}{{"san.dns", san.DNS, &p.dns}, {"san.ip", san.IP, &p.ip}, {"san.uri", san.URI, &p.uri}, {"san.email", san.Email, &p.email}} {
		if s.pattern == "" {
			continue
		}
		if *s.into, err = whole(s.pattern); err != nil {
			return fail(s.field, "%v", err)
		}
	}

	p.validity = cmp.Or(c.Validity, d.Validity)
	if p.validity < time.Minute || p.validity > maxValidity {
		return fail("validity", "%v is not between a minute and 100 years; for no expiry use no_expiry", p.validity)
	}
	if c.NoExpiry && !c.OutliveIssuer {
		return fail("no_expiry", "needs outlive_issuer: such a certificate outlives every issuing CA")
	}
	if p.jitter, err = newJitter(c.ValidityJitter, p.validity); err != nil {
		return fail("validity_jitter", "%v", err)
	}
	if p.jitter > 0 && c.OutliveIssuer {
		return fail("validity_jitter", "is not for certificates that may outlive their issuer, such as IDevIDs: nothing renews them")
	}
	p.backdate = time.Hour
	if c.Backdate != nil {
		p.backdate = *c.Backdate
	}
	if p.backdate < 0 || p.backdate > 7*day {
		return fail("backdate", "%v is not between 0 and 7 days", p.backdate)
	}
	p.repeat = defaultRepeat(p.Purpose)
	if c.Repeat != nil {
		p.repeat = *c.Repeat
	}
	if p.repeat < 0 || p.repeat >= p.validity-time.Duration(p.jitter) {
		return fail("repeat", "%v is not between 0 and the validity", p.repeat)
	}

	for _, u := range set(c.ExtendedKeyUsage, d.ExtendedKeyUsage) {
		usage, ok := extendedKeyUsages[u]
		if !ok {
			return fail("extended_key_usage", "%q is none of clientAuth, serverAuth", u)
		}
		p.usages = append(p.usages, usage)
	}
	if p.encryption = c.KeyEncryption; p.encryption {
		for _, k := range p.keys {
			if strings.HasPrefix(string(k), "RSA") {
				return fail("key_encryption", "needs EC keys, and keys has %s: list the curves there", k)
			}
		}
	}
	if p.Purpose == ledger.ForRA {
		p.more = []asn1.ObjectIdentifier{oidCMCRA}
	}

	p.ocsp = c.OCSP
	if c.CRL != nil {
		p.crl = *c.CRL
	} else if base != "" {
		p.crl, p.ownCRL = []string{crlURL(base, "{issuer}", 0)}, true
	}
	if c.CAIssuers != nil {
		p.caIssuers = *c.CAIssuers
	} else if base != "" {
		p.caIssuers = []string{base + "/ca/{issuer}.crt"}
	}
	for field, urls := range map[string][]string{"crl": p.crl, "ocsp": p.ocsp, "ca_issuers": p.caIssuers} {
		for _, u := range urls {
			if parsed, err := url.Parse(strings.ReplaceAll(u, "{issuer}", "x")); err != nil || parsed.Scheme != "http" || parsed.Host == "" {
				return fail(field, "%q is not an http:// URL (a client that verifies one must not need TLS for it)", u)
			}
		}
	}
	return p, nil
}

// Validity is the length of the validity period after issuance; for a profile
// without expiry it is as long as a time.Duration can be.
func (p *Profile) Validity() time.Duration {
	if p.noExpiry {
		return 1<<63 - 1
	}
	return p.validity
}

// OutlivesIssuer reports whether certificates may outlive their issuing CA.
func (p *Profile) OutlivesIssuer() bool { return p.outlive }

// DeviceID is the subject attribute that identifies a device; empty for other
// purposes.
func (p *Profile) DeviceID() string { return p.deviceID }

// AlwaysInSubject lists the subject attributes that every certificate of this
// profile has, in the order of the subject.
func (p *Profile) AlwaysInSubject() []string {
	var names []string
	for _, r := range p.subject {
		if !r.optional {
			names = append(names, r.attribute)
		}
	}
	return names
}

// set returns list, or fallback if it was left out.
func set(list, fallback []string) []string {
	if list != nil {
		return list
	}
	return fallback
}

// validName is what profiles, authorities and labels may be called: it is safe
// in paths, URLs and metrics.
var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// whole compiles a pattern that must match all of a value.
func whole(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > 1024 {
		return nil, fmt.Errorf("pattern is longer than 1024 characters")
	}
	// By itself first: one with unbalanced parentheses would end the group and
	// not be held to all of a value.
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}
