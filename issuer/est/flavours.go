package est

import (
	"bytes"
	"crypto/x509"
	"slices"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// Paths is what the handler asks about CAs that are being replaced. It is safe for
// concurrent use, and answers from memory.
type Paths interface {
	// RotationOf returns the rotation that runs and concerns an issuing CA, or its root.
	RotationOf(issuerName string) (ledger.Rotation, bool)
	// Serving is the name of the CA that issues where the configuration names
	// issuerName, to a device at a label; the device may be empty.
	Serving(issuerName, label, device string) string
	// PathFor returns the path of what Serving says, root first, under the root that it
	// is given out under at the time.
	PathFor(issuerName, label, device string) []*x509.Certificate
	// PathUnder returns the path of an issuing CA under one of the two roots that it has
	// certificates of, root first; nil if there is none.
	PathUnder(issuerName, root string) []*x509.Certificate
}

// CACerts is a flavour of cacerts.
type CACerts string

// While no root and no issuing CA is being replaced, all flavours but CACertsPath are
// the same.
const (
	// CACertsFull holds the active path and, while a root is replaced, both roots and
	// what leads from one to the other (RFC 7030, Section 4.1.3), of which there is nothing in
	// an emergency, and the old root only until the switch. The zero value does, too.
	CACertsFull CACerts = "full"
	// CACertsBoth holds the active path and both roots: for clients that take several
	// roots and no certificate of one by the other.
	CACertsBoth CACerts = "both"
	// CACertsActive holds the active path only, for clients that take no second
	// root.
	CACertsActive CACerts = "active"
	// CACertsNew holds the path under the new root as soon as that is given out, and no
	// other: for clients that keep one root.
	CACertsNew CACerts = "new"
	// CACertsOld holds the path under the old root until nobody is given that: for
	// devices whose trust cannot be changed, or only by firmware.
	CACertsOld CACerts = "old"
	// CACertsPath holds the active path only and in its order, issuing CA first
	// and root last, for clients that present what they got as their chain: not
	// the order of a DER SET, which RFC 5652 does not demand here.
	CACertsPath CACerts = "path"
)

var flavours = []CACerts{CACertsFull, CACertsBoth, CACertsActive, CACertsNew, CACertsOld, CACertsPath}

// given is what a device gets from cacerts at a label, in no order unless the label says
// so; device is empty for a client that is not known.
func (h *Handler) given(l *label, device string) []*x509.Certificate {
	if h.paths == nil {
		return h.withBridges(l, slices.Clone(h.authority.Anchors(l.Issuer)), l.Issuer)
	}
	active := slices.Clone(h.paths.PathFor(l.Issuer, l.Name, device))
	if len(active) == 0 {
		return nil
	}
	serving := h.paths.Serving(l.Issuer, l.Name, device)
	r, running := h.paths.RotationOf(l.Issuer)
	distributed := running && givenOut(r)
	switch {
	case distributed && r.Kind == ledger.RotateIssuing && l.CACerts != CACertsPath:
		// Whoever has a certificate of the one must find its path, whichever issues now.
		for _, name := range []string{r.Old, r.New} {
			for _, c := range h.authority.Anchors(name) {
				if !slices.ContainsFunc(active, func(have *x509.Certificate) bool { return bytes.Equal(have.Raw, c.Raw) }) {
					active = append(active, c)
				}
			}
		}
	case distributed && r.Kind == ledger.RotateRoot && l.CACerts == CACertsNew:
		if path := h.paths.PathUnder(serving, r.New); len(path) > 0 {
			return path
		}
	case distributed && r.Kind == ledger.RotateRoot && r.Emergency:
		return h.withBoth(l, active, r, serving)
	case running && r.Kind == ledger.RotateRoot && l.CACerts == CACertsOld && !r.Emergency && !rotation.State(r.State).From(rotation.TrustRemoved):
		if path := h.paths.PathUnder(serving, r.Old); len(path) > 0 {
			return path
		}
	}
	return h.withBridges(l, active, serving)
}

// withBridges adds what leads from one root to the other, as far as the flavour takes it.
func (h *Handler) withBridges(l *label, list []*x509.Certificate, issuerName string) []*x509.Certificate {
	switch l.CACerts {
	case "", CACertsFull:
		// RFC 7030, Section 4.1.3: OldWithOld, OldWithNew and NewWithOld.
		// Among them is the root that is there already; CertsOnly writes it once.
		return append(list, h.authority.Bridges(issuerName)...)
	case CACertsBoth:
		for _, c := range h.authority.Bridges(issuerName) {
			// OldWithOld and NewWithNew. Two roots of one name may certify each other.
			if bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignatureFrom(c) == nil {
				list = append(list, c)
			}
		}
	}
	return list
}

// withBoth adds, in an emergency, both roots until the switch, as far as the flavour takes them:
// by the one a device verifies this server until then, and by the other one after it. Nothing leads
// from one to the other, since the old key is in wrong hands, and after the switch nobody is given
// its root.
func (h *Handler) withBoth(l *label, list []*x509.Certificate, r ledger.Rotation, serving string) []*x509.Certificate {
	if r.Issue == ledger.IssueNew || l.CACerts != "" && l.CACerts != CACertsFull && l.CACerts != CACertsBoth {
		return list
	}
	for _, root := range []string{r.Old, r.New} {
		path := h.paths.PathUnder(serving, root)
		if len(path) > 0 && !slices.ContainsFunc(list, path[0].Equal) {
			list = append(list, path[0])
		}
	}
	return list
}

// givenOut reports whether devices are given both CAs of a rotation.
func givenOut(r ledger.Rotation) bool {
	state := rotation.State(r.State)
	return state.From(rotation.Distributing) && !state.From(rotation.TrustRemoved)
}
