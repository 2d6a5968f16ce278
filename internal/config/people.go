package config

import (
	"fmt"
	"net"
	"net/url"
	"time"
)

// forDevices reports whether certificates of a preset are devices'. Those of a
// gateway are a device's, too, but CA certificates, which authenticate nobody.
func forDevices(preset string) bool {
	switch preset {
	case "server", "claim", "officer", presetGateway, presetRA:
		return false
	}
	return true
}

func (c *Config) checkDatabase(bad func(field, format string, args ...any)) {
	if c.Database.MaxConnections < 2 || c.Database.MaxConnections > 1000 {
		bad("database.max_connections", "%d is not between 2 and 1000", c.Database.MaxConnections)
	}
	if c.Database.URL == "" {
		if c.Database.PasswordFile != "" {
			bad("database.password_file", "is of no use without database.url")
		}
		return
	}
	u, err := url.Parse(c.Database.URL)
	switch {
	case err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql":
		// Without the value: it may hold a password.
		bad("database.url", "must be postgres://user@host/database?sslmode=...")
	case u.Query().Has("password"):
		bad("database.url", "holds a password: put it into a file and name it in database.password_file")
	default:
		if _, has := u.User.Password(); has {
			bad("database.url", "holds a password: put it into a file and name it in database.password_file")
		}
	}
}

// checkAccess keeps the CAs of people and of work orders apart from those of
// devices and out of every cloud.
func (c *Config) checkAccess(bad func(field, format string, args ...any)) {
	if c.Listen.Admin != "" {
		if _, _, err := net.SplitHostPort(c.Listen.Admin); err != nil {
			bad("listen.admin", "%q is not host:port", c.Listen.Admin)
		}
		if c.Access.Issuer == "" {
			bad("listen.admin", "needs access.issuer: without it nobody has a certificate to come with")
		}
	}
	if c.Access.ApprovalTTL < time.Minute || c.Access.ApprovalTTL > 90*24*time.Hour {
		bad("access.approval_ttl", "%s is not between one minute and 90 days", DurationText(c.Access.ApprovalTTL))
	}
	if c.Access.RevokeLimit < 1 {
		bad("access.revoke_limit", "%d is less than 1: nobody could revoke a stolen device's certificate at once", c.Access.RevokeLimit)
	}
	if c.Refusals.Keep < 1000 {
		bad("refusals.keep", "%d is less than 1000", c.Refusals.Keep)
	}
	for _, own := range []struct{ field, issuer, profile, preset string }{
		{"access", c.Access.Issuer, c.Access.Profile, "officer"},
		{"orders", c.Orders.Issuer, c.Orders.Profile, "claim"},
	} {
		if (own.issuer == "") != (own.profile == "") {
			bad(own.field, "issuer and profile belong together")
		}
		if own.issuer == "" {
			continue
		}
		if p, ok := c.Profiles[own.profile]; !ok || p.Preset != own.preset {
			bad(own.field+".profile", "%q is not a profile with preset %s", own.profile, own.preset)
		}
		if c.TLS.Issuer == own.issuer {
			bad("tls.issuer", "%q is the issuing CA of %s and must issue nothing else", own.issuer, own.field)
		}
		for i, l := range c.Labels {
			if l.Issuer == own.issuer {
				bad(at(i, l)+".issuer", "%q is the issuing CA of %s and must issue nothing else", own.issuer, own.field)
			}
		}
		for i, t := range c.AWS.Targets {
			for j, a := range t.CAs {
				if a.Issuer == own.issuer {
					bad(fmt.Sprintf("aws.targets[%d].cas[%d].issuer", i, j), "%q is the issuing CA of %s: in a cloud, whoever holds one of its certificates would become a device", own.issuer, own.field)
				}
			}
		}
	}
	if c.Access.Issuer != "" && c.Access.Issuer == c.Orders.Issuer {
		bad("orders.issuer", "%q is the issuing CA of access, too", c.Orders.Issuer)
	}
}

func (c *Config) checkAudit(bad func(field, format string, args ...any)) {
	if c.Audit.Interval < time.Second || c.Audit.Interval > 24*time.Hour {
		bad("audit.interval", "%s is not between one second and one day", DurationText(c.Audit.Interval))
	}
	for i, t := range c.Audit.Heads {
		field := fmt.Sprintf("audit.heads[%d]", i)
		set := 0
		if t.Folder != "" {
			set++
		}
		if t.S3 != nil {
			set++
			if t.S3.Bucket == "" || t.S3.Region == "" {
				bad(field+".s3", "bucket and region must be set")
			}
		}
		if t.HTTP != nil {
			set++
			if u, err := url.Parse(t.HTTP.URL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
				bad(field+".http.url", "%q is not a URL", t.HTTP.URL)
			}
		}
		if set != 1 {
			bad(field, "exactly one of folder, s3 and http must be set")
		}
	}
}
