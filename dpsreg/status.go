package dpsreg

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"mintmark/dpsreg/dps"
	"mintmark/internal/ledger"
	"mintmark/internal/reconcile"
)

// Status is what DPS has of a target, and what is to be done about it, of one moment.
type Status struct {
	Target string     `json:"target"`
	CAs    []CAStatus `json:"cas"`
	// Groups are those that are configured.
	Groups []GroupStatus `json:"groups"`
	// CertificateSlots and GroupSlots say how much of the service's limits is used.
	CertificateSlots int      `json:"certificate_slots"` // of 25
	GroupSlots       int      `json:"group_slots"`       // of 100
	Unknown          []string `json:"unknown"`           // CAs and groups there that are not ours
	// Warnings are about what is as it should be and will not do for long: a CA that
	// has expired or ends too early, limits that are nearly reached.
	Warnings []string `json:"warnings"`
	// Plan is what Apply would do; empty when the target is as it should be.
	Plan reconcile.Plan `json:"-"`
}

// CAStatus is one CA.
type CAStatus struct {
	Authority string    `json:"authority"`
	Name      string    `json:"name"` // under which it is there, or will be
	SHA256    string    `json:"sha256"`
	There     bool      `json:"there"`
	Verified  bool      `json:"verified"`
	Expires   time.Time `json:"expires"`
	// Live counts the certificates in force below it, of devices; Superseded those of
	// them whose device has a newer one that stands elsewhere. -1 if not asked for.
	Live       int `json:"live"`
	Superseded int `json:"superseded"`
}

// GroupStatus is one group.
type GroupStatus struct {
	ID       string         `json:"id"`
	There    bool           `json:"there"`
	Disabled bool           `json:"disabled"`
	Anchors  []string       `json:"anchors"` // as they are there: our authorities' names, or the SHA-256 of a stranger
	Live     map[string]int `json:"live"`    // certificates in force below each anchor of ours; nil if not asked for
	// Superseded are those of Live whose device has a newer one that stands elsewhere.
	Superseded map[string]int `json:"superseded"`
	Labels     []string       `json:"labels"`   // whose devices come here
	Orders     []string       `json:"orders"`   // open work orders whose devices come here
	Assigned   int            `json:"assigned"` // registrations that are assigned; -1 if not asked for
}

// Status reads a target and changes nothing. With count it also counts live
// certificates and registrations, page by page; the latter count as operations of the
// service.
func (r *Registrar) Status(ctx context.Context, t Target, count bool) (Status, error) {
	e, err := r.examine(ctx, t)
	if err != nil {
		return Status{}, err
	}
	status := Status{Target: t.Name, CAs: []CAStatus{}, Groups: []GroupStatus{}, Unknown: []string{}, Warnings: []string{}, Plan: e.plan}
	err = r.statusOfCAs(ctx, t, e.observed, count, &status)
	if err == nil {
		err = r.statusOfGroups(ctx, e.session, e.observed, count, &status)
	}
	if err != nil {
		return Status{}, fmt.Errorf("DPS target %q: %w", t.Name, err)
	}
	status.limits()
	return status, nil
}

func (r *Registrar) statusOfCAs(ctx context.Context, t Target, o *observed, count bool, status *Status) error {
	known := make(map[string]bool)
	all := r.authorities()
	for _, ca := range t.CAs {
		a := all[ca.Authority]
		one := CAStatus{Authority: ca.Authority, Name: o.nameOf(ca, a), SHA256: SHA256(a.Certificate), Expires: a.Certificate.NotAfter.UTC(), Live: -1, Superseded: -1}
		if u := o.named(one.Name); u != nil && u.is(a.Certificate) {
			one.There, one.Verified = true, u.verified
			known[u.name] = true
		}
		if count {
			left, err := r.books.leftBelow(ctx, a.Certificate)
			if err != nil {
				return err
			}
			one.Live, one.Superseded = left.live, left.superseded
		}
		status.CAs = append(status.CAs, one)
		if ca.deleted() {
			continue
		}
		text, err := r.expiryText(ctx, a)
		if err != nil {
			return err
		}
		if text != "" {
			status.Warnings = append(status.Warnings, "CA "+text)
		}
	}
	status.CertificateSlots = len(o.certificates)
	for _, u := range o.certificates {
		if known[u.name] {
			continue
		}
		text := "certificate " + u.name
		if u.certificate != nil {
			if a, ours := r.ours(SHA256(u.certificate)); ours {
				text += fmt.Sprintf(" (our CA %q, which the target does not name)", a.Name)
			}
		}
		status.Unknown = append(status.Unknown, text)
	}
	return nil
}

