package main

import (
	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newAzure(a *app) *cobra.Command {
	c := a.group("azure", "Keep Azure DPS in step with the CA",
		`Azure compares the Device Provisioning Services of mintmark.yaml with what they
should be, and brings them there: CAs with their proof of possession, and
enrollment groups. What single devices have there the server keeps by itself.`,
		"  mintmark azure plan --dir ./factory\n  mintmark azure apply --target plant --dir ./factory")
	c.AddCommand(newAzurePlan(a), newAzureApply(a), newAzureStatus(a), newAzureDrift(a), newAzureDoctor(a), newAzureEdgeConfig(a), newAzureBundle(a))
	return c
}

// azureDPS is the Device Provisioning Service, for the commands that every cloud has.
var azureDPS = cloud[admin.AzurePlace]{
	name: "Azure", kind: "DPS target", columns: []string{"RESOURCE GROUP", "SERVICE"},
	places: (*admin.Client).AzurePlaces, plan: (*admin.Client).AzurePlan, apply: (*admin.Client).AzureApply,
	outcome: func(p admin.AzurePlace) outcome {
		return outcome{Target: p.Target, ResourceGroup: p.ResourceGroup, Service: p.Service, where: []string{p.ResourceGroup, p.Service}}
	},
}
