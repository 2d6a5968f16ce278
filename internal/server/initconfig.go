package server

import (
	"fmt"
	"strings"
)

// configuration is the file of a new state directory. It is put together here
// and not by text/template, which finds methods by their names at run time and
// so keeps the linker from leaving out any: the binary would be 13 MB larger.
func (o *InitOptions) configuration(secretHash string) string {
	var b strings.Builder
	b.WriteString(`# mintmark: configuration of one server. Every key is described in
# docs/configuration.md; an unknown key is an error. Check a change with
#   mintmark config check --dir DIR
`)
	fmt.Fprintf(&b, "server: %s\n", o.Server)
	fmt.Fprintf(&b, `
# Where relying parties reach CRLs and CA certificates. It goes into every
# certificate that is issued, so choose a name that stays.
public_url: %s

listen:
  est: ":8443"               # enrollment, TLS
  http: ":8080"              # CRLs and CA certificates, no TLS
  metrics: "127.0.0.1:9464"  # /metrics, /healthz, /readyz
`, o.PublicURL)
	officers := len(o.Officers) > 0
	if officers {
		b.WriteString(`  admin: ":8444"             # administration, TLS with a principal's certificate
`)
	}
	b.WriteString(`
# The server's own certificate: issued here, renewed by itself.
tls:
  issuer: issuing
  profile: server
  names:
`)
	for _, name := range o.Names {
		fmt.Fprintf(&b, "    - %q\n", name)
	}
	if o.PassphraseFile != "" || o.token != nil {
		b.WriteString("\nkeys:\n")
	}
	if o.PassphraseFile != "" {
		fmt.Fprintf(&b, "  passphrase_file: %q\n", o.PassphraseFile)
	}
	if o.token != nil {
		b.WriteString("  # The server loads no other PKCS#11 module; keys name a token by its attributes.\n" + o.token.configuration())
	}
	if o.Database != "" {
		fmt.Fprintf(&b, `
# The ledger. With PostgreSQL, several servers may share it (docs/scale.md).
database:
  url: %q
`, o.Database)
		if o.DatabasePassword != "" {
			fmt.Fprintf(&b, "  password_file: %q\n", o.DatabasePassword)
		}
	}
	if officers {
		b.WriteString(`
# Certificates of people and of work orders. Their CAs issue nothing else and are
# registered in no cloud.
access:
  issuer: officers
  profile: officer
orders:
  issuer: claims
  profile: claim
`)
	}
	b.WriteString(`
# Signed heads of the issuance log, best kept where this host cannot change them.
audit:
  interval: 10m
  # heads:
  #   - folder: /mnt/auditor/heads

profiles:
  device:
    preset: device
    validity: 730d
  server:
    preset: server
    validity: 90d
`)
	if officers {
		b.WriteString(`  officer:
    preset: officer
    validity: 365d
  claim:
    preset: claim
`)
	}
	fmt.Fprintf(&b, `
# An EST label picks profile, issuing CA and ways to authenticate. The one
# without a name is served at /.well-known/est/.
labels:
  - name: ""
    profile: device
    issuer: issuing
    authorize: trusted       # whoever has a credential below vouches for the device
    passwords:               # make more with: mintmark est secret
      - user: factory
        sha256: %s
    own: [device]            # devices renew with the certificate they have
`, secretHash)
	return b.String()
}
