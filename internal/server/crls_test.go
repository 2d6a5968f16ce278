package server

import (
	"crypto/x509"
	"encoding/asn1"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mintmark/internal/config"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// TestCRLInShards: with crl.shards and crl.publish, a revocation is soon on the CRL that the
// certificate names, over HTTP and in the directory, and its scope is that certificate's.
func TestCRLInShards(t *testing.T) {
	dir := newState(t)
	editConfig(t, dir, "profiles:\n", "crl:\n  shards: {issuing: 4}\n  publish:\n    - dir: published\n\nprofiles:\n")
	if err := os.Mkdir(filepath.Join(dir, "published"), 0o755); err != nil {
		t.Fatal(err)
	}
	server := serveLocal(t, dir, nil)
	answer, err := newClient(t, dir, server.est).Enroll(t.Context(), newDevice(t, "press-1").csr)
	if err != nil {
		t.Fatal(err)
	}
	leaf := answer
	point, err := url.Parse(leaf.CRLDistributionPoints[0])
	if err != nil || !strings.HasPrefix(point.Path, "/crl/issuing/") || len(leaf.CRLDistributionPoints) != 1 {
		t.Fatalf("the certificate names %v: %v", leaf.CRLDistributionPoints, err)
	}
	file := filepath.Join(dir, "published", filepath.FromSlash(point.Path))
	listed := func(der []byte) bool {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return false
		}
		scope, err := scopeOf(list)
		if err != nil || scope.covers(leaf) != nil || !scope.onlyUsers {
			t.Fatalf("scope %+v: %v, %v", scope, scope.covers(leaf), err)
		}
		for _, e := range list.RevokedCertificateEntries {
			if e.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
				return true
			}
		}
		return false
	}
	fetch := func() []byte { _, body := get(t, "http://"+server.http+point.Path); return []byte(body) }
	eventually(t, "the directory has what is served", func() bool {
		content, err := os.ReadFile(file)
		return err == nil && string(content) == string(fetch()) && !listed(content)
	})
	if _, err := server.ra.Revoke(t.Context(), ledger.Selector{Serial: issuer.SerialOf(leaf.SerialNumber)}, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revocation is on the CRL that the certificate names", func() bool { return listed(fetch()) })
	eventually(t, "and on that in the directory", func() bool {
		content, err := os.ReadFile(file)
		return err == nil && listed(content)
	})
	full, err := server.ledger.LatestCRL(t.Context(), "issuing", 0)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(full.DER)
	if err != nil {
		t.Fatal(err)
	}
	if scope, err := scopeOf(list); err != nil || scope.covers(leaf) == nil || scope.onlyUsers {
		t.Errorf("the full CRL has the scope %+v: %v", scope, err)
	}
	if states := server.crls.PlaceStates(); len(states) != 1 || states[0].Name != "dir published" || len(states[0].Problems) > 0 {
		t.Errorf("places %+v", states)
	}
}

// TestShardsOfARoot: the server does not start.
func TestShardsOfARoot(t *testing.T) {
	dir := newState(t)
	editConfig(t, dir, "profiles:\n", "crl: {shards: {root: 4}}\n\nprofiles:\n")
	c, err := config.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), c, Options{Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "crl.shards.root") {
		t.Errorf("opened: %v", err)
	}
}

// TestCRLRisks says which certificates a divided CRL leaves on the full one.
func TestCRLRisks(t *testing.T) {
	none, own := []string{}, []string{"http://other.example/{issuer}.crl"}
	c := &config.Config{Profiles: map[string]issuer.ProfileConfig{"device": {}, "own": {CRL: &own}, "none": {CRL: &none}}}
	if list := crlRisks(c); len(list) != 0 {
		t.Errorf("without shards: %v", list)
	}
	c.CRL.Shards = map[string]int{"issuing": 2}
	if list := crlRisks(c); len(list) != 2 || !strings.Contains(list[0], `"none"`) || !strings.Contains(list[1], `"own"`) {
		t.Errorf("risks %v", list)
	}
}

// FuzzParseIDP: what is read as a scope is written as one that is read alike.
func FuzzParseIDP(f *testing.F) {
	for _, seed := range []string{
		"\x30\x00", "\x30\x0b\xa0\x09\xa0\x07\x86\x05http:", "\x30\x0e\xa0\x09\xa0\x07\x86\x05http:\x81\x01\xff", "\x30\x03\x82\x01\xff", "\x30\x03\x84\x01\xff", "\x30\x80\x00\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		scope, err := parseIDP(der)
		if err != nil {
			if len(scope.points) > 0 || scope.onlyUsers || scope.onlyCAs {
				t.Errorf("an error and %+v", scope)
			}
			return
		}
		var raw asn1.RawValue
		if rest, err := asn1.Unmarshal(der, &raw); err != nil || len(rest) > 0 {
			t.Errorf("read what is not DER: %v", err)
		}
	})
}
