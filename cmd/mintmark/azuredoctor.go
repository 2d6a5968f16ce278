package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"mintmark/dpsreg"
	"mintmark/dpsreg/attest"
	"mintmark/dpsreg/doctor"
)

// azureDoctorFlags are what a chain does not say of itself.
type azureDoctorFlags struct {
	registrationID, apiVersion, bundle, at, soon string
	verified, groups, disabled, individual       []string
}

func newAzureDoctor(a *app) *cobra.Command {
	var f azureDoctorFlags
	c := a.command("doctor FILE [flags]", "Say whether DPS will accept a device's chain, offline",
		`Doctor reads the chain that a device sends in TLS (PEM or DER, - for standard
input) and says whether the Device Provisioning Service will accept it: in
Azure's words if not, and what to do. It needs no server and no network.

What DPS has is said by flags, or by the file of mintmark azure bundle export.
Without either, the last certificate of the chain is supposed to be verified
and to have a group.

It exits with 0 if DPS accepts the chain, with 1 if it refuses it, and with 4
if that depends on something which Microsoft documents nothing about: an
expired certificate, for instance, or one without clientAuth. Warnings change
nothing in that. docs/azure-doctor.md explains each rule.`,
		`  mintmark azure doctor chain.pem
  mintmark azure doctor chain.pem --verified root.pem --group line-a=line-a.pem
  mintmark azure doctor chain.pem --bundle plant.json --group-disabled line-a
  mintmark azure doctor chain.pem --individual device.pem --json
  mintmark azure doctor - --bundle plant.json --at 90d`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			o, err := f.options(time.Now())
			if err != nil {
				return err
			}
			return a.azureDoctor(args[0], o)
		})
	flags := c.Flags()
	flags.StringVar(&f.registrationID, "registration-id", "", "the `id` that the device names (default its common name)")
	flags.StringArrayVar(&f.verified, "verified", nil, "`file` with CAs that DPS has verified (repeatable)")
	flags.StringArrayVar(&f.groups, "group", nil, "enrollment group with the certificates of its slots, as `ID=FILE[,FILE]` (repeatable)")
	flags.StringArrayVar(&f.disabled, "group-disabled", nil, "`id` of a group that is disabled (repeatable)")
	flags.StringArrayVar(&f.individual, "individual", nil, "`file` with a certificate of the device's individual enrollment, or disabled (repeatable)")
	flags.StringVar(&f.bundle, "bundle", "", "`file` of mintmark azure bundle export")
	flags.StringVar(&f.at, "at", "", "as if it were this `date`, or so long from now, as in 2027-01-31 or 90d")
	flags.StringVar(&f.soon, "soon", "30d", "warn of a certificate this `span` before its expiry")
	flags.StringVar(&f.apiVersion, "api-version", "", "`version` of the device API that the device uses (default the newest)")
	return c
}

// options reads the files that flags name.
func (f azureDoctorFlags) options(now time.Time) (doctor.Options, error) {
	o := doctor.Options{RegistrationID: f.registrationID, APIVersion: f.apiVersion, Now: now}
	var err error
	if f.at != "" {
		if o.Now, err = parseMoment(f.at, now); err != nil {
			return o, usagef("--at: %w", err)
		}
	}
	var soon span
	if err := soon.Set(f.soon); err != nil {
		return o, usagef("--soon: %w", err)
	}
	o.Soon = soon.after(o.Now).Sub(o.Now)
	if f.bundle != "" {
		data, err := readFile(f.bundle, dpsreg.MaxBundle)
		if err != nil {
			return o, fmt.Errorf("--bundle: %w", err)
		}
		if o.Verified, o.Groups, err = doctor.ReadBundle(data); err != nil {
			return o, fmt.Errorf("--bundle: %s: %w", f.bundle, err)
		}
	}
	for _, name := range f.verified {
		list, err := readChain(name)
		if err != nil {
			return o, fmt.Errorf("--verified: %w", err)
		}
		for _, c := range list {
			o.Verified = append(o.Verified, attest.CA{Name: c.Subject.CommonName, Certificate: c, Verified: true})
		}
	}
	if err := f.addGroups(&o); err != nil {
		return o, err
	}
	return o, f.addIndividual(&o)
}

func (f azureDoctorFlags) addGroups(o *doctor.Options) error {
	for _, text := range f.groups {
		id, files, err := doctor.ParseGroup(text)
		if err != nil {
			return usagef("--group: %w", err)
		}
		group := attest.Group{ID: id}
		for _, name := range files {
			c, err := readOne(name)
			if err != nil {
				return fmt.Errorf("--group: %w", err)
			}
			group.Anchors = append(group.Anchors, c)
		}
		o.Groups = append(o.Groups, group)
	}
	for _, id := range f.disabled {
		if err := doctor.Disable(o.Groups, id); err != nil {
			return usagef("--group-disabled: %w: name it with --group, or give the --bundle that has it", err)
		}
	}
	return nil
}

func (f azureDoctorFlags) addIndividual(o *doctor.Options) error {
	if len(f.individual) == 0 {
		return nil
	}
	o.Individual = new(doctor.Individual)
	for _, name := range f.individual {
		if name == "disabled" {
			o.Individual.Disabled = true
			continue
		}
		c, err := readOne(name)
		if err != nil {
			return fmt.Errorf("--individual: %w", err)
		}
		o.Individual.Certificates = append(o.Individual.Certificates, c)
	}
	if n := len(o.Individual.Certificates); n > 2 {
		return usagef("--individual: these are %d certificates; an individual enrollment has two slots", n)
	}
	return nil
}

// readOne reads a file with one certificate.
func readOne(name string) (*x509.Certificate, error) {
	list, err := readChain(name)
	if err == nil && len(list) != 1 {
		err = fmt.Errorf("%s holds %d certificates; a slot has one", name, len(list))
	}
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

func readChain(name string) ([]*x509.Certificate, error) {
	data, err := readFile(name, doctor.MaxFile)
	if err != nil {
		return nil, err
	}
	list, err := doctor.ReadChain(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return list, nil
}

// azureDoctor checks one chain.
func (a *app) azureDoctor(name string, o doctor.Options) error {
	var chain []*x509.Certificate
	var err error
	if name == "-" {
		name = "standard input"
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(a.in, doctor.MaxFile+1)); err == nil {
			chain, err = doctor.ReadChain(data)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
	} else {
		chain, err = readChain(name)
	}
	if err != nil {
		return err
	}
	report, err := doctor.Check(chain, o)
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(report)
	} else {
		err = report.Render(a.out, name)
	}
	return errors.Join(err, predicted(report.Prediction))
}

// predicted is the end of a check whose outcome is not that DPS accepts the chain.
func predicted(p doctor.Prediction) error {
	switch p {
	case doctor.Accepted:
		return nil
	case doctor.Unknown:
		return errUndocumented
	}
	return errors.New("DPS refuses this chain")
}

// errUndocumented is the end of a check that comes to something undocumented.
var errUndocumented = errors.New("whether DPS accepts this chain depends on what is not documented")
