package server

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mintmark/internal/config"
)

// azureKey is the first line of an example of a part of a target.
var azureKey = regexp.MustCompile(`^(identity|sas|connect|cas|groups|enrollments|hubs):`)

// anAzureTarget is what the parts of one are added to.
const anAzureTarget = `azure:
  targets:
    - name: plant
      subscription_id: 01234567-89ab-cdef-0123-456789abcdef
      resource_group: rg-plant
      service: plant-dps
`

// TestAzureExamples: a configuration takes each example of docs/configuration.md and
// docs/azure.md.
func TestAzureExamples(t *testing.T) {
	whole, parts := 0, 0
	for _, name := range []string{"configuration.md", "azure.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range indented(string(text)) {
			switch {
			case strings.HasPrefix(block, "azure:\n"):
				whole++
			case azureKey.MatchString(block):
				parts++
				lines := strings.Split(strings.TrimSuffix(block, "\n"), "\n")
				block = anAzureTarget + "      " + strings.Join(lines, "\n      ") + "\n"
			default:
				continue
			}
			if err := takesAzure(t, block); err != nil {
				t.Errorf("%s: %v\n%s", name, err, block)
			}
		}
	}
	if whole < 1 || parts < 1 {
		t.Errorf("only %d whole examples and %d parts were found", whole, parts)
	}
	if err := takesAzure(t, anAzureTarget+"      tags: {}\n"); err == nil || !strings.Contains(err.Error(), "unknown field") {
		t.Errorf("a key that there is not: %v", err)
	}
}

// takesAzure loads a configuration with an example, and with the label and the
// profile that the examples name.
func takesAzure(t *testing.T, example string) error {
	t.Helper()
	dir := newState(t)
	editConfig(t, dir, "profiles:\n", "profiles:\n  gateway: {preset: device}\n")
	editConfig(t, dir, "labels:\n", example+`labels:
  - {name: cloud, profile: device, issuer: issuing, authorize: inventory, own: [device]}
  - {name: line, profile: device, issuer: issuing, authorize: inventory, own: [device]}
`)
	c, err := config.Load(dir)
	if err != nil {
		return err
	}
	_, err = AzureTargets(c)
	return err
}
