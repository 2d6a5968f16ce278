package main

import "github.com/spf13/cobra"

func newAWSPlan(a *app) *cobra.Command {
	return planCommand(a, awsIoT,
		"Plan reads AWS and prints what is different from what it should be. It changes\nnothing. The hash names exactly these changes.",
		"  mintmark aws plan --target line-a --dir ./factory")
}

func newAWSApply(a *app) *cobra.Command {
	return applyCommand(a, awsIoT,
		`Apply shows the plan, asks, and carries it out. It may be run again at any
time: what is as it should be is left alone, and a run that was cut off is
continued. With --hash it does exactly the plan that was read, or nothing.

A target that fails does not keep the others waiting: a table at the end says
how each went, and the exit status is 1 if one failed. A plan that takes a CA
out of service needs two persons: it is proposed, and approval run carries it
out (exit status 3).`,
		`  mintmark aws apply --target line-a --dir ./factory
  mintmark aws apply --yes --dir ./factory`)
}
