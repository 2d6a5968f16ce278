package lint

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// seed adds the fixtures with one of the extensions.
func seed(f *testing.F, extensions string) {
	err := filepath.WalkDir("testdata", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.Contains(extensions, filepath.Ext(name)+" ") || strings.Contains(name, "same-subject") {
			return err
		}
		data, err := os.ReadFile(name)
		f.Add(data)
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
}

// fuzz checks that a file is read without harm, twice with the same result, and
// that every finding is one of the rules', at a line that is there.
func fuzz(f *testing.F, name string, extensions string) {
	seed(f, extensions)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		first, err := Check(name, data, Options{})
		if err != nil {
			return
		}
		second, _ := Check(name, data, Options{})
		if len(first) != len(second) {
			t.Errorf("%d findings, then %d", len(first), len(second))
		}
		count := strings.Count(string(data), "\n") + 1
		for _, found := range first {
			ruleOf(found.Rule)
			if found.Text == "" || found.Line < 0 || found.Line > count+1 && name != "stack.yaml" && name != "stack.json" {
				t.Errorf("finding %+v in %d lines", found, count)
			}
		}
	})
}

func FuzzPEM(f *testing.F)      { fuzz(f, "device.pem", ".pem .csr ") }
func FuzzJSON(f *testing.F)     { fuzz(f, "stack.json", ".json ") }
func FuzzYAML(f *testing.F)     { fuzz(f, "stack.yaml", ".yaml ") }
func FuzzPython(f *testing.F)   { fuzz(f, "hook.py", ".py ") }
func FuzzScript(f *testing.F)   { fuzz(f, "hook.ts", ".ts .mjs .js ") }
func FuzzBulk(f *testing.F)     { fuzz(f, "things.ndjson", ".ndjson ") }
func FuzzSettings(f *testing.F) { fuzz(f, "config.ini", ".ini ") }
func FuzzSniff(f *testing.F)    { fuzz(f, "file", ".json .yaml .py .ini .md .pem ") }
