package dpsreg

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"mintmark/internal/pattern"
)

// What one DPS instance takes, which Microsoft does not raise for CAs and groups.
// https://learn.microsoft.com/azure/iot-dps/about-iot-dps, "Quotas and limits"
const (
	MaxCertificates = 25
	MaxGroups       = 100
	maxOps          = 100_000_000 // a minute: nobody has that, and a typing error is near
)

// What Azure takes as names.
// https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules,
// "Microsoft.Devices" and "Microsoft.Resources";
// https://learn.microsoft.com/azure/iot-dps/concepts-service, "Registration ID" (groups
// have the same rule); certificate names: the resource manager's specification.
var (
	targetPattern      = pattern.New(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	guidPattern        = pattern.New(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
	resourcePattern    = pattern.New(`^[-\w.()]{0,89}[-\w()]$`)
	servicePattern     = pattern.New(`^[A-Za-z0-9][A-Za-z0-9-]{1,62}[A-Za-z0-9]$`)
	scopePattern       = pattern.New(`^[0-9A-Za-z]{1,64}$`)
	certificatePattern = pattern.New(`^[A-Za-z0-9._-]{1,256}$`)
	groupPattern       = pattern.New(`^[A-Za-z0-9._:-]{0,127}[A-Za-z0-9-]$`)
	hubPattern         = pattern.New(`^[A-Za-z0-9][A-Za-z0-9-]{1,48}[A-Za-z0-9]\.azure-devices\.net$`)
	policyPattern      = pattern.New(`^[A-Za-z0-9!._-]{1,64}$`)
	webhookAPIPattern  = pattern.New(`^[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?$`)
	domainPattern      = pattern.New(`^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$`)
)

// Validate reports what is wrong with a target on its own, and whether it wants more
// than DPS takes. What depends on the CAs is for Registrar.Check.
func (t Target) Validate() error {
	if t.Name == "" {
		return errors.New("DPS target without a name")
	}
	if err := t.check(); err != nil {
		return fmt.Errorf("DPS target %q: %w", t.Name, err)
	}
	return nil
}

func (t Target) check() error {
	switch {
	case !targetPattern.MatchString(t.Name):
		return errors.New("the name must be 1 to 64 letters, digits and . _ -, beginning with a letter or digit")
	case !guidPattern.MatchString(t.SubscriptionID):
		return fmt.Errorf("subscription id %q is not 32 hex digits with hyphens, as in 00000000-0000-0000-0000-000000000000", t.SubscriptionID)
	case !resourcePattern.MatchString(t.ResourceGroup):
		return fmt.Errorf("resource group %q must be 1 to 90 letters, digits and _ ( ) - . without a dot at the end", t.ResourceGroup)
	case !servicePattern.MatchString(t.Service):
		return fmt.Errorf("service %q must be the name of a DPS instance: 3 to 64 letters, digits and hyphens, as in NAME.azure-devices-provisioning.net", t.Service)
	case t.IDScope != "" && !scopePattern.MatchString(t.IDScope):
		return fmt.Errorf("id scope %q is not letters and digits, as in 0ne00000000", t.IDScope)
	case t.OpsPerMinute < 0 || t.OpsPerMinute > maxOps:
		return fmt.Errorf("%d operations a minute: the quota is 1000 unless it was raised", t.OpsPerMinute)
	}
	if err := t.Identity.check(); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	if err := t.SAS.check(); err != nil {
		return fmt.Errorf("shared access policy: %w", err)
	}
	if err := t.Connect.check(); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := t.checkCAs(); err != nil {
		return err
	}
	if err := t.checkGroups(); err != nil {
		return err
	}
	if err := t.checkEnrollments(); err != nil {
		return err
	}
	return t.checkHubs()
}

func (i Identity) check() error {
	switch {
	case i == Identity{}:
		return nil
	case i.SecretFile != "" && i.CertificateFile != "":
		return errors.New("a client secret and a certificate are given: one is enough")
	case i.SecretFile == "" && i.CertificateFile == "":
		return errors.New("a tenant or client is named without a secret or certificate file; leave all out for what the machine offers")
	case i.TenantID == "" || i.ClientID == "":
		return errors.New("a secret or certificate needs the tenant id and the client id beside it")
	case !guidPattern.MatchString(i.ClientID):
		return fmt.Errorf("client id %q is not 32 hex digits with hyphens", i.ClientID)
	// A tenant may be named by a domain, too. It becomes a part of URLs.
	case !guidPattern.MatchString(i.TenantID) && !domainPattern.MatchString(i.TenantID):
		return fmt.Errorf("tenant id %q is neither 32 hex digits with hyphens nor a domain", i.TenantID)
	}
	return nil
}

func (s *SAS) check() error {
	switch {
	case s == nil:
		return nil
	case !policyPattern.MatchString(s.Policy):
		return fmt.Errorf("the name %q must be 1 to 64 letters, digits and ! . _ -", s.Policy)
	case s.KeyFile == "":
		return fmt.Errorf("policy %q has no file with its key", s.Policy)
	}
	return nil
}

func (c Connect) check() error {
	if c.Address == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("address %q is not HOST:PORT", c.Address)
	}
	return nil
}

func checkState(state string) error {
	if state != "" && state != stateActive && state != StateDeleted {
		return fmt.Errorf("state %q is neither %s nor %s", state, stateActive, StateDeleted)
	}
	return nil
}

func (t Target) checkCAs() error {
	authorities, names := make(map[string]bool), make(map[string]string)
	active := 0
	for _, ca := range t.CAs {
		switch {
		case ca.Authority == "":
			return errors.New("a CA names no authority")
		case authorities[ca.Authority]:
			return fmt.Errorf("CA %q is listed twice", ca.Authority)
		case ca.Name != "" && !certificatePattern.MatchString(ca.Name):
			return fmt.Errorf("CA %q: the name %q must be 1 to 256 letters, digits and . _ -", ca.Authority, ca.Name)
		case ca.deleted() && ca.SelfAttested:
			return fmt.Errorf("CA %q is to be deleted and self-attested at once", ca.Authority)
		}
		if err := checkState(ca.State); err != nil {
			return fmt.Errorf("CA %q: %w", ca.Authority, err)
		}
		authorities[ca.Authority] = true
		if ca.Name != "" {
			// The resource manager compares names of resources without case.
			key := strings.ToLower(ca.Name)
			if other, taken := names[key]; taken {
				return fmt.Errorf("CAs %q and %q have the name %q at DPS both", other, ca.Authority, ca.Name)
			}
			names[key] = ca.Authority
		}
		if !ca.deleted() {
			active++
		}
	}
	if active > MaxCertificates {
		return fmt.Errorf("%d CAs: a DPS instance takes %d certificates; verify roots and let groups stand on issuing CAs below them", active, MaxCertificates)
	}
	return nil
}

func (t Target) checkGroups() error {
	ids, anchors, labels, orders := make(map[string]string), make(map[string]string), make(map[string]string), make(map[string]string)
	active := 0
	for _, g := range t.Groups {
		if err := t.checkGroup(g); err != nil {
			return fmt.Errorf("group %q: %w", g.ID, err)
		}
		if other, taken := ids[strings.ToLower(g.ID)]; taken {
			return fmt.Errorf("groups %q and %q are one to DPS, which does not look at case", other, g.ID)
		}
		ids[strings.ToLower(g.ID)] = g.ID
		if g.deleted() {
			continue
		}
		active++
		for _, a := range g.Anchors {
			if other, taken := anchors[a]; taken {
				return fmt.Errorf("groups %q and %q both stand on %q: which of them DPS takes is not documented", other, g.ID, a)
			}
			anchors[a] = g.ID
		}
		for _, l := range g.Labels {
			if other, taken := labels[l]; taken {
				return fmt.Errorf("label %q is expected in the groups %q and %q: its devices have one nearest anchor", l, other, g.ID)
			}
			labels[l] = g.ID
		}
		for _, order := range g.Orders {
			if other, taken := orders[order]; taken {
				return fmt.Errorf("work order %q is expected in the groups %q and %q: its devices have one nearest anchor", order, other, g.ID)
			}
			orders[order] = g.ID
		}
	}
	if active > MaxGroups {
		return fmt.Errorf("%d groups: a DPS instance takes %d", active, MaxGroups)
	}
	return nil
}

func (t Target) checkGroup(g Group) error {
	if !groupPattern.MatchString(g.ID) {
		return errors.New("the id must be 1 to 128 letters, digits and . _ : -, with a letter, digit or hyphen at the end")
	}
	if err := checkState(g.State); err != nil {
		return err
	}
	if g.deleted() {
		switch {
		case len(g.Labels) > 0:
			return fmt.Errorf("it is to be deleted, but devices of label %q should end in it", g.Labels[0])
		case len(g.Orders) > 0:
			return fmt.Errorf("it is to be deleted, but devices of work order %q should end in it", g.Orders[0])
		}
		return nil
	}
	switch {
	case len(g.Anchors) == 0 && len(g.Labels) == 0:
		return errors.New("it stands on no authority: name one or two anchors, or labels, on whose root it stands then")
	case len(g.Anchors) > 2:
		return fmt.Errorf("%d anchors: a group has a primary and a secondary slot, no more", len(g.Anchors))
	case slices.Contains(g.Anchors, ""):
		return errors.New("an anchor names no authority")
	case len(g.Anchors) == 2 && g.Anchors[0] == g.Anchors[1]:
		return fmt.Errorf("both anchors are %q", g.Anchors[0])
	case slices.Contains(g.Orders, ""):
		return errors.New("it has an empty id of a work order")
	}
	if g.Reference {
		for _, a := range g.Anchors {
			if !slices.ContainsFunc(t.CAs, func(ca CA) bool { return ca.Authority == a && !ca.deleted() }) {
				return fmt.Errorf("it refers to uploaded CAs, but %q is not among the target's", a)
			}
		}
	}
	for _, path := range []map[string]any{g.Tags, g.Desired} {
		if text := findText(path, func(s string) bool { return strings.Contains(s, "${") }); text != "" {
			return fmt.Errorf("%q: placeholders are for individual enrollments; a group says the same of all its devices", text)
		}
	}
	return g.Shape.check()
}

// findText is the first text in a twin for which match is true; empty if none.
func findText(v any, match func(string) bool) string {
	switch v := v.(type) {
	case string:
		if match(v) {
			return v
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if text := findText(v[k], match); text != "" {
				return text
			}
		}
	}
	return ""
}

func (s Shape) check() error {
	switch {
	case !slices.Contains([]string{"", AllocateHashed, AllocateNearest, AllocateStatic, AllocateCustom}, s.Allocation):
		return fmt.Errorf("allocation %q is none of %s, %s, %s, %s", s.Allocation, AllocateHashed, AllocateNearest, AllocateStatic, AllocateCustom)
	case !slices.Contains([]string{"", ReprovisionMigrate, ReprovisionReset, ReprovisionNever}, s.Reprovision):
		return fmt.Errorf("reprovision %q is none of %s, %s, %s", s.Reprovision, ReprovisionMigrate, ReprovisionReset, ReprovisionNever)
	case s.Allocation == AllocateStatic && len(s.Hubs) == 0:
		return errors.New("allocation is static, but no hub is named")
	case s.Allocation != AllocateCustom && (s.Webhook != "" || s.WebhookAPI != ""):
		return fmt.Errorf("an allocation function is named, but allocation is %s", or(s.Allocation, AllocateHashed))
	}
	if s.Allocation == AllocateCustom {
		u, err := url.Parse(s.Webhook)
		switch {
		case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "":
			// Not quoted: its query may hold the function's key.
			return errors.New("allocation is custom: the webhook must be an https URL")
		case !webhookAPIPattern.MatchString(s.WebhookAPI):
			return fmt.Errorf("allocation is custom: the webhook's api version %q must be a date, as in 2021-10-01", s.WebhookAPI)
		}
	}
	for i, h := range s.Hubs {
		switch {
		case !hubPattern.MatchString(h):
			return fmt.Errorf("hub %q is not NAME.azure-devices.net", h)
		case sameHubs(s.Hubs[:i], append(slices.Clone(s.Hubs[:i]), h)):
			return fmt.Errorf("hub %q is listed twice", h)
		}
	}
	return s.checkTwin()
}

func (t Target) checkEnrollments() error {
	names := make(map[string]bool)
	for _, e := range t.Enrollments {
		switch {
		case !targetPattern.MatchString(e.Name):
			return fmt.Errorf("enrollment %q: the name must be 1 to 64 letters, digits and . _ -", e.Name)
		case names[e.Name]:
			return fmt.Errorf("two enrollments are called %q", e.Name)
		case len(e.Profiles)+len(e.Labels)+len(e.Orders) == 0:
			return fmt.Errorf("enrollment %q says of no profile, label or order whose devices it is for", e.Name)
		case slices.Contains(slices.Concat(e.Profiles, e.Labels, e.Orders), ""):
			return fmt.Errorf("enrollment %q has an empty name of a profile, label or order", e.Name)
		}
		names[e.Name] = true
		if err := e.Shape.check(); err != nil {
			return fmt.Errorf("enrollment %q: %w", e.Name, err)
		}
		if err := e.checkPlaceholders(); err != nil {
			return fmt.Errorf("enrollment %q: %w", e.Name, err)
		}
	}
	return nil
}

func (t Target) checkHubs() error {
	for i, h := range t.Hubs {
		switch {
		case !hubPattern.MatchString(h.Host):
			return fmt.Errorf("hub %q is not NAME.azure-devices.net", h.Host)
		case slices.ContainsFunc(t.Hubs[:i], func(other Hub) bool { return strings.EqualFold(other.Host, h.Host) }):
			return fmt.Errorf("hub %q is listed twice", h.Host)
		}
		if err := h.SAS.check(); err != nil {
			return fmt.Errorf("hub %q: shared access policy: %w", h.Host, err)
		}
	}
	return nil
}

// ValidateTargets checks each target, and what they must not do together.
func ValidateTargets(targets []Target) error {
	names, services := make(map[string]bool), make(map[string]string)
	for _, t := range targets {
		if err := t.Validate(); err != nil {
			return err
		}
		if names[t.Name] {
			return fmt.Errorf("two DPS targets are called %q", t.Name)
		}
		names[t.Name] = true
		// A name of a service is taken once in all of Azure: it is a host name. Two
		// targets would take each other's groups for a stranger's.
		key := strings.ToLower(t.Service)
		if other, taken := services[key]; taken {
			return fmt.Errorf("DPS targets %q and %q are the same DPS instance %q: make them one", other, t.Name, t.Service)
		}
		services[key] = t.Name
	}
	return nil
}
