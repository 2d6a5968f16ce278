package issuer_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/ca/ceremony"
	"mintmark/ca/rotation"
	"mintmark/internal/keystore"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

// destroying makes the test's key store one of a ceremony, which could destroy keys.
type destroying struct{ *keys }

func (destroying) Destroy(context.Context, string, crypto.PublicKey) error {
	return errors.ErrUnsupported
}

// withOfficers records two officers with keys.
func withOfficers(t testing.TB, l ledger.Ledger) map[string]crypto.Signer {
	t.Helper()
	officers := map[string]crypto.Signer{"alice": pkitest.Key(t, "P-256"), "bob": pkitest.SecondKey(t, "P-256")}
	for name, key := range officers {
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		if err := l.PutPrincipal(t.Context(), ledger.Principal{Name: name, Roles: []string{"officer"}, Key: der, AddedAt: time.Now()}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	return officers
}

// holdCeremony carries out the ceremony that a rotation waits for, with the keys of the room, and returns
// all certificates that it has made, and the CRL, if it has. The signed files are what a person takes to
// where the keys are.
func holdCeremony(t testing.TB, err error, room *keys, officers map[string]crypto.Signer) (made []*x509.Certificate, crl []byte) {
	t.Helper()
	var waiting *rotation.Waiting
	if !errors.As(err, &waiting) {
		t.Fatalf("it does not wait for a ceremony: %v", err)
	}
	f, err := ceremony.Parse(waiting.Ceremony)
	if err != nil {
		t.Fatalf("%v\n%s", err, waiting.Ceremony)
	}
	dir := t.TempDir()
	for name, data := range waiting.Inputs {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	folder := filepath.Join(t.TempDir(), "ceremony")
	p, err := ceremony.Prepare(t.Context(), f, ceremony.Config{Inputs: dir, Folder: folder, Keys: destroying{room}, NotFound: keystore.ErrNotFound,
		Officers: officers, Networks: func() ([]string, error) { return nil, nil }, Version: "test"})
	if err != nil {
		t.Fatalf("%v\n%s", err, waiting.Ceremony)
	}
	if _, err := p.Run(t.Context(), f.Hash()); err != nil {
		t.Fatalf("%v\n%s", err, waiting.Ceremony)
	}
	trust := ceremony.Trust{Officers: map[string]crypto.PublicKey{}}
	for name, key := range officers {
		trust.Officers[name] = key.Public()
	}
	if report, err := ceremony.Verify(folder, trust); err != nil || len(report.Findings) > 0 {
		t.Fatalf("the folder of the ceremony: %v, %v", report, err)
	}
	files, err := filepath.Glob(filepath.Join(folder, "outputs", "*.pem"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the ceremony has made %q, %v", files, err)
	}
	for _, file := range files {
		for rest := pkitest.ReadFile(t, file); len(rest) > 0; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block != nil {
				made = append(made, parseDER(t, block.Bytes))
			}
		}
	}
	lists, err := filepath.Glob(filepath.Join(folder, "outputs", "*.crl"))
	if err != nil || len(lists) > 1 {
		t.Fatalf("CRLs of the ceremony: %q, %v", lists, err)
	}
	for _, file := range lists {
		crl = pkitest.ReadFile(t, file)
	}
	return made, crl
}

// TestCeremonyRoot: both roots have their keys elsewhere; what waits for them goes out as a file
// and comes back as certificates.
func TestCeremonyRoot(t *testing.T) {
	l := newLedger(t)
	officers := withOfficers(t, l)
	store, room := newKeys(t).(*keys), newKeys(t).(*keys)
	one := 1
	ra := newRA(t, l, func(c *issuer.Config) { c.Keys = store })
	// It was made here, and its key has gone into the safe since: that is what an imported root is.
	create(t, ra, rootSpec("root", "Offline Root", 20, &one))
	create(t, ra, issuingUnder("root", "issuing"))
	const uri = "softkms:path=keys/root.pem"
	room.made[uri] = store.made[uri]
	delete(store.made, uri)
	list, err := l.Authorities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list[0].KeyURI = ""
	if err := l.PutAuthority(t.Context(), list[0]); err != nil {
		t.Fatal(err)
	}
	if err := ra.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}

	spec := rootsSpec
	spec.Elsewhere = true
	x := rotate(t, ra, spec)
	if err := x.does.SignsNow(t.Context(), "root"); !errors.Is(err, rotation.ErrElsewhere) {
		t.Errorf("a key that is elsewhere: %v", err)
	}
	made, crl := holdCeremony(t, x.does.Make(t.Context(), x.r, x.spec), room, officers)
	words, err := x.does.Bring(t.Context(), x.r, x.spec, made, "alice")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"the new root root-b", "the certificate of the new root by the old one", "the certificate of the old root by the new one", "the certificate of issuing by the new root"} {
		if !slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, want) }) || len(words) != 4 {
			t.Errorf("%d: %q is not among %q", i, want, words)
		}
	}
	count := cas(t, l)
	if _, err := x.does.Bring(t.Context(), x.r, x.spec, made, "alice"); err != nil {
		t.Errorf("brought again: %v", err)
	}
	// The key is never here: what signs is the old issuing CA only.
	for range 2 {
		if err := x.does.Make(t.Context(), x.r, x.spec); err != nil {
			t.Fatal(err)
		}
	}
	x.put(t, rotation.KeyGenerated, ledger.IssueOld)
	x.to(t, rotation.Certified)
	// What it has signed names a CRL: without one, whoever checks it would refuse every device.
	_, err = x.does.VerifyPaths(t.Context(), x.r)
	against(t, err, "rotation-paths", "mintmark ca crl root-b --import")
	if _, err := ra.ImportCRL(t.Context(), "root-b", crl, "alice"); err != nil {
		t.Fatal(err)
	}
	x.to(t, rotation.TrustRemoved)
	if n := cas(t, l); n != count {
		t.Errorf("%d certificates of CAs, and %d were brought", n, count)
	}
	if a := authority(t, ra, "issuing"); !a.Root().Equal(authority(t, ra, "root-b").Certificate()) {
		t.Error("the issuing CA does not stand under the root of the ceremony")
	}
	mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
}

