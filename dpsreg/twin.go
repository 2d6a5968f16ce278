package dpsreg

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"mintmark/dpsreg/dps"
)

// settings are what a Shape becomes at DPS, the same for a group and for an individual
// enrollment.
type settings struct {
	Capabilities *dps.Capabilities
	Reprovision  *dps.Reprovision
	Allocation   string
	Hubs         []string
	Twin         *dps.Twin
	Custom       *dps.CustomAllocation
}

// settings are the shape's, with twins instead of its own tags and desired properties,
// in which placeholders may have been replaced.
func (s Shape) settings(tags, desired map[string]any) settings {
	out := settings{
		Capabilities: &dps.Capabilities{Edge: s.Edge},
		Reprovision:  &dps.Reprovision{UpdateHub: s.Reprovision != ReprovisionNever, MigrateData: or(s.Reprovision, ReprovisionMigrate) == ReprovisionMigrate},
		Allocation:   or(s.Allocation, AllocateHashed),
		Hubs:         slices.Clone(s.Hubs),
	}
	if len(tags) > 0 || len(desired) > 0 {
		out.Twin = &dps.Twin{Tags: tags}
	}
	if len(desired) > 0 {
		out.Twin.Properties = &dps.TwinProperties{Desired: desired}
	}
	if out.Allocation == AllocateCustom {
		out.Custom = &dps.CustomAllocation{WebhookURL: s.Webhook, APIVersion: s.WebhookAPI}
	}
	return out
}

// difference is a setting that is otherwise there.
type difference struct {
	field      string
	have, want any
}

// drift says what of these settings is otherwise there, one text a field; nil if
// nothing is.
func (want settings) drift(have settings) []string {
	var list []string
	for _, d := range want.differences(have) {
		list = append(list, fmt.Sprintf("%s %v instead of %v", d.field, d.have, d.want))
	}
	return list
}

// differences are what of these settings is otherwise there. What is not set here is not
// compared.
func (want settings) differences(have settings) []difference {
	var list []difference
	differ := func(field string, have, want any) { list = append(list, difference{field, have, want}) }
	edge := have.Capabilities != nil && have.Capabilities.Edge
	if edge != want.Capabilities.Edge {
		differ("IoT Edge", edge, want.Capabilities.Edge)
	}
	// The service's default is not documented to be one of ours, so that none is a difference.
	if have.Reprovision == nil || *have.Reprovision != *want.Reprovision {
		differ("reprovision", reprovisionWord(have.Reprovision), reprovisionWord(want.Reprovision))
	}
	if !strings.EqualFold(have.Allocation, want.Allocation) {
		differ("allocation", or(have.Allocation, "none"), want.Allocation)
	}
	if len(want.Hubs) > 0 && !sameHubs(have.Hubs, want.Hubs) {
		differ("hubs", have.Hubs, want.Hubs)
	}
	if want.Custom != nil && (have.Custom == nil || *have.Custom != *want.Custom) {
		there := "none"
		if have.Custom != nil {
			there = webhookText(have.Custom)
		}
		differ("allocation function", there, webhookText(want.Custom))
	}
	if a, b := twinText(have.Twin), twinText(want.Twin); a != b {
		differ("initial twin", a, b)
	}
	return list
}

func reprovisionWord(r *dps.Reprovision) string {
	switch {
	case r == nil:
		return "unset"
	case !r.UpdateHub && !r.MigrateData:
		return ReprovisionNever
	case r.UpdateHub && r.MigrateData:
		return ReprovisionMigrate
	case r.UpdateHub:
		return ReprovisionReset
	}
	return "migrate without another hub"
}

// sameHubs compares sets: names of hosts, whose order says nothing but which one a
// static policy takes is not documented either.
func sameHubs(a, b []string) bool {
	fold := func(list []string) []string {
		var out []string
		for _, h := range list {
			out = append(out, strings.ToLower(h))
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	return slices.Equal(fold(a), fold(b))
}

// twinText is the canonical text of an initial twin: keys sorted, numbers as Go writes
// them, what is empty or the service's own ($version) left out.
func twinText(t *dps.Twin) string {
	if t == nil {
		return "{}"
	}
	out := make(map[string]any)
	if tags := ownKeys(t.Tags); len(tags) > 0 {
		out["tags"] = tags
	}
	if t.Properties != nil {
		if desired := ownKeys(t.Properties.Desired); len(desired) > 0 {
			out["desired"] = desired
		}
	}
	return canonical(out)
}

func ownKeys(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		if !strings.HasPrefix(k, "$") {
			out[k] = v
		}
	}
	return out
}

// canonical is JSON that is the same for the same value, whether it came from YAML,
// from Go or from JSON.
func canonical(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("unreadable: %v", err)
	}
	var plain any
	if err := json.Unmarshal(data, &plain); err != nil {
		return fmt.Sprintf("unreadable: %v", err)
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(plain); err != nil {
		return fmt.Sprintf("unreadable: %v", err)
	}
	return strings.TrimSpace(b.String())
}
