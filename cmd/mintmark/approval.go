package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/internal/access"
)

func newApproval(a *app) *cobra.Command {
	c := a.group("approval", "Agree on what needs two people: show, sign, reject, carry out",
		`Approval works on what was proposed and needs the signature of a second officer,
made with a key of their own. docs/roles.md says which operations need one.`,
		"  mintmark approval list --dir ./factory\n  mintmark approval sign k3f7q2xw4m --key bob.key --dir ./factory")
	c.AddCommand(newApprovalList(a), newApprovalShow(a), newApprovalSign(a), newApprovalReject(a), newApprovalRun(a))
	return c
}

func newApprovalList(a *app) *cobra.Command {
	var state string
	c := a.command("list [flags]", "List what was proposed, the newest first",
		`List shows what waits for a second officer, what was approved, and what became
of it.`,
		"  mintmark approval list --state pending --dir ./factory", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				list, err := client.Approvals(c.Context(), state)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(admin.Approvals{Approvals: list})
				}
				t := newTable(a.out, "ID", "STATE", "PROPOSED BY", "DECIDED BY", "EXPIRES", "WHAT")
				for _, one := range list {
					t.row(one.ID, one.State, one.Proposer, one.DecidedBy, date(one.ExpiresAt), one.Words)
				}
				return t.flush()
			})
		})
	c.Flags().StringVar(&state, "state", "", "only in this `state`: pending, approved, rejected, running, done or expired")
	return c
}

func newApprovalShow(a *app) *cobra.Command {
	var statement bool
	var out string
	c := a.command("show ID [flags]", "Show one proposal, or write the bytes to sign",
		`Show prints what will be done, who proposed it and what has become of it. With
--statement it writes exactly the bytes that are signed, for a key that another
program holds, as in openssl dgst -sha256 -sign bob.key statement.txt.`,
		`  mintmark approval show k3f7q2xw4m --dir ./factory
  mintmark approval show k3f7q2xw4m --statement --out statement.txt --dir ./factory`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				one, err := client.Approval(c.Context(), args[0])
				switch {
				case err != nil:
					return noProposal(args[0], err)
				case statement:
					return a.writeOut(out, []byte(one.Statement))
				case a.json:
					return a.printJSON(one)
				}
				return a.printApproval(one)
			})
		})
	c.Flags().BoolVar(&statement, "statement", false, "write the bytes to sign, and nothing else")
	c.Flags().StringVar(&out, "out", "", "`file` for the statement (default standard output)")
	return c
}

func newApprovalSign(a *app) *cobra.Command {
	var key, file string
	var yes bool
	c := a.command("sign ID (--key KEY | --signature FILE) [flags]", "Approve what another has proposed",
		`Sign shows the statement, signs it on this machine and sends the signature. The
key is your own and never leaves: a file, or a pkcs11: URI. With --signature the
signature was made elsewhere, over what approval show --statement has written.`,
		`  mintmark approval sign k3f7q2xw4m --key bob.key --dir ./factory
  mintmark approval sign k3f7q2xw4m --signature statement.sig --yes --dir ./factory`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				one, err := client.Approval(c.Context(), args[0])
				if err != nil {
					return noProposal(args[0], err)
				}
				if !access.StatementOf(one.Statement, args[0]) {
					return fmt.Errorf("what the server wants signed is not the statement of proposal %s: nothing was signed", args[0])
				}
				for _, line := range strings.Split(strings.TrimRight(one.Statement, "\n"), "\n") {
					a.say("  %s", printable(line))
				}
				if !yes {
					if err := a.confirm("You approve that this is done.", "--yes"); err != nil {
						return err
					}
				}
				var signature []byte
				if file != "" {
					signature, err = readFile(file, maxPEM)
				} else {
					signature, err = a.signStatement(c, key, []byte(one.Statement))
				}
				if err != nil {
					return err
				}
				if one, err = client.Approve(c.Context(), args[0], signature); err != nil {
					return err
				}
				return a.reportApproval(one, "approved")
			})
		})
	c.Flags().StringVar(&key, "key", "", "`file` with your private key, or a pkcs11: URI")
	c.Flags().StringVar(&file, "signature", "", "`file` with the signature over the statement, as openssl writes it")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.MarkFlagsMutuallyExclusive("key", "signature")
	c.MarkFlagsOneRequired("key", "signature")
	return c
}

