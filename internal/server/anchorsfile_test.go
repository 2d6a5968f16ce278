package server

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// anchorNames are the roots in a state directory's root.pem.
func anchorNames(t *testing.T, s *Server) string {
	t.Helper()
	list, err := readAnchors(pkitest.ReadFile(t, filepath.Join(s.config.Dir, rootFile)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range list {
		for _, a := range s.ra.Authorities() {
			if a.Certificate().Equal(c) {
				names = append(names, a.Name())
			}
		}
	}
	return strings.Join(names, " ")
}

// TestAnchorFileOfRotation: with what root.pem holds, the server is verified in every state of
// the replacement of a root; also when it was down while the state changed.
func TestAnchorFileOfRotation(t *testing.T) {
	s := openLocal(t, newState(t), nil)
	defer s.Close()
	file := filepath.Join(s.config.Dir, rootFile)
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	own := newOwnTLS(s)
	if err := own.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := turn(t, s, ledger.RotateRoot)
	for at := rotation.Planned; ; at = at.Next() {
		w.to(t, at)
		s.followRotations()
		want := "root"
		switch {
		case at.From(rotation.TrustRemoved):
			want = "root2"
		case at.From(rotation.Distributing):
			want = "root root2"
		}
		if got := anchorNames(t, s); got != want {
			t.Errorf("%s: root.pem holds %q, want %q", at, got, want)
		}
		shown, err := own.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		anchors, err := readAnchors(pkitest.ReadFile(t, file))
		if err != nil || !slices.ContainsFunc(anchors, func(c *x509.Certificate) bool { return vouches(c, shown, s.ra.Now()) }) {
			t.Errorf("%s: who trusts what root.pem holds is not served: %v", at, err)
		}
		if at == rotation.Retired {
			break
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("its mode: %v, %v", info, err)
	}
}

// TestAnchorFileAfterRestart: another server, or an earlier run, has moved the rotation.
func TestAnchorFileAfterRestart(t *testing.T) {
	dir := newState(t)
	s := openLocal(t, dir, nil)
	w := turn(t, s, ledger.RotateRoot)
	w.to(t, rotation.Draining)
	if got := anchorNames(t, s); got != "root" {
		t.Fatalf("before: %q", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := serveLocal(t, dir, nil)
	eventually(t, "root.pem holds both roots", func() bool { return anchorNames(t, again.Server) == "root root2" })
}

// TestAnchorFileLeftAlone: a file that is not ours to change stays as it is, byte for byte.
func TestAnchorFileLeftAlone(t *testing.T) {
	s := openLocal(t, newState(t), nil)
	defer s.Close()
	file := filepath.Join(s.config.Dir, rootFile)
	own := pkitest.ReadFile(t, file)
	w := turn(t, s, ledger.RotateRoot)
	w.to(t, rotation.TrustRemoved)
	for name, content := range map[string][]byte{
		"no certificate": []byte("nothing\n"),
		"a key":          append(slices.Clone(own), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"...),
		"a broken one":   []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
		"too large":      append(slices.Clone(own), make([]byte, maxRootFile)...),
	} {
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
		s.following.anchored = ""
		s.followRotations()
		if !bytes.Equal(pkitest.ReadFile(t, file), content) {
			t.Errorf("%s: it was changed", name)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s.following.anchored = ""
	s.followRotations()
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("what was taken away is there again: %v", err)
	}
	// What stood beside the root stays.
	other := s.certificateUnder("issuing", "root2")
	if err := os.WriteFile(file, append(slices.Clone(own), pkitest.PEM("CERTIFICATE", other.Raw)...), 0o644); err != nil {
		t.Fatal(err)
	}
	s.following.anchored = ""
	s.followRotations()
	list, err := readAnchors(pkitest.ReadFile(t, file))
	if err != nil || len(list) != 2 || !list[0].Equal(s.rootCertificate("root2")) || !list[1].Equal(other) {
		t.Errorf("it holds %d, %v", len(list), err)
	}
}

// TestAnchorsAfter: emergencies, rollbacks, and one rotation after another.
func TestAnchorsAfter(t *testing.T) {
	roots := make(map[string]*x509.Certificate)
	for _, name := range []string{"a", "b", "c"} {
		roots[name] = &x509.Certificate{Raw: []byte(name)}
	}
	root := func(name string) *x509.Certificate { return roots[name] }
	record := func(old, new string, state rotation.State, edit ...func(*ledger.Rotation)) ledger.Rotation {
		r := ledger.Rotation{Kind: ledger.RotateRoot, Old: old, New: new, State: string(state), Issue: ledger.IssueOld}
		if state.From(rotation.Switched) {
			r.Issue = ledger.IssueNew
		}
		for _, e := range edit {
			e(&r)
		}
		return r
	}
	kept := func(r *ledger.Rotation) { r.Kept = true }
	emergency := func(r *ledger.Rotation) { r.Emergency = true }
	back := func(r *ledger.Rotation) { r.Issue = ledger.IssueOld }
	issuing := func(r *ledger.Rotation) { r.Kind = ledger.RotateIssuing }
	for _, c := range []struct {
		name, have, want string
		list             []ledger.Rotation
	}{
		{"of an emergency until the switch", "a", "ab", []ledger.Rotation{record("a", "b", rotation.Canaried, emergency)}},
		{"of an emergency after it", "ab", "b", []ledger.Rotation{record("a", "b", rotation.Switched, emergency)}},
		{"of an emergency that is taken back after it", "b", "ba", []ledger.Rotation{record("a", "b", rotation.Switched, emergency, back)}},
		{"of one that was", "b", "a", []ledger.Rotation{record("a", "b", rotation.RolledBack, emergency)}},
		{"taken back", "ab", "a", []ledger.Rotation{record("a", "b", rotation.RolledBack)}},
		{"taken back, and devices have the new one", "ab", "ab", []ledger.Rotation{record("a", "b", rotation.RolledBack, kept)}},
		{"taken back, and begun again", "a", "ab", []ledger.Rotation{record("a", "b", rotation.RolledBack), record("a", "b", rotation.Distributing)}},
		{"one after another", "a", "bc", []ledger.Rotation{record("a", "b", rotation.Retired), record("b", "c", rotation.Draining)}},
		{"there and back", "ba", "a", []ledger.Rotation{record("a", "b", rotation.Archived), record("b", "a", rotation.TrustRemoved)}},
		{"of another root", "c", "c", []ledger.Rotation{record("a", "b", rotation.TrustRemoved)}},
		{"whose root is not known", "a", "a", []ledger.Rotation{record("a", "d", rotation.TrustRemoved)}},
		{"of an issuing CA", "a", "a", []ledger.Rotation{record("a", "b", rotation.TrustRemoved, issuing)}},
	} {
		var have []*x509.Certificate
		for _, name := range strings.Split(c.have, "") {
			have = append(have, roots[name])
		}
		for range 2 { // a second time changes nothing
			have = anchorsAfter(have, c.list, root)
			got := ""
			for _, one := range have {
				got += string(one.Raw)
			}
			if got != c.want {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
			}
		}
	}
}

func FuzzReadAnchors(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("text\n-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		list, err := readAnchors(content)
		if err != nil && list != nil {
			t.Errorf("%d certificates and %v", len(list), err)
		}
	})
}
