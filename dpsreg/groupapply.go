package dpsreg

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"mintmark/dpsreg/dps"
	"mintmark/internal/reconcile"
)

// groupResource is a group that is to be there.
func (r *Registrar) groupResource(s *session, g Group) resource {
	return resource{
		kind: kindGroup, subject: g.ID,
		read: s.readGroup(g.ID),
		examine: func(ctx context.Context, o *observed) (reconcile.Change, doing, error) {
			return r.examineGroup(ctx, s, g, o)
		},
		effect: func(o *observed) {
			all, signing := r.authorities(), make([]*dps.Certificate, 2)
			for i, name := range g.Anchors {
				signing[i] = &dps.Certificate{Info: &dps.Info{SHA256: SHA256(all[name].Certificate)}}
			}
			o.putGroup(g.ID, &dps.Group{ID: g.ID, Attestation: dps.Attestation{Type: "x509", X509: &dps.X509{
				Signing: &dps.Slots{Primary: signing[0], Secondary: signing[1]},
			}}})
		},
	}
}

func (s *session) readGroup(id string) func(context.Context, *observed) error {
	return func(ctx context.Context, o *observed) error {
		g, err := s.getGroup(ctx, id)
		if err != nil {
			return err
		}
		o.putGroup(id, g)
		return nil
	}
}

func (r *Registrar) examineGroup(ctx context.Context, s *session, g Group, o *observed) (reconcile.Change, doing, error) {
	var anchors []Authority
	var want []string
	all := r.authorities()
	for _, name := range g.Anchors {
		anchors = append(anchors, all[name])
		want = append(want, SHA256(all[name].Certificate))
	}
	change := reconcile.Change{Kind: kindGroup, Subject: g.ID, Action: reconcile.None}
	change.After = r.describe(want, g.Reference, g.status(), g.Shape.settings(g.Tags, g.Desired))
	refuse := func(why string) (reconcile.Change, doing, error) {
		change.Action, change.After = reconcile.Refuse, why
		return change, nil, nil
	}

	why, err := r.strayOrder(ctx, s.target, g, o)
	switch {
	case err != nil:
		return change, nil, err
	case why != "":
		return refuse(why)
	}
	have := o.group(g.ID)
	var there []string
	if have == nil {
		change.Action = reconcile.Create
	} else {
		if !isX509(*have) {
			return refuse(fmt.Sprintf("there is a group of this id whose devices prove themselves otherwise (%s): it is another's, choose another id", or(have.Attestation.Type, "unknown")))
		}
		there = o.anchors(*have)
		change.Before = r.describe(there, have.Attestation.X509 != nil && have.Attestation.X509.References != nil, or(have.Status, dps.Enabled),
			settingsOfGroup(*have))
		refused, removed, err := r.checkAnchors(ctx, s.target, there, anchors)
		if err != nil {
			return change, nil, err
		}
		if refused != "" {
			return refuse(refused)
		}
		if text := r.change(g, *have, there, want); text != "" {
			change.Action, change.After = reconcile.Update, text+"\n"+change.After
			// Who disabled it at DPS may have had a reason, such as a CA that is compromised:
			// to let its devices in again takes as many as to keep them out.
			change.Destructive = len(removed) > 0 || g.Disabled != strings.EqualFold(have.Status, dps.Disabled)
		}
	}

	stray, err := r.stray(s.target, g, want, o)
	switch {
	case err != nil:
		return change, nil, err
	case stray != "" && change.Action == reconcile.None:
		change.Action, change.After = reconcile.Foreign, stray
		return change, nil, nil
	case stray != "":
		return refuse(stray)
	case change.Action == reconcile.None:
		return change, nil, nil
	}
	if why := o.unverified(s.target, g, anchors); why != "" {
		if o.planning {
			return refuse(why + ": list one under cas")
		}
		return change, nil, &waiting{why: why}
	}
	return change, func(ctx context.Context) error {
		if _, err := s.dps.PutGroup(ctx, g.wanted(have, anchors, o, s.target)); err != nil {
			return fmt.Errorf("writing group %q: %w", g.ID, err)
		}
		return nil
	}, nil
}