func (r *Registrar) statusOfGroups(ctx context.Context, s *session, o *observed, count bool, status *Status) error {
	t := s.target
	grounds := make(map[string][]string)
	for _, g := range o.groups {
		if isX509(g) {
			grounds[g.ID] = o.anchors(g)
			status.GroupSlots++
		}
		if !t.hasGroup(g.ID) {
			status.Unknown = append(status.Unknown, "group "+g.ID)
		}
	}
	labels, err := r.destinations(ctx, t, grounds)
	if err != nil {
		return err
	}
	for _, g := range t.Groups {
		one := GroupStatus{ID: g.ID, Anchors: []string{}, Assigned: -1, Labels: []string{}, Orders: []string{}}
		have := o.group(g.ID)
		if have != nil && isX509(*have) {
			one.There, one.Disabled = true, strings.EqualFold(have.Status, dps.Disabled)
			for _, h := range o.anchors(*have) {
				one.Anchors = append(one.Anchors, r.nameOfAnchor(h))
			}
			one.Labels = append(one.Labels, labels[have.ID].labels...)
			one.Orders = append(one.Orders, labels[have.ID].orders...)
		}
		if count && one.There {
			if err := r.count(ctx, s, o, *have, &one); err != nil {
				return err
			}
		}
		status.Groups = append(status.Groups, one)
	}
	return nil
}

// count fills in what takes pages of calls.
func (r *Registrar) count(ctx context.Context, s *session, o *observed, have dps.Group, one *GroupStatus) error {
	one.Live, one.Superseded = make(map[string]int), make(map[string]int)
	for _, h := range o.anchors(have) {
		a, ours := r.ours(h)
		if !ours {
			continue
		}
		left, err := r.books.leftBelow(ctx, a.Certificate)
		if err != nil {
			return err
		}
		one.Live[a.Name], one.Superseded[a.Name] = left.live, left.superseded
	}
	one.Assigned = 0
	err := s.dps.Registrations(ctx, have.ID, func(state dps.RegistrationState) error {
		one.Assigned += oneIf(strings.EqualFold(state.Status, "assigned"))
		return nil
	})
	if err != nil {
		return fmt.Errorf("counting the registrations of group %q: %w", have.ID, err)
	}
	return nil
}

// destination is what leads into a group.
type destination struct{ labels, orders []string }

// destinations says which labels and open work orders lead into which group, as DPS has
// them now. A label whose devices get individual enrollments leads into none.
func (r *Registrar) destinations(ctx context.Context, t Target, groups map[string][]string) (map[string]destination, error) {
	found := make(map[string]destination)
	of := make(map[string]string) // group by label
	for label := range r.cfg.LabelIssuer {
		pinned := slices.ContainsFunc(t.Enrollments, func(e Enrollment) bool {
			return len(e.Profiles) == 0 && len(e.Orders) == 0 && slices.Contains(e.Labels, label)
		})
		id, _, err := r.leads(t, label, groups)
		if err != nil || id == "" || pinned {
			continue // a label whose CA is not made yet leads nowhere
		}
		of[label] = id
		d := found[id]
		d.labels = append(d.labels, label)
		slices.Sort(d.labels)
		found[id] = d
	}
	for after := ""; ; {
		orders, err := r.cfg.Records.Orders(ctx, ledger.OrderQuery{State: ledger.OrderOpen, After: after, Limit: 1000})
		if err != nil {
			return nil, fmt.Errorf("reading the work orders: %w", err)
		}
		for _, order := range orders {
			after = order.ID
			id, ok := of[order.Label]
			pinned := slices.ContainsFunc(t.Enrollments, func(e Enrollment) bool { return slices.Contains(e.Orders, order.ID) })
			if !ok || pinned {
				continue
			}
			d := found[id]
			d.orders = append(d.orders, order.ID)
			found[id] = d
		}
		if len(orders) < 1000 {
			return found, nil
		}
	}
}

// limits warns of limits before they stop a rotation.
func (s *Status) limits() {
	if s.CertificateSlots >= MaxCertificates-1 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%d of %d places for certificates are taken: the successor of a root needs a free one", s.CertificateSlots, MaxCertificates))
	}
	if s.GroupSlots >= MaxGroups-5 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%d of %d places for groups are taken", s.GroupSlots, MaxGroups))
	}
}
