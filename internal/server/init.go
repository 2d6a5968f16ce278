package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mintmark/ca"
	"mintmark/internal/access"
	"mintmark/internal/config"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// InitOptions describe a new state directory. Only Dir must be set.
type InitOptions struct {
	Dir          string
	Organization string       // in the subject of root and issuing CA; "mintmark" if empty
	Server       string       // name of the server; "mintmark" if empty
	Names        []string     // what devices dial; host name, localhost and 127.0.0.1 if empty
	PublicURL    string       // base of CRL URLs; made of the first name and port 8080 if empty
	Key          ca.Algorithm // of the CA keys; P-256 if empty
	// PKCS11 is the URI of a token, with the pin-source and without an object: CA
	// keys are made there, and keys.tokens of the configuration has it. Empty for
	// encrypted files.
	PKCS11 string
	token  *initToken // read from it
	// PassphraseFile opens the encrypted files. Empty for a generated one.
	PassphraseFile string
	// Officers are the first security officers, each with a name and a public
	// key. With them come an issuing CA for people and one for claim
	// certificates, and the owner of the directory is no officer.
	Officers []ledger.Principal
	// Database is the URL of a PostgreSQL database without records, without a
	// password; empty for SQLite. DatabasePassword names a file, or is empty.
	Database, DatabasePassword string
	// Bare leaves the hierarchy to mintmark ca create: only the configuration
	// is written.
	Bare bool
}

const (
	rootLife    = 25 * 365 * 24 * time.Hour
	issuingLife = 10 * 365 * 24 * time.Hour
	// enrollSecret holds the bootstrap credential as user:secret, the form
	// that curl reads with --config or -u "$(cat ...)".
	enrollSecret = "secrets/enroll"
)

// Init makes a state directory: configuration, passphrase, a root and an
// issuing CA, a bootstrap credential for the label-less EST path, and says on
// out what it made. It refuses a directory that holds anything, and removes
// what it made if it fails.
func Init(ctx context.Context, o InitOptions, log *slog.Logger, out io.Writer) (err error) {
	if err := o.complete(); err != nil {
		return err
	}
	entries, err := os.ReadDir(o.Dir)
	if err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty: init makes a new state directory and changes none", o.Dir)
	}
	existed := err == nil
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(o.Dir, 0o700); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		made, _ := os.ReadDir(o.Dir)
		for _, entry := range made {
			os.RemoveAll(filepath.Join(o.Dir, entry.Name()))
		}
		if !existed {
			os.Remove(o.Dir)
		}
	}()
	for _, sub := range []string{"keys", "log", "secrets", "tls"} {
		if err := os.Mkdir(filepath.Join(o.Dir, sub), 0o700); err != nil {
			return err
		}
	}
	if o.PKCS11 == "" && o.PassphraseFile == "" {
		o.PassphraseFile = "secrets/passphrase"
		if err := writeSecret(o.Dir, o.PassphraseFile, rand.Text()+rand.Text()+"\n"); err != nil {
			return err
		}
	}
	secret := rand.Text()
	if err := writeSecret(o.Dir, enrollSecret, "factory:"+secret+"\n"); err != nil {
		return err
	}
	hash := sha256.Sum256([]byte(secret))
	text := o.configuration(hex.EncodeToString(hash[:]))
	if err := writeFile(filepath.Join(o.Dir, config.File), []byte(text), 0o600); err != nil {
		return err
	}
	if !o.Bare {
		if err := o.createHierarchy(ctx, log); err != nil {
			return err
		}
	}
	return o.report(out)
}

func (o *InitOptions) complete() error {
	if o.Dir == "" {
		return errors.New("init needs a state directory")
	}
	if o.Organization == "" {
		o.Organization = "mintmark"
	}
	if o.Server == "" {
		o.Server = "mintmark"
	}
	if o.Key == "" {
		o.Key = ca.P256
	}
	if len(o.Names) == 0 {
		if host, err := os.Hostname(); err == nil && host != "" && host != "localhost" {
			o.Names = append(o.Names, host)
		}
		o.Names = append(o.Names, "localhost", "127.0.0.1")
	}
	if o.PublicURL == "" {
		o.PublicURL = "http://" + net.JoinHostPort(o.Names[0], "8080")
	}
	if len(o.Officers) > 0 && o.Bare {
		return errors.New("the first officers are recorded with the hierarchy: name them without --bare, or add them later with mintmark officer add")
	}
	if o.PKCS11 != "" {
		token, err := tokenOfURI(o.PKCS11)
		if err != nil {
			return err
		}
		o.token = token
	}
	for _, file := range []*string{&o.PassphraseFile, &o.DatabasePassword} {
		if *file == "" {
			continue
		}
		path, err := filepath.Abs(*file)
		if err != nil {
			return err
		}
		*file = path
	}
	return nil
}

