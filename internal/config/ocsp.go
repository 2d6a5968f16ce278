package config

import (
	"maps"
	"slices"
	"strings"
	"time"

	"mintmark/issuer"
)

// OCSP is the responder on the plain-HTTP listener, for every authority whose key is
// here (RFC 6960).
type OCSP struct {
	// Enabled serves it at PUBLIC_URL/ocsp/NAME. No certificate names it for that: profiles
	// do, by their key ocsp.
	Enabled bool `yaml:"enabled"`
	// Lifetime is from thisUpdate to nextUpdate of an answer.
	Lifetime time.Duration `yaml:"lifetime"`
	// Certificate is the life of the responders' certificates, of which one is made for each
	// authority and server and replaced at half of it.
	Certificate time.Duration `yaml:"certificate"`
	// Outage is how long answers that were signed before are given out while the
	// ledger cannot be read.
	Outage time.Duration `yaml:"outage"`
	// Keep is how many signed answers are kept.
	Keep int `yaml:"keep"`
}

// defaultOCSP is what is not set.
func defaultOCSP() OCSP {
	const day = 24 * time.Hour
	return OCSP{Lifetime: day, Certificate: 7 * day, Outage: 5 * time.Minute, Keep: 50_000}
}

func (c *Config) checkOCSP(bad func(field, format string, args ...any)) {
	o := c.OCSP
	if o.Lifetime < time.Minute || o.Lifetime > 7*24*time.Hour {
		bad("ocsp.lifetime", "%s is not between a minute and 7 days", DurationText(o.Lifetime))
	}
	if o.Certificate < 2*o.Lifetime || o.Certificate > issuer.MaxResponder {
		bad("ocsp.certificate", "%s is not between twice ocsp.lifetime (%s) and %s: it is replaced at half of its life, and answers end before it does", DurationText(o.Certificate), DurationText(o.Lifetime), DurationText(issuer.MaxResponder))
	}
	if o.Outage < 0 || o.Outage > o.Lifetime {
		bad("ocsp.outage", "%s is not between 0 and ocsp.lifetime (%s)", DurationText(o.Outage), DurationText(o.Lifetime))
	}
	if o.Keep < 100 || o.Keep > 1_000_000 {
		bad("ocsp.keep", "%d is not between 100 and 1000000", o.Keep)
	}
	if o.Enabled || c.PublicURL == "" {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(c.Profiles)) {
		for _, u := range c.Profiles[name].OCSP {
			if strings.HasPrefix(u, c.PublicURL+"/ocsp/") {
				bad("profiles."+name+".ocsp", "%q is this server's own address, and ocsp.enabled is not set: nobody would answer there", u)
			}
		}
	}
}
