package config

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
)

// What Azure takes as names.
// https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
// https://learn.microsoft.com/azure/iot-dps/concepts-service
var (
	guid            = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	resourceGroup   = regexp.MustCompile(`^[A-Za-z0-9_().-]{0,89}[A-Za-z0-9_()-]$`)
	serviceName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{1,62}[A-Za-z0-9]$`)
	idScope         = regexp.MustCompile(`^[0-9A-Za-z]{1,64}$`)
	sasPolicy       = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	certificateName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,256}$`)
	enrollmentID    = regexp.MustCompile(`^[A-Za-z0-9._:-]{0,127}[A-Za-z0-9-]$`)
	hubHost         = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{1,48}[a-z0-9])\.azure-devices\.net$`)
)

// The limits of one DPS instance.
// https://learn.microsoft.com/azure/iot-dps/about-iot-dps#quotas-and-limits
const (
	mostAzureCAs, mostAzureGroups = 25, 100
	// maxAzureRate bounds a quota that Azure has raised: 1000 a minute is the
	// documented one.
	maxAzureRate = 1_000_000
)

func (c *Config) checkAzure(bad report) {
	if d := c.Azure.Reconcile; d != 0 && (d < minReconcile || d > maxReconcile) {
		bad("azure.reconcile", "%s is neither 0 (never) nor between %s and %s", DurationText(d), DurationText(minReconcile), DurationText(maxReconcile))
	}
	names, services := make(map[string]bool), make(map[string]int)
	for i, t := range c.Azure.Targets {
		field := fmt.Sprintf("azure.targets[%d]", i)
		if names[t.Name] {
			bad(field+".name", "%q is defined twice", t.Name)
		}
		names[t.Name] = true
		// Its name is unique in all of Azure, being a host name.
		if other, twice := services[strings.ToLower(t.Service)]; twice && t.Service != "" {
			bad(field+".service", "%q is azure.targets[%d].service, too: two targets of one instance would undo each other's work", t.Service, other)
		} else {
			services[strings.ToLower(t.Service)] = i
		}
		t.check(c, func(key, format string, args ...any) { bad(field+key, format, args...) })
	}
}

// check finds what is wrong with one target; keys begin with a dot.
func (t AzureTarget) check(c *Config, bad report) {
	if !name.MatchString(t.Name) {
		bad(".name", "%q must match %s", t.Name, name)
	}
	if !guid.MatchString(t.SubscriptionID) {
		bad(".subscription_id", "%q is not the id of a subscription, as in 01234567-89ab-cdef-0123-456789abcdef", t.SubscriptionID)
	}
	if !resourceGroup.MatchString(t.ResourceGroup) {
		bad(".resource_group", "%q is no name of a resource group: 1 to 90 letters, digits and _ ( ) - . and no . at its end", t.ResourceGroup)
	}
	if !serviceName.MatchString(t.Service) {
		bad(".service", "%q is no name of a DPS instance: 3 to 64 letters, digits and -, as in NAME of NAME.azure-devices-provisioning.net", t.Service)
	}
	if t.IDScope != "" && !idScope.MatchString(t.IDScope) {
		bad(".id_scope", "%q is no ID scope, as in 0ne00AB12CD", t.IDScope)
	}
	t.Identity.check(func(key, format string, args ...any) { bad(".identity"+key, format, args...) })
	checkAzureSAS(t.SAS, ".sas", bad)
	if t.Connect.Address != "" {
		if host, port, err := net.SplitHostPort(t.Connect.Address); err != nil || host == "" || port == "" {
			bad(".connect.address", "%q is not host:port: URLs stay Azure's own", t.Connect.Address)
		}
	}
	if t.OpsPerMinute < 0 || t.OpsPerMinute > maxAzureRate {
		bad(".ops_per_minute", "%d is not between 1 and %d: leave it out unless Azure has raised yours", t.OpsPerMinute, maxAzureRate)
	}
	t.checkCAs(bad)
	t.checkGroups(c, bad)
	t.checkEnrollments(c, bad)
	hosts := make(map[string]bool)
	for i, h := range t.Hubs {
		key := fmt.Sprintf(".hubs[%d]", i)
		checkHubHost(h.Host, key+".host", bad)
		if hosts[h.Host] {
			bad(key+".host", "%q is listed twice", h.Host)
		}
		hosts[h.Host] = true
		checkAzureSAS(h.SAS, key+".sas", bad)
	}
}

func (id AzureIdentity) check(bad report) {
	files := 0
	for _, file := range []string{id.SecretFile, id.CertificateFile} {
		if file != "" {
			files++
		}
	}
	switch {
	case id == AzureIdentity{}:
		return
	case files == 2:
		bad("", "has secret_file and certificate_file: a service principal proves itself by one of them")
	case files == 0:
		bad("", "has neither secret_file nor certificate_file: set one of them, or leave identity out for what the machine offers (environment, workload identity, managed identity, az login)")
	}
	for _, one := range []struct{ key, value string }{{".tenant_id", id.TenantID}, {".client_id", id.ClientID}} {
		if !guid.MatchString(one.value) {
			bad(one.key, "%q is not an id, as in 01234567-89ab-cdef-0123-456789abcdef", one.value)
		}
	}
}

func checkAzureSAS(s *AzureSAS, key string, bad report) {
	if s == nil {
		return
	}
	if !sasPolicy.MatchString(s.Policy) {
		bad(key+".policy", "%q is no name of a shared access policy", s.Policy)
	}
	if s.KeyFile == "" {
		bad(key+".key_file", "must be set: the file that holds the policy's key, which never stands in this file")
	}
}

func checkHubHost(host, key string, bad report) {
	if !hubHost.MatchString(host) {
		bad(key, "%q is no host name of an IoT hub: NAME.azure-devices.net, in lower case", host)
	}
}

func (t AzureTarget) checkCAs(bad report) {
	authorities, names := make(map[string]bool), make(map[string]bool)
	active := 0
	for i, a := range t.CAs {
		key := fmt.Sprintf(".cas[%d]", i)
		switch {
		case a.Authority == "":
			bad(key+".authority", "must be set: a root or an issuing CA")
		case authorities[a.Authority]:
			bad(key+".authority", "%q is listed twice", a.Authority)
		}
		authorities[a.Authority] = true
		switch {
		case a.Name == "": // made of the authority's name and hash
		case !certificateName.MatchString(a.Name):
			bad(key+".name", "%q is no name of a certificate at DPS: 1 to 256 letters, digits and . _ -", a.Name)
		case names[strings.ToLower(a.Name)]:
			bad(key+".name", "%q is listed twice", a.Name)
		}
		names[strings.ToLower(a.Name)] = true
		if checkAzureState(a.State, key, bad) {
			active++
		}
	}
	if active > mostAzureCAs {
		bad(".cas", "there are %d, and a DPS instance has %d at most: verify the root, and let groups stand on it", active, mostAzureCAs)
	}
}

// checkAzureState reports whether a thing is to be there.
func checkAzureState(state, key string, bad report) bool {
	switch state {
	case "", "active":
		return true
	case "deleted":
	default:
		bad(key+".state", "%q is neither active nor deleted", state)
	}
	return false
}

func (t AzureTarget) checkGroups(c *Config, bad report) {
	ids, labels := make(map[string]bool), make(map[string]int)
	active := 0
	for i, g := range t.Groups {
		key := fmt.Sprintf(".groups[%d]", i)
		if !enrollmentID.MatchString(g.ID) {
			bad(key+".id", "%q is no id of an enrollment group: up to 128 letters, digits and - . _ : with a letter, a digit or - at its end", g.ID)
		}
		if ids[strings.ToLower(g.ID)] {
			bad(key+".id", "%q is defined twice", g.ID)
		}
		ids[strings.ToLower(g.ID)] = true
		if checkAzureState(g.State, key, bad) {
			active++
		}
		t.checkAnchors(c, g, key, bad)
		for j, l := range g.Labels {
			here := fmt.Sprintf("%s.labels[%d]", key, j)
			checkLabelName(c, l, here, bad)
			if other, twice := labels[l]; twice && other != i {
				bad(here, "%q is a label of groups[%d], too: its devices come into one group", l, other)
			}
			labels[l] = i
		}
		g.Device.check(key+".device", bad)
	}
	if active > mostAzureGroups {
		bad(".groups", "there are %d, and a DPS instance has %d at most", active, mostAzureGroups)
	}
}

// checkAnchors checks what a group stands on.
func (t AzureTarget) checkAnchors(c *Config, g AzureGroup, key string, bad report) {
	if n := len(g.Anchors); n < 1 || n > 2 {
		bad(key+".anchors", "there are %d: a group stands on one authority, or on two while one takes the place of the other", n)
	}
	for j, anchor := range g.Anchors {
		here := fmt.Sprintf("%s.anchors[%d]", key, j)
		if anchor == "" {
			bad(here, "must be the name of a root or an issuing CA")
		}
		if slices.Contains(g.Anchors[:j], anchor) {
			bad(here, "%q is listed twice", anchor)
		}
		if g.Reference && !slices.ContainsFunc(t.CAs, func(a AzureCA) bool { return a.Authority == anchor && a.State != "deleted" }) {
			bad(here, "%q is not among cas, and with reference a group names uploaded CAs: add it there, or leave reference out", anchor)
		}
		for k, l := range c.Labels {
			if l.Gateway != "" && l.Issuer == anchor {
				bad(here, "%q issues CA certificates of gateways (%s.gateway): a gateway signs what it likes, and what it signs would be let in here: give the gateways an issuing CA of their own", anchor, at(k, l))
			}
		}
	}
}

func checkLabelName(c *Config, label, key string, bad report) {
	if !slices.ContainsFunc(c.Labels, func(l Label) bool { return l.Name == label }) {
		bad(key, "there is no label %q", label)
	}
}

func (t AzureTarget) checkEnrollments(c *Config, bad report) {
	names := make(map[string]bool)
	for i, e := range t.Enrollments {
		key := fmt.Sprintf(".enrollments[%d]", i)
		if !name.MatchString(e.Name) {
			bad(key+".name", "%q must match %s", e.Name, name)
		}
		if names[e.Name] {
			bad(key+".name", "%q is defined twice", e.Name)
		}
		names[e.Name] = true
		if len(e.Profiles)+len(e.Labels)+len(e.Orders) == 0 {
			bad(key, "has neither profiles nor labels nor orders, and would be for every device: say whose")
		}
		for j, p := range e.Profiles {
			here := fmt.Sprintf("%s.profiles[%d]", key, j)
			if profile, ok := c.Profiles[p]; !ok {
				bad(here, "there is no profile %q", p)
			} else if !forDevices(profile.Preset) {
				bad(here, "%q has the preset %s and is not for devices", p, profile.Preset)
			}
		}
		for j, l := range e.Labels {
			checkLabelName(c, l, fmt.Sprintf("%s.labels[%d]", key, j), bad)
		}
		for j, o := range e.Orders {
			if o == "" || len(o) > 128 || strings.TrimSpace(o) != o {
				bad(fmt.Sprintf("%s.orders[%d]", key, j), "%q is no id of a work order", o)
			}
		}
		e.Device.check(key+".device", bad)
	}
}

// check finds what is wrong with what becomes of a device; the twin and the
// placeholders in it are for dpsreg.
func (s AzureShape) check(key string, bad report) {
	for i, host := range s.Hubs {
		here := fmt.Sprintf("%s.hubs[%d]", key, i)
		checkHubHost(host, here, bad)
		if slices.Contains(s.Hubs[:i], host) {
			bad(here, "%q is listed twice", host)
		}
	}
	custom := s.Allocation == "custom"
	switch s.Allocation {
	case "", "hashed", "geoLatency", "static", "custom":
	default:
		bad(key+".allocation", "%q is none of hashed, geoLatency, static, custom", s.Allocation)
	}
	if custom != (s.Webhook != "") {
		bad(key+".webhook", "must be set exactly when allocation is custom: the URL of the function that picks a hub")
	}
	if s.Webhook != "" && !isHTTP(s.Webhook, "https") {
		bad(key+".webhook", "is not an https URL without a user in it") // not itself: it may hold the function's key
	}
	if custom != (s.WebhookAPI != "") {
		bad(key+".webhook_api", "must be set exactly when allocation is custom: the apiVersion of the function, as in 2019-03-31")
	}
	switch s.Reprovision {
	case "", "migrate", "reset", "never":
	default:
		bad(key+".reprovision", "%q is none of migrate, reset, never", s.Reprovision)
	}
}
