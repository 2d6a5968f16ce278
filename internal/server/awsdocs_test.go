package server

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mintmark/awsreg"
	"mintmark/internal/config"
)

// targetKey is the first line of an example of a part of a target.
var targetKey = regexp.MustCompile(`^(cas|jitr|fleets|rotation|certificate_provider|connect_callback|manifest):`)

// TestExamples: a configuration takes each example of docs/aws.md and
// docs/aws-fleet.md, the whole ones as they stand, and of the others the keys.
func TestExamples(t *testing.T) {
	whole, parts := 0, 0
	for _, name := range []string{"aws.md", "aws-fleet.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range indented(string(text)) {
			switch {
			case strings.HasPrefix(block, "aws:\n"):
				whole++
				if err := takes(t, block); err != nil {
					t.Errorf("%s: %v\n%s", name, err, block)
				}
			case targetKey.MatchString(block):
				parts++
				lines := strings.Split(strings.TrimSuffix(block, "\n"), "\n")
				err := takes(t, "aws:\n  targets:\n    - name: line-a\n      account_id: \"123456789012\"\n      region: eu-central-1\n      "+strings.Join(lines, "\n      ")+"\n")
				if err != nil && strings.Contains(err.Error(), "unknown field") {
					t.Errorf("%s: %v\n%s", name, err, block)
				}
			}
		}
	}
	if whole < 2 || parts < 3 {
		t.Errorf("only %d whole examples and %d parts were found", whole, parts)
	}
	if err := takes(t, "aws:\n  targets:\n    - {name: line-a, account_id: \"123456789012\", region: eu-central-1, rotations: {}}\n"); err == nil || !strings.Contains(err.Error(), "unknown field") {
		t.Errorf("a key that there is not: %v", err)
	}
}

// takes loads a configuration with an example.
func takes(t *testing.T, example string) error {
	t.Helper()
	dir := newState(t)
	editConfig(t, dir, "labels:\n", example+"labels:\n  - {name: cloud, profile: device, issuer: issuing, authorize: inventory, second_key: refuse, own: [device]}\n")
	c, err := config.Load(dir)
	if err != nil {
		return err
	}
	_, err = awsTargetsIn(c)
	return err
}

// awsTargetsIn are the AWS targets of a configuration with its own profiles.
func awsTargetsIn(c *config.Config) ([]awsreg.Target, error) {
	set, err := profiles(c)
	if err != nil {
		return nil, err
	}
	return awsTargetsOf(c, set)
}

// indented are the blocks of a text that stand four blanks to the right.
func indented(text string) []string {
	var blocks []string
	block := ""
	for line := range strings.Lines(text + "\n") {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			block += code
			continue
		}
		if block != "" {
			blocks = append(blocks, block)
		}
		block = ""
	}
	return blocks
}
