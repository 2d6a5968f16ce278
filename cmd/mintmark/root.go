package main

import (
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// defaultDir is the state directory unless --dir or MINTMARK_DIR names another.
const defaultDir = "/var/lib/mintmark"

// app is what all commands share.
type app struct {
	in       io.Reader
	out, err io.Writer

	dir     string // state directory
	remote  remote // server elsewhere, in place of dir
	local   bool   // open the state directory although the ledger is elsewhere
	json    bool
	started bool // an action runs: what fails now is not the command line
}

func newRoot(a *app) *cobra.Command {
	root := a.group("mintmark", "A private CA server for factories", `Mintmark keeps a CA hierarchy, enrolls devices (EST, RFC 7030), and keeps
AWS IoT Core and Azure DPS in step with both.

Commands speak to the server that runs on the state directory; if none runs,
they open the state directory themselves for as long as they need it. With
--server, or MINTMARK_SERVER, they speak to one elsewhere, with the certificate
of a principal (mintmark officer enroll). A --dir on the command line counts
more than MINTMARK_SERVER.`, `  mintmark init --dir ./factory --organization "Example Works" --name localhost
  mintmark serve --dir ./factory
  mintmark cert list --dir ./factory --state valid`)
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.SetUsageFunc(usage)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	dir := defaultDir
	if env := os.Getenv("MINTMARK_DIR"); env != "" {
		dir = env
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.dir, "dir", dir, "state `directory` (environment: MINTMARK_DIR)")
	a.remote.bind(flags)
	flags.BoolVar(&a.local, "local", false, "open the state directory if no server runs on it, although the ledger is in PostgreSQL")
	flags.BoolVar(&a.json, "json", false, "print JSON on standard output")
	version := root.Flags().Bool("version", false, "print the version")
	without := root.RunE
	root.RunE = func(c *cobra.Command, args []string) error {
		if *version && len(args) == 0 {
			return a.printVersion()
		}
		return without(c, args)
	}
	root.AddCommand(
		newInit(a), newServe(a), newConfig(a), newCA(a), newRotate(a), newIssue(a), newBatch(a), newCert(a), newDevice(a),
		newEnroll(a), newOrder(a), newRefusal(a), newRenewals(a), newOfficer(a), newApproval(a), newAudit(a), newHSM(a), newKeys(a), newCeremony(a),
		newAWS(a), newAzure(a), newEST(a), newStation(a), newSim(a), newBench(a), newStatus(a), newVersion(a),
	)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	describeDefaults(root)
	return root
}

// describeDefaults gives the commands that cobra brings what ours have.
func describeDefaults(root *cobra.Command) {
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Example = "  mintmark help ca create"
		case "completion":
			c.Short = "Print a shell's completion script"
			c.Example = "  source <(mintmark completion bash)"
			for _, shell := range c.Commands() {
				shell.Example = "  mintmark completion " + shell.Name()
			}
		}
	}
}

// group is a command that only holds others.
func (a *app) group(use, short, long, example string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			var names []string
			for _, sub := range c.Commands() {
				if sub.IsAvailableCommand() {
					names = append(names, sub.Name())
				}
			}
			if len(args) == 0 {
				return usagef("%s needs one of its commands: %s", c.CommandPath(), strings.Join(names, ", "))
			}
			return usagef("unknown command %q: %s has %s", args[0], c.CommandPath(), strings.Join(names, ", "))
		},
	}
}

// action is what a command does once its command line has been read.
type action func(c *cobra.Command, args []string) error

// command is a command that does something.
func (a *app) command(use, short, long, example string, args cobra.PositionalArgs, fn action) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Example: example, Args: args,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			a.started = true
			// Who names a directory means it, whatever the environment says.
			if c.Flags().Changed("dir") && !c.Flags().Changed("server") {
				a.remote.server = ""
			}
			return fn(c, args)
		},
	}
}

// require marks flags without which a command cannot start.
func require(c *cobra.Command, flags ...string) {
	for _, name := range flags {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // a misspelt flag: every test of the command fails
		}
	}
}
