package server

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mintmark/internal/pkitest"
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

// TestAzureExamples: a configuration takes each example of a target.
func TestAzureExamples(t *testing.T) {
	whole, parts := make(map[string]int), 0
	names := []string{"configuration.md", "azure.md", "azure-simulator.md", "iot-edge.md"}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range slices.Concat(indented(string(text)), fenced(string(text))) {
			switch {
			case strings.HasPrefix(block, "azure:\n"), strings.Contains(block, "\nazure:\n"):
				whole[name]++
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
	if len(whole) != len(names) || parts < 1 {
		t.Errorf("%v whole examples and %d parts were found", whole, parts)
	}
	if err := takesAzure(t, anAzureTarget+"      tags: {}\n"); err == nil || !strings.Contains(err.Error(), "unknown field") {
		t.Errorf("a key that there is not: %v", err)
	}
}

// takesAzure has config check look at a configuration with an example, and with the
// labels and the profile that the examples name. Profiles and labels of the example are
// added to those.
func takesAzure(t *testing.T, example string) error {
	t.Helper()
	dir := newState(t)
	own := map[string]string{"profiles": "", "labels": "", "azure": ""}
	key := ""
	for line := range strings.Lines(example) {
		if name, ok := strings.CutSuffix(line, ":\n"); ok && !strings.HasPrefix(line, " ") {
			if _, ok := own[name]; !ok {
				return fmt.Errorf("the example has the key %s, which this test adds nowhere", name)
			}
			key = name
			continue
		}
		own[key] += line
	}
	editConfig(t, dir, "profiles:\n", "profiles:\n  gateway: {preset: device}\n"+own["profiles"])
	editConfig(t, dir, "labels:\n", "azure:\n"+own["azure"]+`labels:
  - {name: cloud, profile: device, issuer: issuing, authorize: inventory, own: [device]}
  - {name: line, profile: device, issuer: issuing, authorize: inventory, own: [device]}
`+own["labels"])
	write(t, dir, "maker.pem", string(pkitest.ReadFile(t, filepath.Join(dir, "root.pem"))), 0o600)
	_, err := CheckConfig(t.Context(), dir)
	return err
}

// fenced are the blocks of YAML of a text that stand between fences.
func fenced(text string) []string {
	var blocks []string
	for _, after := range strings.Split(text, "```yaml\n")[1:] {
		block, _, _ := strings.Cut(after, "```")
		blocks = append(blocks, block)
	}
	return blocks
}
