package server

import (
	"fmt"
	"time"

	"mintmark/internal/config"
)

// awsRisks says in words what the AWS targets of a configuration allow that its
// operator may not have meant.
func awsRisks(c *config.Config) []string {
	var list []string
	if len(c.AWS.Targets) > 0 && c.AWS.Reconcile == 0 {
		list = append(list, "aws.reconcile is 0: nobody notices a certificate at AWS that was never issued here, or one that was changed there")
	}
	for _, t := range c.AWS.Targets {
		risk := func(format string, args ...any) {
			list = append(list, fmt.Sprintf("AWS target %q: ", t.Name)+fmt.Sprintf(format, args...))
		}
		for _, a := range t.CAs {
			if a.Sweep == "revoke" {
				risk("the sweep of CA %q revokes every device certificate under it, which AWS never takes back: deactivate can be undone", a.Issuer)
			}
		}
		for _, f := range t.Fleets {
			if f.AWSKeys {
				risk("fleet %q has AWS make private keys, which then exist where the device is not: leave aws_keys out if the devices can make their own", f.Template)
			}
		}
		if p := t.Provider; p != nil {
			risk("the certificate provider answers every CreateCertificateFromCsr of account %s in %s, by whomever, and without its function nobody gets a certificate there", t.AccountID, t.Region)
		}
		if r := t.Rotation; r != nil && r.Period > 0 && r.Period < 24*time.Hour {
			risk("devices are told to rotate after %s: that is for rehearsals", config.DurationText(r.Period))
		}
		if c.Orders.Issuer == "" && len(t.Fleets) > 0 {
			risk("without orders.issuer the claim certificates of its fleets are AWS's own (mintmark aws claim create --aws-issued), and end in 2049, not with their order")
		}
	}
	return list
}
