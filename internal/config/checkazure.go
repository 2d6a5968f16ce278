package config

import (
	"fmt"
	"slices"
	"strings"
)

// checkAzure finds what is wrong with the targets in view of the rest of the file. What
// a target is on its own dpsreg checks, for bundles too.
func (c *Config) checkAzure(bad report) {
	if d := c.Azure.Reconcile; d != 0 && (d < minReconcile || d > maxReconcile) {
		bad("azure.reconcile", "%s is neither 0 (never) nor between %s and %s", DurationText(d), DurationText(minReconcile), DurationText(maxReconcile))
	}
	for i, t := range c.Azure.Targets {
		t.check(c, func(key, format string, args ...any) {
			bad(fmt.Sprintf("azure.targets[%d]%s", i, key), format, args...)
		})
	}
}

// check finds what is wrong with one target; keys begin with a dot.
func (t AzureTarget) check(c *Config, bad report) {
	for i, a := range t.CAs {
		if a.State != azureDeleted {
			checkStranger(c, a.Authority, fmt.Sprintf(".cas[%d].authority", i), bad)
		}
	}
	for i, g := range t.Groups {
		key := fmt.Sprintf(".groups[%d]", i)
		for j, anchor := range g.Anchors {
			if g.State != azureDeleted {
				checkStranger(c, anchor, fmt.Sprintf("%s.anchors[%d]", key, j), bad)
			}
		}
		for j, l := range g.Labels {
			where := fmt.Sprintf("%s.labels[%d]", key, j)
			checkLabelName(c, l, where, bad)
			if len(g.Anchors) == 0 { // the group stands on the root of that issuing CA
				checkStranger(c, c.issuerOf(l), where, bad)
			}
		}
		checkOrderIDs(g.Orders, key, bad)
	}
	for i, e := range t.Enrollments {
		e.check(c, func(key, format string, args ...any) { bad(fmt.Sprintf(".enrollments[%d]%s", i, key), format, args...) })
	}
}

// azureDeleted is the state of what is to be there no more.
const azureDeleted = "deleted"

// checkStranger refuses an authority whose certificates would let in others than
// devices. What stands below one that is named, only the server can tell.
func checkStranger(c *Config, authority, key string, bad report) {
	if authority == "" {
		return
	}
	for i, l := range c.Labels {
		if l.Gateway != "" && l.Issuer == authority {
			bad(key, "%q issues CA certificates of gateways (%s.gateway): a gateway signs what it likes, and what it signs would be let in here: give the gateways an issuing CA of their own", authority, at(i, l))
		}
	}
	for _, own := range []struct{ field, issuer string }{{"access", c.Access.Issuer}, {"orders", c.Orders.Issuer}} {
		if own.issuer == authority {
			bad(key, "%q is the issuing CA of %s: in a cloud, whoever holds one of its certificates would become a device", authority, own.field)
		}
	}
}

// issuerOf is the issuing CA of an EST label; empty if there is none.
func (c *Config) issuerOf(label string) string {
	for _, l := range c.Labels {
		if l.Name == label {
			return l.Issuer
		}
	}
	return ""
}

func checkLabelName(c *Config, label, key string, bad report) {
	if !slices.ContainsFunc(c.Labels, func(l Label) bool { return l.Name == label }) {
		bad(key, "there is no label %q", label)
	}
}

func (e AzureEnrollment) check(c *Config, bad report) {
	for i, p := range e.Profiles {
		key := fmt.Sprintf(".profiles[%d]", i)
		if profile, ok := c.Profiles[p]; !ok {
			bad(key, "there is no profile %q", p)
		} else if !forDevices(profile.Preset) {
			bad(key, "%q has the preset %s and is not for devices", p, profile.Preset)
		}
	}
	for i, l := range e.Labels {
		checkLabelName(c, l, fmt.Sprintf(".labels[%d]", i), bad)
	}
	checkOrderIDs(e.Orders, "", bad)
}

// checkOrderIDs finds what cannot be the id of a work order; which there are, the ledger
// knows.
func checkOrderIDs(orders []string, key string, bad report) {
	for i, o := range orders {
		if o == "" || len(o) > 128 || strings.TrimSpace(o) != o {
			bad(fmt.Sprintf("%s.orders[%d]", key, i), "%q is no id of a work order", o)
		}
	}
}
