package dpsreg

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// checkAnchors says why the certificates of a group's slots may not become those of
// anchors; empty if they may. What is removed stands under the second value.
//
// A group changes its CA in steps, between which devices renew: [old] -> [old, new] ->
// [new, old] -> [new]. Each step keeps one of the two, and the last one waits until
// nothing in force is below the old one.
func (r *Registrar) checkAnchors(ctx context.Context, t Target, have []string, anchors []Authority) (refused string, removed []string, err error) {
	var want []string
	for _, a := range anchors {
		want = append(want, SHA256(a.Certificate))
	}
	kept := slices.ContainsFunc(have, func(h string) bool { return slices.Contains(want, h) })
	if len(have) > 0 && !kept && !slices.ContainsFunc(have, func(h string) bool { return r.released(t, h) }) {
		return fmt.Sprintf("this would replace every anchor at once, and devices that have not renewed would be refused: first put the new one behind the old one (%s), have devices renew, then take the old one out",
			r.names(have[:1])+", "+r.names(want[:1])), nil, nil
	}
	var why []string
	for _, h := range have {
		if slices.Contains(want, h) {
			continue
		}
		removed = append(removed, h)
		if r.released(t, h) {
			continue
		}
		text, err := r.below.keeps(ctx, h)
		if err != nil {
			return "", nil, err
		}
		if text != "" {
			why = append(why, fmt.Sprintf("anchor %q cannot go: %s", r.nameOfAnchor(h), text))
		}
	}
	return strings.Join(why, "; "), removed, nil
}

// released reports whether the authority with that SHA-256 may go although something is
// in force below it.
func (r *Registrar) released(t Target, sha256 string) bool {
	a, ours := r.ours(sha256)
	return ours && slices.Contains(t.Released, a.Name)
}

// nearest is the group on which the first certificate of a path stands, as DPS looks
// for it; empty if there is none. groups are the anchors of each group.
// https://learn.microsoft.com/azure/iot-dps/concepts-x509-attestation, "Enrollment
// groups and individual enrollments"
func nearest(path []*x509.Certificate, groups map[string][]string) (id, anchor string) {
	for _, c := range path {
		sha := SHA256(c)
		for _, id := range slices.Sorted(maps.Keys(groups)) {
			if slices.Contains(groups[id], sha) {
				return id, sha
			}
		}
	}
	return "", ""
}

// pemOf is a certificate, given in DER, in PEM.
func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// anchored is the target with the anchors of groups that name none: the root of what
// their labels issue by.
func (r *Registrar) anchored(t Target) (Target, error) {
	t.Groups = slices.Clone(t.Groups)
	for i, g := range t.Groups {
		if g.deleted() || len(g.Anchors) > 0 {
			continue
		}
		root := ""
		for _, label := range g.Labels {
			of, err := r.rootOf(t, label)
			switch {
			case err != nil:
				return t, fmt.Errorf("group %q: it names no anchors: %w", g.ID, err)
			case root != "" && of != root:
				return t, fmt.Errorf("group %q: it names no anchors, and its labels %q and %q lead to the roots %q and %q: name the anchors", g.ID, g.Labels[0], label, root, of)
			}
			root = of
		}
		t.Groups[i].Anchors = []string{root}
	}
	return t, nil
}

// rootOf is the root above the issuing CA of a label.
func (r *Registrar) rootOf(t Target, label string) (string, error) {
	issuing, err := r.issuerOf(t, label)
	if err != nil {
		return "", err
	}
	path := issuing.path()
	root, ok := r.ours(SHA256(path[len(path)-1]))
	if !ok {
		return "", fmt.Errorf("the root of label %q is no authority here: name the anchors", label)
	}
	return root.Name, nil
}
