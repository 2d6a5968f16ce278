package config

import (
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"mintmark/issuer"
)

// CRL is the schedule of the certificate revocation lists, their parts and places.
type CRL struct {
	// Period is how often a CRL is issued when nothing is revoked.
	Period time.Duration `yaml:"period"`
	// Lifetime is from thisUpdate to nextUpdate: at least twice the period, so
	// that one missed issue does no harm.
	Lifetime time.Duration `yaml:"lifetime"`
	// Shards is into how many CRLs that of an issuing CA is divided, by its name.
	Shards map[string]int `yaml:"shards"`
	// FormerURLs are what public_url was before: certificates name them still.
	FormerURLs []string `yaml:"former_urls"`
	// Publish lists places that get every CRL and CA certificate.
	Publish []CRLPlace `yaml:"publish"`
}

// CRLPlace is one place; exactly one field is set.
type CRLPlace struct {
	// Dir is a directory that exists.
	Dir string `yaml:"dir"`
	S3  *CRLS3 `yaml:"s3"`
}

// CRLS3 is a bucket that is served to devices and relying parties.
type CRLS3 struct {
	Bucket  string `yaml:"bucket"`
	Prefix  string `yaml:"prefix"`
	Region  string `yaml:"region"`
	Profile string `yaml:"profile"`
	// Endpoint replaces AWS's own address: for stores that speak S3.
	Endpoint string `yaml:"endpoint"`
	// RoleARN is assumed before any call.
	RoleARN string `yaml:"role_arn"`
}

// maxPlaces bounds the places of crl.publish, and maxFormer the former addresses.
const maxPlaces, maxFormer = 16, 8

func (c *Config) checkCRL(bad func(field, format string, args ...any)) {
	if c.CRL.Period <= 0 || c.CRL.Lifetime < 2*c.CRL.Period {
		bad("crl.lifetime", "%s is less than twice crl.period (%s): one missed CRL would stop relying parties", DurationText(c.CRL.Lifetime), DurationText(c.CRL.Period))
	}
	for _, authority := range slices.Sorted(maps.Keys(c.CRL.Shards)) {
		field := "crl.shards." + authority
		if !name.MatchString(authority) {
			bad(field, "%q is no name of an authority: it must match %s", authority, name)
		}
		if n := c.CRL.Shards[authority]; n < 1 || n > issuer.MaxShards {
			bad(field, "%d is not between 1 and %d: leave it out for one full CRL", n, issuer.MaxShards)
		}
	}
	if len(c.CRL.Shards) > 0 && c.PublicURL == "" {
		bad("crl.shards", "public_url must be set: the CRL of a shard names its own address")
	}
	if len(c.CRL.FormerURLs) > maxFormer {
		bad("crl.former_urls", "%d addresses; at most %d", len(c.CRL.FormerURLs), maxFormer)
	}
	for i, text := range c.CRL.FormerURLs {
		if !plainURL(text) {
			bad(fmt.Sprintf("crl.former_urls[%d]", i), "%q must be http://host or http://host:port, as public_url was", text)
		}
	}
	c.checkPlaces(bad)
}

func (c *Config) checkPlaces(bad func(field, format string, args ...any)) {
	if len(c.CRL.Publish) > maxPlaces {
		bad("crl.publish", "%d places; at most %d", len(c.CRL.Publish), maxPlaces)
	}
	seen := make(map[string]bool)
	for i, p := range c.CRL.Publish {
		field := fmt.Sprintf("crl.publish[%d]", i)
		if (p.Dir != "") == (p.S3 != nil) {
			bad(field, "exactly one of dir and s3 must be set")
			continue
		}
		key := "dir " + filepath.Clean(p.Dir)
		if s := p.S3; s != nil {
			key = "s3 " + s.Bucket + "/" + s.Prefix
			if s.Bucket == "" || s.Region == "" {
				bad(field+".s3", "bucket and region must be set")
			}
			if s.RoleARN != "" && !roleARN.MatchString(s.RoleARN) {
				bad(field+".s3.role_arn", "%q is not the ARN of a role: arn:aws:iam::ACCOUNT:role/NAME", s.RoleARN)
			}
		}
		if seen[key] {
			bad(field, "%s is listed already", key)
		}
		seen[key] = true
	}
}

// plainURL reports whether text is http://host or http://host:port.
func plainURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "http" && u.Host != "" && u.Path == "" && u.RawQuery == "" && u.Fragment == "" && u.User == nil
}
