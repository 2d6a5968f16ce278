package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"mintmark/internal/pattern"
)

var (
	hostname = pattern.New(`^(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)
	label    = pattern.New(`^[a-z0-9-]{0,32}$`)
	name     = pattern.New(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)
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
	c.checkCRL(bad)
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
	c.checkOCSP(bad)
	c.checkLabels(bad)
	c.checkLimits(bad)
	c.checkAWS(bad)
	c.checkAzure(bad)
	c.checkDatabase(bad)
	c.checkAccess(bad)
	c.checkAudit(bad)
	c.checkTokens(bad)
	if d := c.Keys.TPM.Device; d != "" && (!filepath.IsAbs(d) || filepath.Clean(d) != d) {
		bad("keys.tpm.device", "%q is no absolute path without . and ..", d)
	}
	return errors.Join(errs...)
}
