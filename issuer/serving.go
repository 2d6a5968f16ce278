package issuer

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"slices"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// Serving returns the name of the authority that issues in the place of the named one: the
// same, or what has replaced it by rotations of issuing CAs, one after the other. In the
// canary of one, label and device decide; either may be empty for not known. The
// configuration goes on naming the old one. It may be called concurrently.
func (ra *RA) Serving(name, label, device string) string {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	return ra.known.serving(name, label, device)
}

// serving is Serving of a hierarchy. In the order in which rotations began: what was
// replaced by a CA that was itself replaced by the first again is served by the first.
func (h *hierarchy) serving(name, label, device string) string {
	for i := range h.redirects {
		r := &h.redirects[i]
		if r.Old == name && servesNew(r, label, device) && h.authorities[r.New] != nil {
			name = r.New
		}
	}
	return name
}

// PathFor returns the path that is shown to a device of an issuing CA, the root first:
// that of the CA that serves it, under the root that a running rotation of roots has for it. It
// is nil for an unknown authority, must not be modified, and may be called concurrently.
func (ra *RA) PathFor(name, label, device string) []*x509.Certificate {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	return ra.known.pathFor(ra.known.serving(name, label, device), label, device)
}

// pathFor is PathFor of the CA that serves.
func (h *hierarchy) pathFor(name, label, device string) []*x509.Certificate {
	// The last one first: an earlier one may wait for years until it is archived.
	for i := len(h.rotations) - 1; i >= 0; i-- {
		r := &h.rotations[i]
		if r.Kind != ledger.RotateRoot || rotation.State(r.State).Over() || !h.concerns(r, name) {
			continue
		}
		root := r.Old
		if servesNew(r, label, device) {
			root = r.New
		}
		if path := h.under[name][root]; path != nil {
			return path
		}
	}
	return h.paths[name]
}

// ServerPath returns the path that a server of ours shows of its own certificate by an
// issuing CA, the root first, where the certificate of that root by the other one of a rollover
// (Bridges) follows it. It is that of PathFor, but not where somebody who trusts the old root
// only could not take it: because nothing leads from the new root to the old one, or only
// by more certificates than some verifiers let the old root have below it (see roomFor). Then it
// is the old path until the rollover ends. It must not be modified, and the method may be called
// concurrently.
func (ra *RA) ServerPath(name string) []*x509.Certificate {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	h := &ra.known
	name = h.serving(name, "", "")
	path := h.pathFor(name, "", "")
	for _, r := range h.rollovers {
		old, new := h.authorities[r.Old], h.authorities[r.New]
		if len(path) == 0 || old == nil || new == nil {
			continue
		}
		if over := ra.backPath(r, name, old.Certificate()); over != nil && path[0].Equal(old.Certificate()) {
			return over
		}
		if !path[0].Equal(new.Certificate()) {
			continue
		}
		if under := h.under[name][r.Old]; under != nil && (r.newWithOld == nil || tight(old.Certificate(), path)) {
			return under
		}
	}
	return path
}

// tight reports whether a root lets fewer certificates stand below it than a path under
// another root has, together with the certificate of that one.
func tight(root *x509.Certificate, path []*x509.Certificate) bool {
	room, limited := pathLen(root)
	return limited && room < len(path)
}

// PathUnder returns the path of an authority under a root, the root first: under another
// one than its own, by the certificates that rotations of roots have made or left. Nil if there is
// none. It must not be modified, and the method may be called concurrently.
func (ra *RA) PathUnder(name, root string) []*x509.Certificate {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	return ra.known.under[name][root]
}

// RotationOf returns the last rotation that is not over and concerns an authority, or the
// one that serves in its place: it, or the root above it, is one of the two. It may be called
// concurrently.
func (ra *RA) RotationOf(name string) (ledger.Rotation, bool) {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	name = ra.known.serving(name, "", "")
	for i := len(ra.known.rotations) - 1; i >= 0; i-- {
		if r := &ra.known.rotations[i]; !rotation.State(r.State).Over() && ra.known.concerns(r, name) {
			return *r, true
		}
	}
	return ledger.Rotation{}, false
}

// KnownRotations returns the rotations as this server serves by them, in the order in which
// they began. The list must not be modified; it may be called concurrently, and does no I/O.
func (ra *RA) KnownRotations() []ledger.Rotation {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	return ra.known.rotations
}

// servesNew reports whether the new one of the two CAs of a rotation is for who asks.
func servesNew(r *ledger.Rotation, label, device string) bool {
	switch r.Issue {
	case ledger.IssueNew:
		return true
	case ledger.IssueCanary:
		return label != "" && slices.Contains(r.Canary.Labels, label) ||
			device != "" && r.Canary.Percent > 0 && lot(r.ID, device) < r.Canary.Percent
	}
	return false
}

// lot is the number from 0 to 99 that a device draws in a rotation, the same each time and
// on every server.
func lot(id, device string) int {
	sum := sha256.Sum256([]byte(id + "\x00" + device))
	return int(binary.BigEndian.Uint64(sum[:8]) % 100)
}

// concerns reports whether a rotation is about an authority, or about the root above it.
func (h *hierarchy) concerns(r *ledger.Rotation, name string) bool {
	if name == r.Old || name == r.New {
		return true
	}
	a := h.authorities[name]
	if r.Kind != ledger.RotateRoot || a == nil {
		return false
	}
	for _, root := range []string{r.Old, r.New} {
		if one := h.authorities[root]; one != nil && a.Root().Equal(one.Certificate()) {
			return true
		}
	}
	return false
}
