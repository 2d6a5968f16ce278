package main

import "github.com/spf13/cobra"

func newAzurePlan(a *app) *cobra.Command {
	return planCommand(a, azureDPS,
		"Plan reads Azure and prints what is different from what it should be. It changes\nnothing. The hash names exactly these changes.",
		"  mintmark azure plan --target plant --dir ./factory")
}

func newAzureApply(a *app) *cobra.Command {
	return applyCommand(a, azureDPS,
		`Apply shows the plan, asks, and carries it out: it uploads CAs, proves that
their keys are here, and makes enrollment groups. It may be run again at any
time: what is as it should be is left alone, and a run that was cut off is
continued. With --hash it does exactly the plan that was read, or nothing.

A target that fails does not keep the others waiting: a table at the end says
how each went, and the exit status is 1 if one failed. A destructive plan takes
a CA, a group or an anchor out of service, or enables a group that is disabled
at DPS. It needs two persons: it is proposed, and approval run carries it out
(exit status 3).`,
		`  mintmark azure apply --target plant --dir ./factory
  mintmark azure apply --yes --dir ./factory`)
}