// people are the first principals: the officers, and the owner of the directory
// with every role or, if there are officers, with every other one.
func (o *InitOptions) people() ([]ledger.Principal, error) {
	owner, err := ownerOf(o.Dir)
	if err != nil {
		return nil, err
	}
	list := []ledger.Principal{owner}
	if len(o.Officers) > 0 {
		officer := string(access.Officer)
		list[0].Roles = slices.DeleteFunc(list[0].Roles, func(r string) bool { return r == officer })
		for _, p := range o.Officers {
			if p.Name == owner.Name {
				return nil, fmt.Errorf("officer %q has the name of the state directory's owner, who is an operator: choose another", p.Name)
			}
			p.Roles = []string{officer}
			list = append(list, p)
		}
	}
	return list, nil
}

// checkKeys refuses an officer whose key no certificate can hold: they come over
// TLS and in no other way.
func (o *InitOptions) checkKeys(c *config.Config) error {
	if len(o.Officers) == 0 {
		return nil
	}
	set, err := profiles(c)
	if err != nil {
		return err
	}
	for _, p := range o.Officers {
		key, err := access.ParseKey(p.Key)
		if err == nil {
			err = set[c.Access.Profile].CheckKey(key)
		}
		var refusal *issuer.Refusal
		if errors.As(err, &refusal) {
			return fmt.Errorf("officer %q could never get a certificate: %s", p.Name, refusal.Text)
		}
		if err != nil {
			return fmt.Errorf("officer %q: %w", p.Name, err)
		}
	}
	return nil
}

// createHierarchy makes a root and the issuing CAs, with their first CRLs, and
// records the first principals.
func (o *InitOptions) createHierarchy(ctx context.Context, log *slog.Logger) error {
	c, err := config.Load(o.Dir)
	if err != nil {
		return err
	}
	people, err := o.people()
	if err != nil {
		return err
	}
	if err := o.checkKeys(c); err != nil {
		return err
	}
	used, err := inUse(ctx, c)
	if err == nil && used {
		err = errInUse
	}
	if err != nil {
		return err
	}
	s, err := Open(ctx, c, Options{Logger: log, Principals: people})
	if err != nil {
		return err
	}
	defer s.Close()
	subject := func(name string) pkix.Name {
		return pkix.Name{Organization: []string{o.Organization}, CommonName: o.Organization + " " + name}
	}
	one, zero := 1, 0
	requester := ledger.Requester{Kind: "admin", Name: "init"}
	below := func(issuing, name, text string) issuer.AuthoritySpec {
		return issuer.AuthoritySpec{Key: o.Key, Issuer: issuing,
			Spec: ca.Spec{Name: name, Subject: subject(text), Validity: issuingLife, Backdate: time.Hour, PathLen: &zero}}
	}
	specs := []issuer.AuthoritySpec{
		{Key: o.Key, Spec: ca.Spec{Name: "root", Subject: subject("Root CA"), Validity: rootLife, Backdate: time.Hour, PathLen: &one}},
		below("root", "issuing", "Issuing CA"),
	}
	if len(o.Officers) > 0 {
		// Not below the root of the devices: whoever trusts that one, as an
		// enrollment group of Azure does, would take a claim or an officer for a device.
		specs = append(specs, below("", "officers", "Officers CA"), below("", "claims", "Claims CA"))
	}
	for _, spec := range specs {
		if o.token != nil {
			spec.KeyURI = o.token.key(spec.Name)
		}
		authority, err := s.ra.CreateAuthority(ctx, spec, requester)
		if err != nil {
			return err
		}
		if err := s.publishCRL(ctx, spec.Name); err != nil {
			return err
		}
		if spec.Name == "root" {
			block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw})
			if err := writeFile(filepath.Join(o.Dir, "root.pem"), block, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *InitOptions) report(out io.Writer) error {
	lines := []string{
		"state directory      " + o.Dir,
		"configuration        " + filepath.Join(o.Dir, config.File),
	}
	if !o.Bare {
		lines = append(lines, "trust anchor         "+filepath.Join(o.Dir, "root.pem"))
	}
	for _, p := range o.Officers {
		lines = append(lines, fmt.Sprintf("security officer     %s, key %x", p.Name, sha256.Sum256(p.Key)))
	}
	lines = append(lines, "bootstrap credential "+filepath.Join(o.Dir, enrollSecret)+" (user:secret, keep it on the line)")
	if o.PKCS11 == "" {
		lines = append(lines, "", "CA keys are encrypted files under "+filepath.Join(o.Dir, "keys")+".",
			"Whoever reads both "+o.PassphraseFile+" and a key file has the CA:",
			"give the passphrase as the systemd credential mintmark-passphrase where you can.")
	}
	if o.token != nil {
		lines = append(lines, "", "CA keys are in token "+o.token.name+", whose PIN is read from "+o.token.pin+" at each start.")
	}
	switch len(o.Officers) {
	case 0:
		lines = append(lines, "", "There are no officers with a key: one person may do everything. See docs/roles.md.")
	case 1:
		lines = append(lines, "", "There is one officer: nobody can be asked for a second signature. Add another with mintmark officer add.")
	}
	lines = append(lines, "", "next: mintmark serve --dir "+o.Dir)
	_, err := fmt.Fprintln(out, strings.Join(lines, "\n"))
	return err
}

// writeSecret writes a file that only its owner may read.
func writeSecret(dir, name, text string) error {
	return writeFile(filepath.Join(dir, name), []byte(text), 0o400)
}
