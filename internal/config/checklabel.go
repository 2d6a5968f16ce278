package config

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// report takes a finding: the key and what is wrong with it.
type report func(field, format string, args ...any)

// maxGrace bounds how long an expired certificate may still renew itself.
const maxGrace = 366 * 24 * time.Hour

// rules that a label and its renewals may have.
var (
	labelRules   = []string{"trusted", "inventory", "order", "webhook"}
	renewalRules = []string{"trusted", "inventory", "webhook"}
)

func (c *Config) checkLabels(bad func(field, format string, args ...any)) {
	if len(c.Labels) == 0 {
		bad("labels", "there must be at least one: without, nobody can enroll")
	}
	seen := make(map[string]bool)
	for i, l := range c.Labels {
		field := at(i, l)
		if seen[l.Name] {
			bad(field+".name", "%q is defined twice", l.Name)
		}
		seen[l.Name] = true
		// RFC 7030, Section 3.2.2: a label must not be taken for an operation.
		if !label.MatchString(l.Name) || slices.Contains(operations, l.Name) {
			bad(field+".name", "%q must match %s and must not be the name of an EST operation", l.Name, label)
		}
		here := func(key, format string, args ...any) { bad(field+key, format, args...) }
		c.checkIssued(l, here)
		checkRule(l, here)
		checkPasswords(l, here)
		c.checkCertificates(l, here)
		checkRenewal(l, here)
		checkAnswers(l, here)
		checkKeygen(l, here)
		checkLabelLimits(l, here)
		c.checkPreset(l, here)
		c.checkGateway(i, l, here)
	}
}

// at names a label in an error: by its place in the file, and by its own name.
func at(i int, l Label) string { return fmt.Sprintf("label %q: labels[%d]", l.Name, i) }

// checkIssued checks what is issued, by which CA.
func (c *Config) checkIssued(l Label, bad report) {
	if p, ok := c.Profiles[l.Profile]; !ok {
		bad(".profile", "there is no profile %q", l.Profile)
	} else if !forDevices(p.Preset) {
		bad(".profile", "%q has the preset %s and is not for devices: they could pose as one", l.Profile, p.Preset)
	}
	if l.Issuer == "" {
		bad(".issuer", "must be set")
	}
}

// checkRule checks who may have a certificate, and that somebody can come.
func checkRule(l Label, bad report) {
	byPassword := len(l.Passwords) > 0 || l.OneTime
	byCertificate := len(l.Own) > 0 || l.Maker != nil || len(l.RegistrationAuthorities) > 0
	switch {
	case !slices.Contains(labelRules, l.Authorize):
		bad(".authorize", "%q is not a rule that this version knows; it knows trusted, inventory, order and webhook", l.Authorize)
	case l.Authorize == "order":
		// A second way in would be one past the quota.
		if byPassword || l.Maker != nil {
			bad("", "passwords, one_time and maker would enroll past every quota: with authorize order, the credentials are those of work orders")
		}
		for _, own := range l.Own {
			if own != l.Profile {
				bad(".own", "%q has no credential of a work order and nothing to renew here: with authorize order, list %q only", own, l.Profile)
			}
		}
		if l.Gateway != "" {
			bad(".gateway", "no work order pays for the CA certificate of a gateway: give gateways a label of their own")
		}
		if len(l.RegistrationAuthorities) > 0 {
			bad(".registration_authorities", "has no credential of a work order: give it a label of its own")
		}
		byPassword, byCertificate = true, true
	case !byPassword && !byCertificate:
		bad("", "nobody can enroll: set passwords, one_time, own, registration_authorities or maker")
	}
	if l.Both && !byPassword {
		bad(".both", "demands a password, and there is none that is right: set passwords or one_time")
	}
	if l.Both && !byCertificate {
		bad(".both", "demands a certificate, and there is none that counts: set own, registration_authorities or maker")
	}
	if l.Renewal.Password && !byPassword {
		bad(".renewal.password", "demands a password, and there is none that is right: set passwords or one_time")
	}
	asks := l.Authorize == "webhook" || l.Renewal.Authorize == "webhook"
	switch {
	case asks && l.Webhook == nil:
		bad(".webhook", "must be set: authorize asks it")
	case !asks && l.Webhook != nil:
		bad(".webhook", "nobody asks it: set authorize to webhook, or leave it out")
	case l.Webhook != nil:
		checkWebhook(*l.Webhook, bad)
	}
}

func checkPasswords(l Label, bad report) {
	users := make(map[string]bool)
	for j, p := range l.Passwords {
		field := fmt.Sprintf(".passwords[%d]", j)
		if users[p.User] {
			bad(field+".user", "%q is listed twice", p.User)
		}
		users[p.User] = true
		if strings.ContainsFunc(p.User, func(r rune) bool { return r == ':' || r < ' ' || r == 0x7f }) {
			bad(field+".user", "%q holds a character that HTTP Basic cannot carry in a name", p.User)
		}
		if b, err := hex.DecodeString(p.SHA256); err != nil || len(b) != 32 || strings.Trim(p.SHA256, "0") == "" {
			bad(field+".sha256", "is not the SHA-256 of a secret, in 64 hexadecimal digits: mintmark est secret makes one")
		}
	}
}

