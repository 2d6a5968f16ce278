package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mintmark/admin"
	"mintmark/dpsreg"
	"mintmark/internal/keystore"
	"mintmark/internal/reconcile"
)

// errLacksProofs: what could be done is done, and the rest waits for a person at the CA.
var errLacksProofs = errors.New("some proofs of possession are lacking")

type azurePushFlags struct {
	proofs, request string
	yes             bool
	identity        dpsreg.Identity
	connect         dpsreg.Connect
}

func newAzureBundlePush(a *app) *cobra.Command {
	var f azurePushFlags
	c := a.command("push BUNDLE [flags]", "Bring Azure to what a bundle says",
		`Push shows what is to be done, asks, and does it. BUNDLE is a file of azure
bundle export, or - for standard input. It needs neither a server nor a state
directory. DPS wants a proof that the key of each new CA is ours: for those that
are not in --proof a request is written, for azure bundle prove at the CA, and
groups that stand on such a CA wait. The exit status is 3 then.

Credentials are --tenant, --client and one of --secret-file and
--certificate-file, or else what the machine offers: environment, workload
identity, managed identity, az login. They may change certificates and
enrollment groups of the service, nothing else.

It may be run again at any time; a run that was cut off is continued. But
without --proof it asks for new codes, and proofs of the ones before are then
for nothing.`,
		`  mintmark azure bundle push bundle.json --request request.json
  mintmark azure bundle push bundle.json --proof proof.json --yes`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			data, err := a.readInput(args[0])
			if err != nil {
				return err
			}
			bundle, err := dpsreg.ParseBundle(data)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			push := dpsreg.Pushing{Identity: f.identity, Connect: f.connect, Secret: func(path string) ([]byte, error) {
				return keystore.SecretFile(path, maxPEM)
			}}
			if f.proofs != "" {
				if push.Proofs, err = a.readProofs(f.proofs, "azure bundle prove --out"); err != nil {
					return err
				}
			}
			return a.push(c, bundle, push, f)
		})
	f.bind(c.Flags())
	c.MarkFlagsMutuallyExclusive("secret-file", "certificate-file")
	c.MarkFlagsRequiredTogether("tenant", "client")
	return c
}

func (f *azurePushFlags) bind(flags *pflag.FlagSet) {
	flags.StringVar(&f.proofs, "proof", "", "`file` with proofs, of azure bundle prove")
	flags.StringVar(&f.request, "request", "", "`file` to write the request for proofs to (default standard output)")
	flags.BoolVar(&f.yes, "yes", false, "do not ask")
	flags.StringVar(&f.identity.TenantID, "tenant", "", "`id` of the Microsoft Entra tenant")
	flags.StringVar(&f.identity.ClientID, "client", "", "`id` of the application")
	flags.StringVar(&f.identity.SecretFile, "secret-file", "", "`file` with the application's client secret")
	flags.StringVar(&f.identity.CertificateFile, "certificate-file", "", "`file` with the application's certificate and key, PEM")
	flags.StringVar(&f.connect.Address, "connect", "", "`host:port` to connect to in the place of Azure, as for mintmark sim azure")
	flags.StringVar(&f.connect.Trust, "trust", "", "`file` with the root certificates to trust there, PEM")
}

// push carries out a bundle, after it was agreed to.
func (a *app) push(c *cobra.Command, bundle dpsreg.Bundle, push dpsreg.Pushing, f azurePushFlags) error {
	ctx, name := c.Context(), bundle.Target.Name
	if age := time.Since(bundle.At); age > 24*time.Hour {
		a.say("the bundle is of %s: what has certificates in force since then it does not know", date(bundle.At))
	}
	var plan reconcile.Plan
	err := azureDPS.asking(ctx, a, name, func() (err error) {
		plan, err = dpsreg.PlanPush(ctx, bundle, push)
		return err
	})
	if err != nil {
		return err
	}
	shown := plan
	shown.Changes = slices.DeleteFunc(slices.Clone(plan.Changes), func(c reconcile.Change) bool { return c.Action == reconcile.None })
	if err := shown.Render(a.err); err != nil {
		return err
	}
	if err := plan.Refusals("DPS target"); err != nil {
		return err
	}
	if plan.Pending() > 0 && !f.yes {
		if err := a.confirm(fmt.Sprintf("Apply %s to %s?", plural(plan.Pending(), "change"), name), "--yes"); err != nil {
			return err
		}
	}
	var done reconcile.Plan
	var lacking dpsreg.ProofRequest
	err = azureDPS.asking(ctx, a, name, func() (err error) {
		done, lacking, err = dpsreg.Push(ctx, bundle, push, reconcile.Agreed{Hash: plan.Hash(), Destructive: true}, func(c reconcile.Change) {
			switch c.Action {
			case reconcile.None:
			case reconcile.Refuse:
				a.say("%s %s: %s", c.Kind, printable(c.Subject), printable(c.After))
			default:
				a.say("%s %s: %s", c.Kind, printable(c.Subject), c.Action)
			}
		})
		return err
	})
	if err != nil {
		return err
	}
	return a.pushed(name, done, lacking, f)
}

// pushed says what became of a push, and hands out the request.
func (a *app) pushed(name string, done reconcile.Plan, lacking dpsreg.ProofRequest, f azurePushFlags) error {
	request, err := json.Marshal(lacking)
	if err != nil {
		return err
	}
	if a.json {
		changes := []admin.Change{}
		for _, c := range done.Changes {
			changes = append(changes, admin.Change{Kind: c.Kind, Subject: c.Subject, Action: string(c.Action), Before: c.Before, After: c.After, Destructive: c.Destructive})
		}
		err = a.printJSON(struct {
			Target  string              `json:"target"`
			Changes []admin.Change      `json:"changes"`
			Request dpsreg.ProofRequest `json:"request"`
		}{name, changes, lacking})
	}
	if len(lacking.Proofs) > 0 && (f.request != "" || !a.json) {
		err = errors.Join(err, a.writeJSON(f.request, request))
	}
	waiting := len(done.Refused())
	switch {
	case err != nil:
		return err
	case len(lacking.Proofs) > 0:
		return fmt.Errorf("target %s: %d done, %d wait: %w: have them made at the CA (azure bundle prove), and push again with --proof", name, done.Pending(), waiting, errLacksProofs)
	case waiting > 0:
		return fmt.Errorf("target %s: %d done, %d could not be made, for the reasons above", name, done.Pending(), waiting)
	}
	a.say("target %s: %d changed, as it should be now", name, done.Pending())
	return nil
}
