package dpsreg

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Check reports everything that is wrong with a target: Validate, and whether the CAs
// that it names are there and may be used so. It makes no call.
func (r *Registrar) Check(t Target) error {
	_, err := r.checked(t)
	return err
}

// checked is a target in which nothing is wrong, with all anchors filled in.
func (r *Registrar) checked(t Target) (Target, error) {
	if err := t.Validate(); err != nil {
		return Target{}, err
	}
	t, err := r.anchored(t)
	if err == nil {
		err = t.checkGroups()
	}
	if err == nil {
		err = errors.Join(r.checkAuthorities(t), r.checkLabels(t))
	}
	if err != nil {
		return Target{}, fmt.Errorf("DPS target %q: %w", t.Name, err)
	}
	return t, nil
}

func (r *Registrar) checkAuthorities(t Target) error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	all := r.authorities()
	strangers := r.strangers()
	names := make(map[string]string) // of certificates at DPS
	for _, ca := range t.CAs {
		a, ok := all[ca.Authority]
		if !ok {
			add("CA %q: there is no authority of that name", ca.Authority)
			continue
		}
		name := ca.NameAtDPS(a.Certificate)
		if !certificatePattern.MatchString(name) {
			add("CA %q: the name %q at DPS must be 1 to 256 letters, digits and . _ -: set name", ca.Authority, name)
		}
		if other, taken := names[strings.ToLower(name)]; taken {
			add("CAs %q and %q have the name %q at DPS both", other, ca.Authority, name)
		}
		names[strings.ToLower(name)] = ca.Authority
		if what := strangers[ca.Authority]; what != "" && !ca.deleted() {
			add("CA %q issues %s, with which others would come in as devices: verify the CA of the devices", ca.Authority, what)
		}
	}
	stands := make(map[string]string) // group by SHA-256
	for _, g := range t.Groups {
		if g.deleted() {
			continue
		}
		for _, name := range g.Anchors {
			a, ok := all[name]
			if !ok {
				add("group %q: there is no authority %q", g.ID, name)
				continue
			}
			if what := strangers[name]; what != "" {
				add("group %q: anchor %q issues %s, with which others would come in as devices", g.ID, name, what)
			}
			if below := r.strangersBelow(a); below != "" {
				add("group %q: below anchor %q stands %q, which issues %s, with which others would come in as devices: give it a root of its own, or let the group stand on the CA of the devices", g.ID, name, below, strangers[below])
			}
			sha := SHA256(a.Certificate)
			if other, taken := stands[sha]; taken && other != g.ID {
				add("groups %q and %q both stand on the certificate of %q: which of them DPS takes is not documented", other, g.ID, name)
			}
			stands[sha] = g.ID
		}
	}
	return errors.Join(errs...)
}

// strangers are those of the configuration.
func (r *Registrar) strangers() map[string]string {
	if r.cfg.Strangers == nil {
		return nil
	}
	return r.cfg.Strangers()
}

// strangersBelow names an authority below a that issues to others than devices; empty
// if none does.
func (r *Registrar) strangersBelow(a Authority) string {
	all, strangers := r.authorities(), r.strangers()
	for _, name := range slices.Sorted(maps.Keys(strangers)) {
		if g, ok := all[name]; ok && name != a.Name && g.stands(a.Certificate) {
			return name
		}
	}
	return ""
}

// checkLabels makes sure that the devices of a label end in the group that expects
// them, as far as the target's own groups decide it.
func (r *Registrar) checkLabels(t Target) error {
	if r.cfg.LabelIssuer == nil {
		return nil
	}
	var errs []error
	groups := r.grounds(t, nil)
	for _, g := range t.Groups {
		for _, label := range g.Labels {
			id, _, err := r.leads(t, label, groups)
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("group %q: %w", g.ID, err))
			case id == "":
				errs = append(errs, fmt.Errorf("group %q: the issuing CA %q of label %q stands below none of its anchors (%s)", g.ID, t.Issues(r.cfg.LabelIssuer[label]), label, strings.Join(g.Anchors, ", ")))
			case !strings.EqualFold(id, g.ID):
				errs = append(errs, fmt.Errorf("group %q: devices of label %q end in group %q, whose anchor is nearer to their issuing CA %q", g.ID, label, id, t.Issues(r.cfg.LabelIssuer[label])))
			}
		}
	}
	return errors.Join(errs...)
}

// leads is the group in which devices of a label end; empty for none.
func (r *Registrar) leads(t Target, label string, groups map[string][]string) (id, anchor string, err error) {
	a, err := r.issuerOf(t, label)
	if err != nil {
		return "", "", err
	}
	if id, anchor = nearest(a.path(), groups); id == "" {
		id, anchor = nearest(a.Under, groups)
	}
	return id, anchor, nil
}

// issuerOf is the issuing CA of a label.
func (r *Registrar) issuerOf(t Target, label string) (Authority, error) {
	issuer, ok := r.cfg.LabelIssuer[label]
	if !ok {
		return Authority{}, fmt.Errorf("there is no label %q", label)
	}
	issuer = t.Issues(issuer)
	a, ok := r.authorities()[issuer]
	if !ok {
		return Authority{}, fmt.Errorf("label %q: there is no authority %q", label, issuer)
	}
	return a, nil
}

// Issues is the authority that issues in the place of one.
func (t Target) Issues(name string) string {
	for range len(t.Replaced) {
		next, is := t.Replaced[name]
		if !is {
			break
		}
		name = next
	}
	return name
}

// grounds are the anchors of every group by id: those that the target wants, and of
// groups that are not the target's those that they have.
func (r *Registrar) grounds(t Target, o *observed) map[string][]string {
	all, groups := r.authorities(), make(map[string][]string)
	for _, g := range t.Groups {
		if g.deleted() {
			continue
		}
		for _, name := range g.Anchors {
			if a, ok := all[name]; ok {
				groups[g.ID] = append(groups[g.ID], SHA256(a.Certificate))
			}
		}
	}
	if o == nil {
		return groups
	}
	for _, g := range o.groups {
		if !t.hasGroup(g.ID) {
			groups[g.ID] = o.anchors(g)
		}
	}
	return groups
}
