package ceremony

import (
	"crypto/x509"
	"fmt"
	"strings"
	"unicode"
)

// Words says what the ceremony will do, step by step, for those present.
func (p *Plan) Words() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	f := p.File
	say("Ceremony %s", f.Name)
	for _, line := range strings.Split(strings.TrimSpace(f.Purpose), "\n") {
		say("  %s", line)
	}
	say("\nSHA-256 of the ceremony file:")
	say("%s", indent(Groups(f.Hash())))
	say("\nOfficers: at least %d of these sign before the first step and after the last", f.Officers.Threshold)
	for _, o := range f.Officers.People {
		say("  %s, key %s", o.Name, o.SHA256)
	}
	switch {
	case f.Network == "allowed":
		say("\nNetwork: allowed; this machine has %s", orNone(p.Networks))
	default:
		say("\nNetwork: none allowed; this machine has %s", orNone(p.Networks))
	}
	say("Clock of this machine: %s", timeText(p.At))
	say("Program: %s", programWords(program(p.cfg.Version)))
	say("\nInputs, each with its SHA-256:")
	for _, in := range p.Inputs {
		say("  %s (%d bytes)\n    %s", in.Name, in.Size, in.SHA256)
	}
	for i := range f.Tokens {
		say("\nToken %s: %s", f.Tokens[i].Name, redact(f.Tokens[i].URI))
		b.WriteString(f.Tokens[i].words())
	}
	for _, a := range f.Authorities {
		c := p.world.certs[a.Name]
		say("\nAuthority %s: %q, valid until %s", a.Name, c.Subject, timeText(c.NotAfter))
		say("  fingerprint %s", hexHash(c.Raw))
		if a.Key != "" {
			say("  its key is at %s", redact(a.Key))
		}
	}
	for i := range f.Steps {
		say("\nStep %d, %s: %s", i+1, f.Steps[i].Name, title(&f.Steps[i]))
		b.WriteString(p.stepWords(i))
	}
	for _, w := range p.Warnings {
		say("\nWarning: %s", w)
	}
	return visible(b.String())
}

// words says where the PIN of a token comes from, and what its keys may be that a key of
// a CA may not.
func (t *Token) words() string {
	var b strings.Builder
	say := func(name, text string) { fmt.Fprintf(&b, "  %-12s%s\n", name, text) }
	say("PIN", t.PIN.words())
	if t.Spare != nil {
		say("spare", redact(t.Spare.URI))
		say("PIN", t.Spare.PIN.words())
	}
	if len(t.Accept) > 0 {
		say("accepts", list(t.Accept)+": not held against a key")
	}
	return b.String()
}

func (p PIN) words() string {
	switch {
	case p.File != "":
		return fmt.Sprintf("from the file %q", p.File)
	case p.Credential != "":
		return fmt.Sprintf("from the credential %q", p.Credential)
	case p.Pad:
		return "entered at the token"
	case p.Operators > 1:
		return fmt.Sprintf("typed by %d people, each a part", p.Operators)
	}
	return "typed by one person"
}

func programWords(p Program) string {
	mode := "not in FIPS 140-3 mode"
	if p.FIPS {
		mode = "in FIPS 140-3 mode, module " + p.FIPSModule
	}
	return fmt.Sprintf("mintmark %s, %s, %s, %s", p.Version, p.Go, p.Platform, mode)
}

func title(s *Step) string {
	switch {
	case s.Root != nil:
		return "make a key and a root certificate"
	case s.Issuing != nil:
		return "certify the key of a request as that of a CA"
	case s.Cross != nil:
		return "cross-certify a CA"
	case s.CRL != nil:
		return "sign a CRL"
	}
	return "destroy a key, for good"
}

