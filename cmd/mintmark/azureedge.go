package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mintmark/admin"
	"mintmark/dpsreg/edge"
)

func newAzureEdgeConfig(a *app) *cobra.Command {
	var f edgeFlags
	c := a.command("edge-config --registration-id ID --identity HOW -o DIR [flags]",
		"Write the configuration of an IoT Edge device",
		`Edge-config writes config.toml of an IoT Edge device and place.sh, which puts it
with certificates and keys where IoT Edge reads them. Nothing secret is in the
directory: place.sh is given keys, password and PIN as files, on the device.
Which DPS it is for says either --id-scope or --target; where the device's
certificate comes from says --identity:

  file    the device's certificate and key are files
  est     IoT Edge makes the key, enrolls at --est-url and renews there
  pkcs11  the certificate is a file, its key is in a token

By EST the device authenticates with --bootstrap-cert, with --est-user (and a
password), with both, or with an EST identity that it has (--est-cert). The Edge
CA certificate comes from a label of its own, --edge-ca-url.

It asks the server only with --target, for the id scope, and then checks that
the label leads to an enrollment there, or that DPS will take the chain.`,
		`  mintmark azure edge-config --registration-id press-0042 \
    --id-scope 0ne00000A0B --identity file --cert chain.pem --out press-0042
  mintmark azure edge-config --registration-id press-0042 \
    --id-scope 0ne00000A0B --identity est --bootstrap-cert idevid.pem \
    --est-url https://ca.example.org:8443/.well-known/est/edge \
    --edge-ca-url https://ca.example.org:8443/.well-known/est/edge-ca \
    --est-ca root.pem --trust-bundle gateway-root.pem --out press-0042
  mintmark azure edge-config --registration-id press-0042 --target plant \
    --identity est --est-url https://ca.example.org:8443/.well-known/est/edge \
    --est-ca root.pem --est-user line-a --out press-0042 --dir ./factory
  mintmark azure edge-config --registration-id press-0042 \
    --id-scope 0ne00000A0B --identity pkcs11 --cert chain.pem \
    --pkcs11-lib /usr/lib/softhsm/libsofthsm2.so --pkcs11-token edge \
    --pkcs11-object device-id --out press-0042`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			config, err := f.config(c.Flags())
			if err != nil {
				return err
			}
			var bundle []byte
			if f.target != "" {
				if bundle, err = a.edgeTarget(c.Context(), f.target, &config); err != nil {
					return err
				}
			}
			if err := config.CheckSettings(); err != nil {
				return usagef("%w", err)
			}
			doubts, err := judgeEdgeChain(config, f.target, bundle, time.Now())
			if err != nil {
				return err
			}
			files, err := edge.Write(f.out, config)
			if err != nil {
				return err
			}
			return a.showEdgeConfig(f.out, config, files, append(doubts, config.Warnings()...))
		})
	f.bind(c.Flags())
	require(c, "registration-id", "identity", "out")
	c.MarkFlagsOneRequired("id-scope", "target")
	c.MarkFlagsMutuallyExclusive("id-scope", "target")
	c.MarkFlagsMutuallyExclusive("bootstrap-cert", "est-cert")
	c.MarkFlagsMutuallyExclusive("pkcs11-token", "pkcs11-slot")
	return c
}

// edgeFlags are the flags of edge-config, of which those that name files are read last.
type edgeFlags struct {
	out       string
	target    string
	made      edge.Config
	identity  string
	keepKey   bool
	slot      uint64
	chain     string
	trust     string
	bundle    string
	payload   string
	bootstrap string
	estCert   string
}

func (e *edgeFlags) bind(f *pflag.FlagSet) {
	c := &e.made
	f.StringVar(&c.RegistrationID, "registration-id", "", "registration `id`: the commonName of the device's certificate, in lower case")
	f.StringVar(&c.IDScope, "id-scope", "", "id `scope` of the DPS instance")
	f.StringVar(&e.target, "target", "", "this `target` of mintmark.yaml, for its id scope")
	f.StringVar(&e.identity, "identity", "", "`how` the device gets its certificate: file, est or pkcs11")
	f.StringVarP(&e.out, "out", "o", "", "`directory` for the files; it must be empty, and is made if it is not there")
	f.BoolVar(&c.Individual, "individual", false, "the device has an individual enrollment: its certificate is not renewed by IoT Edge")
	f.StringVar(&e.chain, "cert", "", "`file` with the device's certificate and the CAs above it (file and pkcs11)")
	f.StringVar(&c.Hostname, "hostname", "", "host `name` of the device as a gateway (default its own)")
	f.StringVar(&c.GlobalEndpoint, "global-endpoint", "", "`URL` of DPS for devices (default https://global.azure-devices-provisioning.net)")
	f.StringVar(&c.Reprovisioning, "reprovisioning", "", "`mode`: Dynamic, AlwaysOnStartup or OnErrorOnly (default Dynamic)")
	f.StringVar(&e.bundle, "trust-bundle", "", "`file` with root certificates for the modules")
	f.StringVar(&e.payload, "payload", "", "`file` with JSON that the device sends when it registers")

	f.StringVar(&c.Enroll.URL, "est-url", "", "`URL` of the EST label of the identity, up to /.well-known/est/LABEL")
	f.StringVar(&c.EdgeCA, "edge-ca-url", "", "`URL` of the EST label of the Edge CA")
	f.StringVar(&e.trust, "est-ca", "", "`file` with the trust anchors of the EST server")
	f.StringVar(&c.Enroll.User, "est-user", "", "`name` that goes with the password that place.sh is given")
	f.StringVar(&e.bootstrap, "bootstrap-cert", "", "`file` with the certificate by which the device gets its EST identity")
	f.StringVar(&e.estCert, "est-cert", "", "`file` with an EST identity that the device has")
	f.IntVar(&c.Renew.Threshold, "renew-at", 0, "`percent` of the validity period after which IoT Edge renews (default 80)")
	f.IntVar(&c.Renew.Retry, "renew-retry", 0, "`percent` of the validity period after which it tries again (default 4)")
	f.BoolVar(&e.keepKey, "keep-key", false, "renew with the same key")

	f.StringVar(&c.Token.Library, "pkcs11-lib", "", "`path` of the PKCS #11 library on the device; with est its keys are made in the token")
	f.StringVar(&c.Token.Label, "pkcs11-token", "", "`label` of the token")
	f.Uint64Var(&e.slot, "pkcs11-slot", 0, "`number` of the token's slot, instead of its label")
	f.StringVar(&c.Token.Object, "pkcs11-object", "", "`label` of the identity's key in the token")
	f.StringVar(&c.Token.BootstrapObject, "bootstrap-object", "", "`label` of the key of --bootstrap-cert or --est-cert in the token (default a file)")
	f.BoolVar(&c.Token.NoPIN, "no-pin", false, "the token wants no PIN")
}

