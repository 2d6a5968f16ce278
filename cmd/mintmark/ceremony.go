package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"mintmark/ca/ceremony"
	"mintmark/internal/server"
)

func newCeremony(a *app) *cobra.Command {
	c := a.group("ceremony", "Hold key ceremonies on a machine without a network",
		`Ceremony does what the keys of a root are for: it makes a root, certifies an
issuing CA, cross-certifies another root, signs a CRL, destroys a key. One file
that was reviewed before says what is done; those present type its hash and
sign. It works without a state directory and without a server. docs/ceremony.md
has the whole story.`,
		`  mintmark ceremony example root
  mintmark ceremony check root.yaml
  mintmark ceremony run root.yaml --keys ./keys --out ./root-2026 \
    --officer alice=/media/alice/alice.key --officer bob=/media/bob/bob.key
  mintmark ceremony verify ./root-2026 --hash HEX --officer alice=alice.pub --officer bob=bob.pub`)
	c.AddCommand(newCeremonyExample(a), newCeremonyCheck(a), newCeremonyRun(a), newCeremonyVerify(a))
	return c
}

// readCeremony parses a ceremony file and says where its inputs are: beside it.
func readCeremony(name string) (*ceremony.File, string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, "", err
	}
	if !info.Mode().IsRegular() {
		return nil, "", fmt.Errorf("%s is not a regular file", name)
	}
	content, err := readFile(name, maxPEM)
	if err != nil {
		return nil, "", err
	}
	f, err := ceremony.Parse(content)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", name, err)
	}
	return f, filepath.Dir(name), nil
}

func newCeremonyCheck(a *app) *cobra.Command {
	c := a.command("check FILE", "Say what a ceremony will do, and do nothing",
		`Check reads a ceremony file and every input that it names, builds and lints what
would be signed, and says step by step what will be done, with the hash of the
file. It makes nothing, opens no key and needs nobody present. An input whose
sha256 is left empty is refused with the hash that it has. FILE is beside its
inputs.`,
		"  mintmark ceremony check root.yaml\n  mintmark ceremony check root.yaml --json", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			plan, err := a.dryRun(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printPlan(plan)
		})
	c.ValidArgsFunction = nil // files
	return c
}

// dryRun prepares a ceremony that is not held.
func (a *app) dryRun(ctx context.Context, name string) (*ceremony.Plan, error) {
	f, inputs, err := readCeremony(name)
	if err != nil {
		return nil, err
	}
	return ceremony.Prepare(ctx, f, ceremony.Config{Inputs: inputs, Version: server.Version})
}

// printPlan shows what will be done.
func (a *app) printPlan(plan *ceremony.Plan) error {
	if a.json {
		steps := make([]ceremonyStep, 0, len(plan.File.Steps))
		for i := range plan.File.Steps {
			steps = append(steps, ceremonyStep{plan.File.Steps[i].Name, plan.File.Steps[i].Kind()})
		}
		return a.printJSON(struct {
			Name     string          `json:"name"`
			SHA256   string          `json:"sha256"`
			Steps    []ceremonyStep  `json:"steps"`
			Inputs   []ceremony.Item `json:"inputs"`
			Networks []string        `json:"networks"`
			Warnings []string        `json:"warnings"`
		}{plan.File.Name, plan.File.Hash(), steps, list(plan.Inputs), list(plan.Networks), list(plan.Warnings)})
	}
	_, err := fmt.Fprint(a.out, plan.Words())
	return err
}

type ceremonyStep struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
}

// list is never null in JSON.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