func (a *app) signStatement(c *cobra.Command, key string, statement []byte) ([]byte, error) {
	signer, done, err := a.openSigner(c.Context(), key)
	if err != nil {
		return nil, err
	}
	signature, err := access.Sign(signer, statement)
	return signature, errors.Join(err, done())
}

func newApprovalReject(a *app) *cobra.Command {
	return a.command("reject ID", "End a proposal",
		"Reject ends what was proposed, approved or not, before it is carried out.",
		"  mintmark approval reject k3f7q2xw4m --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				one, err := client.Reject(c.Context(), args[0])
				if err != nil {
					return noProposal(args[0], err)
				}
				return a.reportApproval(one, "rejected")
			})
		})
}

func newApprovalRun(a *app) *cobra.Command {
	var out string
	c := a.command("run ID [flags]", "Carry out what was approved",
		`Run does what was proposed, exactly as it was signed, once, and prints what the
command that proposed it would have printed. A certification request, or a
certificate with its chain, is written in PEM, to --out if that is given.`,
		"  mintmark approval run k3f7q2xw4m --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				done, err := client.RunApproval(c.Context(), args[0])
				if err != nil {
					return noProposal(args[0], err)
				}
				if a.json {
					return a.printJSON(done)
				}
				a.say("done: %s", printable(done.Approval.Words))
				return a.printAnswer(done, out)
			})
		})
	c.Flags().StringVar(&out, "out", "", "`file` for a certification request or a certificate (default standard output)")
	return c
}

// printAnswer shows what an operation answered as its own command would.
func (a *app) printAnswer(done admin.ApprovalRun, out string) error {
	var answer struct {
		CSR     string   `json:"csr"`
		Warning string   `json:"warning"`
		Serials []string `json:"serials"`
		Revoked []string `json:"revoked"` // by a kill
	}
	if json.Unmarshal(done.Answer, &answer) == nil && answer.Warning != "" {
		a.say("warning: %s", answer.Warning)
	}
	if answer.CSR != "" {
		return a.writeOut(out, []byte(answer.CSR))
	}
	for _, serial := range append(answer.Serials, answer.Revoked...) {
		if _, err := fmt.Fprintf(a.out, "revoked %s\n", printable(serial)); err != nil {
			return err
		}
	}
	switch access.Operation(done.Approval.Operation) {
	case access.AuthorityCreate:
		return show(done.Answer, a.printAuthority)
	case access.PrincipalChange:
		return show(done.Answer, a.showPrincipal)
	case access.AuthorityRollover:
		return show(done.Answer, a.printRollover)
	case access.RAIssue:
		return show(done.Answer, func(issued admin.Issued) error { return a.printIssued(issued, out) })
	case access.OrderRaise:
		return show(done.Answer, a.printOrder)
	}
	return nil
}

// show prints what an answer holds, if there is one.
func show[T any](answer json.RawMessage, print func(T) error) error {
	if len(answer) == 0 {
		return nil
	}
	var one T
	if err := json.Unmarshal(answer, &one); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return print(one)
}

// noProposal says what is not in the ledger.
func noProposal(id string, err error) error {
	if admin.IsNotFound(err) {
		return fmt.Errorf("there is no proposal %q, mintmark approval list shows them: %w", id, err)
	}
	return err
}

// reportApproval says what became of a proposal.
func (a *app) reportApproval(one admin.Approval, what string) error {
	if a.json {
		return a.printJSON(one)
	}
	a.say("%s: %s", what, printable(one.Words))
	if one.Next != "" {
		a.say("next: %s", one.Next)
	}
	return nil
}

// printApproval shows one proposal.
func (a *app) printApproval(one admin.Approval) error {
	t := newTable(a.out)
	t.field("id", one.ID)
	t.field("state", one.State)
	t.field("operation", one.Operation)
	t.field("what", one.Words)
	t.field("proposed", date(one.ProposedAt)+" by "+one.Proposer)
	t.field("expires", date(one.ExpiresAt))
	if one.DecidedBy != "" {
		t.field("decided", dateOf(one.DecidedAt)+" by "+one.DecidedBy)
	}
	if one.RunBy != "" {
		t.field("carried out", dateOf(one.RunAt)+" by "+one.RunBy)
	}
	t.field("failed", one.Outcome)
	t.field("request", string(one.Plan))
	if err := t.flush(); err != nil {
		return err
	}
	if one.Next != "" {
		a.say("%s", one.Next)
	}
	return nil
}
