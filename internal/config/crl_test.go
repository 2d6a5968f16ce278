package config

import (
	"strings"
	"testing"
)

// TestCRL: what crl may say, and each mistake with the key that it is in.
func TestCRL(t *testing.T) {
	const anchor = "server: line-1\n"
	with := func(text string) string { return strings.Replace(good, anchor, anchor+text, 1) }
	c, err := Parse([]byte(with(`crl:
  shards: {issuing: 16, line-a2: 256}
  former_urls: ["http://old.example", "http://older.example:8080"]
  publish:
    - dir: /srv/www/pki
    - s3: {bucket: factory-crls, prefix: pki/, region: eu-central-1, profile: crl, role_arn: "arn:aws:iam::123456789012:role/crl"}
`)))
	if err != nil {
		t.Fatal(err)
	}
	if c.CRL.Shards["line-a2"] != 256 || len(c.CRL.Publish) != 2 || c.CRL.Publish[1].S3.Bucket != "factory-crls" || c.CRL.Lifetime == 0 {
		t.Errorf("%+v", c.CRL)
	}
	many := strings.Repeat("    - dir: /a\n", maxPlaces+1)
	for _, test := range []struct{ text, want string }{
		{"crl: {period: 0s}\n", "crl.lifetime"},
		{"crl: {period: 24h, lifetime: 47h}\n", "crl.lifetime"},
		{"crl: {shards: {issuing: 0}}\n", "crl.shards.issuing"},
		{"crl: {shards: {issuing: -1}}\n", "crl.shards.issuing"},
		{"crl: {shards: {issuing: 257}}\n", "crl.shards.issuing"},
		{"crl: {shards: {Issuing CA: 4}}\n", "crl.shards.Issuing CA"},
		{"crl: {shards: {issuing: many}}\n", "issuing"},
		{"crl: {former_urls: [\"https://old.example\"]}\n", "crl.former_urls[0]"},
		{"crl: {former_urls: [\"http://old.example/crl\"]}\n", "crl.former_urls[0]"},
		{"crl: {former_urls: [\"http://u:p@old.example\"]}\n", "crl.former_urls[0]"},
		{"crl: {former_urls: [a, b, c, d, e, f, g, h, i]}\n", "at most 8"},
		{"crl: {publish: [{}]}\n", "crl.publish[0]"},
		{"crl: {publish: [{dir: /a, s3: {bucket: b, region: r}}]}\n", "exactly one of dir and s3"},
		{"crl: {publish: [{s3: {bucket: b}}]}\n", "crl.publish[0].s3"},
		{"crl: {publish: [{s3: {region: eu-central-1}}]}\n", "crl.publish[0].s3"},
		{"crl: {publish: [{s3: {bucket: b, region: eu-central-1, role_arn: crl}}]}\n", "crl.publish[0].s3.role_arn"},
		{"crl: {publish: [{dir: /a}, {dir: /a/}]}\n", "crl.publish[1]"},
		{"crl: {publish: [{ftp: x}]}\n", "ftp"},
		{"crl:\n  publish:\n" + many, "at most 16"},
	} {
		if _, err := Parse([]byte(with(test.text))); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %q", test.text, err, test.want)
		}
	}
	without := strings.Replace(with("crl: {shards: {issuing: 4}}\n"), "public_url: http://ca.example:8080\n", "", 1)
	if _, err := Parse([]byte(without)); err == nil || !strings.Contains(err.Error(), "crl.shards: public_url") {
		t.Errorf("shards without public_url: %v", err)
	}
}
