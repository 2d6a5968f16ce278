package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

// authorityFlags describe an authority to make.
type authorityFlags struct {
	spec     admin.AuthoritySpec
	validity span
	pathLen  int
}

// bind adds the flags that a new certificate and a request share.
func (f *authorityFlags) bind(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.spec.Name, "name", "", "`name` of the authority in commands and configuration")
	flags.StringVar(&f.spec.Key, "key", "P-256", "`type` of its key: P-256, P-384, P-521, RSA-2048, RSA-3072, RSA-4096")
	flags.StringVar(&f.spec.KeyURI, "key-uri", "", "`URI` under which to make the key (default an encrypted file)")
	flags.StringVar(&f.spec.Subject.CommonName, "common-name", "", "commonName of the subject")
	flags.StringVar(&f.spec.Subject.Organization, "organization", "", "organization of the subject")
	flags.StringVar(&f.spec.Subject.OrganizationalUnit, "organizational-unit", "", "organizational unit of the subject")
	flags.StringVar(&f.spec.Subject.Country, "country", "", "country of the subject, two letters")
	flags.StringVar(&f.spec.Subject.Province, "province", "", "state or province of the subject")
	flags.StringVar(&f.spec.Subject.Locality, "locality", "", "locality of the subject")
	flags.StringVar(&f.spec.Subject.SerialNumber, "serial-number", "", "serialNumber of the subject")
	flags.IntVar(&f.pathLen, "path-len", -1, "`number` of CA certificates allowed below (default 0 with --issuer, no limit for a root)")
	flags.Lookup("path-len").DefValue = "0" // shown by nobody: no limit is not a number
	for _, set := range []struct {
		word string
		into *admin.Names
	}{{"permit", &f.spec.Permit}, {"exclude", &f.spec.Exclude}} {
		flags.StringArrayVar(&set.into.DNS, set.word+"-dns", nil, set.word+" DNS names in this `domain`; may be repeated")
		flags.StringArrayVar(&set.into.IP, set.word+"-ip", nil, set.word+" IP addresses in this `range`, as in 10.0.0.0/8; may be repeated")
		flags.StringArrayVar(&set.into.Email, set.word+"-email", nil, set.word+" e-mail addresses at this `host`; may be repeated")
		flags.StringArrayVar(&set.into.URI, set.word+"-uri", nil, set.word+" URIs at this `host`; may be repeated")
	}
	require(c, "name")
}

// complete fills what flags cannot set directly.
func (f *authorityFlags) complete(c *cobra.Command, now time.Time) {
	if c.Flags().Changed("path-len") {
		f.spec.PathLen = &f.pathLen
	} else if f.spec.Issuer != "" {
		// An issuing CA signs devices. One that may have CAs below it must be
		// asked for: a certificate cannot be narrowed afterwards.
		f.spec.PathLen = new(int)
	}
	if f.validity.text != "" {
		end := f.validity.after(now).UTC().Truncate(time.Second)
		f.spec.NotAfter = &end
	}
	if f.spec.Subject.CommonName == "" && f.spec.Subject.Organization == "" {
		f.spec.Subject.CommonName = f.spec.Name
	}
}

func newCACreate(a *app) *cobra.Command {
	var f authorityFlags
	c := a.command("create --name NAME [flags]", "Make a root CA, or an issuing CA under one",
		`Create makes a key and a CA certificate for it, and signs its first CRL.
Without --issuer it is a self-signed root. The key stays where it was made: in
an encrypted file, or in the token that --key-uri names, which must stand in
keys.tokens of mintmark.yaml.`,
		`  mintmark ca create --name line2-root --common-name "Line 2 Root" --validity 20y --path-len 1 --dir ./factory
  mintmark ca create --name line2 --issuer root --common-name "Line 2" --validity 5y --path-len 0 --dir ./factory
  mintmark ca create --name line3 --issuer root --key-uri "pkcs11:token=factory;object=line3" --dir ./factory`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			f.complete(c, time.Now())
			return a.withClient(c.Context(), func(client *admin.Client) error {
				one, err := client.CreateAuthority(c.Context(), f.spec)
				if err != nil {
					return err
				}
				return a.reportAuthority(one, "created")
			})
		})
	f.bind(c)
	if err := f.validity.Set("10y"); err != nil {
		panic(err)
	}
	c.Flags().StringVar(&f.spec.Issuer, "issuer", "", "`name` of the authority above (default none: a root)")
	c.Flags().Var(&f.validity, "validity", "how long it is valid: 20y, 3650d")
	return c
}

func newCARequest(a *app) *cobra.Command {
	var f authorityFlags
	var out string
	c := a.command("csr --name NAME [flags]", "Make a key and the request for a CA certificate from elsewhere",
		`Csr makes a key and writes the certification request for it, for a root that is
kept elsewhere. mintmark ca import brings the certificate. Run again with the
same name it makes the request again, with the same key.`,
		`  mintmark ca csr --name line3 --common-name "Line 3" --path-len 0 --out line3.csr --dir ./factory`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			f.complete(c, time.Now())
			return a.withClient(c.Context(), func(client *admin.Client) error {
				r, err := client.RequestAuthority(c.Context(), f.spec)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(r)
				}
				a.say("authority %s waits for its certificate; mintmark ca import --name %s brings it", r.Name, r.Name)
				return a.writeOut(out, []byte(r.CSR))
			})
		})
	f.bind(c)
	c.Flags().StringVar(&out, "out", "", "`file` to write (default standard output)")
	return c
}

func newCAImport(a *app) *cobra.Command {
	var name, file string
	var in admin.AuthorityImport
	c := a.command("import --name NAME --cert FILE [flags]", "Bring the certificate of an authority",
		`Import reads the CA certificate and every certificate above it, up to the root,
in PEM and in any order. For an authority that mintmark ca csr made, the key is
known; --key-uri names the key of one that exists already. Without either, it
becomes a trust anchor whose key is elsewhere.`,
		`  mintmark ca import --name line3 --cert line3-chain.pem --dir ./factory
  mintmark ca import --name old --cert old.pem --key-uri softkms:path=keys/old.pem --dir ./factory`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			content, err := readFile(file, maxPEM)
			if err != nil {
				return err
			}
			if strings.Contains(string(content), "PRIVATE KEY") {
				return fmt.Errorf("%s holds a private key: remove it from the file; --key-uri names the key", file)
			}
			in.Certificates = string(content)
			return a.withClient(c.Context(), func(client *admin.Client) error {
				one, err := client.ImportAuthority(c.Context(), name, in)
				if err != nil {
					return err
				}
				return a.reportAuthority(one, "imported")
			})
		})
	c.Flags().StringVar(&name, "name", "", "`name` of the authority")
	c.Flags().StringVar(&file, "cert", "", "`file` with the certificates in PEM")
	c.Flags().StringVar(&in.KeyURI, "key-uri", "", "`URI` of the key")
	require(c, "name", "cert")
	return c
}

// reportAuthority says what became of an authority.
func (a *app) reportAuthority(one admin.Authority, what string) error {
	if one.Warning != "" {
		a.say("warning: %s", one.Warning)
	}
	a.say("%s authority %s (%s), valid until %s", what, one.Name, one.State, day(one.NotAfter))
	return a.printAuthority(one)
}

// readFile reads a file of at most limit bytes.
func readFile(name string, limit int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return os.ReadFile(name)
}