// stray says what takes devices of this group somewhere else: another group on the same
// certificate, or one that is not the target's and nearer; empty if nothing does.
func (r *Registrar) stray(t Target, g Group, want []string, o *observed) (string, error) {
	for _, other := range o.groups {
		if strings.EqualFold(other.ID, g.ID) || !isX509(other) {
			continue
		}
		for _, a := range o.anchors(other) {
			if !slices.Contains(want, a) {
				continue
			}
			whose := "which is not the target's"
			if t.hasGroup(other.ID) {
				whose = "which must be changed or deleted first, by an apply of its own"
			}
			return fmt.Sprintf("group %q stands on %s already, %s; which of the two DPS takes is not documented", other.ID, r.nameOfAnchor(a), whose), nil
		}
	}
	if r.cfg.LabelIssuer == nil {
		return "", nil
	}
	groups := r.grounds(t, o)
	for _, label := range g.Labels {
		id, anchor, err := r.leads(t, label, groups)
		if err != nil {
			return "", err
		}
		if !strings.EqualFold(id, g.ID) {
			return fmt.Sprintf("devices of label %q end in group %q, which is not the target's and stands on %s", label, id, r.nameOfAnchor(anchor)), nil
		}
	}
	return "", nil
}

// unverified says why devices under an anchor would be refused for want of a verified
// CA; empty if they would not.
func (o *observed) unverified(t Target, g Group, anchors []Authority) string {
	for _, a := range anchors {
		if g.Reference {
			if u := o.named(o.nameOf(t.caOf(a.Name), a)); u == nil || !u.verified {
				return fmt.Sprintf("certificate %q, to which it refers, is not verified at DPS", a.Name)
			}
			continue
		}
		if !o.verifies(a) {
			return fmt.Sprintf("neither %q nor a CA above it is verified at DPS, which would refuse every device below it", a.Name)
		}
	}
	return ""
}

// groupDeletion is a group that is to go. Only one that the target names is ever
// deleted.
func (r *Registrar) groupDeletion(s *session, g Group) resource {
	return resource{
		kind: kindGroup, subject: g.ID,
		read: s.readGroup(g.ID),
		examine: func(_ context.Context, o *observed) (reconcile.Change, doing, error) {
			change := reconcile.Change{Kind: kindGroup, Subject: g.ID, Action: reconcile.None, After: absent}
			have := o.group(g.ID)
			if have == nil {
				return change, nil, nil
			}
			if !isX509(*have) {
				change.Action = reconcile.Refuse
				change.After = fmt.Sprintf("the group of this id is another's: its devices prove themselves otherwise (%s)", or(have.Attestation.Type, "unknown"))
				return change, nil, nil
			}
			change.Action, change.Destructive = reconcile.Delete, true
			change.Before = r.describe(o.anchors(*have), have.Attestation.X509 != nil && have.Attestation.X509.References != nil, or(have.Status, dps.Enabled),
				settingsOfGroup(*have))
			change.After = absent + "; its devices cannot register again"
			return change, func(ctx context.Context) error {
				err := s.dps.DeleteGroup(ctx, g.ID, have.Etag)
				if err == nil || missing(err) { // by a call whose answer was lost
					return nil
				}
				return fmt.Errorf("deleting group %q: %w", g.ID, err)
			}, nil
		},
		effect: func(o *observed) { o.putGroup(g.ID, nil) },
	}
}

// describe writes a group for those who approve a plan.
func (r *Registrar) describe(anchors []string, reference bool, status string, s settings) string {
	var list []string
	for i, h := range anchors {
		name := r.nameOfAnchor(h)
		if name != h {
			name = fmt.Sprintf("%s (SHA-256 %s)", name, h)
		}
		list = append(list, []string{"primary ", "secondary "}[min(i, 1)]+name)
	}
	if len(list) == 0 {
		list = append(list, "no certificate")
	}
	kind := "certificates"
	if reference {
		kind = "references"
	}
	hubs := "not set here"
	if len(s.Hubs) > 0 {
		hubs = strings.Join(s.Hubs, " ")
	}
	text := fmt.Sprintf("%s: %s\n%s, IoT Edge %t, allocation %s, hubs %s, reprovision %s", kind, strings.Join(list, ", "),
		strings.ToLower(status), s.Capabilities != nil && s.Capabilities.Edge, or(s.Allocation, "none"), hubs, reprovisionWord(s.Reprovision))
	if s.Custom != nil {
		text += ", function " + webhookText(s.Custom)
	}
	if twin := twinText(s.Twin); twin != "{}" {
		text += "\ntwin " + twin
	}
	return text
}

// webhookText names an allocation function. The query of its URL may hold its key, so
// that of the whole only a hash is shown.
func webhookText(c *dps.CustomAllocation) string {
	shown := "unreadable URL"
	if u, err := url.Parse(c.WebhookURL); err == nil {
		shown = u.Scheme + "://" + u.Host + u.Path
	}
	return fmt.Sprintf("%s (%x) api version %s", shown, sha256.Sum256([]byte(c.WebhookURL)), c.APIVersion)
}
