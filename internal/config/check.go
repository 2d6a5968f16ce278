package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

var (
	hostname  = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)
	label     = regexp.MustCompile(`^[a-z0-9-]{0,32}$`)
	name      = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)
	accountID = regexp.MustCompile(`^[0-9]{12}$`)
)

// operations are the EST operations of RFC 7030, Section 3.2.2.
var operations = []string{"cacerts", "simpleenroll", "simplereenroll", "fullcmc", "serverkeygen", "csrattrs"}

// check finds what the types cannot: every finding names the key. What only
// the ledger can tell (whether an authority exists) is checked at start.
func (c *Config) check() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if !name.MatchString(c.Server) {
		bad("server", "%q must match %s", c.Server, name)
	}
	if c.PublicURL != "" {
		if u, err := url.Parse(c.PublicURL); err != nil || u.Scheme != "http" || u.Host == "" || u.Path != "" {
			bad("public_url", "%q must be http://host or http://host:port", c.PublicURL)
		}
	}
	for _, l := range []struct{ field, address string }{{"est", c.Listen.EST}, {"http", c.Listen.HTTP}, {"metrics", c.Listen.Metrics}} {
		if _, _, err := net.SplitHostPort(l.address); err != nil {
			bad("listen."+l.field, "%q is not host:port", l.address)
		}
	}
	for field, pair := range map[string][2]string{"listen.http": {c.Listen.EST, c.Listen.HTTP}, "listen.metrics": {c.Listen.HTTP, c.Listen.Metrics}} {
		if pair[0] == pair[1] && !strings.HasSuffix(pair[0], ":0") {
			bad(field, "%q is the address of another listener, too", pair[0])
		}
	}
	for i, n := range c.TLS.Names {
		if net.ParseIP(n) == nil && !hostname.MatchString(n) {
			bad(fmt.Sprintf("tls.names[%d]", i), "%q is neither a DNS name nor an IP address", n)
		}
	}
	if c.CRL.Period <= 0 || c.CRL.Lifetime < 2*c.CRL.Period {
		bad("crl.lifetime", "%s is less than twice crl.period (%s): one missed CRL would stop relying parties", DurationText(c.CRL.Lifetime), DurationText(c.CRL.Period))
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		bad("log.format", "%q is neither text nor json", c.Log.Format)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		bad("log.level", "%q is none of debug, info, warn, error", c.Log.Level)
	}
	if c.TLS.Issuer == "" || c.TLS.Profile == "" || len(c.TLS.Names) == 0 {
		bad("tls", "issuer, profile and names must be set: the EST server needs a certificate")
	}
	if p, ok := c.Profiles[c.TLS.Profile]; c.TLS.Profile != "" && (!ok || p.Preset != "server") {
		bad("tls.profile", "%q is not a profile with preset server", c.TLS.Profile)
	}
	c.checkLabels(bad)
	c.checkLimits(bad)
	c.checkAWS(bad)
	c.checkDatabase(bad)
	c.checkAccess(bad)
	c.checkAudit(bad)
	return errors.Join(errs...)
}

func (c *Config) checkAWS(bad func(field, format string, args ...any)) {
	seen := make(map[string]bool)
	for i, t := range c.AWS.Targets {
		field := fmt.Sprintf("aws.targets[%d]", i)
		if !name.MatchString(t.Name) {
			bad(field+".name", "%q must match %s", t.Name, name)
		}
		if seen[t.Name] {
			bad(field+".name", "%q is defined twice", t.Name)
		}
		seen[t.Name] = true
		if !accountID.MatchString(t.AccountID) {
			bad(field+".account_id", "%q is not twelve digits", t.AccountID)
		}
		if t.Region == "" {
			bad(field+".region", "must be set")
		}
		if t.Endpoint != "" {
			if u, err := url.Parse(t.Endpoint); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
				bad(field+".endpoint", "%q is not a URL", t.Endpoint)
			}
		}
		jitr := false
		for j, a := range t.CAs {
			f := fmt.Sprintf("%s.cas[%d]", field, j)
			if a.Issuer == "" {
				bad(f+".issuer", "must be set")
			}
			if a.Mode != "DEFAULT" && a.Mode != "SNI_ONLY" {
				bad(f+".mode", "%q is neither DEFAULT nor SNI_ONLY", a.Mode)
			}
			switch a.Use {
			case "jitr":
				jitr = true
			case "jitp":
				if a.JITP != nil && c.Profiles[a.JITP.Profile].Preset != "aws-jitp" {
					bad(f+".jitp.profile", "%q is not a profile with preset aws-jitp", a.JITP.Profile)
				}
			case "none":
			default:
				bad(f+".use", "%q is none of jitr, jitp, none", a.Use)
			}
			if (a.Use == "jitp") != (a.JITP != nil) {
				bad(f+".jitp", "must be set exactly when use is jitp: a registration is for JITR or for JITP, never both")
			}
		}
		if jitr != (t.JITR != nil) {
			bad(field+".jitr", "must be set exactly when a CA's use is jitr")
		}
		if t.JITR != nil && (t.JITR.Function == "" || t.JITR.Policy == "") {
			bad(field+".jitr", "function and policy must be set")
		}
	}
}
