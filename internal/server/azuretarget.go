package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"mintmark/dpsreg"
	"mintmark/internal/config"
)

// azureTargetsOf are the DPS targets of a configuration. It opens nothing, so that it
// can run beside a server.
func azureTargetsOf(c *config.Config) ([]dpsreg.Target, error) {
	var list []dpsreg.Target
	for _, one := range c.Azure.Targets {
		list = append(list, azureTarget(c, one))
	}
	if err := dpsreg.ValidateTargets(list); err != nil {
		return nil, fmt.Errorf("%s: azure.targets: %w", filepath.Join(c.Dir, config.File), err)
	}
	return list, nil
}

// azureTarget translates one target. What is left out there stays so: the defaults are
// dpsreg's. Files are read when they are needed, so that a server starts without them.
func azureTarget(c *config.Config, t config.AzureTarget) dpsreg.Target {
	target := dpsreg.Target{
		Name: t.Name, SubscriptionID: t.SubscriptionID, ResourceGroup: t.ResourceGroup, Service: t.Service, IDScope: t.IDScope,
		Identity: dpsreg.Identity{
			TenantID: t.Identity.TenantID, ClientID: t.Identity.ClientID,
			SecretFile: c.Path(t.Identity.SecretFile), CertificateFile: c.Path(t.Identity.CertificateFile),
		},
		SAS: azureSAS(c, t.SAS), Connect: dpsreg.Connect{Address: t.Connect.Address, Trust: c.Path(t.Connect.TrustFile)}, OpsPerMinute: t.OpsPerMinute,
	}
	for _, a := range t.CAs {
		target.CAs = append(target.CAs, dpsreg.CA{Authority: a.Authority, Name: a.Name, SelfAttested: a.SelfAttested, State: a.State})
	}
	for _, g := range t.Groups {
		target.Groups = append(target.Groups, dpsreg.Group{
			ID: g.ID, Anchors: g.Anchors, Reference: g.Reference, Disabled: g.Disabled, State: g.State, Labels: g.Labels, Orders: g.Orders, Shape: azureShape(g.Device),
		})
	}
	for _, e := range t.Enrollments {
		target.Enrollments = append(target.Enrollments, dpsreg.Enrollment{
			Name: e.Name, Profiles: e.Profiles, Labels: e.Labels, Orders: e.Orders, DeviceID: e.DeviceID, Shape: azureShape(e.Device),
		})
	}
	for _, h := range t.Hubs {
		target.Hubs = append(target.Hubs, dpsreg.Hub{Host: h.Host, SAS: azureSAS(c, h.SAS)})
	}
	return target
}

func azureSAS(c *config.Config, s *config.AzureSAS) *dpsreg.SAS {
	if s == nil {
		return nil
	}
	return &dpsreg.SAS{Policy: s.Policy, KeyFile: c.Path(s.KeyFile)}
}

func azureShape(s config.AzureShape) dpsreg.Shape {
	return dpsreg.Shape{
		Edge: s.Edge, Hubs: s.Hubs, Allocation: s.Allocation, Webhook: s.Webhook, WebhookAPI: s.WebhookAPI, Reprovision: s.Reprovision,
		Tags: s.Tags, Desired: s.Desired,
	}
}

// azureNeeds lists the authorities that targets name.
func azureNeeds(c *config.Config) []need {
	var list []need
	for i, t := range c.Azure.Targets {
		for j, a := range t.CAs {
			list = append(list, need{a.Authority, fmt.Sprintf("azure.targets[%d].cas[%d].authority", i, j)})
		}
		for j, g := range t.Groups {
			for k, anchor := range g.Anchors {
				list = append(list, need{anchor, fmt.Sprintf("azure.targets[%d].groups[%d].anchors[%d]", i, j, k)})
			}
		}
	}
	return list
}

// azureFiles says which files of the targets cannot be used. None of it stops a
// server, which tells Azure later what it cannot tell now. Their content is not read.
func azureFiles(c *config.Config) []string {
	var findings []string
	look := func(target, key, name string, secret bool) {
		if name == "" {
			return
		}
		path := c.Path(name)
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			findings = append(findings, fmt.Sprintf("DPS target %q: %s: %s does not exist, and until it does nothing can be asked of Azure", target, key, path))
		case err != nil:
			findings = append(findings, fmt.Sprintf("DPS target %q: %s: %v", target, key, err))
		case !info.Mode().IsRegular():
			findings = append(findings, fmt.Sprintf("DPS target %q: %s: %s is not a regular file", target, key, path))
		case secret && info.Mode().Perm()&0o077 != 0:
			findings = append(findings, fmt.Sprintf("DPS target %q: %s: %s can be read by others than its owner (mode %04o), and is refused: run chmod 400 %s", target, key, path, info.Mode().Perm(), path))
		}
	}
	for _, t := range c.Azure.Targets {
		look(t.Name, "identity.secret_file", t.Identity.SecretFile, true)
		look(t.Name, "identity.certificate_file", t.Identity.CertificateFile, true)
		if t.SAS != nil {
			look(t.Name, "sas.key_file", t.SAS.KeyFile, true)
		}
		for i, h := range t.Hubs {
			if h.SAS != nil {
				look(t.Name, fmt.Sprintf("hubs[%d].sas.key_file", i), h.SAS.KeyFile, true)
			}
		}
		look(t.Name, "connect.trust_file", t.Connect.TrustFile, false)
	}
	return findings
}
