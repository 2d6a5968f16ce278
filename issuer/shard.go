package issuer

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"maps"
	"math/big"
	"slices"
)

// MaxShards bounds the shards of an authority's CRL.
const MaxShards = 256

// ShardsOf is into how many the CRLs of an authority are divided: as configured, and where
// nothing is, as those of the issuing CA whose place it took by a rotation. It may be called
// concurrently.
func (ra *RA) ShardsOf(authority string) int {
	ra.mu.RLock()
	defer ra.mu.RUnlock()
	// The last one first: each rotation leads to one that began before it.
	for i := len(ra.known.redirects) - 1; i >= 0; i-- {
		if _, named := ra.Shards[authority]; named {
			break
		}
		if r := &ra.known.redirects[i]; r.New == authority {
			authority = r.Old
		}
	}
	return ra.Shards[authority]
}

// shardOf fixes in whose part of the authority's CRLs a certificate is listed if it is
// revoked, and names that one in it; zero is the full CRL. It is fixed here for good: how
// many shards there are later changes nothing for this certificate.
//
// On the full CRL are the certificates of a profile with CRL addresses of its own, whose
// meaning is not known here, and those of gateways, which are CA certificates: the CRL
// of a shard says that it is about others only.
func (ra *RA) shardOf(p *Profile, authority string, t *x509.Certificate) int {
	n := ra.ShardsOf(authority)
	if n <= 0 || !p.ownCRL || t.IsCA {
		return 0
	}
	rest := new(big.Int).Mod(t.SerialNumber, big.NewInt(int64(n)))
	shard := 1 + int(rest.Int64())
	t.CRLDistributionPoints = []string{crlURL(ra.PublicURL, authority, shard)}
	return shard
}

// crlURL is where a CRL is served. Names of authorities hold no slash.
func crlURL(base, authority string, shard int) string {
	if shard == 0 {
		return base + "/crl/" + authority + ".crl"
	}
	return fmt.Sprintf("%s/crl/%s/%d.crl", base, authority, shard)
}

// CRLPoints lists the distribution points that certificates on a CRL name: those of
// PublicURL and FormerURLs and, for the full CRL, of the profiles and CA certificates
// that have others. The first is where it is served; empty if nothing names any.
func (ra *RA) CRLPoints(authority string, shard int) []string {
	var points []string
	add := func(urls ...string) {
		for _, u := range urls {
			if !slices.Contains(points, u) {
				points = append(points, u)
			}
		}
	}
	for _, base := range append([]string{ra.PublicURL}, ra.FormerURLs...) {
		if base != "" {
			add(crlURL(base, authority, shard))
		}
	}
	if shard != 0 {
		return points
	}
	for _, name := range slices.Sorted(maps.Keys(ra.Profiles)) {
		add(expand(ra.Profiles[name].crl, authority)...)
	}
	by, err := ra.Authority(authority)
	if err != nil {
		return points
	}
	for _, a := range ra.Authorities() {
		if c := a.Certificate(); a != by && bytes.Equal(c.RawIssuer, by.Certificate().RawSubject) {
			add(c.CRLDistributionPoints...)
		}
	}
	return points
}