// TestCeremonyCross: the old root's key is elsewhere, the new one's is here: only what the old one
// signs goes out. The same for an issuing CA under a root whose key is elsewhere.
func TestCeremonyCross(t *testing.T) {
	for _, c := range []struct {
		spec  rotation.Spec
		words string
	}{
		{rootsSpec, "the certificate of the new root by the old one"},
		{rotation.Spec{Kind: ledger.RotateIssuing, Old: "issuing", New: "issuing-b"}, "the new issuing CA issuing-b"},
	} {
		t.Run(string(c.spec.Kind), func(t *testing.T) {
			l := newLedger(t)
			officers := withOfficers(t, l)
			store, room := newKeys(t).(*keys), newKeys(t).(*keys)
			ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) { c.Keys = store }))
			const uri = "softkms:path=keys/root.pem"
			room.made[uri] = store.made[uri]
			list, err := l.Authorities(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			list[0].KeyURI = ""
			if err := l.PutAuthority(t.Context(), list[0]); err != nil {
				t.Fatal(err)
			}
			if err := ra.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			x := rotate(t, ra, c.spec)
			// Cut off after the key was made, it waits for the same key.
			waits := x.does.Make(t.Context(), x.r, x.spec)
			before := maps.Clone(store.made)
			if c.spec.Kind == ledger.RotateRoot {
				if waits != nil {
					t.Fatal(waits)
				}
				_, waits = x.does.Certify(t.Context(), x.r, x.spec)
			} else {
				waits = x.does.Make(t.Context(), x.r, x.spec)
			}
			if !maps.Equal(before, store.made) {
				t.Error("another key was made")
			}
			made, _ := holdCeremony(t, waits, room, officers)
			words, err := x.does.Bring(t.Context(), x.r, x.spec, made, "alice")
			if err != nil || len(words) != 1 || !strings.HasPrefix(words[0], c.words) {
				t.Fatalf("brought %q, %v", words, err)
			}
			x.to(t, rotation.Switched)
			mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
		})
	}
}

// FuzzCeremonySubject: what a certificate says of a name stands in the ceremony file as it is, or
// is refused; it never becomes anything else there.
func FuzzCeremonySubject(f *testing.F) {
	for _, name := range []string{"Root", "it's", "a: b", "#", "' }\n  x: y", "\x1b[2J", "\u202e", "- a", "null", "0x10", "\\", " a", "{a: b}", "Größe"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, text string) {
		subject, err := issuer.CeremonySubject(pkix.Name{Names: []pkix.AttributeTypeAndValue{
			{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: text}, {Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "Mint Works"},
		}})
		if err != nil {
			return
		}
		file, err := ceremony.Parse([]byte("ceremony: 1\nname: a\npurpose: b\nofficers:\n  threshold: 1\n  people:\n    - {name: alice, key: alice.pub}\nsteps:\n  - name: root\n    root:\n" +
			"      key: softkms:path=a.pem\n      algorithm: P-256\n      subject: " + subject + "\n      from: 2026-12-01T09:00:00Z\n      until: 2046-12-01T09:00:00Z\n      outputs: {certificate: root.pem}\n"))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		want := ceremony.Subject{CommonName: text, Organization: "Mint Works"}
		if got := file.Steps[0].Root.Subject; got != want {
			t.Errorf("%q is read as %+v", text, got)
		}
	})
}

// TestCeremonyRefused: without an officer who has a key nobody could hold it, and some names have no
// words in a ceremony file.
func TestCeremonyRefused(t *testing.T) {
	ra := withHierarchy(t, newRA(t, newLedger(t), nil))
	spec := rootsSpec
	spec.Elsewhere = true
	x := rotate(t, ra, spec)
	against(t, x.does.Make(t.Context(), x.r, x.spec), "rotation-officers", "mintmark officer add")
	for name, text := range map[string]string{"a\nb": "does not show", "a\u202eb": "does not show"} {
		_, err := issuer.CeremonySubject(pkix.Name{Names: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: name}}})
		against(t, err, "rotation-ceremony", text)
	}
	for _, id := range []asn1.ObjectIdentifier{{0, 9, 2342, 19200300, 100, 1, 25}, {2, 5, 4, 3}} {
		_, err := issuer.CeremonySubject(pkix.Name{Names: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "a"}, {Type: id, Value: "b"}}})
		against(t, err, "rotation-ceremony", "no word")
	}
}

// against checks that a rotation was refused.
func against(t testing.TB, err error, rule, text string) {
	t.Helper()
	var refused *rotation.Refused
	if !errors.As(err, &refused) || refused.Rule != rule || !strings.Contains(refused.Error(), text) {
		t.Errorf("refused: %v, want %s: %s", err, rule, text)
	}
}
