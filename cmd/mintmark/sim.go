package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"mintmark/awsreg/awssim"
)

func newSim(a *app) *cobra.Command {
	c := a.group("sim", "Rehearse without a cloud account",
		`Sim runs a stand-in for a cloud on this machine, which refuses what the cloud
refuses.`,
		"  mintmark sim aws --state ./sim\n  mintmark sim azure --state ./sim")
	c.AddCommand(newSimAWS(a), newSimAzure(a))
	return c
}

func newSimAWS(a *app) *cobra.Command {
	var options simOptions
	config := &options.config
	var credentials, account string
	var verbose bool
	c := a.command("aws [flags]", "Run a stand-in for AWS IoT Core",
		`Aws runs a control plane for aws CLI and SDKs (set AWS_ENDPOINT_URL) and a
broker for devices, until it is interrupted. It refuses what AWS is documented
to refuse. What it holds is gone when it ends, but for the buckets; its trust
anchor and credentials are in the directory of --state.

The credentials file is that of the aws CLI, with the account in it:

  [default]
  aws_account_id = 123456789012
  aws_access_key_id = AKIA...
  aws_secret_access_key = ...

The control plane also answers, without a signature and to this machine only:
/_sim/state (all that is registered, to compare two runs), /_sim/faults (errors,
slowness and cut connections at will) and /_sim/events (what happened, and why a
device was refused).`,
		`  mintmark sim aws --state ./sim --listen-control 127.0.0.1:4566 --listen-broker 127.0.0.1:8883
  mintmark sim aws --state ./sim --function hook=./bootstrap --function jitr=./bootstrap --function-env MINTMARK_TABLE=mintmark --function-env hook/_HANDLER=provision --function-env jitr/_HANDLER=jitr
  mintmark sim aws --state ./sim --quotas --quota-scale 10 --fault '{"every":5,"afterEffect":true,"code":"InternalFailureException","status":500}'`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			if config.StateDir == "" {
				config.StateDir = filepath.Join(a.dir, "sim-aws")
			}
			faults, err := options.parse()
			if err != nil {
				return err
			}
			if err := os.MkdirAll(config.StateDir, 0o700); err != nil {
				return err
			}
			if credentials == "" {
				credentials = filepath.Join(config.StateDir, "credentials")
				if err := ensureCredentials(credentials, account); err != nil {
					return err
				}
			}
			if config.Accounts, err = readAccounts(credentials); err != nil {
				return err
			}
			level := slog.LevelWarn
			if verbose {
				level = slog.LevelInfo
			}
			config.Logger = a.logger(level)
			sim, err := awssim.Start(c.Context(), *config)
			if err != nil {
				return err
			}
			for _, f := range faults {
				sim.Inject(f)
			}
			if err := a.announceSim(sim, filepath.Join(config.StateDir, "amazon-root.pem"), credentials); err != nil {
				return errors.Join(err, sim.Close())
			}
			<-c.Context().Done()
			return sim.Close()
		})
	f := c.Flags()
	f.StringVar(&config.Control, "listen-control", "127.0.0.1:0", "`address` of the control plane")
	f.StringVar(&config.Broker, "listen-broker", "127.0.0.1:0", "`address` of the broker")
	config.Localhost = true
	f.BoolVar(&config.AllowRemote, "allow-remote", false, "allow addresses that other machines reach")
	f.StringVar(&config.Region, "region", "eu-central-1", "`region` of the broker")
	f.StringVar(&credentials, "credentials", "", "`file` with the accounts (default one that is made in --state)")
	f.StringVar(&account, "account", "123456789012", "`id` of the account in a credentials file that is made")
	f.StringVar(&config.StateDir, "state", "", "`directory` for trust anchor, credentials and buckets (default sim-aws in --dir)")
	f.BoolVar(&verbose, "verbose", false, "log every request")
	options.flags(f)
	c.MarkFlagsMutuallyExclusive("credentials", "account")
	return c
}

// announceSim says where the simulator is, once it accepts connections.
func (a *app) announceSim(sim *awssim.Sim, root, credentials string) error {
	if a.json {
		return a.printJSON(struct {
			ControlPlane    string `json:"control_plane"`
			Broker          string `json:"broker"`
			RootCertificate string `json:"root_certificate"`
			Credentials     string `json:"credentials"`
		}{sim.ControlURL(), sim.BrokerAddr(), root, credentials})
	}
	_, err := fmt.Fprintf(a.out, "root certificate in %s\ncredentials in %s\nbroker listening on %s\ncontrol plane listening on %s\n",
		root, credentials, sim.BrokerAddr(), sim.ControlURL())
	return err
}
