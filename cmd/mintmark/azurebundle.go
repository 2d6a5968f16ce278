package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/dpsreg"
)

func newAzureBundle(a *app) *cobra.Command {
	c := a.group("bundle", "Bring a CA to Azure that has no network: export, push, prove",
		`Bundle is azure apply for a CA whose machine reaches no network. Three files are
carried, none of which holds a key:

  export   at the CA: the bundle, what the target should be
  push     on a machine with the network: does what can be done, and writes a
           request for the proofs of possession that DPS wants
  prove    at the CA: signs the codes of the request
  push     again, with the proofs`,
		`  mintmark azure bundle export plant --out bundle.json --dir ./factory
  mintmark azure bundle push bundle.json --request request.json
  mintmark azure bundle prove plant request.json --out proof.json --dir ./factory
  mintmark azure bundle push bundle.json --proof proof.json`)
	c.AddCommand(newAzureBundleExport(a), newAzureBundlePush(a), newAzureBundleProve(a))
	return c
}

func newAzureBundleExport(a *app) *cobra.Command {
	var out string
	c := a.command("export TARGET [flags]", "Write the bundle of a target",
		`Export writes what a target should be and the certificates of all CAs, for azure
bundle push. It holds no key and no credentials; the URL of an allocation
function is in it, which may hold that function's own key. It says which CAs
have certificates in force now: push it soon, or export it again.`,
		"  mintmark azure bundle export plant --out bundle.json --dir ./factory", cobra.ExactArgs(1),
		func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				name, err := azureDPS.chooseOne(c.Context(), client, args[0])
				if err != nil {
					return err
				}
				bundle, err := client.AzureBundle(c.Context(), name)
				if err != nil {
					return err
				}
				if _, err := dpsreg.ParseBundle(bundle); err != nil {
					return err
				}
				return a.writeJSON(out, bundle)
			})
		})
	c.Flags().StringVarP(&out, "out", "o", "", "`file` to write (default standard output)")
	return c
}

func newAzureBundleProve(a *app) *cobra.Command {
	var out string
	c := a.command("prove TARGET REQUEST [flags]", "Sign the proofs of possession that a request asks for",
		`Prove has the keys of CAs sign the verification codes in REQUEST, a file that
azure bundle push has written, or - for standard input. Each proof is good for
two days, and only until another push asks for a code. It signs for CAs that are
in the request with exactly their own certificate, and nothing that is not such
a code.`,
		"  mintmark azure bundle prove plant request.json --out proof.json --dir ./factory", cobra.ExactArgs(2),
		func(c *cobra.Command, args []string) error {
			request, err := a.readProofs(args[1], "azure bundle push --request")
			if err != nil {
				return err
			}
			if request.Target != args[0] {
				return fmt.Errorf("%s is for target %q, and not for %q", args[1], request.Target, args[0])
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				in := admin.AzureProofs{Version: request.Version, Target: request.Target, Proofs: []admin.AzureProof{}}
				for _, p := range request.Proofs {
					in.Proofs = append(in.Proofs, admin.AzureProof(p))
				}
				proofs, err := client.AzureProve(c.Context(), request.Target, in)
				if err != nil {
					return err
				}
				data, err := json.Marshal(proofs)
				if err != nil {
					return err
				}
				if err := a.writeJSON(out, data); err != nil {
					return err
				}
				if until := proofsUntil(proofs); !until.IsZero() {
					a.say("%s for target %s, good until %s: push before", plural(len(proofs.Proofs), "proof"), request.Target, until.UTC().Format("2006-01-02 15:04:05 UTC"))
				}
				return nil
			})
		})
	c.Flags().StringVarP(&out, "out", "o", "", "`file` to write (default standard output)")
	return c
}

// proofsUntil is when the first proof expires; zero if there is none.
func proofsUntil(proofs admin.AzureProofs) time.Time {
	var first time.Time
	for _, p := range proofs.Proofs {
		block, _ := pem.Decode([]byte(p.Certificate))
		if block == nil {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err == nil && (first.IsZero() || c.NotAfter.Before(first)) {
			first = c.NotAfter
		}
	}
	return first
}

// readProofs reads a request for proofs, or proofs, which the command by writes; - is
// standard input.
func (a *app) readProofs(name, by string) (dpsreg.ProofRequest, error) {
	data, err := a.readInput(name)
	if err != nil {
		return dpsreg.ProofRequest{}, err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return dpsreg.ProofRequest{}, fmt.Errorf("%s is empty: it should be what %s writes", name, by)
	}
	if _, err := dpsreg.ParseBundle(data); err == nil {
		return dpsreg.ProofRequest{}, fmt.Errorf("%s is a bundle, and should be what %s writes", name, by)
	}
	proofs, err := dpsreg.ParseProofs(data)
	if err != nil {
		return dpsreg.ProofRequest{}, fmt.Errorf("%s: %w", name, err)
	}
	return proofs, nil
}

// readInput reads a file that is carried between machines, of which a bundle is the
// largest; - is standard input.
func (a *app) readInput(name string) ([]byte, error) {
	if name != "-" {
		return readFile(name, dpsreg.MaxBundle)
	}
	data, err := io.ReadAll(io.LimitReader(a.in, dpsreg.MaxBundle+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading standard input: %w", err)
	case len(data) > dpsreg.MaxBundle:
		return nil, fmt.Errorf("standard input is larger than %d bytes", dpsreg.MaxBundle)
	}
	return data, nil
}

// writeJSON writes a file that people may want to read.
func (a *app) writeJSON(name string, data []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	return a.writeOut(name, b.Bytes())
}
