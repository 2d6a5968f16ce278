package server

import (
	"context"
	"crypto/fips140"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"mintmark/internal/config"
)

// CheckConfig reads the configuration of a state directory and everything that
// it names: profiles, passphrase, maker anchors. It returns findings that do
// not stop a server but that its operator should know. It opens no database
// and no key, so that it can run beside a server.
func CheckConfig(_ context.Context, dir string) ([]string, error) {
	c, err := config.Load(dir)
	if err != nil {
		return nil, err
	}
	set, err := profiles(c)
	if err != nil {
		return nil, err
	}
	var findings []string
	for i, l := range c.Labels {
		if err := checkFiles(c, l); err != nil {
			return nil, fmt.Errorf("%s: label %q: labels[%d].%w", filepath.Join(c.Dir, config.File), l.Name, i, err)
		}
		if l.Maker != nil {
			for _, file := range l.Maker.CRLs {
				if _, err := readCRL(c.Path(file)); err != nil {
					findings = append(findings, fmt.Sprintf("label %q: devices whose issuer is asked for in the maker's CRL %s are refused: %v", l.Name, file, err))
				}
			}
		}
	}
	findings = append(findings, risks(c)...)
	if err := checkPassphrase(c); err != nil {
		return nil, err
	}
	if err := checkTokens(c); err != nil {
		return nil, err
	}
	if c.FIPS140 == "required" && !fips140.Enabled() {
		// The server's process may be in the mode that this command is not in.
		findings = append(findings, errNotFIPS.Error())
	}
	if _, err := awsTargetsOf(c, set); err != nil {
		return nil, err
	}
	if _, err := azureTargetsOf(c); err != nil {
		return nil, err
	}
	findings = append(findings, azureFiles(c)...)
	if file := c.Keys.PassphraseFile; file != "" && filepath.Dir(c.Path(file)) == filepath.Join(c.Dir, "secrets") {
		findings = append(findings, "the passphrase lies beside the keys that it opens: a systemd credential or a token keeps them apart")
	}
	if c.Keys.PassphraseFile == "" && os.Getenv("CREDENTIALS_DIRECTORY") == "" {
		findings = append(findings, "keys.passphrase_file is not set and there is no systemd credential here: key files cannot be opened (keys in a token can)")
	}
	if c.PublicURL == "" {
		findings = append(findings, "public_url is not set: certificates say nowhere where their CRL is")
	}
	if c.CRL.Lifetime < 3*24*time.Hour {
		findings = append(findings, fmt.Sprintf("crl.lifetime is %s: if the server stops for a weekend, relying parties that check CRLs refuse every device", config.DurationText(c.CRL.Lifetime)))
	}
	return findings, nil
}

// checkFiles reads what a label names, as the start of a server does.
func checkFiles(c *config.Config, l config.Label) error {
	if _, key, err := makerOf(c, l.Maker); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if _, key, err := keygenOf(c, l.Keygen); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if _, key, err := webhookOf(c, l.Webhook); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// CheckAuthorities holds a configuration against the authorities that exist, as
// their certificates by name. Its errors would stop the server; its findings
// disable a label.
func CheckAuthorities(dir string, known map[string]*x509.Certificate, now time.Time) (findings []string, err error) {
	c, err := config.Load(dir)
	if err != nil {
		return nil, err
	}
	set, err := profiles(c)
	if err != nil {
		return nil, err
	}
	need := func(field, name string) error {
		if _, ok := known[name]; !ok {
			return fmt.Errorf("%s: %s: there is no authority %q: create it with mintmark ca create", filepath.Join(c.Dir, config.File), field, name)
		}
		return nil
	}
	errs := []error{need("tls.issuer", c.TLS.Issuer)}
	missing := make(map[string]bool)
	for i, l := range c.Labels {
		err := need(fmt.Sprintf("label %q: labels[%d].issuer", l.Name, i), l.Issuer)
		if !missing[l.Issuer] { // said once
			errs = append(errs, err)
		}
		missing[l.Issuer] = err != nil
		if err := makerNotOurs(c, l.Maker, known); err != nil {
			errs = append(errs, fmt.Errorf("%s: label %q: labels[%d].maker.anchors: %w", filepath.Join(c.Dir, config.File), l.Name, i, err))
		}
		if p := set[l.Profile]; err == nil && !p.OutlivesIssuer() && now.Add(p.Validity()).After(known[l.Issuer].NotAfter) {
			findings = append(findings, fmt.Sprintf("label %q answers 503: issuing CA %q ends on %s, before a certificate of profile %q would (%d days)",
				l.Name, l.Issuer, known[l.Issuer].NotAfter.Format(time.DateOnly), l.Profile, int(p.Validity().Hours()/24)))
		}
	}
	for _, own := range []struct{ field, name, lost string }{
		{"access.issuer", c.Access.Issuer, "nobody gets a certificate for the administrative API"},
		{"orders.issuer", c.Orders.Issuer, "work orders have secrets only"},
	} {
		if _, ok := known[own.name]; own.name != "" && !ok {
			findings = append(findings, fmt.Sprintf("%s: there is no authority %q, and until mintmark ca create has made it, %s", own.field, own.name, own.lost))
		}
	}
	for i, t := range c.AWS.Targets {
		for j, a := range t.CAs {
			errs = append(errs, need(fmt.Sprintf("aws.targets[%d].cas[%d].issuer", i, j), a.Issuer))
		}
	}
	for _, n := range azureNeeds(c) {
		errs = append(errs, need(n.field, n.authority))
	}
	return findings, errors.Join(errs...)
}