func (p *Plan) stepWords(i int) string {
	var b strings.Builder
	say := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-12s%s\n", name, fmt.Sprintf(format, args...))
	}
	s := &p.File.Steps[i]
	switch {
	case s.Root != nil:
		say("key", "a new %s at %s", s.Root.Algorithm, redact(s.Root.Key))
		say("signed by", "itself")
	case s.Issuing != nil:
		say("key", "%s of the request %s", s.Issuing.Algorithm, s.Issuing.Request.File)
		hash, err := keyHash(p.given.requests[s.Name].PublicKey)
		if err == nil {
			say("", "%s", hash)
		}
		say("signed by", "%s", s.Issuing.By)
	case s.Cross != nil:
		say("key", "that of %s", s.Cross.Of)
		say("signed by", "%s", s.Cross.By)
	case s.CRL != nil:
		l := s.CRL
		say("signed by", "%s", l.By)
		say("number", "%d", l.Number)
		say("this update", "%s", timeText(l.ThisUpdate))
		say("next update", "%s", timeText(l.NextUpdate))
		if l.Previous != nil {
			old := p.given.previous[s.Name]
			say("previous", "number %s, whose revocations (%d) are all here", old.Number, len(old.RevokedCertificateEntries))
		}
		say("entries", "%d", len(l.Entries))
		for _, e := range l.Entries {
			reason := e.Reason
			if reason == "" {
				reason = "unspecified"
			}
			say("", "%s, %s, %s", e.Serial, timeText(e.Revoked), reason)
		}
	case s.Destroy != nil:
		say("key", "%s", redact(s.Destroy.Key))
		say("", "%s", s.Destroy.SHA256)
		say("", "nothing brings it back")
	}
	if c := p.built[i].certificate; c != nil {
		certificateWords(say, c.Certificate())
		if s.Root == nil { // that of a new key is not known yet
			say("key id", "%x", c.Certificate().SubjectKeyId)
		}
	}
	for _, name := range s.outputs() {
		say("writes", "%s%s", folderOutputs, name)
	}
	return b.String()
}

// certificateWords says what stands in a certificate that is not signed yet.
func certificateWords(say func(name, format string, args ...any), c *x509.Certificate) {
	say("subject", "%q", c.Subject)
	say("issuer", "%q", c.Issuer)
	say("valid", "%s to %s", timeText(c.NotBefore), timeText(c.NotAfter))
	if n, ok := pathLength(c); ok {
		say("below it", "%s at most", things(n, "more CA certificate"))
	} else {
		say("below it", "any number of CA certificates")
	}
	for _, set := range []struct {
		name                  string
		dns, ips, email, uris []string
	}{
		{"permits", c.PermittedDNSDomains, networks(c, true), c.PermittedEmailAddresses, c.PermittedURIDomains},
		{"excludes", c.ExcludedDNSDomains, networks(c, false), c.ExcludedEmailAddresses, c.ExcludedURIDomains},
	} {
		for _, kind := range []struct {
			name  string
			names []string
		}{{"DNS", set.dns}, {"IP", set.ips}, {"e-mail", set.email}, {"URI", set.uris}} {
			if len(kind.names) > 0 {
				say(set.name, "%s %q", kind.name, kind.names)
			}
		}
	}
	for _, u := range c.CRLDistributionPoints {
		say("CRL at", "%s", u)
	}
	for _, u := range c.IssuingCertificateURL {
		say("issuer at", "%s", u)
	}
	for _, u := range c.OCSPServer {
		say("OCSP at", "%s", u)
	}
}

func networks(c *x509.Certificate, permitted bool) []string {
	ranges := c.ExcludedIPRanges
	if permitted {
		ranges = c.PermittedIPRanges
	}
	var all []string
	for _, n := range ranges {
		all = append(all, n.String())
	}
	return all
}

// words says what a step has made, with what those present should write down.
func (d *Done) words() string {
	var b strings.Builder
	if d.Kind == "root" {
		fmt.Fprintf(&b, "  made the key %s at %s\n", d.Key.SHA256, d.Key.URI)
	}
	if d.Kind == "destroy" {
		fmt.Fprintf(&b, "  destroyed the key %s at %s\n", d.Key.SHA256, d.Key.URI)
		return b.String()
	}
	if d.Serial != "" {
		fmt.Fprintf(&b, "  serial number %s\n", d.Serial)
	}
	fmt.Fprintf(&b, "  SHA-256 fingerprint\n%s\n", indent(Groups(d.SHA256)))
	return b.String()
}

func things(n int, name string) string {
	if n == 1 {
		return "1 " + name
	}
	return fmt.Sprintf("%d %ss", n, name)
}

func list(names []string) string { return strings.Join(names, ", ") }

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return list(names)
}

// visible writes characters that do not show, which what comes from elsewhere may have,
// so that they do nothing to a terminal.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, text)
}

func indent(text string) string { return "    " + strings.ReplaceAll(text, "\n", "\n    ") }
