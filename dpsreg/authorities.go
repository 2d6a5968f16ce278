package dpsreg

import (
	"crypto/x509"
	"slices"
	"strings"
)

// Authority is what dpsreg must know of a CA of ours. Chain leads from its issuer
// to the root, which is the last one; empty for a root.
type Authority struct {
	Name        string
	Certificate *x509.Certificate
	Chain       []*x509.Certificate
	// Under are roots that devices may show a path to, too, by another certificate of the
	// same key: where a group stands on one of them before the authority itself goes by it.
	Under []*x509.Certificate
}

// path is the authority's certificate and those above it.
func (a Authority) path() []*x509.Certificate {
	return append([]*x509.Certificate{a.Certificate}, a.Chain...)
}

// stands reports whether the authority is, or stands below, the one with this
// certificate.
func (a Authority) stands(anchor *x509.Certificate) bool {
	return slices.ContainsFunc(a.path(), anchor.Equal)
}

// authorities are ours, by name.
func (r *Registrar) authorities() map[string]Authority {
	all := make(map[string]Authority)
	for _, a := range r.cfg.Authorities() {
		if a.Certificate != nil {
			all[a.Name] = a
		}
	}
	return all
}

// ours is the authority with that SHA-256.
func (r *Registrar) ours(sha256 string) (Authority, bool) {
	for _, a := range r.authorities() {
		if SHA256(a.Certificate) == sha256 {
			return a, true
		}
	}
	return Authority{}, false
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
