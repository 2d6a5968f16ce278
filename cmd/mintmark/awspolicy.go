package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newAWSPolicy(a *app) *cobra.Command {
	var target string
	c := a.command("iam-policy [flags]", "Print the IAM policy that the server needs",
		`Iam-policy prints what the server's AWS credentials must be allowed for one
target: what plan, apply, status and the deliveries call, and nothing else. It
makes no call.`,
		"  mintmark aws iam-policy --target line-a --dir ./factory", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				names, err := awsIoT.chooseNames(c.Context(), client, target)
				if err != nil {
					return err
				}
				if len(names) != 1 {
					return errors.New("there are several targets: choose one with --target")
				}
				answer, err := client.AWSIAMPolicy(c.Context(), names[0])
				if err != nil {
					return err
				}
				var indented bytes.Buffer
				if err := json.Indent(&indented, answer.Policy, "", "  "); err != nil {
					return err
				}
				_, err = fmt.Fprintln(a.out, indented.String())
				return err
			})
		})
	c.Flags().StringVar(&target, "target", "", "this `target`; not needed if there is only one")
	return c
}
