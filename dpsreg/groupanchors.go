package dpsreg

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
)

// checkAnchors says why the certificates of a group's slots may not become those of
// anchors; empty if they may. What is removed stands under the second value.
//
// A group changes its CA in steps, between which devices renew: [old] -> [old, new] ->
// [new, old] -> [new]. Each step keeps one of the two, and the last one waits until
// nothing in force is below the old one.
func (r *Registrar) checkAnchors(ctx context.Context, have []string, anchors []Authority) (refused string, removed []string, err error) {
	var want []string
	for _, a := range anchors {
		want = append(want, SHA256(a.Certificate))
	}
	kept := slices.ContainsFunc(have, func(h string) bool { return slices.Contains(want, h) })
	if len(have) > 0 && !kept {
		return fmt.Sprintf("this would replace every anchor at once, and devices that have not renewed would be refused: first put the new one behind the old one (%s), have devices renew, then take the old one out",
			r.names(have[:1])+", "+r.names(want[:1])), nil, nil
	}
	var why []string
	for _, h := range have {
		if slices.Contains(want, h) {
			continue
		}
		removed = append(removed, h)
		a, ours := r.ours(h)
		if !ours {
			if r.bundled != nil {
				why = append(why, fmt.Sprintf("the slot of %s would be emptied, of which the bundle knows nothing", h))
			}
			continue
		}
		text, err := r.liveText(ctx, a.Certificate)
		if err != nil {
			return "", nil, err
		}
		if text != "" {
			why = append(why, fmt.Sprintf("anchor %q cannot go: %s; let them renew first, or revoke them", a.Name, text))
		}
	}
	return strings.Join(why, "; "), removed, nil
}

// names writes anchors for people: our authorities' names, or the SHA-256 of a
// stranger.
func (r *Registrar) names(anchors []string) string {
	var list []string
	for _, h := range anchors {
		list = append(list, r.nameOfAnchor(h))
	}
	return strings.Join(list, ", ")
}

func (r *Registrar) nameOfAnchor(sha256 string) string {
	if a, ok := r.ours(sha256); ok {
		return a.Name
	}
	return sha256
}

// nearest is the group on which the first certificate of a path stands, as DPS looks
// for it; empty if there is none. groups are the anchors of each group.
// https://learn.microsoft.com/azure/iot-dps/concepts-x509-attestation, "Enrollment
// groups and individual enrollments"
func nearest(path []*x509.Certificate, groups map[string][]string) (id, anchor string) {
	for _, c := range path {
		sha := SHA256(c)
		for _, id := range sortedIDs(groups) {
			if slices.Contains(groups[id], sha) {
				return id, sha
			}
		}
	}
	return "", ""
}

func sortedIDs(groups map[string][]string) []string {
	ids := make([]string, 0, len(groups))
	for id := range groups {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}
