package dpssim

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocs: docs/azure-simulator.md names every operation and every kind of event.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "azure-simulator.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	operation := regexp.MustCompile(`"((?:entra|service|certificates|hub)\.[a-z]+[A-Za-z]*)"`)
	event := regexp.MustCompile(`\.note\("([a-z.]+)"`)
	operations, events := 0, 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range operation.FindAllSubmatch(source, -1) {
			operations++
			if !strings.Contains(string(text), "`"+string(found[1])+"`") {
				t.Errorf("the operation %s of %s is not in the page", found[1], name)
			}
		}
		for _, found := range event.FindAllSubmatch(source, -1) {
			events++
			if !strings.Contains(string(text), "`"+string(found[1])+"`") {
				t.Errorf("the event %s of %s is not in the page", found[1], name)
			}
		}
	}
	if operations < 18 || events < 15 {
		t.Errorf("only %d operations and %d events are found", operations, events)
	}
}
