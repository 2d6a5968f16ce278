package awssim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
)

// State returns what is registered in an account and Region as JSON: members in
// alphabetical order, lists in a fixed order, and nothing that differs between two
// runs that did the same, such as times, random ids and version counters. Values
// of secrets are left out. So two runs ended alike if their states are equal,
// provided that they used the same keys: the id of a certificate is its hash, and
// certificates that the simulated Amazon CA issued differ from run to run.
//
// It fails for an account or a Region that nobody has used.
func (s *Sim) State(account, region string) ([]byte, error) {
	s.mu.Lock()
	w := s.worlds[account+"/"+region]
	s.mu.Unlock()
	if w == nil {
		return nil, fmt.Errorf("nothing is known of account %q in Region %q", clip(account, 32), clip(region, 32))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(w.dump())
	return b.Bytes(), err
}

// dump is the state as maps and lists, which encoding/json writes in order. Each
// part of a world has a method of that name.
func (w *world) dump() any {
	return map[string]any{
		"account":               w.account.ID,
		"region":                w.region,
		"caCertificates":        w.dumpCAs(),
		"certificates":          w.dumpCertificates(),
		"policies":              w.dumpPolicies(),
		"things":                w.dumpThings(),
		"topicRules":            w.dumpRules(),
		"provisioning":          w.fleet.dump(),
		"provisioningTemplates": w.dumpTemplates(),
		"tags":                  w.tags,
		"tables":                w.dumpTables(),
		"secrets":               w.dumpSecrets(),
		"registry":              w.group.dump(),
		"domains":               w.domain.dump(),
	}
}

func (w *world) dumpCAs() any {
	out := map[string]any{}
	for id, ca := range w.cas {
		out[id] = map[string]any{
			"subject": ca.cert.Subject.String(), "status": ca.status(), "autoRegistration": ca.autoReg, "mode": ca.mode,
			"registrationConfig": ca.config,
		}
	}
	return out
}

func (w *world) dumpCertificates() any {
	out := map[string]any{}
	for id, c := range w.certs {
		policies := append([]string{}, c.policies...)
		sort.Strings(policies)
		out[id] = map[string]any{
			"subject": c.cert.Subject.String(), "status": c.status, "mode": c.mode, "caCertificateId": c.caID, "policies": policies,
		}
	}
	return out
}

// dumpPolicies lists the versions in the order in which they were made, without
// their numbers: a version that was made and deleted leaves a gap.
func (w *world) dumpPolicies() any {
	out := map[string]any{}
	for name, p := range w.policies {
		versions := []any{}
		for _, v := range p.versions {
			versions = append(versions, map[string]any{"document": v.text, "default": v.isDefault})
		}
		out[name] = versions
	}
	return out
}

func (w *world) dumpThings() any {
	out := map[string]any{}
	for name, th := range w.things {
		principals := map[string]any{}
		for id, exclusive := range th.principals {
			principals[id] = map[string]any{"exclusive": exclusive}
		}
		out[name] = map[string]any{"type": th.typeName, "attributes": th.attributes, "principals": principals}
	}
	return out
}

func (w *world) dumpRules() any {
	out := map[string]any{}
	for name, r := range w.rules {
		out[name] = map[string]any{"payload": r.payload, "disabled": r.disabled}
	}
	return out
}

func (w *world) dumpTemplates() any {
	out := map[string]any{}
	for name, t := range w.templates {
		versions := []any{}
		for _, v := range t.versions {
			versions = append(versions, map[string]any{"body": v.body, "default": v.isDefault})
		}
		out[name] = map[string]any{
			"type": t.kind, "description": t.description, "enabled": t.enabled, "role": t.roleARN, "hook": t.hook, "versions": versions,
		}
	}
	return out
}

func (w *world) dumpTables() any {
	out := map[string]any{}
	for name, t := range w.tables {
		items := []item{}
		for _, rec := range t.ordered() {
			items = append(items, rec.it)
		}
		out[name] = map[string]any{"hashKey": t.hash, "sortKey": t.sort, "keyTypes": t.types, "billing": t.billing, "items": items}
	}
	return out
}

func (w *world) dumpSecrets() any {
	out := map[string]any{}
	for name, s := range w.secrets {
		stages := []string{}
		for _, v := range s.versions {
			stages = append(stages, v.stages...)
		}
		sort.Strings(stages)
		out[name] = map[string]any{"description": s.description, "stages": stages}
	}
	return out
}

// dump of fleet provisioning. Claims and tokens that are out are counted, because
// they are random.
func (f *fleetState) dump() any {
	out := map[string]any{"openClaims": len(f.claims), "openTokens": len(f.tokens), "certificateProvider": nil}
	if p := f.provider; p != nil {
		out["certificateProvider"] = map[string]any{"name": p.name, "function": p.function, "operations": p.operations}
	}
	return out
}

func (g *groupState) dump() any {
	types, groups := map[string]any{}, map[string]any{}
	for name, t := range g.types {
		types[name] = map[string]any{"properties": t.properties, "deprecated": !t.deprecated.IsZero()}
	}
	for name, gr := range g.groups {
		groups[name] = map[string]any{
			"parent": gr.parent, "properties": gr.properties, "members": slices.Sorted(maps.Keys(gr.members)),
		}
	}
	return map[string]any{"thingTypes": types, "thingGroups": groups}
}
