package lint

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fixtureOptions is options.json of a fixture.
type fixtureOptions struct {
	Role        Role
	Code        string    // registration code
	CA          string    // file
	Certificate string    // file
	Subject     []string  // attributes
	Now         time.Time // 2027-01-01 if absent
}

// TestRules: every rule has a defective artefact in which it is found, and its
// corrected artefact in which nothing is. Each is a file bad.* or good.*, or a
// folder of files that are checked together.
func TestRules(t *testing.T) {
	for _, rule := range Rules() {
		t.Run(rule.ID, func(t *testing.T) {
			dir := filepath.Join("testdata", rule.ID)
			o := options(t, dir)
			bad := fixture(t, dir, "bad")
			good := fixture(t, dir, "good")
			found := check(t, bad, o)
			hit := false
			for _, f := range found {
				if f.Rule == rule.ID {
					hit = true
					if f.Severity != rule.Severity || f.AWS != rule.AWS {
						t.Errorf("%v is not as the rule says", f)
					}
				}
			}
			if !hit {
				t.Errorf("is not found in %s, only %v", names(bad), found)
			}
			for _, f := range check(t, good, o) {
				t.Errorf("the corrected artefact is not clean: %v", f)
			}
		})
	}
}

// TestNoOtherFixtures: each folder belongs to a rule.
func TestNoOtherFixtures(t *testing.T) {
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		known := e.Name() == "fuzz" || e.Name() == "systems"
		for _, r := range Rules() {
			known = known || r.ID == e.Name()
		}
		if !known {
			t.Errorf("testdata/%s belongs to no rule", e.Name())
		}
	}
}

func check(t *testing.T, files []File, o Options) []Finding {
	t.Helper()
	found, err := CheckAll(files, o)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func names(files []File) string {
	var list []string
	for _, f := range files {
		list = append(list, f.Name)
	}
	return strings.Join(list, ", ")
}

func options(t *testing.T, dir string) Options {
	t.Helper()
	o := fixtureOptions{Now: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
	data, err := os.ReadFile(filepath.Join(dir, "options.json"))
	if err == nil {
		err = json.Unmarshal(data, &o)
	}
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	options := Options{Role: o.Role, RegistrationCode: o.Code, Subject: o.Subject, Now: o.Now}
	if o.CA != "" {
		options.CA = readCertificate(t, filepath.Join(dir, o.CA))
	}
	if o.Certificate != "" {
		options.Certificate = readCertificate(t, filepath.Join(dir, o.Certificate))
	}
	return options
}

func readCertificate(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("%s is no PEM", name)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// fixture reads the files of bad.* or good.*, or of the folder.
func fixture(t *testing.T, dir, which string) []File {
	t.Helper()
	var files []File
	read := func(name string) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, File{Name: filepath.ToSlash(name), Data: data})
	}
	matches, err := filepath.Glob(filepath.Join(dir, which+"*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range matches {
		err := filepath.WalkDir(name, func(name string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				read(name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(files) == 0 {
		t.Fatalf("%s has no %s artefact", dir, which)
	}
	return files
}

// TestSystems: whole systems with the defects of published ones. Each rule that
// expect lists is found in the defective system, and the corrected one is clean.
func TestSystems(t *testing.T) {
	dirs, err := filepath.Glob("testdata/systems/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no systems: %v", err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			expect, err := os.ReadFile(filepath.Join(dir, "expect"))
			if err != nil {
				t.Fatal(err)
			}
			found := map[string]bool{}
			for _, f := range check(t, fixture(t, dir, "bad"), options(t, dir)) {
				found[f.Rule] = true
			}
			wanted := strings.Fields(string(expect))
			for _, rule := range wanted {
				if !found[rule] {
					t.Errorf("%s is not found", rule)
				}
				delete(found, rule)
			}
			for rule := range found {
				t.Errorf("%s is found, and expect does not list it", rule)
			}
			for _, f := range check(t, fixture(t, dir, "good"), options(t, dir)) {
				t.Errorf("the corrected system is not clean: %v", f)
			}
		})
	}
}
