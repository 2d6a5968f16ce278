package lint

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocumented: docs/aws-doctor.md has a row for each rule, with the words of
// the rule, and none for anything else.
func TestDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/aws-doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	for _, r := range Rules() {
		says := ""
		if r.AWS != "" {
			says = `"` + r.AWS + `"`
		}
		row := fmt.Sprintf("| `%s` | %s | %s | %s | [", r.ID, r.Severity, r.Finds, strings.ReplaceAll(says, "|", `\|`))
		if strings.Count(doc, row) != 1 {
			t.Errorf("there is no row that begins %q", row)
		}
		if r.Source == "" || !strings.Contains(doc, "]("+r.Source+") |") {
			t.Errorf("%s: its source %q is not there", r.ID, r.Source)
		}
	}
	if rows := strings.Count(doc, "\n| `"); rows != len(Rules())+strings.Count(doc, "\n| `--") {
		t.Errorf("%d rows for %d rules", rows, len(Rules()))
	}
	for _, role := range Roles() {
		if !strings.Contains(doc, string(role)) {
			t.Errorf("role %s is not documented", role)
		}
	}
}

// TestAWSWords: whatever AWS refuses, the rule has its words, and an error is never
// named without what AWS says of it.
func TestAWSWords(t *testing.T) {
	bare := regexp.MustCompile(`^[A-Za-z]+(Exception|Error)$`)
	for _, r := range Rules() {
		if r.Severity == Refused && (r.AWS == "" || bare.MatchString(r.AWS)) {
			t.Errorf("%s: AWS says %q", r.ID, r.AWS)
		}
	}
}

// TestEveryRuleReported: ruleOf knows each rule once.
func TestEveryRuleReported(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rules() {
		if seen[r.ID] {
			t.Errorf("rule %s stands twice", r.ID)
		}
		seen[r.ID] = true
		if ruleOf(r.ID) != r {
			t.Errorf("rule %s is another", r.ID)
		}
	}
}