// config reads the files that flags name.
func (e *edgeFlags) config(f *pflag.FlagSet) (edge.Config, error) {
	c := e.made
	c.Identity = edge.Identity(e.identity)
	c.Renew.KeepKey = e.keepKey
	if f.Changed("pkcs11-slot") {
		c.Token.Slot = &e.slot
	}
	for _, one := range []struct {
		name string
		into *[]byte
	}{
		{e.chain, &c.Chain}, {e.trust, &c.Enroll.Trust}, {e.bootstrap, &c.Enroll.Bootstrap}, {e.estCert, &c.Enroll.Certificate},
		{e.bundle, &c.TrustBundle}, {e.payload, &c.Payload},
	} {
		if one.name == "" {
			continue
		}
		content, err := readFile(one.name, maxPEM)
		if err != nil {
			return c, err
		}
		if len(content) == 0 {
			return c, fmt.Errorf("%s is empty", one.name)
		}
		*one.into = content
	}
	return c, nil
}

// edgeTarget takes the id scope of a target, and refuses a label whose devices have no
// enrollment there. It returns the target's bundle, if it is to be had.
func (a *app) edgeTarget(ctx context.Context, target string, c *edge.Config) (bundle []byte, err error) {
	err = a.withClient(ctx, func(client *admin.Client) error {
		places, err := azureDPS.choose(ctx, client, target)
		if err != nil {
			return err
		}
		place := places[0] // the named one
		if c.IDScope = place.IDScope; c.IDScope == "" {
			return fmt.Errorf("DPS target %q has no id_scope in mintmark.yaml: add it there, or give --id-scope", target)
		}
		if c.Identity != edge.ByEST {
			// Not everybody may have it, and without it there is less to say.
			bundle, _ = client.AzureBundle(ctx, target)
			return nil
		}
		_, label, _ := strings.Cut(strings.TrimRight(c.Enroll.URL, "/"), "/.well-known/est")
		if label = strings.TrimPrefix(label, "/"); !slices.Contains(place.Labels, label) {
			return fmt.Errorf("--est-url names the label %q, and no group or enrollment of DPS target %q has it: a device that enrolls there could not register (labels there: %q)", label, target, place.Labels)
		}
		return nil
	})
	return bundle, err
}

// edgeFile is a file of the configuration, for --json.
type edgeFile struct {
	File  string `json:"file"`
	Place string `json:"place,omitempty"`
	Owner string `json:"owner,omitempty"`
	Mode  string `json:"mode,omitempty"`
}

// showEdgeConfig says what was written and how it gets to the device.
func (a *app) showEdgeConfig(dir string, c edge.Config, files []edge.File, warnings []string) error {
	place := strings.TrimRight("sh place.sh "+c.Options(), " ")
	list := []edgeFile{}
	for _, f := range files {
		one := edgeFile{File: f.Name, Place: f.Place, Owner: f.Owner}
		if f.Place != "" {
			one.Mode = fmt.Sprintf("%04o", f.PlaceMode)
		}
		list = append(list, one)
	}
	for _, text := range warnings {
		a.say("warning: %s", text)
	}
	if a.json {
		return a.printJSON(struct {
			RegistrationID string     `json:"registration_id"`
			Directory      string     `json:"directory"`
			Files          []edgeFile `json:"files"`
			Place          string     `json:"place"`
			Warnings       []string   `json:"warnings"`
		}{c.RegistrationID, dir, list, place, append([]string{}, warnings...)})
	}
	t := newTable(a.out, "FILE", "ON THE DEVICE", "OWNER", "MODE")
	for _, one := range list {
		t.row(one.File, one.Place, one.Owner, one.Mode)
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "on the device, as root: %s\n", place)
	return err
}
