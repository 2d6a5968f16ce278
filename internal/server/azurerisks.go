package server

import (
	"fmt"
	"maps"
	"regexp/syntax"
	"slices"
	"unicode"

	"mintmark/internal/config"
)

// azureRisks says in words what the DPS targets of a configuration allow that its
// operator may not have meant.
func azureRisks(c *config.Config) []string {
	var list []string
	if len(c.Azure.Targets) > 0 && c.Azure.Reconcile == 0 {
		list = append(list, "azure.reconcile is 0: nobody notices an enrollment at Azure that was changed there, and a renewed certificate stays the second one of its device")
	}
	for _, t := range c.Azure.Targets {
		risk := func(format string, args ...any) {
			list = append(list, fmt.Sprintf("DPS target %q: ", t.Name)+fmt.Sprintf(format, args...))
		}
		for _, a := range t.CAs {
			if a.SelfAttested && a.State != "deleted" {
				risk("CA %q is self_attested: it counts as verified without a proof that its key is here", a.Authority)
			}
		}
		for _, e := range t.Enrollments {
			for _, name := range edgeLabels(c, e) {
				risk("enrollment %q pins devices of label %q, which is for IoT Edge: EST identity and device identity have one name there, and a renewal of the one shuts the other out: use a group", e.Name, name)
			}
		}
		for _, name := range azureProfiles(c, t) {
			if takesUpperCase(c, name) {
				risk("profile %q takes upper case in the common name: it is the registration id, which DPS compares without regard to case and refuses in places, and as a device id IoT Hub tells upper case apart: allow lower case only, as the preset azure-iot-edge does", name)
			}
		}
	}
	return list
}

// edgeLabels are the labels of IoT Edge whose devices an enrollment may be for.
func edgeLabels(c *config.Config, e config.AzureEnrollment) []string {
	var names []string
	for _, l := range c.Labels {
		named := len(e.Labels) == 0 || slices.Contains(e.Labels, l.Name)
		takes := len(e.Profiles) == 0 || slices.Contains(e.Profiles, l.Profile)
		if l.Preset == "azure-iot-edge" && named && takes {
			names = append(names, l.Name)
		}
	}
	return names
}

// azureProfiles are the profiles whose devices the configuration means for a target,
// in the order of their names.
func azureProfiles(c *config.Config, t config.AzureTarget) []string {
	profiles := make(map[string]bool)
	add := func(labels []string) {
		for _, l := range c.Labels {
			if slices.Contains(labels, l.Name) {
				profiles[l.Profile] = true
			}
		}
	}
	for _, g := range t.Groups {
		add(g.Labels)
	}
	for _, e := range t.Enrollments {
		add(e.Labels)
		for _, name := range e.Profiles {
			profiles[name] = true
		}
	}
	return slices.Sorted(maps.Keys(profiles))
}

// takesUpperCase reports whether a certificate of a profile may have a common name
// with upper case.
func takesUpperCase(c *config.Config, name string) bool {
	profile := c.Profiles[name]
	if profile.Subject == nil {
		return profile.Preset != "azure-iot-edge" // the only preset that does not
	}
	attribute, ok := profile.Subject["commonName"]
	if !ok {
		return false
	}
	if attribute.Pattern == "" {
		return hasUpperCase([]rune(attribute.Value))
	}
	pattern, err := syntax.Parse(attribute.Pattern, syntax.Perl)
	return err == nil && matchesUpperCase(pattern)
}

// matchesUpperCase reports whether some part of a pattern matches an upper-case
// letter.
func matchesUpperCase(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return true
	case syntax.OpLiteral:
		return hasUpperCase(re.Rune) || re.Flags&syntax.FoldCase != 0 && slices.ContainsFunc(re.Rune, unicode.IsLetter)
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			if re.Rune[i] <= 'Z' && re.Rune[i+1] >= 'A' {
				return true
			}
		}
	}
	return slices.ContainsFunc(re.Sub, matchesUpperCase)
}

func hasUpperCase(text []rune) bool { return slices.ContainsFunc(text, unicode.IsUpper) }