// checkCertificates checks whose certificates authenticate.
func (c *Config) checkCertificates(l Label, bad report) {
	for _, own := range l.Own {
		if p, ok := c.Profiles[own]; !ok || !forDevices(p.Preset) {
			bad(".own", "%q is not a profile for devices", own)
		}
	}
	for _, ra := range l.RegistrationAuthorities {
		if p, ok := c.Profiles[ra]; !ok || p.Preset != presetRA {
			bad(".registration_authorities", "%q is not a profile with preset %s", ra, presetRA)
		}
	}
	if l.ChangeNames && l.Maker == nil {
		bad(".change_names", "is for clients with a maker's certificate: set maker, or mean renewal.change_names")
	}
	if l.Maker != nil {
		checkMaker(*l.Maker, bad)
	}
}

// makerAttributes are the subject attributes that a maker's certificate may be
// held to, by the names that profiles use.
var makerAttributes = []string{
	"country", "stateOrProvince", "locality", "organization", "organizationalUnit", "dnQualifier", "commonName", "serialNumber",
}

func checkMaker(m Maker, bad report) {
	if m.Anchors == "" {
		bad(".maker.anchors", "must name a PEM file with the maker's root certificates")
	}
	if m.Device != "commonName" && m.Device != "serialNumber" {
		bad(".maker.device", "%q is neither commonName nor serialNumber", m.Device)
	}
	for attribute, pattern := range m.Subject {
		field := ".maker.subject." + attribute
		if !slices.Contains(makerAttributes, attribute) {
			bad(field, "is not an attribute: use one of %s", strings.Join(makerAttributes, ", "))
		}
		// An empty one would take only an empty value, which no certificate has.
		if pattern == "" || len(pattern) > 1024 {
			bad(field, "must be a pattern of 1 to 1024 characters")
		} else if _, err := regexp.Compile(pattern); err != nil {
			bad(field, "%v", err)
		}
	}
	for j, file := range m.CRLs {
		if file == "" {
			bad(fmt.Sprintf(".maker.crls[%d]", j), "must name a file")
		}
	}
	if len(m.CRLs) > maxCRLs {
		bad(".maker.crls", "%d files are more than %d", len(m.CRLs), maxCRLs)
	}
}

// maxCRLs bounds the files of a maker: one for each of its CAs.
const maxCRLs = 64

func checkRenewal(l Label, bad report) {
	r := l.Renewal
	if r.Authorize == "order" {
		bad(".renewal.authorize", "a device that renews has no credential of an order: use one of %s", strings.Join(renewalRules, ", "))
	} else if r.Authorize != "" && !slices.Contains(renewalRules, r.Authorize) {
		bad(".renewal.authorize", "%q is none of %s", r.Authorize, strings.Join(renewalRules, ", "))
	}
	if r.Grace < 0 || r.Grace > maxGrace {
		bad(".renewal.grace", "%s is not between 0 and 366 days", DurationText(r.Grace))
	}
	if r != (Renewal{}) && !slices.Contains(l.Own, l.Profile) {
		bad(".renewal", "no certificate renews here: own does not list %q", l.Profile)
	}
}

// checkAnswers checks how requests are answered.
func checkAnswers(l Label, bad report) {
	for _, choice := range []struct {
		field, value string
		of           []string
	}{
		{".proof_of_possession", l.ProofOfPossession, []string{"off", "optional", "required"}},
		{".second_key", l.SecondKey, []string{"refuse", "hold", "allow"}},
		{".cacerts", l.CACerts, []string{"full", "both", "active", "new", "old", "path"}},
	} {
		if !slices.Contains(choice.of, choice.value) {
			bad(choice.field, "%q is none of %s", choice.value, strings.Join(choice.of, ", "))
		}
	}
	// RFC 9110, Section 10.2.3: whole seconds.
	if l.Retry != 0 && (l.Retry < time.Second || l.Retry > 24*time.Hour) {
		bad(".retry", "%s is not between one second and one day", DurationText(l.Retry))
	}
}

func checkKeygen(l Label, bad report) {
	if l.Keygen == nil {
		return
	}
	if l.Approval || l.Renewal.Approval {
		bad(".keygen", "a key that the server makes cannot wait for an approval: offer it under another label")
	}
	for id, file := range l.Keygen.SymmetricKeys {
		if id == "" || len(id) > 64 {
			bad(".keygen.symmetric_keys", "the identifier %q is not 1 to 64 bytes long", id)
		}
		if file == "" {
			bad(".keygen.symmetric_keys."+id, "must name a file with the key")
		}
	}
}

func checkLabelLimits(l Label, bad report) {
	for _, limit := range []struct {
		field string
		value *int
	}{{".limits.identity", l.Limits.Identity}, {".limits.address", l.Limits.Address}, {".limits.label", &l.Limits.Label}} {
		if limit.value != nil && (*limit.value < 0 || *limit.value > 1_000_000) {
			bad(limit.field, "%d is not between 0 (no limit) and 1000000 requests a minute", *limit.value)
		}
	}
}
