package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mintmark/dpsreg/dpssim"
)

func newSimAzure(a *app) *cobra.Command {
	var options simAzureOptions
	config := &options.config
	var verbose bool
	c := a.command("azure [flags]", "Run a stand-in for the Azure Device Provisioning Service",
		`Azure runs a Device Provisioning Service with its hubs, the resource manager's
certificates and Entra tokens, until it is interrupted. It refuses what Azure is
documented to refuse. What it holds is gone when it ends; its trust anchor and
secrets, and azure.json, which says all the rest, are in the directory of
--state, and are used again by the next run.

Clients keep Azure's own names and are told to connect elsewhere: connect in
mintmark's configuration, curl --connect-to ::HOST:PORT --cacert root.pem, an
https.Agent({host, port, ca}) in Node.

The simulator also answers, without a token and to this machine only:
https://localhost:PORT/_sim/state (all that is registered, to compare two runs),
/_sim/calls, /_sim/faults (errors and cut connections at will) and /_sim/events
(what happened, and why a device or a caller was refused).`,
		`  mintmark sim azure --state ./sim --listen 127.0.0.1:4443 --mqtt 127.0.0.1:8883
  mintmark sim azure --state ./sim --hub one.azure-devices.net --hub two.azure-devices.net
  mintmark sim azure --state ./sim --limits --fault '{"operation":"certificates.verify","status":500,"afterEffect":true,"times":1}'`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if config.StateDir == "" {
				config.StateDir = filepath.Join(a.dir, "sim-azure")
			}
			faults, err := options.parse()
			if err != nil {
				return err
			}
			level := slog.LevelWarn
			if verbose {
				level = slog.LevelInfo
			}
			config.Logger = a.logger(level)
			if err := config.Check(); err != nil {
				return usagef("%w", err)
			}
			sim, err := dpssim.Start(c.Context(), *config)
			if err != nil {
				return err
			}
			for _, f := range faults {
				sim.Inject(f)
			}
			if err := a.announceSimAzure(sim); err != nil {
				return errors.Join(err, sim.Close())
			}
			<-c.Context().Done()
			return sim.Close()
		})
	f := c.Flags()
	f.StringVar(&config.StateDir, "state", "", "`directory` for trust anchor, secrets and azure.json (default sim-azure in --dir)")
	f.BoolVar(&verbose, "verbose", false, "log every request")
	options.flags(f)
	return c
}

// simAzureOptions are the flags of sim azure that say what is simulated and how it
// behaves.
type simAzureOptions struct {
	config      dpssim.Config
	certificate string
	limits      bool
	faults      []string
}

func (o *simAzureOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.config.Listen, "listen", "127.0.0.1:0", "`address` of HTTPS, for every service")
	f.StringVar(&o.config.MQTT, "mqtt", "127.0.0.1:0", "`address` of MQTT over TLS, for devices")
	f.BoolVar(&o.config.AllowRemote, "allow-remote", false, "allow addresses that other machines reach")
	f.StringVar(&o.config.Service, "service", "mintmark-dps", "`name` of the DPS instance")
	f.StringVar(&o.config.IDScope, "id-scope", "", "`scope` that devices name (default made from the name of the service)")
	f.StringArrayVar(&o.config.Hubs, "hub", nil, "`host` of a linked hub, NAME.azure-devices.net; may be repeated (default mintmark-hub.azure-devices.net)")
	f.StringVar(&o.certificate, "client-certificate", "", "`file` with a certificate that the application may prove itself by, PEM, beside its secret")
	f.IntVar(&o.config.Assigning, "assigning", 1, "polls of a registration that are answered \"assigning\"; -1 for none")
	f.BoolVar(&o.limits, "limits", false, "throttle to the documented rates of a service")
	f.StringArrayVar(&o.faults, "fault", nil, "fault as `JSON`, as POST /_sim/faults takes it; may be repeated")
}

// parse fills the configuration and returns the faults.
func (o *simAzureOptions) parse() ([]dpssim.Fault, error) {
	if o.limits {
		o.config.Limits = &dpssim.Limits{}
	}
	if o.config.Assigning == 0 {
		return nil, usagef("--assigning 0 is not a number of polls; -1 answers none of them \"assigning\"")
	}
	if o.certificate != "" {
		list, err := readCertificates(o.certificate)
		if err != nil {
			return nil, err
		}
		o.config.ClientCertificate = list[0]
	}
	var faults []dpssim.Fault
	for _, text := range o.faults {
		f, err := dpssim.ParseFault([]byte(text))
		if err != nil {
			return nil, usagef("--fault %q: %v", text, err)
		}
		faults = append(faults, f)
	}
	return faults, nil
}

// announceSimAzure says where the simulator is, once it accepts connections.
func (a *app) announceSimAzure(sim *dpssim.Sim) error {
	dir := sim.Config().StateDir
	about, root := filepath.Join(dir, "azure.json"), filepath.Join(dir, "root.pem")
	if a.json {
		content, err := readFile(about, maxPEM)
		if err != nil {
			return err
		}
		return a.printJSON(struct {
			Root string          `json:"root_certificate"`
			Sim  json.RawMessage `json:"azure"`
		}{root, content})
	}
	_, err := fmt.Fprintf(a.out, "root certificate in %s\nnames and secrets in %s\nid scope %s\nMQTT listening on %s\nHTTPS listening on %s\n",
		root, about, sim.Config().IDScope, sim.MQTTAddr(), sim.Addr())
	return err
}
